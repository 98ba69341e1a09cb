// The five definitions of every layer agree: exactly in rationals, to 45 digits in mp100 where a layer leaves
// + - × ÷. The problems (problems/FAMILY.txt, one a line) are small and awkward: unequal axes, uneven padding, gaps,
// remainders, groups, nothing at all. And agreement is worth what it can see: in every layer a fault is planted in one
// definition at a time, and that one must be blamed.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "reference/layers/catalogue.hpp"
#include "reference/tests/five_definitions.hpp"
#include "reference/tests/planted.hpp"

namespace plumb {
namespace {

using namespace five_definitions;

std::vector<std::string> problems() {
  std::vector<std::string> list;
  for (const auto& file : std::filesystem::directory_iterator("reference/tests/problems")) {
    std::ifstream lines(file.path());
    for (std::string line; std::getline(lines, line);)
      if (!line.empty() && line[0] != '#') list.push_back(line);
  }
  std::ranges::sort(list);
  return list;
}

std::vector<std::string> problems_of(std::string_view layer) {
  std::vector<std::string> list = problems();
  std::erase_if(list, [&](const std::string& text) { return problem::parse(text).layer() != layer; });
  return list;
}

/// Half of the numbers are large, half lie between -4 and 4, where kinks like to be.
rational draw_rational(std::mt19937& random) {
  if (random() % 2 == 0) return rational(static_cast<int>(random() % 8000001) - 4000000) / 1000000;
  return rational(static_cast<int>(random() % 200001) - 100000) /
         rational(10 + 10 * static_cast<int>(random() % 5));
}

/// From -4 to 4, never within the reach of the difference quotients from a multiple of 1/10, where kinks like to be.
mp100 draw_real(std::mt19937& random) {
  const int tenths = static_cast<int>(random() % 81) - 40;
  return mp100(100 * tenths + 30 + static_cast<int>(random() % 41)) / 1000;
}

/// Whom the definitions of the layer accuse.
std::set<std::string> accused(const layer& l) {
  std::mt19937 random(20130);
  if (l.rational_arithmetic() && l.degree() > 0)  // else no rational difference is exact
    return blamed(l, random_inputs<rational>(l, random, draw_rational), rational(0));
  return blamed(l, random_inputs<mp100>(l, random, draw_real), mp100("1e-45"));
}

class every_layer : public testing::TestWithParam<std::string> {};

TEST_P(every_layer, agrees_with_itself) {
  const std::vector<std::string> texts = problems_of(GetParam());
  EXPECT_GE(texts.size(), 2U) << "reference/tests/problems has too few problems of this layer";
  for (const std::string& text : texts)
    EXPECT_EQ(accused(*plumb::bind(text)), std::set<std::string>{}) << text;
}

TEST_P(every_layer, blames_the_definition_with_the_fault) {
  for (const std::string& text : problems_of(GetParam())) {
    const auto good = plumb::bind(text);
    const auto place = place_for_a_fault(*good);
    if (!place) continue;
    for (const auto& [kind, name] :
         {std::pair(planted::formula, "forward"), std::pair(planted::vjp, "vjp"),
          std::pair(planted::jacobian, "jacobian"), std::pair(planted::dual_numbers, "dual")})
      EXPECT_EQ(accused(planted_layer(*good, kind, place->first, place->second)), std::set<std::string>{name})
          << text;
    return;
  }
  FAIL() << "no problem of this layer has a place for a fault";
}

INSTANTIATE_TEST_SUITE_P(of_the_catalogue, every_layer, testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (const layer_row& row : layer_catalogue()) names.emplace_back(row.name);
                           return names;
                         }()),
                         [](const auto& instance) { return instance.param; });

TEST(problems, name_layers_of_the_catalogue) {
  for (const std::string& text : problems()) EXPECT_NO_THROW(plumb::bind(text)) << text;
}

}  // namespace
}  // namespace plumb
