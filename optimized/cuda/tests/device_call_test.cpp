// What happens around a launch, tried on a device that lies in ordinary memory and can be told to fail: copies, guard
// zones, alignment, poison, and what each error says.
#include "optimized/cuda/device_call.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <vector>

#include "optimized/cuda/device_plan.hpp"
#include "optimized/cuda/rows.hpp"

namespace plumb::cuda {
namespace {

class memory_device final : public device {
 public:
  ~memory_device() override { EXPECT_TRUE(live_.empty()) << "device memory was not released"; }
  void* allocate(std::size_t bytes, std::string& error) override {
    if (bytes > room) {
      error = "out of memory";
      return nullptr;
    }
    void* const at = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    live_[at] = bytes;
    ++allocations;
    return at;
  }
  void release(void* at) override {
    live_.erase(at);
    std::free(at);
  }
  std::string fill(void* at, unsigned char value, std::size_t bytes) override {
    std::memset(at, value, bytes);
    return fill_error;
  }
  std::string upload(void* to, const void* from, std::size_t bytes) override {
    std::memcpy(to, from, bytes);
    return upload_error;
  }
  std::string soil(unsigned pattern) override {
    for (unsigned& word : shared) word = pattern;
    return soil_error;
  }
  std::string crowd(int eighths) override {
    crowds.push_back(eighths);
    return {};
  }
  int capability() override { return 80; }
  std::string download(void* to, const void* from, std::size_t bytes) override {
    std::memcpy(to, from, bytes);
    return download_error;
  }
  std::string finish() override { return finish_error; }
  void* stream() override { return nullptr; }

  std::size_t room = std::size_t{1} << 30;
  int allocations = 0;
  std::string fill_error, upload_error, download_error, finish_error, soil_error;
  unsigned shared[4] = {};  ///< of its only multiprocessor
  std::vector<int> crowds;

 private:
  std::map<void*, std::size_t> live_;
};

/// y = 2·x over one pair of tensors in ordinary memory, by whatever `work` does.
struct doubling {
  memory_device on;
  device_call call{on};
  std::vector<float> x{1, 2, 3, 4, 5, 6}, y = std::vector<float>(6, -1.0F);
  std::size_t workspace = 0;

