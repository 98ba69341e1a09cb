// Convolution as a matrix product: copy every patch of the image into a column, then multiply.
//   columns[(c,r,s)][(p,q)] = x[c, p·stride - pad + r·dilation, …]      one image and group at a time;
//                                                                       in 3-D (c,t,r,s) and (o,p,q)
//   forward            y[k][(p,q)]       = bias[k] + Σ weight[k][(c,r,s)] · columns[(c,r,s)][(p,q)]
//   backward_data      columns           = weightᵀ · dy, then every column is added back to its patch
//   (col2im) backward_weights   dweight[k][c,r,s] = Σ_n dy · columnsᵀ
// The textbook method: easy to trust, at the price of writing each pixel R·S times. NHWC computes the
// transposed products, so that the rows it writes are contiguous; only the steps of the matrices differ.
// Chellapilla, Puri & Simard 2006, "High performance convolutional neural networks for document processing".
#include "optimized/cpu/conv_arguments.hpp"
#include "optimized/cpu/matrix_product.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

enum class direction { forward, backward_data, backward_weights };

class im2col_plan final : public plan {
 public:
  im2col_plan(const tile_target& target, const kernel_problem& kp, direction pass)
      : target_(target),
        a_(read_conv_arguments(kp.problem)),
        pass_(pass),
        last_(kp.layout == layout::nhwc),
        terms_(a_.group_c() * a_.taps()),
        product_(make_product(kp.threads)) {}

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(columns_size() + product_.workspace());
  }

  void run(const kernel_call& call) noexcept override {
    auto* columns = static_cast<float*>(call.workspace);
    float* scratch = columns + columns_size();
    const auto* first = static_cast<const float*>(call.reads[0].data);
    const auto* second = static_cast<const float*>(call.reads[1].data);
    auto* out = static_cast<float*>(call.writes[0].data);
    const float* bias =
        pass_ == direction::forward && a_.bias ? static_cast<const float*>(call.reads[2].data) : nullptr;
#pragma omp parallel num_threads(call.threads)
    {
      if (pass_ == direction::backward_weights && a_.n == 0) fill(out, a_.k * terms_, 0.0F);
      for (index_t n = 0; n < a_.n; ++n)
        for (index_t g = 0; g < a_.groups; ++g) {
          if (pass_ == direction::forward)
            forward(n, g, first, second, bias, out, columns, scratch);
          else if (pass_ == direction::backward_data)
            backward_data(n, g, first, second, out, columns, scratch);
          else
            backward_weights(n, g, first, second, out, columns, scratch);
        }
    }
  }

 private:
  matrix_product make_product(int threads) const {
    const index_t k = a_.group_k(), pixels = a_.out_size();
    switch (pass_) {
      case direction::forward:
        return {target_, last_ ? pixels : k, last_ ? k : pixels, terms_, threads};
      case direction::backward_data:
        return {target_, terms_, pixels, k, threads};
      default:
        return {target_, k, terms_, pixels, threads};
    }
  }
  index_t columns_size() const { return aligned_buffer::padded(terms_ * a_.out_size()); }

  // Where the planes of group g of image n begin, and the steps between channels and between pixels.
  index_t x_start(index_t n, index_t g) const {
    return n * a_.c * a_.in_size() + g * a_.group_c() * (last_ ? 1 : a_.in_size());
  }
  index_t y_start(index_t n, index_t g) const {
    return n * a_.k * a_.out_size() + g * a_.group_k() * (last_ ? 1 : a_.out_size());
  }
  index_t x_channel() const { return last_ ? 1 : a_.in_size(); }
  index_t x_pixel() const { return last_ ? a_.c : 1; }
  matrix_ref y_matrix(const float* y) const { return {y, last_ ? 1 : a_.out_size(), last_ ? a_.k : 1}; }

  void forward(index_t n, index_t g, const float* x, const float* weight, const float* bias, float* y,
               float* columns, float* scratch) const {
    const float* w = weight + g * a_.group_k() * terms_;
    float* to = y + y_start(n, g);
    const float* group_bias = bias ? bias + g * a_.group_k() : nullptr;
    fill_columns(x + x_start(n, g), columns);
    product_call p{.c = to, .workspace = scratch};
    if (last_) {
      fill_with_bias(group_bias, to);
      p.a = {columns, 1, a_.out_size()};
      p.b = {w, 1, terms_};
      p.c_step = a_.k;
    } else {
      p.a = {w, terms_, 1};
      p.b = {columns, a_.out_size(), 1};
      p.c_step = a_.out_size();
      p.fresh = true;
      p.row = group_bias;
    }
    product_.add(p);
  }

  void backward_data(index_t n, index_t g, const float* dy, const float* weight, float* dx, float* columns,
                     float* scratch) const {
    product_.add({.a = {weight + g * a_.group_k() * terms_, 1, terms_},
                  .b = y_matrix(dy + y_start(n, g)),
                  .c = columns,
                  .c_step = a_.out_size(),
                  .fresh = true,
                  .workspace = scratch});
    add_columns_back(columns, dx + x_start(n, g));
  }

  void backward_weights(index_t n, index_t g, const float* dy, const float* x, float* dweight, float* columns,
                        float* scratch) const {
    fill_columns(x + x_start(n, g), columns);
    product_.add({.a = y_matrix(dy + y_start(n, g)),
                  .b = {columns, 1, a_.out_size()},
                  .c = dweight + g * a_.group_k() * terms_,
                  .c_step = terms_,
                  .fresh = n == 0,
                  .workspace = scratch});
  }

  /// Rows of outputs and of inputs are numbered through the depth: o·P + p, d·H + h.
  index_t out_rows() const { return a_.depth().out * a_.height().out; }
  index_t in_rows() const { return a_.depth().in * a_.height().in; }

  /// What output `p` reads under tap `t` of an axis; may lie outside.
  index_t read_by(const conv_axis& axis, index_t p, index_t t) const {
    return p * axis.stride - axis.begin + (a_.flip ? axis.taps - 1 - t : t) * axis.dilation;
  }
  /// The output that reads `i` under tap `t`; none: -1.
  index_t reader_of(const conv_axis& axis, index_t i, index_t t) const {
    const index_t way = i - read_by(axis, 0, t);
    return way < 0 || way % axis.stride != 0 || way / axis.stride >= axis.out ? -1 : way / axis.stride;
  }

  /// Filter tap number `tap` = (t, r, s) meets row `in_row` of the image at output row `row`; the outputs [q, end) of
  /// that row read inside the image, the first of them column w. Nothing inside: q == end.
  struct meeting {
    index_t in_row, w, q, end;
  };
  meeting meet(index_t tap, index_t row) const {
    const conv_axis &rows = a_.height(), &columns = a_.width();
    const index_t d = read_by(a_.depth(), row / rows.out, tap / (rows.taps * columns.taps));
    const index_t h = read_by(rows, row % rows.out, tap / columns.taps % rows.taps);
    const index_t shift = read_by(columns, 0, tap % columns.taps);
    if (d < 0 || d >= a_.depth().in || h < 0 || h >= rows.in || shift >= columns.in) return {0, 0, 0, 0};
    const index_t q = shift < 0 ? std::min(columns.out, (-shift + columns.stride - 1) / columns.stride) : 0;
    const index_t end = std::min(columns.out, (columns.in - 1 - shift) / columns.stride + 1);
    return {d * rows.in + h, q * columns.stride + shift, q, std::max(q, end)};
  }

  /// Each (row of outputs, tap) is a task: a row of every channel, copied (NCHW) or transposed (NHWC), with zeros
  /// around it.
  void fill_columns(const float* x, float* columns) const {
    const index_t row = a_.width().out, step = a_.width().stride * x_pixel();
#pragma omp for schedule(static)
    for (index_t task = 0; task < out_rows() * a_.taps(); ++task) {
      const index_t p = task / a_.taps(), tap = task % a_.taps();
      const meeting m = meet(tap, p);
      const float* from = x + (m.in_row * a_.width().in + m.w) * x_pixel();
      float* to = columns + tap * a_.out_size() + p * row;
      const index_t to_channel = a_.taps() * a_.out_size();
      if (last_) target_.transpose(from, step, m.end - m.q, a_.group_c(), to + m.q, to_channel);
      for (index_t c = 0; c < a_.group_c(); ++c) {
        float* line = to + c * to_channel;
        std::fill(line, line + m.q, 0.0F);
        for (index_t q = m.q; q < m.end && !last_; ++q) line[q] = from[c * x_channel() + (q - m.q) * step];
        std::fill(line + m.end, line + row, 0.0F);
      }
    }
  }

  /// col2im: a row of the image belongs to one thread, and its taps are added in order.
  void add_columns_back(const float* columns, float* dx) const {
    const index_t width = a_.width().in;
    const conv_axis& rows = a_.height();
#pragma omp for schedule(static)
    for (index_t i = 0; i < in_rows(); ++i) {
      for_each(a_.group_c(), width,
               [&](index_t c, index_t w) { dx[c * x_channel() + (i * width + w) * x_pixel()] = 0.0F; });
      for (index_t tap = 0; tap < a_.taps(); ++tap) {
        const index_t across = tap / a_.width().taps;
        const index_t o = reader_of(a_.depth(), i / rows.in, across / rows.taps);
        const index_t p = reader_of(rows, i % rows.in, across % rows.taps);
        if (o < 0 || p < 0) continue;
        const index_t row = o * rows.out + p;
        const meeting m = meet(tap, row);
        const float* from = columns + tap * a_.out_size() + row * a_.width().out + m.q;
        float* to = dx + (i * width + m.w) * x_pixel();
        for_each(a_.group_c(), m.end - m.q, [&](index_t c, index_t q) {
          to[c * x_channel() + q * a_.width().stride * x_pixel()] += from[c * a_.taps() * a_.out_size() + q];
        });
      }
    }
  }

  /// Every channel and pixel of a row, the contiguous one fastest.
  template <class F>
  void for_each(index_t channels, index_t pixels, F&& f) const {
    if (last_)
      for (index_t i = 0; i < pixels; ++i)
        for (index_t c = 0; c < channels; ++c) f(c, i);
    else
      for (index_t c = 0; c < channels; ++c)
        for (index_t i = 0; i < pixels; ++i) f(c, i);
  }

  void fill_with_bias(const float* bias, float* y) const {
    const matrix_ref steps = y_matrix(y);
    const index_t row = a_.width().out;
#pragma omp for schedule(static)
    for (index_t p = 0; p < out_rows(); ++p)
      for_each(a_.group_k(), row, [&](index_t k, index_t q) {
        y[k * steps.row_step + (p * row + q) * steps.column_step] = bias ? bias[k] : 0.0F;
      });
  }

  static void fill(float* to, index_t count, float value) {
#pragma omp for schedule(static)
    for (index_t i = 0; i < count; ++i) to[i] = value;
  }

  const tile_target& target_;
  conv_arguments a_;
  direction pass_;
  bool last_;  ///< channels last
  index_t terms_;
  matrix_product product_;
};

kernel make_kernel(const std::string& layer, const tile_target& target, const std::string& pass,
                   direction d) {
  kernel k;
  k.layer = layer;
  k.pass = pass;
  k.name = layer + "." + pass + "/im2col@" + std::string(target.name);
  if (!target.runs_here) k.unavailable = "this processor lacks " + std::string(target.name);
  k.supports = conv_support;
  k.make_plan = [&target, d](const kernel_problem& kp) -> std::unique_ptr<plan> {
    return std::make_unique<im2col_plan>(target, kp, d);
  };
  return k;
}

}  // namespace

void register_conv2d_im2col(registry& kernels) {
  for (const std::string layer : {"conv2d", "conv3d"})
    for (const tile_target& target : tile_targets()) {
      kernels.add(make_kernel(layer, target, "forward", direction::forward));
      kernels.add(make_kernel(layer, target, "backward_data", direction::backward_data));
      kernels.add(make_kernel(layer, target, "backward_weights", direction::backward_weights));
    }
}

}  // namespace plumb
