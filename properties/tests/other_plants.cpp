// Bugs that any layer can have, and those of pooling, activations, losses, normalisations and rearrangements.
#include "properties/tests/law_plants.hpp"

namespace plumb::planted {
namespace {

void common_plants(std::vector<plant>& list) {
  list.push_back(miswrite("superposition", "conv2d.forward", "loses the sign",
                          [](const layer&, const tensors&, tensors& w) {
                            for (double& v : w["y"].values()) v = std::fabs(v);
                          }));
  list.push_back(miswrite("zero", "conv2d.backward_data", "starts the sums at 1",
                          [](const layer&, const tensors&, tensors& w) {
                            for (double& v : w["dx"].values()) v += 1;
                          }));
  list.push_back(misread("adjoint.backward", "conv2d.backward_data", "drops the last tap",
                         [](const layer&, tensors& r) { drop_last(r["weight"], -1); }));
  list.push_back(misread("adjoint.forward", "conv2d.forward", "drops the last tap",
                         [](const layer&, tensors& r) { drop_last(r["weight"], -1); }));
  list.push_back(miswrite("batch_split", "conv2d.backward_weights", "divides by the batch",
                          [](const layer& l, const tensors&, tensors& w) {
                            for (double& v : w["dweight"].values())
                              v /= static_cast<double>(std::max<index_t>(1, l.shapes()["x"][0]));
                          }));
  list.push_back(misread("channel_split", "batch_norm.forward",
                         "takes the last channel's gamma for the one before", [](const layer&, tensors& r) {
                           if (!r.has("gamma")) return;
                           std::vector<double>& gamma = r["gamma"].values();
                           if (gamma.size() > 1) gamma[gamma.size() - 2] = gamma.back();
                         }));
  list.push_back(misread("batch_permutation", "conv2d.forward", "ignores the last sample",
                         [](const layer&, tensors& r) { drop_last(r["x"], 0); }));
  list.push_back(miswrite("empty_batch", "conv2d.backward_weights",
                          "leaves the gradient unwritten without samples",
                          [](const layer& l, const tensors&, tensors& w) {
                            if (l.shapes()["x"][0] == 0)
                              for (double& v : w["dweight"].values()) v = 7;
                          }));
  list.push_back(miswrite("purity", "relu.forward", "adds to what the buffer held",
                          [left = std::make_shared<double>(0)](const layer&, const tensors&, tensors& w) {
                            for (double& v : w["y"].values()) v += *left;
                            *left += 1;
                          }));
}

void max_pool_plants(std::vector<plant>& list) {
  const auto at_least_0 = [](const shape&, double v) { return std::max(v, 0.0); };
  list.push_back(miswrite("max_pool.translation", "max_pool2d.forward", "pads the first column with 0",
                          [=](const layer&, const tensors&, tensors& w) {
                            replace(
                                w["y"], [](const shape& at) { return at[3] == 0; }, at_least_0);
                          }));
  list.push_back(misread("max_pool.channel_permutation", "max_pool2d.forward",
                         "reads the first channel for the last",
                         [](const layer&, tensors& r) { first_for_last(r["x"], 1); }));
  list.push_back(miswrite("max_pool.padding", "max_pool2d.forward", "pads with 0",
                          [=](const layer& l, const tensors&, tensors& w) {
                            if (any_above(l, "pad", 0))
                              replace(
                                  w["y"], [](const shape&) { return true; }, at_least_0);
                          }));
  list.push_back(miswrite("max_pool.stride", "max_pool2d.backward", "drops the last row if strided",
                          [](const layer& l, const tensors&, tensors& w) {
                            if (any_above(l, "stride", 1)) drop_last(w["dx"], 2);
                          }));
  list.push_back(miswrite("max_pool.axes", "max_pool2d.forward", "numbers cells by height instead of width",
                          [](const layer& l, const tensors&, tensors& w) {
                            const shape& x = l.shapes()["x"];
                            for (index_t& i : w.indices("indices").values()) i = i / x[3] * x[2] + i % x[3];
                          }));
  list.push_back(miswrite("max_pool.monotone", "max_pool2d.forward", "loses the sign",
                          [](const layer&, const tensors&, tensors& w) {
                            for (double& v : w["y"].values()) v = std::fabs(v);
                          }));
  list.push_back(miswrite("max_pool.equivariant", "max_pool2d.forward", "starts the maximum at 0",
                          [=](const layer&, const tensors&, tensors& w) {
                            replace(
                                w["y"], [](const shape&) { return true; }, at_least_0);
                          }));
  list.push_back(miswrite("max_pool.single_cell", "max_pool2d.forward",
                          "writes nothing for a window of one cell",
                          [](const layer& l, const tensors&, tensors& w) {
                            if (!any_above(l, "window", 1)) std::ranges::fill(w["y"].values(), 0);
                          }));
  list.push_back(miswrite(
      "max_pool.maximum", "max_pool2d.forward", "stores the first cell as the winner",
      [](const layer&, const tensors&, tensors& w) { std::ranges::fill(w.indices("indices").values(), 0); }));
  list.push_back(
      misread("max_pool.maximum", "max_pool2d.forward", "misses the last row", [](const layer&, tensors& r) {
        replace(
            r["x"], [&](const shape& at) { return last_of(r["x"], at, 2); },
            [](const shape&, double) { return -100; });
      }));
  list.push_back(
      miswrite("max_pool.separable", "max_pool2d.forward", "is off by one where windows are boxes",
               [](const layer& l, const tensors&, tensors& w) {
                 if (std::ranges::all_of(l.resolved().integers("window"), [](index_t k) { return k > 1; }))
                   for (double& v : w["y"].values()) v -= 1;
               }));
  list.push_back(miswrite("max_pool.gradient", "max_pool2d.backward", "overwrites instead of adding",
                          [](const layer& l, const tensors& r, tensors& w) {
                            const shape &x = l.shapes()["x"], &y = l.shapes()["y"];
                            for (index_t i = 0; i < r["dy"].size(); ++i)
                              w["dx"][i / (y[2] * y[3]) * x[2] * x[3] + r.indices("indices")[i]] = r["dy"][i];
                          }));
}

void activation_plants(std::vector<plant>& list) {
  const auto x = [](const tensors& r, index_t i) { return r["x"][i]; };
  const auto sigma = [](double v) { return 1 / (1 + std::exp(-v)); };
  list.push_back(elementwise("relu.idempotent", "relu.forward", "adds 1",
                             [=](const tensors& r, index_t i) { return x(r, i) > 0 ? x(r, i) + 1 : 0; }));
  list.push_back(elementwise("relu.homogeneous", "relu.forward", "clips at 4",
                             [=](const tensors& r, index_t i) { return std::clamp(x(r, i), 0.0, 4.0); }));
  list.push_back(elementwise("relu.split", "relu.forward", "leaks", [=](const tensors& r, index_t i) {
    return x(r, i) > 0 ? x(r, i) : x(r, i) / 4;
  }));
  list.push_back(elementwise("relu.gate", "relu.backward", "lets the gradient pass at 0",
                             [=](const tensors& r, index_t i) { return x(r, i) >= 0 ? r["dy"][i] : 0; }));
  list.push_back(elementwise("sigmoid.symmetry", "sigmoid.forward", "saturates early",
                             [=](const tensors& r, index_t i) { return std::min(sigma(x(r, i)), 0.99); }));
  list.push_back(elementwise("sigmoid.monotone", "sigmoid.forward", "takes -x for x",
                             [=](const tensors& r, index_t i) { return sigma(-x(r, i)); }));
  list.push_back(elementwise("sigmoid.half", "sigmoid.forward", "is off by a thousand ulp",
                             [=](const tensors& r, index_t i) { return sigma(x(r, i)) + 0x1p-14; }));
  list.push_back(elementwise("sigmoid.gradient_symmetry", "sigmoid.backward", "forgets 1 - y",
                             [](const tensors& r, index_t i) { return r["dy"][i] * r["y"][i]; }));
}

void loss_plants(std::vector<plant>& list) {
  list.push_back(miswrite("cross_entropy.shift", "cross_entropy.forward",
                          "does not subtract the maximum everywhere",
                          [](const layer&, const tensors& r, tensors& w) {
                            if (r["x"].size() > 0) w["y"][0] += r["x"][0];
                          }));
  list.push_back(miswrite("cross_entropy.zero_sum", "cross_entropy.backward",
                          "forgets to subtract the target", [](const layer&, const tensors& r, tensors& w) {
                            for (double& v : w["dx"].values()) v += r["dy"][0] / 1024;
                          }));
  list.push_back(misread("cross_entropy.ignored", "cross_entropy.backward",
                         "takes ignored targets for class 0", [](const layer& l, tensors& r) {
                           for (index_t& t : r.indices("target").values())
                             if (t == l.resolved().integer("ignore_index"))
                               t = t == 0 ? l.shapes()["x"][1] - 1 : 0;
                         }));
  list.push_back(misread("cross_entropy.class_permutation", "cross_entropy.forward", "ignores the last class",
                         [](const layer&, tensors& r) {
                           replace(
                               r["x"], [&](const shape& at) { return last_of(r["x"], at, 1); },
                               [](const shape&, double) { return -9; });
                         }));
  list.push_back(miswrite("cross_entropy.uniform", "cross_entropy.forward", "takes the logarithm to base 2",
                          [](const layer&, const tensors&, tensors& w) {
                            for (double& v : w["y"].values()) v /= std::log(2.0);
                          }));
  list.push_back(miswrite("cross_entropy.reductions", "cross_entropy.forward",
                          "divides by the number of targets",
                          [](const layer& l, const tensors& r, tensors& w) {
                            if (l.resolved().text("reduction") != "mean" || !r.has("weight")) return;
                            double weights = 0, count = 0;
                            for (const index_t t : r.indices("target").values())
                              if (t != l.resolved().integer("ignore_index"))
                                weights += r["weight"][t], count += 1;
                            if (count > 0) w["y"][0] *= weights / count;
                          }));
  list.push_back(miswrite("cross_entropy.positive", "cross_entropy.forward", "forgets the sign",
                          [](const layer&, const tensors&, tensors& w) {
                            for (double& v : w["y"].values()) v = -v;
                          }));
}

void more_activation_plants(std::vector<plant>& list) {
  const auto x = [](const tensors& r, index_t i) { return r["x"][i]; };
  list.push_back(
      elementwise("leaky_relu.identity", "leaky_relu.forward", "leaks 0.01 always",
                  [=](const tensors& r, index_t i) { return x(r, i) * (x(r, i) > 0 ? 1 : 0.01); }));
  list.push_back(elementwise("leaky_relu.homogeneous", "leaky_relu.forward", "clips at 4",
                             [=](const tensors& r, index_t i) { return std::min(x(r, i), 4.0); }));
  list.push_back(elementwise("leaky_relu.slopes", "leaky_relu.backward", "lets every gradient pass",
                             [](const tensors& r, index_t i) { return r["dy"][i]; }));
  list.push_back(
      misread("prelu.split", "prelu.forward", "takes the first weight for all",
              [](const layer&, tensors& r) { std::ranges::fill(r["weight"].values(), r["weight"][0]); }));
  list.push_back(shifted("prelu.weight_gradient", "prelu.backward_weights", "dweight", 1));
  list.push_back(stretched("clamp.idempotent", "clamp.forward", "y"));
  list.push_back(mirrored("clamp.monotone", "hard_tanh.forward"));
  list.push_back(stretched("clamp.gradient", "clamp.backward", "dx"));
  list.push_back(stretched("hard_sigmoid.symmetry", "hard_sigmoid.forward", "y"));
  list.push_back(mirrored("hard_sigmoid.monotone", "hard_sigmoid.forward"));
  list.push_back(elementwise("hard_sigmoid.even_gradient", "hard_sigmoid.backward", "stops below 0",
                             [=](const tensors& r, index_t i) { return x(r, i) > 0 ? r["dy"][i] / 6 : 0; }));
  for (const std::string name : {"hard_swish", "gelu", "silu", "softplus"}) {
    list.push_back(stretched(name + ".split", name + ".forward", "y"));
    list.push_back(stretched(name + ".gradient_split", name + ".backward", "dx"));
  }
  list.push_back(stretched("silu.sigmoid", "silu.forward", "y"));
  list.push_back(mirrored("softplus.monotone", "softplus.forward"));
  list.push_back(stretched("mish.composition", "mish.forward", "y"));
  list.push_back(shifted("elu.straight", "celu.forward", "y", 1));
  list.push_back(elementwise("elu.exponential", "elu.forward", "is straight below 0 too", x));
  list.push_back(shifted("odd_activation.odd", "softsign.forward", "y", 0x1p-8));
  list.push_back(elementwise("odd_activation.doubling", "tanh.forward", "saturates early",
                             [=](const tensors& r, index_t i) { return std::min(std::tanh(x(r, i)), 0.9); }));
  list.push_back(elementwise("odd_activation.even_gradient", "tanh.backward", "forgets the square",
                             [](const tensors& r, index_t i) { return r["dy"][i] * (1 - r["y"][i]); }));
}

void softmax_plants(std::vector<plant>& list) {
  for (const std::string name : {"softmax", "log_softmax"}) {
    list.push_back(mixed(name + ".shift", name + ".forward", "x", "y"));
    list.push_back(shifted(name + ".zero_sum", name + ".backward", "dx", 1));
  }
  list.push_back(stretched("softmax.sum", "softmax.forward", "y"));
  list.push_back(stretched("log_softmax.logarithm", "log_softmax.forward", "y"));
  list.push_back(stretched("cross_entropy.composition", "cross_entropy.forward", "y"));
}

void more_loss_plants(std::vector<plant>& list) {
  list.push_back(mixed("nll_loss.targets", "nll_loss.forward", "x", "y"));
  list.push_back(misread("nll_loss.ignored", "nll_loss.backward", "takes ignored targets for class 0",
                         [](const layer& l, tensors& r) {
                           for (index_t& t : r.indices("target").values())
                             if (t == l.resolved().integer("ignore_index"))
                               t = t == 0 ? l.shapes()["x"][1] - 1 : 0;
                         }));
  list.push_back(miswrite("nll_loss.reductions", "nll_loss.forward", "knows no reduction=mean",
                          [](const layer& l, const tensors&, tensors& w) {
                            if (l.resolved().text("reduction") == "mean") w["y"][0] *= w["total_weight"][0];
                          }));
  list.push_back(stretched("nll_loss.total", "nll_loss.backward", "dx"));
  list.push_back(shifted("multiclass_hinge.margin", "multiclass_hinge.backward", "dx", 1));
  list.push_back(shifted("multiclass_hinge.equal_scores", "multiclass_hinge.forward", "y", 1));
  list.push_back(mixed("multiclass_hinge.shift", "multiclass_hinge.forward", "x", "y"));
  list.push_back(shifted("multiclass_hinge.zero_sum", "multiclass_hinge.backward", "dx", 1));
  for (const auto& [family, name] : {std::pair<std::string, std::string>("distance", "mse"),
                                     {"huber", "huber"},
                                     {"smooth_l1", "smooth_l1"}})
    list.push_back(mixed(family + ".symmetric", name + ".forward", "target", "y"));
  list.push_back(mixed("distance.translation", "l1.forward", "x", "y"));
  list.push_back(stretched("huber.smooth_l1", "huber.backward", "dx"));
  list.push_back(stretched("smooth_l1.huber", "smooth_l1.forward", "y"));
  list.push_back(mixed("bce_with_logits.mirror", "bce_with_logits.forward", "x", "y"));
  list.push_back(miswrite("bce_with_logits.neutral", "bce_with_logits.backward", "adds pos_weight",
                          [](const layer&, const tensors& r, tensors& w) {
                            if (r.has("pos_weight"))
                              for (double& v : w["dx"].values()) v += r["pos_weight"][0];
                          }));
  list.push_back(shifted("kl_div.zero", "kl_div.forward", "y", 1));
  list.push_back(stretched("kl_div.affine", "kl_div.forward", "y"));
  list.push_back(mixed("l2_regularisation.quadratic", "l2_regularisation.forward", "weight", "y"));
}

void normalisation_plants(std::vector<plant>& list) {
  for (const std::string name : {"batch_norm", "layer_norm", "group_norm", "instance_norm"}) {
    list.push_back(mixed(name + ".shift", name + ".forward", "x", "y"));
    list.push_back(mixed(name + ".scale", name + ".forward", "x", "y"));
    list.push_back(
        misread(name + ".parameters", name + ".forward", "knows no beta", [](const layer&, tensors& r) {
          if (r.has("beta")) std::ranges::fill(r["beta"].values(), 0);
        }));
    list.push_back(shifted(name + ".zero_sum", name + ".backward", "dx", 1));
    list.push_back(miswrite(name + ".along_x", name + ".backward", "takes the deviation for a constant",
                            [](const layer&, const tensors& r, tensors& w) {
                              for (index_t i = 0; i < r["x"].size(); ++i) w["dx"][i] += r["x"][i];
                            }));
  }
  list.push_back(misread("batch_norm.channel_permutation", "batch_norm.forward", "reads channel 0 twice",
                         [](const layer&, tensors& r) { first_for_last(r["x"], 1); }));
  list.push_back(miswrite("batch_norm.modes", "batch_norm.forward", "takes the unbiased variance",
                          [](const layer& l, const tensors&, tensors& w) {
                            const double m = static_cast<double>(l.shapes()["x"].size() / l.shapes()["x"][1]);
                            if (l.resolved().text("mode") == "train")
                              for (double& v : w["y"].values()) v *= std::sqrt((m - 1) / m);
                          }));
  list.push_back(stretched("batch_norm.momentum", "batch_norm.forward", "new_running_var"));
  for (const std::string name : {"layer_norm", "rms_norm"})
    list.push_back(misread(name + ".feature_permutation", name + ".forward", "skips the last feature",
                           [](const layer&, tensors& r) { drop_last(r["x"], -1); }));
  list.push_back(stretched("group_norm.instance_norm", "group_norm.forward", "y"));
  list.push_back(stretched("instance_norm.group_norm", "instance_norm.backward", "dx"));
  list.push_back(mixed("rms_norm.scale", "rms_norm.forward", "x", "y"));
  list.push_back(stretched("rms_norm.unit", "rms_norm.forward", "y"));
  list.push_back(shifted("rms_norm.odd", "rms_norm.forward", "y", 1));
  list.push_back(stretched("lrn.identity", "lrn.forward", "y"));
  list.push_back(mixed("lrn.scale", "lrn.forward", "x", "y"));
  list.push_back(shifted("lrn.odd", "lrn.forward", "y", 1));
  list.push_back({"lrn.window", "lrn.forward", "looks one channel too far ahead",
                  [](const layer& l, const pass_spec& pass, const tensors& reads) {
                    problem text = l.canonical();
                    text.set("size", std::to_string(l.resolved().integer("size") + 2));
                    return honest(*plumb::bind(text), pass, reads);
                  }});
  list.push_back(stretched("dropout.identity", "dropout.backward", "dx"));
  list.push_back(shifted("dropout.halves", "dropout.forward", "y", 1));
}

bool anywhere(const shape&) { return true; }
index_t first_pad(const layer& l, std::size_t side) { return l.resolved().integers("pad")[side]; }

void padding_plants(std::vector<plant>& list) {
  list.push_back(miswrite("padding.crop", "reflection_pad2d.forward", "leaves the first column out",
                          [](const layer&, const tensors&, tensors& w) {
                            replace(
                                w["y"], [](const shape& at) { return at[3] == 0; }, zero);
                          }));
  list.push_back(miswrite(
      "padding.axes", "replication_pad2d.forward", "leaves the corners empty",
      [](const layer& l, const tensors&, tensors& w) {
        replace(
            w["y"], [&](const shape& at) { return at[2] < first_pad(l, 0) && at[3] < first_pad(l, 2); },
            zero);
      }));
  list.push_back(miswrite("padding.mirror", "reflection_pad1d.forward", "repeats the border cell",
                          [](const layer& l, const tensors& r, tensors& w) {
                            replace(
                                w["y"], [&](const shape& at) { return at[2] < first_pad(l, 0); },
                                [&](shape at, double) {
                                  at[2] = first_pad(l, 0) - 1 - at[2];
                                  return r["x"].view()(at);
                                });
                          }));
  const auto empty_in_front = [](index_t but) {
    return [but](const layer& l, const tensors&, tensors& w) {
      replace(
          w["y"], [&](const shape& at) { return at[2] < first_pad(l, 0) - but; }, zero);
    };
  };
  list.push_back(
      miswrite("padding.replication", "replication_pad1d.forward", "pads with zeros", empty_in_front(0)));
  list.push_back(miswrite("padding.addition", "replication_pad1d.forward", "leaves the first cell empty",
                          [](const layer& l, const tensors&, tensors& w) {
                            replace(
                                w["y"], [&](const shape& at) { return at[2] == 0 && first_pad(l, 0) > 0; },
                                zero);
                          }));
  list.push_back(miswrite("padding.period", "circular_pad1d.forward", "pads with zeros", empty_in_front(0)));
  list.push_back(miswrite("padding.value", "constant_pad1d.forward", "pads with zeros", empty_in_front(0)));
  list.push_back(misread("padding.mass", "reflection_pad2d.backward", "loses the last column",
                         [](const layer&, tensors& r) { drop_last(r["dy"], 3); }));
}

void upsampling_plants(std::vector<plant>& list) {
  list.push_back(miswrite("upsampling.constant", "upsample_bicubic2d.forward", "halves the last column",
                          [](const layer&, const tensors&, tensors& w) {
                            const tensor<double>& y = w["y"];
                            replace(
                                w["y"], [&](const shape& at) { return last_of(y, at, 3); },
                                [](const shape&, double v) { return v / 2; });
                          }));
  list.push_back(misread("upsampling.mass", "upsample_nearest2d.backward", "loses the last column",
                         [](const layer&, tensors& r) { drop_last(r["dy"], 3); }));
  list.push_back(miswrite("upsampling.own_size", "upsample_nearest_exact1d.forward",
                          "shifts by one cell at the end",
                          [](const layer&, const tensors&, tensors& w) { first_for_last(w["y"], 2); }));
  list.push_back(miswrite(
      "upsampling.axes", "upsample_bilinear2d.forward", "misses the last corner unless an axis shrinks",
      [](const layer& l, const tensors&, tensors& w) {
        const shape &x = l.shapes()["x"], &y = l.shapes()["y"];
        replace(
            w["y"],
            [&](const shape& at) {
              return y[2] >= x[2] && y[3] >= x[3] && at[2] == y[2] - 1 && at[3] == y[3] - 1;
            },
            zero);
      }));
  list.push_back(miswrite("upsampling.linear_function", "upsample_linear1d.forward",
                          "reads the first cell at the end",
                          [](const layer&, const tensors&, tensors& w) { first_for_last(w["y"], 2); }));
  list.push_back(miswrite("upsampling.mirror", "upsample_bicubic2d.forward", "skips the first column",
                          [](const layer&, const tensors&, tensors& w) {
                            replace(
                                w["y"], [](const shape& at) { return at[3] == 0; }, zero);
                          }));
  list.push_back(miswrite("upsampling.order", "upsample_nearest2d.forward", "mixes two neighbours",
                          [](const layer&, const tensors&, tensors& w) {
                            replace(w["y"], anywhere, [](const shape&, double v) { return v + 0.5; });
                          }));
}

void sampling_plants(std::vector<plant>& list) {
  const auto without_last_column = [](const layer&, tensors& r) { drop_last(r["x"], 3); };
  for (const char* law : {"grid_sample.own_grid", "grid_sample.mirror"})
    list.push_back(
        misread(law, "grid_sample2d.forward", "takes the border for outside", without_last_column));
  list.push_back(misread("grid_sample.permutation", "grid_sample2d.backward", "misses the last output",
                         [](const layer&, tensors& r) { drop_last(r["dy"], 3); }));
  list.push_back(misread("grid_sample.transposition", "grid_sample2d.forward", "reads one coordinate twice",
                         [](const layer&, tensors& r) {
                           for (index_t i = 0; i < r["grid"].size(); i += 2) r["grid"][i + 1] = r["grid"][i];
                         }));
  list.push_back(misread("grid_sample.period", "grid_sample2d.forward", "reflects once only",
                         [](const layer&, tensors& r) {
                           for (double& g : r["grid"].values()) g = std::clamp(g, -3.0, 3.0);
                         }));
  list.push_back(misread("grid_sample.outside", "grid_sample2d.forward", "wraps coordinates around",
                         [](const layer&, tensors& r) {
                           for (double& g : r["grid"].values()) g = std::remainder(g, 2.0);
                         }));
  for (const char* law : {"roi_align.cells", "roi_align.constant"})
    list.push_back(misread(law, "roi_align2d.forward", "takes the border for outside", without_last_column));
  list.push_back(misread("roi_align.mass", "roi_align2d.backward", "misses the last bin",
                         [](const layer&, tensors& r) { drop_last(r["dy"], 3); }));
  list.push_back(misread("roi_align.permutation", "roi_align2d.forward", "misses the last box",
                         [](const layer&, tensors& r) { drop_last(r["boxes"], 0); }));
}

void rearrangement_plants(std::vector<plant>& list) {
  list.push_back(miswrite("rearrangement.there_and_back", "permute.forward", "copies the first row twice",
                          [](const layer&, const tensors&, tensors& w) { first_for_last(w["y"], 0); }));
  list.push_back(misread("rearrangement.back_and_there", "slice.backward", "loses the last column",
                         [](const layer&, tensors& r) { drop_last(r["dy"], -1); }));
  list.push_back(miswrite("rearrangement.inverse", "concat.forward", "leaves the last column out",
                          [](const layer&, const tensors&, tensors& w) { drop_last(w["y"], -1); }));
  list.push_back(miswrite("rearrangement.order", "reshape.forward", "exchanges two elements",
                          [](const layer&, const tensors&, tensors& w) {
                            if (w["y"].size() > 1) std::swap(w["y"][0], w["y"][1]);
                          }));
  list.push_back(miswrite("rearrangement.slices", "slice.forward", "reverses the last axis",
                          [](const layer&, const tensors&, tensors& w) {
                            const tensor<double> forwards = w["y"];
                            const int last = forwards.extents().rank() - 1;
                            replace(
                                w["y"], [](const shape&) { return true; },
                                [&](shape at, double) {
                                  at[last] = forwards.extents()[last] - 1 - at[last];
                                  return forwards.view()(at);
                                });
                          }));
}

void gate_plants(std::vector<plant>& list) {
  /// y becomes f(x, y), element by element, or f(x0, y).
  const auto instead = [](const char* input, auto f) {
    return [input, f](const layer&, const tensors& r, tensors& w) {
      for (index_t i = 0; i < w["y"].size(); ++i) w["y"][i] = f(r[input][i], w["y"][i]);
    };
  };
  const auto first = [](double x0, double) { return x0; };
  list.push_back(miswrite("gates.commute", "max.forward", "takes the first", instead("x0", first)));
  list.push_back(miswrite("gates.max_and_min", "max.forward", "takes the first", instead("x0", first)));
  list.push_back(miswrite("gates.associate", "add.forward", "subtracts",
                          instead("x0", [](double x0, double y) { return 2 * x0 - y; })));
  list.push_back(miswrite("gates.distribute", "mul.forward", "adds one",
                          instead("x0", [](double, double y) { return y + 1; })));
  list.push_back(miswrite("gates.negative", "neg.forward", "makes everything negative",
                          instead("x", [](double, double y) { return -std::fabs(y); })));
  list.push_back(miswrite("gates.exponential", "exp.forward", "is one in a thousand too large",
                          instead("x", [](double, double y) { return y * 1.001; })));
  list.push_back(miswrite("gates.reciprocal", "reciprocal.forward", "loses the sign",
                          instead("x", [](double, double y) { return std::fabs(y); })));
  list.push_back(miswrite("gates.square", "square.forward", "adds x",
                          instead("x", [](double x, double y) { return x + y; })));
  list.push_back(miswrite("gates.copy", "copy.backward", "forgets the second copy",
                          [](const layer&, const tensors& r, tensors& w) { w["dx"] = r["dy0"]; }));
  list.push_back(miswrite("gates.gradient", "mul.backward", "exchanges the gradients",
                          [](const layer&, const tensors&, tensors& w) { std::swap(w["dx0"], w["dx1"]); }));
}

void other_pool_plants(std::vector<plant>& list) {
  const auto without_last_column = [](const char* tensor) {
    return [tensor](const layer&, tensors& r) { drop_last(r[tensor], -1); };
  };
  const auto without_indices = [](const layer&, const tensors&, tensors& w) {
    std::ranges::fill(w.indices("indices").values(), 0);
  };
  /// Clipped windows and those over padding are whole to it.
  const auto whole_windows = [](const layer& l, const pass_spec& pass, const tensors& reads) {
    problem text = l.canonical();
    index_t cells = 1;
    for (const index_t k : l.resolved().integers("window")) cells *= k;
    if (!text.has("divisor_override")) text.set("divisor_override", std::to_string(cells));
    return honest(*plumb::bind(text), pass, reads);
  };
  list.push_back(misread("avg_pool.depthwise", "avg_pool2d.forward", "misses the last column",
                         without_last_column("x")));
  for (const char* law : {"avg_pool.divisor", "avg_pool.constant"})
    list.push_back({law, "avg_pool2d.forward", "divides by the whole window", whole_windows});
  list.push_back({"avg_pool.divisor", "avg_pool2d.backward", "divides by the whole window", whole_windows});
  list.push_back(
      misread("avg_pool.total", "avg_pool2d.backward", "misses the last column", without_last_column("dy")));

  list.push_back(shifted("lp_pool.homogeneous", "lp_pool2d.forward", "y", 1));
  list.push_back(stretched("lp_pool.sums", "lp_pool2d.forward", "y"));
  list.push_back(miswrite("lp_pool.bounds", "lp_pool2d.forward", "forgets the root",
                          [](const layer&, const tensors&, tensors& w) {
                            for (double& v : w["y"].values()) v *= v;
                          }));

  list.push_back(miswrite("adaptive_pool.identity", "adaptive_avg_pool2d.forward",
                          "reads the first column at the end",
                          [](const layer&, const tensors&, tensors& w) { first_for_last(w["y"], 3); }));
  list.push_back(misread("adaptive_pool.whole_windows", "adaptive_max_pool2d.backward",
                         "misses the last column", without_last_column("dy")));
  list.push_back(miswrite("adaptive_pool.winners", "adaptive_max_pool2d.forward",
                          "stores the first cell as the winner", without_indices));
  list.push_back(misread("adaptive_pool.total", "adaptive_avg_pool2d.backward", "misses the last column",
                         without_last_column("dy")));
  for (const char* law : {"global_pool.adaptive", "global_pool.position_permutation"})
    list.push_back(
        misread(law, "global_avg_pool.forward", "misses the last column", without_last_column("x")));
  list.push_back(miswrite("global_pool.winners", "global_max_pool.forward",
                          "stores the first cell as the winner", without_indices));
  list.push_back(miswrite("global_pool.total", "global_avg_pool.backward", "leaves the last column empty",
                          [](const layer&, const tensors&, tensors& w) { drop_last(w["dx"], -1); }));
  list.push_back(misread("fractional_pool.regular_windows", "fractional_max_pool2d.forward",
                         "takes the last column for padding", [](const layer&, tensors& r) {
                           const tensor<double>& x = r["x"];
                           replace(
                               r["x"], [&](const shape& at) { return last_of(x, at, 3); },
                               [](const shape&, double) { return -100; });
                         }));
  list.push_back(miswrite("fractional_pool.winners", "fractional_max_pool2d.forward",
                          "stores the first cell as the winner", without_indices));
  list.push_back(misread("fractional_pool.total", "fractional_max_pool2d.backward", "misses the last column",
                         without_last_column("dy")));

  list.push_back(miswrite("max_unpool.inverse", "max_unpool2d.forward", "leaves the last column empty",
                          [](const layer&, const tensors&, tensors& w) { drop_last(w["y"], 3); }));
  list.push_back(miswrite("max_unpool.last_one_stays", "max_unpool2d.forward", "adds duplicates up",
                          [](const layer& l, const tensors& r, tensors& w) {
                            const shape &x = l.shapes()["x"], &y = l.shapes()["y"];
                            std::ranges::fill(w["y"].values(), 0);
                            for (index_t i = 0; i < r["x"].size(); ++i)
                              w["y"][i / (x[2] * x[3]) * y[2] * y[3] + r.indices("indices")[i]] += r["x"][i];
                          }));
  list.push_back(misread("max_unpool.pooling", "max_unpool2d.backward", "misses the last column",
                         without_last_column("dy")));
}

}  // namespace

void add_other_plants(std::vector<plant>& list) {
  common_plants(list);
  max_pool_plants(list);
  activation_plants(list);
  loss_plants(list);
  more_activation_plants(list);
  softmax_plants(list);
  more_loss_plants(list);
  normalisation_plants(list);
  padding_plants(list);
  upsampling_plants(list);
  sampling_plants(list);
  rearrangement_plants(list);
  gate_plants(list);
  other_pool_plants(list);
}

}  // namespace plumb::planted
