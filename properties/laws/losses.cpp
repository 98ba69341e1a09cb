// Laws of cross-entropy. Scores are quarters, so that sums of exponentials are ordinary ones; equality is
// within the error bound of the pass.
#include "properties/laws/embedding.hpp"

namespace plumb {
namespace {

bool smoothed(const layer& l) { return l.resolved().text("label_smoothing") != "0"; }
index_t ignored(const layer& l) { return l.resolved().integer("ignore_index"); }

/// Calls f(flat target, coordinates of class 0 at that position).
template <class F>
void for_each_position(const layer& l, F&& f) {
  index_t flat = 0;
  for_each_index(l.shapes()["target"], [&](const shape& at) {
    shape score{at[0], 0};
    for (int axis = 1; axis < at.rank(); ++axis) score.push_back(at[axis]);
    f(flat++, score);
  });
}

/// log softmax is blind to a constant added to all scores of a position.
template <class T>
void shift_invariant(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto here = bench.run(l, reads);
  for_each_position(l, [&](index_t, shape at) {
    const T c(bench.between(-50, 50));
    for (at[1] = 0; at[1] < l.shapes()["x"][1]; ++at[1]) reads["x"].view()(at) += c;
  });
  const auto there = bench.run(l, reads);
  for (const auto& e : here.entries())
    bench.claim_all(e.name, e.real, [&](const shape& at) { return there[e.name].view()(at); });
}

/// The gradient sums to 0 over the classes of every position.
template <class T>
void gradient_sums_to_zero(lab<T>& bench) {
  const layer& l = bench.about();
  const auto writes = bench.run(l, bench.reads(l, bench.pass()));
  for_each_position(l, [&](index_t, shape at) {
    known<T> sum;
    for (at[1] = 0; at[1] < l.shapes()["x"][1]; ++at[1]) sum += writes["dx"].view()(at);
    at[1] = 0;
    bench.claim_equal("sum of dx over the classes at", at, sum, known<T>(T(0)));
  });
}

/// Scores at ignored positions change nothing, and receive no gradient.
template <class T>
void ignored_positions(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> reads = bench.reads(l, bench.pass());
  tensor<index_t>& target = reads.indices("target");
  bench.require(target.size() > 0);
  for (index_t i = 0; i < target.size(); ++i)
    if (bench.between(0, 2) == 0) target[i] = ignored(l);
  const auto here = bench.run(l, reads);
  for_each_position(l, [&](index_t flat, shape at) {
    if (target[flat] != ignored(l)) return;
    for (at[1] = 0; at[1] < l.shapes()["x"][1]; ++at[1]) {
      reads["x"].view()(at) = T(bench.between(-3, 3));
      if (here.has("dx"))
        bench.claim(here["dx"].view()(at).value == T(0),
                    "dx[" + coordinates_text(at) + "] is not 0 where the target is ignored");
    }
  });
  const auto there = bench.run(l, reads);
  for (const auto& e : here.entries())
    bench.claim_all(e.name, e.real, [&](const shape& at) { return there[e.name].view()(at); });
}

/// Classes may change places, in scores, weights and targets alike.
struct class_permutation {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const layer& l = bench.about();
    const index_t classes = l.shapes()["x"][1], stays = ignored(l);
    bench.require(classes > 1);
    auto order = bench.permutation(classes);
    if (stays >= 0 && stays < classes)  // the ignored class keeps its number
      std::swap(order[static_cast<std::size_t>(stays)], *std::ranges::find(order, stays));
    const auto moved = [order](index_t c) { return order[static_cast<std::size_t>(c)]; };
    const auto axis = [moved](int a) {
      return [moved, a](shape at) {
        at[a] = moved(at[a]);
        return at;
      };
    };
    return {.from = {},
            .to = derived(spelled_out(l)),
            .into = {{"x", axis(1)}, {"weight", axis(0)}},
            .index_into = moved};
  }
};

template <class T>
T logarithm(const T& x) {
  using std::log;
  if constexpr (is_exact_v<T>)
    throw not_applicable();
  else
    return log(x);
}

/// Equal scores: the loss of a position is w[t]·log C, whatever the smoothing, if all weights are equal.
template <class T>
void uniform_scores(lab<T>& bench) {
  const layer& l = bench.about();
  problem text = spelled_out(l);
  text.erase("weight");
  text.set("reduction", "none");
  const auto plain = derived(text);
  tensor_set<T> reads = bench.reads(*plain, bench.pass());
  std::ranges::fill(reads["x"].values(), T(bench.between(-9, 9)));
  const auto writes = bench.run(*plain, reads);
  const T expected = logarithm(T(l.shapes()["x"][1]));
  bench.claim_all("y", writes["y"], [&](const shape& at) {
    const bool counts = reads.indices("target").view()(at) != ignored(l);
    return counts ? known<T>(expected) : known<T>(T(0));
  });
}

/// sum = Σ of the losses; mean = that divided by the weights of the targets.
template <class T>
void reductions(lab<T>& bench) {
  const layer& l = bench.about();
  problem text = spelled_out(l);
  text.set("reduction", "none");
  const auto apart = derived(text);
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto reduced = bench.run(l, reads), losses = bench.run(*apart, reads);
  known<T> sum;
  T weights(0);
  const auto& target = reads.indices("target");
  for (index_t i = 0; i < target.size(); ++i) {
    sum += losses["y"][i];
    if (target[i] != ignored(l)) weights += reads.has("weight") ? reads["weight"][target[i]] : T(1);
  }
  const bool mean = l.resolved().text("reduction") == "mean";
  const T factor = mean ? weights : T(1);
  bench.claim_equal("y", {}, factor * reduced["y"][0], sum);
}

bool reduces(const layer& l, const pass_spec& pass) {
  return is_forward(pass) && l.resolved().text("reduction") != "none";
}
bool unsmoothed(const layer& l, const pass_spec& pass) { return is_forward(pass) && !smoothed(l); }

/// Without smoothing a loss is w[t]·(log Σexp - x[t]), so never negative; x[t] far ahead of the rest makes it 0.
template <class T>
void never_negative(lab<T>& bench) {
  const layer& l = bench.about();
  const auto writes = bench.run(l, bench.reads(l, bench.pass()));
  for (index_t i = 0; i < writes["y"].size(); ++i)
    bench.claim(writes["y"][i].value >= T(-writes["y"][i].slack),
                "y[" + coordinates(i, writes["y"].extents()) + "] is negative");
}

}  // namespace

std::vector<law> cross_entropy_laws() {
  return {
      state("cross_entropy.shift", "a constant added to the scores of a position changes nothing", any_pass,
            [](auto& bench) { shift_invariant(bench); }),
      state("cross_entropy.zero_sum", "dx sums to 0 over the classes", only("backward"),
            [](auto& bench) { gradient_sums_to_zero(bench); }),
      state("cross_entropy.ignored", "ignored positions have no effect and no gradient", any_pass,
            [](auto& bench) { ignored_positions(bench); }),
      state_embedding("cross_entropy.class_permutation", "classes may change places", any_pass,
                      class_permutation()),
      state("cross_entropy.uniform", "equal scores: the loss is log C", only("forward"),
            [](auto& bench) { uniform_scores(bench); }),
      state("cross_entropy.reductions", "sum and mean are those of the single losses", reduces,
            [](auto& bench) { reductions(bench); }),
      state("cross_entropy.positive", "without smoothing no loss is negative", unsmoothed,
            [](auto& bench) { never_negative(bench); }),
  };
}

}  // namespace plumb
