// HTML, Markdown and JUnit from one record: what must be in them is in them, and hostile text stays text.
#include <gtest/gtest.h>

#include <chrono>
#include <regex>

#include "reports/html.hpp"
#include "reports/junit.hpp"
#include "reports/markdown.hpp"
#include "reports/tests/sample_record.hpp"
#include "reports/tests/xml_check.hpp"

namespace plumb::reports {
namespace {

using testing::hostile_run;
using testing::rich_run;

std::string html_of(const record::run& r) { return html({&r, 1}); }
std::string markdown_of(const record::run& r) { return markdown({&r, 1}); }
std::string junit_of(const record::run& r) { return junit({&r, 1}); }

/// The page without its scripts and style: what can contain text of the record as markup.
std::string markup_of(const std::string& page) {
  std::string text = page;
  for (const std::string tag : {"script", "style"}) {
    for (std::size_t from = 0; (from = text.find("<" + tag, from)) != std::string::npos;) {
      text.erase(from, text.find("</" + tag + ">", from) - from);
      text.erase(from, tag.size() + 3);
    }
  }
  return text;
}

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(html, verdict_before_failures_before_everything_else) {
  const std::string page = markup_of(html_of(rich_run()));
  std::size_t at = 0;
  for (const char* part : {"4 of 6 kernels fail", "id=\"failures\"", "conv2d.forward/direct@avx3",
                           "id=\"findings\"", "id=\"verdicts\"", "id=\"gradients\"", "id=\"speed\"",
                           "id=\"kernels\"", "id=\"fingerprint\"", "id=\"sweep\"", "id=\"audit\"",
                           "id=\"caught\"", "id=\"provenance\"", "18364758544493064720", "oneDNN 2.6.3"}) {
    const std::size_t next = page.find(part, at);
    ASSERT_NE(next, std::string::npos) << part;
    at = next;
  }
}

TEST(html, says_what_never_ran_of_a_plugin) {
  const std::string page = markup_of(html_of(rich_run()));
  EXPECT_TRUE(contains(page, "What ran of the plugin"));
  EXPECT_TRUE(contains(
      page, "<meter min=\"0\" max=\"100\" value=\"95\">95 %</meter></td><td class=\"n\">40 of 42</td>"));
  EXPECT_TRUE(contains(page, "<code>k_tail.cpp:18</code>"));
  EXPECT_TRUE(contains(markdown_of(rich_run()), "| libk\\_tail.so | 40 of 42 | k\\_tail.cpp:18 |"));
  record::run r = rich_run();
  r.verify->coverage->libraries = {{"silent.so", 0, 0, {}, "no debug information"}};
  EXPECT_TRUE(contains(markup_of(html_of(r)), "no debug information"));
  r.verify->coverage.reset();
  EXPECT_FALSE(contains(markup_of(html_of(r)), "What ran of the plugin"));
}

TEST(html, draws_the_counterexample) {
  const std::string page = markup_of(html_of(rich_run()));
  EXPECT_TRUE(contains(page, "<td class=\"wrong\" title=\"y[n=0 k=0 p=1 q=2] = 3\">3</td>"));
  EXPECT_TRUE(contains(page, "<td class=\"wrong\" title=\"y[n=0 k=0 p=1 q=2] = 4\">4</td>"));
  EXPECT_TRUE(contains(page, "<td title=\"x[n=0 c=1 h=2 w=3] = -1\">-1</td>"));
  EXPECT_TRUE(
      contains(page,
               "<code>./plumb replay &apos;conv2d.forward/direct@avx3 | conv2d x=1x2x3x4 weight=1x2x2x2 "
               "pad=0,1,0,0 | f32 nchw lattice 1 end 1 a&apos;</code>"));
  EXPECT_TRUE(contains(page, "shrunk in 41 steps from conv2d x=3x17x31x29"));
}

TEST(html, marks_the_expected_value_of_a_wrong_element) {
  record::run r = rich_run();
  for (record::kernel_result& k : r.verify->kernels) {
    for (record::counterexample& c : k.counterexamples) {
      if (!c.tensors.empty()) c.tensors[3].marked.clear();
    }
  }
  EXPECT_TRUE(contains(markup_of(html_of(r)), "<td class=\"wrong\" title=\"y[n=0 k=0 p=1 q=2] = 4\">4</td>"));
}

TEST(html, cuts_tensors_that_are_no_minimal_counterexample) {
  record::run r = rich_run();
  record::tensor_dump& x = r.verify->kernels[1].counterexamples[0].tensors[0];
  x.shape = {1, 40, 30, 100};
  x.values.assign(40 * 30 * 100, 0);
  x.values[35 * 3000 + 29 * 100 + 99] = 77;
  x.marked = {35 * 3000 + 29 * 100 + 99, -5, 1 << 30};
  const std::string page = markup_of(html_of(r));
  EXPECT_TRUE(contains(page, ">77</td>")) << "the marked element is within the cut";
  EXPECT_TRUE(contains(page, "cut from 30×100, starting at row 6, column 76"));
  EXPECT_TRUE(contains(page, "28 planes more"));
  EXPECT_LT(page.size(), 2U << 20);
}

TEST(html, a_kernel_without_a_number_says_why) {
  const std::string page = markup_of(html_of(rich_run()));
  EXPECT_EQ(
      occurrences(page, "no number<br><small>failed verification: wrong value at the right border</small>"),
      4U);
}

TEST(html, loads_nothing) {
  const std::string page = html_of(rich_run());
  EXPECT_TRUE(contains(page, "default-src 'none'"));
  for (const char* part : {"<script src", "<img", "@import", "url(http"})
    EXPECT_FALSE(contains(markup_of(page), part)) << part;
  EXPECT_EQ(occurrences(markup_of(page), "<link"), 1U) << "the empty icon only";
}

TEST(html, a_clean_run_has_no_failures_and_an_empty_one_says_so) {
  record::run r;
  r.verify.emplace();
  r.verify->kernels.emplace_back().verdict = record::verdict::pass;
  const std::string page = markup_of(html_of(r));
  EXPECT_TRUE(contains(page, "The kernel passes"));
  EXPECT_FALSE(contains(page, "id=\"failures\""));
  EXPECT_FALSE(contains(html_of(r), "plumb-plotly\">")) << "no charts, no chart library";
  EXPECT_LT(html_of(r).size(), 60000U);
  EXPECT_TRUE(contains(markup_of(html({})), "Nothing was judged"));
}

TEST(html, hostile_text_stays_text) {
  const std::string page = html_of(hostile_run());
  const std::string markup = markup_of(page);
  EXPECT_FALSE(contains(markup, "<img"));
  EXPECT_FALSE(contains(markup, "<script>window"));
  EXPECT_TRUE(contains(markup, "&lt;script&gt;window.hacked"));
  EXPECT_TRUE(contains(markup, "{{#kernels}}")) << "a name is no template";
  // Data, licence and chart library, page script: as many elements as in the harmless page, each closed once.
  for (const char* tag : {"<script", "</script", "<style", "</style", "</body"}) {
    EXPECT_EQ(occurrences(page, tag) - occurrences(markup, tag),
              occurrences(html_of(rich_run()), tag) - occurrences(markup_of(html_of(rich_run())), tag))
        << tag;
  }
  EXPECT_FALSE(contains(page, "\x1b"));
}

TEST(html, names_the_pattern_of_wrong_elements) {
  record::run r = rich_run();
  for (record::kernel_result& k : r.verify->kernels)
    for (record::counterexample& c : k.counterexamples) c.pattern.clear();
  record::kernel_result& wrong = r.verify->kernels[1];
  wrong.heat->replay = wrong.counterexamples[0].original_replay;
  EXPECT_TRUE(contains(markup_of(html_of(r)), "pattern <b>right border (q=14)</b>"));
}

#ifdef PLUMB_SANITIZED
constexpr int very_many = 3'000;  // more than a page shows; everything takes thirty times as long
constexpr int many = 300;
#else
constexpr int very_many = 100'000;
constexpr int many = 3'000;
#endif

TEST(html, takes_a_hundred_thousand_cases) {
  record::run r = rich_run();
  const record::problem_result problem = r.verify->kernels[0].problems[0];
  const record::timing timing = r.bench->timings[0];
  const record::layer_check layer = r.gradcheck->layers[0];
  const record::fault_result fault = r.audit->faults[0];
  for (int i = 0; i < very_many; ++i) {
    r.verify->kernels[0].problems.push_back(problem);
    r.verify->kernels[0].problems.back().problem += " groups=" + std::to_string(i);
    r.bench->timings.push_back(timing);
    r.bench->timings.back().problem += " groups=" + std::to_string(i);
    r.bench->timings.back().measurement->samples.clear();
    r.bench->timings.back().measurement->rounds.clear();
  }
  for (int i = 0; i < many; ++i) r.audit->faults.push_back(fault);
  for (int i = 0; i < 400; ++i) r.gradcheck->layers.emplace_back().problem = "relu x=" + std::to_string(i);
  const auto start = std::chrono::steady_clock::now();
  const std::string page = html_of(record::from_json(record::to_json(r), "r.json"));
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  EXPECT_LT(page.size(), 24U << 20);
  EXPECT_TRUE(contains(page, "failing ones first"));
  EXPECT_TRUE(contains(page, "more in the record"));
  EXPECT_LT(taken.count(), 60) << "a generous bound: some seconds on an idle core";
}

TEST(html, is_quick_with_a_thousand_problems) {
  record::run r = rich_run();
  record::kernel_result& kernel = r.verify->kernels[0];
  const record::problem_result problem = kernel.problems[0];
  const std::vector<record::timing> timings = r.bench->timings;
  for (int i = 0; i < 1000; ++i) {
    kernel.problems.push_back(problem);
    kernel.problems.back().problem += " groups=" + std::to_string(i);
    for (int k = 0; k < 4; ++k) {
      r.bench->timings.push_back(timings[static_cast<std::size_t>(k)]);
      r.bench->timings.back().problem += " groups=" + std::to_string(i);
    }
  }
  const auto start = std::chrono::steady_clock::now();
  const std::string page = html_of(r);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  EXPECT_LT(page.size(), 16U << 20);
  EXPECT_LT(taken.count(), 20) << "a generous bound: about one second on an idle core";
  EXPECT_LE(markdown_of(r).size(), 1U << 20);
}

record::run arithmetic_run() {
  record::run r, rich = rich_run();
  r.command = "fingerprint";
  r.fingerprint = rich.fingerprint;
  record::fingerprint_result liar = r.fingerprint->kernels[0], absent = liar;
  liar.kernel = "conv2d.forward/liar@cpu";
  liar.verdict = record::verdict::fail;
  liar.reason = "declares f32 but adds in 8 significant bits";
  liar.accumulator_bits = 8;
  absent.kernel = "conv2d.forward/absent@cuda";
  absent.verdict = record::verdict::skipped;
  r.fingerprint->kernels.insert(r.fingerprint->kernels.begin(), absent);
  r.fingerprint->kernels.push_back(liar);
  return r;
}

TEST(html, a_fingerprint_that_contradicts_its_declaration_comes_first) {
  const std::string page = markup_of(html_of(arithmetic_run()));
  EXPECT_TRUE(contains(page, "1 of 2 kernels contradicts its declaration"));
  const std::size_t liar = page.find("/liar@cpu"), direct = page.find("/direct@avx3");
  EXPECT_LT(liar, direct);
  EXPECT_LT(direct, page.find("/absent@cuda"));
  EXPECT_TRUE(contains(page, "adds in 8 significant bits"));
  EXPECT_TRUE(contains(page, "<dd>8 bits</dd>"));
  EXPECT_TRUE(contains(markdown_of(arithmetic_run()), "1 of 2 kernels contradicts its declaration"));
  EXPECT_EQ(testing::read_xml(junit_of(arithmetic_run())).elements.at("failure"), 1);
}

TEST(html, a_sweep_shows_the_first_input_outside_of_the_bound) {
  record::run r;
  r.command = "sweep";
  r.sweep = rich_run().sweep;
  EXPECT_TRUE(contains(html_of(r), "The kernel passes on every float of the range, worst 2.25 ulp"));
  record::sweep_result& s = r.sweep->kernels[0];
  s.verdict = record::verdict::fail;
  s.wrong = 7;
  s.first_wrong_input = 0.5;
  s.first_wrong_bits = 0x3f000000;
  s.first_wrong_got = std::nan("");
  s.special.push_back({std::nan(""), 0, std::nan("")});
  const std::string page = markup_of(html_of(r));
  EXPECT_TRUE(contains(page, "The kernel fails: 1 wrong"));
  EXPECT_TRUE(contains(page, "0.5 (0x3f000000): got NaN"));
  EXPECT_TRUE(contains(page, "<td class=\"n cell near\">0</td><td class=\"n\">NaN</td>"))
      << "a NaN that was lost";
  EXPECT_TRUE(contains(markdown_of(r), "Every float"));
}

TEST(html, the_oracle_beside_a_matrix_product) {
  record::run r;
  r.command = "bench";
  r.bench.emplace().oracle = rich_run().bench->oracle;
  const std::string page = markup_of(html_of(r));
  EXPECT_TRUE(contains(page, "Every output certified on 1 problem"));
  EXPECT_TRUE(contains(page, "The oracle takes at most 4× the time of dgemm"));
  EXPECT_FALSE(contains(page, "measurements")) << "nothing was timed";
  EXPECT_TRUE(contains(markdown_of(r), "oracle over dgemm"));
}

TEST(markdown, verdict_first) {
  const std::string text = markdown_of(rich_run());
  EXPECT_TRUE(text.starts_with("# 4 of 6 kernels fail\n")) << text.substr(0, 200);
  for (const char* part :
       {"## Failures", "### conv2d.forward/direct@avx3: fail",
        "```text\nconv2d x=1x2x3x4 weight=1x2x2x2 pad=0,1,0,0\n./plumb replay '",
        "## Findings about vendor peers", "| conv2d.forward/im2col@cpu | pass, certified | 4,812 |",
        "## Gradients", "| vjp against dual | dy/dx | rational | exact |", "slower |",
        "no number: failed verification", "## Planted bugs, caught"}) {
    EXPECT_TRUE(contains(text, part)) << part;
  }
}

TEST(markdown, hostile_text_stays_text) {
  const std::string whole = markdown_of(hostile_run());
  EXPECT_EQ(occurrences(whole, "```") % 2, 0U);
  // Within a fence nothing is markup, and nothing gets out of it: a fence has two lines.
  const std::regex fence("\n```text\n[^`\n]*\n[^`\n]*\n```\n");
  const std::string text = std::regex_replace(whole, fence, "\n");
  EXPECT_FALSE(contains(text, "```"));
  EXPECT_FALSE(contains(text, "<script"));
  EXPECT_FALSE(contains(text, "<img"));
  EXPECT_FALSE(contains(text, "\n# h1"));
  EXPECT_FALSE(std::regex_search(text, std::regex(R"([^\\]\]\(javascript)")));
  EXPECT_EQ(occurrences(text, "<details>"), 1U);
}

TEST(markdown, never_more_than_a_mebibyte) {
  record::run r = rich_run();
  record::kernel_result failing = r.verify->kernels[1];
  failing.heat.reset();
  for (int i = 0; i < many; ++i) {
    r.verify->kernels.push_back(failing);
    r.verify->kernels.back().reason = std::string(5000, 'x');
  }
  const std::string text = markdown_of(r);
  EXPECT_LE(text.size(), 1U << 20);
  const std::string all = std::to_string(many + 4) + " of " + std::to_string(many + 6);
  std::string verdict = text.substr(0, 80);
  std::erase(verdict, ',');
  EXPECT_TRUE(verdict.starts_with("# " + all)) << verdict;
  EXPECT_TRUE(contains(text, "more in the record"));
}

TEST(junit, a_case_for_every_kernel_and_law) {
  const std::string xml = junit_of(rich_run());
  const testing::xml_counts counts = testing::read_xml(xml);
  ASSERT_EQ(counts.error, "");
  EXPECT_EQ(counts.elements.at("testsuites"), 1);
  // Nine kernels, gradcheck, bench, audit, fingerprint, sweep.
  EXPECT_EQ(counts.elements.at("testsuite"), 14);
  // Seven kernels that ran and are no planted bug, six laws and a verdict each; one skipped, one planted; two
  // layers with a kernel each; sixteen timings; two faults and two honest kernels; a fingerprint, a sweep, and
  // an oracle.
  EXPECT_EQ(counts.elements.at("testcase"), 7 * 7 + 1 + 1 + 2 * 2 + 16 + 4 + 3);
  // direct: verdict and one law; mistrusted; sigmoid's gradient; four timings of the failed kernel; the surviving fault.
  EXPECT_EQ(counts.elements.at("failure"), 2 + 1 + 1 + 4 + 1);
  EXPECT_EQ(counts.elements.at("error"), 2);
  EXPECT_TRUE(contains(xml, "tests=\"78\" failures=\"9\" errors=\"2\""));
  EXPECT_TRUE(contains(xml, "finding about a vendor peer"));
}

TEST(junit, a_planted_bug_that_passes_is_a_failure) {
  record::run r = rich_run();
  r.verify->kernels.back().verdict = record::verdict::pass;
  EXPECT_TRUE(contains(junit_of(r), "the planted bug was not caught: pass"));
}

TEST(junit, stays_xml_with_hostile_text) {
  const testing::xml_counts counts = testing::read_xml(junit_of(hostile_run()));
  EXPECT_EQ(counts.error, "");
  EXPECT_EQ(counts.elements, testing::read_xml(junit_of(rich_run())).elements);
}

// The reader that the tests above trust, seen failing.
TEST(xml_check, refuses_what_is_not_xml) {
  EXPECT_EQ(testing::read_xml("<a b=\"c\"><d/>&lt;&#10;</a>").error, "");
  for (const char* broken : {"<a>", "<a></b>", "<a b=c/>", "<a>&nbsp;</a>", "<a>& b</a>", "<a b=\"<\"/>",
                             "<a/><b/>", "<a>\x01</a>", "<a>\xff</a>", "text", ""}) {
    EXPECT_NE(testing::read_xml(broken).error, "") << broken;
  }
}

TEST(render, a_full_disk_is_one_sentence) {
  const record::run r = rich_run();
  const auto sentence = [](const auto& render) {
    try {
      render();
    } catch (const report_error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const std::string expected = "cannot write /dev/full: No space left on device";
  EXPECT_EQ(sentence([&] { render_html(r, "/dev/full"); }), expected);
  EXPECT_EQ(sentence([&] { render_markdown(r, "/dev/full"); }), expected);
  EXPECT_EQ(sentence([&] { render_junit(r, "/dev/full"); }), expected);
  EXPECT_EQ(sentence([&] { record::save(r, "/dev/full"); }), expected);
}

}  // namespace
}  // namespace plumb::reports
