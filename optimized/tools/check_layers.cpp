#include "optimized/tools/check_layers.hpp"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include "optimized/cuda/device_plan.hpp"

namespace plumb::cuda {
namespace {

using kind = check_tensor::kind;

/// Element by element: the layer and its attributes.
struct flat_layer {
  const char *layer, *attributes;
};
constexpr flat_layer flats[] = {{"relu", ""},
                                {"sigmoid", ""},
                                {"tanh", ""},
                                {"silu", ""},
                                {"leaky_relu", " negative_slope=0.01"},
                                {"hard_swish", ""},
                                {"clamp", " min=-0.5 max=0.5"},
                                {"hard_tanh", " min=-1 max=1"},
                                {"hard_sigmoid", ""},
                                {"softsign", ""},
                                {"elu", " alpha=1"},
                                {"selu", ""},
                                {"celu", " alpha=1"},
                                {"softplus", " beta=1 threshold=20"},
                                {"mish", ""},
                                {"gelu", " approximate=erf"},
                                {"exp", ""},
                                {"neg", ""},
                                {"reciprocal", ""},
                                {"square", ""}};

std::string field(const char* key, const shape& s) { return std::string(" ") + key + "=" + to_string(s); }

class case_list {
 public:
  void add(const std::string& text, const std::string& pass, std::vector<check_tensor> reads,
           std::vector<check_tensor> writes) {
    cases.push_back({problem::parse(text), pass, std::move(reads), std::move(writes)});
  }
  std::vector<layer_case> cases;
};

void add_flat(case_list& list, const shape& s) {
  for (const flat_layer& f : flats) {
    const std::string text = f.layer + field("x", s) + field("y", s) + f.attributes;
    list.add(text, "forward", {{s}}, {{s}});
    list.add(text, "backward", {{s}, {s}}, {{s}});
  }
  const std::string dropout = "dropout" + field("x", s) + field("mask", s) + field("y", s) + " p=0.5";
  for (const char* pass : {"forward", "backward"}) list.add(dropout, pass, {{s}, {s}}, {{s}});
  for (const char* gate : {"add", "mul"}) {
    const std::string text = gate + field("x0", s) + field("x1", s) + field("y", s);
    list.add(text, "forward", {{s}, {s}}, {{s}});
    list.add(text, "backward", {{s}, {s}, {s}}, {{s}, {s}});
  }
}

void add_pools(case_list& list, const shape& x) {
  const auto out = [](index_t in) { return (in - 1) / 2 + 1; };
  const shape y{x[0], x[1], out(x[2]), out(x[3])};
  const std::string window =
      field("x", x) + field("y", y) + " window=3x3 stride=2x2 pad=1,1,1,1 ceil_mode=false";
  list.add("avg_pool2d" + window + " count_include_pad=true", "forward", {{x}}, {{y}});
  list.add("avg_pool2d" + window + " count_include_pad=true", "backward", {{y}}, {{x}});
  const check_tensor cells{y, kind::index, x[2] * x[3]};
  const std::string maximum = "max_pool2d" + window + field("indices", y) + " dilation=1x1 fit=floor";
  list.add(maximum, "forward", {{x}}, {{y}, cells});
  list.add(maximum, "backward", {{y}, cells}, {{x}});
}

void add_batch_norm(case_list& list, const shape& x) {
  const check_tensor c{shape{x[1]}}, positive{shape{x[1]}, kind::positive};
  for (const std::string mode : {"train", "eval"}) {
    std::string text = "batch_norm" + field("x", x) + field("y", x);
    for (const char* name : {"gamma", "beta", "running_mean", "running_var"}) text += field(name, c.extents);
    text += " mode=" + mode + " eps=1e-5 momentum=0.1";
    std::vector<check_tensor> writes = {{x}};
    if (mode == "train") writes.insert(writes.end(), {c, c, c, c});
    list.add(text, "forward", {{x}, c, c, c, positive}, writes);
    list.add(text, "backward", {{x}, {x}, c, c, positive}, {{x}, c, c});
  }
}

void add_lines(case_list& list, const shape& x) {
  const std::string softmax = "softmax" + field("x", x) + field("y", x) + " axis=1";
  list.add(softmax, "forward", {{x}}, {{x}});
  list.add(softmax, "backward", {{x}, {x}}, {{x}});
  const shape positions{x[0]}, one{};
  const check_tensor target{positions, kind::index, x[1]}, weight{shape{x[1]}, kind::positive};
  const std::string text = "cross_entropy" + field("x", x) + field("target", positions) +
                           field("weight", weight.extents) +
                           " reduction=mean ignore_index=-100 label_smoothing=0 targets=classes";
  list.add(text, "forward", {{x}, target, weight}, {{one}});
  list.add(text, "backward", {{one}, {x}, target, weight}, {{x}});
}

void add_linear(case_list& list, index_t rows, index_t d, index_t m) {
  const check_tensor x{shape{rows, d}}, w{shape{m, d}}, bias{shape{m}}, y{shape{rows, m}};
  const std::string text = "linear" + field("x", x.extents) + field("weight", w.extents) +
                           field("bias", bias.extents) + field("y", y.extents);
  list.add(text, "forward", {x, w, bias}, {y});
  list.add(text, "backward_data", {y, w}, {x});
  list.add(text, "backward_weights", {y, x}, {w});
  list.add(text, "backward_bias", {y}, {bias});
}

/// Numbers from -2 to 2 (positive: 0.5 to 2.5) and indices; quicker than drawing them one after the other.
std::vector<std::byte> drawn(const check_tensor& t, std::uint64_t seed) {
  std::vector<std::byte> bytes(t.bytes());
  for (index_t i = 0; i < t.extents.size(); ++i) {
    std::uint64_t bits = (static_cast<std::uint64_t>(i) + (seed << 40)) * 0x9e3779b97f4a7c15U;
    bits = (bits ^ (bits >> 31)) * 0xbf58476d1ce4e5b9U;
    bits ^= bits >> 29;
    if (t.what == kind::index) {
      const auto v = static_cast<std::int64_t>(bits % static_cast<std::uint64_t>(t.bound));
      std::memcpy(bytes.data() + 8 * i, &v, 8);
      continue;
    }
    const float real = static_cast<float>(bits >> 40) * 0x1p-22F - 2;
    const float v = t.what == kind::positive ? 0.5F + std::fabs(real) : real;
    std::memcpy(bytes.data() + 4 * i, &v, 4);
  }
  return bytes;
}

dtype type_of(const check_tensor& t) { return t.what == kind::index ? dtype::i64 : dtype::f32; }

/// The same call in ordinary memory, by host execution.
std::vector<std::byte> on_the_host(const kernel& k, const kernel_problem& kp, const layer_sets& data) {
  const auto plan = k.make_plan(kp);
  std::vector<std::byte> workspace(plan->workspace_size() + 64);
  void* at = workspace.data();
  std::size_t room = workspace.size();
  const kernel_call call = data.call(0, std::align(64, plan->workspace_size(), at, room));
  plan->run(call);
  if (!plan->failure().empty()) throw std::runtime_error(plan->failure());
  return data.outputs(0);
}

/// Judged on the small twin: beside the same body in host execution; a plugin's beside any of the same pass.
std::string judge(device& on, const kernel& k, const registry& kernels, const layer_case& c) {
  const kernel* twin = kernels.find(host_twin(k.name));
  for (const kernel* other : kernels.matching(k.layer + "." + k.pass + "/*@host"))
    if (twin == nullptr) twin = other;
  if (twin == nullptr) return "has no row in host execution to be compared with";
  const kernel_problem kp{c.text, dtype::f32, layout::nchw, 1};
  ordinary_memory here;
  const auto expected = on_the_host(*twin, kp, layer_sets(here, c));
  layer_sets there(on, c);
  const auto plan = k.make_plan(kp);
  auto* const with_device = dynamic_cast<device_plan*>(plan.get());
  if (with_device == nullptr) return "is not a device kernel";
  const device_array workspace(on, with_device->device_workspace());
  there.poison(0);
  if (std::string error = with_device->enqueue(there.call(0, workspace.data()), on.stream()); !error.empty())
    return error;
  if (std::string error = on.finish(); !error.empty()) return error;
  return compare_outputs(c, there.outputs(0), expected, tolerated_share(k.arithmetic));
}

/// The share of the card's bandwidth that was reached, or nothing: then `line` says why there is no number.
std::optional<double> time_case(device& on, timing_device& clock, const kernel& k, const layer_case& c,
                                int rounds, std::string& line) {
  const auto plan = k.make_plan({c.text, dtype::f32, layout::nchw, 1});
  auto& with_device = dynamic_cast<device_plan&>(*plan);
  layer_runner runner(on, c, with_device.device_workspace(),
                      [&](const kernel_call& call) { return with_device.enqueue(call, on.stream()); });
  line = runner.rehearse();
  if (!line.empty()) return std::nullopt;
  const card about = clock.about();
  const auto results =
      time_contest(clock, {.rounds = rounds, .sets = layer_sets::sets, .cold = true, .seed = 1},
                   {runner.entry(k.name, floor_seconds(about, k.arithmetic, 0, c.bytes_read()))});
  const timed& t = results.front();
  line = "no number: " + t.trouble;
  if (!t.trouble.empty() || t.seconds.empty()) return std::nullopt;
  std::vector<double> sorted = t.seconds;
  std::sort(sorted.begin(), sorted.end());
  const double median = sorted[sorted.size() / 2], share = c.bytes() / median / about.bandwidth;
  char text[100];
  std::snprintf(text, sizeof text, "%9.1f us %7.1f GB/s   %.2f of the bandwidth", median * 1e6,
                c.bytes() / median * 1e-9, share);
  line = text;
  return share;
}

}  // namespace

double tolerated_share(const std::string& arithmetic) {
  if (arithmetic == "f32" || arithmetic == "exact") return 1e-5;
  if (arithmetic.starts_with("winograd")) return 1e-4;
  return arithmetic == "tf32" ? 2e-3 : 2e-2;
}

std::string host_twin(const std::string& device_name) {
  std::string name = device_name;
  if (const std::size_t slash = name.find('/'); slash != name.npos) name.insert(slash + 1, "cuda_");
  if (const std::size_t at = name.find("@cuda"); at != name.npos) name.replace(at, 5, "@host");
  return name;
}

std::size_t check_tensor::bytes() const {
  return static_cast<std::size_t>(extents.size()) * (what == kind::index ? 8 : 4);
}

double layer_case::bytes() const {
  double sum = bytes_read();
  for (const check_tensor& t : writes) sum += static_cast<double>(t.bytes());
  return sum;
}

double layer_case::bytes_read() const {
  double sum = 0;
  for (const check_tensor& t : reads) sum += static_cast<double>(t.bytes());
  return sum;
}

std::vector<layer_case> layer_cases(bool small) {
  case_list list;
  const shape image = small ? shape{3, 5, 7, 6} : shape{32, 256, 56, 56};
  add_flat(list, image);
  add_pools(list, image);
  add_batch_norm(list, image);
  add_lines(list, small ? shape{11, 70} : shape{65536, 1000});
  small ? add_linear(list, 7, 9, 5) : add_linear(list, 8192, 4096, 4096);
  return std::move(list.cases);
}

layer_sets::layer_sets(device& on, const layer_case& c) : on_(on), case_(c) {
  for (int set = 0; set < sets; ++set) {
    first_.push_back(memory_.size());
    std::uint64_t seed = static_cast<std::uint64_t>(set) * 100 + 1;
    for (auto* list : {&reads_, &writes_}) {
      list->emplace_back();
      for (const check_tensor& t : list == &reads_ ? c.reads : c.writes) {
        memory_.push_back({device_array(on, t.bytes()), {}, {}});
        stored& m = memory_.back();
        m.ref = {m.there.data(), type_of(t), t.extents, row_major(t.extents)};
        list->back().push_back(m.ref);
        if (list == &writes_) continue;
        m.here = drawn(t, seed++);
        if (std::string error = on.upload(m.there.data(), m.here.data(), m.here.size()); !error.empty())
          throw std::runtime_error(error);
      }
    }
  }
}

kernel_call layer_sets::call(int set, void* workspace) const {
  const auto at = static_cast<std::size_t>(set);
  return {reads_[at], writes_[at], workspace, 1};
}

void layer_sets::exchange(int set) {
  constexpr std::size_t pairs = 4;
  stored& m = memory_[first_[static_cast<std::size_t>(set)]];
  const std::size_t size = m.here.size() / sizeof(float), count = std::min(pairs, size / 2);
  auto* const values = reinterpret_cast<float*>(m.here.data());
  for (std::size_t i = 0; i < count; ++i) std::swap(values[i], values[size - 1 - i]);
  on_.upload(m.there.data(), values, count * sizeof(float));
  on_.upload(m.there.data() + size - count, values + size - count, count * sizeof(float));
}

void layer_sets::poison(int set) {
  const auto at = static_cast<std::size_t>(set);
  for (std::size_t i = 0; i < case_.writes.size(); ++i)
    on_.fill(writes_[at][i].data, 0xff, case_.writes[i].bytes());
}

std::vector<std::byte> layer_sets::outputs(int set) const {
  std::vector<std::byte> all;
  for (std::size_t i = 0; i < case_.writes.size(); ++i) {
    const std::size_t before = all.size();
    all.resize(before + case_.writes[i].bytes());
    on_.download(all.data() + before, writes_[static_cast<std::size_t>(set)][i].data,
                 case_.writes[i].bytes());
  }
  return all;
}

std::string compare_outputs(const layer_case& c, const std::vector<std::byte>& got,
                            const std::vector<std::byte>& expected, double share) {
  std::size_t at = 0;
  for (std::size_t i = 0; i < c.writes.size(); at += c.writes[i++].bytes()) {
    const check_tensor& t = c.writes[i];
    if (t.what == kind::index) {
      if (std::memcmp(got.data() + at, expected.data() + at, t.bytes()) != 0)
        return "wrong: an index differs from that of host execution";
      continue;
    }
    const auto value = [at](const std::vector<std::byte>& from, index_t n) {
      float v;
      std::memcpy(&v, from.data() + at + 4 * static_cast<std::size_t>(n), sizeof v);
      return static_cast<double>(v);
    };
    double largest = 0;
    for (index_t n = 0; n < t.extents.size(); ++n)
      largest = std::fmax(largest, std::fabs(value(expected, n)));
    for (index_t n = 0; n < t.extents.size(); ++n)
      if (!(std::fabs(value(got, n) - value(expected, n)) <= share * largest))
        return "wrong: element " + coordinates(n, t.extents) + " is " + std::to_string(value(got, n)) +
               ", not " + std::to_string(value(expected, n));
  }
  return {};
}

layer_runner::layer_runner(device& on, const layer_case& c, std::size_t workspace, enqueue run)
    : on_(on), data_(on, c), workspace_(on, workspace), run_(std::move(run)) {}

std::string layer_runner::rehearse() {
  for (int set = 0; set < layer_sets::sets; ++set)
    for (int turn = 0; turn < 2; ++turn) {  // exchanged, and back
      data_.exchange(set);
      data_.poison(set);
      if (std::string error = run_(data_.call(set, workspace_.data())); !error.empty()) return error;
      if (std::string error = on_.finish(); !error.empty()) return error;
      expected_.push_back(data_.outputs(set));
    }
  return {};
}

contestant layer_runner::entry(const std::string& name, double floor) {
  contestant c;
  c.name = name;
  c.floor_seconds = floor;
  c.run = [this](int set) { return run_(data_.call(set, workspace_.data())); };
  c.poison = [this](int set) { data_.poison(set); };
  c.exchange = [this](int set) { data_.exchange(set); };
  c.check = [this](int set, bool exchanged) {
    const auto& wanted = expected_[static_cast<std::size_t>(2 * set + (exchanged ? 0 : 1))];
    const bool same = data_.outputs(set) == wanted;
    return same ? std::string() : std::string("an output differs from that of an untimed run");
  };
  return c;
}

std::map<std::string, double> check_layers(device& on, timing_device& clock, const registry& kernels,
                                           const std::string& glob, int rounds, int& bad) {
  std::map<std::string, double> shares;
  const auto small = layer_cases(true), large = layer_cases(false);
  for (std::size_t i = 0; i < small.size(); ++i)
    for (const kernel* k : kernels.matching(small[i].text.layer() + "." + small[i].pass + "/*")) {
      if (k->device != "cuda" || k->peer || !glob_match(glob, k->name) || !k->unavailable.empty()) continue;
      const std::string mode = small[i].text.has("mode") ? small[i].text.text("mode") : "";
      std::string line = judge(on, *k, kernels, small[i]);
      bool good = line.empty();
      if (good && rounds == 0) {
        line = "right";
      } else if (good) {
        const auto share = time_case(on, clock, *k, large[i], rounds, line);
        good = share.has_value();
        // Products do not wait for memory.
        if (share && k->layer != "linear") shares[k->name + (mode.empty() ? "" : " " + mode)] = *share;
      }
      std::printf("%-17s %-46s %-5s %s\n", mode.c_str(), k->name.c_str(), "nchw", line.c_str());
      bad += good ? 0 : 1;
    }
  return shares;
}

}  // namespace plumb::cuda
