// plumb audit: the verifier itself on trial.
#include <fmt/format.h>

#include "cli/commands.hpp"
#include "cli/interruption.hpp"
#include "cli/judging.hpp"
#include "properties/audit/acquittal.hpp"
#include "properties/audit/audit.hpp"

namespace plumb::cli {
namespace {

struct audit_command {
  std::vector<std::string> globs;
  std::string time = "10m", resume;
  bool no_practices = false, only_honest = false;
  common_options common;

  void add_to(CLI::App& app) {
    app.add_option("what", globs, "globs over planted faults and kernels; all if left out");
    app.add_option("--time", time, "wall time of the whole audit")->capture_default_str();
    app.add_flag("--no-practices", no_practices, "leave out what usual practice finds on the same faults");
    app.add_flag("--honest", only_honest,
                 "only the kernels of ours without a fault, on small and large problems: whom is the "
                 "verifier wrong to "
                 "accuse?");
    app.add_option("--resume", resume, "with --honest: another --time on top of what this record counts");
    common.add_to(app);
    app.footer("example: plumb audit --time 1m 'conv2d.*'");
  }

  int run() {
    if (!resume.empty() && !only_honest)
      throw usage_error("--resume " + resume +
                        ": only a run of honest kernels goes on; expected --honest beside it");
    return only_honest ? run_honest() : run_all();
  }

 private:
  int run_all() const {
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

  int run_honest() {
    progress_line line(common.quiet);
    std::optional<record::run> earlier;
    if (!resume.empty()) {
      earlier = record::load(resume);
      if (!earlier->audit || !earlier->audit->rounds)
        throw usage_error(resume +
                          " holds no run of honest kernels; expected a record of `plumb audit --honest`");
      if (common.json.empty()) common.json = resume;
    }
    record::run r = new_record("audit", common);
    acquittal_options o;
    o.globs = globs;
    o.seconds = parse_seconds(time);
    o.base = runner_options(common, line);
    if (earlier) o.earlier = &*earlier->audit, o.base.seed = r.provenance.seed = earlier->provenance.seed;
    o.progress = [&](const std::string& now, double elapsed) {
      line.show(fmt::format("{:.0f} s left  {}", std::max(0.0, o.seconds - elapsed), now));
    };
    const interruption noted;
    o.stop = interruption::seen;
    checkpoint_writer kept(common);
    o.checkpoint = [&](const record::audit_section& a) {
      r.audit = a;
      kept.save(r);
    };
    record::audit_section a = acquit_at_length(o);
    r.audit = std::move(a);
    line.clear();
    publish(r, common);
    interruption::end_if_seen();
    return false_alarms(*r.audit) == 0 ? exit_pass : exit_fail;
  }
};

}  // namespace

void add_audit(CLI::App& app, int& code) {
  add<audit_command>(app, "audit", "measure the verifier on planted faults and on kernels without one", code);
}

}  // namespace plumb::cli
