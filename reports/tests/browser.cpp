#include "reports/tests/browser.hpp"

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <fstream>

#include "reports/html.hpp"

namespace plumb::reports::testing {

std::string run_command(const std::string& command, int* exit_code) {
  std::string output;
  FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return output;
  std::array<char, 1 << 16> buffer;
  while (const std::size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) output.append(buffer.data(), n);
  const int status = pclose(pipe);
  if (exit_code != nullptr) *exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return output;
}

void browser_test::SetUp() {
  chromium_ = run_command("command -v chromium || command -v chromium-browser || command -v google-chrome");
  while (!chromium_.empty() && chromium_.back() == '\n') chromium_.pop_back();
  if (chromium_.empty()) GTEST_SKIP() << "no chromium in PATH";
}

std::string browser_test::open_page(const std::filesystem::path& page, const std::string& script,
                                    const std::string& flags) {
  std::ifstream file(page);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  text.insert(text.rfind("</body>"), "<script>" + script + "</script>");
  const std::filesystem::path used = directory() / "used.html";
  std::ofstream(used) << text;
  const std::string log = (directory() / "log").string();
  const std::string budget =
      flags.find("--no-virtual-time") == std::string::npos ? " --virtual-time-budget=60000 " : " ";
  const std::string dom = run_command("timeout 200 " + chromium_ +
                                      " --headless --no-sandbox --disable-gpu --disable-dev-shm-usage "
                                      "--no-first-run --enable-logging=stderr" +
                                      budget + "--window-size=1280,900 " + flags +
                                      " --user-data-dir=" + (directory() / "profile").string() +
                                      " --dump-dom file://" + used.string() + " 2>" + log);
  std::ifstream lines(log);
  for (std::string line; std::getline(lines, line);)
    if (line.find("CONSOLE") != std::string::npos) console_ += line + "\n";
  return dom;
}

std::string browser_test::open(const record::run& r, const std::string& script, const std::string& flags) {
  const std::filesystem::path page = directory() / "page.html";
  render_html(r, page);
  return open_page(page, script, flags);
}

double browser_test::seconds_to_open(const std::filesystem::path& page) {
  // Drawing waits for a timer, so that the verdict is on the screen first; here the timer is over at once, and the
  // page's clock, read behind it, has seen all of it.
  const std::string dom = open_page(page, R"js(
    window.setTimeout = (work) => { work(); };
    window.addEventListener("load", () => {
      document.documentElement.dataset.drawn = document.querySelectorAll("[data-drawn]").length;
      document.body.getBoundingClientRect();
      document.documentElement.dataset.ready = performance.now();
    });)js",
                                    "--no-virtual-time");
  return std::stod("0" + said(dom, "ready")) / 1000;
}

std::string said(const std::string& dom, const std::string& name) {
  const std::string key = " data-" + name + "=\"";
  const std::size_t from = dom.find(key);
  if (from == std::string::npos || from > dom.find("<head>")) return "(nothing)";
  return dom.substr(from + key.size(), dom.find('"', from + key.size()) - from - key.size());
}

const char* const draw_everything = R"js(
  const say = (name, text) => { document.documentElement.dataset[name] = text; };
  window.addEventListener("error", (event) => say("error", event.message));
  window.addEventListener("load", () => setTimeout(() => {
    say("early", document.querySelectorAll("[data-drawn]").length);
    window.dispatchEvent(new Event("beforeprint"));
    const drawn = [...document.querySelectorAll("[data-drawn]")];
    say("charts", document.querySelectorAll("[data-chart]").length);
    say("shown", document.querySelectorAll("[data-drawn] .main-svg").length ? drawn.length : 0);
    say("kinds", [...new Set(drawn.flatMap((p) => p.data.map((t) => t.type)))].sort().join(" "));
    say("labels", drawn.map((p) => p.getAttribute("aria-label")).join("; "));
    say("wide", document.documentElement.scrollWidth > window.innerWidth ? "yes" : "no");
    say("hacked", String(window.hacked));
    then();
  }, 200));
  let then = () => {};
)js";

}  // namespace plumb::reports::testing
