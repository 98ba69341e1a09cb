// Reports of real runs in a real browser: the program is started as a user starts it, and its pages are opened, drawn,
// hovered and followed to the replay line, which is then run. Two records are compared as a user compares them.
#include <fstream>

#include "reports/tests/browser.hpp"

namespace plumb::reports {
namespace {

namespace fs = std::filesystem;
using testing::draw_everything;
using testing::run_command;
using testing::said;

class real_reports : public testing::browser_test {
 protected:
  static std::string build() {
    const char* const directory = std::getenv("PLUMB_BUILD_DIR");
    return fs::absolute(directory != nullptr ? directory : "build").string();
  }
  static std::string broken() { return build() + "/examples/libbroken_conv.so"; }
  std::string at(const std::string& name) const { return (directory() / name).string(); }

  /// Runs `plumb ARGUMENTS` in the test's own folder; returns the exit code, the output in output_.
  int plumb(const std::string& arguments) {
    int code = -1;
    output_ = run_command(
        "cd '" + directory().string() + "' && '" + build() + "/plumb' " + arguments + " 2>&1", &code);
    return code;
  }

  /// Opens a page, draws all of it, and expects that nothing went wrong.
  std::string look_at(const std::string& name, const std::string& then = "") {
    const std::string dom = open_page(at(name), std::string(draw_everything) + then);
    EXPECT_EQ(console_, "");
    EXPECT_EQ(said(dom, "error"), "(nothing)");
    EXPECT_NE(said(dom, "charts"), "0");
    EXPECT_EQ(said(dom, "shown"), said(dom, "charts"));
    EXPECT_EQ(said(dom, "wide"), "no");
    return dom;
  }

