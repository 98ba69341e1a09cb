#include "reference/graph/networks.hpp"

#include <algorithm>
#include <charconv>
#include <functional>

namespace plumb {
namespace {

using role = graph_source::role;

index_t scaled(const network_size& size, index_t channels) {
  return std::max<index_t>(1, (channels + size.shrink - 1) / size.shrink);
}

/// Writes a network front to back; each call adds a node that reads `at_` and names it after what it is.
class network_builder {
 public:
  network_builder(const network_size& size, index_t channels, index_t image) : size_(size), at_("image") {
    const index_t side = size.image > 0 ? size.image : image;
    graph_.add_source("image", shape{size.batch, channels, side, side}, role::data);
    extents_ = shape{size.batch, channels, side, side};
  }

  const std::string& at() const { return at_; }
  const shape& extents() const { return extents_; }
  /// Continues from an earlier value: where branches begin.
  void go_to(const std::string& value, const shape& extents) {
    at_ = value;
    extents_ = extents;
  }
  index_t scaled(index_t channels) const { return ::plumb::scaled(size_, channels); }

  void convolve(index_t filters, index_t window, const std::string& attributes = {}, bool bias = true) {
    const std::string name = numbered("conv", convolutions_);
    graph_.add_source(name + ".weight", shape{filters, extents_[1], window, window}, role::parameter);
    std::vector<computational_graph::wire> wires = {{"x", at_}, {"weight", name + ".weight"}};
    if (bias) {
      graph_.add_source(name + ".bias", shape{filters}, role::parameter);
      wires.push_back({"bias", name + ".bias"});
    }
    add(name, "conv2d", std::move(wires), attributes);
  }
  void relu() { add(numbered("relu", activations_), "relu", {{"x", at_}}); }
  void tanh() { add(numbered("tanh", activations_), "tanh", {{"x", at_}}); }
  void max_pool(index_t window, index_t stride, index_t pad = 0) {
    add(numbered("pool", pools_), "max_pool2d", {{"x", at_}}, pooling(window, stride, pad));
  }
  void avg_pool(index_t window, index_t stride) {
    add(numbered("pool", pools_), "avg_pool2d", {{"x", at_}}, pooling(window, stride, 0));
  }
  void local_response_norm() {
    add(numbered("lrn", norms_), "lrn", {{"x", at_}}, "size=5 alpha=0.0001 beta=0.75 k=2");
  }
  void batch_norm() {
    const std::string name = numbered("norm", norms_);
    std::vector<computational_graph::wire> wires = {{"x", at_}};
    for (const char* parameter : {"gamma", "beta"}) {
      graph_.add_source(name + "." + parameter, shape{extents_[1]}, role::parameter);
      wires.push_back({parameter, name + "." + parameter});
    }
    add(name, "batch_norm", std::move(wires), "mode=train");
  }
  void join(const std::string& name, const std::string& layer, std::vector<computational_graph::wire> wires,
            const std::string& attributes = {}) {
    add(name, layer, std::move(wires), attributes);
  }
  void flatten() {
    if (extents_.rank() > 2) add("flatten", "flatten", {{"x", at_}});
  }
  void fully_connect(index_t outputs) {
    flatten();
    const std::string name = numbered("fc", dense_);
    graph_.add_source(name + ".weight", shape{outputs, extents_[1]}, role::parameter);
    graph_.add_source(name + ".bias", shape{outputs}, role::parameter);
    add(name, "linear", {{"x", at_}, {"weight", name + ".weight"}, {"bias", name + ".bias"}});
  }

  computational_graph finish() {
    graph_.add_source("target", shape{size_.batch}, role::target);
    graph_.add_node("loss", "cross_entropy", {{"x", at_}, {"target", "target"}});
    graph_.seal("loss");
    return std::move(graph_);
  }

 private:
  static std::string numbered(const char* kind, int& count) { return kind + std::to_string(++count); }
  static std::string pooling(index_t window, index_t stride, index_t pad) {
    return "window=" + std::to_string(window) + " stride=" + std::to_string(stride) +
           (pad > 0 ? " pad=" + std::to_string(pad) : "");
  }

  /// The shape that comes out is asked of the layer, bound on its own.
  void add(const std::string& name, const std::string& layer, std::vector<computational_graph::wire> wires,
           const std::string& attributes = {}) {
    graph_.add_node(name, layer, std::move(wires), attributes);
    graph_.seal(name);
    at_ = graph_.output();
    extents_ = graph_.extents_of(at_);
  }

