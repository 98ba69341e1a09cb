// The program as a user starts it: exit codes, one sentence for bad input, five broken kernels caught with minimal
// counterexamples whose replay lines reproduce them, tensors through .npy files.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "properties/minimality.hpp"
#include "reference/core/npy.hpp"
#include "reference/core/npz.hpp"
#include "verify/runner.hpp"

namespace plumb {
namespace {

namespace fs = std::filesystem;

std::string build() {
  const char* dir = std::getenv("PLUMB_BUILD_DIR");
  return dir != nullptr ? dir : "build";
}

struct outcome {
  int code = -1;
  std::string out, err;
};

class EndToEnd : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("plumb_e2e_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  /// Runs `plumb ARGUMENTS` in an empty folder.
  outcome plumb(const std::string& arguments) const {
    const std::string command =
        "cd '" + folder_.string() + "' && '" + build() + "/plumb' " + arguments + " 2>err.txt";
    outcome o;
    FILE* pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) return o;
    std::array<char, 4096> buffer;
    while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe))
      o.out.append(buffer.data(), n);
    const int status = ::pclose(pipe);
    if (WIFEXITED(status)) o.code = WEXITSTATUS(status);
    std::ifstream err(folder_ / "err.txt");
    o.err.assign(std::istreambuf_iterator<char>(err), {});
    return o;
  }

  fs::path folder_;
};

TEST_F(EndToEnd, TheRightPluginPasses) {
  const outcome o = plumb("verify --plugin '" + build() + "/examples/libmy_conv.so' 'conv2d.*' --time 4s");
  EXPECT_EQ(o.code, 0) << o.out << o.err;
  EXPECT_NE(o.out.find("kernels: 2 pass"), std::string::npos) << o.out;
}

TEST_F(EndToEnd, WhatNeverRanOfAPluginIsNamed) {
  const outcome o = plumb("verify --plugin '" + build() +
                          "/examples/libk_tail.so' 'linear.*' --time 3s --json record.json");
  EXPECT_EQ(o.code, 0) << o.out << o.err;
  const record::run r = record::load(folder_ / "record.json");
  ASSERT_TRUE(r.verify && r.verify->coverage);
  ASSERT_EQ(r.verify->coverage->libraries.size(), 1U);
  const record::plugin_coverage& c = r.verify->coverage->libraries.front();
  EXPECT_EQ(c.reason, "");
  EXPECT_GE(c.ran, 8);
  EXPECT_GE(c.missed, 1);
  // The tail that sums what is no multiple of eight, and no other line.
  std::ifstream source(std::string(SOURCE_DIR) + "/examples/k_tail/k_tail.cpp");
  std::string tail;
  int number = 1;
  for (std::string line; std::getline(source, line); ++number)
    if (line.find("the tail") != std::string::npos) tail = "k_tail.cpp:" + std::to_string(number);
  EXPECT_EQ(c.never, std::vector<std::string>{tail});
  EXPECT_NE(o.out.find("never ran: " + tail), std::string::npos) << o.out;
}

/// Within every bound, but not what it says of itself.
TEST_F(EndToEnd, AKernelThatDeclaresAnotherArithmeticFails) {
  const outcome o =
      plumb("verify --plugin '" + build() +
            "/verify/fingerprint/tests/planted_sums.so' 'conv2d.forward/planted_tree@cpu' --time 6s");
  EXPECT_EQ(o.code, 1) << o.out << o.err;
  EXPECT_NE(o.out.find("see `plumb fingerprint"), std::string::npos) << o.out;
}

