// Specimens in the words of Hopper (optimized/cuda/host_async.hpp): a fully connected layer whose operands the copy engine
// brings and a warpgroup multiplies.
//     y = x·Wᵀ + b   a block has 64 rows × 16 units; a thread of a fifth warp copies 32 terms of them a step into one of
//                    two stages, each with an arrival that counts the bytes and one that counts the warps that have read it
// What a device forgives most of the time is a fault here every time, because copies and products are done as late as
// they may be. Terms are not rounded: the numbers are f32.
#include <cstring>

#include "optimized/cuda/host_async.hpp"
#include "properties/faults/host_specimen.hpp"
#include "properties/faults/specimens.hpp"

namespace plumb::faults {
namespace {

using cuda::tiles;

struct f32_words {
  static constexpr int numbers = 1;
  static float dot(float c, unsigned a, unsigned b) {
    return c + std::bit_cast<float>(a) * std::bit_cast<float>(b);
  }
};

constexpr int tile_rows = 64, tile_units = 16, step_terms = cuda::copied_row_bytes / 4, stages = 2;

template <name F>
struct warpgroup_product {
  struct arguments {
    cuda::tensor_map left = {}, right = {};
    index_t rows = 0, units = 0;
    int terms = 0;
    const float* bias = nullptr;
    float* y = nullptr;
  };
  static constexpr int threads = 128 + 32;
  static constexpr bool barriers = true, warpgroups = true;
  static constexpr int left_bytes = tile_rows * cuda::copied_row_bytes,
                       stage_bytes = left_bytes + tile_units * cuda::copied_row_bytes;

  template <class Block>
  struct shared {
    typename Block::template operands<stages * stage_bytes> operands;
    typename Block::arrival full[stages], empty[stages];
  };

  static int steps_of(const arguments& a) {
    return F == "dropped_box_tail" ? a.terms / step_terms : tiles(a.terms, step_terms);
  }

  template <class Block>
  static void produce(Block& block, shared<Block>& s, const arguments& a, int row, int unit) {
    for (int i = 0; i < steps_of(a); ++i) {
      const int stage = i % stages, turn = i / stages;
      if (turn > 0 && F != "stage_overwritten") block.wait(s.empty[stage], (turn - 1) & 1);
      block.expect(s.full[stage], F == "short_count" ? left_bytes : stage_bytes);
      const auto at = static_cast<unsigned>(stage * stage_bytes);
      const int first = i * step_terms;
      block.copy_box(s.operands, at, a.left, first, 0, row, s.full[stage]);
      if constexpr (F == "corners_exchanged")
        block.copy_box(s.operands, at + left_bytes, a.right, first, unit, 0, s.full[stage]);
      else
        block.copy_box(s.operands, at + left_bytes, a.right, first, 0, unit, s.full[stage]);
    }
  }

  template <class Block>
  static void consume(Block& block, shared<Block>& s, const arguments& a, float (&sum)[tile_units / 2]) {
    const unsigned operands = block.address_of(s.operands);
    for (int i = 0; i < steps_of(a); ++i) {
      const int stage = i % stages, turn = i / stages;
      if (F != "stage_not_waited") block.wait(s.full[stage], (F == "wrong_parity" ? turn + 1 : turn) & 1);
      const unsigned left = operands + static_cast<unsigned>(stage * stage_bytes), right = left + left_bytes;
      block.begin_products(sum);
      for (unsigned k = 0; k < 4; ++k)
        block.template multiply_group<f32_words, cuda::inside::terms, tile_units>(
            sum, cuda::descriptor_of(left + k * 32, 16, cuda::block_bytes),
            cuda::descriptor_of(right + k * (F == "wrong_descriptor" ? 64U : 32U), 16, cuda::block_bytes));
      block.end_products();
      if (F == "early_release") block.arrive_warp(s.empty[stage]);
      if (F != "sum_read_early") block.template wait_products<0>(sum);
      if (F != "early_release") block.arrive_warp(s.empty[stage]);
    }
  }

