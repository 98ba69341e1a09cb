// The contract on its own: problem text, globs, shapes, strided views, .npy files.
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "reference/core/npy.hpp"
#include "reference/core/problem.hpp"
#include "reference/core/record.hpp"
#include "reference/core/registry.hpp"
#include "reference/core/tensor_view.hpp"

namespace plumb {
namespace {

std::string error_of(std::string_view text) {
  try {
    problem::parse(text);
  } catch (const text_error& e) {
    return e.what();
  }
  return "no error";
}

TEST(ProblemText, ParsesWhatItPrints) {
  for (const char* text : {"relu x=3", "conv2d x=16x64x56x56 weight=64x64x3x3 bias=64 pad=1,2,3,4 flip=true"})
    EXPECT_EQ(problem::parse(problem::parse(text).print()), problem::parse(text)) << text;
  EXPECT_EQ(problem::parse("  relu \t x=3\n").print(), "relu x=3");
}

TEST(ProblemText, PointsAtTheToken) {
  EXPECT_EQ(error_of("conv2d x=1x2 stride"),
            "`stride` (column 14): expected `name=value`, as in `pad=1` or `x=1x3x32x32`");
  EXPECT_EQ(error_of("conv2d x=1x2 pad=1 pad=2"),
            "`pad=2` (column 20): `pad` is given twice (first in column 14)");
  EXPECT_NE(error_of("").find("expected a problem"), std::string::npos);
  EXPECT_NE(error_of("x=1").find("expected the name of a layer"), std::string::npos);
  EXPECT_NE(error_of("relu x=").find("expected `name=value`"), std::string::npos);
}

TEST(ProblemText, AccessorsReadLists) {
  const problem p = problem::parse("conv2d x=16x64x5x7 stride=2x1 pad=1,2,3,4 flip=true groups=3");
  EXPECT_EQ(p.shape_of("x"), (shape{16, 64, 5, 7}));
  EXPECT_EQ(p.integers("stride"), (std::vector<index_t>{2, 1}));
  EXPECT_EQ(p.integers("pad"), (std::vector<index_t>{1, 2, 3, 4}));
  EXPECT_EQ(p.integer("groups"), 3);
  EXPECT_TRUE(p.flag("flip"));
  EXPECT_THROW(p.integer("dilation"), std::out_of_range);
  EXPECT_EQ(p.first_unknown({"x", "stride", "pad", "groups"}), "flip");
  EXPECT_EQ(p.first_unknown({"x", "stride", "pad", "groups", "flip"}), "");
}

TEST(ProblemText, RefusesListsThatAreNone) {
  for (const char* text : {"", "x", "1x", "x1", "1x2,3", "1,,2", "1.5", "99999999999999999999", "1 2"})
    EXPECT_FALSE(parse_integers(text).has_value()) << text;
  EXPECT_EQ(*parse_integers("-1,2"), (std::vector<index_t>{-1, 2}));
  for (const char* text : {"-1x2", "1,2", "1x1x1x1x1x1x1x1x1", "4000000000x4000000000x4"})
    EXPECT_FALSE(parse_shape(text).has_value()) << text;
  EXPECT_EQ(parse_shape("0x3")->size(), 0);
}

TEST(Glob, StarCrossesSlashAndAt) {
  EXPECT_TRUE(glob_match("conv2d.*", "conv2d.forward/direct@avx3"));
  EXPECT_TRUE(glob_match("*@avx3", "conv2d.forward/direct@avx3"));
  EXPECT_TRUE(glob_match("conv?d.*/*@*", "conv2d.forward/direct@avx3"));
  EXPECT_TRUE(glob_match("*a*b*", "xaxxbxaxb"));
  EXPECT_FALSE(glob_match("conv2d", "conv2d.forward/direct@avx3"));
  EXPECT_FALSE(glob_match("conv2d.*/plain*", "conv2d.forward/direct@avx3"));
  EXPECT_FALSE(glob_match("", "a"));
  EXPECT_TRUE(glob_match("*", ""));
}

TEST(Registry, RefusesWrongAndTakenNames) {
  registry r;
  kernel k;
  k.name = "relu.forward/plain@cpu";
  k.layer = "relu";
  k.pass = "forward";
  r.add(k);
  EXPECT_THROW(r.add(k), std::logic_error);
  k.name = "relu.backward/plain@cpu";
  EXPECT_THROW(r.add(k), std::logic_error);
  EXPECT_EQ(r.matching("relu.*").size(), 1U);
  EXPECT_EQ(r.find("nothing"), nullptr);
}

TEST(TensorView, LayoutsShareTheLogicalOrder) {
  const shape extents{2, 3, 4, 5};
  std::vector<int> memory(120);
  const tensor_view<int> last(memory.data(), extents, channels_last(extents));
  int count = 0;
  for_each_index(extents, [&](const shape& at) { last(at) = count++; });
  EXPECT_EQ(memory[1], 20) << "the next channel is the next element in memory";
  EXPECT_EQ(last(1, 2, 3, 4), 119);
  for (index_t i = 0; i < 120; ++i) EXPECT_EQ(last[i], i);
  EXPECT_EQ(coordinates(119, extents), "1,2,3,4");
}

TEST(TensorView, EmptyAndScalarShapes) {
  int calls = 0;
  for_each_index(shape{2, 0, 3}, [&](const shape&) { ++calls; });
  EXPECT_EQ(calls, 0);
  for_each_index(shape{}, [&](const shape&) { ++calls; });
  EXPECT_EQ(calls, 1);
}

class Npy : public ::testing::Test {
 protected:
  std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / ("plumb_npy_" + std::to_string(::getpid()) + ".npy");
  void TearDown() override { std::filesystem::remove(path_); }
  void write(const std::string& text) { std::ofstream(path_, std::ios::binary) << text; }
  std::string error() {
    try {
      read_npy(path_);
    } catch (const npy_error& e) {
      return e.what();
    }
    return "no error";
  }
};

TEST_F(Npy, RoundTrips) {
  npy_array a;
  a.type = dtype::f32;
  a.real = tensor<double>(shape{2, 3}, {1, -2.5, 0, 4, 5, 6});
  write_npy(path_, a);
  const npy_array b = read_npy(path_);
  EXPECT_EQ(b.type, dtype::f32);
  EXPECT_EQ(b.extents(), a.extents());
  EXPECT_EQ(b.real.values(), a.real.values());
  npy_array labels;
  labels.type = dtype::i64;
  labels.index = tensor<index_t>(shape{3}, {-1, 0, 1'000'000'000'000});
  write_npy(path_, labels);
  EXPECT_EQ(read_npy(path_).index.values(), labels.index.values());
}

TEST_F(Npy, ReadsFortranOrder) {
  std::string head = "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3), }\n";
  std::string text("\x93NUMPY\x01\x00", 8);
  text += static_cast<char>(head.size());
  text += '\0';
  text += head;
  for (const double v : {0., 10., 1., 11., 2., 12.}) text.append(reinterpret_cast<const char*>(&v), sizeof v);
  write(text);
  EXPECT_EQ(read_npy(path_).real.values(), (std::vector<double>{0, 1, 2, 10, 11, 12}));
}

TEST_F(Npy, RefusesEverythingElseInOneSentence) {
  EXPECT_NE(error().find("cannot open"), std::string::npos);
  write("PK\x03\x04 and so on, a zip file");
  EXPECT_NE(error().find("does not begin with"), std::string::npos);
  npy_array a;
  a.real = tensor<double>(shape{4, 5});
  write_npy(path_, a);
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 1);
  EXPECT_NE(error().find("is truncated: 4x5 elements of <f4 need 80 bytes, the file has 79"),
            std::string::npos)
      << error();
  std::filesystem::resize_file(path_, 40);
  EXPECT_NE(error().find("truncated: the header alone"), std::string::npos) << error();
  write(std::string("\x93NUMPY\x01\x00\x3e\x00", 10) +
        "{'descr': '>c8', 'fortran_order': False, 'shape': (1,), }     ");
  EXPECT_NE(error().find("elements of type `>c8`"), std::string::npos) << error();
}

}  // namespace
}  // namespace plumb
