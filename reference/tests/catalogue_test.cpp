// The catalogue against the specification's list of operators, and each layer against what is asked of every one.
#include "reference/layers/catalogue.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

namespace plumb {
namespace {

/// The layers named behind the first gap of two spaces in every line.
std::set<std::string> specified() {
  std::ifstream file("reference/tests/operators.txt");
  std::set<std::string> names;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line.substr(line.find("  ")));
    for (std::string name; words >> name;) names.insert(name);
  }
  return names;
}

std::set<std::string> present() {
  std::set<std::string> names;
  for (const layer_row& row : layer_catalogue()) names.insert(std::string(row.name));
  return names;
}

TEST(catalogue, holds_every_operator_in_every_rank_and_nothing_else) {
  EXPECT_GE(specified().size(), 110U);
  EXPECT_EQ(present(), specified());
}

TEST(catalogue, says_of_every_layer_what_it_computes) {
  for (const layer_row& row : layer_catalogue()) {
    const layer_card card = row.card();
    EXPECT_FALSE(card.formula.empty()) << row.name;
    EXPECT_LE(card.formula.size(), 160U) << row.name;
    ASSERT_FALSE(card.tensors.inputs.empty()) << row.name;
    ASSERT_FALSE(card.tensors.passes.empty()) << row.name;
    EXPECT_EQ(card.tensors.passes.front().name, "forward") << row.name;
    EXPECT_GE(card.tensors.passes.size(), 2U) << row.name << " has no backward pass";
  }
}

/// Every gradient of a layer is written by exactly one of its passes, and every pass reads and writes tensors it has.
TEST(catalogue, has_passes_that_cover_the_gradients) {
  for (const layer_row& row : layer_catalogue()) {
    const signature s = row.card().tensors;
    std::set<std::string> tensors;
    std::multiset<std::string> written;
    for (const auto* list : {&s.inputs, &s.outputs})
      for (const tensor_spec& t : *list) {
        tensors.insert(t.name);
        if (t.kind == element::real) tensors.insert("d" + t.name);
      }
    for (const pass_spec& p : s.passes) {
      for (const std::string& name : p.reads)
        EXPECT_TRUE(tensors.contains(name)) << row.name << " reads " << name;
      for (const std::string& name : p.writes) {
        EXPECT_TRUE(tensors.contains(name)) << row.name << " writes " << name;
        written.insert(name);
      }
    }
    for (const tensor_spec& t : s.inputs)
      EXPECT_EQ(written.count("d" + t.name), t.kind == element::real && t.differentiable ? 1U : 0U)
          << row.name << " d" << t.name;
    for (const tensor_spec& t : s.outputs) EXPECT_EQ(written.count(t.name), 1U) << row.name << " " << t.name;
  }
}

TEST(catalogue, answers_an_unknown_layer_with_its_neighbours) {
  EXPECT_EQ(nearest_layers("conv2"), "`conv2d`, `depthwise_conv2d` or `conv1d`, or one of the " +
                                         std::to_string(layer_catalogue().size()) +
                                         " that `plumb list layers` shows");
  EXPECT_EQ(nearest_layers("maxpool2d").substr(0, 13), "`max_pool2d`,");
  EXPECT_EQ(nearest_layers("qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq").substr(0, 7), "one of ");
}

}  // namespace
}  // namespace plumb
