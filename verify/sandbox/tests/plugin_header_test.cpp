// plumb/abi.h has DLPack's layout; plumb/plugin.hpp reads problem text and declines what it does not know.
#include <dlpack/dlpack.h>
#include <gtest/gtest.h>

#include <plumb/plugin.hpp>

extern "C" int plumb_abi_is_c99(void);

std::vector<plumb::plugin_kernel> plumb::plugin_kernels() {
  return {plumb::conv2d_forward("conv2d.forward/one@test",
                                [](const plumb::conv2d_problem& p, const float* x, const float* weight,
                                   const float* bias, float* y) {
                                  y[0] = static_cast<float>(p.p) + x[0] * weight[0] +
                                         (bias != nullptr ? bias[0] : 0);
                                })
              .layouts("nchw nhwc")
              .only_if<plumb::conv2d_problem>(
                  [](const plumb::conv2d_problem& p) { return p.groups > 1 ? "no groups" : ""; })};
}

namespace {

static_assert(sizeof(plumb_dl_tensor) == sizeof(DLTensor) && alignof(plumb_dl_tensor) == alignof(DLTensor));
static_assert(offsetof(plumb_dl_tensor, data) == offsetof(DLTensor, data));
static_assert(offsetof(plumb_dl_tensor, device) == offsetof(DLTensor, device));
static_assert(offsetof(plumb_dl_tensor, ndim) == offsetof(DLTensor, ndim));
static_assert(offsetof(plumb_dl_tensor, dtype) == offsetof(DLTensor, dtype));
static_assert(offsetof(plumb_dl_tensor, shape) == offsetof(DLTensor, shape));
static_assert(offsetof(plumb_dl_tensor, strides) == offsetof(DLTensor, strides));
static_assert(offsetof(plumb_dl_tensor, byte_offset) == offsetof(DLTensor, byte_offset));
static_assert(sizeof(plumb_dl_device) == sizeof(DLDevice) && sizeof(plumb_dl_dtype) == sizeof(DLDataType));
static_assert(static_cast<int>(PLUMB_DL_CPU) == kDLCPU && static_cast<int>(PLUMB_DL_FLOAT) == kDLFloat &&
              static_cast<int>(PLUMB_DL_BFLOAT) == kDLBfloat && static_cast<int>(PLUMB_DL_INT) == kDLInt);

plumb::conv2d_problem read(const char* text, std::string* complaint = nullptr) {
  plumb::problem_reader reader(text);
  const plumb::conv2d_problem p = plumb::conv2d_problem::read(reader, 1);
  if (complaint != nullptr)
    *complaint = reader.complaint();
  else
    EXPECT_EQ(reader.complaint(), "") << text;
  return p;
}

std::string complaint_about(const char* text) {
  std::string complaint;
  read(text, &complaint);
  return complaint;
}

TEST(plugin_header, compiles_as_c99) { EXPECT_TRUE(plumb_abi_is_c99()); }

TEST(plugin_header, reads_a_problem_with_everything) {
  const auto p = read("conv2d x=2x6x9x11 weight=4x3x3x2 bias=4 stride=2x1 pad=1,2,3,4 dilation=1x2 groups=2");
  EXPECT_EQ(p.n, 2);
  EXPECT_EQ(p.c, 6);
  EXPECT_EQ(p.h, 9);
  EXPECT_EQ(p.w, 11);
  EXPECT_EQ(p.k, 4);
  EXPECT_EQ(p.r, 3);
  EXPECT_EQ(p.s, 2);
  EXPECT_EQ(p.stride_h, 2);
  EXPECT_EQ(p.stride_w, 1);
  EXPECT_EQ(p.pad_top, 1);
  EXPECT_EQ(p.pad_bottom, 2);
  EXPECT_EQ(p.pad_left, 3);
  EXPECT_EQ(p.pad_right, 4);
  EXPECT_EQ(p.dilation_h, 1);
  EXPECT_EQ(p.dilation_w, 2);
  EXPECT_EQ(p.groups, 2);
  EXPECT_TRUE(p.bias);
  EXPECT_EQ(p.p, (9 + 3 - 3) / 2 + 1);
  EXPECT_EQ(p.q, 11 + 7 - 3 + 1);
}

TEST(plugin_header, fills_in_defaults_and_short_forms) {
  const auto p = read("conv2d x=1x3x32x32 weight=8x3x5x5 pad=2x1 stride=3");
  EXPECT_EQ(p.pad_bottom, 2);
  EXPECT_EQ(p.pad_right, 1);
  EXPECT_EQ(p.stride_w, 3);
  EXPECT_EQ(p.dilation_h, 1);
  EXPECT_EQ(p.groups, 1);
  EXPECT_FALSE(p.bias);
}

TEST(plugin_header, turns_padding_rules_into_pads) {
  EXPECT_EQ(read("conv2d x=1x1x9x9 weight=1x1x3x3 padding=valid").p, 7);
  // Nine cells, a window of 4, stride 2: 5 outputs cover 12 cells, so 3 are missing.
  const auto upper = read("conv2d x=1x1x9x5 weight=1x1x4x1 stride=2x1 padding=same_upper");
  EXPECT_EQ(upper.p, 5);
  EXPECT_EQ(upper.pad_top, 1);
  EXPECT_EQ(upper.pad_bottom, 2);
  EXPECT_EQ(upper.pad_left, 0);
  EXPECT_EQ(upper.q, 5);
  const auto lower = read("conv2d x=1x1x9x5 weight=1x1x4x1 stride=2x1 padding=same_lower fit=exact");
  EXPECT_EQ(lower.pad_top, 2);
  EXPECT_EQ(lower.pad_bottom, 1);
  EXPECT_EQ(complaint_about("conv2d x=1x1x4x4 weight=1x1x3x3 padding=most"),
            "does not understand `padding=most`");
}

TEST(plugin_header, declines_by_name_what_it_does_not_know) {
  EXPECT_EQ(complaint_about("conv2d x=1x1x4x4 weight=1x1x3x3 warp=9"), "does not know `warp`");
  EXPECT_EQ(complaint_about("conv2d x=1x1x4x4 weight=1x1x3x3 pad=some"), "does not understand `pad=some`");
  EXPECT_EQ(complaint_about("conv2d x=1x1x4 weight=1x1x3x3"), "expected `x` to be a shape of rank 4");
  EXPECT_EQ(complaint_about("conv2d x=1x1x4x4 weight=1x1x3x3 stride=0"),
            "expected every stride to be at least 1");
  EXPECT_EQ(complaint_about("conv3d x=1x1x4x4 weight=1x1x3x3"), "computes conv2d only");
}

TEST(plugin_header, exports_a_descriptor_that_works) {
  EXPECT_EQ(plumb_abi_version(), std::uint32_t{PLUMB_ABI_VERSION});
  ASSERT_EQ(plumb_kernel_count(), 1U);
  EXPECT_EQ(plumb_kernel_at(1), nullptr);
  const plumb_kernel* const k = plumb_kernel_at(0);
  EXPECT_EQ(k->size, sizeof(plumb_kernel));
  EXPECT_STREQ(k->name, "conv2d.forward/one@test");
  EXPECT_STREQ(k->layouts, "nchw nhwc");
  plumb_problem problem{};
  problem.size = sizeof problem;
  problem.text = "conv2d x=1x2x4x4 weight=2x1x3x3 groups=2";
  EXPECT_STREQ(k->supports(k, &problem), "no groups");
  problem.text = "conv2d x=1x1x4x4 weight=1x1x3x3";
  EXPECT_EQ(k->supports(k, &problem), nullptr);

  float x = 3, weight = 5, y = 0;
  plumb_tensor reads[3] = {};
  reads[0].dl.data = &x;
  reads[1].dl.data = &weight;
  plumb_tensor writes[1] = {};
  writes[0].dl.data = &y;
  plumb_call call{};
  call.size = sizeof call;
  call.problem = &problem;
  call.state = k->open(k, &problem);
  call.reads = reads;
  call.read_count = 3;
  call.writes = writes;
  call.write_count = 1;
  EXPECT_EQ(k->run(k, &call), 0);
  EXPECT_EQ(y, 2 + 15);
  k->close(k, call.state);
}

}  // namespace
