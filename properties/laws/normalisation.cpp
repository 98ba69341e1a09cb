// Laws of the normalisations, of local response normalisation and of dropout. The elements of x fall into
// sets that share their statistics: a channel of the batch for batch_norm, a row of neighbours for the others.
#include "properties/laws/embedding.hpp"

namespace plumb {
namespace normalisation_family {
namespace {

/// The second output holds the statistics, one number a set; if none of its axes counts samples, a set is a
/// channel.
bool by_channel(const layer& l) { return l.describe().outputs[1].batch_axis == tensor_spec::no_batch; }

template <class T>
tensor_set<T> without(tensor_set<T> set, const std::vector<std::string>& names) {
  std::erase_if(set.entries(), [&](const auto& e) { return std::ranges::count(names, e.name) != 0; });
  return set;
}

/// The row-major numbers of the members of every set.
std::vector<std::vector<index_t>> sets_of(const layer& l) {
  const shape &x = l.shapes()["x"], &statistics = l.shapes()[l.describe().outputs[1].name];
  std::vector<std::vector<index_t>> sets(static_cast<std::size_t>(statistics.size()));
  index_t flat = 0;
  for_each_index(x, [&](const shape& at) {
    const index_t set = by_channel(l) ? at[1] : flat / (x.size() / statistics.size());
    sets[static_cast<std::size_t>(set)].push_back(flat++);
  });
  return sets;
}

/// The number of the gamma and beta that belong to an element of x.
index_t parameter(const layer& l, const shape& at, index_t flat) {
  const shape& gamma = l.shapes()[l.present("gamma") ? "gamma" : "beta"];
  return l.spec("gamma").axes == "c" ? at[1] : flat % gamma.size();
}

/// The same problem with eps=0 and, if asked, without gamma and beta.
std::shared_ptr<const layer> unguarded(const layer& l, bool plain) {
  problem text = spelled_out(l);
  text.set("eps", "0");
  for (const char* name : {"gamma", "beta"})
    if (plain) text.erase(name);
  return derived(text);
}

// Forward ------------------------------------------------------------------------------------------------

/// A constant added to all elements of a set changes nothing but the mean.
template <class T>
void set_shift(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> in = bench.inputs(l);
  const auto here = bench.run(l, in);
  for (const auto& set : sets_of(l)) {
    const T c(bench.between(-9, 9));
    for (const index_t i : set) in["x"][i] += c;
  }
  const auto there = bench.run(l, in);
  bench.claim_all("y", here["y"], [&](const shape& at) { return there["y"].view()(at); });
}

/// With eps = 0 a positive factor on a set changes nothing.
template <class T>
void set_scale(lab<T>& bench) {
  const auto l = unguarded(bench.about(), false);
  tensor_set<T> in = bench.inputs(*l);
  const auto here = bench.run(*l, in);
  for (const auto& set : sets_of(*l)) {
    const T a(bench.between(2, 9));
    for (const index_t i : set) in["x"][i] *= a;
  }
  const auto there = bench.run(*l, in);
  bench.claim_all("y", here["y"], [&](const shape& at) { return there["y"].view()(at); });
}

/// With eps = 0 the squares of every set of the plain y sum to its number of elements.
template <class T>
void unit_mean_square(lab<T>& bench) {
  const auto l = unguarded(bench.about(), true);
  const auto writes = bench.run(*l, bench.inputs(*l));
  const auto sets = sets_of(*l);
  for (std::size_t s = 0; s < sets.size(); ++s) {
    known<T> sum;
    for (const index_t i : sets[s]) sum += writes["y"][i] * writes["y"][i];
    bench.claim_equal("sum of y^2 in set", {static_cast<index_t>(s)}, sum,
                      known<T>(T(static_cast<index_t>(sets[s].size()))));
  }
}

/// gamma and beta act on the plain y.
template <class T>
void parameters_act_last(lab<T>& bench) {
  const layer& l = bench.about();
  bench.require(l.present("gamma") || l.present("beta"));
  problem text = spelled_out(l);
  for (const char* name : {"gamma", "beta"}) text.erase(name);
  const tensor_set<T> in = bench.inputs(l);
  const auto here = bench.run(l, in), plain = bench.run(*derived(text), without(in, {"gamma", "beta"}));
  index_t flat = 0;
  bench.claim_all("y", here["y"], [&](const shape& at) {
    const index_t p = parameter(l, at, flat++);
    const known<T> y = in.has("gamma") ? in["gamma"][p] * plain["y"].view()(at) : plain["y"].view()(at);
    return in.has("beta") ? y + known<T>(in["beta"][p]) : y;
  });
}

/// f(-x) = -f(x) for what has no mean and no beta.
template <class T>
void odd(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> in = bench.inputs(l);
  const auto here = bench.run(l, in);
  for (T& v : in["x"].values()) v = -v;
  const auto there = bench.run(l, in);
  bench.claim_all("y", here["y"], [&](const shape& at) { return T(-1) * there["y"].view()(at); });
}

// Backward -----------------------------------------------------------------------------------------------

/// What the statistics are known to: they are stored as a kernel would store them.
template <class T>
constexpr double reading_error = std::is_same_v<T, double> ? 0x1p-22 : 0;

/// The numbers that the gradient of one set is made of.
template <class T>
struct set_sums {
  T g = T(0), g_xhat = T(0);  ///< Σ g and Σ g·x̂ with g = dy·gamma
  known<T> dx, dx_xhat;       ///< Σ dx and Σ dx·x̂
  T invstd = T(0);
  double slack = 0;  ///< what the reading error can make of either
};

template <class T>
std::vector<set_sums<T>> sums_of_sets(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto writes = bench.run(l, reads);
  std::vector<index_t> parameters(static_cast<std::size_t>(reads["x"].size()));
  index_t flat = 0;
  for_each_index(reads["x"].extents(), [&](const shape& at) {
    if (reads.has("gamma")) parameters[static_cast<std::size_t>(flat)] = parameter(l, at, flat);
    ++flat;
  });
  std::vector<set_sums<T>> list;
  for (const auto& set : sets_of(l)) {
    const index_t s = static_cast<index_t>(list.size());
    set_sums<T> sums;
    const T mean = reads["mean"][s];
    sums.invstd = reads["invstd"][s];
    double largest = 0, size = 0;
    for (const index_t i : set) {
      const T xhat = (reads["x"][i] - mean) * sums.invstd;
      const T gamma = reads.has("gamma") ? reads["gamma"][parameters[static_cast<std::size_t>(i)]] : T(1);
      const T g = reads["dy"][i] * gamma;
      sums.g += g;
      sums.g_xhat += g * xhat;
      sums.dx += writes["dx"][i];
      sums.dx_xhat += xhat * writes["dx"][i];
      largest = std::max(largest, std::fabs(static_cast<double>(xhat)));
      size += std::fabs(static_cast<double>(g));
    }
    const double invstd = static_cast<double>(sums.invstd);
    const double off = 1 + std::fabs(static_cast<double>(mean)) * invstd;
    sums.slack = reading_error<T> * off * invstd * size * (1 + largest) * (1 + largest);
    list.push_back(sums);
  }
  return list;
}

/// dx sums to 0 in every set.
template <class T>
void gradient_sums_to_zero(lab<T>& bench) {
  index_t s = 0;
  for (const auto& set : sums_of_sets(bench))
    bench.claim_equal("sum of dx in set", {s++}, set.dx, known<T>(T(0), set.slack));
}

/// Σ dx·x̂ = Σ g·x̂ · eps/(σ² + eps)^(3/2) in every set: 0 only if eps is.
template <class T>
void gradient_along_x(lab<T>& bench) {
  decimal eps;
  attribute::read(bench.about().resolved().text("eps"), eps, {});
  index_t s = 0;
  for (const auto& set : sums_of_sets(bench)) {
    const T share = eps.as<T>() * set.invstd * set.invstd;
    bench.claim_equal("sum of dx xhat in set", {s++}, set.dx_xhat,
                      known<T>(set.invstd * set.g_xhat * share, set.slack));
  }
}

// One normalisation in terms of another ------------------------------------------------------------------

bool trains(const layer& l, const pass_spec&) { return l.resolved().text("mode") == "train"; }
law_scope training(const std::string& pass) {
  return [pass](const layer& l, const pass_spec& p) { return p.name == pass && trains(l, p); };
}

/// Channels may change places, with all that belongs to them.
struct channel_permutation {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const layer& l = bench.about();
    bench.require(l.shapes()["x"][1] > 1);
    const auto order = bench.permutation(l.shapes()["x"][1]);
    embedding e{.from = {}, .to = derived(spelled_out(l)), .into = {}};
    for (const auto& [name, extents] : l.shapes().entries()) {
      const int axis = extents.rank() == 1 ? 0 : 1;
      e.into[name] = [axis, order](shape at) {
        at[axis] = order[static_cast<std::size_t>(at[axis])];
        return at;
      };
    }
    return e;
  }
};

/// Positions along the last axis may change places, with their parameters; the statistics stay.
struct feature_permutation {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const layer& l = bench.about();
    const shape& x = l.shapes()["x"];
    const auto order = bench.permutation(x[x.rank() - 1]);
    embedding e{.from = {}, .to = derived(spelled_out(l)), .into = {}};
    for (const char* name : {"x", "y", "gamma", "beta"})
      e.into[name] = [order](shape at) {
        at[at.rank() - 1] = order[static_cast<std::size_t>(at[at.rank() - 1])];
        return at;
      };
    return e;
  }
};

/// Training on x is evaluation with the mean and the variance of x.
template <class T>
void modes_agree(lab<T>& bench) {
  const layer& l = bench.about();
  problem text = spelled_out(l);
  text.set("mode", "eval");
  for (const char* name : {"running_mean", "running_var"}) text.set(name, to_string({l.shapes()["x"][1]}));
  const auto evaluation = derived(text);
  tensor_set<T> in = bench.inputs(l);
  const auto here = bench.run(l, in);
  tensor<T> mean(shape{l.shapes()["x"][1]}), variance = mean;
  const auto sets = sets_of(l);
  for (std::size_t c = 0; c < sets.size(); ++c) {
    const index_t s = static_cast<index_t>(c);
    const T m(static_cast<index_t>(sets[c].size()));
    for (const index_t i : sets[c]) mean[s] += in["x"][i] / m;
    for (const index_t i : sets[c]) variance[s] += (in["x"][i] - mean[s]) * (in["x"][i] - mean[s]) / m;
  }
  tensor_set<T> given = without(in, {"running_mean", "running_var"});
  given.add("running_mean", mean);
  given.add("running_var", variance);
  const auto there = bench.run(*evaluation, given);
  bench.claim_all("y", here["y"], [&](const shape& at) {
    // a kernel that evaluates gets the statistics rounded to its format
    const index_t c = at[1];
    const double spread = std::sqrt(static_cast<double>(variance[c]) + 1e-300);
    const double off = 8 * reading_error<T> * (1 + std::fabs(static_cast<double>(mean[c])) / spread);
    known<T> y = there["y"].view()(at);
    y.slack += off * (1 + std::fabs(static_cast<double>(y.value)));
    return y;
  });
}

/// The updated running statistics lie between the old ones (momentum 0) and the new ones (momentum 1).
template <class T>
void momentum_interpolates(lab<T>& bench) {
  const layer& l = bench.about();
  bench.require(l.present("running_mean"));
  const tensor_set<T> in = bench.inputs(l);
  const auto at_momentum = [&](const std::string& value) {
    problem text = spelled_out(l);
    text.set("momentum", value);
    return bench.run(*derived(text), in);
  };
  decimal momentum;
  attribute::read(l.resolved().text("momentum"), momentum, {});
  const T a = momentum.as<T>();
  const auto here = bench.run(l, in), kept = at_momentum("0"), replaced = at_momentum("1");
  for (const char* name : {"new_running_mean", "new_running_var"}) {
    bench.claim_all(name, kept[name], [&](const shape& at) { return known<T>(in[name + 4].view()(at)); });
    bench.claim_all(name, here[name], [&](const shape& at) {
      return (T(1) - a) * kept[name].view()(at) + a * replaced[name].view()(at);
    });
  }
}

/// group_norm with a group for each channel is instance_norm; seen from either of them.
template <class T>
void a_group_a_channel(lab<T>& bench, const std::string& other) {
  const layer& l = bench.about();
  problem mine = spelled_out(l), theirs(other);
  if (other == "instance_norm") mine.set("groups", std::to_string(l.shapes()["x"][1]));
  for (const char* field : {"x", "gamma", "beta", "eps"})
    if (mine.find(field) != nullptr) theirs.set(field, mine.text(field));
  if (other == "group_norm") theirs.set("groups", std::to_string(l.shapes()["x"][1]));
  const auto here_layer = derived(mine), there_layer = derived(theirs);
  const pass_spec* pass = here_layer->find_pass(bench.pass().name);
  bench.require(pass != nullptr);
  const tensor_set<T> reads = bench.reads(*here_layer, *pass);
  const auto here = bench.run(*here_layer, reads), there = bench.run(*there_layer, pass->name, reads);
  for (const auto& e : here.entries())
    bench.claim_all(e.name, e.real, [&](const shape& at) { return there[e.name].view()(at); });
}

// lrn ----------------------------------------------------------------------------------------------------

/// Without neighbours (alpha = 0, k = 1) nothing happens.
template <class T>
void identity_without_neighbours(lab<T>& bench) {
  problem text = spelled_out(bench.about());
  text.set("alpha", "0");
  text.set("k", "1");
  const auto l = derived(text);
  const tensor_set<T> in = bench.inputs(*l);
  const auto writes = bench.run(*l, in);
  bench.claim_all("y", writes["y"], [&](const shape& at) { return known<T>(in["x"].view()(at)); });
}

/// With k = 0 and beta = 1/2 every element is divided by a length: a positive factor on x changes nothing.
template <class T>
void blind_to_scale(lab<T>& bench) {
  problem text = spelled_out(bench.about());
  text.set("k", "0");
  text.set("alpha", "1");
  text.set("beta", "0.5");
  const auto l = derived(text);
  tensor_set<T> in;
  in.add("x", bench.numbers(l->shapes()["x"], 1, 3));
  const auto here = bench.run(*l, in);
  const T a(bench.between(2, 9));
  for (T& v : in["x"].values()) v *= a;
  const auto there = bench.run(*l, in);
  bench.claim_all("y", here["y"], [&](const shape& at) { return there["y"].view()(at); });
}

/// Channels further apart than the window do not see each other.
template <class T>
void far_channels(lab<T>& bench) {
  const layer& l = bench.about();
  const index_t channels = l.shapes()["x"][1], size = l.resolved().integer("size");
  bench.require(channels > size / 2 + 1);
  tensor_set<T> in = bench.inputs(l);
  const auto here = bench.run(l, in);
  // y of channel c sees up to c + (size-1)/2: change all beyond that of channel 0
  for_each_index(l.shapes()["x"], [&](const shape& at) {
    if (at[1] > (size - 1) / 2) in["x"].view()(at) += T(bench.between(1, 5));
  });
  const auto there = bench.run(l, in);
  for_each_index(l.shapes()["x"], [&](const shape& at) {
    if (at[1] == 0) bench.claim_equal("y", at, here["y"].view()(at), there["y"].view()(at));
  });
}

// dropout ------------------------------------------------------------------------------------------------

/// With p = 0 and a full mask nothing is dropped, in either direction.
template <class T>
void keeps_all(lab<T>& bench) {
  problem text = spelled_out(bench.about());
  text.set("p", "0");
  const auto l = derived(text);
  tensor_set<T> reads = bench.reads(*l, bench.pass());
  std::ranges::fill(reads["mask"].values(), T(1));
  const auto writes = bench.run(*l, reads);
  const std::string from = is_forward(bench.pass()) ? "x" : "dy", to = writes.entries()[0].name;
  bench.claim_all(to, writes[to], [&](const shape& at) { return known<T>(reads[from].view()(at)); });
}

/// What a mask keeps and what it drops add up to what a full mask keeps.
template <class T>
void halves_add_up(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto kept = bench.run(l, reads);
  for (T& v : reads["mask"].values()) v = T(1) - v;
  const auto dropped = bench.run(l, reads);
  std::ranges::fill(reads["mask"].values(), T(1));
  const auto whole = bench.run(l, reads);
  for (const auto& e : whole.entries())
    bench.claim_all(e.name, e.real,
                    [&](const shape& at) { return kept[e.name].view()(at) + dropped[e.name].view()(at); });
}

/// The laws of everything that has mean and invstd, under the name of the layer.
std::vector<law> statistics_laws(const std::string& name, const law_scope& forward,
                                 const law_scope& backward) {
  return {
      state(name + ".shift", "a constant added to a set of elements changes nothing but its mean", forward,
            [](auto& bench) { set_shift(bench); }),
      state(name + ".scale", "with eps = 0 a positive factor on a set changes nothing", forward,
            [](auto& bench) { set_scale(bench); }),
      state(name + ".parameters", "y = gamma y0 + beta with the y0 of neither", forward,
            [](auto& bench) { parameters_act_last(bench); }),
      state(name + ".zero_sum", "dx sums to 0 in every set", backward,
            [](auto& bench) { gradient_sums_to_zero(bench); }),
      state(name + ".along_x", "sum dx xhat = sum g xhat eps/(var + eps)^1.5 in every set, g = gamma dy",
            backward, [](auto& bench) { gradient_along_x(bench); }),
  };
}

}  // namespace
}  // namespace normalisation_family

