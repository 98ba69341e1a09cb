#include "verify/panel_sums.hpp"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <map>

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace plumb {
namespace {

constexpr int tile_rows = 6;
constexpr index_t width = panel_plan::columns;
constexpr index_t terms_at_once =
    512;  ///< so many rows of the panel, 64 KiB, stay near while all tiles pass over them

/// Sums and sizes of 6 rows × 16 columns: out[row·16 + column].
using tile_function = void(const double* const* rows, const index_t* at, index_t terms, const double* panel,
                           double* sum, double* size);

#ifdef __x86_64__
[[gnu::target("avx512f"), gnu::always_inline]] inline __m512d magnitude(__m512d v) {
  return _mm512_castsi512_pd(
      _mm512_and_epi64(_mm512_castpd_si512(v), _mm512_set1_epi64(0x7fffffffffffffffL)));
}

/// 24 accumulators: two vectors of sums and two of sizes a row.
[[gnu::target("avx512f")]] void tile_avx512(const double* const* rows, const index_t* at, index_t terms,
                                            const double* panel, double* sum, double* size) {
  __m512d s[tile_rows][2], z[tile_rows][2];
#pragma GCC unroll 6
  for (int j = 0; j < tile_rows; ++j) s[j][0] = s[j][1] = z[j][0] = z[j][1] = _mm512_setzero_pd();
  const double *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3], *r4 = rows[4], *r5 = rows[5];
  for (index_t t = 0; t < terms; ++t, panel += width) {
    const __m512d p0 = _mm512_loadu_pd(panel), p1 = _mm512_loadu_pd(panel + 8);
    const __m512d q0 = magnitude(p0), q1 = magnitude(p1);
    const index_t o = at[t];
    const double* const from[tile_rows] = {r0 + o, r1 + o, r2 + o, r3 + o, r4 + o, r5 + o};
#pragma GCC unroll 6
    for (int j = 0; j < tile_rows; ++j) {
      const __m512d x = _mm512_set1_pd(*from[j]);
      const __m512d y = magnitude(x);
      s[j][0] = _mm512_fmadd_pd(x, p0, s[j][0]);
      s[j][1] = _mm512_fmadd_pd(x, p1, s[j][1]);
      z[j][0] = _mm512_fmadd_pd(y, q0, z[j][0]);
      z[j][1] = _mm512_fmadd_pd(y, q1, z[j][1]);
    }
  }
#pragma GCC unroll 6
  for (int j = 0; j < tile_rows; ++j) {
    _mm512_storeu_pd(sum + j * width, s[j][0]);
    _mm512_storeu_pd(sum + j * width + 8, s[j][1]);
    _mm512_storeu_pd(size + j * width, z[j][0]);
    _mm512_storeu_pd(size + j * width + 8, z[j][1]);
  }
}

/// Two rows and half of the columns at a time: 8 accumulators, enough to hide what a multiply-add takes, and what is left
/// of 16 registers holds the factors with and without their signs.
[[gnu::target("avx2,fma")]] void tile_avx2(const double* const* rows, const index_t* at, index_t terms,
                                           const double* panel, double* sum, double* size) {
  constexpr int vector = 4, half = 2 * vector;
  const __m256d sign = _mm256_set1_pd(-0.0);
  for (int j = 0; j < tile_rows; j += 2)
    for (int column = 0; column < width; column += half) {
      const double *const r0 = rows[j], *const r1 = rows[j + 1], *from = panel + column;
      __m256d s00 = _mm256_setzero_pd(), s01 = s00, s10 = s00, s11 = s00;
      __m256d z00 = s00, z01 = s00, z10 = s00, z11 = s00;
      for (index_t t = 0; t < terms; ++t, from += width) {
        const __m256d p0 = _mm256_loadu_pd(from), p1 = _mm256_loadu_pd(from + vector);
        const __m256d q0 = _mm256_andnot_pd(sign, p0), q1 = _mm256_andnot_pd(sign, p1);
        const __m256d x0 = _mm256_broadcast_sd(r0 + at[t]), x1 = _mm256_broadcast_sd(r1 + at[t]);
        const __m256d y0 = _mm256_andnot_pd(sign, x0), y1 = _mm256_andnot_pd(sign, x1);
        s00 = _mm256_fmadd_pd(x0, p0, s00);
        s01 = _mm256_fmadd_pd(x0, p1, s01);
        s10 = _mm256_fmadd_pd(x1, p0, s10);
        s11 = _mm256_fmadd_pd(x1, p1, s11);
        z00 = _mm256_fmadd_pd(y0, q0, z00);
        z01 = _mm256_fmadd_pd(y0, q1, z01);
        z10 = _mm256_fmadd_pd(y1, q0, z10);
        z11 = _mm256_fmadd_pd(y1, q1, z11);
      }
      double* const to[2][2] = {{sum + j * width + column, sum + (j + 1) * width + column},
                                {size + j * width + column, size + (j + 1) * width + column}};
      _mm256_storeu_pd(to[0][0], s00);
      _mm256_storeu_pd(to[0][0] + vector, s01);
      _mm256_storeu_pd(to[0][1], s10);
      _mm256_storeu_pd(to[0][1] + vector, s11);
      _mm256_storeu_pd(to[1][0], z00);
      _mm256_storeu_pd(to[1][0] + vector, z01);
      _mm256_storeu_pd(to[1][1], z10);
      _mm256_storeu_pd(to[1][1] + vector, z11);
    }
}
#endif

tile_function* best_tile() {
#ifdef __x86_64__
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return tile_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return tile_avx2;
#endif
  return nullptr;
}

/// The terms of a nest, in its order: where each lies in a and b.
void list_terms(const product_list::nest& loops, std::vector<index_t>& at_a, std::vector<index_t>& at_b) {
  const auto &l0 = loops[0], &l1 = loops[1], &l2 = loops[2], &l3 = loops[3];
  for (index_t i3 = 0; i3 < l3.count; ++i3)
    for (index_t i2 = 0; i2 < l2.count; ++i2)
      for (index_t i1 = 0; i1 < l1.count; ++i1)
        for (index_t i0 = 0; i0 < l0.count; ++i0) {
          at_a.push_back(i3 * l3.a_step + i2 * l2.a_step + i1 * l1.a_step + i0 * l0.a_step);
          at_b.push_back(i3 * l3.b_step + i2 * l2.b_step + i1 * l1.b_step + i0 * l0.b_step);
        }
}

}  // namespace

