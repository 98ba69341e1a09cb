// The law of the oracle: whatever layer, pass and data, the interval of its first value and radius, which are worked
// out in double, covers the truth, which the layer's own definition gives in 100 digits. Some hundred elements a family;
// PLUMB_ORACLE_ELEMENTS=100000 makes it so many.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <iostream>
#include <map>

#include "properties/generators/problem_space.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/evaluate.hpp"
#include "verify/oracle.hpp"
#include "verify/regimes.hpp"

namespace plumb {
namespace {

constexpr double last_digits = 1e-97;
constexpr double most_work = 4000;  // products of a problem: each takes a microsecond in 100 digits

struct tally {
  std::int64_t elements = 0, index_elements = 0, unbounded = 0, uncovered = 0;
  double widest = 0;  ///< largest radius relative to the truth
};

/// One problem and pass, all that it writes.
void hold_against_100_digits(const layer& l, const pass_spec& pass, regime r, std::uint64_t seed, dtype type,
                             tally& sum) {
  const tensor_set<double> reads = draw(l, pass, r, seed, type);
  oracle o;
  const auto& results = o.evaluate(l, pass, reads, type);
  const auto exact = evaluate_pass<mp100>(l, pass, reads.map<mp100>([](double x) { return mp100(x); }));
  for (const truths& t : results) {
    const auto& e = exact.at(t.name);
    for (index_t i = 0; i < t.count(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      if (t.is_index) {
        ++sum.index_elements;
        if (t.index[at] != e.index[i]) ++sum.uncovered;
        continue;
      }
      if (!std::isfinite(t.value[at])) continue;  // judged as a class
      if (std::isinf(t.radius[at])) {
        ++sum.unbounded;
        continue;
      }
      ++sum.elements;
      const mp100 distance = abs(e.real[i] - mp100(t.value[at]));
      const mp100 own = abs(e.real[i]) * mp100(last_digits);  // of the 100 digits themselves
      if (!(distance <= mp100(t.radius[at]) + own)) {
        ++sum.uncovered;
        ADD_FAILURE() << l.canonical().print() << " | " << pass.name << ' ' << name_of(r) << " seed " << seed
                      << ": " << t.name << '[' << i << "] is " << t.value[at] << " ± " << t.radius[at]
                      << ", the truth lies " << static_cast<double>(distance) << " away";
      }
      if (t.value[at] != 0) sum.widest = std::max(sum.widest, t.radius[at] / std::fabs(t.value[at]));
    }
  }
}

TEST(OracleLaw, TheRadiusCoversTheTruthInEveryFamily) {
  const char* const asked = std::getenv("PLUMB_ORACLE_ELEMENTS");
  const std::int64_t wanted = asked == nullptr ? 400 : std::atoll(asked);
  std::map<std::string, std::vector<std::string>> layers;
  for (const family_row& row : families()) layers[row.family].push_back(row.layer);
  std::int64_t all = 0;
  for (const auto& [family, names] : layers) {
    tally sum;
    for (std::uint64_t n = 0; sum.elements + sum.index_elements < wanted && n < 400'000; ++n) {
      const auto l = plumb::bind(std::string_view(draw_problem(names[n % names.size()], 9000 + n)));
      if (!(work_of(*l) <= most_work)) continue;
      const auto& passes = l->describe().passes;
      constexpr regime regimes[] = {regime::zero_mean, regime::positive, regime::lattice};
      const pass_spec& pass = passes[n / names.size() % passes.size()];
      double size = 0;
      for (const std::string& name : pass.writes) size += static_cast<double>(l->shapes()[name].size());
      if (size > most_work) continue;
      hold_against_100_digits(*l, pass, regimes[n % 3], n, n % 2 == 0 ? dtype::f32 : dtype::f64, sum);
    }
    all += sum.elements + sum.index_elements;
    EXPECT_EQ(sum.uncovered, 0) << family;
    EXPECT_GE(sum.elements + sum.index_elements, wanted) << family;
    std::cout << family << ": " << sum.elements << " elements and " << sum.index_elements
              << " indices covered, " << sum.unbounded << " without a radius, widest " << sum.widest
              << " of the truth\n";
  }
  std::cout << all << " in " << layers.size() << " families\n";
}

/// The law is seen failing: a value moved by twice its radius is not covered.
TEST(OracleLaw, SeesARadiusThatIsTooSmall) {
  const auto l = plumb::bind(std::string_view("softmax x=3x5"));
  const pass_spec& pass = l->describe().passes[0];
  const tensor_set<double> reads = draw(*l, pass, regime::zero_mean, 3, dtype::f32);
  oracle o;
  const truths& t = o.evaluate(*l, pass, reads, dtype::f32)[0];
  const auto exact = evaluate_pass<mp100>(*l, pass, reads.map<mp100>([](double x) { return mp100(x); }));
  for (std::size_t i = 0; i < t.value.size(); ++i) {
    EXPECT_GT(t.radius[i], 0);
    const mp100 off = mp100(t.value[i] + 3 * t.radius[i]);
    EXPECT_FALSE(abs(exact.at("y").real[static_cast<index_t>(i)] - off) <= mp100(t.radius[i]));
  }
}

}  // namespace
}  // namespace plumb
