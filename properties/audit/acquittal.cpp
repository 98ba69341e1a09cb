#include "properties/audit/acquittal.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <stdexcept>

#include "properties/audit/fault_table.hpp"
#include "properties/generators/problem_space.hpp"
#include "reference/core/registry.hpp"

namespace plumb {
namespace {

using clock = std::chrono::steady_clock;
double since(clock::time_point start) { return std::chrono::duration<double>(clock::now() - start).count(); }

constexpr double seconds_on_specimens = 12, seconds_on_shipped = 63, seconds_on_grown = 15;  ///< of a round
constexpr double grown_share = 0.4;          ///< of a round's time
constexpr double grown_elements = 1e5;       ///< of the largest tensor, about
constexpr std::size_t grown_problems = 400;  ///< more than a part has time for

void add(record::audit_section& section, record::honest_result h) {
  const auto known = std::ranges::find(section.honest, h.kernel, &record::honest_result::kernel);
  if (known == section.honest.end()) {
    section.honest.push_back(std::move(h));
    return;
  }
  // Trusted in one round, trusted at all: a round has few cases a kernel.
  const bool trusted_before = known->cases > 0 && known->message.empty();
  const bool trusted = trusted_before || (h.cases > 0 && h.message.empty());
  known->cases += h.cases;
  known->elements += h.elements;
  known->alarms += h.alarms;
  if (!known->replay.empty()) return;
  if (!h.replay.empty() || !trusted) {
    known->message = std::move(h.message);
    known->replay = std::move(h.replay);
  } else {
    known->message.clear();
  }
}

class long_run {
 public:
  explicit long_run(const acquittal_options& options) : options_(options) {
    if (options.earlier != nullptr) section_ = *options.earlier;
    earlier_seconds_ = section_.seconds;
    take(specimens_, faulty_worker());
    take(shipped_, shipped_worker());
    if (specimens_.kernels.empty() && shipped_.kernels.empty())
      throw std::invalid_argument("`" + options.globs.front() +
                                  "` matches no kernel of ours without a fault; expected a glob such as "
                                  "'conv2d.*'");
  }

  record::audit_section run() {
    while (!over()) {
      const std::int64_t round = section_.rounds.value_or(0);
      seed_ = options_.base.seed + static_cast<std::uint64_t>(round);
      judge_drawn(specimens_, seconds_on_specimens);
      judge_drawn(shipped_, seconds_on_shipped);
      judge_grown(
          shipped_);  // the bodies of specimens are too plain for large tensors: quadratic, some of them
      section_.rounds = round + 1;
      note();
    }
    return std::move(section_);
  }

 private:
  struct party {
    std::unique_ptr<sandbox> box;
    std::vector<const kernel_info*> kernels;
    std::vector<std::string> layers;
    const char* origin = "";
  };

  void take(party& p, const sandbox_options& worker) {
    p.box = std::make_unique<sandbox>(worker);
    p.origin = &p == &specimens_ ? "specimen" : "shipped";
    std::set<std::string> layers;
    for (const kernel_info* k : without_fault(*p.box, options_.globs)) {
      if (k->peer || !k->unavailable.empty() || (options_.globs.empty() && k->device == "host")) continue;
      p.kernels.push_back(k);
      layers.insert(k->layer);
    }
    p.layers.assign(layers.begin(), layers.end());
  }

  double left() const { return options_.seconds - since(start_); }
  bool over() const { return left() <= 0 || (options_.stop && !options_.stop().empty()); }

  void note() {
    section_.seconds = earlier_seconds_ + since(start_);
    if (options_.checkpoint) options_.checkpoint(section_);
  }

  verify_options usual(const party& p, const char* what) const {
    verify_options o = options_.base;
    o.seed = seed_;
    o.triggers = nullptr;
    o.all_triggers = nullptr;
    o.stop = options_.stop;
    o.progress = [this, &p, what](const run_progress& now) {
      if (options_.progress)
        options_.progress(fmt::format("{} on {} problems: {} cases", p.origin, what, now.cases),
                          since(start_));
    };
    return o;
  }

