#include "verify/fingerprint/traits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <set>

#include "verify/bounds.hpp"

namespace plumb::fingerprint {
namespace {

using question = summation::question;

class examiner {
 public:
  examiner(summation& machine, int precision, const summation_tree* likely)
      : machine_(machine), precision_(precision), n_(machine.terms()), likely_(likely) {}

  traits run() {
    seen_.terms = n_;
    inputs();
    // In f16 everything is between 2^-24 and 2^15: small numbers are added to a large one instead of to 1.
    base_ = seen_.narrow_range ? 0x1p14 : 1;
    if (n_ >= 3) accumulator();
    tree();
    product();
    subnormals();
    return seen_;
  }

 private:
  std::vector<double> zeros() const { return std::vector<double>(static_cast<std::size_t>(n_)); }
  /// The terms numbered in `at` with these values, all others zero, every b the same.
  question with(std::initializer_list<std::pair<index_t, double>> list, double b = 1) const {
    question q{zeros(), {b}};
    for (const auto& [at, value] : list) q.a[static_cast<std::size_t>(at)] = value;
    return q;
  }
  double ask(question q) { return machine_.answer({&q, 1}).front(); }

  void inputs() {
    seen_.a_bits = kept([&](double x) { return with({{n_ / 2, x}}); });
    if (!machine_.has_b()) return;
    seen_.b_bits = kept([&](double x) {
      question q{std::vector<double>(static_cast<std::size_t>(n_), 1.0), zeros()};
      q.b[static_cast<std::size_t>(n_ / 2)] = x;
      return q;
    });
    seen_.narrow_range =
        ask(with({{n_ / 2, 0x1p17}}, 0x1p-14)) != 0x1p3 || ask(with({{n_ / 2, 0x1p-30}}, 0x1p14)) == 0;
  }
  template <class Make>
  int kept(Make&& make) {
    std::vector<question> list;
    for (int k = 1; k < precision_; ++k) list.push_back(make(1 + std::ldexp(1.0, -k)));
    const std::vector<double> answers = machine_.answer(list);
    int bits = 1;
    while (bits < precision_ && answers[static_cast<std::size_t>(bits - 1)] == 1 + std::ldexp(1.0, -bits))
      ++bits;
    const auto rounded_elsewhere = [&](double answer) {
      const double steps = std::ldexp(answer, bits - 1);
      return std::isfinite(answer) && steps != std::rint(steps);
    };
    seen_.hides_inputs = seen_.hides_inputs || std::ranges::any_of(answers, rounded_elsewhere);
    return bits;
  }

  using triple = std::array<index_t, 3>;
  /// 1, 2^-k and -1 on these terms in every order: one of the orders adds 1 and 2^-k first.
  std::vector<triple> triples() const {
    std::set<triple> list;
    const auto all_orders = [&](index_t i, index_t j, index_t m) {
      if (i == j || j == m || i == m) return;
      list.insert({i, j, m});
      list.insert({j, m, i});
      list.insert({m, i, j});
    };
    all_orders(0, 1, 2);
    all_orders(n_ - 3, n_ - 2, n_ - 1);
    all_orders(0, n_ / 2, n_ - 1);
    return {list.begin(), list.end()};
  }
  void accumulator() {
    const auto order = triples();
    const int most = seen_.narrow_range ? 38 : 60;
    std::vector<question> list;
    for (int k = 1; k <= most; ++k)
      for (const triple& t : order)
        list.push_back(with({{t[0], base_}, {t[1], base_ * std::ldexp(1.0, -k)}, {t[2], -base_}}));
    const std::vector<double> answers = machine_.answer(list);
    int k = 1;
    const triple* rounded = nullptr;
    for (; k <= most && rounded == nullptr; ++k)
      for (std::size_t i = 0; i < order.size(); ++i)
        if (answers[static_cast<std::size_t>(k - 1) * order.size() + i] != base_ * std::ldexp(1.0, -k))
          rounded = &order[i];
    if (rounded == nullptr) {
      seen_.accumulator_bits = traits::never_rounds;
      return;
    }
    seen_.accumulator_bits = k - 1;
    const double above_half = base_ * std::ldexp(1.5, -seen_.accumulator_bits);
    const triple& t = *rounded;
    seen_.truncates = ask(with({{t[0], base_}, {t[1], above_half}, {t[2], -base_}})) == 0;
  }

