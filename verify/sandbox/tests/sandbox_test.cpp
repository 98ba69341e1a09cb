// Whatever a kernel does, the sandbox turns it into a result of that kernel and goes on.
#include "verify/sandbox/sandbox.hpp"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "verify/sandbox/tests/harness.hpp"

namespace plumb {
namespace {

using where = crash_site::where;

/// The sandboxes are shared by the tests: starting one costs more than most tests.
sandbox& toys() {
  static sandbox box(test_options());
  return box;
}
sandbox& hazards() {
  static sandbox box(test_options({"hazards"}));
  return box;
}

run_result run_hazard(const std::string& name, placement at = {}) {
  arena& a = hazards().at(0);
  a.clear();
  return hazards().run(a, {toy_run(name + "@bad", place_x(a, 5, at), place_y(a, 5, poison::nan, at))}).at(0);
}

const kernel_info& info_of(const sandbox& box, const std::string& name) {
  for (const kernel_info& k : box.kernels())
    if (k.name == name) return k;
  throw std::runtime_error("no kernel " + name);
}

// ---- honest kernels ----

TEST(sandbox, copies_from_either_end_of_the_slots) {
  arena& a = toys().at(0);
  for (const bool at_end : {true, false})
    for (const int skew : {0, 1, 3}) {
      a.clear();
      const placement here{at_end, skew};
      const placed_tensor x = place_x(a, 5, here);
      const placed_tensor y = place_y(a, 5, poison::large, here);
      EXPECT_EQ(toys().run(a, {toy_run("plain@test", x, y)})[0].status, run_status::ok);
      expect_copied(y);
      EXPECT_FALSE(find_damage(x));
      EXPECT_FALSE(find_damage(y));
    }
}

TEST(sandbox, passes_strides_negative_and_broadcast_ones_included) {
  arena& a = toys().at(0);
  a.clear();
  placed_tensor x = a.place_read("x", dtype::f32, shape{2, 3}, shape{-4, 0});
  x.here.view<float>()(0, 0) = 5;
  x.here.view<float>()(1, 0) = 7;
  const placed_tensor y = a.place_written("y", dtype::f32, shape{2, 3}, shape{1, -3}, poison::nan);
  ASSERT_EQ(toys().run(a, {toy_run("plain@test", x, y)})[0].status, run_status::ok);
  const auto out = y.here.view<const float>();
  for (index_t j = 0; j < 3; ++j) {
    EXPECT_EQ(out(0, j), 5);
    EXPECT_EQ(out(1, j), 7);
  }
  EXPECT_FALSE(find_damage(y));
}

TEST(sandbox, empty_tensors_and_left_out_tensors_cross) {
  arena& a = toys().at(0);
  a.clear();
  kernel_run run = toy_run("plain@test", place_x(a, 0), place_y(a, 0));
  run.reads.emplace_back();
  EXPECT_EQ(toys().run(a, {run})[0].status, run_status::ok);
}

TEST(sandbox, two_arenas_under_way_at_once) {
  std::vector<placed_tensor> ys;
  for (int round = 0; round < 3; ++round) {
    ys.clear();
    for (int i = 0; i < 2; ++i) {
      arena& a = toys().at(i);
      a.clear();
      ys.push_back(place_y(a, 100 + i));
      toys().submit(a, std::vector<kernel_run>(20, toy_run("team@test", place_x(a, 100 + i), ys.back())));
    }
    EXPECT_THROW(toys().at(0).clear(), std::logic_error);
    EXPECT_THROW(toys().submit(toys().at(0), {}), std::logic_error);
    for (int i = 1; i >= 0; --i) {  // not in the order of submission
      for (const run_result& r : toys().wait(toys().at(i))) EXPECT_EQ(r.status, run_status::ok) << r.text;
      expect_copied(ys[static_cast<std::size_t>(i)]);
    }
  }
}

TEST(sandbox, hundreds_of_megabytes_pass_and_are_given_back) {
  arena& a = toys().at(0);
  a.clear();
  const index_t n = 35'000'000;  // 140 MB each
  const placed_tensor x = a.place_read("x", dtype::f32, shape{n}, shape{1});
  const placed_tensor y = place_y(a, n);
  x.here.view<float>()[n - 1] = 3;
  kernel_run run = toy_run("team@test", x, y);
  run.threads = 2;
  ASSERT_EQ(toys().run(a, {run})[0].status, run_status::ok);
  EXPECT_EQ(y.here.view<float>()[n - 1], 3);
  a.clear();
  const std::string path = "/proc/self/fd/" + std::to_string(a.descriptor());
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_LT(status.st_blocks * 512, 20'000'000);
}

TEST(sandbox, workspace_is_poisoned_aligned_and_watched) {
  arena& a = toys().at(0);
  for (const bool at_end : {true, false}) {
    a.clear();
    const placed_tensor y = place_y(a, 5);
    kernel_run good = toy_run("scratch@test", place_x(a, 5), y);
    good.workspace.at_end = at_end;
    kernel_run bad = good;
    bad.kernel = "copy.forward/scratch_overrun@test";
    const auto results = toys().run(a, {good, bad});
    EXPECT_EQ(results[0].status, run_status::ok);
    EXPECT_EQ(results[0].workspace_bytes, 20U);
    EXPECT_EQ(results[0].implementation, "scratch");
    EXPECT_EQ(results[0].workspace_damage, "");
    // Five floats do not fill 64 bytes, so the overrun hits the slack even against the guard page.
    EXPECT_EQ(results[1].workspace_damage, "wrote 1 byte past the end of the workspace");
    expect_copied(y);
  }
  a.clear();
  const placed_tensor y = place_y(a, 16);
  const run_result r = toys().run(a, {toy_run("scratch_overrun@test", place_x(a, 16), y)})[0];
  EXPECT_EQ(r.status, run_status::crashed);
  EXPECT_EQ(r.text, "SIGSEGV: wrote 1 byte past the end of `workspace`");
}

TEST(sandbox, plans_are_made_afresh_reused_or_kept_as_asked) {
  arena& a = toys().at(0);
  a.clear();
  std::vector<kernel_run> runs;
  std::vector<placed_tensor> ys;
  const auto add = [&](bool reuse, bool prepare, bool keep) {
    ys.push_back(place_y(a, 2));
    kernel_run run = toy_run("counting@test", place_x(a, 2), ys.back());
    run.reuse_plan = reuse;
    run.prepare = prepare;
    run.keep_plan = keep;
    runs.push_back(run);
  };
  const auto seen = [&](std::size_t i) {
    const auto y = ys[i].here.view<const float>();
    return std::pair(y[0], y[1]);  // how often prepared, runs before this one
  };
  add(false, true, false);
  add(false, true, false);
  add(true, false, false);
  add(true, true, true);
  toys().run(a, runs);
  EXPECT_EQ(seen(0), std::pair(1.F, 0.F));
  EXPECT_EQ(seen(1), std::pair(1.F, 0.F));
  EXPECT_EQ(seen(2), std::pair(1.F, 1.F));
  EXPECT_EQ(seen(3), std::pair(2.F, 2.F));
  for (const auto& expected : {std::pair(2.F, 3.F), std::pair(1.F, 0.F)}) {  // kept once, then no more
    runs.clear();
    ys.clear();
    a.clear();
    add(true, false, false);
    toys().run(a, runs);
    EXPECT_EQ(seen(0), expected);
  }
}

TEST(sandbox, declined_failed_and_unknown_come_with_the_reason) {
  arena& a = toys().at(0);
  a.clear();
  const placed_tensor x = place_x(a, 5);
  const placed_tensor y = place_y(a, 5);
  kernel_run unknown = toy_run("plain@test", x, y);
  unknown.resolved += " dilation=2";
  kernel_run type = toy_run("plain@test", x, y);
  type.type = dtype::f64;
  kernel_run query = toy_run("scratch@test", x, y);
  query.query = true;
  query.reads.clear();
  query.writes.clear();
  const auto r = toys().run(a, {unknown, type, toy_run("described@test", x, y), toy_run("throws@test", x, y),
                                toy_run("missing@test", x, y), query});
  EXPECT_EQ(r[0].status, run_status::declined);
  EXPECT_EQ(r[0].text, "does not know `dilation`");
  EXPECT_EQ(r[1].status, run_status::declined);
  EXPECT_EQ(r[1].text, "does not take f64");
  EXPECT_EQ(r[2].status, run_status::declined);
  EXPECT_EQ(r[2].text, "no such device");
  EXPECT_EQ(r[3].status, run_status::failed);
  EXPECT_EQ(r[3].text, "no plan today");
  EXPECT_EQ(r[4].status, run_status::failed);
  EXPECT_EQ(r[5].status, run_status::ok);
  EXPECT_EQ(r[5].workspace_bytes, 20U);
}

TEST(sandbox, descriptors_survive_the_journey) {
  const kernel_info& k = info_of(toys(), "copy.forward/described@test");
  EXPECT_EQ(k.layer, "copy");
  EXPECT_EQ(k.pass, "forward");
  EXPECT_EQ(k.types, (std::vector{dtype::f32, dtype::bf16}));
  EXPECT_EQ(k.layouts, std::vector{layout::nhwc});
  EXPECT_EQ(k.arithmetic, "bf16_f32");
  EXPECT_EQ(k.accuracy.ulps, 1.5);
  EXPECT_EQ(k.determinism, determinism::repeatable);
  EXPECT_FALSE(k.any_strides);
  EXPECT_TRUE(k.peer);
  EXPECT_EQ(k.unavailable, "no such device");
  EXPECT_EQ(k.device, "cpu");
  EXPECT_TRUE(info_of(toys(), "copy.forward/plain@test").any_strides);
  EXPECT_EQ(info_of(hazards(), "copy.forward/honest@bad").plugin, test_options({"hazards"}).plugins[0]);
}

// ---- misdeeds ----

struct misdeed {
  const char* name;
  run_status status;
  const char* text;
};

class misdeeds : public testing::TestWithParam<misdeed> {};

TEST_P(misdeeds, end_as_a_result_and_the_rest_of_the_batch_goes_on) {
  arena& a = hazards().at(0);
  a.clear();
  const placed_tensor x = place_x(a, 5);
  const placed_tensor before = place_y(a, 5);
  const placed_tensor y = place_y(a, 5);
  const placed_tensor after = place_y(a, 5);
  const auto results = hazards().run(
      a, {toy_run("honest@bad", x, before), toy_run(std::string(GetParam().name) + "@bad", x, y),
          toy_run("honest@bad", x, after)});
  EXPECT_EQ(results[0].status, run_status::ok);
  EXPECT_EQ(name_of(results[1].status), name_of(GetParam().status)) << results[1].text;
  EXPECT_EQ(results[1].text, GetParam().text);
  EXPECT_EQ(results[2].status, run_status::ok) << results[2].text;
  expect_copied(before);
  expect_copied(after);
}

INSTANTIATE_TEST_SUITE_P(
    each, misdeeds,
    testing::Values(
        misdeed{"null", run_status::crashed, "SIGSEGV: wrote through a null pointer"},
        misdeed{"wild", run_status::crashed,
                "SIGSEGV: wrote memory that is not its own (address 0x123456789000)"},
        misdeed{"not_canonical", run_status::crashed, "SIGSEGV: used an address that no memory can have"},
        misdeed{"reads_past_the_end", run_status::crashed, "SIGSEGV: read 9 bytes past the end of `x`"},
        misdeed{"writes_past_the_end", run_status::crashed, "SIGSEGV: wrote 1 byte past the end of `y`"},
        misdeed{"writes_its_input", run_status::crashed, "SIGSEGV: wrote to its input `x` (byte 4)"},
        misdeed{"aborts", run_status::crashed, "SIGABRT: aborted"},
        misdeed{"asserts", run_status::crashed, "SIGABRT: aborted, last printing `the sky must not fall`"},
        misdeed{"throws", run_status::crashed, "SIGABRT: aborted, last printing `what():  thrown in run`"},
        misdeed{"exits", run_status::crashed, "ended the process with exit status 3"},
        misdeed{"divides_by_zero", run_status::crashed, "SIGFPE: divided an integer by zero"},
        misdeed{"illegal", run_status::crashed,
                "SIGILL: executed an instruction that this processor does not know, or a trap"},
        misdeed{"overflows_the_stack", run_status::crashed, "SIGSEGV: overflowed its stack"},
        misdeed{"crashes_in_a_team", run_status::crashed, "SIGSEGV: wrote 1 byte past the end of `y`"},
        misdeed{"prints", run_status::ok, ""}, misdeed{"prints_without_end", run_status::ok, ""}),
    [](const auto& each) { return std::string(each.param.name); });

TEST(sandbox, accesses_before_the_start_are_named) {
  const placement at_start{false, 0};
  EXPECT_EQ(run_hazard("reads_before_the_start", at_start).text,
            "SIGSEGV: read 4 bytes before the start of `x`");
  const run_result r = run_hazard("writes_before_the_start", at_start);
  EXPECT_EQ(r.text, "SIGSEGV: wrote 4 bytes before the start of `y`");
  EXPECT_EQ(r.site.kind, where::before_start);
  EXPECT_EQ(r.site.tensor, "y");
  EXPECT_EQ(r.site.bytes, 4);
  EXPECT_TRUE(r.site.write);
  EXPECT_EQ(r.signal, "SIGSEGV");
}

TEST(sandbox, the_function_that_crashed_is_named_if_it_was_not_run) {
  EXPECT_EQ(run_hazard("crashes_in_open").text, "SIGABRT: aborted, in make_plan");
  EXPECT_EQ(run_hazard("crashes_in_supports").text, "SIGABRT: aborted, in supports");
}

TEST(sandbox, canaries_catch_what_the_guard_page_on_the_other_side_cannot) {
  arena& a = hazards().at(0);
  a.clear();
  const placed_tensor low = place_y(a, 5, poison::nan, {false, 0});
  const placed_tensor high = place_y(a, 5, poison::nan, {true, 0});
  const auto results = hazards().run(a, {toy_run("writes_past_the_end@bad", place_x(a, 5), low),
                                         toy_run("writes_before_the_start@bad", place_x(a, 5), high)});
  EXPECT_EQ(results[0].status, run_status::ok);
  EXPECT_EQ(results[1].status, run_status::ok);
  ASSERT_TRUE(find_damage(low));
  EXPECT_EQ(find_damage(low)->describe(), "wrote 1 byte past the end of `y`");
  ASSERT_TRUE(find_damage(high));
  EXPECT_EQ(find_damage(high)->describe(), "wrote 1 byte before the start of `y`");
}

TEST(sandbox, unwritten_elements_show_over_two_poisons) {
  arena& a = hazards().at(0);
  a.clear();
  const placed_tensor x = place_x(a, 5);
  const placed_tensor one = place_y(a, 5, poison::nan);
  const placed_tensor two = place_y(a, 5, poison::large);
  hazards().run(a, {toy_run("writes_half@bad", x, one), toy_run("writes_half@bad", x, two)});
  EXPECT_EQ(find_unwritten(one, two).count, 2);
  EXPECT_EQ(find_unwritten(one, two).first, 1);
}

TEST(sandbox, a_hang_is_a_timeout_of_that_run_alone) {
  sandbox_options options = test_options({"hazards"});
  options.time_limit = std::chrono::seconds(1);
  sandbox box(options);
  arena& a = box.at(0);
  const placed_tensor y = place_y(a, 5);
  const placed_tensor x = place_x(a, 5);
  box.submit(a, {toy_run("hangs@bad", x, y), toy_run("honest@bad", x, y)});
  arena& b = box.at(1);
  const placed_tensor y2 = place_y(b, 5);
  box.submit(b, {toy_run("honest@bad", place_x(b, 5), y2)});
  const auto results = box.wait(a);
  EXPECT_EQ(results[0].status, run_status::timeout);
  EXPECT_EQ(results[0].text, "did not finish within 1 s");
  EXPECT_EQ(results[1].status, run_status::ok);
  EXPECT_EQ(box.wait(b)[0].status, run_status::ok);
  expect_copied(y);
  expect_copied(y2);
  EXPECT_EQ(box.counters().timeouts, 1);
}

/// A program that somebody kills at its first `deaths` starts, and then is the worker.
std::string mortal_worker(const std::filesystem::path& folder, const std::string& worker, int deaths) {
  std::filesystem::create_directories(folder);
  const std::string program = (folder / "worker").string(), tally = (folder / "starts").string();
  std::ofstream(program) << "#!/bin/sh\necho >>'" << tally << "'\n[ $(wc -l <'" << tally << "') -gt "
                         << deaths << " ] || kill -9 $$\nexec '" << worker << "' \"$@\"\n";
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  return program;
}

TEST(sandbox, workers_killed_before_they_greet_are_started_again) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("plumb_mortal_" + std::to_string(::getpid()));
  sandbox_options options = test_options();
  const std::string worker = options.worker;
  options.worker = mortal_worker(folder / "three", worker, 3);
  sandbox box(options);
  arena& a = box.at(0);
  const placed_tensor y = place_y(a, 5);
  EXPECT_EQ(box.run(a, {toy_run("plain@test", place_x(a, 5), y)})[0].status, run_status::ok);
  expect_copied(y);