  template <class Block>
  static void run(Block& block, shared<Block>& s, const arguments& a) {
    const index_t wide = tiles<index_t>(a.units, tile_units);
    const auto row = static_cast<int>(block.number() / wide) * tile_rows,
               unit = static_cast<int>(block.number() % wide) * tile_units;
    if (block.thread() == 0) {
      for (int i = 0; i < stages; ++i) {
        block.start(s.full[i], 1);
        block.start_warps(s.empty[i], 4);
      }
      block.publish_starts();
    }
    block.barrier();
    if (block.thread() >= 128) {
      if (block.thread() == 128) produce(block, s, a, row, unit);
      return;
    }
    float sum[tile_units / 2] = {};
    consume(block, s, a, sum);
    const int t = block.thread();
    for (int i = 0; i < tile_units / 2; ++i) {
      const index_t m = row + t / 32 * 16 + t % 32 / 4 + i % 4 / 2 * 8,
                    n = unit + i / 4 * 8 + t % 4 * 2 + i % 2;
      if (n >= a.units || (F == "row_past_the_end" ? m > a.rows : m >= a.rows)) continue;
      a.y[m * a.units + n] = a.bias != nullptr ? sum[i] + a.bias[n] : sum[i];
    }
  }
};

template <name F>
struct linear_specimen {
  index_t rows = 1, units = 1, terms = 0;

  static linear_specimen read(const problem& p) {
    const shape x = p.shape_of("x"), w = p.shape_of("weight");
    linear_specimen s{1, w[0], w[1]};
    for (int axis = 0; axis + 1 < x.rank(); ++axis) s.rows *= x[axis];
    return s;
  }
  /// Terms of a line that begins at a multiple of 16 bytes.
  index_t line() const { return std::max<index_t>(4, tiles<index_t>(terms, 4) * 4); }
  std::size_t workspace() const { return static_cast<std::size_t>((rows + units) * line()) * sizeof(float); }

  void put(const float* from, index_t lines, float* to) const {
    for (index_t i = 0; i < lines; ++i)
      for (index_t j = 0; j < line(); ++j) to[i * line() + j] = j < terms ? from[i * terms + j] : 0.0F;
  }
  cuda::tensor_map map_of(const float* at, index_t lines, int box_lines) const {
    cuda::copied_tensor t{.data = at,
                          .extents = {terms, 1, lines, 1},
                          .strides = {0, line() * 4, line() * 4, 0},
                          .element_bytes = 4,
                          .rank = 3,
                          .rows = static_cast<std::int16_t>(box_lines)};
    t.box[0] = step_terms, t.box[1] = 1, t.box[2] = t.rows;
    cuda::tensor_map map = {};
    std::memcpy(map.bytes, &t, sizeof t);
    return map;
  }
  void launch(const kernel_call& call, launches& to) const {
    auto* const x = static_cast<float*>(call.workspace);
    float* const weight = x + rows * line();
    put(pointer<const float>(call.reads[0]), rows, x);
    put(pointer<const float>(call.reads[1]), units, weight);
    using body = warpgroup_product<F>;
    typename body::arguments a;
    a.left = map_of(x, rows, tile_rows);
    a.right = map_of(weight, units, tile_units);
    a.rows = rows, a.units = units, a.terms = static_cast<int>(terms);
    a.bias = call.reads.size() > 2 ? pointer<const float>(call.reads[2]) : nullptr;
    a.y = pointer<float>(call.writes[0]);
    to.here<body>(tiles<index_t>(rows, tile_rows) * tiles<index_t>(units, tile_units), a);
  }
};

}  // namespace

void register_hopper(registry& kernels) {
  add<linear_specimen, "stage_not_waited", "stage_overwritten", "early_release", "wrong_parity",
      "short_count", "wrong_descriptor", "corners_exchanged", "dropped_box_tail", "row_past_the_end",
      "sum_read_early">(kernels, "linear", "forward");
}

}  // namespace plumb::faults