  // ---- the tree ----

  void tree() {
    if (n_ == 1) {
      seen_.no_tree = "one term";
      return;
    }
    if (seen_.accumulator_bits == traits::never_rounds) {
      seen_.no_tree = "no rounding was seen: sums are exact, compensated or of more than 60 bits";
      return;
    }
    // Counts up to 2^p are exact in p bits; of longer sums in narrower formats only the first terms are looked at.
    leaves_ = n_;
    if (seen_.accumulator_bits < 30)
      leaves_ = std::min<index_t>(n_, index_t{1} << std::max(2, seen_.accumulator_bits));
    const bool narrow = seen_.narrow_range || seen_.accumulator_bits == 11;
    large_ = narrow ? 0x1p15 : 0x1p100;
    one_ = narrow ? 0x1p-24 : 1;
    const meeting_sizes measure = [&](auto pairs) { return measured(pairs); };
    if (likely_ != nullptr && likely_->size() == leaves_ && agrees(*likely_, measure)) seen_.tree = *likely_;
    if (!seen_.tree) grow(measure);
    if (seen_.tree) {
      seen_.shape = describe(*seen_.tree);
      return;
    }
    seen_.no_tree =
        "the answers fit no tree over the terms: other sums are formed first, as Winograd's and Fourier's";
    seen_.hides_sums = seen_.accumulator_bits < precision_;
    const int narrower = seen_.b_bits == 0 ? seen_.a_bits : std::min(seen_.a_bits, seen_.b_bits);
    seen_.hides_inputs = seen_.hides_inputs || (seen_.hides_sums && narrower < precision_);
  }

  void grow(const meeting_sizes& measure) {
    do {
      seen_.tree = build_tree(leaves_, measure);
      if (seen_.tree && !agrees(*seen_.tree, measure)) seen_.tree.reset();
    } while (!seen_.tree && machine_.narrow_down());
  }

