// Archives of arrays: what is written comes back by name; what is no archive, or only half of one, is said in a sentence.
#include "reference/core/npz.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "reference/core/record.hpp"

namespace plumb {
namespace {

class npz : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }
  std::string complaint() const {
    try {
      read_npz(path_);
    } catch (const npy_error& e) {
      return e.what();
    }
    return {};
  }
  const std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / ("plumb_npz_" + std::to_string(::getpid()) + ".npz");
};

npy_array reals() {
  npy_array a;
  a.type = dtype::f64;
  a.real = tensor<double>(shape{2, 3}, {1.0, -0.0, 0.1, 1e300, -5e-324, 3.0});
  return a;
}

TEST_F(npz, comes_back_by_name) {
  npy_array labels;
  labels.type = dtype::i64;
  labels.index = tensor<index_t>(shape{2}, {-100, 7});
  write_npz(path_, {{"x", reals()}, {"target", labels}});
  const npz_arrays back = read_npz(path_);
  ASSERT_EQ(back.size(), 2U);
  EXPECT_EQ(back[0].first, "x");
  EXPECT_EQ(back[0].second.extents(), (shape{2, 3}));
  EXPECT_EQ(back[0].second.real.values(), reals().real.values());
  EXPECT_EQ(back[1].first, "target");
  EXPECT_EQ(back[1].second.index.values(), labels.index.values());
}

TEST_F(npz, says_what_is_wrong_with_a_file) {
  EXPECT_NE(complaint().find("expected a NumPy .npz archive"), std::string::npos) << complaint();
  std::ofstream(path_) << "no archive";
  EXPECT_NE(complaint().find("expected a NumPy .npz archive"), std::string::npos) << complaint();
  write_npz(path_, {{"x", reals()}});
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) / 2);
  EXPECT_NE(complaint().find(path_.string()), std::string::npos) << complaint();
}

TEST_F(npz, is_written_whole_or_not_at_all) {
  EXPECT_THROW(write_npz("/dev/full", {{"x", reals()}}), report_error);
  EXPECT_THROW(write_npz("/no/such/folder/x.npz", {{"x", reals()}}), report_error);
}

}  // namespace
}  // namespace plumb
