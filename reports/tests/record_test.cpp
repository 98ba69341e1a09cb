// The record: it comes back as it went, it names what is broken, and it is written whole or not at all.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <random>
#include <regex>
#include <set>
#include <sstream>

#include "reference/core/record.hpp"
#include "reports/tests/sample_record.hpp"
#include "reports/tests/scratch.hpp"

namespace plumb {
namespace {

using reports::testing::hostile_run;
using reports::testing::rich_run;

std::string slurp(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

class saved_record : public reports::testing::scratch_test {};
class file_writing : public reports::testing::scratch_test {};

/// The sentence with which `text` is refused; empty if it is accepted.
std::string refusal(const std::string& text) {
  try {
    record::from_json(text, "r.json");
  } catch (const record_error& error) {
    return error.what();
  }
  return {};
}

/// The rich record's text with the first occurrence of `from` replaced.
std::string with(const std::string& from, const std::string& to) {
  std::string text = record::to_json(rich_run());
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(record, comes_back_as_it_went) {
  for (const record::run& run : {rich_run(), record::run{}}) {
    const std::string text = record::to_json(run);
    EXPECT_EQ(record::to_json(record::from_json(text, "r.json")), text);
  }
}

TEST(record, keeps_values_exactly) {
  record::run run = rich_run();
  record::kernel_result& kernel = run.verify->kernels[0];
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  kernel.worst[0].got = nan;
  kernel.worst[0].truth = -infinity;
  kernel.worst[0].ulps = infinity;
  kernel.worst[0].error = 0.1 + 0.2;
  kernel.worst[0].proven_bound = 4.9406564584124654e-324;
  kernel.worst[0].statistical_bound = -0.0;
  const record::run back = record::from_json(record::to_json(run), "r.json");
  const record::element& e = back.verify->kernels[0].worst[0];
  EXPECT_TRUE(std::isnan(e.got));
  EXPECT_EQ(e.truth, -infinity);
  EXPECT_EQ(e.ulps, infinity);
  EXPECT_EQ(e.error, 0.1 + 0.2);
  EXPECT_EQ(e.proven_bound, 4.9406564584124654e-324);
  EXPECT_TRUE(std::signbit(e.statistical_bound));
  EXPECT_EQ(e.seed, 18446744073709551615U);
  EXPECT_EQ(back.provenance.seed, 0xfedcba9876543210U);
  EXPECT_EQ(back.verify->kernels[1].counterexamples[0].tensors[3].role, record::tensor_role::expected);
  EXPECT_EQ(back.verify->kernels[2].verdict, record::verdict::crashed);
  EXPECT_FALSE(back.verify->kernels[0].regimes[0].worst_proven.has_value());
  EXPECT_EQ(back.bench->sets[0].ratio->comparison, record::comparison::slower);
}

// A member that is declared but not listed would be lost without a sound. Reads the two sources, and the
// manual.
TEST(record, every_member_is_written_and_documented) {
  const std::string header = slurp("reference/core/record.hpp");
  const std::string source = slurp("reference/core/record_fields.hpp");
  const std::string manual = slurp("docs/record.md");
  ASSERT_FALSE(header.empty());
  ASSERT_FALSE(source.empty());
  ASSERT_FALSE(manual.empty());
  const std::regex structure(R"(\nstruct (\w+) \{\n([^}]*(?:\{\}[^}]*)*?)\n\};)");
  const std::regex member(R"(\n  [\w:<>]+ (\w+)(?: = [^;]*)?;)");
  int members = 0;
  for (std::sregex_iterator s(header.begin(), header.end(), structure), end; s != end; ++s) {
    const std::string name = (*s)[1];
    const std::size_t from = source.find("template <is<" + name + "> S, class F>");
    ASSERT_NE(from, std::string::npos) << name << " has no list of fields";
    const std::string list = source.substr(from, source.find("\n}", from) - from);
    const std::string body = "\n" + (*s)[2].str();
    for (std::sregex_iterator m(body.begin(), body.end(), member); m != end; ++m, ++members) {
      const std::string field = (*m)[1];
      EXPECT_NE(list.find("f(\"" + field + "\", s." + field + ")"), std::string::npos)
          << name << "." << field;
      EXPECT_NE(manual.find("`" + field + "`"), std::string::npos)
          << "docs/record.md lacks " << name << "." << field;
    }
  }
  EXPECT_GT(members, 180);
}

TEST(record, refuses_what_is_broken_and_names_the_field) {
  EXPECT_EQ(refusal(with("\"verdict\": \"pass\"", "\"verdict\": \"fine\"")),
            "r.json: field verify.kernels[0].verdict should be pass, fail, mistrusted, inconclusive, "
            "skipped, crashed or "
            "timeout, but is the text \"fine\"");
  EXPECT_EQ(refusal(with("\"cores\": 2", "\"cores\": \"two\"")),
            "r.json: field provenance.cores should be a whole number, but is the text \"two\"");
  EXPECT_EQ(refusal(with("\"cores\": 2", "\"cores\": 2.5")),
            "r.json: field provenance.cores should be a whole number, but is the number 2.5");
  EXPECT_EQ(refusal(with("\"cores\": 2", "\"cores\": 99999999999")),
            "r.json: field provenance.cores should be a whole number, but is the number 99999999999");
  EXPECT_EQ(refusal(with("\"cores\": 2,", "")), "r.json: field provenance.cores is missing");
  EXPECT_EQ(refusal(with("\"peer\": false", "\"peer\": 0")),
            "r.json: field verify.kernels[0].peer should be true or false, but is the number 0");
  EXPECT_EQ(refusal(with("\"worst_ulps\": 0.0", "\"worst_ulps\": \"much\"")),
            "r.json: field verify.kernels[0].regimes[0].worst_ulps should be a number, \"nan\", \"inf\" or "
            "\"-inf\", but is "
            "the text \"much\"");
  EXPECT_EQ(refusal(with("\"libraries\": [", "\"libraries\": {}, \"x\": [")),
            "r.json: field provenance.libraries should be a list, but is an object");
  EXPECT_EQ(refusal(with("\"cpu\": \"AMD EPYC 9R14\"", "\"cpu\": null")),
            "r.json: field provenance.cpu should be text, but is null");
}

// Lists that belong together: a report would read past their ends.
TEST(record, refuses_lists_that_do_not_match) {
  record::run run = rich_run();
  run.verify->kernels[0].heat->tiles[2].got.pop_back();
  EXPECT_EQ(refusal(record::to_json(run)),
            "r.json: field verify.kernels[0].heat.tiles[2].got should have 56 entries, but has 55");
  run = rich_run();
  run.verify->kernels[1].counterexamples[0].tensors[0].shape = {1, 2, 3, 5};
  EXPECT_EQ(refusal(record::to_json(run)),
            "r.json: field verify.kernels[1].counterexamples[0].tensors[0].values should have 30 entries, "
            "but has 24");
  run.verify->kernels[1].counterexamples[0].tensors[0].shape = {1 << 30, 1 << 30, 1 << 30};
  EXPECT_NE(refusal(record::to_json(run)).find("impossible extent"), std::string::npos);
  run.verify->kernels[1].counterexamples[0].tensors[0].shape = {-24, -1};
  EXPECT_NE(refusal(record::to_json(run)).find("impossible extent -24"), std::string::npos);
  run = rich_run();
  run.verify->kernels[0].ulps->edges.pop_back();
  EXPECT_NE(refusal(record::to_json(run)).find("verify.kernels[0].ulps.edges should have 8"),
            std::string::npos);
  run = rich_run();
  run.gradcheck->layers[0].curves[1].error.clear();
  EXPECT_NE(refusal(record::to_json(run)).find("gradcheck.layers[0].curves[1].error"), std::string::npos);
  run = rich_run();
  run.gradcheck->layers[0].jacobians[0].rows = 1;
  EXPECT_NE(refusal(record::to_json(run)).find("gradcheck.layers[0].jacobians[0].explicit_values"),
            std::string::npos);
}

TEST(record, refuses_a_newer_schema) {
  EXPECT_EQ(refusal(with("\"schema\": 3", "\"schema\": 4")),
            "r.json has record schema 4, but this build reads up to 3; use a newer plumb");
  EXPECT_EQ(refusal(with("\"schema\": 3", "\"schema\": 0")),
            "r.json has record schema 0, but this build reads up to 3");
  EXPECT_EQ(refusal(with("\"schema\": 3,", "")), "r.json is not a Plumb record: it has no field schema");
  EXPECT_EQ(refusal("[]"), "r.json is not a Plumb record: it has no field schema");
}

TEST(record, takes_an_older_schema) {
  const record::run old = record::load("reports/tests/records/schema1.json");
  EXPECT_EQ(old.schema, 1);
  EXPECT_EQ(old.verify->kernels.size(), 8U);
  EXPECT_FALSE(old.bench->timings.at(0).cold.has_value());
  EXPECT_TRUE(old.bench->timings.at(0).measurement->rounds.empty());
}

TEST(record, schema_in_the_docs_is_the_one_of_the_code) {
  EXPECT_EQ(slurp("docs/record.schema.json"), record::json_schema())
      << "write it again with `plumb report --schema docs/record.schema.json`";
}

/// What an independent validator says: `valid`, its first complaint, or nothing where there is none.
std::string validated(const std::filesystem::path& path) {
  const std::string script =
      "import json, sys, jsonschema\n"
      "schema = json.load(open('docs/record.schema.json'))\n"
      "jsonschema.Draft202012Validator.check_schema(schema)\n"
      "errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(json.load(open(sys.argv[1]))), "
      "key=str)\n"
      "print(errors[0].json_path if errors else 'valid', end='')\n";
  const std::filesystem::path file = path.string() + ".py";
  std::ofstream(file) << script;
  FILE* const pipe = popen(("python3 " + file.string() + " " + path.string() + " 2>/dev/null").c_str(), "r");
  std::string answer(200, '\0');
  answer.resize(pipe == nullptr ? 0 : fread(answer.data(), 1, answer.size(), pipe));
  if (pipe != nullptr) pclose(pipe);
  return answer;
}

TEST_F(saved_record, is_valid_by_the_schema_and_a_broken_one_is_not) {
  if (std::system("python3 -c 'import jsonschema' 2>/dev/null") != 0) GTEST_SKIP() << "no python3-jsonschema";
  for (const record::run& r : {rich_run(), hostile_run(), record::run{}}) {
    record::save(r, scratch("r.json"));
    EXPECT_EQ(validated(scratch("r.json")), "valid");
  }
  std::filesystem::copy_file("reports/tests/records/schema1.json", scratch("old.json"));
  EXPECT_EQ(validated(scratch("old.json")), "valid");
  std::ofstream(scratch("r.json")) << with("\"cores\": 2", "\"cores\": \"two\"");
  EXPECT_EQ(validated(scratch("r.json")), "$.provenance.cores");
  std::ofstream(scratch("r.json")) << with("\"cores\": 2,", "");
  EXPECT_EQ(validated(scratch("r.json")), "$.provenance");
  std::ofstream(scratch("r.json")) << with("\"verdict\": \"pass\"", "\"verdict\": \"fine\"");
  EXPECT_EQ(validated(scratch("r.json")), "$.verify.kernels[0].verdict");
  std::ofstream(scratch("r.json")) << with("\"schema\": 3", "\"schema\": 4");
  EXPECT_EQ(validated(scratch("r.json")), "$.schema");
}

#ifdef PLUMB_SANITIZED
constexpr std::size_t truncation_step = 9973;  // everything takes thirty times as long
constexpr int damaged_records = 100;
#else
constexpr std::size_t truncation_step = 997;
constexpr int damaged_records = 1000;
#endif

TEST(record, refuses_every_truncation) {
  const std::string text = record::to_json(rich_run());
  EXPECT_EQ(refusal(""), "r.json is empty");
  for (std::size_t length = 1; length + 1 < text.size(); length += truncation_step) {
    const std::string sentence = refusal(text.substr(0, length));
    EXPECT_EQ(sentence,
              "r.json ends in the middle of the record, after " + std::to_string(length) + " bytes");
  }
  EXPECT_EQ(refusal("{\"schema\": 1, oops"), "r.json is not JSON from byte 15 on");
}

TEST(record, refuses_what_json_allows_and_a_double_does_not) {
  EXPECT_EQ(refusal(with("\"cores\": 2", "\"cores\": 1e999")),
            "r.json holds a number that no double can hold");
  EXPECT_EQ(refusal(std::string(100000, '[')), "r.json ends in the middle of the record, after 100000 bytes");
}

// Whatever a bit flip makes of a record: it is read, or refused in one sentence.
TEST(record, takes_any_damage_calmly) {
  record::run run = rich_run();
  run.verify->kernels.erase(run.verify->kernels.begin() + 3, run.verify->kernels.end());
  run.gradcheck.reset();
  for (record::kernel_result& k : run.verify->kernels) k.heat.reset();
  const std::string text = record::to_json(run);
  std::mt19937 bits(1);
  int refused = 0;
  for (int i = 0; i < damaged_records; ++i) {
    std::string damaged = text;
    for (int n = 0; n < 3; ++n) damaged[bits() % damaged.size()] ^= static_cast<char>(1U << (bits() % 7));
    const std::string sentence = refusal(damaged);
    refused += sentence.empty() ? 0 : 1;
    EXPECT_EQ(sentence.find('\n'), std::string::npos) << sentence;
  }
  EXPECT_GT(refused, damaged_records * 3 / 10);
}

TEST(record, survives_text_that_is_no_utf8) {
  const record::run back = record::from_json(record::to_json(hostile_run()), "r.json");
  EXPECT_NE(back.command.find("<script>"), std::string::npos);
  EXPECT_NE(back.command.find("\xef\xbf\xbd"), std::string::npos);
}

TEST_F(saved_record, comes_back) {
  const auto path = scratch("r.json");
  record::save(rich_run(), path);
  EXPECT_EQ(record::to_json(record::load(path)), record::to_json(rich_run()));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(path.parent_path()), {}), 1)
      << "a part was left behind";
  EXPECT_THROW(record::load(scratch("absent.json")), record_error);
  EXPECT_THROW(record::load(path.parent_path()), record_error);
  std::ofstream(scratch("empty.json")).flush();
  EXPECT_THROW(record::load(scratch("empty.json")), record_error);
}

std::string write_failure(const std::filesystem::path& path) {
  try {
    write_file(path, "text");
  } catch (const report_error& error) {
    return error.what();
  }
  return {};
}

TEST_F(file_writing, says_why_it_could_not) {
  EXPECT_EQ(write_failure("/dev/full"), "cannot write /dev/full: No space left on device");
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
  EXPECT_EQ(write_failure(scratch("no/such/r.json")),
            "cannot write " + scratch("no/such/r.json").string() + ": No such file or directory");
  EXPECT_NE(write_failure(scratch("x").parent_path()).find("Is a directory"), std::string::npos);
  EXPECT_EQ(write_failure("/dev/null"), "");
}

TEST_F(file_writing, replaces_what_a_link_points_at) {
  const auto target = scratch("target");
  const auto link = scratch("link");
  std::filesystem::remove(link);
  write_file(target, "old");
  std::filesystem::create_symlink(target, link);
  write_file(link, "new");
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_EQ(slurp(target), "new");
}

// A disk that fills up in the middle: the old file stays, and nothing lies beside it.
TEST_F(file_writing, leaves_the_old_file_when_the_disk_is_full) {
  const auto path = scratch("r.json");
  write_file(path, "old");
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      write_file(path, std::string(100000, 'x'));
    } catch (const report_error& error) {
      _exit(std::string(error.what()).find("File too large") != std::string::npos ? 0 : 2);
    }
    _exit(3);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(slurp(path), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(path.parent_path()), {}), 1);
}

TEST(provenance, knows_this_machine) {
  const record::provenance p = record::provenance_of_this_process();
  EXPECT_FALSE(p.plumb_version.empty());
  EXPECT_FALSE(p.cpu.empty());
  EXPECT_GE(p.cores, 1);
  EXPECT_NE(p.os.find("Linux"), std::string::npos);
  EXPECT_FALSE(p.compiler.empty());
  ASSERT_FALSE(p.libraries.empty());
  EXPECT_EQ(p.libraries[0].name, "Boost");
  EXPECT_TRUE(p.libraries[0].version.starts_with("1."));
  EXPECT_TRUE(std::regex_match(p.date, std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)"))) << p.date;
}

}  // namespace
}  // namespace plumb
