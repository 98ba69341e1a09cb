// The summary is the page's view with fewer columns. Cells are escaped by the template; code spans and fences
// are made safe here, because inside them Markdown has no escapes.
#include "reports/markdown.hpp"

#include <algorithm>

#include "reports/render.hpp"
#include "reports/view.hpp"

namespace plumb::reports {

namespace {

constexpr std::size_t most_bytes = 1 << 20;

/// A table under a heading, built row by row and cut at `most_rows`.
class table {
 public:
  table(const char* title, std::initializer_list<const char*> columns, std::size_t most_rows)
      : most_rows_(most_rows) {
    section_ = {
        {"title", title},        {"note", ""}, {"failures", json::array()}, {"columns", json::array()},
        {"rows", json::array()}, {"more", ""}};
    for (const char* column : columns) section_["columns"].push_back({{"name", column}, {"rule", "---"}});
  }
  void add(std::initializer_list<std::string> cells) {
    if (++rows_ > most_rows_) return;
    json row = json::array();
    for (const std::string& cell : cells) row.push_back({{"text", cell.empty() ? " " : cell}});
    section_["rows"].push_back({{"cells", std::move(row)}});
  }
  bool empty() const { return rows_ == 0; }
  json finish() {
    if (rows_ > most_rows_)
      section_["more"] =
          plural(static_cast<std::int64_t>(rows_ - most_rows_), "row") + " more in the record.";
    return section_;
  }