std::vector<law> batch_norm_laws() {
  using namespace normalisation_family;
  std::vector<law> list = statistics_laws("batch_norm", training("forward"), training("backward"));
  list.push_back(state_embedding("batch_norm.channel_permutation", "channels may change places", any_pass,
                                 channel_permutation()));
  list.push_back(state("batch_norm.modes", "training is evaluation with the statistics of x",
                       training("forward"), [](auto& bench) { modes_agree(bench); }));
  list.push_back(state("batch_norm.momentum", "new = (1 - momentum) old + momentum (those of x)",
                       training("forward"), [](auto& bench) { momentum_interpolates(bench); }));
  return list;
}

std::vector<law> layer_norm_laws() {
  using namespace normalisation_family;
  std::vector<law> list = statistics_laws("layer_norm", only("forward"), only("backward"));
  list.push_back(state_embedding("layer_norm.feature_permutation", "features may change places", any_pass,
                                 feature_permutation()));
  return list;
}

std::vector<law> group_norm_laws() {
  using namespace normalisation_family;
  std::vector<law> list = statistics_laws("group_norm", only("forward"), only("backward"));
  list.push_back(state("group_norm.instance_norm", "a group a channel: instance_norm", any_pass,
                       [](auto& bench) { a_group_a_channel(bench, "instance_norm"); }));
  return list;
}

