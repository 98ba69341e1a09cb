// Blocked matrix product  c += a·b,  or c = a·b, on the register tile.  a is M×T, b is T×N, c is M×N with contiguous rows.
//
//   stretch   of terms: a panel of b stays in the first cache
//   a         read where it lies if the terms of a row are neighbours; else copied, once by `prepare` or a stretch at a time,
//             → [row][term]. Such rows are an odd number of cache lines apart, so that those of a tile do not share a set
//   b         as many columns at a time as the second caches hold → [panel][term][column of panel], zeros in the tail
//   tiles     a block of rows × a panel in one go. A thread has panels of its own, or rows of its own where that is more even
//
// All threads of a parallel region call `add` together. Each element is one sum in one order whatever their number. Goto &
// van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
#pragma once

#include <algorithm>
#include <cstring>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/tile.hpp"

namespace plumb {

/// Element (i, j) is data[i·row_step + j·column_step].
struct matrix_ref {
  const float* data = nullptr;
  index_t row_step = 0, column_step = 0;
};

struct product_call {
  matrix_ref a = {};
  const float* prepared = nullptr;  ///< what `prepare` wrote of a, instead of a
  matrix_ref b = {};
  float* c = nullptr;
  index_t c_step = 0;
  bool fresh = false;          ///< c is written, whatever it held
  const float* row = nullptr;  ///< fresh: what the sums of a row begin with; nullptr: zero
  float* workspace = nullptr;
};

class matrix_product {
 public:
  /// `threads`: of the parallel regions that will call.
  matrix_product(const tile_target& target, index_t rows, index_t columns, index_t terms, int threads)
      : target_(target),
        columns_(columns),
        threads_(threads),
        row_tiles_(rows, target.pixels),
        stretches_(terms, most_terms),
        panels_((columns + target.width() - 1) / target.width()),
        by_panels_(uneven(panels_, threads) <= uneven(row_tiles_.parts, threads)),
        block_(std::max<index_t>(1, (by_panels_ ? own_floats : own_floats * threads) /
                                        std::max<index_t>(1, stretch() * target.width()))) {
    block_ = std::min(block_, std::max<index_t>(1, by_panels_ ? (panels_ + threads - 1) / threads : panels_));
  }

  index_t prepared_size() const { return stretches_.parts * a_size(); }
  void prepare(const matrix_ref& a, float* to) const {
    for (index_t i = 0; i < stretches_.parts; ++i) pack_rows(a, 0, row_tiles_.count, i, to + i * a_size());
  }

  /// Floats of workspace that `add` needs.
  index_t workspace() const { return a_size() + (by_panels_ ? threads_ : 1) * b_size(); }

  /// Every thread goes on when all have done their share.
  void add(const product_call& p) const {
    if (p.fresh && stretches_.parts == 0)
#pragma omp for schedule(static) nowait
      for (index_t row = 0; row < row_tiles_.count; ++row)
        std::fill_n(p.c + row * p.c_step, columns_, p.row != nullptr ? p.row[row] : 0.0F);
    for (index_t i = 0; i < stretches_.parts; ++i) {
      const matrix_ref a = rows_of(p, i);
      by_panels_ ? add_own_panels(p, i, a) : add_own_rows(p, i, a);
    }
#pragma omp barrier
  }

 private:
  static constexpr index_t most_terms = 256;
  static constexpr index_t rows_together = 48;
  static constexpr index_t own_floats = 64 << 10;  ///< of b, in the second cache of each thread
  static constexpr index_t read_together = 8;      ///< panels, of a row of b

  struct part {
    index_t panel, last_panel, row, last_row;
  };

  /// How much longer the largest of so many shares is than their mean.
  static double uneven(index_t count, index_t shares) {
    const index_t largest = (count + shares - 1) / shares;
    return static_cast<double>(largest * shares) / static_cast<double>(std::max<index_t>(1, count));
  }
  index_t first_row(index_t share) const {
    return row_tiles_.parts == 0 ? 0 : row_tiles_.begin(row_tiles_.parts * share / threads_);
  }
  index_t terms(index_t i) const { return stretches_.begin(i + 1) - stretches_.begin(i); }
  index_t stretch() const {
    return stretches_.parts ? (stretches_.count + stretches_.parts - 1) / stretches_.parts : 0;
  }
  index_t pitch() const {
    constexpr index_t line = 16;
    return ((stretch() + line - 1) / line | 1) * line;
  }
  index_t a_size() const { return aligned_buffer::padded(row_tiles_.count * pitch()); }
  index_t b_size() const { return aligned_buffer::padded(stretch() * block_ * target_.width()); }
  index_t panel_columns(index_t panel) const {
    return std::min(target_.width(), columns_ - panel * target_.width());
  }
  index_t panel_width(index_t panel) const {
    return (panel_columns(panel) + target_.lanes - 1) / target_.lanes * target_.lanes;
  }

  /// The rows of a, for stretch number i.
  matrix_ref rows_of(const product_call& p, index_t i) const {
    if (p.prepared != nullptr) return {p.prepared + i * a_size(), pitch(), 1};
    if (p.a.column_step == 1) return {p.a.data + stretches_.begin(i), p.a.row_step, 1};
#pragma omp barrier  // those of the stretch before have been read
#pragma omp for schedule(static)
    for (int share = 0; share < threads_; ++share)
      pack_rows(p.a, first_row(share), first_row(share + 1), i, p.workspace);
    return {p.workspace, pitch(), 1};
  }

