// The subcommands of plumb. Each adds itself to the application and leaves its exit code in `code` when it has run.
#pragma once

#include <CLI/CLI.hpp>

namespace plumb::cli {

void add_verify(CLI::App& app, int& code);
void add_gradcheck(CLI::App& app, int& code);
void add_jacobian(CLI::App& app, int& code);
void add_bench(CLI::App& app, int& code);
void add_eval(CLI::App& app, int& code);
void add_judge(CLI::App& app, int& code);
void add_audit(CLI::App& app, int& code);
void add_fingerprint(CLI::App& app, int& code);
void add_sweep(CLI::App& app, int& code);
void add_replay(CLI::App& app, int& code);
void add_report(CLI::App& app, int& code);
void add_list(CLI::App& app, int& code);
void add_demo(CLI::App& app, int& code);
void add_doctor(CLI::App& app, int& code);

}  // namespace plumb::cli
