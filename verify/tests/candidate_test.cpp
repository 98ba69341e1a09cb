// What a run knows of a kernel, written down and taken up again: a mistrust stays until more is seen, whatever it is for.
#include "verify/candidate.hpp"

#include <gtest/gtest.h>

namespace plumb {
namespace {

constexpr closing rules = {.timed = true, .most_unbounded = 1.0 / 16};

candidate seen(const kernel_info& kernel) {
  candidate c;
  c.kernel = &kernel;
  c.result.offered = c.result.accepted = 300;
  c.result.cases = 2000;
  c.result.elements = 10'000;
  c.ordinary = 10'000;
  c.trusted = 200;
  return c;
}

class resumed : public testing::Test {
 protected:
  /// The verdict of a run that is taken up from the record of this one and sees nothing new.
  record::kernel_result again(const candidate& c) const {
    candidate later = reopened(kernel_, close(c, rules));
    return close(later, rules);
  }
  kernel_info kernel_ = [] {
    kernel_info k;
    k.name = "relu.forward/one@cpu";
    k.layer = "relu";
    k.pass = "forward";
    return k;
  }();
};

TEST_F(resumed, trust_and_mistrust_are_kept) {
  candidate c = seen(kernel_);
  EXPECT_EQ(close(c, rules).verdict, record::verdict::pass);
  EXPECT_EQ(again(c).verdict, record::verdict::pass);

  c.trusted = 0;  // zeros would have passed
  EXPECT_EQ(close(c, rules).verdict, record::verdict::mistrusted);
  EXPECT_EQ(again(c).verdict, record::verdict::mistrusted);
  EXPECT_EQ(again(c).reason, close(c, rules).reason);

  c = seen(kernel_);  // a tenth of the elements has no bound
  c.unbounded = c.ordinary_unbounded = 1000;
  EXPECT_EQ(close(c, rules).verdict, record::verdict::mistrusted);
  EXPECT_EQ(again(c).verdict, record::verdict::mistrusted);
  EXPECT_EQ(again(c).reason, "nothing bounds the error of 1000 of 10000 elements");
}

TEST_F(resumed, more_elements_with_a_bound_end_a_mistrust) {
  candidate c = seen(kernel_);
  c.unbounded = c.ordinary_unbounded = 1000;
  candidate later = reopened(kernel_, close(c, rules));
  later.ordinary += 10'000;
  EXPECT_EQ(close(later, rules).verdict, record::verdict::pass);
  later.trusted = 0;
  EXPECT_EQ(close(later, rules).verdict, record::verdict::mistrusted);
}

}  // namespace
}  // namespace plumb