std::vector<law> instance_norm_laws() {
  using namespace normalisation_family;
  std::vector<law> list = statistics_laws("instance_norm", only("forward"), only("backward"));
  list.push_back(state("instance_norm.group_norm", "group_norm with a group a channel", any_pass,
                       [](auto& bench) { a_group_a_channel(bench, "group_norm"); }));
  return list;
}

std::vector<law> rms_norm_laws() {
  using namespace normalisation_family;
  return {
      state("rms_norm.scale", "with eps = 0 a positive factor on a row changes nothing", only("forward"),
            [](auto& bench) { set_scale(bench); }),
      state("rms_norm.unit", "with eps = 0 and no gamma the mean of y^2 is 1", only("forward"),
            [](auto& bench) { unit_mean_square(bench); }),
      state("rms_norm.odd", "rms_norm(-x) = -rms_norm(x)", only("forward"), [](auto& bench) { odd(bench); }),
      state_embedding("rms_norm.feature_permutation", "features may change places", any_pass,
                      feature_permutation()),
  };
}

std::vector<law> lrn_laws() {
  using namespace normalisation_family;
  return {
      state("lrn.identity", "alpha = 0, k = 1: y = x", only("forward"),
            [](auto& bench) { identity_without_neighbours(bench); }),
      state("lrn.scale", "k = 0, beta = 1/2: a positive factor on x changes nothing", only("forward"),
            [](auto& bench) { blind_to_scale(bench); }),
      state("lrn.odd", "lrn(-x) = -lrn(x)", only("forward"), [](auto& bench) { odd(bench); }),
      state("lrn.window", "channel 0 does not see beyond its window", only("forward"),
            [](auto& bench) { far_channels(bench); }),
  };
}

std::vector<law> dropout_laws() {
  using namespace normalisation_family;
  return {
      state("dropout.identity", "p = 0 and a full mask: nothing is dropped", any_pass,
            [](auto& bench) { keeps_all(bench); }),
      state("dropout.halves", "what a mask keeps and what it drops add up", any_pass,
            [](auto& bench) { halves_add_up(bench); }),
  };
}

}  // namespace plumb
