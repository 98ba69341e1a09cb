#include "properties/audit/mutants.hpp"

#include <algorithm>
#include <cmath>

namespace plumb {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// ---- the bounds

/// The bounds as they are, then each one changed.
template <class Change>
void change_bounds(verify_options& o, Change change) {
  o.by.bounds = [change](const layer& l, const pass_spec& pass, const tensor_set<double>& reads,
                         const truths& t, const arithmetic& how, const accuracy& declared, regime r,
                         const run_statistics& run, thresholds& out, int threads) {
    const std::string error = thresholds_of(l, pass, reads, t, how, declared, r, run, out, threads);
    for (std::size_t i = 0; i < out.statistical.size(); ++i) {
      out.statistical[i] = change(out.statistical[i], t, i, out);
      out.proven[i] = change(out.proven[i], t, i, out);
    }
    return error;
  };
}

template <int Percent>
void scaled(verify_options& o) {
  change_bounds(o, [](double b, const truths&, std::size_t, const thresholds&) { return b * Percent / 100; });
}

void infinite(verify_options& o) {
  change_bounds(o, [](double, const truths&, std::size_t, const thresholds&) { return infinity; });
}

void one_unit_more(verify_options& o) {
  change_bounds(o, [](double b, const truths& t, std::size_t i, const thresholds& th) {
    return b > 0 && std::isfinite(t.value[i]) ? b + th.output.ulp(t.value[i]) : b;
  });
}

void bits_forgiven(verify_options& o) {
  change_bounds(o, [](double b, const truths& t, std::size_t i, const thresholds& th) {
    return b == 0 && std::isfinite(t.value[i]) ? th.output.ulp(t.value[i]) : b;
  });
  std::erase(o.regimes,
             regime::special);  // one unit above the largest number is infinity, which is no matter of units
}

void absolute(verify_options& o) {
  change_bounds(o, [](double b, const truths&, std::size_t, const thresholds&) { return std::max(b, 1e-4); });
}

// ---- the comparison

/// What the kernel wrote, edited by `edit(values, truths, thresholds)`, is compared in its place.
template <class Edit>
void edit_answers(verify_options& o, Edit edit) {
  o.by.values = [edit](const tensor_ref& got, const truths& t, const thresholds& bounds, refiner* more,
                       std::size_t which, comparison& out) {
    if (t.is_index || !t.at.empty()) return compare(got, t, bounds, more, which, out);
    std::vector<double> values;
    for_each_index(got.extents, [&](const shape& at) {
      values.push_back(got.type == dtype::f64 ? got.view<double>()(at)
                                              : static_cast<double>(got.view<float>()(at)));
    });
    edit(values, t, bounds);
    const tensor_ref edited{values.data(), dtype::f64, got.extents, row_major(got.extents)};
    compare(edited, t, bounds, more, which, out);
  };
}

/// Elements for which `forgiven(got, truth, bound)` holds count as right.
template <class Forgiven>
void forgive(verify_options& o, Forgiven forgiven) {
  edit_answers(o, [forgiven](std::vector<double>& got, const truths& t, const thresholds& bounds) {
    for (std::size_t i = 0; i < got.size(); ++i)
      if (forgiven(got[i], t.value[i])) got[i] = bounds.output.round(t.value[i]);
  });
}

void nan_forgiven(verify_options& o) {
  forgive(o, [](double got, double) { return std::isnan(got); });
}
void signed_error(verify_options& o) {
  forgive(o, [](double got, double truth) { return got < truth; });
}
void signed_reference(verify_options& o) {
  forgive(o, [](double got, double truth) { return truth < 0 && std::isfinite(got); });
}
void sign_of_zero_forgiven(verify_options& o) {
  forgive(o, [](double got, double truth) { return got == 0 && truth == 0; });
}

void last_element_left_out(verify_options& o) {
  edit_answers(o, [](std::vector<double>& got, const truths& t, const thresholds& bounds) {
    if (!got.empty()) got.back() = bounds.output.round(t.value.back());
  });
}

/// One wrong element in a tensor is let pass.
void share_forgiven(verify_options& o) {
  edit_answers(o, [](std::vector<double>& got, const truths& t, const thresholds& bounds) {
    std::size_t wrong = 0, where = 0;
    for (std::size_t i = 0; i < got.size(); ++i)
      if (std::isfinite(t.value[i]) && std::isfinite(got[i]) &&
          !(std::fabs(got[i] - t.value[i]) <= bounds.statistical[i]))
        ++wrong, where = i;
    if (wrong == 1) got[where] = bounds.output.round(t.value[where]);
  });
}

void low_precision(verify_options& o) {
  forgive(o, [](double got, double truth) { return std::fabs(got - truth) <= 0x1p-8 * std::fabs(truth); });
}

void first_tensor_only(verify_options& o) {
  o.by.values = [](const tensor_ref& got, const truths& t, const thresholds& bounds, refiner* more,
                   std::size_t which, comparison& out) {
    out = comparison();
    if (which == 0) compare(got, t, bounds, more, which, out);
  };
}

void radius_dropped(verify_options& o) {
  o.by.values = [](const tensor_ref& got, const truths& t, const thresholds& bounds, refiner* more,
                   std::size_t which, comparison& out) {
    truths sure = t;
    std::ranges::fill(sure.radius, 0.0);
    compare(got, sure, bounds, more, which, out);
  };
}

/// The errors are compared as `if (error > bound) fail`, so that NaN passes where there is a bound.
void negative_form(verify_options& o) {
  edit_answers(o, [](std::vector<double>& got, const truths& t, const thresholds& bounds) {
    for (std::size_t i = 0; i < got.size(); ++i)
      if (!(std::fabs(got[i] - t.value[i]) > bounds.proven[i])) got[i] = bounds.output.round(t.value[i]);
  });
}

// ---- memory

void no_poison(verify_options& o) {
  o.by.unwritten = [](const placed_tensor&, const placed_tensor&) { return unwritten_elements(); };
  o.by.other_poison = poison::nan;
}
void only_rear_guard(verify_options& o) {
  o.by.outside = [](const placed_tensor&) { return std::optional<damage>(); };
  o.by.other_end = {true, 0};
}
void only_front_guard(verify_options& o) {
  o.by.outside = [](const placed_tensor&) { return std::optional<damage>(); };
  o.by.first_end = {false, 0};
}
void inputs_writable(verify_options& o) {
  o.by.lay_input = [](arena& a, std::string_view name, dtype type, const shape& extents, const shape& strides,
                      placement where) {
    return a.place_written(name, type, extents, strides, poison::nan, where);
  };
}
void workspace_unguarded(verify_options& o) {
  o.by.conduct = [](run_result& r) { r.workspace_damage.clear(); };
}
void workspace_always_new(verify_options& o) { o.by.foreign_workspace = false; }
void no_gaps(verify_options& o) { o.by.gaps = false; }

// ---- conduct

void crash_declines(verify_options& o) {
  o.by.conduct = [](run_result& r) {
    if (r.status == run_status::crashed) r.status = run_status::declined;
  };
}
void hang_declines(verify_options& o) {
  o.by.conduct = [](run_result& r) {
    if (r.status == run_status::timeout) r.status = run_status::declined;
  };
}
void processor_state_ignored(verify_options& o) {
  o.by.conduct = [](run_result& r) { r.floating_point.clear(); };
}
void repeats_ignored(verify_options& o) {
  o.by.repeated = [](const tensor_ref&, const tensor_ref&) { return index_t{-1}; };
}
void one_team(verify_options& o) { o.by.teams.clear(); }

template <regime Left>
void without(verify_options& o) {
  std::erase(o.regimes, Left);
}

}  // namespace

