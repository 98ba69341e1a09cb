// Agreement proves derivatives, not meaning: the layers in double against golden values from PyTorch 1.13.1,
// forward and backward (golden/make_golden.py wrote them and says what the words at the head of a case mean).
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "reference/layers/catalogue.hpp"
#include "reference/tests/planted.hpp"

namespace plumb {
namespace {

struct golden_case {
  std::string comparison;
  std::string problem;
  std::map<std::string, std::vector<double>> tensors;
};

std::vector<golden_case> read_cases(std::istream& file) {
  std::vector<golden_case> cases;
  bool whole = false;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string first, word;
    words >> first;
    if (first == "#") {
      std::size_t count = 0;
      if (words >> count) whole = count == cases.size();
      continue;
    }
    if (first == "exact" || first == "ulps" || first == "real") {
      std::string problem;
      std::getline(words >> std::ws, problem);
      cases.push_back({first, problem, {}});
      continue;
    }
    std::vector<double>& values = cases.at(cases.size() - 1).tensors[first];
    while (words >> word) values.push_back(std::strtod(word.c_str(), nullptr));
  }
  if (!whole) throw std::runtime_error("the last line does not count the cases: the file has been cut short");
  return cases;
}

/// The first element that is off, in words; empty: none. NaN equals NaN only, 0 and -0 differ when exact.
std::string mismatch(const std::string& comparison, const std::vector<double>& expected,
                     const std::vector<double>& found) {
  if (expected.size() != found.size()) return "sizes differ";
  double largest = 0;
  for (const double v : expected)
    if (std::isfinite(v)) largest = std::max(largest, std::fabs(v));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double e = expected[i], f = found[i];
    const double size = comparison == "real" ? largest : std::fabs(e);
    const bool same = e == f && (comparison != "exact" || std::signbit(e) == std::signbit(f));
    const bool near = comparison != "exact" && std::isfinite(e) &&
                      std::fabs(e - f) <= 4 * 0x1p-52 * size + std::numeric_limits<double>::min();
    if ((std::isnan(e) && std::isnan(f)) || same || near) continue;
    std::ostringstream sentence;
    sentence.precision(17);
    sentence << "element " << i << " is " << f << ", expected " << e;
    return sentence.str();
  }
  return {};
}

std::vector<double> values_of(const tensor_set<double>::entry& e) {
  if (!e.is_index) return e.real.values();
  return {e.index.values().begin(), e.index.values().end()};
}

/// Fills the named tensors from the case, where it has them.
void fill(tensor_set<double>& set, const golden_case& golden) {
  for (auto& e : set.entries()) {
    const auto found = golden.tensors.find(e.name);
    if (found == golden.tensors.end()) continue;
    ASSERT_EQ(static_cast<index_t>(found->second.size()), e.extents().size()) << e.name;
    for (std::size_t i = 0; i < found->second.size(); ++i)
      e.is_index ? void(e.index.values()[i] = static_cast<index_t>(found->second[i]))
                 : void(e.real.values()[i] = found->second[i]);
  }
}

/// The first tensor of the layer that differs from the golden one, in words; empty: none.
std::string difference(const layer& layer_in_question, const golden_case& golden) {
  const layer* const l = &layer_in_question;
  std::vector<std::string> inputs, outputs, cotangents, gradients;
  for (const tensor_spec& s : l->describe().inputs) {
    inputs.push_back(s.name);
    if (s.kind == element::real && s.differentiable) gradients.push_back("d" + s.name);
  }
  for (const tensor_spec& s : l->describe().outputs) {
    outputs.push_back(s.name);
    if (s.kind == element::real) cotangents.push_back("d" + s.name);
  }
  auto in = make_tensors<double>(*l, inputs), out = make_tensors<double>(*l, outputs);
  auto dy = make_tensors<double>(*l, cotangents), dx = make_tensors<double>(*l, gradients);
  fill(in, golden);
  fill(dy, golden);
  l->as<double>().forward(std::as_const(in).views(), out.views());
  l->as<double>().vjp(std::as_const(in).views(), std::as_const(out).views(), std::as_const(dy).views(),
                      dx.views());
  for (const auto* set : {&out, &dx})
    for (const auto& e : set->entries()) {
      if (!golden.tensors.contains(e.name)) return e.name + " is missing";
      const std::string wrong = mismatch(golden.comparison, golden.tensors.at(e.name), values_of(e));
      if (!wrong.empty()) return e.name + ": " + wrong;
    }
  return {};
}

