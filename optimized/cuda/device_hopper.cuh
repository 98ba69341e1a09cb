// The words of body.hpp that only Hopper has, as instructions: arrivals (mbarrier), the copy engine
// (cp.async.bulk.tensor) and products of warpgroups (wgmma). For sources that are compiled for sm_90a. host_async.hpp is
// the same for the CPU. NVIDIA, PTX ISA 8.
#pragma once

#include "optimized/cuda/device_launch.cuh"
#include "optimized/cuda/operand.hpp"
#include "optimized/cuda/tensor_map.hpp"

namespace plumb::cuda {

struct device_arrival {
  unsigned long long state;
};

template <int Bytes>
struct alignas(block_bytes) device_operands {
  unsigned char bytes[Bytes];
};

class hopper_block : public device_block {
 public:
  using arrival = device_arrival;
  template <int Bytes>
  using operands = device_operands<Bytes>;

  __device__ __forceinline__ void start(arrival& a, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address(&a)), "r"(arrivals) : "memory");
  }
  __device__ __forceinline__ void start_warps(arrival& a, int warps) { start(a, warps); }
  /// After the starts and before the block's barrier: the copy engine is to see them too.
  __device__ __forceinline__ void publish_starts() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }
  __device__ __forceinline__ void expect(arrival& a, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address(&a)), "r"(bytes)
                 : "memory");
  }
  __device__ __forceinline__ void arrive_warp(arrival& a) {
    __syncwarp();
    if (threadIdx.x % 32 == 0)
      asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address(&a)) : "memory");
  }
  __device__ __forceinline__ void wait(arrival& a, int parity) {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;\n"
        "}\n" ::"r"(address(&a)),
        "r"(parity)
        : "memory");
  }

  template <int Bytes>
  __device__ __forceinline__ void copy_box(operands<Bytes>& to, unsigned at, const tensor_map& map, int c0,
                                           int c1, int c2, arrival& done) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, "
        "%4, "
        "%5}], [%2];" ::"r"(address(to.bytes + at)),
        "l"(&map), "r"(address(&done)), "r"(c0), "r"(c1), "r"(c2)
        : "memory");
  }
  template <int Bytes>
  __device__ __forceinline__ void copy_pixels(operands<Bytes>& to, unsigned at, const tensor_map& map, int c,
                                              int w, int h, int n, int right, int down, arrival& done) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], [%1, {%3, "
        "%4, %5, %6}], [%2], {%7, %8};" ::"r"(address(to.bytes + at)),
        "l"(&map), "r"(address(&done)), "r"(c), "r"(w), "r"(h), "r"(n),
        "h"(static_cast<unsigned short>(right)), "h"(static_cast<unsigned short>(down))
        : "memory");
  }

  template <int Bytes>
  __device__ __forceinline__ unsigned address_of(operands<Bytes>& o) const {
    return address(o.bytes);
  }
  // The sums are named in both so that the compiler neither uses them before they are there nor moves them under way.
  template <int High, int Numbers>
  __device__ __forceinline__ void begin_products(float (&sums)[High][Numbers]) {
    hold(sums);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  }
  __device__ __forceinline__ void end_products() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  }
  template <int Left, int High, int Numbers>
  __device__ __forceinline__ void wait_products(float (&sums)[High][Numbers]) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Left) : "memory");
    hold(sums);
  }
  template <class Words, inside Way, int Columns>
  __device__ __forceinline__ void multiply_group(float (&c)[Columns / 2], std::uint64_t a, std::uint64_t b) {
    constexpr int lines = Way == inside::lines ? 1 : 0;
    if constexpr (Columns == 64)
      wide_64<Words, lines>(c, a, b);
    else
      wide_128<Words, lines>(c, a, b);
  }

 private:
  template <int High, int Numbers>
  static __device__ __forceinline__ void hold(float (&sums)[High][Numbers]) {
    PLUMB_UNROLL
    for (int i = 0; i < High; ++i) PLUMB_UNROLL
    for (int j = 0; j < Numbers; ++j) asm volatile("" : "+f"(sums[i][j])::"memory");
  }
  static __device__ __forceinline__ unsigned address(const void* at) {
    return static_cast<unsigned>(__cvta_generic_to_shared(at));
  }

#define PLUMB_SUMS_8(c, i)                                                                    \
  "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), \
      "+f"(c[i + 6]), "+f"(c[i + 7])
#define PLUMB_SUMS_32(c, i) \
  PLUMB_SUMS_8(c, i), PLUMB_SUMS_8(c, i + 8), PLUMB_SUMS_8(c, i + 16), PLUMB_SUMS_8(c, i + 24)
#define PLUMB_NAMES_32                                                                                   \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
  "%22, %23, "                                                                                           \
  "%24, %25, %26, %27, %28, %29, %30, %31"
#define PLUMB_NAMES_64                                                                                \
  PLUMB_NAMES_32                                                                                      \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, " \
  "%51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

  template <class Words, int Lines>
  static __device__ __forceinline__ void wide_64(float (&c)[32], std::uint64_t a, std::uint64_t b) {
    if constexpr (Words::numbers == 1)
      asm volatile(
          "{\n.reg .pred add;\nsetp.ne.b32 add, 1, 0;\nwgmma.mma_async.sync.aligned.m64n64k8.f32.tf32.tf32 "
          "{" PLUMB_NAMES_32 "}, %32, %33, add, 1, 1;\n}\n"
          : PLUMB_SUMS_32(c, 0)
          : "l"(a), "l"(b));
    else
      asm volatile(
          "{\n.reg .pred add;\nsetp.ne.b32 add, 1, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
          "{" PLUMB_NAMES_32 "}, %32, %33, add, 1, 1, %34, %34;\n}\n"
          : PLUMB_SUMS_32(c, 0)
          : "l"(a), "l"(b), "n"(Lines));
  }
  template <class Words, int Lines>
  static __device__ __forceinline__ void wide_128(float (&c)[64], std::uint64_t a, std::uint64_t b) {
    if constexpr (Words::numbers == 1)
      asm volatile(
          "{\n.reg .pred add;\nsetp.ne.b32 add, 1, 0;\nwgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 "
          "{" PLUMB_NAMES_64 "}, %64, %65, add, 1, 1;\n}\n"
          : PLUMB_SUMS_32(c, 0), PLUMB_SUMS_32(c, 32)
          : "l"(a), "l"(b));
    else
      asm volatile(
          "{\n.reg .pred add;\nsetp.ne.b32 add, 1, 0;\nwgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
          "{" PLUMB_NAMES_64 "}, %64, %65, add, 1, 1, %66, %66;\n}\n"
          : PLUMB_SUMS_32(c, 0), PLUMB_SUMS_32(c, 32)
          : "l"(a), "l"(b), "n"(Lines));
  }
#undef PLUMB_SUMS_8
#undef PLUMB_SUMS_32
#undef PLUMB_NAMES_32
#undef PLUMB_NAMES_64
};

template <class Body>
requires(Body::warpgroups) struct runner<Body> {
  using block = hopper_block;
};

}  // namespace plumb::cuda