const std::vector<mutant>& mutants() {
  static const std::vector<mutant> list = {
      {"bounds doubled", "every bound is twice what it is", "sigmoid.forward/beyond_the_limit@plain",
       scaled<200>},
      {"bounds halved", "every bound is half of what it is", "sigmoid.forward/honest_to_the_limit@plain",
       scaled<50>},
      {"bounds infinite", "no error is too large", "linear.forward/one_ulp@plain", infinite},
      {"one unit more", "bounds are one unit in the last place wider",
       "sigmoid.forward/beyond_the_limit@plain", one_unit_more},
      {"bits forgiven", "one unit in the last place is let pass where bits must match",
       "pixel_shuffle.forward/one_ulp@plain", bits_forgiven},
      {"absolute tolerance", "errors below 1e-4 are let pass", "tanh.forward/cancels_near_zero@plain",
       absolute},
      {"negative form", "error > bound fails, instead of error <= bound passes",
       "matmul.forward/nan_at_the_end@plain", negative_form},
      {"NaN forgiven", "a NaN is let pass anywhere", "matmul.forward/nan_at_the_end@plain", nan_forgiven},
      {"error with its sign", "what is too small is let pass", "relu.forward/six@plain", signed_error},
      {"signed reference", "errors are divided by the truth: negative truths let anything pass",
       "log_softmax.forward/associated_wrongly@plain", signed_reference},
      {"sign of zero forgiven", "zeros of either sign are taken for the same",
       "relu.forward/negative_zero@plain", sign_of_zero_forgiven},
      {"last element left out", "one element fewer is compared", "linear.forward/one_ulp@plain",
       last_element_left_out},
      {"one mismatch forgiven", "a single wrong element is let pass", "conv2d.forward/isolated_element@plain",
       share_forgiven},
      {"compared in bf16", "what agrees to 8 bits is let pass", "conv2d.forward/noise@plain", low_precision},
      {"first tensor only", "the second tensor written is not compared",
       "max_pool2d.forward/index_in_window@plain", first_tensor_only},
      {"radius dropped", "the oracle's first value is taken for the truth",
       "sigmoid.forward/beyond_in_f64@plain", radius_dropped},
      {"no poison", "what was in memory before the call is not looked at", "relu.forward/nan_unwritten@plain",
       no_poison},
      {"rear guard only", "tensors lie at the rear guard page only, and canaries are not read",
       "linear.forward/before_the_start@plain", only_rear_guard},
      {"front guard only", "tensors lie at the front guard page only, and canaries are not read",
       "conv2d.forward/past_the_end@vector", only_front_guard},
      {"inputs writable", "inputs lie on writable pages", "matmul.forward/input_as_scratch@plain",
       inputs_writable},
      {"workspace unguarded", "the ends of the workspace are not looked at",
       "conv2d.forward/past_the_workspace@plain", workspace_unguarded},
      {"workspace always new", "no call finds what another left in the workspace",
       "conv2d.forward/scratch_kept@plain", workspace_always_new},
      {"crash declines", "a crash counts as declining the problem",
       "linear.backward_data/divides_by_zero@plain", crash_declines},
      {"hang declines", "a call without end counts as declining the problem", "conv2d.forward/hangs@plain",
       hang_declines},
      {"processor state ignored", "rounding and flushing modes may be left changed",
       "linear.forward/leaves_rounding_mode@plain", processor_state_ignored},
      {"repeats not compared", "a second run may have other bits", "conv2d.forward/bits_by_team@threads",
       repeats_ignored},
      {"one team", "thread counts are not varied", "conv2d.forward/bits_by_team@threads", one_team},
      {"no gaps", "strides never leave gaps", "conv2d.forward/gaps_ignored@plain", no_gaps},
      {"no special values", "no infinities, NaN, subnormals", "max_pool2d.forward/starts_at_lowest@plain",
       without<regime::special>},
  };
  return list;
}

}  // namespace plumb
