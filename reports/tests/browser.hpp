// A page in a real browser: headless Chromium opens it, a few lines at its end use it like a reader (open everything,
// hover a cell, copy a replay line, print), and the resulting document says what happened.
#pragma once

#include <filesystem>
#include <string>

#include "reference/core/record.hpp"
#include "reports/tests/scratch.hpp"

namespace plumb::reports::testing {

/// Standard output of a shell command; its exit code, if asked for.
std::string run_command(const std::string& command, int* exit_code = nullptr);

class browser_test : public scratch_test {
 protected:
  /// Skips the test where there is no Chromium.
  void SetUp() override;

  /// Opens `page` with `script` run at its end; returns the document afterwards, console lines in console_.
  std::string open_page(const std::filesystem::path& page, const std::string& script,
                        const std::string& flags = "");
  /// The same with the page of a record.
  std::string open(const record::run& r, const std::string& script, const std::string& flags = "");
  /// As long as a reader waits, in seconds: until the page is loaded and the charts in view are drawn.
  double seconds_to_open(const std::filesystem::path& page);

  /// What the page wrote to the browser's console: nothing, if all is well.
  std::string console_;

 private:
  std::string chromium_;
};

/// What the script put into <html data-NAME="…">.
std::string said(const std::string& dom, const std::string& name);

/// Printing opens and draws everything, so it stands for a reader who looks at all of it; then `then` is called.
extern const char* const draw_everything;

}  // namespace plumb::reports::testing
