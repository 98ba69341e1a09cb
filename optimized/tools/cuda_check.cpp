// plumb-cuda-check: every device kernel of conv2d on a chosen set of layers, beside cuDNN, then one problem of every other
// layer (check_layers.hpp), timed by the rules of optimized/cuda/timing.hpp, with a short table last. It needs the driver
// (and libcudnn.so.9 for the peer's rows) and nothing else of CUDA's. Right comes first: `plumb verify '*@cuda'` is the
// judge; here a sample of every kernel's outputs is compared with sums in double before it is timed, so that no number is
// printed for a kernel that computes nothing.
//     plumb-cuda-check [GLOB] [--rounds N] [--plugin LIBRARY]... [--small]
// --plugin adds the device kernels of a library. --small times nothing: small problems once each, which is what a
// sanitizer has the patience for.
// Exit code 0; 1 if a kernel was wrong or its timing in trouble; 2 wrong usage. Without a device every row is skipped.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <stdexcept>
#include <utility>

#include "optimized/cuda/device_plan.hpp"
#include "optimized/cuda/device_timing.hpp"
#include "optimized/kernels.hpp"
#include "optimized/tools/check_layers.hpp"
#include "optimized/tools/check_summary.hpp"
#include "optimized/tools/device_array.hpp"
#include "verify/sandbox/plugin_loader.hpp"

namespace plumb::cuda {
namespace {

struct conv_case {
  const char* name;
  index_t n, c, size, k, taps, stride, pad, groups;

  index_t out() const { return (size + 2 * pad - taps) / stride + 1; }
  shape x() const { return {n, c, size, size}; }
  shape weight() const { return {k, c / groups, taps, taps}; }
  shape y() const { return {n, k, out(), out()}; }
  double operations() const {
    return 2.0 * static_cast<double>(y().size() * weight().size()) / static_cast<double>(k);
  }
  double bytes() const { return 4.0 * static_cast<double>(x().size() + weight().size() + y().size()); }

  problem text() const {
    problem p("conv2d");
    p.set("x", to_string(x()));
    p.set("weight", to_string(weight()));
    p.set("y", to_string(y()));
    p.set("stride", to_string(shape{stride, stride}));
    const std::string side = std::to_string(pad);
    p.set("pad", side + "," + side + "," + side + "," + side);
    p.set("dilation", "1x1");
    p.set("groups", std::to_string(groups));
    p.set("padding", "explicit");
    p.set("fit", "floor");
    p.set("flip", "false");
    return p;
  }
};

/// From ResNet-50, VGG-16, MobileNet and first layers: one of each kind.
constexpr conv_case cases[] = {
    {"resnet50 conv1", 32, 3, 224, 64, 7, 2, 3, 1},     {"resnet50 2.3x3", 32, 64, 56, 64, 3, 1, 1, 1},
    {"resnet50 2.1x1", 32, 64, 56, 256, 1, 1, 0, 1},    {"resnet50 4.3x3", 32, 256, 14, 256, 3, 1, 1, 1},
    {"resnet50 3.3x3/2", 32, 128, 56, 128, 3, 2, 1, 1}, {"vgg16 1.1", 16, 3, 224, 64, 3, 1, 1, 1},
    {"vgg16 3.2", 16, 256, 56, 256, 3, 1, 1, 1},        {"vgg16 5.1", 16, 512, 14, 512, 3, 1, 1, 1},
    {"mobilenet dw 112", 32, 32, 112, 32, 3, 1, 1, 32}, {"mobilenet dw 14", 32, 512, 14, 512, 3, 1, 1, 512},
    {"alexnet conv1", 32, 3, 227, 96, 11, 4, 0, 1},
};

/// For --small: tails of every tile, groups, a stride, a batch of more than one.
constexpr conv_case small_cases[] = {
    {"small 3x3", 2, 5, 9, 7, 3, 1, 1, 1},     {"small 3x3/2 grouped", 2, 8, 11, 12, 3, 2, 1, 4},
    {"small 1x1", 3, 33, 6, 40, 1, 1, 0, 1},   {"small dw", 2, 6, 9, 6, 3, 1, 1, 6},
    {"small first", 2, 3, 19, 70, 7, 2, 3, 1},
};

/// The three tensors of a case in ordinary memory, dense in one layout; weights are row major always.
struct tensors {
  std::vector<float> x, weight, y;