  network_size size_;
  computational_graph graph_;
  std::string at_;
  shape extents_;
  int convolutions_ = 0, activations_ = 0, pools_ = 0, norms_ = 0, dense_ = 0;
};

/// affine, relu, affine: the two-layer net of the lecture, on 32×32 colour images.
computational_graph two_layer_net(const network_size& size) {
  network_builder net(size, 3, 32);
  net.fully_connect(net.scaled(100));
  net.relu();
  net.fully_connect(10);
  return net.finish();
}

/// LeCun, Bottou, Bengio & Haffner 1998, with full connections between the maps and a softmax at the end.
computational_graph lenet5(const network_size& size) {
  network_builder net(size, 1, 32);
  net.convolve(net.scaled(6), 5);
  net.tanh();
  net.avg_pool(2, 2);
  net.convolve(net.scaled(16), 5);
  net.tanh();
  net.avg_pool(2, 2);
  net.convolve(net.scaled(120), net.extents()[2]);
  net.tanh();
  net.fully_connect(net.scaled(84));
  net.tanh();
  net.fully_connect(10);
  return net.finish();
}

/// Krizhevsky, Sutskever & Hinton 2012, in one column.
computational_graph alexnet(const network_size& size) {
  network_builder net(size, 3, 227);
  net.convolve(net.scaled(96), 11, "stride=4");
  net.relu();
  net.local_response_norm();
  net.max_pool(3, 2);
  net.convolve(net.scaled(256), 5, "pad=2");
  net.relu();
  net.local_response_norm();
  net.max_pool(3, 2);
  for (const index_t filters : {384, 384, 256}) {
    net.convolve(net.scaled(filters), 3, "pad=1");
    net.relu();
  }
  net.max_pool(3, 2);
  for (int layer = 0; layer < 2; ++layer) {
    net.fully_connect(net.scaled(4096));
    net.relu();
  }
  net.fully_connect(1000 / (size.shrink > 1 ? 100 : 1));
  return net.finish();
}

/// Simonyan & Zisserman 2015, configuration D.
computational_graph vgg16(const network_size& size) {
  network_builder net(size, 3, 224);
  for (const auto& [filters, depth] :
       {std::pair(64, 2), std::pair(128, 2), std::pair(256, 3), std::pair(512, 3), std::pair(512, 3)}) {
    for (int layer = 0; layer < depth; ++layer) {
      net.convolve(net.scaled(filters), 3, "pad=1");
      net.relu();
    }
    net.max_pool(2, 2);
  }
  for (int layer = 0; layer < 2; ++layer) {
    net.fully_connect(net.scaled(4096));
    net.relu();
  }
  net.fully_connect(1000 / (size.shrink > 1 ? 100 : 1));
  return net.finish();
}

/// He, Zhang, Ren & Sun 2016: two 3×3 convolutions, or 1×1, 3×3, 1×1, beside the identity.
computational_graph resnet_block(const network_size& size, bool bottleneck) {
  const index_t narrow = 64, wide = bottleneck ? 256 : 64;
  network_builder net(size, scaled(size, wide), 56);
  const std::string entry = net.at();
  const std::vector<std::pair<index_t, index_t>> layers =
      bottleneck ? std::vector<std::pair<index_t, index_t>>{{narrow, 1}, {narrow, 3}, {wide, 1}}
                 : std::vector<std::pair<index_t, index_t>>{{narrow, 3}, {narrow, 3}};
  for (std::size_t i = 0; i < layers.size(); ++i) {
    net.convolve(net.scaled(layers[i].first), layers[i].second, layers[i].second == 3 ? "pad=1" : "", false);
    net.batch_norm();
    if (i + 1 < layers.size()) net.relu();
  }
  net.join("shortcut", "add", {{"x0", net.at()}, {"x1", entry}});
  net.relu();
  net.fully_connect(10);
  return net.finish();
}

/// Szegedy et al. 2015, block 3a: 1×1, 1×1-3×3, 1×1-5×5 and pool-1×1 side by side.
computational_graph inception_block(const network_size& size) {
  network_builder net(size, scaled(size, 192), 28);
  const std::string entry = net.at();
  const shape extents = net.extents();
  std::vector<computational_graph::wire> branches;
  const auto end_branch = [&] {
    branches.push_back({"x" + std::to_string(branches.size()), net.at()});
    net.go_to(entry, extents);
  };
  const auto convolve = [&](index_t filters, index_t window) {
    net.convolve(net.scaled(filters), window, "pad=" + std::to_string(window / 2));
    net.relu();
  };
  convolve(64, 1);
  end_branch();
  convolve(96, 1);
  convolve(128, 3);
  end_branch();
  convolve(16, 1);
  convolve(32, 5);
  end_branch();
  net.max_pool(3, 1, 1);
  convolve(32, 1);
  end_branch();
  net.join("join", "concat", branches, "count=4 axis=1");
  net.fully_connect(10);
  return net.finish();
}

/// Reads the pattern from left to right.
class pattern_reader {
 public:
  explicit pattern_reader(std::string_view text) : text_(text) {}

