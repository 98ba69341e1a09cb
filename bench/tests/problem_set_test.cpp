// Problem sets: the shipped files hold what the networks' papers say (counts and operations worked out by
// hand), and every way of asking for a set that does not exist ends in one sentence.
#include <gtest/gtest.h>

#include <fstream>

#include "reference/core/problem_set.hpp"

namespace plumb {
namespace {

/// Convolutions of a set, each as often as the network contains it.
int convolutions(const problem_set& set) {
  int count = 0;
  for (const set_problem& p : set.problems)
    if (p.problem.layer() == "conv2d") count += p.count;
  return count;
}

/// Weights of the convolutions, biases left out.
index_t weights(const problem_set& set, std::string_view layer) {
  index_t sum = 0;
  for (const set_problem& p : set.problems)
    if (p.problem.layer() == layer) sum += p.count * p.problem.shape_of("weight").size();
  return sum;
}

std::string message_of(const std::string& what) {
  try {
    load_problems(what);
  } catch (const std::exception& error) {
    return error.what();
  }
  return "no error";
}

TEST(problem_set, resnet50_has_53_convolutions_and_25_million_weights) {
  const problem_set set = load_problems("resnet50");
  EXPECT_EQ(set.name, "resnet50");
  EXPECT_EQ(convolutions(set), 53);
  // 25,557,032 parameters, less 53,120 of batch norm (scale and shift of 26,560 channels) and 1,000 biases.
  EXPECT_EQ(weights(set, "conv2d") + weights(set, "linear"), 25'557'032 - 53'120 - 1'000);
}

TEST(problem_set, vgg16_has_13_convolutions_and_138_million_weights) {
  const problem_set set = load_problems("vgg16");
  EXPECT_EQ(convolutions(set), 13);
  // 138,357,544 parameters, less 4,224 biases of convolutions and 9,192 of fully connected layers.
  EXPECT_EQ(weights(set, "conv2d") + weights(set, "linear"), 138'357'544 - 4'224 - 9'192);
}

TEST(problem_set, alexnet_has_5_convolutions_in_two_groups) {
  const problem_set set = load_problems("alexnet");
  EXPECT_EQ(convolutions(set), 5);
  // 60,965,224 parameters in the single-column model with groups, of which 10,568 biases.
  EXPECT_EQ(weights(set, "conv2d") + weights(set, "linear"), 60'965'224 - 10'568);
}

TEST(problem_set, googlenet_has_57_convolutions_and_7_million_weights) {
  const problem_set set = load_problems("googlenet");
  EXPECT_EQ(convolutions(set), 57);
  // 6,998,552 parameters without the auxiliary classifiers, of which 7,280 biases of convolutions and 1,000 of fc.
  EXPECT_EQ(weights(set, "conv2d") + weights(set, "linear"), 6'998'552 - 7'280 - 1'000);
}

TEST(problem_set, mobilenets_have_4_and_3_million_weights) {
  const problem_set first = load_problems("mobilenet_v1"), second = load_problems("mobilenet_v2");
  EXPECT_EQ(convolutions(first), 27);
  EXPECT_EQ(convolutions(second), 52);
  // 4,231,976 and 3,504,872 parameters, less batch norm's (10,944 and 17,056 channels) and 1,000 biases.
  EXPECT_EQ(weights(first, "conv2d") + weights(first, "linear"), 4'231'976 - 2 * 10'944 - 1'000);
  EXPECT_EQ(weights(second, "conv2d") + weights(second, "linear"), 3'504'872 - 2 * 17'056 - 1'000);
}

TEST(problem_set, every_network_has_a_set_of_batch_16) {
  for (const std::string name :
       {"alexnet", "googlenet", "lenet5", "mobilenet_v1", "mobilenet_v2", "resnet50", "vgg16"}) {
    const problem_set one = load_problems(name), many = load_problems(name + "_b16");
    ASSERT_EQ(one.problems.size(), many.problems.size());
    EXPECT_EQ(convolutions(one), convolutions(many));
    for (const set_problem& p : many.problems) EXPECT_EQ(p.problem.shape_of("x")[0], 16) << name;
  }
}

TEST(problem_set, lenet5_counts) {
  const problem_set set = load_problems("lenet5");
  EXPECT_EQ(convolutions(set), 3);
  EXPECT_EQ(weights(set, "conv2d"), 150 + 2400 + 48000);
  EXPECT_EQ(weights(set, "linear"), 10080 + 840);
}

TEST(problem_set, label_and_count) {
  const problem_set set = parse_problem_set(
      "# heading\n\nconv2d x=1x2x3x3 weight=1x2x1x1  # layer1.conv2 ×3\r\nrelu x=5 # plain\nrelu x=6\n", "f");
  ASSERT_EQ(set.problems.size(), 3U);
  EXPECT_EQ(set.problems[0].problem.print(), "conv2d x=1x2x3x3 weight=1x2x1x1");
  EXPECT_EQ(set.problems[0].label, "layer1.conv2");
  EXPECT_EQ(set.problems[0].count, 3);
  EXPECT_EQ(set.problems[0].origin, "f:3");
  EXPECT_EQ(set.problems[1].label, "plain");
  EXPECT_EQ(set.problems[1].count, 1);
  EXPECT_EQ(set.problems[2].label, "");
}

TEST(problem_set, a_times_sign_without_a_count_is_part_of_the_label) {
  const problem_set set = parse_problem_set("relu x=5  # 3×3 filter\nrelu x=6  # a ×0\n", "f");
  EXPECT_EQ(set.problems[0].label, "3×3 filter");
  EXPECT_EQ(set.problems[0].count, 1);
  EXPECT_EQ(set.problems[1].label, "a ×0");
}

TEST(problem_set, text_is_a_problem) {
  const problem_set set = load_problems("relu x=2x3");
  ASSERT_EQ(set.problems.size(), 1U);
  EXPECT_EQ(set.problems[0].problem.layer(), "relu");
  EXPECT_EQ(set.name, "");
}

TEST(problem_set, file_by_path) {
  const auto path = std::filesystem::temp_directory_path() / "plumb_problem_set_test.txt";
  std::ofstream(path) << "relu x=2x3  # mine\n";
  const problem_set set = load_problems(path.string());
  EXPECT_EQ(set.name, "plumb_problem_set_test");
  EXPECT_EQ(set.problems.at(0).label, "mine");
  std::filesystem::remove(path);
}

TEST(problem_set, errors_are_one_sentence_with_the_token) {
  const std::string unknown = message_of("resnet51");
  EXPECT_EQ(unknown.find("`resnet51` is no problem set; expected alexnet, "), 0U) << unknown;
  EXPECT_NE(unknown.find("resnet50"), std::string::npos) << unknown;
  EXPECT_EQ(message_of("./missing.txt"),
            "cannot read the problem file `./missing.txt`: no such file, or not readable");
  EXPECT_EQ(message_of("./"), "cannot read the problem file `./`: no such file, or not readable");
  EXPECT_NE(message_of("conv2d pad"), "no error");
  EXPECT_THROW(parse_problem_set("# nothing\n", "empty.txt"), problem_set_error);
  try {
    parse_problem_set("relu x=5\nrelu pad\n", "bad.txt");
    FAIL() << "accepted";
  } catch (const problem_set_error& error) {
    EXPECT_EQ(std::string(error.what()).find("bad.txt:2: `pad` (column 6): expected `name=value`"), 0U)
        << error.what();
  }
}

TEST(problem_set, lists_and_versions_are_several_sets) {
  const auto names = [](const std::string& what) {
    std::string list;
    for (const problem_set& set : load_problem_sets(what)) list += set.name + " ";
    return list;
  };
  EXPECT_EQ(names("vgg16"), "vgg16 ");
  EXPECT_EQ(names("resnet50,vgg16,alexnet,mobilenet"), "resnet50 vgg16 alexnet mobilenet_v1 mobilenet_v2 ");
  EXPECT_EQ(load_problem_sets("max_pool2d x=1x1x4x4 window=2 pad=0,0,0,0").size(), 1U);
  for (const char* bad : {"vgg16,", ",vgg16", "resnet51,vgg16", "mobile"})
    EXPECT_THROW(load_problem_sets(bad), problem_set_error) << bad;
}

TEST(problem_set, every_shipped_line_parses_with_a_label) {
  const auto names = problem_set_names();
  ASSERT_GE(names.size(), 6U);
  for (const std::string& name : names)
    for (const set_problem& p : load_problems(name).problems) EXPECT_NE(p.label, "") << p.origin;
}

}  // namespace
}  // namespace plumb