  tensors(const conv_case& c, std::uint64_t seed) : x(size(c.x())), weight(size(c.weight())), y(size(c.y())) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> draw;
    for (auto* t : {&x, &weight, &y})
      for (float& v : *t) v = draw(random);
  }
  static std::size_t size(const shape& s) { return static_cast<std::size_t>(s.size()); }
};

index_t place(const shape& extents, bool last, index_t a, index_t b, index_t c, index_t d) {
  const shape s = last ? channels_last(extents) : row_major(extents);
  return a * s[0] + b * s[1] + c * s[2] + d * s[3];
}

/// One element of a pass in double: its sum, and the sum of absolute values, which the tolerance is a share of.
struct element {
  double sum = 0, size = 0;
  void add(float a, float b) {
    sum += static_cast<double>(a) * b;
    size += std::fabs(static_cast<double>(a) * b);
  }
};

element truth(const conv_case& c, const std::string& pass, const tensors& t, bool last, const shape& at) {
  element e;
  const index_t cg = c.c / c.groups, kg = c.k / c.groups, out = c.out();
  const auto x = [&](index_t n, index_t ch, index_t h, index_t w) {
    return t.x[static_cast<std::size_t>(place(c.x(), last, n, ch, h, w))];
  };
  const auto y = [&](index_t n, index_t k, index_t p, index_t q) {
    return t.y[static_cast<std::size_t>(place(c.y(), last, n, k, p, q))];
  };
  const auto w = [&](index_t k, index_t ch, index_t r, index_t s) {
    return t.weight[static_cast<std::size_t>(place(c.weight(), false, k, ch, r, s))];
  };
  const auto inside = [](index_t i, index_t end) { return i >= 0 && i < end; };
  if (pass == "backward_weights") {
    for (index_t n = 0; n < c.n; ++n)
      for (index_t p = 0; p < out; ++p)
        for (index_t q = 0; q < out; ++q) {
          const index_t h = p * c.stride - c.pad + at[2], v = q * c.stride - c.pad + at[3];
          if (inside(h, c.size) && inside(v, c.size))
            e.add(y(n, at[0], p, q), x(n, at[0] / kg * cg + at[1], h, v));
        }
    return e;
  }
  for (index_t r = 0; r < c.taps; ++r)
    for (index_t s = 0; s < c.taps; ++s) {
      if (pass == "forward") {
        const index_t h = at[2] * c.stride - c.pad + r, v = at[3] * c.stride - c.pad + s;
        for (index_t ch = 0; ch < cg && inside(h, c.size) && inside(v, c.size); ++ch)
          e.add(x(at[0], at[1] / kg * cg + ch, h, v), w(at[1], ch, r, s));
        continue;
      }
      const index_t p = at[2] + c.pad - r, q = at[3] + c.pad - s;
      if (p % c.stride != 0 || q % c.stride != 0 || !inside(p / c.stride, out) || !inside(q / c.stride, out))
        continue;
      for (index_t k = 0; k < kg; ++k) {
        const index_t channel = at[1] / cg * kg + k;
        e.add(y(at[0], channel, p / c.stride, q / c.stride), w(channel, at[1] % cg, r, s));
      }
    }
  return e;
}

/// What is known once, for all kernels of one case, pass and layout: the sets of inputs on the device.
class arena_of_sets {
 public:
  static constexpr int sets = 3, pairs = 4;

  arena_of_sets(device& on, const conv_case& c, std::string pass, bool last)
      : on_(on), case_(c), pass_(std::move(pass)), last_(last) {
    for (int set = 0; set < sets; ++set) {
      host_.emplace_back(c, static_cast<std::uint64_t>(set) + 1);
      for (const auto* v : {&first(host_.back()), &second(host_.back())}) {
        memory_.emplace_back(on, v->size() * sizeof(float));
        on.upload(memory_.back().data(), v->data(), v->size() * sizeof(float));
      }
      memory_.emplace_back(on, static_cast<std::size_t>(written().size()) * sizeof(float));
    }
  }