  static void honest(const kernel_call& c) {
    const auto in = c.reads[0].view<float>(), out = c.writes[0].view<float>();
    for (index_t i = 0; i < in.size(); ++i) out[i] = 2 * in[i];
  }
  template <class F>
  std::string run(F&& work) {
    const std::vector<tensor_ref> reads = {{x.data(), dtype::f32, shape{6}, shape{1}}, {}};
    const std::vector<tensor_ref> writes = {{y.data(), dtype::f32, shape{6}, shape{1}}};
    return call.run({reads, writes, nullptr, 1}, workspace, [&](const kernel_call& c) {
      work(c);
      return std::string();
    });
  }
  static float* in(const kernel_call& c) { return static_cast<float*>(c.reads[0].data); }
  static float* out(const kernel_call& c) { return static_cast<float*>(c.writes[0].data); }
};

TEST(a_device_call, copies_there_and_back_and_keeps_its_memory) {
  doubling d;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(d.run(doubling::honest), "");
    EXPECT_EQ(d.y, (std::vector<float>{2, 4, 6, 8, 10, 12}));
    d.x[0] += 1;
    d.y.assign(6, -1.0F);
    EXPECT_EQ(d.run(doubling::honest), "");
    EXPECT_EQ(d.y[0], 2 * d.x[0]);
    d.x[0] -= 1;
  }
  EXPECT_EQ(d.on.allocations, 2);
}

TEST(a_device_call, leaves_an_absent_tensor_absent) {
  doubling d;
  d.run([](const kernel_call& c) { EXPECT_EQ(c.reads[1].data, nullptr); });
}

TEST(a_device_call, shows_the_poison_of_what_was_not_written) {
  doubling d;
  EXPECT_EQ(d.run([](const kernel_call& c) { doubling::out(c)[2] = 7; }), "");
  EXPECT_EQ(d.y, (std::vector<float>{-1, -1, 7, -1, -1, -1}));
}

TEST(a_device_call, finds_writes_on_either_side) {
  doubling d;
  const auto after = [&](auto&& work) { return d.run(work); };
  EXPECT_EQ(after([](const kernel_call& c) { doubling::out(c)[6] = 0; }),
            "wrote 1 byte past the end of output 0 on the device");
  EXPECT_EQ(after([](const kernel_call& c) { doubling::out(c)[1000] = 0; }),
            "wrote 3977 bytes past the end of output 0 on the device");
  EXPECT_EQ(after([](const kernel_call& c) { doubling::out(c)[-1] = 0; }),
            "wrote 1 byte before the start of output 0 on the device");
  EXPECT_EQ(after([](const kernel_call& c) { doubling::in(c)[6] = 0; }),
            "wrote 1 byte past the end of input 0 on the device");
  EXPECT_EQ(after([](const kernel_call& c) { doubling::in(c)[3] = 0; }),
            "wrote to input 0, which is only to be read");
}

TEST(a_device_call, surrounds_the_workspace_too) {
  doubling d;
  d.workspace = 100;
  EXPECT_EQ(d.run([](const kernel_call& c) { std::memset(c.workspace, 0, 100); }), "");
  EXPECT_EQ(d.run([](const kernel_call& c) { std::memset(c.workspace, 0, 102); }),
            "wrote 1 byte past the end of the workspace on the device");
}

TEST(a_device_call, poisons_the_workspace_with_two_patterns) {
  doubling d;
  d.workspace = 8;
  std::vector<unsigned> seen;
  for (int i = 0; i < 4; ++i)
    d.run([&](const kernel_call& c) { seen.push_back(*static_cast<const unsigned char*>(c.workspace)); });
  EXPECT_EQ(seen, (std::vector<unsigned>{0x7b, 0xff, 0x7b, 0xff}));
}

/// A sum in shared memory that nobody zeroed: right on the device that was just switched on, and after no other call.
TEST(a_device_call, soils_shared_memory_with_two_patterns) {
  doubling d;
  const auto unzeroed = [&](const kernel_call& c) {
    doubling::honest(c);
    float sum;
    std::memcpy(&sum, &d.on.shared[2], sizeof sum);
    doubling::out(c)[0] += sum;
  };
  EXPECT_EQ(d.run(unzeroed), "");
  const float large = d.y[0];
  EXPECT_EQ(d.run(unzeroed), "");
  EXPECT_GT(large, 1e30F);
  EXPECT_TRUE(std::isnan(d.y[0])) << "another value in the next run, which repetition shows";
  d.on.soil_error = "no room to soil";
  EXPECT_EQ(d.run(doubling::honest), "no room to soil");
}

TEST(a_device_call, takes_another_share_of_the_multiprocessors_away_each_time) {
  doubling d;
  for (int i = 0; i < 6; ++i) EXPECT_EQ(d.run(doubling::honest), "");
  EXPECT_EQ(d.on.crowds, (std::vector<int>{0, 4, 7, 0, 2, 0}));
}

/// Tensors of gigabytes are looked at a piece at a time.
TEST(a_device_call, finds_a_changed_input_beyond_the_first_piece) {
  memory_device on;
  device_call call(on);
  std::vector<float> x(device_call::piece_bytes / sizeof(float) + 100, 1.0F), y(1);
  const auto size = static_cast<index_t>(x.size());
  const std::vector<tensor_ref> reads = {{x.data(), dtype::f32, shape{size}, shape{1}}};
  const std::vector<tensor_ref> writes = {{y.data(), dtype::f32, shape{1}, shape{1}}};
  const auto run = [&](index_t spoiled) {
    return call.run({reads, writes, nullptr, 1}, 0, [&](const kernel_call& c) {
      if (spoiled >= 0) static_cast<float*>(c.reads[0].data)[spoiled] = 2;
      return std::string();
    });
  };
  EXPECT_EQ(run(-1), "");
  EXPECT_EQ(run(size - 1), "wrote to input 0, which is only to be read");
  EXPECT_EQ(run(0), "wrote to input 0, which is only to be read");
  EXPECT_EQ(run(size + 7), "wrote 29 bytes past the end of input 0 on the device");
}

/// Counts, and looks at what it is given.
class counted_work final : public device_work {
 public:
  std::size_t workspace_size() const override { return 24; }
  std::string prepare(std::span<const tensor_ref> reads, void*) override {
    ++prepared;
    packed = *static_cast<const float*>(reads[0].data);
    return failing;
  }
  std::string enqueue(const kernel_call& c, void*) override {
    std::memset(c.workspace, 0, 24);
    doubling::honest(c);
    doubling::out(c)[0] = packed;
    return {};
  }
  int prepared = 0;
  float packed = 0;
  std::string failing;
};

TEST(a_plan_on_a_device, prepares_once_where_the_tensors_lie) {
  memory_device on;
  auto owned = std::make_unique<counted_work>();
  counted_work& work = *owned;
  const one_device host(&on, "");
  EXPECT_EQ(host.unavailable(), "");
  const std::unique_ptr<plan> p = host.place(std::move(owned));
  EXPECT_EQ(p->workspace_size(), 0u) << "it lies on the device";
  std::vector<float> x{3, 4}, y(2);
  const std::vector<tensor_ref> reads = {{x.data(), dtype::f32, shape{2}, shape{1}}};
  const std::vector<tensor_ref> writes = {{y.data(), dtype::f32, shape{2}, shape{1}}};
  p->prepare(reads);
  EXPECT_EQ(work.prepared, 0) << "there is nothing on the device yet";
  for (int i = 0; i < 2; ++i) p->run({reads, writes, nullptr, 1});
  EXPECT_EQ(work.prepared, 1);
  EXPECT_EQ(p->failure(), "");
  EXPECT_EQ(y, (std::vector<float>{3, 8}));
  x[0] = 5;
  p->run({reads, writes, nullptr, 1});
  EXPECT_EQ(y[0], 3) << "what was packed is used until it is prepared anew";
  work.failing = "prepare returned 4";
  p->prepare(reads);
  p->run({reads, writes, nullptr, 1});
  EXPECT_EQ(p->failure(), "prepare returned 4");
  work.failing.clear();
  char workspace[24];
  EXPECT_EQ(dynamic_cast<device_plan&>(*p).enqueue({reads, writes, workspace, 1}, nullptr), "");
}

TEST(a_device_call, keeps_strides_and_misalignment) {
  memory_device on;
  device_call call(on);
  std::vector<float> x(64), y(64, -1.0F);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  const std::vector<tensor_ref> reads = {{&x[41], dtype::f32, shape{3, 2}, shape{-9, 4}}};
  const std::vector<tensor_ref> writes = {{&y[3], dtype::f32, shape{3, 2}, shape{2, 10}}};
  const std::string error = call.run({reads, writes, nullptr, 1}, 0, [&](const kernel_call& c) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(c.reads[0].data) % 256,
              reinterpret_cast<std::uintptr_t>(&x[41]) % 256);
    doubling::honest(c);
    return std::string();
  });
  EXPECT_EQ(error, "");
  const std::vector<float> expected = {82, 90, 64, 72, 46, 54};
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(y[3 + i / 2 * 2 + i % 2 * 10], expected[i]);
  EXPECT_EQ(std::count(y.begin(), y.end(), -1.0F), 64 - 6);
}