TEST_F(EndToEnd, FiveBrokenKernelsAreCaughtMinimallyAndReplayed) {
  const std::string library = build() + "/examples/libbroken_conv.so";
  const outcome o = plumb("verify --plugin '" + library + "' 'conv2d.*' --time 12s --json record.json");
  EXPECT_EQ(o.code, 1) << o.out << o.err;
  const record::run r = record::load(folder_ / "record.json");
  ASSERT_TRUE(r.verify.has_value());
  ASSERT_EQ(r.verify->kernels.size(), 5U);
  sandbox_options options;
  options.plugins = {library};
  options.arenas = runner_arenas;
  options.worker = build() + "/plumb-worker";
  sandbox box(options);
  for (const record::kernel_result& k : r.verify->kernels) {
    EXPECT_TRUE(record::is_bad(k.verdict)) << k.name;
    ASSERT_FALSE(k.counterexamples.empty()) << k.name;
    const std::string& line = k.counterexamples.front().replay;
    const test_case smallest = parse_case(line);
    EXPECT_TRUE(examine(box, smallest, true).result.wrong.has_value()) << line;
    int steps = 0;
    for (const test_case& simpler : one_step_reductions(smallest)) {
      EXPECT_FALSE(examine(box, simpler, true).result.wrong.has_value()) << line << "\nstill fails as\n"
                                                                         << print(simpler);
      ++steps;
    }
    RecordProperty(k.name, steps);
    EXPECT_EQ(plumb("replay '" + line + "' --plugin '" + library + "'").code, 1) << line;
  }
}

TEST_F(EndToEnd, BadInputGetsOneSentence) {
  std::ofstream(folder_ / "cut.npy") << "\x93NUMPY";
  struct row {
    const char* arguments;
    int code;
    const char* says;
  };
  const row rows[] = {
      {"verify 'conv2d x=1x1x7x7 weight=1x1x3x3 stride=0'", 2, "stride=0"},
      {"verify 'conv9d x=1x1x7x7'", 2, "conv9d"},
      {"verify 'conv2d x=1x1x7x7 weight=1x1x3x3 strife=2'", 2, "strife"},
      {"verify 'conv2d x=1x1x7x7 weight=1x1x3x3 stride=3 fit=exact'", 2, "does not"},
      {"verify 'nothing.*'", 2, "nothing.*"},
      {"verify 'conv2d.*' --time never", 2, "never"},
      {"verify --plugin ./missing.so 'conv2d.*'", 2, "missing.so"},
      {"verify 'conv2d.forward/plain@cpu' --problems no_such_set", 2, "no_such_set"},
      {"gradcheck conv9d", 2, "conv9d"},
      {"jacobian 'linear x=64x4096 weight=4096x4096'", 2, "16 TiB"},
      {"eval 'relu x=4' --in x=cut.npy", 2, "cut.npy"},
      {"eval 'relu x=4' --in x=absent.npy", 2, "absent.npy"},
      {"replay 'half a line'", 2, "half a line"},
      {"report absent.json", 2, "absent.json"},
      {"frobnicate", 2, "frobnicate"},
      {"verify 'relu x=3' --report /dev/full", 3, "/dev/full"},
  };
  for (const row& r : rows) {
    const outcome o = plumb(r.arguments);
    EXPECT_EQ(o.code, r.code) << r.arguments << "\n" << o.out << o.err;
    EXPECT_NE(o.err.find(r.says), std::string::npos) << r.arguments << "\n" << o.err;
    EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << r.arguments << "\n" << o.err;
  }
}

TEST_F(EndToEnd, EvalReadsAndWritesNpy) {
  npy_array x;
  x.real = tensor<double>(shape{4}, {1, -2, 3, -1});
  write_npy(path("x.npy"), x);
  npy_array dy;
  dy.real = tensor<double>(shape{4}, {4, -1, 5, 9});
  write_npy(path("dy.npy"), dy);
  EXPECT_EQ(plumb("eval 'relu x=4' --in x=x.npy --out y=y.npy").code, 0);
  EXPECT_EQ(read_npy(path("y.npy")).real.values(), (std::vector<double>{1, 0, 3, 0}));
  EXPECT_EQ(plumb("eval 'relu x=4' --pass vjp --in x=x.npy --in dy=dy.npy --out dx=dx.npy").code, 0);
  EXPECT_EQ(read_npy(path("dx.npy")).real.values(), (std::vector<double>{4, 0, 5, 0}));
  EXPECT_EQ(plumb("judge 'relu x=4' --arithmetic exact --in x=x.npy --out y=y.npy").code, 0);
  EXPECT_EQ(plumb("judge 'relu x=4' --arithmetic exact --in x=x.npy --out y=x.npy").code, 1);
}

