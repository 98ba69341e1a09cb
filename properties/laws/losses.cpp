// Laws of softmax and of the losses. Scores are small integers, so that sums of exponentials are ordinary
// ones; equality is within the error bound of the pass.
#include "properties/laws/embedding.hpp"

namespace plumb {
namespace losses_family {
namespace {

bool smoothed(const layer& l) { return l.resolved().text("label_smoothing") != "0"; }
index_t ignored(const layer& l) { return l.resolved().integer("ignore_index"); }

/// Targets are class numbers, not probabilities.
bool by_class(const layer& l) { return l.spec("target").kind == element::index; }

/// Calls f(flat position, coordinates of class 0 at that position).
template <class F>
void for_each_position(const layer& l, F&& f) {
  index_t flat = 0;
  shape positions = l.shapes()["x"];
  positions[1] = 1;
  for_each_index(positions, [&](const shape& at) { f(flat++, at); });
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
  bench.require(by_class(l) && reads.at("target").extents().size() > 0);
  tensor<index_t>& target = reads.indices("target");
  for (index_t i = 0; i < target.size(); ++i)
    if (bench.between(0, 2) == 0) target[i] = ignored(l);
  const auto here = bench.run(l, reads);
  for_each_position(l, [&](index_t flat, shape at) {
    if (target[flat] != ignored(l)) return;
    for (at[1] = 0; at[1] < l.shapes()["x"][1]; ++at[1]) {
      if (reads.has("x")) reads["x"].view()(at) = T(bench.between(-3, 3));
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
    embedding e{.from = {},
                .to = derived(spelled_out(l)),
                .into = {{"x", axis(1)}, {"weight", axis(0)}},
                .index_into = moved};
    if (!by_class(l)) e.into["target"] = axis(1);
    return e;
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
  bench.require(by_class(l));
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

/// sum = Σ of the losses; mean = that divided by the weights of the targets, or by the number of positions.
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
  for (index_t i = 0; i < losses["y"].size(); ++i) {
    sum += losses["y"][i];
    if (!by_class(l)) weights += T(1);
    if (by_class(l) && target[i] != ignored(l))
      weights += reads.has("weight") ? reads["weight"][target[i]] : T(1);
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

/// cross_entropy(x) = nll_loss(log_softmax(x)), class by class.
template <class T>
void composition(lab<T>& bench) {
  const layer& l = bench.about();
  bench.require(by_class(l));
  problem text = spelled_out(l);
  text.set("label_smoothing", "0");
  const auto plain = derived(text);
  const tensor_set<T> reads = bench.reads(*plain, bench.pass());
  const auto y = bench.run(*plain, reads);

  problem inner("log_softmax"), outer("nll_loss");
  inner.set("x", to_string(l.shapes()["x"]));
  for (const char* field : {"x", "target", "weight"})
    if (l.present(field)) outer.set(field, to_string(l.shapes()[field]));
  for (const char* field : {"reduction", "ignore_index"}) outer.set(field, l.resolved().text(field));
  tensor_set<T> of_logarithms = reads;
  const auto logarithms = bench.run(*derived(inner), "forward", of_x(reads["x"]));
  for (index_t i = 0; i < logarithms["y"].size(); ++i) of_logarithms["x"][i] = logarithms["y"][i].value;
  const auto z = bench.run(*derived(outer), "forward", of_logarithms);
  bench.claim_all("y", y["y"], [&](const shape& at) { return z["y"].view()(at); });
}

// softmax, log_softmax -----------------------------------------------------------------------------------

/// Calls f(coordinates with 0 along the axis) for every line along it.
template <class F>
void for_each_line(const layer& l, F&& f) {
  const int axis = static_cast<int>(l.resolved().integer("axis"));
  shape lines = l.shapes()["x"];
  lines[axis] = 1;
  for_each_index(lines, [&](const shape& at) { f(at, axis, l.shapes()["x"][axis]); });
}

/// A constant added along the axis changes nothing.
template <class T>
void line_shift(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto here = bench.run(l, reads);
  for_each_line(l, [&](shape at, int axis, index_t count) {
    const T c(bench.between(-50, 50));
    for (at[axis] = 0; at[axis] < count; ++at[axis]) reads["x"].view()(at) += c;
  });
  const auto there = bench.run(l, reads);
  bench.claim_all("y", here["y"], [&](const shape& at) { return there["y"].view()(at); });
}

/// What a tensor sums to along the axis. The y that a backward pass reads has been stored: its sum is off.
template <class T>
void line_sum(lab<T>& bench, const std::string& name, int expected) {
  const layer& l = bench.about();
  const auto writes = bench.run(l, bench.reads(l, bench.pass()));
  for_each_line(l, [&](shape at, int axis, index_t count) {
    known<T> sum;
    for (at[axis] = 0; at[axis] < count; ++at[axis]) sum += writes[name].view()(at);
    at[axis] = 0;
    const double stored = name == "dx" && std::is_same_v<T, double> ? 0x1p-20 : 0;
    bench.claim_equal("sum of " + name + " from", at, sum, known<T>(T(expected), stored));
  });
}

/// log_softmax(x) = log softmax(x), to the relative error of the softmax.
template <class T>
void logarithm_of_softmax(lab<T>& bench) {
  const layer& l = bench.about();
  problem text("softmax");
  for (const char* field : {"x", "axis"}) text.set(field, l.resolved().text(field));
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto y = bench.run(l, reads), p = bench.run(*derived(text), reads);
  bench.claim_all("y", y["y"], [&](const shape& at) {
    const known<T> share = p["y"].view()(at);
    return known<T>(logarithm(share.value), 2 * share.slack / static_cast<double>(share.value));
  });
}

// nll_loss -----------------------------------------------------------------------------------------------

/// The scores of classes that are no target have no effect.
template <class T>
void sees_targets_only(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto here = bench.run(l, reads);
  for_each_position(l, [&](index_t flat, shape at) {
    for (at[1] = 0; at[1] < l.shapes()["x"][1]; ++at[1])
      if (at[1] != reads.indices("target")[flat]) reads["x"].view()(at) = T(bench.between(-3, 3));
  });
  const auto there = bench.run(l, reads);
  bench.claim_all("y", here["y"], [&](const shape& at) { return there["y"].view()(at); });
}

/// With sum or mean, dx sums to -dy times the total weight, or to -dy.
template <class T>
void gradient_total(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  bench.require(reads["total_weight"][0] != T(0));
  const auto writes = bench.run(l, reads);
  known<T> sum;
  for (const known<T>& v : writes["dx"].values()) sum += v;
  const bool mean = l.resolved().text("reduction") == "mean";
  bench.claim_equal("sum of dx", {}, sum,
                    known<T>(-reads["dy"][0] * (mean ? T(1) : reads["total_weight"][0])));
}

// multiclass_hinge ---------------------------------------------------------------------------------------

/// No loss and no gradient where the target leads by 1 or more.
template <class T>
void zero_beyond_the_margin(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> reads = bench.reads(l, bench.pass());
  for_each_position(l, [&](index_t flat, shape at) {
    at[1] = reads.indices("target")[flat];
    reads["x"].view()(at) = T(bench.between(4, 6));  // the others are 3 at most
  });
  const auto writes = bench.run(l, reads);
  for (const auto& e : writes.entries())
    bench.claim_all(e.name, e.real, [](const shape&) { return known<T>(T(0)); });
}

/// Equal scores violate all C - 1 margins by 1.
template <class T>
void equal_scores(lab<T>& bench) {
  const layer& l = bench.about();
  problem text = spelled_out(l);
  text.set("reduction", "none");
  const auto plain = derived(text);
  tensor_set<T> reads = bench.reads(*plain, bench.pass());
  std::ranges::fill(reads["x"].values(), T(bench.between(-9, 9)));
  const auto writes = bench.run(*plain, reads);
  bench.claim_all("y", writes["y"], [&](const shape&) { return known<T>(T(l.shapes()["x"][1] - 1)); });
}

// Losses that compare x with a target ----------------------------------------------------------------------

/// x and target may change places; the gradient then changes its sign.
template <class T>
void symmetric(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto here = bench.run(l, reads);
  std::swap(reads["x"], reads["target"]);
  const auto there = bench.run(l, reads);
  for (const auto& e : here.entries())
    bench.claim_all(e.name, e.real, [&](const shape& at) {
      return (e.name == "dx" ? T(-1) : T(1)) * there[e.name].view()(at);
    });
}

/// Only the difference counts.
template <class T>
void translation(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto here = bench.run(l, reads);
  for (index_t i = 0; i < reads["x"].size(); ++i) {
    const T c(bench.between(-9, 9));
    reads["x"][i] += c;
    reads["target"][i] += c;
  }
  const auto there = bench.run(l, reads);
  for (const auto& e : here.entries())
    bench.claim_all(e.name, e.real, [&](const shape& at) { return there[e.name].view()(at); });
}

/// huber = delta·smooth_l1 with beta = delta, seen from either of them.
template <class T>
void huber_is_smooth_l1(lab<T>& bench, const char* limit, const std::string& other, const char* its_limit) {
  const layer& l = bench.about();
  const std::string value = l.resolved().text(limit);
  bench.require(value != "0");
  problem text(other);
  for (const char* field : {"x", "target", "reduction"}) text.set(field, l.resolved().text(field));
  text.set(its_limit, value);
  const auto its = derived(text);
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto here = bench.run(l, reads), there = bench.run(*its, bench.pass().name, reads);
  decimal delta;
  attribute::read(value, delta, {});
  const bool huber = other == "smooth_l1";
  for (const auto& e : here.entries())
    bench.claim_all(e.name, e.real, [&](const shape& at) {
      const known<T> theirs = there[e.name].view()(at);
      return (huber ? delta.as<T>() : T(1) / delta.as<T>()) * theirs;
    });
}

/// bce_with_logits(x, t) = bce_with_logits(-x, 1 - t) where no pos_weight tells the two classes apart.
template <class T>
void mirror_of_classes(lab<T>& bench) {
  const layer& l = bench.about();
  problem text = spelled_out(l);
  text.erase("pos_weight");
  const auto plain = derived(text);
  tensor_set<T> reads = bench.reads(*plain, bench.pass());
  const auto here = bench.run(*plain, reads);
  for (T& v : reads["x"].values()) v = -v;
  for (T& v : reads["target"].values()) v = T(1) - v;
  const auto there = bench.run(*plain, reads);
  for (const auto& e : here.entries())
    bench.claim_all(e.name, e.real, [&](const shape& at) {
      return (e.name == "dx" ? T(-1) : T(1)) * there[e.name].view()(at);
    });
}

/// pos_weight = 1 is as good as none.
template <class T>
void neutral_pos_weight(lab<T>& bench) {
  const layer& l = bench.about();
  bench.require(l.present("pos_weight"));
  tensor_set<T> reads = bench.reads(l, bench.pass());
  std::ranges::fill(reads["pos_weight"].values(), T(1));
  problem text = spelled_out(l);
  text.erase("pos_weight");
  const auto plain = derived(text);
  const auto here = bench.run(l, reads);
  std::erase_if(reads.entries(), [](const auto& e) { return e.name == "pos_weight"; });
  const auto there = bench.run(*plain, reads);
  for (const auto& e : here.entries())
    bench.claim_all(e.name, e.real, [&](const shape& at) { return there[e.name].view()(at); });
}

/// The divergence of a distribution from itself is 0.
template <class T>
void zero_divergence(lab<T>& bench) {
  const layer& l = bench.about();
  problem text = spelled_out(l);
  text.set("log_target", "true");
  const auto of_logarithms = derived(text);
  tensor_set<T> reads = bench.reads(*of_logarithms, bench.pass());
  reads["x"] = reads["target"];
  const auto writes = bench.run(*of_logarithms, reads);
  bench.claim_all("y", writes["y"], [](const shape&) { return known<T>(T(0)); });
}

/// kl_div is affine in x with slope -t: y(x + c) = y(x) - c·t, element by element.
template <class T>
void affine_in_x(lab<T>& bench) {
  const layer& l = bench.about();
  problem text = spelled_out(l);
  text.set("log_target", "false");
  text.set("reduction", "none");
  const auto apart = derived(text);
  tensor_set<T> reads = bench.reads(*apart, bench.pass());
  const T c(bench.between(1, 9));
  const auto here = bench.run(*apart, reads);
  for (T& v : reads["x"].values()) v += c;
  const auto there = bench.run(*apart, reads);
  bench.claim_all("y", there["y"], [&](const shape& at) {
    return here["y"].view()(at) - known<T>(c * reads["target"].view()(at));
  });
}

// l2_regularisation ----------------------------------------------------------------------------------------

/// The penalty of 3w is 9 times that of w, and does not see signs.
template <class T>
void quadratic(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto here = bench.run(l, reads);
  for (T& v : reads["weight"].values()) v *= T(bench.between(0, 1) == 0 ? -3 : 3);
  const auto there = bench.run(l, reads);
  bench.claim_equal("y", {}, there["y"][0], T(9) * here["y"][0]);
}

bool reduced(const layer& l, const pass_spec& pass) {
  return !is_forward(pass) && l.resolved().text("reduction") != "none";
}

}  // namespace
}  // namespace losses_family

std::vector<law> cross_entropy_laws() {
  using namespace losses_family;
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
      state("cross_entropy.composition", "cross_entropy = nll_loss after log_softmax", only("forward"),
            [](auto& bench) { composition(bench); }),
  };
}

std::vector<law> softmax_laws() {
  using namespace losses_family;
  return {
      state("softmax.shift", "a constant added along the axis changes nothing", only("forward"),
            [](auto& bench) { line_shift(bench); }),
      state("softmax.sum", "y sums to 1 along the axis", only("forward"),
            [](auto& bench) { line_sum(bench, "y", 1); }),
      state("softmax.zero_sum", "dx sums to 0 along the axis", only("backward"),
            [](auto& bench) { line_sum(bench, "dx", 0); }),
  };
}

std::vector<law> log_softmax_laws() {
  using namespace losses_family;
  return {
      state("log_softmax.shift", "a constant added along the axis changes nothing", only("forward"),
            [](auto& bench) { line_shift(bench); }),
      state("log_softmax.logarithm", "log_softmax(x) = log softmax(x)", only("forward"),
            [](auto& bench) { logarithm_of_softmax(bench); }),
      state("log_softmax.zero_sum", "dx sums to 0 along the axis", only("backward"),
            [](auto& bench) { line_sum(bench, "dx", 0); }),
  };
}

std::vector<law> nll_loss_laws() {
  using namespace losses_family;
  return {
      state("nll_loss.targets", "only the scores of target classes count", only("forward"),
            [](auto& bench) { sees_targets_only(bench); }),
      state("nll_loss.ignored", "ignored positions have no effect and no gradient", any_pass,
            [](auto& bench) { ignored_positions(bench); }),
      state("nll_loss.reductions", "sum and mean are those of the single losses", reduces,
            [](auto& bench) { reductions(bench); }),
      state("nll_loss.total", "dx sums to -dy (mean) or -dy total_weight (sum)", reduced,
            [](auto& bench) { gradient_total(bench); }),
  };
}

std::vector<law> multiclass_hinge_laws() {
  using namespace losses_family;
  return {
      state("multiclass_hinge.margin", "no loss, no gradient where the target leads by 1", any_pass,
            [](auto& bench) { zero_beyond_the_margin(bench); }),
      state("multiclass_hinge.equal_scores", "equal scores: the loss is C - 1", only("forward"),
            [](auto& bench) { equal_scores(bench); }),
      state("multiclass_hinge.shift", "a constant added to the scores of a sample changes nothing", any_pass,
            [](auto& bench) { shift_invariant(bench); }),
      state("multiclass_hinge.zero_sum", "dx sums to 0 over the classes", only("backward"),
            [](auto& bench) { gradient_sums_to_zero(bench); }),
  };
}

std::vector<law> distance_laws() {
  using namespace losses_family;
  return {
      state("distance.symmetric", "x and target may change places", any_pass,
            [](auto& bench) { symmetric(bench); }),
      state("distance.translation", "only x - target counts", any_pass,
            [](auto& bench) { translation(bench); }),
  };
}

std::vector<law> huber_laws() {
  using namespace losses_family;
  return {
      state("huber.symmetric", "x and target may change places", any_pass,
            [](auto& bench) { symmetric(bench); }),
      state("huber.smooth_l1", "huber(delta) = delta smooth_l1(beta=delta)", any_pass,
            [](auto& bench) { huber_is_smooth_l1(bench, "delta", "smooth_l1", "beta"); }),
  };
}

std::vector<law> smooth_l1_laws() {
  using namespace losses_family;
  return {
      state("smooth_l1.symmetric", "x and target may change places", any_pass,
            [](auto& bench) { symmetric(bench); }),
      state("smooth_l1.huber", "smooth_l1(beta) = huber(delta=beta)/beta", any_pass,
            [](auto& bench) { huber_is_smooth_l1(bench, "beta", "huber", "delta"); }),
  };
}

std::vector<law> bce_with_logits_laws() {
  using namespace losses_family;
  return {
      state("bce_with_logits.mirror", "the loss of -x against 1 - t is that of x against t", any_pass,
            [](auto& bench) { mirror_of_classes(bench); }),
      state("bce_with_logits.neutral", "pos_weight = 1 changes nothing", any_pass,
            [](auto& bench) { neutral_pos_weight(bench); }),
  };
}

std::vector<law> kl_div_laws() {
  using namespace losses_family;
  return {
      state("kl_div.zero", "x = log target: no divergence", only("forward"),
            [](auto& bench) { zero_divergence(bench); }),
      state("kl_div.affine", "y(x + c) = y(x) - c target", only("forward"),
            [](auto& bench) { affine_in_x(bench); }),
  };
}

std::vector<law> l2_regularisation_laws() {
  using namespace losses_family;
  return {state("l2_regularisation.quadratic", "y(3w) = 9 y(w), whatever the signs", only("forward"),
                [](auto& bench) { quadratic(bench); })};
}

}  // namespace plumb
