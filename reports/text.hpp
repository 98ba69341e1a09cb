// Numbers and text as the reports print them. Names and messages in a record come from outside (plugins,
// command lines, vendor libraries): every format escapes them in its own way, and nothing a record says is
// ever executed.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reference/core/record.hpp"

namespace plumb::reports {

using nlohmann::json;

/// `0.0312`, `1.2e-07`, `∞`, `NaN`: three significant digits unless told.
std::string number(double value, int digits = 3);
/// A tensor value short enough for a grid cell; whole numbers print as such.
std::string cell_number(double value);
/// `1,234,567`
std::string count(std::int64_t value);
/// `12.3 µs`, `4.56 s`, `3 min 20 s`
std::string duration(double seconds);
/// A share of a bound, or `–` where there was none.
std::string share(const std::optional<double>& value);
/// `1 kernel`, `3 kernels`; words that do not just take an s bring their plural.
std::string plural(std::int64_t n, std::string_view word, std::string_view words = {});
/// `16×3×5`
std::string extents(const std::vector<std::int64_t>& shape);
/// `n=0 k=3 p=5 q=1`
std::string coordinates(const std::vector<record::coordinate>& at);
/// `n=0 k=3 p=5 q=1` of a row-major number; axes may be empty, then `[0,3,5,1]`.
std::string coordinates(std::int64_t flat, const std::vector<std::int64_t>& shape,
                        const std::vector<std::string>& axes);

/// The text with every byte sequence that is no UTF-8, and every control character but tab and newline,
/// replaced by U+FFFD; longer than `most` bytes, it is cut at a character and ends in `…`.
std::string clean(std::string_view text, std::size_t most = 4000);

/// The command that repeats a replay line, quoted for the shell; empty for an empty line. `origin` is where the kernel
/// comes from: a plugin has to be loaded again.
std::string replay_command(const std::string& line, const std::string& origin = "built in");

std::string escape_xml(const std::string& text);
/// For a Markdown table cell or paragraph: no markup, no HTML, no line break.
std::string escape_markdown(const std::string& text);
/// One line for a fenced code block, where nothing is escaped: no backquotes, no line breaks.
std::string fenced(const std::string& text);
/// JSON that may stand inside <script>: ASCII only, no `<`, `>` or `&`.
std::string json_for_script(const json& value);
/// A double as JSON, with "nan", "inf" and "-inf" for what JSON lacks.
json json_number(double value);
/// `digits` significant ones; 0: as many as it takes to read back the same bits.
json json_numbers(const std::vector<double>& values, int digits = 0);

}  // namespace plumb::reports
