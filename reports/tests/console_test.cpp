// What the terminal shows: lines that grep, sort and cut can work on, and nothing a name could do to a terminal.
#include "reports/console.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "reports/tests/sample_record.hpp"

namespace plumb {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(console, failures_first_and_one_line_a_kernel) {
  const record::run r = reports::testing::rich_run();
  const std::vector<std::string> lines = lines_of(render_console(r, {}));
  ASSERT_FALSE(lines.empty());
  EXPECT_TRUE(lines[0].starts_with("fail         conv2d.forward/direct@avx3")) << lines[0];
  for (const record::kernel_result& k : r.verify->kernels) {
    const auto is_its_line = [&](const std::string& line) {
      return line.starts_with(record::name_of(k.verdict)) && line.find(" " + k.name + " ") == 12;
    };
    EXPECT_GE(std::ranges::count_if(lines, is_its_line), 1) << k.name;
  }
}

TEST(console, replay_lines_can_be_copied) {
  const std::string text = render_console(reports::testing::rich_run(), {});
  EXPECT_NE(
      text.find(
          "./plumb replay 'conv2d.forward/direct@avx3 | conv2d x=1x2x3x4 weight=1x2x2x2 pad=0,1,0,0 | f32 "
          "nchw lattice 1 end 1 a'\n"),
      std::string::npos);
}

TEST(console, columns_have_the_same_width_in_every_line_of_a_table) {
  const std::vector<std::string> lines = lines_of(render_console(reports::testing::rich_run(), {}));
  const auto head =
      std::ranges::find_if(lines, [](const std::string& l) { return l.starts_with("verdict "); });
  ASSERT_NE(head, lines.end());
  const std::size_t cases = head->find("cases") + 5;
  for (auto line = head + 1; line != head + 8; ++line) {
    EXPECT_NE((*line)[cases - 1], ' ') << *line << ": numbers end below the end of their heading";
    EXPECT_EQ((*line)[cases], ' ') << *line;
  }
}

TEST(console, colour_only_when_asked_for) {
  const record::run r = reports::testing::rich_run();
  EXPECT_EQ(render_console(r, {}).find('\x1b'), std::string::npos);
  std::string coloured = render_console(r, {.colour = true});
  EXPECT_NE(coloured.find("\x1b[1;31mfail"), std::string::npos);
  for (const std::string code : {"\x1b[32m", "\x1b[33m", "\x1b[1;31m", "\x1b[0m"})
    for (std::size_t at = 0; (at = coloured.find(code)) != std::string::npos;)
      coloured.erase(at, code.size());
  EXPECT_EQ(coloured, render_console(r, {})) << "colour changes nothing else";
}

TEST(console, hostile_names_cannot_touch_the_terminal) {
  const record::run evil = reports::testing::hostile_run();
  for (const bool colour : {false, true}) {
    const std::string text = render_console(evil, {.colour = colour});
    EXPECT_EQ(text.find('\x01'), std::string::npos);
    EXPECT_EQ(text.find("\x1b[31m"), std::string::npos);
    EXPECT_EQ(text.find("\xff"), std::string::npos);
    EXPECT_EQ(text.find("\n# h1"), std::string::npos) << "a line break in a name is no line";
  }
}

}  // namespace
}  // namespace plumb