  std::vector<index_t> measured(std::span<const std::pair<index_t, index_t>> pairs) {
    std::vector<index_t> sizes;
    constexpr std::size_t at_once = 1024;
    for (std::size_t first = 0; first < pairs.size(); first += at_once) {
      std::vector<question> list;
      for (const auto& [i, j] : pairs.subspan(first, std::min(at_once, pairs.size() - first))) {
        question q{zeros(), {1}};
        std::fill_n(q.a.begin(), leaves_, one_);
        q.a[static_cast<std::size_t>(i)] = large_;
        q.a[static_cast<std::size_t>(j)] = -large_;
        list.push_back(std::move(q));
      }
      for (const double survivors : machine_.answer(list)) {
        const double under = static_cast<double>(leaves_) - survivors / one_;
        const bool sensible =
            under >= 2 && under <= static_cast<double>(leaves_) && under == std::rint(under);
        sizes.push_back(sensible ? static_cast<index_t>(under) : 0);
      }
    }
    return sizes;
  }
  /// Pairs that had no part in building it.
  bool agrees(const summation_tree& found, const meeting_sizes& measure) const {
    std::vector<std::pair<index_t, index_t>> pairs;
    for (index_t k = 0; k < 128; ++k) {
      const index_t i = k * 7919 % leaves_, j = (k * 104'729 + 1) % leaves_;
      if (i != j) pairs.emplace_back(i, j);
    }
    const auto sizes = measure(pairs);
    for (std::size_t k = 0; k < pairs.size(); ++k)
      if (sizes[k] != found.meeting(pairs[k].first, pairs[k].second)) return false;
    return true;
  }

  // ---- products ----

  /// For up to 32 terms: x·c added to a partial sum that holds -c.
  void product() {
    if (!machine_.has_b() || n_ < 2 || seen_.accumulator_bits == 0 || seen_.hides_sums) return;
    if (2 * std::min(seen_.a_bits, seen_.b_bits) <= seen_.accumulator_bits) {
      seen_.product = products::exact;
      return;
    }
    const int half = (precision_ + 1) / 2;  // so that c·c has more bits than the accumulator
    const double c = 1 + std::ldexp(1.0, -half);
    if (std::min(seen_.a_bits, seen_.b_bits) <= half) return;
    std::vector<question> list;
    const index_t step = std::max<index_t>(1, n_ / 32);
    for (index_t j = 0; j < n_; j += step) {
      const index_t i = seen_.tree && j < leaves_ ? seen_.tree->partner(j) : (j == 0 ? 1 : 0);
      if (i < 0) continue;
      list.push_back(with({{j, c}, {i, -1}}, c));
      list.push_back(with({{i, c}, {j, -1}}, c));
    }
    const double whole = std::ldexp(1.0, -half) + std::ldexp(1.0, -2 * half);
    index_t kept = 0, asked = 0;
    const std::vector<double> answers = machine_.answer(list);
    for (std::size_t k = 0; k + 1 < answers.size(); k += 2) {
      kept += answers[k] == whole || answers[k + 1] == whole ? 1 : 0;
      ++asked;
    }
    seen_.product = kept == 0 ? products::rounded : kept == asked ? products::fused : products::mixed;
  }

  void subnormals() {
    if (precision_ != 24 || seen_.narrow_range) return;
    const index_t i = n_ / 2;
    if (machine_.has_b()) {
      seen_.flushes_inputs = ask(with({{i, 0x1p-130}}, 0x1p20)) == 0;
      seen_.flushes_results = ask(with({{i, 0x1p-70}}, 0x1p-70)) == 0;
    }
    if (n_ >= 2) seen_.flushes_results |= ask(with({{0, 0x1.8p-126}, {n_ - 1, -0x1p-126}})) == 0;
  }

  summation& machine_;
  int precision_;
  index_t n_, leaves_ = 0;
  const summation_tree* likely_;
  double base_ = 1, large_ = 0, one_ = 1;
  traits seen_;
};

/// What a declared arithmetic promises, in significant bits; 0 promises nothing that the probes could see: they count
/// what is left of small terms beside large ones, and transforms like Winograd's lose those by cancelling, however wide
/// their sums are. Such a kernel is held to the bound from its data instead.
struct promise {
  int input_bits = 0;
  int accumulator_bits = 0;
};

promise promise_of(const arithmetic& how, dtype type) {
  promise p;
  if (how.transforms()) return p;
  const int stored = format_of(type).precision;
  p.input_bits = how.input_unit > 0 ? std::min(how.input_bits, stored) : stored;
  if (how.unit > 0) p.accumulator_bits = -std::ilogb(how.unit);
  return p;
}

std::string format_name(int bits, bool narrow) {
  switch (bits) {
    case 53:
      return "f64";
    case 24:
      return "f32";
    case 11:
      return narrow ? "f16" : "tf32";
    case 8:
      return "bf16";
    default:
      return fmt::format("{} bits", bits);
  }
}

/// `lanes=16` and its like.
bool read_tree(std::string_view word, declared_sum& sum) {
  const std::size_t equals = word.find('=');
  const std::string_view name = word.substr(0, equals);
  using trees = tree_shape::kind;
  if (name == "sequential") sum.tree = trees::sequential;
  if (name == "pairwise") sum.tree = trees::pairwise;
  if (name == "lanes") sum.tree = trees::lanes;
  if (name == "block") sum.tree = trees::blocked;
  if (name == "split") sum.tree = trees::split;
  if (equals == std::string_view::npos) return sum.tree == trees::sequential || sum.tree == trees::pairwise;
  const std::string_view digits = word.substr(equals + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), sum.number);
  return sum.tree && sum.tree != trees::sequential && error == std::errc() &&
         end == digits.data() + digits.size() && sum.number > 0;
}

std::string tree_contradiction(const traits& seen, const declared_sum& declared) {
  if (!declared.tree || !seen.tree) return {};
  const tree_shape& s = seen.shape;
  const index_t number =
      s.what == tree_shape::kind::lanes || s.what == tree_shape::kind::split ? s.parts : s.block;
  if (s.what == *declared.tree && (declared.number == 0 || declared.number == number)) return {};
  return fmt::format("declares a {} sum{} but adds {}", name_of(*declared.tree),
                     declared.number > 0 ? fmt::format(" ({})", declared.number) : "", s.text);
}

}  // namespace

std::string_view name_of(products p) {
  constexpr std::array<std::string_view, 5> names = {"fused", "rounded", "mixed", "exact", "unknown"};
  return names[static_cast<std::size_t>(p)];
}

traits examine(summation& machine, int precision, const summation_tree* likely) {
  return examiner(machine, precision, likely).run();
}

declared_sum parse_declared(std::string_view arithmetic) {
  declared_sum sum;
  const std::size_t open = arithmetic.find('(');
  sum.format = arithmetic.substr(0, open);
  if (open == std::string_view::npos || sum.format == "winograd" || sum.format == "fft") {
    sum.format = arithmetic;
    return sum;
  }
  const std::string_view word = arithmetic.substr(open + 1, arithmetic.size() - open - 2);
  if (!arithmetic.ends_with(')') || !read_tree(word, sum))
    sum.error = fmt::format(
        "`{}`: expected sequential, pairwise, lanes=N, block=N or split=N in the parentheses", arithmetic);
  return sum;
}

std::string contradiction(const traits& seen, std::string_view arithmetic, dtype type) {
  const declared_sum declared = parse_declared(arithmetic);
  if (!declared.error.empty()) return declared.error;
  const parsed_arithmetic parsed = parse_arithmetic(declared.format, type);
  if (!parsed.error.empty()) return {};  // nothing that can be contradicted here
  const promise limits = promise_of(parsed.value, type);
  if (seen.hides_sums && seen.accumulator_bits < limits.accumulator_bits)
    return fmt::format(
        "declares {} but transforms its factors first: {} significant bits are left of what it adds, where "
        "{} are "
        "promised",
        arithmetic, seen.accumulator_bits, limits.accumulator_bits);
  if (seen.accumulator_bits > 0 && seen.accumulator_bits < limits.accumulator_bits)
    return fmt::format("declares {} but adds in {} significant bits ({}), where {} are promised", arithmetic,
                       seen.accumulator_bits, format_name(seen.accumulator_bits, true),
                       limits.accumulator_bits);
  const int narrower = seen.b_bits == 0 ? seen.a_bits : std::min(seen.a_bits, seen.b_bits);
  if (narrower > 0 && narrower < limits.input_bits)
    return fmt::format("declares {} but keeps {} significant bits of its inputs ({}), where {} are promised",
                       arithmetic, narrower, format_name(narrower, seen.narrow_range), limits.input_bits);
  if (seen.truncates && limits.accumulator_bits > 0)
    return fmt::format("declares {} but its sums are cut off instead of rounded to nearest", arithmetic);
  if (seen.flushes_inputs || seen.flushes_results)
    return fmt::format("declares {} but takes subnormal {} for zero", arithmetic,
                       seen.flushes_inputs ? "inputs" : "results");
  return tree_contradiction(seen, declared);
}

std::string in_words(const traits& seen) {
  std::vector<std::string> parts;
  const bool hidden = seen.accumulator_bits > 0 && seen.a_bits == seen.accumulator_bits && seen.a_bits < 24;
  if (seen.hides_inputs)
    parts.emplace_back("inputs not measurable through transforms");
  else if (hidden)
    parts.emplace_back("inputs at least as wide as the sums");
  if (seen.a_bits > 0 && !hidden && !seen.hides_inputs) {
    const std::string a = format_name(seen.a_bits, seen.narrow_range);
    const std::string b = seen.b_bits == 0 ? a : format_name(seen.b_bits, seen.narrow_range);
    parts.push_back("inputs " + (a == b ? a : a + " and " + b));
  }
  if (seen.product != products::unknown) parts.push_back(fmt::format("products {}", name_of(seen.product)));
  if (seen.hides_sums)
    parts.emplace_back("sums not measurable through transforms");
  else if (seen.accumulator_bits == traits::never_rounds)
    parts.emplace_back("sums never rounded");
  else if (seen.accumulator_bits > 0)
    parts.push_back(fmt::format("sums {} {}", format_name(seen.accumulator_bits, true),
                                seen.truncates ? "toward zero" : "to nearest"));
  parts.emplace_back(seen.flushes_inputs    ? "subnormal inputs flushed"
                     : seen.flushes_results ? "subnormal results flushed"
                                            : "subnormals kept");
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace plumb::fingerprint
