// What the worker does besides judged runs. A service gets the kernels and a text, and answers with a text.
#include "verify/sandbox/worker.hpp"
#include "verify/sandbox/worker_bench.hpp"
#include "verify/sandbox/worker_coverage.hpp"
#include "verify/sandbox/worker_huge.hpp"

namespace plumb {
namespace {

std::string echo(const registry&, const std::string& request) { return request; }

}  // namespace

const std::vector<service>& services() {
  static const std::vector<service> table = {
      {"echo", echo},
      {"bench", serve_bench},
      {"huge", run_huge},
      {"coverage", report_coverage},
  };
  return table;
}

}  // namespace plumb
