// One wrong float among millions is found, whatever the function; an honest kernel is not accused; an unfinished sweep
// goes on where it was.
#include <gtest/gtest.h>

#include "verify/sweep/sweep.hpp"

namespace plumb {
namespace {

class sweep_test : public ::testing::Test {
 protected:
  static sandbox_options with_plants() {
    sandbox_options options;
    options.plugins = {PLANTED_ELEMENTS};
    options.arenas = 3;
    return options;
  }
  record::sweep_result of(const std::string& kernel, float_range range,
                          const record::sweep_section* resume = nullptr) {
    sweep_options o;
    o.range = range;
    o.resume = resume;
    for (const kernel_info& k : box_.kernels())
      if (k.name == kernel) o.kernels = {&k};
    return sweep(box_, o).kernels.front();
  }
  sandbox box_{with_plants()};
};

TEST_F(sweep_test, one_wrong_float_is_caught) {
  const record::sweep_result r = of("relu.forward/but_one@cpu", {0x3f700000, 0x3f8fffff});
  EXPECT_EQ(r.verdict, record::verdict::fail);
  EXPECT_EQ(r.wrong, 1);
  EXPECT_EQ(r.misrounded, 1);
  EXPECT_EQ(r.first_wrong_bits, 0x3f812345);
  EXPECT_EQ(r.worst_ulps, 1);
  const record::sweep_result s = of("sigmoid.forward/but_one@cpu", {0xc0100000, 0xc01fffff});
  EXPECT_EQ(s.verdict, record::verdict::fail) << s.reason;
  EXPECT_EQ(s.wrong, 1);
  EXPECT_EQ(s.first_wrong_bits, 0xc0123457);
}

TEST_F(sweep_test, honest_kernels_pass_and_special_values_are_listed) {
  for (const float_range range : {float_range{0x3f700000, 0x3f8fffff}, float_range{0x7f700000, 0x803fffff}}) {
    const record::sweep_result r = of("relu.forward/right@cpu", range);
    EXPECT_EQ(r.verdict, record::verdict::pass) << r.reason;
    EXPECT_EQ(r.misrounded, 0);
    EXPECT_EQ(r.inputs, range.last - range.first + 1);
    ASSERT_EQ(r.special.size(), 12U);
    EXPECT_EQ(r.special[9].got, std::numeric_limits<double>::infinity());
  }
  const record::sweep_result s = of("sigmoid.forward/right@cpu", {0xbf800000, 0xbf8fffff});
  EXPECT_EQ(s.verdict, record::verdict::pass) << s.reason;
  EXPECT_LT(s.worst_ulps, 0.5001);
  EXPECT_LE(s.misrounded, 1);  // rounded twice
}

TEST_F(sweep_test, other_kernels_of_ours_and_what_is_not_element_wise) {
  const record::sweep_result r = of("sigmoid.backward/plain@cpu", {0x3f000000, 0x3f0fffff});
  EXPECT_EQ(r.verdict, record::verdict::pass) << r.reason;
  EXPECT_EQ(of("conv2d.forward/plain@cpu", {0, 1}).verdict, record::verdict::skipped);
  EXPECT_EQ(of("max_pool2d.forward/plain@cpu", {0, 1}).verdict, record::verdict::skipped);
}

TEST_F(sweep_test, an_unfinished_one_goes_on) {
  record::sweep_section before;
  record::sweep_result half = of("relu.forward/right@cpu", {0x3f700000, 0x3f7fffff});
  half.kernel = "relu.forward/but_one@cpu";
  half.verdict = record::verdict::inconclusive;
  half.last = 0x3f8fffff;
  before.kernels = {half};
  const record::sweep_result r = of("relu.forward/but_one@cpu", {0x3f700000, 0x3f8fffff}, &before);
  EXPECT_EQ(r.inputs, 0x200000);
  EXPECT_EQ(r.wrong, 1);
  EXPECT_EQ(r.next, 0x3f900000);
}

}  // namespace
}  // namespace plumb