  const std::vector<float>& first(const tensors& t) const { return pass_ == "forward" ? t.x : t.y; }
  const std::vector<float>& second(const tensors& t) const {
    return pass_ == "backward_weights" ? t.x : t.weight;
  }
  shape first_shape() const { return pass_ == "forward" ? case_.x() : case_.y(); }
  shape second_shape() const { return pass_ == "backward_weights" ? case_.x() : case_.weight(); }
  shape written() const {
    return pass_ == "forward" ? case_.y() : pass_ == "backward_data" ? case_.x() : case_.weight();
  }
  double bytes_read() const {
    return 4.0 * static_cast<double>(first_shape().size() + second_shape().size());
  }
  bool written_last() const { return last_ && pass_ != "backward_weights"; }

  tensor_ref ref(int set, int which) const {
    const shape s = which == 0 ? first_shape() : which == 1 ? second_shape() : written();
    const bool activation =
        which == 0 || (which == 1 ? pass_ == "backward_weights" : pass_ != "backward_weights");
    return {memory_[static_cast<std::size_t>(3 * set + which)].data(), dtype::f32, s,
            last_ && activation ? channels_last(s) : row_major(s)};
  }
  /// The first few elements of the first input change places with the last few.
  void exchange(int set) {
    std::vector<float>& v = const_cast<std::vector<float>&>(first(host_[static_cast<std::size_t>(set)]));
    for (std::size_t i = 0; i < pairs; ++i) std::swap(v[i], v[v.size() - 1 - i]);
    float* const there = memory_[static_cast<std::size_t>(3 * set)].data();
    on_.upload(there, v.data(), pairs * sizeof(float));
    on_.upload(there + v.size() - pairs, &v[v.size() - pairs], pairs * sizeof(float));
  }
  void poison(int set) {
    on_.fill(memory_[static_cast<std::size_t>(3 * set + 2)].data(), 0xff,
             static_cast<std::size_t>(written().size()) * sizeof(float));
  }
  std::vector<float> outputs(int set) {
    std::vector<float> v(static_cast<std::size_t>(written().size()));
    on_.download(v.data(), memory_[static_cast<std::size_t>(3 * set + 2)].data(), v.size() * sizeof(float));
    return v;
  }
  /// Empty, or which of 200 elements is further from its sum in double than this share of its Σ|a·b|.
  std::string compare(int set, double share) {
    const std::vector<float> got = outputs(set);
    std::mt19937_64 random(7);
    for (int i = 0; i < 200; ++i) {
      const auto flat = static_cast<index_t>(random() % got.size());
      const shape at = unflatten(flat, written());
      const element e = truth(case_, pass_, host_[static_cast<std::size_t>(set)], last_, at);
      const float value =
          got[static_cast<std::size_t>(place(written(), written_last(), at[0], at[1], at[2], at[3]))];
      if (!(std::fabs(static_cast<double>(value) - e.sum) <= share * e.size + 1e-30))
        return "element " + coordinates(flat, written()) + " is " + std::to_string(value) + ", not " +
               std::to_string(e.sum);
    }
    return {};
  }

 private:
  device& on_;
  const conv_case& case_;
  std::string pass_;
  bool last_;
  std::vector<tensors> host_;
  std::vector<device_array> memory_;
};

/// A kernel on the sets: what an untimed run gave for each set in both states, and the calls.
class runner {
 public:
  runner(device& on, const kernel& k, const kernel_problem& kp, arena_of_sets& data)
      : on_(on),
        data_(data),
        plan_(k.make_plan(kp)),
        device_(dynamic_cast<device_plan*>(plan_.get())),
        workspace_(on, device_ == nullptr ? 0 : device_->device_workspace()) {
    name = k.name;
    share_ = tolerated_share(k.arithmetic);
  }
  std::string rehearse() {
    for (int set = 0; set < arena_of_sets::sets; ++set)
      for (const bool exchanged : {true, false}) {
        data_.exchange(set);
        data_.poison(set);
        if (std::string error = run(set); !error.empty()) return error;
        if (std::string error = on_.finish(); !error.empty()) return error;
        if (std::string error = data_.compare(set, share_); !error.empty()) return "wrong: " + error;
        expected_[{set, exchanged}] = data_.outputs(set);
      }
    return {};
  }
  std::string run(int set) {
    if (device_ == nullptr) return "is not a device kernel";
    const std::vector<tensor_ref> reads = {data_.ref(set, 0), data_.ref(set, 1), {}},
                                  writes = {data_.ref(set, 2)};
    return device_->enqueue({reads, writes, workspace_.data(), 1}, on_.stream());
  }
  contestant entry(double floor) {
    contestant c;
    c.name = name;
    c.run = [this](int set) { return run(set); };
    c.poison = [this](int set) { data_.poison(set); };
    c.check = [this](int set, bool exchanged) {
      const std::vector<float> got = data_.outputs(set);
      const std::vector<float>& wanted = expected_.at({set, exchanged});
      const bool same = std::equal(got.begin(), got.end(), wanted.begin());
      return same ? std::string() : std::string("an output differs from that of an untimed run");
    };
    c.exchange = [this](int set) { data_.exchange(set); };
    c.floor_seconds = floor;
    return c;
  }
  std::string name;