TEST(a_device_call, of_tensors_without_elements_is_no_special_case) {
  memory_device on;
  device_call call(on);
  float nothing = 0;
  const std::vector<tensor_ref> none = {{&nothing, dtype::f32, shape{0, 3}, shape{3, 1}}};
  EXPECT_EQ(call.run({none, none, nullptr, 1}, 0, [](const kernel_call&) { return std::string(); }), "");
}

TEST(a_device_call, tells_what_failed_first) {
  const auto error_of = [](auto&& spoil) {
    doubling d;
    spoil(d.on);
    return d.run(doubling::honest);
  };
  EXPECT_EQ(error_of([](memory_device& m) { m.room = 1000; }),
            "no room for `input 0` on the device: out of memory");
  EXPECT_EQ(error_of([](memory_device& m) { m.fill_error = "invalid argument"; }), "invalid argument");
  EXPECT_EQ(error_of([](memory_device& m) { m.upload_error = "upload"; }), "upload");
  EXPECT_EQ(error_of([](memory_device& m) { m.download_error = "download"; }), "download");
  EXPECT_EQ(error_of([](memory_device& m) { m.finish_error = "an illegal memory access was encountered"; }),
            "on the device: an illegal memory access was encountered");
  doubling d;
  d.on.finish_error = "later";
  EXPECT_EQ(
      d.call.run({{}, {}, nullptr, 1}, 0, [](const kernel_call&) { return std::string("launch failed"); }),
      "launch failed");
}

TEST(rows_of_device_kernels, come_in_pairs_and_say_why_they_cannot_run) {
  registry kernels;
  row r{.layer = "relu", .pass = "forward", .algorithm = "mine", .supports = {}, .make = {}};
  r.make = [](const kernel_problem&) { return program{[](const kernel_call&, stream&) {}}; };
  add_rows(kernels, r);
  r.algorithm = "tensor_cores";
  r.host = false;
  add_rows(kernels, r);
  ASSERT_EQ(kernels.all().size(), 3u);
  const kernel* const there = kernels.find("relu.forward/mine@cuda");
  const kernel* const here = kernels.find("relu.forward/cuda_mine@host");
  ASSERT_TRUE(there != nullptr && here != nullptr);
  EXPECT_NE(kernels.find("relu.forward/tensor_cores@cuda"), nullptr);
  EXPECT_EQ(there->device, "cuda");
  EXPECT_EQ(here->device, "host");
  EXPECT_EQ(here->unavailable, "");
  std::string why;
  if (first_device(why) == nullptr) {
    EXPECT_TRUE(why == "no CUDA device" || why == "built without CUDA") << why;
    EXPECT_EQ(there->unavailable, why);
  }
}

}  // namespace
}  // namespace plumb::cuda
