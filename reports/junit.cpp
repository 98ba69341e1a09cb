// Verdicts in the vocabulary of JUnit; what CI must not stop at (findings, undecided kernels) is shown as
// skipped.
#include "reports/junit.hpp"

#include <fmt/format.h>

#include "reports/render.hpp"
#include "reports/text.hpp"

namespace plumb::reports {

namespace {

using record::verdict;

struct outcome {
  std::string name;
  record::verdict verdict = verdict::pass;
  std::string message;
  std::string body;
};

/// One <testsuite>, counted as its cases come in.
class suite {
 public:
  suite(std::string name, double seconds, const record::provenance& origin)
      : name_(std::move(name)), seconds_(seconds) {
    timestamp_ = clean(origin.date, 60);
    if (timestamp_.ends_with('Z')) timestamp_.pop_back();  // the schema's dateTime carries no zone
  }

  void add(const outcome& o) {
    json test = {{"class", name_},           {"name", clean(o.name, 400)}, {"time", "0"},
                 {"failure", json::array()}, {"error", json::array()},     {"skip", json::array()}};
    const json story = {{"message", clean(o.message)},
                        {"type", std::string(record::name_of(o.verdict))},
                        {"body", clean(o.body, 20000)}};
    if (o.verdict == verdict::fail || o.verdict == verdict::mistrusted) {
      test["failure"].push_back(story), ++failures_;
    } else if (o.verdict == verdict::crashed || o.verdict == verdict::timeout) {
      test["error"].push_back(story), ++errors_;
    } else if (o.verdict != verdict::pass) {
      test["skip"].push_back(story), ++skipped_;
    }
    cases_.push_back(std::move(test));
  }

  bool empty() const { return cases_.empty(); }
  json finish(json& total) const {
    total["tests"] = total["tests"].get<int>() + static_cast<int>(cases_.size());
    total["failures"] = total["failures"].get<int>() + failures_;
    total["errors"] = total["errors"].get<int>() + errors_;
    total["skipped"] = total["skipped"].get<int>() + skipped_;
    total["time"] = total["time"].get<double>() + seconds_;
    return {{"name", name_},
            {"tests", std::to_string(cases_.size())},
            {"failures", std::to_string(failures_)},
            {"errors", std::to_string(errors_)},
            {"skipped", std::to_string(skipped_)},
            {"time", fmt::format("{:.3f}", seconds_)},
            {"timestamp", timestamp_},
            {"cases", cases_}};
  }

