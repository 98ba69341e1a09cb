// Output shapes by hand and error sentences of the activations, normalisations, softmax and the losses, and
// the targets that they refuse.
#include <gtest/gtest.h>

#include "reference/tests/shape_text.hpp"

namespace plumb {
namespace {

/// What the layer says about a class number, when it computes its loss.
std::string complaint_about_target(std::string_view text, index_t target) {
  const auto l = plumb::bind(text);
  tensor_set<double> in, out;
  for (const tensor_spec& s : l->describe().inputs)
    if (s.kind == element::index)
      in.add_indices(s.name, tensor<index_t>(l->shapes()[s.name], target));
    else if (l->present(s.name))
      in.add(s.name, tensor<double>(l->shapes()[s.name]));
  for (const tensor_spec& s : l->describe().outputs) out.add(s.name, tensor<double>(l->shapes()[s.name]));
  try {
    l->as<double>().forward(std::as_const(in).views(), out.views());
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return {};
}

TEST(norm_shapes, of_statistics) {
  EXPECT_EQ(output("batch_norm x=2x3x4x5", "mean"), "3");
  EXPECT_EQ(output("batch_norm x=2x3", "invstd"), "3");
  EXPECT_EQ(output("batch_norm x=1x3x1x1x2 running_mean=3 running_var=3", "new_running_var"), "3");
  EXPECT_FALSE(plumb::bind("batch_norm x=2x3")->present("new_running_mean"));
  EXPECT_FALSE(plumb::bind("batch_norm x=2x3 running_mean=3 running_var=3 mode=eval")->present("mean"));
  EXPECT_EQ(output("layer_norm x=2x3x4x5", "mean"), "2");
  EXPECT_EQ(output("layer_norm x=2x3x4x5 axes=1", "mean"), "2x3x4");
  EXPECT_EQ(output("rms_norm x=2x3x4x5 axes=2", "invrms"), "2x3");
  EXPECT_EQ(output("group_norm x=2x6x4 groups=3", "mean"), "2x3");
  EXPECT_EQ(output("instance_norm x=2x6x4x5", "invstd"), "2x6");
}

TEST(norm_shapes, of_losses) {
  EXPECT_EQ(output("nll_loss x=2x3x4x5 target=2x4x5 reduction=none"), "2x4x5");
  EXPECT_EQ(plumb::bind("nll_loss x=2x3 target=2")->shapes()["y"].rank(), 0);
  EXPECT_EQ(plumb::bind("nll_loss x=2x3 target=2")->shapes()["total_weight"].rank(), 0);
  EXPECT_EQ(output("multiclass_hinge x=4x3 target=4 reduction=none"), "4");
  EXPECT_EQ(output("kl_div x=4x3 target=4x3 reduction=none"), "4x3");
  EXPECT_EQ(plumb::bind("kl_div x=4x3 target=4x3 reduction=batchmean")->shapes()["y"].rank(), 0);
  EXPECT_EQ(output("cross_entropy x=2x3x4 target=2x3x4 targets=probabilities reduction=none"), "2x4");
}

TEST(norm_errors, of_attributes) {
  EXPECT_EQ(complaint("hard_tanh x=3 min=1 max=1"), "min=1 must be less than max=1");
  EXPECT_EQ(complaint("celu x=3 alpha=0"), "alpha=0 divides by zero; expected a positive number");
  EXPECT_EQ(complaint("softplus x=3 beta=0"), "beta=0 divides by zero; expected any other number");
  EXPECT_EQ(complaint("huber x=3 target=3 delta=0"),
            "delta=0 makes every loss 0; expected a positive number");
}

TEST(norm_errors, of_normalisations) {
  EXPECT_EQ(complaint("batch_norm x=1x3"),
            "x=1x3 has 1 values a channel; training needs at least 2 for a variance");
  EXPECT_EQ(complaint("batch_norm x=0x3x4"),
            "x=0x3x4 has 0 values a channel; training needs at least 2 for a variance");
  EXPECT_EQ(complaint("batch_norm x=4"), "x=4 has no channels; expected N,C or N,C,…");
  EXPECT_EQ(complaint("batch_norm x=4x3 gamma=4"),
            "gamma=4 does not match x=4x3; expected one number a channel: gamma=3");
  EXPECT_EQ(complaint("batch_norm x=4x3 running_mean=3"),
            "running_mean and running_var come together; expected both or none");
  EXPECT_EQ(complaint("batch_norm x=4x3 mode=eval"),
            "`batch_norm x=4x3 mode=eval`: `batch_norm` needs the shape of `running_mean`, as in "
            "`running_mean=1x3x32x32`");
  EXPECT_EQ(complaint("layer_norm x=4x3 axes=2"),
            "axes=2 does not fit x=4x3; expected at least 1 and fewer than x has, and none of them empty");
  EXPECT_EQ(complaint("layer_norm x=2x3x4 beta=3"), "beta=3 does not match x=2x3x4; expected beta=3x4");
  EXPECT_EQ(complaint("rms_norm x=2x0"),
            "axes=1 does not fit x=2x0; expected at least 1 and fewer than x has, and none of them empty");
  EXPECT_EQ(complaint("group_norm x=2x5x4 groups=2"), "x=2x5x4 has 5 channels; groups=2 must divide them");
  EXPECT_EQ(complaint("instance_norm x=2x5x0"), "x=2x5x0 is empty along axis 2");
  EXPECT_EQ(
      complaint("prelu x=2x5 weight=2"),
      "weight=2 does not match x=2x5; expected x=N,C,… and one number a channel, or one for all: weight=C or "
      "weight=1");
  EXPECT_EQ(complaint("lrn x=2 size=3"), "x=2 has no channels; expected N,C or N,C,…");
  EXPECT_EQ(complaint("dropout x=2x3 mask=3x2"), "mask=3x2 must have the shape of x: mask=2x3");
}

TEST(norm_errors, of_losses) {
  EXPECT_EQ(complaint("softmax x=2x3 axis=2"),
            "x=2x3 has nothing along axis=2; expected an axis that x has, with at least one element");
  EXPECT_EQ(complaint("mse x=2x3 target=6"), "target=6 must have the shape of x: target=2x3");
  EXPECT_EQ(complaint("bce_with_logits x=2x3 target=2x3 pos_weight=2"),
            "pos_weight=2 does not match the last axis of x=2x3; expected one number a position of it");
  EXPECT_EQ(complaint("nll_loss x=2x3x4 target=2x3"),
            "target=2x3 must be x=2x3x4 without its class axis: target=2x4");
  EXPECT_EQ(complaint("multiclass_hinge x=2x3 target=3"),
            "target=3 must have one class a sample of x=2x3: target=2");
  EXPECT_EQ(complaint("cross_entropy x=2x3 target=2 targets=probabilities"),
            "target=2 must have a probability for every score of x=2x3: target=2x3");
  EXPECT_EQ(complaint("cross_entropy x=2x3 target=2x3 targets=probabilities ignore_index=1"),
            "ignore_index=1 names a class; targets=probabilities has none to ignore");
}

TEST(norm_errors, of_targets) {
  EXPECT_EQ(complaint_about_target("nll_loss x=2x3 target=2", 3),
            "target[0] = 3 is neither a class, 0 to 2, nor ignore_index=-100");
  EXPECT_EQ(complaint_about_target("nll_loss x=2x3 target=2 ignore_index=3", 3), "");
  EXPECT_EQ(complaint_about_target("nll_loss x=2x3 target=2", -1),
            "target[0] = -1 is neither a class, 0 to 2, nor ignore_index=-100");
  EXPECT_EQ(complaint_about_target("multiclass_hinge x=2x3 target=2", -1),
            "target[0] = -1 is no class; expected 0 to 2");
}

}  // namespace
}  // namespace plumb