std::optional<panel_plan> panel_plan::make(const layer& l, const pass_spec& pass) {
  panel_plan plan;
  if (best_tile() == nullptr || !pass.contraction || pass.contraction->b.empty()) return std::nullopt;
  return plan.describe(l, pass) ? std::optional(std::move(plan)) : std::nullopt;
}

bool panel_plan::describe(const layer& l, const pass_spec& pass) {
  const shape& y = l.shapes()[pass.writes.front()];
  if (y.rank() < 2 || y.size() == 0) return false;
  outputs_ = y.size();
  images_ = y[0];
  channels_ = y[1];
  inner_ = outputs_ / (images_ * channels_);
  if (!find_segments(l, pass, inner_ / 2)) return false;
  std::map<std::pair<std::vector<index_t>, index_t>, std::size_t> known;
  product_list list;
  list.listed = false;
  for (index_t i = 0; i < inner_; ++i) {
    l.products(pass.name, i, list);
    std::vector<index_t> key;
    for (const auto& loop : list.loops) key.insert(key.end(), {loop.count, loop.a_step, loop.b_step});
    const auto [entry, fresh] = known.try_emplace({std::move(key), list.first_b}, classes_.size());
    if (fresh) {
      classes_.emplace_back();
      classes_.back().loops = list.loops;
      classes_.back().first_b = list.first_b;
    }
    classes_[entry->second].positions.push_back(i);
    classes_[entry->second].first_a.push_back(list.first_a);
  }
  for (position_class& c : classes_) list_terms(c.loops, c.at_a, c.at_b);
  bool sound = true;
#pragma omp parallel for schedule(static) reduction(&& : sound)
  for (index_t i = 0; i < inner_; ++i) sound = sound && agrees(l, pass, i);
  return sound;
}

/// Steps along both axes, from one position.
bool panel_plan::find_segments(const layer& l, const pass_spec& pass, index_t position) {
  product_list here, origin;
  here.listed = origin.listed = false;
  l.products(pass.name, position, origin);
  addend_ = origin.addend;
  if (images_ > 1) {
    l.products(pass.name, channels_ * inner_ + position, here);
    a_step_ = here.first_a - origin.first_a;
  }
  for (index_t k = 0; k < channels_; ++k) {
    l.products(pass.name, k * inner_ + position, here);
    if (here.loops != origin.loops) return false;
    if (k == 1) addend_step_ = here.addend - addend_;
    if (here.addend != (addend_ < 0 ? -1 : addend_ + k * addend_step_)) return false;
    const index_t a_offset = here.first_a - origin.first_a, b_offset = here.first_b - origin.first_b;
    segment* s = segments_.empty() ? nullptr : &segments_.back();
    if (s != nullptr && s->a_offset == a_offset && s->count == 1) s->b_step = b_offset - s->b_offset;
    if (s != nullptr && s->a_offset == a_offset && b_offset == s->b_offset + s->count * s->b_step)
      ++s->count;
    else
      segments_.push_back({k, 1, a_offset, b_offset, 0});
  }
  return true;
}

