// The sections of `fingerprint` (how a kernel adds, multiplies and rounds, beside what it declares) and of `sweep`
// (every float there is through an element-wise kernel). What contradicts a declaration comes first.
#include <algorithm>
#include <cmath>

#include "reports/summary.hpp"
#include "reports/view.hpp"

namespace plumb::reports {

namespace {

using record::fingerprint_result;
using record::sweep_result;

// A page of more kernels would be slow; the record has them all.
constexpr std::size_t most_measured = 1000;

/// Those that need a look first, those that were skipped last, else in their order.
template <class Result>
std::vector<const Result*> gravest_first(const std::vector<Result>& all) {
  std::vector<const Result*> list;
  for (const Result& each : all) list.push_back(&each);
  std::ranges::stable_sort(list, {}, [](const Result* each) {
    const tone t = tone_of(each->verdict);
    const int rank = t == tone::bad ? 0 : t == tone::unsure ? 1 : t == tone::good ? 2 : 3;
    return std::pair(rank, each->peer);
  });
  return list;
}

void state(json& facts, std::string label, std::string value) {
  if (!value.empty()) facts.push_back({{"label", std::move(label)}, {"value", std::move(value)}});
}

constexpr const char* not_measurable = "not measurable";

std::string bits(int significant) {
  return significant > 0 ? std::to_string(significant) + " bits" : significant < 0 ? not_measurable : "";
}

/// `24 bits`, or `24 and 11 bits` where the factors differ.
std::string input_bits(const fingerprint_result& f) {
  if (f.input_bits.empty()) return f.accumulator_bits < 0 ? not_measurable : "";
  std::string text;
  const bool alike = std::ranges::count(f.input_bits, f.input_bits.front()) == std::ssize(f.input_bits);
  for (const int significant : f.input_bits) {
    text += (text.empty() ? "" : " and ") + std::to_string(significant);
    if (alike) break;
  }
  return text + " bits";
}

/// `8 lanes of 72 terms`: the order of additions in three words; the whole sentence is in the card.
std::string order_of(const fingerprint_result& f) {
  const std::string kind = clean(f.tree_kind, 40);
  if (kind == "lanes" || kind == "split" || kind == "blocked") {
    const char* const parts = kind == "lanes" ? "lane" : kind == "split" ? "part" : "block";
    if (f.lanes > 0 && kind != "blocked")
      return plural(f.lanes, parts) + (f.block > 0 ? " of " + count(f.block) : "");
    return f.block > 0 ? "blocks of " + count(f.block) : kind;
  }
  return kind;
}

json fingerprint_card(const fingerprint_result& f) {
  json facts = json::array();
  state(facts, "Declares", clean(f.arithmetic, 100));
  state(facts, "Order of additions", order_of(f));
  state(facts, "Terms of the sum", f.terms > 0 ? count(f.terms) : "");
  state(facts, "Roundings on the longest way", f.roundings > 0 ? count(f.roundings) : "");
  state(facts, "Factors kept to", input_bits(f));
  state(facts, "Products", clean(f.products, 40));
  state(facts, "Partial sums", bits(f.accumulator_bits) + (f.truncates ? ", rounded toward zero" : ""));
  if (!f.words.empty()) {
    state(facts, "Subnormal inputs", f.flushes_inputs ? "taken for zero" : "kept");
    state(facts, "Subnormal results", f.flushes_results ? "flushed to zero" : "kept");
  }
  state(facts, "Repeats itself", clean(f.repeats, 300));
  if (f.measured_bound > 0) {
    state(facts, "Proven bound, this order", number(f.measured_bound) + " Σ|a||b|");
    state(facts, "Proven bound, any order", number(f.any_order_bound) + " Σ|a||b|");
  }
  state(facts, "Implementation", clean(f.implementation, 200));
  state(facts, "Calls", count(f.calls));
  const std::string origin = clean(f.origin, 300);
  json card = verdict_cell(f.verdict);
  card.update({{"kernel", clean(f.kernel, 300)},
               {"mark", f.peer                 ? "peer"
                        : origin == "built in" ? ""
                                               : origin},
               {"declares", clean(f.arithmetic, 100)},
               {"order", order_of(f)},
               {"products", clean(f.products, 40)},
               {"sums", bits(f.accumulator_bits)},
               {"factors", input_bits(f)},
               {"roundings", f.roundings > 0 ? count(f.roundings) : ""},
               {"reason", clean(f.reason, 600)},
               {"tree", clean(f.tree, 1000)},
               {"tail", clean(f.tail_tree, 1000)},
               {"words", clean(f.words, 1000)},
               {"problem", clean(f.problem, 600)},
               {"facts", std::move(facts)}});
  return card;
}

/// A row of the chart `levels`: a value beside the limit it has to keep.
json level(const std::string& kernel, double value, double limit, std::string title) {
  return {{"name", clean(kernel, 300)},
          {"value", json_number(value)},
          {"limit", json_number(limit)},
          {"title", std::move(title)}};
}

json fingerprint_section(const record::fingerprint_section& section, chart_book& charts) {
  constexpr std::size_t most_bars = 60;
  json cards = json::array(), levels = json::array();
  for (const fingerprint_result* f : gravest_first(section.kernels)) {
    if (cards.size() == most_measured) break;
    cards.push_back(fingerprint_card(*f));
    if (f->measured_bound > 0 && !record::is_bad(f->verdict) && levels.size() < most_bars)
      levels.push_back(level(f->kernel, f->measured_bound, f->any_order_bound,
                             plural(f->terms, "term") + ", " + plural(f->roundings, "rounding") + "; " +
                                 number(f->any_order_bound / f->measured_bound) +
                                 " times tighter than for any order"));
  }
  const bool cut = section.kernels.size() > cards.size();
  return {
      {"more",
       cut ? plural(std::ssize(section.kernels) - std::ssize(cards), "kernel") + " more in the record" : ""},
      {"cards", std::move(cards)},
      {"chart", levels.empty() ? ""
                               : charts.add("levels", {{"rows", std::move(levels)},
                                                       {"axis", "proven bound in units of Σ|a||b|"},
                                                       {"value", "for the order that was measured"},
                                                       {"limit", "for any order"}})}};
}

std::string hexadecimal(std::int64_t word) {
  constexpr int nibbles = 8;
  std::string text = "0x";
  for (int i = nibbles - 1; i >= 0; --i) text += "0123456789abcdef"[(word >> (4 * i)) & 0xf];
  return text;
}

std::string share_of(std::int64_t part, std::int64_t all) {
  if (all <= 0) return "";
  if (part == all) return "all";
  return number(100 * static_cast<double>(part) / static_cast<double>(all)) + " %";
}

json special_rows(const sweep_result& s) {
  constexpr std::size_t most = 200;
  json rows = json::array();
  for (const record::special_value& v : s.special) {
    if (rows.size() == most) break;
    const bool same = v.got == v.truth || (std::isnan(v.got) && std::isnan(v.truth));
    const auto text = [](double x) { return x == 0 ? cell_number(x) : number(x, 9); };  // zeros have signs
    rows.push_back({{"input", text(v.input)},
                    {"got", text(v.got)},
                    {"truth", text(v.truth)},
                    {"tone", same ? "" : "near"}});
  }
  return rows;
}

json sweep_card(const sweep_result& s) {
  const std::int64_t range = s.last - s.first + 1;
  json facts = json::array();
  state(facts, "Inputs", count(s.inputs));
  state(facts, "Of the range " + hexadecimal(s.first) + " to " + hexadecimal(s.last),
        share_of(s.next - s.first, range));
  state(facts, "Declares", s.declared_ulps > 0 ? number(s.declared_ulps) + " ulp" : clean(s.arithmetic, 100));
  state(facts, "Worst error", number(s.worst_ulps, 4) + " ulp");
  state(facts, "at", number(s.worst_input, 9) + " (" + hexadecimal(s.worst_bits) + ")");
  state(facts, "got, true", number(s.worst_got, 9) + ", " + number(s.worst_truth, 9));
  state(facts, "Not the truth rounded once",
        count(s.misrounded) + (s.misrounded > 0 ? " (" + share_of(s.misrounded, s.inputs) + ")" : ""));
  state(facts, "Outside of the bound", count(s.wrong));
  if (s.wrong > 0)
    state(facts, "First of them",
          number(s.first_wrong_input, 9) + " (" + hexadecimal(s.first_wrong_bits) + "): got " +
              number(s.first_wrong_got, 9) + ", true " + number(s.first_wrong_truth, 9));
  state(facts, "Decided by 100 digits", count(s.escalated));
  state(facts, "Time", duration(s.seconds));
  json card = verdict_cell(s.verdict);
  card.update({{"kernel", clean(s.kernel, 300)},
               {"mark", s.peer ? "peer" : ""},
               {"reason", clean(s.reason, 600)},
               {"problem", clean(s.problem, 600)},
               {"inputs", count(s.inputs)},
               {"worst", number(s.worst_ulps, 4) + " ulp"},
               {"at", number(s.worst_input, 9)},
               {"declared", s.declared_ulps > 0 ? number(s.declared_ulps) + " ulp" : ""},
               {"misrounded", share_of(s.misrounded, s.inputs)},
               {"wrong", count(s.wrong)},
               {"facts", s.inputs > 0 ? std::move(facts) : json::array()},
               {"special", special_rows(s)}});
  return card;
}

json sweep_section(const record::sweep_section& section, chart_book& charts) {
  constexpr std::size_t most_bars = 60;
  json cards = json::array(), levels = json::array();
  for (const sweep_result* s : gravest_first(section.kernels)) {
    if (cards.size() == most_measured) break;
    cards.push_back(sweep_card(*s));
    if (s->inputs > 0 && levels.size() < most_bars)
      levels.push_back(level(s->kernel, s->worst_ulps, s->declared_ulps,
                             "worst at " + number(s->worst_input, 9) + ", " + count(s->inputs) + " inputs"));
  }
  const bool cut = section.kernels.size() > cards.size();
  return {
      {"more",
       cut ? plural(std::ssize(section.kernels) - std::ssize(cards), "kernel") + " more in the record" : ""},
      {"cards", std::move(cards)},
      {"chart", levels.empty() ? ""
                               : charts.add("levels", {{"rows", std::move(levels)},
                                                       {"axis", "worst error in ulps"},
                                                       {"linear", true},
                                                       {"value", "measured over all inputs"},
                                                       {"limit", "declared"}})}};
}

}  // namespace

void view_fingerprint(std::span<const record::run> runs, chart_book& charts, json& view) {
  view["fingerprint"] = json::array();
  for (const record::run& r : runs)
    if (r.fingerprint) view["fingerprint"].push_back(fingerprint_section(*r.fingerprint, charts));
}

void view_sweep(std::span<const record::run> runs, chart_book& charts, json& view) {
  view["sweep"] = json::array();
  for (const record::run& r : runs)
    if (r.sweep) view["sweep"].push_back(sweep_section(*r.sweep, charts));
}

}  // namespace plumb::reports
