// plumb: the command line. Hands the arguments to the commands of cli/ and turns what comes back into an exit code:
// 0 all pass; 1 a fail, crash, timeout or mistrusted; 2 wrong usage or bad input; 3 environment; 4 internal.
#include <fmt/format.h>

#include <algorithm>

#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "reports/html.hpp"

namespace plumb::cli {
namespace {

int dispatch(int argc, char** argv) {
  remember_command_line(argc, argv);
  CLI::App app("Plumb: verdicts for CNN kernels. Is it right, how exact is it, how fast is it?", "plumb");
  app.require_subcommand(1);
  int code = exit_pass;
  add_verify(app, code);
  add_gradcheck(app, code);
  add_jacobian(app, code);
  add_bench(app, code);
  add_eval(app, code);
  add_judge(app, code);
  add_audit(app, code);
  add_fingerprint(app, code);
  add_sweep(app, code);
  add_replay(app, code);
  add_report(app, code);
  add_list(app, code);
  add_demo(app, code);
  add_doctor(app, code);
  const std::string command = argc > 1 && argv[1][0] != '-' ? argv[1] : "";
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(sub->get_name());
  if (argc < 2) throw usage_error("which command? expected " + list_of(names));
  if (!command.empty() && std::ranges::find(names, command) == names.end())
    throw usage_error("`" + command + "`: no such command; expected " + list_of(names));
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    throw usage_error(std::string(e.what()) + " (see plumb " + (command.empty() ? "" : command + " ") +
                      "--help)");
  }
  return code;
}

int complain(const std::exception& e, int code) {
  fmt::print(stderr, "plumb: {}\n", e.what());
  return code;
}

int guarded(int argc, char** argv) {
  try {
    return dispatch(argc, argv);
  } catch (const plugin_error& e) {
    return complain(e, e.exit_code);
  } catch (const sandbox_error& e) {
    return complain(e, exit_environment);
  } catch (const environment_error& e) {
    return complain(e, exit_environment);
  } catch (const report_error& e) {
    return complain(e, exit_environment);
  } catch (const usage_error& e) {
    return complain(e, exit_usage);
  } catch (const std::invalid_argument& e) {  // text, shape, npy, record and problem-set errors
    return complain(e, exit_usage);
  } catch (const std::length_error& e) {  // a problem too large for this machine
    return complain(e, exit_environment);
  } catch (const std::exception& e) {
    fmt::print(stderr, "plumb: internal error: {}\n", e.what());
    return exit_internal;
  }
}

}  // namespace
}  // namespace plumb::cli

int main(int argc, char** argv) { return plumb::cli::guarded(argc, argv); }
