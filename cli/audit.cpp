// plumb audit: the verifier itself on trial.
#include <fmt/format.h>

#include "cli/commands.hpp"
#include "cli/judging.hpp"
#include "properties/audit/audit.hpp"

namespace plumb::cli {
namespace {

struct audit_command {
  std::vector<std::string> globs;
  std::string time = "10m";
  bool no_practices = false;
  common_options common;

  void add_to(CLI::App& app) {
    app.add_option("what", globs, "globs over planted faults and kernels; all if left out");
    app.add_option("--time", time, "wall time of the whole audit")->capture_default_str();
    app.add_flag("--no-practices", no_practices, "leave out what usual practice finds on the same faults");
    common.add_to(app);
    app.footer("example: plumb audit --time 1m 'conv2d.*'");
  }

  int run() const {
    progress_line line(common.quiet);
    audit_options o;
    o.globs = globs;
    o.seconds = parse_seconds(time);
    o.practices = !no_practices;
    o.base = runner_options(common, line);
    o.progress = [&line](const std::string& now, std::size_t done, std::size_t of) {
      line.show(fmt::format("{}/{} faults  {}", done, of, now));
    };
    record::run r = new_record("audit", common);
    r.audit = audit(o);
    line.clear();
    publish(r, common);
    const std::size_t wrong = survivors(*r.audit) + false_alarms(*r.audit) + living_mutants(*r.audit) +
                              noise_misjudged(*r.audit) + not_minimal(*r.audit);
    return wrong == 0 ? exit_pass : exit_fail;
  }
};

}  // namespace

void add_audit(CLI::App& app, int& code) {
  add<audit_command>(app, "audit", "measure the verifier on planted faults and on kernels without one", code);
}

}  // namespace plumb::cli