std::vector<std::string> families() {
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator("reference/tests/golden"))
    if (file.path().extension() == ".txt") names.push_back(file.path().stem());
  std::ranges::sort(names);
  return names;
}

class golden : public testing::TestWithParam<std::string> {};

TEST_P(golden, values) {
  std::ifstream file("reference/tests/golden/" + GetParam() + ".txt");
  ASSERT_TRUE(file.is_open());
  const std::vector<golden_case> cases = read_cases(file);
  for (const golden_case& c : cases) EXPECT_EQ(difference(*plumb::bind(c.problem), c), "") << c.problem;
}

INSTANTIATE_TEST_SUITE_P(written_by_others, golden, testing::ValuesIn(families()),
                         [](const auto& family) { return family.param; });

TEST(golden_files, have_cases_of_every_layer) {
  std::map<std::string, int> cases;
  for (const std::string& family : families()) {
    std::ifstream file("reference/tests/golden/" + family + ".txt");
    for (const golden_case& c : read_cases(file)) ++cases[problem::parse(c.problem).layer()];
  }
  for (const layer_row& row : layer_catalogue()) EXPECT_GE(cases[std::string(row.name)], 2) << row.name;
}

TEST(golden_files, see_a_fault_in_the_formula_of_every_layer) {
  std::set<std::string> seen;
  for (const std::string& family : families()) {
    std::ifstream file("reference/tests/golden/" + family + ".txt");
    for (const golden_case& c : read_cases(file)) {
      const auto good = plumb::bind(c.problem);
      const auto place = place_for_a_fault(*good);
      if (place &&
          !difference(planted_layer(*good, planted::formula, place->first, place->second), c).empty())
        seen.insert(good->name());
    }
  }
  for (const layer_row& row : layer_catalogue())
    EXPECT_TRUE(seen.contains(std::string(row.name))) << row.name;
}

TEST(golden_files, cut_short_are_refused) {
  std::istringstream whole("exact relu x=1\nx 1\n# 1 cases\n"), cut("exact relu x=1\nx 1\n");
  EXPECT_EQ(read_cases(whole).size(), 1U);
  EXPECT_THROW(read_cases(cut), std::runtime_error);
}

TEST(golden_comparison, sees_what_is_wrong) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  const std::vector<double> good = {1.0, -0.0, nan, infinity, -3.5};
  for (const char* comparison : {"exact", "ulps", "real"}) {
    EXPECT_EQ(mismatch(comparison, good, good), "");
    for (std::size_t i = 0; i < good.size(); ++i)
      for (const double wrong : {2.0, nan, infinity, -infinity, 1.0 + 0x1p-40}) {
        std::vector<double> bad = good;
        bad[i] = wrong;
        const bool same = std::isnan(good[i]) ? std::isnan(wrong) : wrong == good[i];
        EXPECT_EQ(mismatch(comparison, good, bad).empty(), same) << comparison << " " << i << " " << wrong;
      }
    EXPECT_EQ(mismatch(comparison, good, {1.0}), "sizes differ");
  }
  EXPECT_NE(mismatch("exact", {0.0}, {-0.0}), "");
  EXPECT_NE(mismatch("exact", {1.0}, {1.0 + 0x1p-52}), "");
  EXPECT_EQ(mismatch("ulps", {1.0}, {1.0 + 0x1p-52}), "");
}

}  // namespace
}  // namespace plumb