/// Whether the last output of both axes lies where the steps lead.
bool panel_plan::agrees(const layer& l, const pass_spec& pass, index_t position) const {
  thread_local product_list first, last;
  first.listed = last.listed = false;
  l.products(pass.name, position, first);
  const segment& s = segments_.back();
  const index_t b_offset = s.b_offset + (s.count - 1) * s.b_step;
  for (const index_t n : {index_t{0}, images_ / 2, images_ - 1}) {
    l.products(pass.name, (n * channels_ + channels_ - 1) * inner_ + position, last);
    if (last.loops != first.loops || last.first_a != first.first_a + n * a_step_ + s.a_offset ||
        last.first_b != first.first_b + b_offset ||
        last.addend != (addend_ < 0 ? -1 : addend_ + (channels_ - 1) * addend_step_) ||
        first.addend != addend_)
      return false;
  }
  return true;
}

double panel_plan::most_terms() const {
  std::size_t most = 0;
  for (const position_class& c : classes_) most = std::max(most, c.at_a.size());
  return static_cast<double>(most);
}

double panel_plan::products() const {
  double all = 0;
  for (const position_class& c : classes_)
    all += static_cast<double>(c.at_a.size()) * static_cast<double>(c.positions.size());
  return all * static_cast<double>(images_ * channels_);
}

void panel_plan::run(const double* a, const double* b, int threads,
                     const std::function<void(int, const block&)>& consume) const {
  std::vector<task> tasks;
  for (std::size_t c = 0; c < classes_.size(); ++c) {
    const index_t rows = images_ * static_cast<index_t>(classes_[c].positions.size());
    for (index_t r = 0; r < rows; r += most_rows) tasks.push_back({c, r});
  }
#pragma omp parallel num_threads(threads)
  {
    std::vector<double> scratch;
#pragma omp for schedule(dynamic)
    for (std::size_t t = 0; t < tasks.size(); ++t)
      run_task(tasks[t], a, b, omp_get_thread_num(), scratch, consume);
  }
}

void panel_plan::run_task(const task& t, const double* a, const double* b, int thread,
                          std::vector<double>& scratch,
                          const std::function<void(int, const block&)>& consume) const {
  static tile_function* const tile = best_tile();
  const position_class& c = classes_[t.of];
  const auto terms = static_cast<index_t>(c.at_a.size());
  const auto here = static_cast<index_t>(c.positions.size());
  const index_t rows = std::min(most_rows, images_ * here - t.first_row);
  std::array<index_t, most_rows> first{}, start{};
  for (index_t r = 0; r < rows; ++r) {
    const index_t n = (t.first_row + r) / here, i = (t.first_row + r) % here;
    first[static_cast<std::size_t>(r)] = n * channels_ * inner_ + c.positions[static_cast<std::size_t>(i)];
    start[static_cast<std::size_t>(r)] = c.first_a[static_cast<std::size_t>(i)] + n * a_step_;
  }
  constexpr std::size_t most = most_rows * width;
  scratch.resize(static_cast<std::size_t>(terms * width) + 2 * most);
  double *const panel = scratch.data() + 2 * most, *const sums = scratch.data(), *const sizes = sums + most;
  double tile_sum[tile_rows * width], tile_size[tile_rows * width];
  for (const segment& s : segments_)
    for (index_t k = 0; k < s.count; k += width) {
      block out;
      out.rows = rows;
      out.width = std::min(width, s.count - k);
      out.terms = static_cast<double>(terms);
      const double* const from = b + c.first_b + s.b_offset + k * s.b_step;
      for (index_t term = 0; term < terms; ++term)
        for (index_t col = 0; col < width; ++col)
          panel[term * width + col] =
              col < out.width ? from[c.at_b[static_cast<std::size_t>(term)] + col * s.b_step] : 0;
      std::fill_n(sums, rows * width, 0.0);
      std::fill_n(sizes, rows * width, 0.0);
      for (index_t done = 0; done < terms; done += terms_at_once)
        for (index_t r = 0; r < rows; r += tile_rows) {
          const double* pointers[tile_rows];
          for (index_t j = 0; j < tile_rows; ++j)
            pointers[j] = a + s.a_offset + start[static_cast<std::size_t>(std::min(r + j, rows - 1))];
          tile(pointers, c.at_a.data() + done, std::min(terms_at_once, terms - done), panel + done * width,
               tile_sum, tile_size);
          for (index_t col = 0; col < out.width; ++col)
            for (index_t j = 0; j < std::min<index_t>(tile_rows, rows - r); ++j) {
              sums[col * rows + r + j] += tile_sum[j * width + col];
              sizes[col * rows + r + j] += tile_size[j * width + col];
            }
        }
      std::array<index_t, most_rows> numbers{};
      for (index_t r = 0; r < rows; ++r)
        numbers[static_cast<std::size_t>(r)] = first[static_cast<std::size_t>(r)] + (s.first + k) * inner_;
      out.first = numbers.data();
      out.step = inner_;
      out.addend = addend_ < 0 ? -1 : addend_ + (s.first + k) * addend_step_;
      out.addend_step = addend_step_;
      out.sum = sums;
      out.size = sizes;
      consume(thread, out);
    }
}

}  // namespace plumb