 private:
  std::string name_;
  std::string timestamp_;
  double seconds_;
  json cases_ = json::array();
  int failures_ = 0;
  int errors_ = 0;
  int skipped_ = 0;
};

std::string evidence(const record::kernel_result& k, const std::string* law) {
  std::string text;
  for (const record::counterexample& c : k.counterexamples) {
    if (law != nullptr && c.law != *law) continue;
    text += c.kind + ": " + c.message + "\n" + c.problem + "\n" + replay_command(c.replay, k.origin) + "\n";
  }
  return text;
}

/// A kernel's own verdict as CI should see it.
outcome verdict_case(const record::kernel_result& k) {
  const bool bad = record::is_bad(k.verdict);
  if (k.planted) {
    return {"planted bug is caught", bad ? verdict::pass : verdict::fail,
            "the planted bug was not caught: " + std::string(record::name_of(k.verdict)), ""};
  }
  if (k.peer && bad) return {"verdict", verdict::skipped, "finding about a vendor peer: " + k.reason, ""};
  return {"verdict", k.verdict, k.reason, evidence(k, nullptr)};
}

suite kernel_suite(const record::kernel_result& k, const record::provenance& origin) {
  suite s(clean(k.name, 300), k.seconds, origin);
  s.add(verdict_case(k));
  if (k.planted) return s;
  for (const record::law_tally& law : k.laws) {
    if (law.cases == 0) {
      s.add({law.law, verdict::skipped, "not applicable", ""});
    } else if (law.failures == 0) {
      s.add({law.law, verdict::pass, "", ""});
    } else {
      const std::string message = count(law.failures) + " of " + plural(law.cases, "case") + " failed";
      s.add({law.law, k.peer ? verdict::skipped : verdict::fail, message, evidence(k, &law.law)});
    }
  }
  return s;
}

std::string disagreements(const record::layer_check& layer) {
  std::string text;
  for (const record::agreement& a : layer.agreements) {
    if (!record::is_bad(a.verdict)) continue;
    text += a.first + " against " + a.second + " (" + a.scalar + ") " + a.derivative + ": " + a.reason + "\n";
  }
  return text;
}

suite audit_suite(const record::audit_section& audit, const record::provenance& origin) {
  suite s("audit", audit.seconds, origin);
  for (const record::fault_result& f : audit.faults)
    s.add({f.kernel + " is caught", f.killed ? verdict::pass : verdict::fail, "survived: " + f.reason,
           f.root_cause});
  for (const record::honest_result& h : audit.honest) {
    const verdict alarm = h.origin == "peer" ? verdict::skipped : verdict::fail;
    s.add({h.kernel + " is not accused", h.alarms > 0 ? alarm : verdict::pass, h.message,
           replay_command(h.replay)});
  }
  return s;
}

/// A kernel judged as a whole; a peer's failure is a finding.
template <class Result>
outcome whole(const Result& k) {
  const bool finding = k.peer && record::is_bad(k.verdict);
  return {k.kernel, finding ? verdict::skipped : k.verdict, k.reason, ""};
}

std::vector<suite> suites_of(const record::run& r) {
  std::vector<suite> suites;
  if (r.verify) {
    for (const record::kernel_result& k : r.verify->kernels) suites.push_back(kernel_suite(k, r.provenance));
  }
  if (r.gradcheck) {
    suite s("gradcheck", 0, r.provenance);
    for (const record::layer_check& layer : r.gradcheck->layers) {
      s.add({layer.problem, layer.verdict, layer.reason, disagreements(layer)});
      for (const record::kernel_gradient& k : layer.kernels) {
        const bool finding = k.peer && record::is_bad(k.verdict);
        s.add({k.kernel + " on " + layer.problem, finding ? verdict::skipped : k.verdict, k.reason, ""});
      }
    }
    suites.push_back(std::move(s));
  }
  if (r.bench) {
    suite s("bench", 0, r.provenance);
    for (const record::timing& t : r.bench->timings) {
      const bool finding = t.peer && record::is_bad(t.verdict);
      s.add({t.kernel + " on " + t.problem, finding ? verdict::skipped : t.verdict, t.reason, ""});
    }
    for (const record::oracle_timing& o : r.bench->oracle)
      s.add({"every output of " + o.kernel + " on " + o.problem, o.verdict, o.reason, ""});
    suites.push_back(std::move(s));
  }
  if (r.fingerprint) {
    suite s("fingerprint", 0, r.provenance);
    for (const record::fingerprint_result& k : r.fingerprint->kernels) s.add(whole(k));
    suites.push_back(std::move(s));
  }
  if (r.sweep) {
    suite s("sweep", 0, r.provenance);
    for (const record::sweep_result& k : r.sweep->kernels) s.add(whole(k));
    suites.push_back(std::move(s));
  }
  if (r.audit) suites.push_back(audit_suite(*r.audit, r.provenance));
  return suites;
}

}  // namespace

std::string junit(std::span<const record::run> runs) {
  json total = {{"tests", 0}, {"failures", 0}, {"errors", 0}, {"skipped", 0}, {"time", 0.0}};
  json suites = json::array();
  for (const record::run& r : runs) {
    for (const suite& s : suites_of(r)) {
      if (!s.empty()) suites.push_back(s.finish(total));
    }
  }
  json view = {{"name", "plumb"},
               {"suites", std::move(suites)},
               {"time", fmt::format("{:.3f}", total["time"].get<double>())}};
  for (const char* key : {"tests", "failures", "errors", "skipped"})
    view[key] = std::to_string(total[key].get<int>());
  return render_template("junit.xml", view, escape_xml);
}

void render_junit(std::span<const record::run> runs, const std::filesystem::path& path) {
  write_file(path, junit(runs));
}

void render_junit(const record::run& run, const std::filesystem::path& path) {
  render_junit(std::span(&run, 1), path);
}

}  // namespace plumb::reports