  std::string output_;
};

std::string unescaped(std::string text) {
  for (const auto& [from, to] :
       {std::pair("&apos;", "'"), {"&#39;", "'"}, {"&gt;", ">"}, {"&lt;", "<"}, {"&amp;", "&"}})
    for (std::size_t at = 0; (at = text.find(from)) != std::string::npos;)
      text.replace(at, std::string(from).size(), to);
  return text;
}

TEST_F(real_reports, a_failure_is_drawn_named_and_replayed) {
  EXPECT_EQ(plumb("verify --plugin " + broken() + " 'conv2d.*' --time 6s --report v.html --json v.json"), 1)
      << output_;
  const std::string dom = look_at("v.html", R"js(
    then = () => {
      const heat = document.querySelector(".failure [data-chart]");
      const z = heat.data[0].z, row = z.findIndex((line) => line.some((cell) => cell)), col = z[row].findIndex((cell) => cell);
      Plotly.Fx.hover(heat, [{ curveNumber: 0, pointNumber: [row, col] }]);
      say("hover", [...heat.querySelectorAll(".hoverlayer text")].map((t) => t.textContent).join(" "));
      say("patterns", [...document.querySelectorAll(".where b")].map((b) => b.textContent).join("; "));
      say("wrong", document.querySelectorAll(".tensor.got td.wrong").length);
      Object.defineProperty(navigator, "clipboard", { value: { writeText: (text) => { say("copied", text); return Promise.resolve(); } } });
      document.querySelector(".failure .tensor").closest(".counterexample").querySelector("button.copy").click();
    };)js");
  EXPECT_NE(said(dom, "hover").find("of the bound"), std::string::npos) << said(dom, "hover");
  EXPECT_NE(said(dom, "hover").find("n="), std::string::npos) << said(dom, "hover");
  EXPECT_GE(std::stoi(said(dom, "wrong")), 1);
  EXPECT_NE(said(dom, "patterns"), "");
  const std::string copied = unescaped(said(dom, "copied"));
  ASSERT_TRUE(copied.starts_with("./plumb replay '")) << copied;
  EXPECT_EQ(plumb(copied.substr(8)), 1) << copied << "\n" << output_;
  EXPECT_NE(output_.find("fail"), std::string::npos) << output_;
}

TEST_F(real_reports, gradients_have_curves_images_and_reasons) {
  EXPECT_EQ(plumb("gradcheck sigmoid max_pool2d --report g.html --json g.json"), 0) << output_;
  const std::string dom = look_at("g.html");
  for (const char* part : {"V-curve of", "Jacobian dy/dx", "Cost of explicit Jacobians"})
    EXPECT_NE(said(dom, "labels").find(part), std::string::npos) << part;
  EXPECT_NE(dom.find("pairs of definitions agree"), std::string::npos);
  EXPECT_NE(dom.find("on a kink left out"), std::string::npos);
}

TEST_F(real_reports, a_benchmark_has_pareto_roofline_and_bars_and_no_number_for_a_wrong_kernel) {
  const std::string bench =
      "bench 'conv2d.forward/im2col@avx*' conv2d.forward/direct@avx3 'conv2d.forward/onednn@*' "
      "conv2d.forward/vector_tail@broken --plugin " +
      broken() + " --problems resnet50 --layout nchw --time 12s";
  const int code = plumb(bench + " --report b.html --json b.json");
  EXPECT_EQ(code, 1) << output_;
  const std::string dom = look_at("b.html");
  for (const char* part : {"Speed against accuracy", "Roofline", "Speed bars", "Cold against hot"})
    EXPECT_NE(said(dom, "labels").find(part), std::string::npos) << part;
  EXPECT_NE(dom.find("onednn@cpu"), std::string::npos) << "peers are included";
  const std::size_t refused = dom.find("no number<br>");
  ASSERT_NE(refused, std::string::npos);
  EXPECT_NE(dom.find("elements looked at are wrong", refused), std::string::npos);

  // The record against itself is the same; with a kernel 10 % slower, or a bit less exact, it is not.
  EXPECT_EQ(plumb("report --compare b.json b.json -o same"), 0) << output_;
  EXPECT_NE(output_.find("\nsame "), std::string::npos) << output_;
  const std::string change =
      "python3 -c \"import json, sys; r = json.load(open('b.json'))\n"
      "for t in r['bench']['timings']:\n"
      "  if 'im2col@' not in t['kernel'] or t['peer'] or 'measurement' not in t: continue\n"
      "  m = t['measurement']\n"
      "  if sys.argv[1] == 'slow': m.update({k: [1.1 * s for s in m[k]] for k in ('samples', 'fastest')}, "
      "seconds=1.1 * m['seconds'])\n"
      "  else: t['worst_proven'] *= 2\n"
      "json.dump(r, open('changed.json', 'w'))\" ";
  run_command("cd '" + directory().string() + "' && " + change + "slow");
  EXPECT_EQ(plumb("report --compare b.json changed.json -o slower"), 1) << output_;
  EXPECT_NE(output_.find("slower    conv2d.forward/im2col@"), std::string::npos) << output_;
  look_at("slower/report.html");
  run_command("cd '" + directory().string() + "' && " + change + "inexact");
  EXPECT_EQ(plumb("report --compare b.json changed.json"), 1) << output_;
  EXPECT_NE(output_.find("lost 1.0 bits"), std::string::npos) << output_;
}

TEST_F(real_reports, bad_records_are_refused_in_one_sentence) {
  std::ofstream(at("newer.json")) << R"({"schema": 99})";
  EXPECT_EQ(plumb("report newer.json"), 2);
  EXPECT_EQ(output_,
            "plumb: newer.json has record schema 99, but this build reads up to 3; use a newer plumb\n");
  EXPECT_EQ(plumb("report --compare newer.json newer.json"), 2);
  EXPECT_EQ(plumb("report"), 2);
  EXPECT_EQ(output_, "plumb: report: expected either records to render, or --compare OLD NEW\n");
}

}  // namespace
}  // namespace plumb::reports