  /// A share is the same thread's every time.
  void add_own_panels(const product_call& p, index_t i, const matrix_ref& a) const {
#pragma omp for schedule(static) nowait
    for (int share = 0; share < threads_; ++share) {
      float* const b = p.workspace + a_size() + share * b_size();
      const index_t end = panels_ * (share + 1) / threads_;
      for (index_t first = panels_ * share / threads_, last = 0; first < end; first = last) {
        last = std::min(end, first + block_);
        pack_panels(p.b, first, last, i, b);
        add_part(p, i, {first, last, 0, row_tiles_.count}, a, b);
      }
    }
  }

  void add_own_rows(const product_call& p, index_t i, const matrix_ref& a) const {
    float* const b = p.workspace + a_size();
    for (index_t first = 0, last = 0; first < panels_; first = last) {
      last = std::min(panels_, first + block_);
      const index_t panels = last - first;
#pragma omp barrier  // the panels before these have been read
#pragma omp for schedule(static)
      for (int share = 0; share < threads_; ++share) {
        const index_t mine = panels * share / threads_;
        pack_panels(p.b, first + mine, first + panels * (share + 1) / threads_, i,
                    b + mine * terms(i) * target_.width());
      }
#pragma omp for schedule(static) nowait
      for (int share = 0; share < threads_; ++share)
        add_part(p, i, {first, last, first_row(share), first_row(share + 1)}, a, b);
    }
  }

  void pack_rows(const matrix_ref& a, index_t row, index_t last, index_t i, float* to) const {
    const float* from = a.data + stretches_.begin(i) * a.column_step;
    if (a.row_step == 1)
      target_.transpose(from + row, a.column_step, terms(i), last - row, to + row * pitch(), pitch());
    else
      for (; row < last; ++row)
        for (index_t t = 0; t < terms(i); ++t)
          to[row * pitch() + t] = from[row * a.row_step + t * a.column_step];
  }

  void pack_panels(const matrix_ref& b, index_t first, index_t last, index_t i, float* to) const {
    const index_t count = terms(i), full = target_.width(), size = count * full;
    const float* from = b.data + stretches_.begin(i) * b.row_step + first * full * b.column_step;
    index_t panel = first;
    for (; b.column_step == 1 && panel < last && panel_columns(panel) == full;) {
      index_t some = std::min(read_together, last - panel);
      if (panel_columns(panel + some - 1) < full) --some;
      for (index_t t = 0; t < count; ++t) copy_lines(from + t * b.row_step, some, to + t * full, size);
      panel += some;
      from += some * full;
      to += some * size;
    }
    for (; panel < last; ++panel, from += full * b.column_step, to += size)
      turn_panel(b, from, panel, count, to);
  }
  /// Of `some` panels, from one row of b.
  void copy_lines(const float* from, index_t some, float* to, index_t to_step) const {
    constexpr index_t usual = 16;  // a length that is known is copied by some moves
    if (target_.width() == usual)
      for (index_t j = 0; j < some; ++j)
        std::memcpy(to + j * to_step, from + j * usual, usual * sizeof(float));
    else
      for (index_t j = 0; j < some; ++j)
        std::copy_n(from + j * target_.width(), target_.width(), to + j * to_step);
  }
  void turn_panel(const matrix_ref& b, const float* from, index_t panel, index_t count, float* to) const {
    const index_t columns = panel_columns(panel), width = panel_width(panel);
    if (b.row_step == 1)
      target_.transpose(from, b.column_step, columns, count, to, width);
    else
      for (index_t t = 0; t < count; ++t)
        for (index_t j = 0; j < columns; ++j) to[t * width + j] = from[t * b.row_step + j * b.column_step];
    if (columns == width) return;
    for (index_t t = 0; t < count; ++t) std::fill(to + t * width + columns, to + (t + 1) * width, 0.0F);
  }

  void add_part(const product_call& p, index_t i, const part& mine, const matrix_ref& a,
                const float* b) const {
    const even_parts blocks(mine.last_row - mine.row, rows_together);
    for (index_t block = 0; block < blocks.parts; ++block)
      for (index_t panel = mine.panel; panel < mine.last_panel; ++panel)
        add_tiles(p, i, panel, mine.row + blocks.begin(block), mine.row + blocks.begin(block + 1), a,
                  b + (panel - mine.panel) * terms(i) * target_.width());
  }

  void add_tiles(const product_call& p, index_t i, index_t panel, index_t row, index_t last,
                 const matrix_ref& a, const float* b) const {
    alignas(64) float kept[rows_together * most_tile_width];
    const index_t columns = panel_columns(panel), width = panel_width(panel);
    const bool onto = !p.fresh || i > 0, in_place = columns == width;
    float* const at = p.c + row * p.c_step + panel * target_.width();
    tiles_call t;
    t.vectors = static_cast<int>(width / target_.lanes);
    t.x = a.data + row * a.row_step;
    t.x_step = a.row_step;
    t.loops[2] = {terms(i), 1, width};
    t.w = b;
    t.count = last - row;
    t.out = in_place ? at : kept;
    t.out_step = in_place ? p.c_step : width;
    t.add = onto || p.row != nullptr;
    if (!onto && p.row != nullptr)
      for (index_t j = 0; j < t.count; ++j) std::fill_n(t.out + j * t.out_step, width, p.row[row + j]);
    else if (onto && !in_place)
      for (index_t j = 0; j < t.count; ++j) {
        std::copy_n(at + j * p.c_step, columns, kept + j * width);
        std::fill(kept + j * width + columns, kept + (j + 1) * width, 0.0F);
      }
    target_.run_tiles(t);
    if (!in_place)
      for (index_t j = 0; j < t.count; ++j) std::copy_n(kept + j * width, columns, at + j * p.c_step);
  }

  const tile_target& target_;
  index_t columns_;
  int threads_;
  even_parts row_tiles_;
  even_parts stretches_;
  index_t panels_;
  bool by_panels_;  ///< threads have panels of their own
  index_t block_;   ///< panels of b at a time
};

}  // namespace plumb
