// Blocked matrix product  c += a·b,  or c = a·b, on the register tile.  a is M×T, b is T×N, c is M×N with contiguous rows.
// The T terms are cut into stretches that fit the cache. For each, b is packed into panels
// [panel][term][column of panel] with zeros in the tail and a into [part][term][row of part]; then every
// (panel, part) is one tile. All threads of a parallel region call `add` together. Each element is one sum in
// one order whatever their number. Goto & van de Geijn 2008, "Anatomy of high-performance matrix
// multiplication".
#pragma once

#include <algorithm>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/tile.hpp"

namespace plumb {

/// Element (i, j) is data[i·row_step + j·column_step].
struct matrix_ref {
  const float* data;
  index_t row_step, column_step;
};

class matrix_product {
 public:
  matrix_product(const tile_target& target, index_t rows, index_t columns, index_t terms)
      : target_(target),
        columns_(columns),
        terms_(terms),
        parts_(rows, target.pixels),
        panels_((columns + target.width() - 1) / target.width()),
        stretches_(terms, 256) {}

  /// Floats of workspace that `add` needs.
  index_t workspace() const { return a_size() + stretch() * panels_ * target_.width(); }

  /// `fresh`: c is written, whatever it held; not at all if there are no terms.
  void add(const matrix_ref& a, const matrix_ref& b, float* c, index_t c_step, float* workspace,
           bool fresh = false) const {
    float* packed_b = workspace + a_size();
    for (index_t i = 0; i < stretches_.parts; ++i) {
      const index_t first = stretches_.begin(i), terms = stretches_.begin(i + 1) - first;
#pragma omp for schedule(static) nowait
      for (index_t panel = 0; panel < panels_; ++panel)
        pack_panel(b, panel, first, terms, packed_b + panel * terms * target_.width());
#pragma omp for schedule(static)
      for (index_t part = 0; part < parts_.parts; ++part)
        pack_part(a, part, first, terms, workspace + parts_.begin(part) * terms);
#pragma omp for schedule(static)
      for (index_t task = 0; task < panels_ * parts_.parts; ++task) {
        const index_t panel = task / parts_.parts, part = task % parts_.parts;
        add_tile(panel, part, terms, workspace + parts_.begin(part) * terms,
                 packed_b + panel * terms * target_.width(), c, c_step, !fresh || i > 0);
      }
    }
  }

 private:
  index_t stretch() const { return terms_ ? (terms_ + stretches_.parts - 1) / stretches_.parts : 0; }
  index_t a_size() const { return aligned_buffer::padded(parts_.count * stretch()); }
  index_t panel_columns(index_t panel) const {
    return std::min(target_.width(), columns_ - panel * target_.width());
  }
  int panel_vectors(index_t panel) const {
    return static_cast<int>((panel_columns(panel) + target_.lanes - 1) / target_.lanes);
  }

  void pack_panel(const matrix_ref& b, index_t panel, index_t first, index_t terms, float* to) const {
    const index_t count = panel_columns(panel), width = index_t{panel_vectors(panel)} * target_.lanes;
    const float* from = b.data + first * b.row_step + panel * target_.width() * b.column_step;
    if (b.row_step == 1)
      target_.transpose(from, b.column_step, count, terms, to, width);
    else if (b.column_step == 1)
      for (index_t t = 0; t < terms; ++t) std::copy_n(from + t * b.row_step, count, to + t * width);
    else
      for (index_t t = 0; t < terms; ++t)
        for (index_t j = 0; j < count; ++j) to[t * width + j] = from[t * b.row_step + j * b.column_step];
    if (count == width) return;
    for (index_t t = 0; t < terms; ++t) std::fill(to + t * width + count, to + (t + 1) * width, 0.0F);
  }

  void pack_part(const matrix_ref& a, index_t part, index_t first, index_t terms, float* to) const {
    const index_t rows = parts_.begin(part + 1) - parts_.begin(part);
    const float* from = a.data + parts_.begin(part) * a.row_step + first * a.column_step;
    constexpr index_t whole = most_tile_rows;  // a length that is known is copied by two moves
    if (a.column_step == 1)
      target_.transpose(from, a.row_step, rows, terms, to, rows);
    else if (a.row_step == 1 && rows == whole)
      for (index_t t = 0; t < terms; ++t) std::copy_n(from + t * a.column_step, whole, to + t * whole);
    else
      for (index_t t = 0; t < terms; ++t)
        for (index_t j = 0; j < rows; ++j) to[t * rows + j] = from[j * a.row_step + t * a.column_step];
  }

  void add_tile(index_t panel, index_t part, index_t terms, const float* a, const float* b, float* c,
                index_t c_step, bool onto) const {
    alignas(64) float kept[6 * 64];
    const index_t rows = parts_.begin(part + 1) - parts_.begin(part), count = panel_columns(panel);
    float* at = c + parts_.begin(part) * c_step + panel * target_.width();
    tiles_call t;
    t.vectors = panel_vectors(panel);
    t.x = a;
    const index_t width = index_t{t.vectors} * target_.lanes;
    t.loops[2] = {terms, rows, width};
    t.w = b;
    const bool in_place = count == width;
    t.out = in_place ? at : kept;
    t.add = onto;
    t.count = rows;
    t.x_step = 1;
    t.out_step = in_place ? c_step : width;
    if (!in_place && onto)
      for (index_t j = 0; j < rows; ++j) {
        std::copy_n(at + j * c_step, count, kept + j * width);
        std::fill(kept + j * width + count, kept + (j + 1) * width, 0.0F);
      }
    target_.run_tiles(t);
    if (!in_place)
      for (index_t j = 0; j < rows; ++j) std::copy_n(kept + j * width, count, at + j * c_step);
  }

  const tile_target& target_;
  index_t columns_, terms_;
  even_parts parts_;
  index_t panels_;
  even_parts stretches_;
};

}  // namespace plumb