  struct plan {
    index_t convolutions = 0, blocks = 0, dense = 0;
    bool pools = false, only_if_it_fits = false;
  };
  plan read() {
    plan p;
    expect("[(CONV-RELU)*");
    p.convolutions = number();
    if (take("-POOL")) {
      p.pools = true;
      p.only_if_it_fits = take("?");
    }
    expect("]*");
    p.blocks = number();
    expect("-(FC-RELU)*");
    p.dense = number();
    expect(",");
    while (take(" ")) {
    }
    expect("SOFTMAX");
    if (at_ != text_.size()) fail("the end");
    return p;
  }

 private:
  bool take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  void expect(std::string_view word) {
    if (!take(word)) fail("`" + std::string(word) + "`");
  }
  index_t number() {
    index_t value = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc() || value < 0 || value > 20) fail("a number from 0 to 20");
    at_ = static_cast<std::size_t>(end - text_.data());
    return value;
  }
  [[noreturn]] void fail(const std::string& expected) const {
    throw text_error(
        std::string(text_), at_ + 1,
        "expected " + expected +
            " of the pattern [(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K,SOFTMAX with numbers for N, M and K");
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

/// 3×3 filters that keep the size, twice as many after every pool; 32×32 colour images in, ten classes out.
computational_graph from_pattern(std::string_view text, const network_size& size) {
  const pattern_reader::plan plan = pattern_reader(text).read();
  network_builder net(size, 3, 32);
  index_t filters = 16;
  for (index_t block = 0; block < plan.blocks; ++block) {
    for (index_t layer = 0; layer < plan.convolutions; ++layer) {
      net.convolve(net.scaled(filters), 3, "pad=1");
      net.relu();
    }
    if (plan.pools && !(plan.only_if_it_fits && net.extents()[2] < 2)) net.max_pool(2, 2);
    filters *= 2;
  }
  for (index_t layer = 0; layer < plan.dense; ++layer) {
    net.fully_connect(net.scaled(64));
    net.relu();
  }
  net.fully_connect(10);
  return net.finish();
}

struct named_network {
  std::string name;
  std::function<computational_graph(const network_size&)> make;
  network_size checkable;
};

const std::vector<named_network>& named_networks() {
  static const std::vector<named_network> table = {
      {"two_layer_net", two_layer_net, {.batch = 3, .image = 8, .shrink = 8}},
      {"lenet5", lenet5, {.batch = 2, .image = 32, .shrink = 2}},
      {"alexnet", alexnet, {.batch = 1, .image = 67, .shrink = 32}},
      {"vgg16", vgg16, {.batch = 1, .image = 32, .shrink = 32}},
      {"resnet_basic_block",
       [](const network_size& s) { return resnet_block(s, false); },
       {.batch = 2, .image = 7, .shrink = 16}},
      {"resnet_bottleneck_block",
       [](const network_size& s) { return resnet_block(s, true); },
       {.batch = 2, .image = 7, .shrink = 16}},
      {"inception_block", inception_block, {.batch = 2, .image = 7, .shrink = 16}},
  };
  return table;
}

}  // namespace

const std::vector<std::string>& network_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const named_network& n : named_networks()) list.push_back(n.name);
    return list;
  }();
  return names;
}

bool is_network(std::string_view word) {
  return word.starts_with("[") || std::ranges::find(network_names(), word) != network_names().end();
}

computational_graph make_network(std::string_view name, const network_size& size) {
  if (name.starts_with("[")) return from_pattern(name, size);
  for (const named_network& n : named_networks())
    if (n.name == name) return n.make(size);
  throw text_error(std::string(name), 1,
                   "no such network; expected " + list_of(network_names()) + ", or a pattern");
}

network_size checkable_size(std::string_view name) {
  for (const named_network& n : named_networks())
    if (n.name == name) return n.checkable;
  return {.batch = 2, .image = 8, .shrink = 8};
}

}  // namespace plumb