 private:
  json section_;
  std::size_t rows_ = 0;
  std::size_t most_rows_;
};

std::string text_of(const json& value) { return value.get<std::string>(); }

json failure_section(const char* title, const char* note, const json& cards, std::size_t most) {
  json section = {{"title", title},           {"note", note},          {"failures", json::array()},
                  {"columns", json::array()}, {"rows", json::array()}, {"more", ""}};
  for (std::size_t i = 0; i < std::min(cards.size(), most); ++i) {
    const json& card = cards[i];
    json examples = json::array();
    for (const json& c : card["counterexamples"]) {
      examples.push_back({{"message", text_of(c["kind"]) + ": " + text_of(c["message"])},
                          {"problem", fenced(text_of(c["problem"]))},
                          {"replay", fenced(text_of(c["replay"]))}});
    }
    section["failures"].push_back({{"kernel", card["kernel"]},
                                   {"verdict", card["verdict"]},
                                   {"reason", card["reason"]},
                                   {"counterexamples", std::move(examples)}});
  }
  if (cards.size() > most)
    section["more"] =
        plural(static_cast<std::int64_t>(cards.size() - most), "kernel") + " more in the record.";
  return section;
}

json kernel_table(const json& view, std::size_t most_rows) {
  table t("Kernels", {"kernel", "verdict", "cases", "worst share of the bound", "reason"}, most_rows);
  for (std::size_t at = 0; at < view["kernels"].size(); ++at) {
    const json& k = view["kernels"][at];
    std::string shares;
    for (std::size_t column = 0; column < view["regimes"]["columns"].size(); ++column) {
      const json& cell = view["regimes"]["rows"][at]["cells"][column];
      if (cell["text"] == "") continue;
      shares += (shares.empty() ? "" : ", ") + text_of(view["regimes"]["columns"][column]["name"]) + " " +
                text_of(cell["text"]);
    }
    const std::string mark = text_of(k["mark"]);
    t.add({text_of(k["kernel"]) + (mark.empty() ? "" : " (" + mark + ")"),
           text_of(k["verdict"]) + (k["certified"].get<bool>() ? ", certified" : ""), text_of(k["cases"]),
           shares, text_of(k["reason"])});
  }
  return t.finish();
}

json library_table(const json& view, std::size_t most_rows) {
  table t("What ran of the plugin", {"library", "edges that ran", "never ran"}, most_rows);
  for (const json& library : view["libraries"]) {
    std::string never = text_of(library["reason"]);
    for (const json& line : library["never"]) never += (never.empty() ? "" : " ") + text_of(line["line"]);
    if (const std::string more = text_of(library["more"]); !more.empty())
      never += (never.empty() ? "" : " ") + more;
    t.add({text_of(library["library"]), text_of(library["ran"]), never});
  }
  return t.finish();
}

json layer_table(const json& view, std::size_t most_rows) {
  table t("Gradients", {"problem", "verdict", "definitions", "derivative", "scalar", "agree to", "reason"},
          most_rows);
  for (const json& layer : view["layers"]) {
    for (const json& a : layer["agreements"]) {
      t.add({text_of(layer["problem"]), text_of(a["verdict"]),
             text_of(a["first"]) + " against " + text_of(a["second"]), text_of(a["derivative"]),
             text_of(a["scalar"]), text_of(a["digits"]), text_of(a["reason"])});
    }
    if (layer["agreements"].empty()) {
      t.add({text_of(layer["problem"]), text_of(layer["verdict"]), "", "", "", "", text_of(layer["reason"])});
    }
  }
  return t.finish();
}

json totals_table(const json& bench, std::size_t most_rows) {
  table t("Speed", {"problem set", "kernel", "problems", "sum of medians", "time against baseline", ""},
          most_rows);
  for (const json& total : bench["totals"]) {
    t.add({text_of(total["set"]), text_of(total["kernel"]), text_of(total["problems"]),
           text_of(total["seconds"]), text_of(total["ratio"]), text_of(total["comparison"])});
  }
  return t.finish();
}

json timing_table(const json& set, std::size_t most_rows) {
  table t("Timings", {"problem", "kernel", "speed", "time against baseline"}, most_rows);
  for (const json& row : set["rows"]) {
    for (std::size_t k = 0; k < row["cells"].size(); ++k) {
      const json& cell = row["cells"][k];
      if (cell["text"] == "") continue;
      const std::string why = text_of(cell["why"]);
      t.add({text_of(row["problem"]), text_of(set["kernels"][k]["name"]),
             text_of(cell["text"]) + (why.empty() ? "" : ": " + why), text_of(cell["ratio"])});
    }
  }
  json section = t.finish();
  section["title"] = text_of(set["job"]) + (text_of(set["set"]).empty() ? "" : " on " + text_of(set["set"]));
  return section;
}

json audit_table(const json& audit, std::size_t most_rows) {
  table t("Planted faults", {"fault", "verdict", "cause", "cases", "time to the first kill"}, most_rows);
  for (const json& row : audit["rows"])
    t.add({text_of(row["kernel"]), text_of(row["verdict"]), text_of(row["cause"]), text_of(row["cases"]),
           text_of(row["seconds"])});
  json section = t.finish();
  section["note"] =
      text_of(audit["killed"]) + " caught; " + text_of(audit["accused"]) + " honest kernels accused.";
  return section;
}

json practice_table(const json& audit, std::size_t most_rows) {
  table t("Beside the usual practice", {"practice", "settings", "faults found", "honest kernels rejected"},
          most_rows);
  for (const json& row : audit["practices"])
    t.add({text_of(row["name"]), text_of(row["settings"]), text_of(row["found"]), text_of(row["rejected"])});
  return t.finish();
}

json fingerprint_table(const json& fingerprint, std::size_t most_rows) {
  table t("How the kernels compute",
          {"kernel", "verdict", "declares", "order of additions", "products", "partial sums", "reason"},
          most_rows);
  for (const json& k : fingerprint["cards"])
    t.add({text_of(k["kernel"]), text_of(k["verdict"]), text_of(k["declares"]), text_of(k["order"]),
           text_of(k["products"]), text_of(k["sums"]), text_of(k["reason"])});
  return t.finish();
}

json sweep_table(const json& sweep, std::size_t most_rows) {
  table t("Every float",
          {"kernel", "verdict", "inputs", "worst error", "declared", "at", "outside of the bound", "reason"},
          most_rows);
  for (const json& k : sweep["cards"])
    t.add({text_of(k["kernel"]), text_of(k["verdict"]), text_of(k["inputs"]), text_of(k["worst"]),
           text_of(k["declared"]), text_of(k["at"]), text_of(k["wrong"]), text_of(k["reason"])});
  return t.finish();
}

json oracle_table(const json& bench, std::size_t most_rows) {
  table t("The oracle beside a matrix product",
          {"problem", "verdict", "outputs certified", "oracle", "dgemm", "oracle over dgemm"}, most_rows);
  for (const json& o : bench["oracle"])
    t.add({text_of(o["problem"]), text_of(o["verdict"]), text_of(o["certified"]), text_of(o["seconds"]),
           text_of(o["gemm"]), text_of(o["ratio"])});
  return t.finish();
}

std::string render(const json& view, std::size_t most_rows) {
  json page = {{"headline", view["headline"]},
               {"lines", view["lines"]},
               {"provenance", view["provenance"]},
               {"totals", ""},
               {"sections", json::array()}};
  std::string totals;
  for (const json& stat : view["stats"]) {
    totals += (totals.empty() ? "" : ", ") + text_of(stat["value"]) + " " + text_of(stat["label"]);
  }
  page["totals"] = totals;
  json& sections = page["sections"];
  if (!view["failures"].empty())
    sections.push_back(failure_section("Failures", "", view["failures"], most_rows));
  if (!view["findings"].empty()) {
    sections.push_back(failure_section("Findings about vendor peers", "Counted apart from the verdict.",
                                       view["findings"], most_rows));
  }
  if (!view["kernels"].empty()) sections.push_back(kernel_table(view, most_rows));
  if (!view["libraries"].empty()) sections.push_back(library_table(view, most_rows));
  if (!view["layers"].empty()) sections.push_back(layer_table(view, most_rows));
  for (const json& bench : view["bench"]) {
    if (!bench["totals"].empty()) sections.push_back(totals_table(bench, most_rows));
    for (const json& set : bench["sets"]) sections.push_back(timing_table(set, most_rows));
    if (!bench["oracle"].empty()) sections.push_back(oracle_table(bench, most_rows));
  }
  for (const json& each : view["fingerprint"]) sections.push_back(fingerprint_table(each, most_rows));
  for (const json& each : view["sweep"]) sections.push_back(sweep_table(each, most_rows));
  for (const json& audit : view["audit"]) {
    sections.push_back(audit_table(audit, most_rows));
    sections.push_back(practice_table(audit, most_rows));
  }
  if (!view["caught"].empty()) {
    sections.push_back(failure_section("Planted bugs, caught", "Wrong on purpose; each was expected to fail.",
                                       view["caught"], most_rows));
  }
  return render_template("summary.md", page, escape_markdown);
}

}  // namespace

std::string markdown(std::span<const record::run> runs) {
  chart_book charts;
  const json view = make_view(runs, charts);
  std::string text;
  for (const std::size_t most_rows : {1000, 200, 40, 8, 1}) {
    text = render(view, most_rows);
    if (text.size() <= most_bytes) break;
  }
  return text.size() <= most_bytes ? text : clean(text, most_bytes - 8);
}

void render_markdown(std::span<const record::run> runs, const std::filesystem::path& path) {
  write_file(path, markdown(runs));
}

void render_markdown(const record::run& run, const std::filesystem::path& path) {
  render_markdown(std::span(&run, 1), path);
}

}  // namespace plumb::reports
