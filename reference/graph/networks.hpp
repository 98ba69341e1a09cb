// Networks as computational graphs: the pattern of the lecture,
//     [(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K,SOFTMAX        as in  [(CONV-RELU)*2-POOL]*2-(FC-RELU)*1,SOFTMAX
// and the ones with names. Every network ends in the mean cross-entropy against class labels, so that its output is
// one number. Karpathy, CS231n, for the pattern; the papers stand beside each network.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reference/graph/graph.hpp"

namespace plumb {

/// How large an instance is. Channels are divided by `shrink` and rounded up to at least 1; classes stay.
struct network_size {
  index_t batch = 1;
  index_t image = 0;  ///< height and width; 0: the published size
  index_t shrink = 1;
};

/// `two_layer_net`, `lenet5`, `alexnet`, `vgg16`, `resnet_basic_block`, `resnet_bottleneck_block`, `inception_block`.
const std::vector<std::string>& network_names();

/// A named network, or one of the pattern. Throws text_error that points at what it could not read.
computational_graph make_network(std::string_view name, const network_size& size = {});

/// An instance small enough for 100-digit arithmetic in seconds, every layer of the network in it.
network_size checkable_size(std::string_view name);

/// Whether the word is a network and not a layer: a name from the list, or a pattern.
bool is_network(std::string_view word);

}  // namespace plumb