/// One element wrong, then one NaN, then zeros; and what a record says of it.
TEST_F(EndToEnd, JudgedTensorsHaveTheRecordAndThePagesOfAKernel) {
  const auto save = [&](const char* name, std::vector<double> values) {
    npy_array a;
    a.real = tensor<double>(shape{4}, std::move(values));
    write_npy(path(name), a);
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  save("x.npy", {1, -2, 3, -1});
  save("right.npy", {1, 0, 3, 0});
  save("wrong.npy", {1, 0, 3.25, 0});
  save("nan.npy", {1, nan, 3, 0});
  save("zeros.npy", {0, 0, 0, 0});
  const std::string judge = "judge 'relu x=4' --arithmetic exact --in x=x.npy --out y=";
  EXPECT_EQ(plumb(judge + "right.npy").code, 0);
  EXPECT_EQ(record::load(folder_ / ".plumb/judge.json").verify->kernels.front().verdict,
            record::verdict::pass);
  for (const char* bad : {"wrong.npy", "nan.npy", "zeros.npy"}) {
    const outcome o = plumb(judge + bad + " --json r.json --report r.html --markdown r.md --junit r.xml");
    EXPECT_EQ(o.code, 1) << bad;
    EXPECT_EQ(o.out.find("fail: y[i="), 0U) << o.out;
    const record::run r = record::load(folder_ / "r.json");
    ASSERT_TRUE(r.verify && r.verify->kernels.size() == 1) << bad;
    const record::kernel_result& k = r.verify->kernels.front();
    EXPECT_EQ(r.command, "judge");
    EXPECT_EQ(k.name, "relu.forward/dumped@npy");
    EXPECT_EQ(k.verdict, record::verdict::fail);
    EXPECT_EQ(k.elements, 4);
    ASSERT_EQ(k.counterexamples.size(), 1U) << bad;
    const record::counterexample& c = k.counterexamples.front();
    ASSERT_EQ(c.tensors.size(), 3U);
    EXPECT_EQ(c.tensors[1].marked.size(), bad == std::string("zeros.npy") ? 2U : 1U);
    EXPECT_TRUE(k.heat && k.ulps && c.wrong && c.replay.empty());
    for (const char* page : {"r.html", "r.md", "r.xml"}) {
      std::ifstream in(folder_ / page);
      const std::string text(std::istreambuf_iterator<char>(in), {});
      EXPECT_NE(text.find("relu.forward/dumped@npy"), std::string::npos) << page;
    }
  }
  EXPECT_EQ(record::load(folder_ / "r.json").verify->kernels.front().counterexamples.front().wrong->truth, 1);
  EXPECT_EQ(plumb("report r.json -o again").code, 0);
  EXPECT_TRUE(fs::exists(folder_ / "again/report.xml"));
}

/// Doubles are judged as doubles: what f32 would round away is an error of theirs. What the type said cannot hold is no
/// number of that kernel, and is not rounded in passing.
TEST_F(EndToEnd, JudgedTensorsKeepTheirFormat) {
  const auto save = [&](const char* name, std::vector<double> values) {
    npy_array a;
    a.type = dtype::f64;
    a.real = tensor<double>(shape{3}, std::move(values));
    write_npy(path(name), a);
  };
  save("x.npy", {0.1, -2, 3});
  save("right.npy", {0.1, 0, 3});
  save("near.npy", {0.1F, 0, 3});
  save("half.npy", {1, -2, 0.5});
  save("third.npy", {1, 0, 0.333251953125});  // of f16 and no number of bf16
  const std::string judge = "judge 'relu x=3' --arithmetic exact ";
  EXPECT_EQ(plumb(judge + "--dtype f64 --in x=x.npy --out y=right.npy").code, 0);
  EXPECT_EQ(plumb(judge + "--dtype f64 --in x=x.npy --out y=near.npy").code, 1);
  struct row {
    const char* arguments;
    const char* says;
  };
  const row rows[] = {
      {"--in x=x.npy --out y=right.npy", "x[i=0] is 0.1, no number of f32"},
      {"--in x=half.npy --out y=right.npy", "y[i=0] is 0.1, no number of f32"},
      {"--dtype bf16 --in x=half.npy --out y=third.npy", "y[i=2] is 0.333251953125, no number of bf16"},
      {"--dtype f33 --in x=half.npy --out y=half.npy", "--dtype f33"},
      {"--dtype i64 --in x=half.npy --out y=half.npy", "--dtype i64"}};
  for (const row& r : rows) {
    const outcome o = plumb(judge + r.arguments);
    EXPECT_EQ(o.code, 2) << r.arguments << "\n" << o.out << o.err;
    EXPECT_NE(o.err.find(r.says), std::string::npos) << r.arguments << "\n" << o.err;
    EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << o.err;
  }
  EXPECT_EQ(plumb(judge + "--dtype f16 --in x=half.npy --out y=third.npy").code, 1) << "not the relu of it";
}

/// A path mistyped is found before anything is run: all of these would take seconds or minutes.
TEST_F(EndToEnd, WhereNothingCanBeWrittenIsFoundBeforeTheRun) {
  std::ofstream(folder_ / "file") << "no folder";
  npy_array x;
  x.real = tensor<double>(shape{4}, {1, 0, 3, 0});
  write_npy(path("x.npy"), x);
  const std::string line =
      "'conv2d.forward/plain@cpu | conv2d x=1x1x3x3 weight=1x1x2x2 | f32 nchw lattice seed=7'";
  struct row {
    std::string command;
    std::vector<std::string> options = {"--json", "--report", "--markdown", "--junit"};
  };
  const row rows[] = {{"verify 'conv2d.*' --time 20m"},
                      {"gradcheck '*'"},
                      {"bench 'conv2d.forward/*' --problems resnet50 --time 20m"},
                      {"bench 'conv2d.forward/auto*' --problems vgg16 --oracle"},
                      {"audit --time 20m"},
                      {"audit --honest --time 20m"},
                      {"fingerprint '*'"},
                      {"sweep 'sigmoid.forward/*'"},
                      {"judge 'relu x=4' --in x=x.npy --out y=x.npy"},
                      {"replay " + line},
                      {"replay " + line, {"--emit"}},
                      {"demo", {"--report"}},
                      {"eval 'relu x=4' --in x=x.npy", {"--out y="}},
                      {"jacobian 'conv2d x=1x3x64x64 weight=8x3x3x3' --sparse", {"--out"}}};
  const auto start = std::chrono::steady_clock::now();
  for (const row& r : rows)
    for (const std::string& option : r.options)
      for (const char* place : {"nowhere/out", "file/out"}) {
        if (r.command == "demo" && place[0] == 'n') continue;  // it makes its folder
        const std::string space = option.ends_with('=') ? "" : " ";
        const outcome o = plumb(r.command + " " + option + space + place);
        EXPECT_EQ(o.code, 3) << r.command << option << "\n" << o.out << o.err;
        EXPECT_EQ(o.err.find(std::string("plumb: cannot write ") + place), 0U) << r.command << "\n" << o.err;
        EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << o.err;
      }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  EXPECT_LT(took.count(), 120) << "nothing was run";
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 4) << "file, x.npy, .plumb and err.txt";
}

