// The page around the filled template. A content security policy forbids every request, so that "no network"
// is the browser's promise and not only ours. The chart library waits as inert text until a chart comes into
// view: the verdict is on the screen before 4 MB of script are looked at.
#include "reports/html.hpp"

#include "reports/assets.hpp"
#include "reports/render.hpp"
#include "reports/view.hpp"

namespace plumb::reports {

namespace {

std::string head(const std::string& title) {
  return "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
         "<meta name=\"color-scheme\" content=\"light dark\">\n"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
         "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:\">\n"
         "<link rel=\"icon\" href=\"data:,\">\n<title>" +
         escape_xml(title) + "</title>\n<style>\n" + std::string(asset("report.css")) +
         "</style>\n</head>\n<body>\n";
}

std::string scripts(const json& charts) {
  std::string text =
      "<script type=\"application/json\" id=\"plumb-data\">" + json_for_script(charts) + "</script>\n";
  if (!charts.empty()) {
    text += "<script type=\"text/plain\" id=\"plumb-plotly\">";
    text += "/*!\n";
    text += asset("plotly_license.txt");
    text += "*/\n";
    text += asset("plotly.js");
    text += "</script>\n";
  }
  text += "<script>\n";
  text += asset("report.js");
  return text + "</script>\n</body>\n</html>\n";
}

}  // namespace

std::string page(const json& view, const chart_book& charts) {
  const std::string title =
      view["headline"].get<std::string>() + " · plumb " + view["title"].get<std::string>();
  return head(title) + render_template("report.html", view, escape_xml) + scripts(charts.all());
}

std::string html(std::span<const record::run> runs) {
  chart_book charts;
  return page(make_view(runs, charts), charts);
}

void render_html(std::span<const record::run> runs, const std::filesystem::path& path) {
  write_file(path, html(runs));
}

void render_html(const record::run& run, const std::filesystem::path& path) {
  render_html(std::span(&run, 1), path);
}

}  // namespace plumb::reports
