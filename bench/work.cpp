#include "bench/work.hpp"

#include <cmath>
#include <random>

namespace plumb::bench {
namespace {

class term_counter {
 public:
  term_counter(const layer& l, const pass_spec& pass)
      : layer_(l), pass_(pass), extents_(l.shapes()[pass.writes.front()]) {
    list_.listed = false;  // the loops say how many
  }

  const shape& extents() const { return extents_; }
  double terms(index_t flat) {
    layer_.products(pass_.name, flat, list_);
    return static_cast<double>(list_.count());
  }
  double terms(const shape& at) {
    index_t flat = 0;
    for (int axis = 0; axis < extents_.rank(); ++axis) flat = flat * extents_[axis] + at[axis];
    return terms(flat);
  }
  double count_all() {
    double sum = 0;
    for (index_t i = 0; i < extents_.size(); ++i) sum += terms(i);
    return sum;
  }

 private:
  const layer& layer_;
  const pass_spec& pass_;
  shape extents_;
  product_list list_;
};

/// terms(i₁ … i_d) = Π_a line[a][i_a] / centre^(d-1), with line[a] the counts along axis a through one
/// element.
struct separable {
  std::vector<std::vector<double>> lines;
  double centre = 0;

  separable(term_counter& count, const shape& through) : centre(count.terms(through)) {
    for (int axis = 0; axis < through.rank(); ++axis) {
      std::vector<double>& line = lines.emplace_back();
      shape at = through;
      for (at[axis] = 0; at[axis] < count.extents()[axis]; ++at[axis]) line.push_back(count.terms(at));
    }
  }
  double at(const shape& element) const {
    double product = centre;
    for (std::size_t axis = 0; axis < lines.size(); ++axis)
      product *= lines[axis][static_cast<std::size_t>(element[static_cast<int>(axis)])] / centre;
    return product;
  }
  double sum() const {
    double product = centre;
    for (const auto& line : lines) {
      double along = 0;
      for (const double terms : line) along += terms;
      product *= along / centre;
    }
    return product;
  }
};

}  // namespace

double count_products(const layer& l, const pass_spec& pass) {
  if (!pass.contraction) return 0;
  term_counter count(l, pass);
  const shape& extents = count.extents();
  if (extents.size() == 0) return 0;
  constexpr index_t counted_in_no_time = 1 << 16;
  if (extents.size() <= counted_in_no_time) return count.count_all();
  shape middle = extents;
  for (int axis = 0; axis < extents.rank(); ++axis) middle[axis] = extents[axis] / 2;
  if (!(count.terms(middle) > 0)) return count.count_all();
  const separable guess(count, middle);
  std::mt19937_64 random(1);
  std::uniform_int_distribution<index_t> pick(0, extents.size() - 1);
  for (int trial = 0; trial < 4096; ++trial) {
    const shape at = unflatten(pick(random), extents);
    const double counted = count.terms(at);
    if (!(std::abs(guess.at(at) - counted) < 0.5)) return count.count_all();
  }
  return std::round(guess.sum());
}

double compulsory_bytes(const layer& l, const pass_spec& pass, dtype type) {
  double bytes = 0;
  for (const auto* names : {&pass.reads, &pass.writes})
    for (const std::string& name : *names)
      if (l.present(name)) {
        const dtype stored = l.spec(name).kind == element::index ? dtype::i64 : type;
        bytes += static_cast<double>(l.shapes()[name].size()) * static_cast<double>(size_of(stored));
      }
  return bytes;
}

}  // namespace plumb::bench