/// A disk that is full only at the end of the run.
TEST_F(EndToEnd, AFullDiskLosesNothingElse) {
  const outcome json = plumb("verify 'relu x=3' --quiet --json /dev/full --markdown kept.md");
  EXPECT_EQ(json.code, 3);
  EXPECT_NE(json.out.find("relu.forward/"), std::string::npos) << "the summary that --quiet kept back";
  EXPECT_NE(json.err.find("No space left on device; the record is in .plumb/verify.json"), std::string::npos)
      << json.err;
  EXPECT_TRUE(record::load(folder_ / ".plumb/verify.json").verify);
  EXPECT_TRUE(fs::exists(folder_ / "kept.md"));
  const outcome page = plumb("verify 'relu x=3' --report /dev/full --json kept.json --junit kept.xml");
  EXPECT_EQ(page.code, 3);
  EXPECT_EQ(std::count(page.err.begin(), page.err.end(), '\n'), 1) << page.err;
  EXPECT_TRUE(fs::exists(folder_ / "kept.json") && fs::exists(folder_ / "kept.xml"));
  const outcome sweep = plumb("sweep 'relu.forward/plain@cpu' --range 3f800000:3f80ffff --json /dev/full");
  EXPECT_EQ(sweep.code, 3);
  EXPECT_NE(sweep.out.find("relu.forward/plain@cpu"), std::string::npos) << sweep.out;
}

