// Bugs of convolutions and of whatever else multiplies its inputs by weights.
#include "properties/tests/law_plants.hpp"

namespace plumb::planted {
namespace {

void conv_plants(std::vector<plant>& list) {
  const auto pointwise = [](const layer& l) {
    const shape& weight = l.shapes()["weight"];
    return std::ranges::all_of(std::vector(weight.begin() + 2, weight.end()),
                               [](index_t k) { return k == 1; });
  };
  list.push_back(miswrite("conv.translation", "conv2d.forward", "skips the first column",
                          [](const layer&, const tensors&, tensors& w) {
                            replace(
                                w["y"], [](const shape& at) { return at[3] == 0; }, zero);
                          }));
  list.push_back(misread("conv.channel_permutation", "conv2d.backward_weights", "skips the last channel",
                         [](const layer&, tensors& r) { drop_last(r["x"], 1); }));
  list.push_back(misread("conv.filter_permutation", "conv2d.backward_data", "skips the last filter",
                         [](const layer&, tensors& r) { drop_last(r["dy"], 1); }));
  for (const char* law : {"conv.groups_as_blocks", "conv.groups_side_by_side"})
    list.push_back(misread(law, "conv2d.forward", "every group reads the channels of group 0", read_group_0));
  list.push_back(misread("conv.dilation", "conv2d.forward", "drops the last tap if dilated",
                         [](const layer& l, tensors& r) {
                           if (any_above(l, "dilation", 1)) drop_last(r["weight"], -1);
                         }));
  list.push_back(miswrite("conv.stride", "conv2d.backward_data", "drops the last row if strided",
                          [](const layer& l, const tensors&, tensors& w) {
                            if (any_above(l, "stride", 1)) drop_last(w["dx"], 2);
                          }));
  list.push_back(misread("conv.padding", "conv2d.backward_weights", "skips the first row if padded",
                         [](const layer& l, tensors& r) {
                           if (any_above(l, "pad", 0))
                             replace(
                                 r["dy"], [](const shape& at) { return at[2] == 0; }, zero);
                         }));
  list.push_back({"conv.flip", "conv2d.forward", "knows no flip",
                  [](const layer& l, const pass_spec& pass, const tensors& reads) {
                    problem text = l.canonical();
                    text.erase("flip");
                    return honest(*plumb::bind(text), pass, reads);
                  }});
  list.push_back({"conv.theorem", "conv2d.forward", "never flips the filter",
                  [](const layer& l, const pass_spec& pass, const tensors& reads) {
                    problem text = l.canonical();
                    text.erase("flip");
                    return honest(*plumb::bind(text), pass, reads);
                  }});
  list.push_back(miswrite("conv.extension", "conv2d.forward", "drops the filters of the tail",
                          [](const layer& l, const tensors&, tensors& w) {
                            const index_t whole = l.shapes()["weight"][0] / 4 * 4;
                            replace(
                                w["y"], [&](const shape& at) { return at[1] >= whole; }, zero);
                          }));
  list.push_back(miswrite("conv.axes", "conv2d.backward_data", "drops the last row of tall images",
                          [](const layer& l, const tensors&, tensors& w) {
                            if (l.shapes()["x"][2] > l.shapes()["x"][3]) drop_last(w["dx"], 2);
                          }));
  list.push_back(misread("conv.pointwise", "conv2d.forward", "1x1 reads the first channel for the last",
                         [pointwise](const layer& l, tensors& r) {
                           if (!pointwise(l)) return;
                           first_for_last(r["x"], 1);
                         }));
  list.push_back(misread("conv.impulse", "conv2d.forward", "reads the first tap for the last",
                         [](const layer&, tensors& r) { first_for_last(r["weight"], 3); }));
  list.push_back(miswrite("conv.transposed", "conv2d.backward_data", "leaves the last column at 0",
                          [](const layer&, const tensors&, tensors& w) { drop_last(w["dx"], 3); }));
  list.push_back(misread("conv.weight_gradient", "conv2d.backward_weights", "misses the last row of dy",
                         [](const layer&, tensors& r) { drop_last(r["dy"], 2); }));
  list.push_back(misread("conv.weight_gradient", "conv2d.forward", "misses the last row of x",
                         [](const layer&, tensors& r) { drop_last(r["x"], 2); }));
  list.push_back(misread("conv.bias", "conv2d.forward", "adds the first bias to every filter",
                         [](const layer&, tensors& r) {
                           if (r.has("bias")) std::ranges::fill(r["bias"].values(), r["bias"][0]);
                         }));
  list.push_back(misread("conv.bias_gradient", "conv2d.backward_bias", "misses the last sample",
                         [](const layer&, tensors& r) { drop_last(r["dy"], 0); }));
}

void linear_plants(std::vector<plant>& list) {
  list.push_back(misread("linear.product", "linear.forward", "misses the last feature",
                         [](const layer&, tensors& r) { drop_last(r["weight"], 1); }));
  list.push_back(misread("linear.feature_permutation", "linear.backward_weights", "misses the first feature",
                         [](const layer&, tensors& r) {
                           replace(
                               r["x"], [](const shape& at) { return at[at.rank() - 1] == 0; }, zero);
                         }));
  list.push_back(misread("linear.unit_permutation", "linear.backward_data", "misses the last unit",
                         [](const layer&, tensors& r) { drop_last(r["dy"], -1); }));
  list.push_back(misread("linear.extension", "linear.forward", "drops the features of the tail",
                         [](const layer& l, tensors& r) {
                           const index_t whole = l.shapes()["weight"][1] / 4 * 4;
                           replace(
                               r["weight"], [&](const shape& at) { return at[1] >= whole; }, zero);
                         }));
  list.push_back(misread("linear.convolution", "linear.backward_bias", "misses the last row",
                         [](const layer&, tensors& r) { drop_last(r["dy"], 0); }));
}

void matmul_plants(std::vector<plant>& list) {
  list.push_back(misread("matmul.sums", "matmul.backward_weights", "misses the last row",
                         [](const layer&, tensors& r) { drop_last(r["dy"], 0); }));
  for (const char* law : {"matmul.identity", "matmul.associativity"})
    list.push_back(miswrite(law, "matmul.forward", "leaves the last column out",
                            [](const layer&, const tensors&, tensors& w) { drop_last(w["y"], 1); }));
  list.push_back(misread("matmul.transposition", "matmul.forward", "misses the last row",
                         [](const layer&, tensors& r) { drop_last(r["x"], 0); }));
  list.push_back(misread("matmul.blocks", "matmul.forward", "drops the terms of the tail",
                         [](const layer& l, tensors& r) {
                           const index_t whole = l.shapes()["w"][0] / 4 * 4;
                           replace(
                               r["w"], [&](const shape& at) { return at[0] >= whole; }, zero);
                         }));
  list.push_back(misread("matmul.inner_permutation", "matmul.backward_data", "skips the first term",
                         [](const layer&, tensors& r) {
                           replace(
                               r["w"], [](const shape& at) { return at[0] == 0; }, zero);
                         }));
}

void perceptron_plants(std::vector<plant>& list) {
  list.push_back(
      miswrite("perceptron.mistakes", "perceptron.forward", "learns the bias only",
               [](const layer&, const tensors& r, tensors& w) { w["updated_weight"] = r["weight"]; }));
  list.push_back(miswrite("perceptron.right", "perceptron.forward", "forgets a little at every step",
                          [](const layer&, const tensors&, tensors& w) {
                            for (double& v : w["updated_weight"].values()) v /= 2;
                          }));
  list.push_back(miswrite("perceptron.gradient_descent", "adaline.forward", "goes uphill",
                          [](const layer&, const tensors& r, tensors& w) {
                            for (index_t i = 0; i < r["weight"].size(); ++i)
                              w["updated_weight"][i] = 2 * r["weight"][i] - w["updated_weight"][i];
                          }));
  list.push_back(miswrite("perceptron.bias", "adaline.forward", "never learns the bias",
                          [](const layer&, const tensors& r, tensors& w) { w["updated_bias"] = r["bias"]; }));
  list.push_back(misread("perceptron.feature_permutation", "adaline.backward", "misses the last feature",
                         [](const layer&, tensors& r) { drop_last(r["x"], 0); }));
}

void transposed_plants(std::vector<plant>& list) {
  const auto without_last_tap = [](const layer&, tensors& r) { drop_last(r["weight"], -1); };
  list.push_back(
      misread("conv_transpose.adjoint", "conv_transpose2d.forward", "drops the last tap", without_last_tap));
  list.push_back(misread("conv_transpose.bias_gradient", "conv_transpose2d.backward_bias",
                         "misses the last sample", [](const layer&, tensors& r) { drop_last(r["dy"], 0); }));
  list.push_back(miswrite("conv_transpose.stride", "conv_transpose2d.forward",
                          "drops the last row if strided", [](const layer& l, const tensors&, tensors& w) {
                            if (any_above(l, "stride", 1)) drop_last(w["y"], 2);
                          }));
  list.push_back(misread("conv_transpose.dilation", "conv_transpose2d.forward",
                         "drops the last tap if dilated", [=](const layer& l, tensors& r) {
                           if (any_above(l, "dilation", 1)) without_last_tap(l, r);
                         }));
  list.push_back(misread("conv_transpose.padding", "conv_transpose2d.backward_weights",
                         "skips the first row if padded", [](const layer& l, tensors& r) {
                           if (any_above(l, "pad", 0))
                             replace(
                                 r["dy"], [](const shape& at) { return at[2] == 0; }, zero);
                         }));
  list.push_back(miswrite("conv_transpose.output_pad", "conv_transpose2d.forward",
                          "adds rows in front, not at the end",
                          [](const layer& l, const tensors&, tensors& w) {
                            if (any_above(l, "output_pad", 0))
                              replace(
                                  w["y"], [](const shape& at) { return at[2] == 0 || at[3] == 0; }, zero);
                          }));
  list.push_back(misread("conv_transpose.channel_permutation", "conv_transpose2d.backward_weights",
                         "skips the last channel", [](const layer&, tensors& r) { drop_last(r["x"], 1); }));
  list.push_back(miswrite("conv_transpose.axes", "conv_transpose2d.backward_data",
                          "drops the last row of tall images",
                          [](const layer& l, const tensors&, tensors& w) {
                            if (l.shapes()["x"][2] > l.shapes()["x"][3]) drop_last(w["dx"], 2);
                          }));
}

void filter_plants(std::vector<plant>& list) {
  const auto without_last_tap = [](const layer&, tensors& r) { drop_last(r["weight"], -1); };
  list.push_back(misread("depthwise_conv.groups", "depthwise_conv2d.forward",
                         "reads the first channel for the last",
                         [](const layer&, tensors& r) { first_for_last(r["x"], 1); }));
  list.push_back(misread("depthwise_conv.channel_permutation", "depthwise_conv2d.backward_weights",
                         "skips the last channel", [](const layer&, tensors& r) { drop_last(r["x"], 1); }));
  list.push_back(misread("locally_connected.equal_filters", "locally_connected2d.forward",
                         "drops the last tap", without_last_tap));
  list.push_back(misread("locally_connected.neurons", "locally_connected2d.forward",
                         "shares the filters of the first column with the last",
                         [](const layer&, tensors& r) { first_for_last(r["weight"], 2); }));
  list.push_back(misread("row_conv.depthwise", "row_conv1d.forward", "drops the last tap", without_last_tap));
  list.push_back(miswrite("row_conv.transposed", "row_conv1d.forward",
                          "leaves out the last time if time comes first",
                          [](const layer& l, const tensors&, tensors& w) {
                            if (!l.resolved().flag("feature_first")) drop_last(w["y"], 1);
                          }));
  list.push_back(miswrite("unfold.matrix_product", "unfold2d.forward", "leaves the last column out",
                          [](const layer&, const tensors&, tensors& w) { drop_last(w["y"], 2); }));
  list.push_back(miswrite("unfold.adjoint", "fold2d.forward", "leaves the last column out",
                          [](const layer&, const tensors&, tensors& w) { drop_last(w["y"], 3); }));
  list.push_back(misread("unfold.counts", "unfold2d.backward", "misses the last window",
                         [](const layer&, tensors& r) { drop_last(r["dy"], 2); }));
}

}  // namespace

void add_weighted_plants(std::vector<plant>& list) {
  conv_plants(list);
  linear_plants(list);
  matmul_plants(list);
  perceptron_plants(list);
  transposed_plants(list);
  filter_plants(list);
}

}  // namespace plumb::planted