  options.worker = mortal_worker(folder / "always", worker, 1000);
  try {
    sandbox never(options);
    FAIL() << "there is no worker";
  } catch (const sandbox_error& e) {
    EXPECT_NE(std::string(e.what()).find("killed from outside"), std::string::npos) << e.what();
  }
  std::filesystem::remove_all(folder);
}

/// Processes that want the processor on which this thread is, and the thread kept on it; until the end of the scope.
class crowd {
 public:
  explicit crowd(std::size_t others) {
    ::sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(::sched_getcpu(), &here);
    ::sched_setaffinity(0, sizeof here, &here);
    while (others_.size() < others) {
      const pid_t other = ::fork();
      while (other == 0) {
      }
      others_.push_back(other);
    }
  }
  crowd(const crowd&) = delete;
  crowd& operator=(const crowd&) = delete;
  ~crowd() {
    for (const pid_t other : others_) {
      ::kill(other, SIGKILL);
      ::waitpid(other, nullptr, 0);
    }
    ::sched_setaffinity(0, sizeof before_, &before_);
  }

 private:
  cpu_set_t before_{};
  std::vector<pid_t> others_;
};

/// Three tenths of a second of work take two seconds there: late, but no hang.
TEST(sandbox, time_without_a_processor_is_not_counted) {
  if (!std::filesystem::exists("/proc/self/schedstat")) GTEST_SKIP() << "this system does not count it";
  const crowd others(6);
  sandbox_options options = test_options({"hazards"});
  options.time_limit = std::chrono::milliseconds(800);
  sandbox box(options);
  arena& a = box.at(0);
  const placed_tensor y = place_y(a, 5);
  box.submit(a, {toy_run("works_long@bad", place_x(a, 5), y)});
  const auto results = box.wait(a);
  EXPECT_EQ(results[0].status, run_status::ok) << results[0].text;
  EXPECT_GT(results[0].seconds, 0.8) << "the others did not get in its way";
  expect_copied(y);
}

TEST(sandbox, a_changed_floating_point_environment_is_reported_and_restored) {
  EXPECT_EQ(run_hazard("flushes_to_zero").floating_point,
            "turned flush-to-zero on, turned denormals-are-zero on");
  EXPECT_EQ(run_hazard("rounds_up").floating_point, "changed the rounding mode");
  EXPECT_EQ(run_hazard("honest").floating_point, "");
}

TEST(sandbox, crashes_between_calls_are_strays_named_after_the_last_kernel) {
  hazards().take_stray_crashes();
  EXPECT_EQ(run_hazard("crashes_later").status, run_status::ok);
  ::usleep(500000);
  EXPECT_EQ(run_hazard("honest").status, run_status::ok);
  std::vector<stray_crash> strays = hazards().take_stray_crashes();
  ASSERT_EQ(strays.size(), 1U);
  EXPECT_EQ(strays[0].kernel, "copy.forward/crashes_later@bad");
  EXPECT_EQ(strays[0].text, "SIGABRT: aborted, outside every call");

  EXPECT_EQ(run_hazard("closes_everything").status, run_status::ok);
  EXPECT_EQ(run_hazard("honest").status, run_status::ok);
  strays = hazards().take_stray_crashes();
  ASSERT_EQ(strays.size(), 1U);
  EXPECT_EQ(strays[0].kernel, "copy.forward/closes_everything@bad");
}

TEST(sandbox, a_crash_while_a_plan_is_released_belongs_to_its_last_run) {
  arena& a = toys().at(0);
  a.clear();
  const placed_tensor x = place_x(a, 5);
  const placed_tensor y = place_y(a, 5);
  const auto results = toys().run(a, {toy_run("dies_when_released@test", x, y), toy_run("plain@test", x, y)});
  EXPECT_EQ(results[0].status, run_status::crashed);
  EXPECT_EQ(results[0].text, "ended the process with exit status 9, while its plan was released");
  EXPECT_EQ(results[1].status, run_status::ok);
}

TEST(sandbox, says_whether_another_kernel_ran_before_in_the_same_process) {
  toys().restart();
  arena& a = toys().at(0);
  a.clear();
  const placed_tensor x = place_x(a, 5);
  const placed_tensor y = place_y(a, 5);
  const auto results =
      toys().run(a, {toy_run("plain@test", x, y), toy_run("plain@test", x, y), toy_run("team@test", x, y)});
  EXPECT_TRUE(results[0].first_in_process);
  EXPECT_TRUE(results[1].first_in_process);
  EXPECT_FALSE(results[2].first_in_process);
}

TEST(sandbox, waits_passively_unless_it_is_told_to_leave_that_alone) {
  ::unsetenv("OMP_WAIT_POLICY");
  const auto told = [](std::vector<std::pair<std::string, std::string>> environment) {
    sandbox_options options = test_options();
    options.environment = std::move(environment);
    sandbox box(options);
    arena& a = box.at(0);
    const placed_tensor y = place_y(a, 1);
    EXPECT_EQ(box.run(a, {toy_run("waiting@test", place_x(a, 1), y)})[0].status, run_status::ok);
    return y.here.view<float>()[0];
  };
  EXPECT_EQ(told({}), 1);
  EXPECT_EQ(told({{"OMP_WAIT_POLICY", ""}}), 0) << "as this process has it";
  EXPECT_EQ(told({{"OMP_WAIT_POLICY", "active"}}), 0);
}

// ---- plugins with kernels for a device, which lies in ordinary memory here ----

TEST(plugins, get_device_pointers_and_a_stream) {
  sandbox box(test_options({"on_device"}));
  EXPECT_EQ(info_of(box, "copy.forward/there@cuda").device, "cuda");
  EXPECT_EQ(info_of(box, "copy.forward/there@cuda").unavailable, "");
  arena& a = box.at(0);
  a.clear();
  const placed_tensor x = place_x(a, 5), y = place_y(a, 5);
  const auto run = [&](const char* name) { return box.run(a, {toy_run(name, x, y)})[0]; };
  const run_result right = run("there@cuda");
  EXPECT_EQ(right.status, run_status::ok) << right.text;
  for (index_t i = 0; i < 5; ++i) EXPECT_EQ(y.here.view<float>()[i], x.here.view<float>()[i]);
  const run_result refused = run("refused@cuda"), beyond = run("past_the_end@cuda");
  EXPECT_EQ(refused.status, run_status::failed);
  EXPECT_EQ(refused.text, "run returned 700");
  EXPECT_EQ(beyond.status, run_status::failed);
  EXPECT_EQ(beyond.text, "wrote 1 byte past the end of output 0 on the device");
}

// ---- plugins that cannot be loaded ----

void expect_refusal(const std::string& path, int code, const std::string& sentence) {
  sandbox_options options = test_options();
  options.plugins = {path};
  try {
    sandbox box(options);
    FAIL() << path << " was loaded";
  } catch (const plugin_error& error) {
    EXPECT_EQ(error.exit_code, code);
    EXPECT_EQ(std::string(error.what()), sentence);
  }
}

TEST(plugins, refusals_name_the_file_and_what_was_expected) {
  const std::string dir = own_directory();
  expect_refusal("./missing.so", 2, "cannot read plugin `./missing.so`: No such file or directory");
  expect_refusal(dir, 2, "plugin `" + dir + "` is not a file but a directory or device");
  const std::string text = (std::filesystem::temp_directory_path() / "plumb_text_plugin.so").string();
  std::ofstream(text) << "this is no shared library\n";
  expect_refusal(text, 2, "plugin `" + text + "` cannot be loaded as a shared library: file too short");
  std::ofstream(text) << std::string(4096, 'x');
  expect_refusal(text, 2, "plugin `" + text + "` cannot be loaded as a shared library: invalid ELF header");
  std::filesystem::remove(text);
  expect_refusal(
      dir + "/wrong_version.so", 3,
      "plugin `" + dir +
          "/wrong_version.so` was built for version 7 of the plugin ABI; this plumb speaks version 1");
  expect_refusal(
      dir + "/not_a_plugin.so", 2,
      "`" + dir + "/not_a_plugin.so` is not a Plumb plugin: it exports no function `plumb_abi_version`");
  expect_refusal(dir + "/no_kernels.so", 2, "plugin `" + dir + "/no_kernels.so` holds no kernel");
  expect_refusal(dir + "/bad_name.so", 2,
                 "plugin `" + dir +
                     "/bad_name.so` is malformed: its kernel name `my_conv` is not of the form "
                     "`layer.pass/algorithm@target`");
  expect_refusal(
      dir + "/bad_device.so", 2,
      "plugin `" + dir + "/bad_device.so` is malformed: `tpu` is not a device; expected `cpu` or `cuda`");
  expect_refusal(
      dir + "/crash_at_load.so", 2,
      "plugin `" + dir + "/crash_at_load.so` could not be loaded: SIGSEGV: read through a null pointer");
}

TEST(plugins, a_library_built_with_fast_math_is_found_out_when_it_is_loaded) {
  sandbox box(test_options({"fast_math_at_load", "hazards"}));
  EXPECT_EQ(info_of(box, "conv2d.forward/fast@test").floating_point,
            "turned flush-to-zero on, turned denormals-are-zero on");
  EXPECT_EQ(info_of(box, "copy.forward/honest@bad").floating_point, "");
  arena& a = box.at(0);
  const placed_tensor x = place_x(a, 1);
  x.here.view<float>()[0] = 1e-40F;
  const placed_tensor y = place_y(a, 1);
  EXPECT_EQ(box.run(a, {toy_run("honest@bad", x, y)})[0].floating_point, "");
  EXPECT_EQ(y.here.view<float>()[0], 1e-40F);
}

TEST(plugins, a_missing_worker_is_one_sentence) {
  sandbox_options options;
  options.worker = "./no-such-worker";
  EXPECT_THROW(sandbox box(options), sandbox_error);
}

// ---- services, the end ----

TEST(sandbox, services_answer_or_fail_with_a_reason) {
  const std::string text(300000, 'z');
  EXPECT_EQ(toys().call("echo", text, std::chrono::seconds(10)), text);
  EXPECT_THROW(toys().call("no_such_service", "", std::chrono::seconds(10)), sandbox_error);
  EXPECT_EQ(toys().call("echo", "still here", std::chrono::seconds(10)), "still here");
}

/// Starts a child with a hung worker, kills the child, and returns whether the worker died too.
TEST(sandbox, the_worker_dies_with_its_parent_even_in_a_hung_kernel) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    sandbox box(test_options({"hazards"}));
    arena& a = box.at(0);
    box.submit(a, {toy_run("hangs@bad", place_x(a, 5), place_y(a, 5))});
    const std::string me = std::to_string(::getpid());
    std::ifstream children("/proc/" + me + "/task/" + me + "/children");
    pid_t worker = 0;
    children >> worker;
    ::usleep(50000);
    if (::write(ends[1], &worker, sizeof worker) < 0) ::_exit(1);
    ::pause();
  }
  ::close(ends[1]);  // a child that ends early is an end of file, not a wait for ever
  pid_t worker = 0;
  ASSERT_EQ(::read(ends[0], &worker, sizeof worker), static_cast<ssize_t>(sizeof worker));
  ASSERT_GT(worker, 0);
  EXPECT_EQ(::kill(worker, 0), 0);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  // An orphan is reaped by whoever adopts it; until then it may stay a zombie, which runs no more.
  const auto runs = [worker] {
    std::ifstream stat("/proc/" + std::to_string(worker) + "/stat");
    std::string pid, name, state;
    stat >> pid >> name >> state;
    return !state.empty() && state != "Z" && state != "X";
  };
  for (int i = 0; i < 200 && runs(); ++i) ::usleep(10000);
  EXPECT_FALSE(runs());
}

}  // namespace
}  // namespace plumb
