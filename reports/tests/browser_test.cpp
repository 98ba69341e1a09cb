// The page in a real browser: headless Chromium opens it, a few lines at its end use it like a reader (open
// everything, hover a cell, copy a replay line, print), and the resulting document says what happened.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "reports/html.hpp"
#include "reports/tests/sample_record.hpp"
#include "reports/tests/scratch.hpp"

namespace plumb::reports {
namespace {

namespace fs = std::filesystem;

std::string run(const std::string& command) {
  std::string output;
  FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return output;
  std::array<char, 1 << 16> buffer;
  while (const std::size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) output.append(buffer.data(), n);
  pclose(pipe);
  return output;
}

class browser : public testing::scratch_test {
 protected:
  void SetUp() override {
    chromium_ = run("command -v chromium || command -v chromium-browser || command -v google-chrome");
    while (!chromium_.empty() && chromium_.back() == '\n') chromium_.pop_back();
    if (chromium_.empty()) GTEST_SKIP() << "no chromium in PATH";
  }

  /// Opens the page of `r` with `script` run at its end; returns the document afterwards, console lines in
  /// console_.
  std::string open(const record::run& r, const std::string& script, const std::string& flags = "") {
    const fs::path page = directory() / "page.html";
    render_html(r, page);
    std::ifstream file(page);
    std::string text{std::istreambuf_iterator<char>(file), {}};
    text.insert(text.rfind("</body>"), "<script>" + script + "</script>");
    std::ofstream(page) << text;
    const std::string log = (directory() / "log").string();
    const std::string dom = run("timeout 200 " + chromium_ +
                                " --headless --no-sandbox --disable-gpu --disable-dev-shm-usage "
                                "--no-first-run --enable-logging=stderr"
                                " --virtual-time-budget=60000 --window-size=1280,900 " +
                                flags + " --user-data-dir=" + (directory() / "profile").string() +
                                " --dump-dom file://" + page.string() + " 2>" + log);
    std::ifstream lines(log);
    for (std::string line; std::getline(lines, line);) {
      if (line.find("CONSOLE") != std::string::npos) console_ += line + "\n";
    }
    return dom;
  }

  std::string console_;

 private:
  std::string chromium_;
};

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

/// What the script put into <html data-NAME="…">.
std::string said(const std::string& dom, const std::string& name) {
  const std::string key = " data-" + name + "=\"";
  const std::size_t from = dom.find(key);
  if (from == std::string::npos || from > dom.find("<head>")) return "(nothing)";
  return dom.substr(from + key.size(), dom.find('"', from + key.size()) - from - key.size());
}

// Printing opens and draws everything, so it stands for a reader who looks at all of it.
constexpr const char* draw_everything = R"js(
  const say = (name, text) => { document.documentElement.dataset[name] = text; };
  window.addEventListener("error", (event) => say("error", event.message));
  window.addEventListener("load", () => setTimeout(() => {
    say("early", document.querySelectorAll("[data-drawn]").length);
    window.dispatchEvent(new Event("beforeprint"));
    say("charts", document.querySelectorAll("[data-chart]").length);
    say("shown", document.querySelectorAll("[data-drawn] .main-svg").length ? document.querySelectorAll("[data-drawn]").length : 0);
    say("kinds", [...new Set([...document.querySelectorAll("[data-drawn]")].flatMap((p) => p.data.map((t) => t.type)))].sort().join(" "));
    say("wide", document.documentElement.scrollWidth > window.innerWidth ? "yes" : "no");
    say("hacked", String(window.hacked));
    then();
  }, 200));
  let then = () => {};
)js";

TEST_F(browser, draws_every_chart_without_a_complaint) {
  const std::string dom = open(testing::rich_run(), draw_everything);
  EXPECT_EQ(console_, "");
  EXPECT_EQ(said(dom, "error"), "(nothing)");
  EXPECT_EQ(said(dom, "shown"), said(dom, "charts"));
  EXPECT_EQ(said(dom, "kinds"), "bar heatmap scatter");
  // In view at the start: the first failure's heat map at most; the rest waits.
  EXPECT_LE(std::stoi(said(dom, "early")), 2);
  EXPECT_GE(std::stoi(said(dom, "charts")), 14);
  EXPECT_NE(dom.find("4 of 6 kernels fail"), std::string::npos);
}

TEST_F(browser, hovering_a_cell_names_the_element) {
  const std::string dom = open(testing::rich_run(), std::string(draw_everything) + R"js(
    then = () => {
      const place = document.querySelector(".failure [data-chart]");
      Plotly.Fx.hover(place, [{ curveNumber: 0, pointNumber: [3, 14] }]);
      say("hover", [...place.querySelectorAll(".hoverlayer text")].map((t) => t.textContent).join(" "));
    };)js");
  const std::string hover = said(dom, "hover");
  EXPECT_NE(hover.find("n=0 k=0 p=1 q=14"), std::string::npos) << hover;
  EXPECT_NE(hover.find("of the bound"), std::string::npos) << hover;
}

TEST_F(browser, a_failure_leads_to_its_replay_line_and_its_card) {
  const std::string dom = open(testing::rich_run(), std::string(draw_everything) + R"js(
    then = () => {
      window.dispatchEvent(new Event("afterprint"));
      const failure = document.querySelector("#failures .failure");
      let copied = "";
      document.execCommand = () => { copied = document.activeElement.value || getSelection().toString(); return true; };
      Object.defineProperty(navigator, "clipboard", { value: { writeText: (text) => { copied = text; return Promise.resolve(); } } });
      failure.querySelector("button.copy").click();
      say("copied", copied);
      const link = failure.querySelector("h3 a");
      link.click();
      setTimeout(() => say("opened", String(document.querySelector(location.hash).open)), 100);
    };)js");
  EXPECT_EQ(said(dom, "copied"),
            "./plumb replay 'conv2d.forward/direct@avx3 | conv2d x=1x2x3x4 weight=1x2x2x2 pad=0,1,0,0 | f32 "
            "nchw lattice 1 end 1 a'");
  EXPECT_EQ(said(dom, "opened"), "true");
}

TEST_F(browser, executes_nothing_of_a_hostile_record) {
  const std::string dom = open(testing::hostile_run(), draw_everything);
  EXPECT_EQ(console_, "");
  EXPECT_EQ(said(dom, "error"), "(nothing)");
  EXPECT_EQ(said(dom, "hacked"), "undefined");
  EXPECT_EQ(said(dom, "shown"), said(dom, "charts"));
  EXPECT_EQ(occurrences(dom, "<img"), 0U);
}

TEST_F(browser, fits_a_phone) {
  const std::string dom = open(testing::rich_run(), draw_everything, "--window-size=500,900");
  EXPECT_EQ(said(dom, "wide"), "no") << "the page scrolls sideways";
}

// The check itself, seen failing: a script error and a console error are noticed.
TEST_F(browser, errors_are_noticed) {
  const std::string dom =
      open(testing::rich_run(), std::string(draw_everything) + "console.error('oops'); undefined_name();");
  EXPECT_NE(console_.find("oops"), std::string::npos);
  EXPECT_NE(said(dom, "error"), "(nothing)");
}

}  // namespace
}  // namespace plumb::reports
