// Numbers as people read them, and text that cannot get out of where it is put.
#include "reports/text.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace plumb::reports {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

TEST(text, numbers) {
  EXPECT_EQ(number(0), "0");
  EXPECT_EQ(number(0.03125), "0.0312");
  EXPECT_EQ(number(-2.5), "-2.5");
  EXPECT_EQ(number(1.23456e-7), "1.2e-07");
  EXPECT_EQ(number(123456789), "1.2e+08");
  EXPECT_EQ(number(12345), "12345");
  EXPECT_EQ(number(std::nan("")), "NaN");
  EXPECT_EQ(number(infinity), "∞");
  EXPECT_EQ(number(-infinity), "−∞");
  EXPECT_EQ(cell_number(3), "3");
  EXPECT_EQ(cell_number(-0.0), "-0");
  EXPECT_EQ(cell_number(0.1), "0.1");
  EXPECT_EQ(cell_number(std::nan("")), "NaN");
  EXPECT_EQ(count(0), "0");
  EXPECT_EQ(count(999), "999");
  EXPECT_EQ(count(1000), "1,000");
  EXPECT_EQ(count(-1234567), "-1,234,567");
  EXPECT_EQ(count(std::numeric_limits<std::int64_t>::min()), "-9,223,372,036,854,775,808");
  EXPECT_EQ(duration(200), "3 min 20 s");
  EXPECT_EQ(duration(1.5), "1.5 s");
  EXPECT_EQ(duration(0.0123), "12.3 ms");
  EXPECT_EQ(duration(4.2e-6), "4.2 µs");
  EXPECT_EQ(duration(7e-9), "7 ns");
  EXPECT_EQ(duration(0), "0 s");
  EXPECT_EQ(duration(std::nan("")), "NaN");
  EXPECT_EQ(share(std::nullopt), "–");
  EXPECT_EQ(plural(1, "entry", "entries"), "1 entry");
  EXPECT_EQ(plural(0, "entry", "entries"), "0 entries");
  EXPECT_EQ(plural(2000, "case"), "2,000 cases");
}

TEST(text, coordinates_name_their_axes) {
  EXPECT_EQ(coordinates(23, {1, 2, 3, 4}, {"n", "c", "h", "w"}), "n=0 c=1 h=2 w=3");
  EXPECT_EQ(coordinates(5, {2, 3}, {}), "0=1 1=2");
  EXPECT_EQ(coordinates(7, {0}, {"n"}), "n=0");  // a shape with no elements divides by nothing
  EXPECT_EQ(coordinates({{"k", 3}, {"q", 1}}), "k=3 q=1");
}

TEST(text, clean_keeps_letters_and_drops_bytes) {
  EXPECT_EQ(clean("µ ≤ 漢 😀"), "µ ≤ 漢 😀");
  EXPECT_EQ(clean("a\xff"
                  "b"),
            "a\xef\xbf\xbd"
            "b");
  EXPECT_EQ(clean("\xc0\xaf"), "\xef\xbf\xbd\xef\xbf\xbd") << "overlong";
  EXPECT_EQ(clean("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd") << "a surrogate";
  EXPECT_EQ(clean("\xf4\x90\x80\x80").find('\xf4'), std::string::npos) << "beyond U+10FFFF";
  EXPECT_EQ(clean("\xe6\xbc"), "\xef\xbf\xbd\xef\xbf\xbd") << "cut off";
  EXPECT_EQ(clean(std::string_view("\0\x1b\x7f", 3)), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(clean("\t\n"), "\t\n");
  EXPECT_EQ(clean("\xe2\x80\xae"), "\xef\xbf\xbd") << "right-to-left override";
  EXPECT_EQ(clean("\xef\xbf\xbf"), "\xef\xbf\xbd") << "U+FFFF";
  EXPECT_EQ(clean("µµµ", 3), "µµ…");
}

TEST(text, escapes) {
  EXPECT_EQ(escape_xml("<a b='c' d=\"e\">&\n"), "&lt;a b=&apos;c&apos; d=&quot;e&quot;&gt;&amp;&#10;");
  EXPECT_EQ(escape_markdown("|*_`<b>[x](y)\n#"), "\\|\\*\\_\\`&lt;b&gt;\\[x\\](y) \\#");
  EXPECT_EQ(fenced("```\n| x"), "''' | x");
  EXPECT_EQ(replay_command("k | p 'x'"), "./plumb replay 'k | p '\\''x'\\'''");
  EXPECT_EQ(replay_command(""), "");
  EXPECT_EQ(json_for_script(json("</script><!--&µ")), "\"\\u003c/script\\u003e\\u003c!--\\u0026\\u00b5\"");
  EXPECT_EQ(json_numbers({1.5, infinity, -infinity, std::nan("")}).dump(), "[1.5,\"inf\",\"-inf\",\"nan\"]");
}

}  // namespace
}  // namespace plumb::reports