 private:
  device& on_;
  arena_of_sets& data_;
  std::unique_ptr<plan> plan_;
  device_plan* device_;
  device_array workspace_;
  double share_;
  std::map<std::pair<int, bool>, std::vector<float>> expected_;
};

int bad = 0;
check_summary summary;

void print_row(const conv_case& c, const std::string& kernel, bool last, const std::string& text) {
  std::printf("%-17s %-46s %-5s %s\n", c.name, kernel.c_str(), last ? "nhwc" : "nchw", text.c_str());
}

struct check_options {
  std::string glob = "*";
  int rounds = 15;
  bool small = false;
  std::vector<std::string> plugins;
};

double median_of(const timed& t) {
  std::vector<double> sorted = t.seconds;
  std::sort(sorted.begin(), sorted.end());
  return sorted[sorted.size() / 2];
}

/// The fastest peer of this arithmetic, or null.
const timed* fastest_peer(const std::vector<timed>& results, const std::vector<const kernel*>& kernels,
                          const std::string& arithmetic) {
  const timed* best = nullptr;
  for (std::size_t i = 0; i < results.size(); ++i)
    if (kernels[i]->peer && kernels[i]->arithmetic == arithmetic && results[i].trouble.empty() &&
        !results[i].seconds.empty() && (best == nullptr || median_of(results[i]) < median_of(*best)))
      best = &results[i];
  return best;
}

void report(const conv_case& c, const std::string& pass, bool last, const kernel& k, const timed& t,
            const timed* peer) {
  const double median = median_of(t);
  char text[200];
  std::snprintf(text, sizeof text, "%9.1f us %8.1f GFLOP/s %7.1f GB/s", median * 1e6,
                c.operations() / median * 1e-9, c.bytes() / median * 1e-9);
  std::string line = text;
  if (!k.peer && peer == nullptr) line += "   no peer of this arithmetic";
  if (!k.peer && peer != nullptr) {
    const ratio against = compare(t, *peer);
    std::snprintf(text, sizeof text, "   %.2f of the speed of %s [%.2f, %.2f] %s", 1 / against.median,
                  peer->name.c_str(), 1 / against.high, 1 / against.low, against.verdict.c_str());
    line += text;
    summary.add(group_of(k.arithmetic, c.groups == c.c && c.c > 1, c.c <= 4),
                std::string(c.name) + " " + pass + (last ? " nhwc" : " nchw"), 1 / against.median);
  }
  print_row(c, t.name, last, line);
}

void check_case(device& on, timing_device& clock, const registry& kernels, const conv_case& c,
                const std::string& pass, bool last, const check_options& how) {
  arena_of_sets data(on, c, pass, last);
  const kernel_problem kp{c.text(), dtype::f32, last ? layout::nhwc : layout::nchw, 1};
  const card about = clock.about();
  std::vector<std::unique_ptr<runner>> runners;
  std::vector<contestant> contestants;
  std::vector<const kernel*> timed_kernels;
  for (const kernel* k : kernels.matching("conv2d." + pass + "/*")) {
    const bool wanted = k->device == "cuda" && (k->peer || glob_match(how.glob, k->name));
    if (!wanted || !k->unavailable.empty() || std::ranges::find(k->layouts, kp.layout) == k->layouts.end() ||
        !k->supports(kp).ok)
      continue;
    std::unique_ptr<runner> r;
    std::string error;
    try {
      r = std::make_unique<runner>(on, *k, kp, data);
      error = r->rehearse();
    } catch (const std::exception& refused) {
      error = refused.what();
    }
    if (!error.empty()) {
      print_row(c, k->name, last, error);
      if (!k->peer) ++bad;
      continue;
    }
    if (how.small) {
      print_row(c, k->name, last, "right");
      continue;
    }
    contestants.push_back(r->entry(floor_seconds(about, k->arithmetic, c.operations(), data.bytes_read())));
    timed_kernels.push_back(k);
    runners.push_back(std::move(r));
  }
  const auto results = time_contest(
      clock, {.rounds = how.rounds, .sets = arena_of_sets::sets, .cold = true, .seed = 1}, contestants);
  for (std::size_t i = 0; i < results.size(); ++i) {
    const timed& t = results[i];
    const kernel& k = *timed_kernels[i];
    if (!t.trouble.empty()) {
      print_row(c, t.name, last, "no number: " + t.trouble);
      ++bad;
    } else if (!t.seconds.empty()) {
      report(c, pass, last, k, t, fastest_peer(results, timed_kernels, arithmetic_of_peers(k.arithmetic)));
    }
  }
}

int check(const check_options& how) {
  registry kernels;
  register_cuda_kernels(kernels);
  for (const std::string& path : how.plugins)
    if (const plugin_outcome loaded = load_plugin(path, kernels); !loaded.error.empty()) {
      std::fprintf(stderr, "plumb-cuda-check: %s\n", loaded.error.c_str());
      return loaded.exit_code;
    }
  std::vector<const kernel*> chosen = kernels.matching(how.glob);
  std::erase_if(chosen, [](const kernel* k) { return k->device != "cuda"; });
  if (chosen.empty()) {
    std::fprintf(
        stderr,
        "plumb-cuda-check: `%s` matches no device kernel; expected one such as `conv2d.forward/*@cuda`\n",
        how.glob.c_str());
    return 2;
  }
  std::string why;
  device* const on = first_device(why);
  const std::unique_ptr<timing_device> clock = on == nullptr ? nullptr : make_stopwatch(*on);
  if (clock == nullptr) {
    for (const kernel* k : chosen)
      std::printf("%-46s %-10s skipped(%s)\n", k->name.c_str(), k->arithmetic.c_str(), why.c_str());
    return 0;
  }
  const card about = clock->about();
  std::printf("# %s, compute capability %d.%d, %d multiprocessors at %.2f GHz at most, %.0f GB/s\n",
              about.name.c_str(), about.capability / 10, about.capability % 10, about.multiprocessors,
              about.clock * 1e-9, about.bandwidth * 1e-9);
  const auto check_all = [&](const auto& list) {
    for (const conv_case& c : list)
      for (const char* pass : {"forward", "backward_data", "backward_weights"})
        for (const bool last : {false, true}) check_case(*on, *clock, kernels, c, pass, last, how);
  };
  how.small ? check_all(small_cases) : check_all(cases);
  const auto shares = check_layers(*on, *clock, kernels, how.glob, how.small ? 0 : how.rounds, bad);
  for (const auto& [kernel, share] : shares) summary.add(check_group::memory, kernel, share);
  if (!how.small) std::printf("\n%s", summary.print().c_str());
  return bad == 0 ? 0 : 1;
}

/// False: a word was not understood, which was said.
bool parse(int argc, char** argv, check_options& how) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--rounds" && i + 1 < argc) {
      how.rounds = std::atoi(argv[++i]);
    } else if (word == "--plugin" && i + 1 < argc) {
      how.plugins.emplace_back(argv[++i]);
    } else if (word == "--small") {
      how.small = true;
    } else if (!word.starts_with("-")) {
      how.glob = word;
    } else {
      std::fprintf(
          stderr,
          "plumb-cuda-check: `%s` is not understood; expected [GLOB] [--rounds N] [--plugin LIBRARY] "
          "[--small]\n",
          word.c_str());
      return false;
    }
  }
  if (how.rounds < 1) std::fputs("plumb-cuda-check: expected --rounds to be at least 1\n", stderr);
  return how.rounds >= 1;
}

}  // namespace
}  // namespace plumb::cuda

int main(int argc, char** argv) {
  plumb::cuda::check_options how;
  if (!plumb::cuda::parse(argc, argv, how)) return 2;
  try {
    return plumb::cuda::check(how);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "plumb-cuda-check: %s\n", error.what());
    return 3;
  }
}