TEST_F(EndToEnd, ANetworkNamesTheFirstLayerThatDeparts) {
  const std::string network =
      "gradcheck lenet5 --plugin '" + build() + "/examples/libbroken_conv.so' --kernels ";
  const outcome broken = plumb(network + "'conv2d.forward/vector_tail@broken'");
  EXPECT_EQ(broken.code, 1) << broken.out << broken.err;
  EXPECT_NE(broken.out.find("first to depart: conv1 (forward by conv2d.forward/vector_tail@broken)"),
            std::string::npos)
      << broken.out;
  // No layer of this network has groups, so that this bug does not show in it.
  const outcome unharmed = plumb(network + "'conv2d.forward/group_offset@broken'");
  EXPECT_EQ(unharmed.code, 0) << unharmed.out << unharmed.err;
  EXPECT_EQ(unharmed.out.find("depart"), std::string::npos) << unharmed.out;
}

TEST_F(EndToEnd, GradientsAgreeExactlyOrToFiftyDigits) {
  const outcome o = plumb(
      "gradcheck 'conv2d x=1x2x4x5 weight=2x1x2x3 bias=2 pad=1,0,0,2 groups=2' 'sigmoid x=5' --kernels ''");
  EXPECT_EQ(o.code, 0) << o.out << o.err;
  EXPECT_NE(o.out.find("exact"), std::string::npos) << o.out;
}