  void judge_drawn(party& p, double seconds) {
    if (p.kernels.empty() || over()) return;
    verify_options o = usual(p, "drawn");
    o.seconds = std::min(left(), seconds);
    acquit(*p.box, p.kernels, p.origin, o, section_);
    note();
  }

  /// Until the time of the part is over: a problem of each layer in turn.
  void judge_grown(party& p) {
    if (p.kernels.empty() || over()) return;
    verify_options o = usual(p, "grown");
    for (std::size_t i = 0; i < grown_problems; ++i) {
      const std::string& layer = p.layers[(i + seed_ * 7) % p.layers.size()];
      o.problems.push_back(draw_grown_problem(layer, seed_ * 1009 + i, grown_elements));
    }
    const clock::time_point began = clock::now();
    const double seconds = std::min(left(), seconds_on_grown);
    o.stop = [this, began, seconds] {
      if (since(began) > seconds) return std::string("its share of the time is over");
      return options_.stop ? options_.stop() : std::string();
    };
    acquit(*p.box, p.kernels, p.origin, o, section_);
    note();
  }

  const acquittal_options& options_;
  clock::time_point start_ = clock::now();
  party specimens_, shipped_;
  record::audit_section section_;
  double earlier_seconds_ = 0;
  std::uint64_t seed_ = 1;
};

}  // namespace

sandbox_options faulty_worker() {
  sandbox_options o;
  o.worker = (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "plumb-fault-worker").string();
  if (const char* given = std::getenv("PLUMB_FAULT_WORKER")) o.worker = given;
  if (::access(o.worker.c_str(), X_OK) != 0)
    throw sandbox_error("cannot start the audit: there is no program `" + o.worker +
                        "` (build the target plumb_fault_worker, or set PLUMB_FAULT_WORKER)");
  o.arenas = runner_arenas;
  o.time_limit = std::chrono::seconds(1);
  return o;
}

sandbox_options shipped_worker() {
  sandbox_options o;
  o.arenas = runner_arenas;
  o.time_limit = std::chrono::seconds(5);
  return o;
}

std::vector<const kernel_info*> without_fault(const sandbox& box, const std::vector<std::string>& globs) {
  std::vector<const kernel_info*> list;
  for (const kernel_info& k : box.kernels()) {
    const bool planted =
        std::ranges::any_of(fault_table(), [&](const planted_fault& f) { return f.kernel == k.name; });
    const bool wanted = globs.empty() || std::ranges::any_of(globs, [&](const std::string& g) {
                          return glob_match(g, k.name);
                        });
    if (!planted && wanted) list.push_back(&k);
  }
  return list;
}

void acquit(sandbox& box, const std::vector<const kernel_info*>& kernels, const std::string& origin,
            verify_options how, record::audit_section& section) {
  std::map<std::string, std::int64_t> alarms;
  how.kernels = kernels;
  how.on_failure = [&](const sighting& s) { ++alarms[s.kernel->name]; };
  for (const record::kernel_result& k : verify(box, how).kernels) {
    record::honest_result h;
    h.kernel = k.name;
    h.origin = k.peer ? "peer" : origin;
    h.cases = k.cases;
    h.elements = k.elements;
    h.alarms = alarms[k.name];
    if (k.verdict == record::verdict::mistrusted) h.message = "mistrusted: " + k.reason;
    if (!k.counterexamples.empty()) {
      h.message = k.counterexamples.front().kind + ": " + k.counterexamples.front().message;
      h.replay = k.counterexamples.front().replay;
    }
    add(section, std::move(h));
  }
}

record::audit_section acquit_at_length(const acquittal_options& options) { return long_run(options).run(); }

}  // namespace plumb
