// Regression files: what is saved is loaded, once; a bad line is named.
#include "properties/regressions.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "reference/core/problem.hpp"

namespace plumb {
namespace {

namespace fs = std::filesystem;

class regression_files : public testing::Test {
 protected:
  fs::path folder =
      fs::path(testing::TempDir()) /
      ("regressions_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
  void SetUp() override { fs::remove_all(folder); }
  void TearDown() override { fs::remove_all(folder); }
};

test_case some_case(const std::string& kernel) {
  return parse_case(kernel + " | conv2d x=1x1x1x1 weight=1x1x1x1 | f32 nchw given x@0=1 weight@0=-2");
}

TEST_F(regression_files, are_empty_without_a_folder) { EXPECT_TRUE(load_regressions(folder).empty()); }

TEST_F(regression_files, come_back_once_by_pass) {
  const test_case a = some_case("conv2d.forward/a@x"), b = some_case("conv2d.backward_data/b@x");
  for (const test_case& c : {a, b, a}) save_regression(folder, c);
  EXPECT_EQ(load_regressions(folder), (std::vector<test_case>{b, a})) << "files in the order of their names";
  EXPECT_TRUE(fs::exists(folder / "conv2d.forward.txt"));
}

TEST_F(regression_files, may_hold_comments_and_name_a_bad_line) {
  fs::create_directories(folder);
  std::ofstream(folder / "conv2d.forward.txt") << "# found by hand\n\n"
                                               << print(some_case("conv2d.forward/a@x")) << "\n";
  EXPECT_EQ(load_regressions(folder).size(), 1U);
  std::ofstream(folder / "relu.forward.txt") << "# fine\nnonsense\n";
  try {
    load_regressions(folder);
    FAIL() << "expected text_error";
  } catch (const text_error& e) {
    EXPECT_NE(std::string(e.what()).find("relu.forward.txt line 2"), std::string::npos) << e.what();
  }
}

TEST(regressions, in_the_sources_can_be_read) { EXPECT_NO_THROW(load_regressions("properties/regressions")); }

}  // namespace
}  // namespace plumb