TEST_F(EndToEnd, AReproducerCompilesByItselfAndFails) {
  const std::string library = build() + "/examples/libbroken_conv.so";
  const std::string line =
      "conv2d.forward/unequal_sides@broken | conv2d x=1x1x1x1 weight=1x1x1x1 pad=0,0,1,0 | f32 nchw given "
      "x@0=1 "
      "weight@0=1 align=end threads=1 poison=nan";
  EXPECT_EQ(plumb("replay '" + line + "' --plugin '" + library + "' --emit repro.cpp").code, 1);
  const auto shell = [&](const std::string& command) {
    const int status = std::system(("cd '" + folder_.string() + "' && " + command).c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  };
  ASSERT_EQ(shell("g++ -std=c++17 -Wall -Wextra -Werror repro.cpp -ldl -o repro"), 0);
  EXPECT_EQ(shell("./repro >out.txt"), 1);
  EXPECT_EQ(shell("grep -q 'y.n=0 k=0 p=0 q=0. is 1 in call 1, expected 0.*WRONG' out.txt"), 0);
  EXPECT_EQ(shell("./repro nothing.so 2>err.txt"), 2);
  // A kernel of ours through the library that exports them: it is right, so the program says so.
  EXPECT_EQ(
      plumb("replay 'conv2d.forward/direct@scalar | conv2d x=2x3x5x7 weight=4x3x3x3 pad=1 | f32 nhwc lattice "
            "seed=4' --emit right.cpp")
          .code,
      0);
  ASSERT_EQ(shell("g++ -std=c++17 right.cpp -ldl -o right"), 0);
  EXPECT_EQ(shell("./right >out.txt"), 0);
}

/// A kernel with a memory is right when it is called once: the file has to make the calls before.
TEST_F(EndToEnd, AReproducerCarriesTheCallsThatAFailureNeeds) {
  const std::string library = build() + "/tests/planted_state.so";
  const auto shell = [&](const std::string& command) {
    const int status = std::system(("cd '" + folder_.string() + "' && " + command).c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  };
  struct row {
    const char* kernel;
    bool earlier;  ///< with other data; else the same call again and again
  };
  for (const row& r : {row{"remembers_size", true}, row{"remembers_sample", true}, row{"tires", false}}) {
    const std::string line = std::string("conv2d.forward/") + r.kernel +
                             "@planted | conv2d x=1x2x3x4 weight=2x2x2x2 | f32 nchw lattice seed=5";
    const outcome o = plumb("replay '" + line + "' --plugin '" + library + "' --emit repro.cpp");
    EXPECT_EQ(o.code, 1) << r.kernel << o.out << o.err;
    EXPECT_EQ(o.out.find("it fails after other calls only") != std::string::npos, r.earlier) << o.out;
    EXPECT_EQ(o.out.find("did not fail again"), std::string::npos) << o.out;
    ASSERT_EQ(shell("g++ -std=c++17 -Wall -Wextra -Werror repro.cpp -ldl -o repro"), 0) << r.kernel;
    EXPECT_EQ(shell("./repro >out.txt"), 1) << r.kernel;
    EXPECT_EQ(shell("grep -q 'in call [0-9]*, expected .*WRONG' out.txt"), 0) << r.kernel;
    if (r.kernel != std::string("remembers_sample")) continue;
    // Without them the same file finds nothing.
    ASSERT_EQ(shell("sed -e '/^std::vector<earlier_call> earlier/,/^};/c std::vector<earlier_call> earlier;' "
                    "-e 's/^const int repeats = .*/const int repeats = 2;/' repro.cpp >alone.cpp"),
              0);
    ASSERT_EQ(shell("g++ -std=c++17 alone.cpp -ldl -o alone"), 0);
    EXPECT_EQ(shell("./alone >out.txt"), 0) << r.kernel;
  }
}

TEST_F(EndToEnd, CapturedDataAreJudgedBesideTheGenerated) {
  const std::string text = "conv2d x=1x2x5x6 weight=3x2x3x2 stride=2x1 pad=1";
  tensor<double> x(shape{1, 2, 5, 6}), weight(shape{3, 2, 3, 2});
  for (index_t i = 0; i < x.size(); ++i) x[i] = 0.1 * static_cast<double>(i % 7) - 0.25;
  for (index_t i = 0; i < weight.size(); ++i) weight[i] = 0.3 * static_cast<double>(i % 5) - 0.7;
  write_npz(folder_ / "step7.npz", {{"x", {dtype::f32, x, {}}}, {"weight", {dtype::f32, weight, {}}}});
  const std::string library = build() + "/examples/libbroken_conv.so";
  const outcome good =
      plumb("verify 'conv2d.forward/plain@cpu' --problems '" + text + "' --in step7.npz --json r.json");
  EXPECT_EQ(good.code, 0) << good.out << good.err;
  const record::run r = record::load(folder_ / "r.json");
  const auto& regimes = r.verify->kernels.front().regimes;
  EXPECT_TRUE(
      std::ranges::any_of(regimes, [](const auto& t) { return t.regime == "captured" && t.cases == 1; }));
  std::ofstream(folder_ / "step7.txt") << "conv2d x=1x2x5x6 weight=3x2x3x2 stride=2x1 pad=0,0,1,0\n";
  const outcome bad = plumb("verify 'conv2d.forward/unequal_sides*' --plugin '" + library +
                            "' --problems 'conv2d x=1x1x3x3 weight=1x1x2x2' --in . --json b.json");
  EXPECT_EQ(bad.code, 1) << bad.out << bad.err;
  const record::run b = record::load(folder_ / "b.json");
  ASSERT_FALSE(b.verify->kernels.front().counterexamples.empty());
  EXPECT_TRUE(b.verify->kernels.front().counterexamples.front().minimal);
  const outcome none = plumb("verify 'relu.forward/plain@cpu' --problems 'relu x=3' --in step7.npz");
  EXPECT_EQ(none.code, 2) << none.out;
  EXPECT_NE(none.err.find("step7"), std::string::npos) << none.err;
}

}  // namespace
}  // namespace plumb
