#include "verify/regimes.hpp"

#include <cmath>
#include <limits>

#include "reference/scalars/float_format.hpp"
#include "verify/counter_random.hpp"
#include "verify/evaluate.hpp"

namespace plumb {
namespace {

enum class role : std::uint8_t { left, right, addend, other };

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Largest number of terms of an element that the pass writes, looked up in a sample: corners, middle, and
/// some between. The oracle checks each element's own sum of magnitudes, so a sample is enough to choose by.
index_t terms_of(const layer& l, const pass_spec& pass, const counter_random& dice) {
  const index_t count = l.shapes()[pass.writes.front()].size();
  const shape& extents = l.shapes()[pass.writes.front()];
  if (count == 0) return 0;
  index_t middle = 0;
  for (int axis = 0; axis < extents.rank(); ++axis) middle = middle * extents[axis] + extents[axis] / 2;
  product_list list;
  list.listed = false;
  index_t most = 0;
  const auto look = [&](index_t at) {
    l.products(pass.name, at, list);
    most = std::max(most, list.count());
  };
  look(0);
  look(count - 1);
  look(middle);
  for (std::uint64_t i = 0; i < 9; ++i)
    look(static_cast<index_t>(dice.bits(i) % static_cast<std::uint64_t>(count)));
  return most;
}

/// A saved output: it comes from the forward pass and is not drawn.
bool is_output(const layer& l, std::string_view name) {
  return std::ranges::any_of(l.describe().outputs, [&](const tensor_spec& s) { return s.name == name; });
}

/// The choices that hold for all tensors of one case.
class drawing {
 public:
  drawing(const layer& l, const pass_spec& pass, regime r, std::uint64_t seed, dtype type)
      : layer_(l),
        pass_(pass),
        regime_(r),
        seed_(seed),
        type_(type),
        format_(format_of(type)),
        dice_(seed, "case") {
    if (pass.contraction) terms_ = std::max<index_t>(1, terms_of(l, pass, dice_));
    choose_scales();
    choose_lattice();
    choose_flavour();
    choose_impulse();
  }

  tensor<double> real(const std::string& name) const;
  tensor<index_t> index(const std::string& name) const;

 private:
  enum draws : std::uint64_t { scale = 100, spread, size, wide, flavour, hot, place, sides, ignore_all };

  void choose_scales();
  void choose_lattice();
  void choose_flavour();
  void choose_impulse();

  role role_of(std::string_view name) const {
    if (!pass_.contraction) return role::other;
    return name == pass_.contraction->a        ? role::left
           : name == pass_.contraction->b      ? role::right
           : name == pass_.contraction->addend ? role::addend
                                               : role::other;
  }
  double round(double x) const {
    return type_ == dtype::f32 ? static_cast<double>(static_cast<float>(x)) : format_.round(x);
  }
  template <class F>
  static void fill(tensor<double>& t, F&& f) {
    for (index_t i = 0; i < t.size(); ++i) t[i] = f(static_cast<std::uint64_t>(i));
  }

  void fill_lattice(tensor<double>& t, role part, const counter_random& random) const;
  void fill_impulse(tensor<double>& t, std::string_view name, const counter_random& random) const;
  void fill_zero_mean(tensor<double>& t, double unit, const counter_random& random) const;
  void fill_positive(tensor<double>& t, role part, double unit, const counter_random& random) const;
  void salt(tensor<double>& t, std::string_view name, const counter_random& random) const;
  double unit_of(role part, std::string_view name) const;
  static void keep_to(domain values, tensor<double>& t, const counter_random& random);

  const layer& layer_;
  const pass_spec& pass_;
  regime regime_;
  std::uint64_t seed_;
  dtype type_;
  float_format format_;
  counter_random dice_;

  index_t terms_ = 1;
  int left_scale_ = 0, right_scale_ = 0, spread_ = 4;  ///< powers of two
  std::uint64_t left_ = 1, right_ = 1, addend_ = 1;    ///< lattice: largest magnitudes
  double density_ = 1;                                 ///< lattice: share of the left operand that is drawn
  bool hazards_ = false;
  std::string hot_;  ///< impulse: the one-hot tensor; special: the tensor with a hazard for certain
};

/// Powers of two do not change a relative error; they move thresholds, and the argument range of functions.
void drawing::choose_scales() {
  const int reach = type_ == dtype::f16 ? 1 : 3;
  const auto width = static_cast<std::uint64_t>(2 * reach + 1);
  left_scale_ = static_cast<int>(dice_.below(draws::scale, width)) - reach;
  right_scale_ = static_cast<int>(dice_.below(draws::spread, width)) - reach;
  spread_ = type_ == dtype::f16 ? 3 : 5;
}

/// n·a·b + |c| ≤ 2^24 (numerics.md 3). Three cases in four with operands of like size; one in four with one
/// operand of 12 significant bits (f64: 30), which alone shows a lowered precision, each operand in turn.
void drawing::choose_lattice() {
  if (regime_ != regime::lattice) return;
  const bool f64 = type_ == dtype::f64;
  const std::uint64_t capacity = f64 ? std::uint64_t{1} << 53 : type_ == dtype::f16 ? 60000 : 1U << 24;
  const std::uint64_t operand = type_ == dtype::bf16 ? 256 : type_ == dtype::f16 ? 2048 : 4095;
  constexpr std::array<std::uint64_t, 3> usual = {8, 20, 127};
  const std::uint64_t most = usual[dice_.below(draws::size, usual.size())];
  left_ = right_ = addend_ = most;
  if (!pass_.contraction) {
    if (dice_.below(draws::wide, 4) == 0) left_ = 2;  // few values: ties
    return;
  }
  addend_ = std::min<std::uint64_t>(most, capacity / 8);
  const auto n = static_cast<std::uint64_t>(terms_);
  const std::uint64_t budget = (capacity - addend_) / n;
  if (pass_.contraction->b.empty()) {
    left_ = std::clamp<std::uint64_t>(budget, 1, operand);
    right_ = 1;
    return;
  }
  const std::uint64_t turn = dice_.below(draws::wide, 8);
  if (turn < 2 && operand >= 4095) {
    const std::uint64_t large = f64 ? (std::uint64_t{1} << 30) - 1 : operand;
    const std::uint64_t small = std::clamp<std::uint64_t>(budget / large, 1, 3);
    left_ = turn == 0 ? large : small;
    right_ = turn == 0 ? small : large;
  } else {
    const auto root = static_cast<std::uint64_t>(std::sqrt(static_cast<double>(budget)));
    left_ = right_ = std::clamp<std::uint64_t>(std::min(root, operand), root < 6 ? 8 : 1, most);
  }
  // Where the sum would be too long, the left operand becomes sparse: on average a magnitude is half the
  // largest one (or 1 of ±1), and three quarters of the capacity may be used.
  const double mean = 0.5 * static_cast<double>(left_ + 1) * 0.5 * static_cast<double>(right_ + 1);
  if (left_ * right_ > budget)
    density_ = std::min(1.0, 0.75 * static_cast<double>(capacity) / (static_cast<double>(n) * mean));
}

/// Four kinds of special data: harmless specials only, so that most outputs stay finite and can be compared;
/// hazards (the largest finite number, ±inf, NaN) too, few enough that they do not drown everything; products
/// in the range of subnormals; products near overflow.
void drawing::choose_flavour() {
  if (regime_ != regime::special) return;
  const std::uint64_t kind = dice_.below(draws::flavour, 4);
  const int low = format_.least_exponent;
  const int high = format_.largest_exponent;
  hazards_ = kind == 1;
  if (kind == 2) {
    left_scale_ = low / 2;
    right_scale_ = low / 2 + 8;
    spread_ = -low - format_.precision / 2;
  }
  if (kind == 3) left_scale_ = right_scale_ = high / 2;
}

void drawing::choose_impulse() {
  std::vector<std::string_view> candidates;
  for (const std::string& name : pass_.reads)
    if (layer_.present(name) && layer_.spec(name).kind == element::real && role_of(name) != role::addend &&
        !is_output(layer_, name))
      candidates.push_back(name);
  if (!candidates.empty()) hot_ = candidates[dice_.below(draws::hot, candidates.size())];
}

double drawing::unit_of(role part, std::string_view name) const {
  switch (part) {
    case role::left:
      return std::ldexp(1.0, left_scale_);
    case role::right:
      return std::ldexp(1.0, right_scale_);
    case role::addend:
      return std::ldexp(1.0, std::clamp(left_scale_ + right_scale_, format_.least_exponent + 8,
                                        format_.largest_exponent - 2));
    case role::other:
      break;
  }
  // Element-wise passes: magnitudes from 2^-4 to 2^5, or, with a wide spread, down among the subnormals.
  const counter_random random(seed_, name);
  if (spread_ > 5) return std::ldexp(1.0, -spread_ + static_cast<int>(random.below(~std::uint64_t{0}, 12)));
  return std::ldexp(1.0, static_cast<int>(random.below(~std::uint64_t{0}, 10)) - 9 + spread_);
}

void drawing::fill_lattice(tensor<double>& t, role part, const counter_random& random) const {
  const std::uint64_t most = part == role::right ? right_ : part == role::addend ? addend_ : left_;
  const std::uint64_t values = 2 * most + 1;
  const auto value = [&](std::uint64_t i) {
    return static_cast<double>(random.below(i, values)) - static_cast<double>(most);
  };
  if (part != role::left || density_ == 1) return fill(t, value);
  const counter_random holes(seed_, "holes");
  const auto kept = static_cast<std::uint64_t>(density_ * 0x1p32);
  fill(t, [&](std::uint64_t i) { return holes.bits(i) >> 32 < kept ? value(i) : 0.0; });
}

/// Integers distinct up to the range in which all of them are exact, scattered by an odd multiplier.
void drawing::fill_impulse(tensor<double>& t, std::string_view name, const counter_random& random) const {
  if (name == hot_) {
    fill(t, [](std::uint64_t) { return 0.0; });
    if (t.size() > 0)
      t[static_cast<index_t>(random.bits(draws::place) % static_cast<std::uint64_t>(t.size()))] = 1;
    return;
  }
  const std::uint64_t most = std::uint64_t{1} << (std::min(format_.precision, 24) - 2);
  std::uint64_t period = 16;
  while (period < most && period < static_cast<std::uint64_t>(t.size())) period *= 2;
  const std::uint64_t step = random.bits(0) | 1;
  const std::uint64_t start = random.bits(1);
  fill(t, [&](std::uint64_t i) {
    return static_cast<double>((i * step + start) & (period - 1)) - static_cast<double>(period / 2);
  });
}

void drawing::fill_zero_mean(tensor<double>& t, double unit, const counter_random& random) const {
  if (dice_.below(draws::sides, 2) == 0)
    fill(t, [&](std::uint64_t i) { return round(unit * random.symmetric(i)); });
  else
    fill(t, [&](std::uint64_t i) { return round(unit * random.bell(i)); });
}

/// Both factors are nonnegative: all terms of a sum have one sign, so that a biased rounding adds up instead
/// of cancelling. One of them has the zeros of a rectified activation.
void drawing::fill_positive(tensor<double>& t, role part, double unit, const counter_random& random) const {
  const bool left_rectified = dice_.below(draws::sides, 2) == 0;
  const bool alone = !pass_.contraction || pass_.contraction->b.empty();
  const bool rectified = part != role::addend && (alone || (part == role::left) == left_rectified);
  if (rectified)
    fill(t, [&](std::uint64_t i) { return std::max(0.0, round(unit * random.bell(i))); });
  else
    fill(t, [&](std::uint64_t i) { return std::fabs(round(unit * random.bell(i))); });
}

void drawing::salt(tensor<double>& t, std::string_view name, const counter_random& random) const {
  if (t.size() == 0) return;
  const counter_random pick(seed_ ^ random.bits(0), "salt");
  const auto harmless = [&](std::uint64_t i) {
    const double sign = (pick.bits(4 * i + 1) & 1) != 0 ? 1.0 : -1.0;
    switch (pick.below(4 * i + 2, 4)) {
      case 0:
        return sign * 0.0;
      case 1:
        return sign * format_.smallest();
      case 2:
        return sign * format_.smallest_normal();
      default: {
        const double fraction = static_cast<double>(pick.bits(4 * i + 3) >> 11) * 0x1p-53;
        return sign * format_.round(fraction * format_.smallest_normal());
      }
    }
  };
  const auto hazard = [&](std::uint64_t i) {
    const double sign = (pick.bits(4 * i + 1) & 1) != 0 ? 1.0 : -1.0;
    const std::uint64_t kind = pick.below(4 * i + 2, 3);
    return kind == 0   ? sign * format_.largest()
           : kind == 1 ? sign * infinity
                       : std::numeric_limits<double>::quiet_NaN();
  };
  const std::uint64_t one_in = 4 * static_cast<std::uint64_t>(std::max<index_t>(4, terms_));
  for (index_t i = 0; i < t.size(); ++i) {
    const auto at = static_cast<std::uint64_t>(i);
    const std::uint64_t roll = pick.bits(4 * at);
    if (hazards_ && roll % one_in == 0)
      t[i] = hazard(at);
    else if (roll >> 61 == 0)
      t[i] = harmless(at);
  }
  if (hazards_ && name == hot_) {
    const std::uint64_t at = pick.bits(~std::uint64_t{0}) % static_cast<std::uint64_t>(t.size());
    t[static_cast<index_t>(at)] = hazard(at);
  }
}

/// Numbers outside the tensor's domain are replaced by ones inside it; units are multiples of 2^-7, exact in
/// every storage type.
void drawing::keep_to(domain values, tensor<double>& t, const counter_random& random) {
  constexpr std::uint64_t other_draws = std::uint64_t{1} << 40;
  for (index_t i = 0; i < t.size(); ++i) {
    const std::uint64_t at = other_draws + static_cast<std::uint64_t>(i);
    switch (values) {
      case domain::any:
        return;
      case domain::nonnegative:
        t[i] = std::fabs(t[i]);
        break;
      case domain::positive:
        t[i] = t[i] == 0 ? 1 : std::fabs(t[i]);
        break;
      case domain::nonzero:
        t[i] = t[i] == 0 ? 1 : t[i];
        break;
      case domain::unit:
        t[i] = static_cast<double>(random.below(at, 128)) * 0x1p-7;
        break;
      case domain::bit:
        t[i] = static_cast<double>(random.below(at, 2));
        break;
      case domain::position:
        t[i] = static_cast<double>(random.below(at, 321)) * 0x1p-7 - 1.25;
        break;
    }
  }
}

tensor<double> drawing::real(const std::string& name) const {
  tensor<double> t(layer_.shapes()[name]);
  const counter_random random(seed_, name);
  const role part = role_of(name);
  const domain values = layer_.spec(name).values;
  switch (regime_) {
    case regime::lattice:
      fill_lattice(t, part, random);
      break;
    case regime::impulse:
      fill_impulse(t, name, random);
      break;
    case regime::zero_mean:
      fill_zero_mean(t, unit_of(part, name), random);
      break;
    case regime::positive:
      fill_positive(t, part, unit_of(part, name), random);
      break;
    case regime::special:
      fill_zero_mean(t, unit_of(part, name), random);
      if (values == domain::any) salt(t, name, random);
      break;
  }
  const bool gradient = name.starts_with('d') && layer_.spec(name).name != name;
  if (!gradient) keep_to(values, t, random);
  return t;
}

/// `ignore_index`, where a layer has that attribute, is the value of an index input that stands for "skip".
tensor<index_t> drawing::index(const std::string& name) const {
  tensor<index_t> t(layer_.shapes()[name]);
  const counter_random random(seed_, name);
  const index_t bound = std::max<index_t>(1, layer_.index_bound(name));
  const bool skips = layer_.resolved().has("ignore_index");
  const index_t skip = skips ? layer_.resolved().integer("ignore_index") : 0;
  const bool all = skips && regime_ == regime::special && dice_.below(draws::ignore_all, 8) == 0;
  for (index_t i = 0; i < t.size(); ++i) {
    const auto at = static_cast<std::uint64_t>(i);
    const bool ignored = all || (skips && (random.bits(2 * at) >> 61) == 0);
    t[i] = ignored ? skip : static_cast<index_t>(random.bits(2 * at + 1) % static_cast<std::uint64_t>(bound));
  }
  return t;
}

void add_drawn(tensor_set<double>& set, const layer& l, const drawing& d, const std::string& name) {
  if (set.has(name)) return;
  if (l.spec(name).kind == element::index)
    set.add_indices(name, d.index(name));
  else
    set.add(name, d.real(name));
}

}  // namespace

tensor_set<double> draw(const layer& l, const pass_spec& pass, regime r, std::uint64_t seed, dtype type) {
  const drawing d(l, pass, r, seed, type);
  const signature& sig = l.describe();
  tensor_set<double> saved;
  if (std::ranges::any_of(pass.reads, [&](const std::string& name) { return is_output(l, name); })) {
    tensor_set<double> inputs;
    for (const tensor_spec& s : sig.inputs)
      if (l.present(s.name)) add_drawn(inputs, l, d, s.name);
    const float_format format = format_of(type);
    saved = evaluate_pass<double>(l, sig.passes.front(), inputs).map<double>([&](double x) {
      return format.round(x);
    });
  }
  tensor_set<double> reads;
  for (const std::string& name : pass.reads) {
    if (!l.present(name)) continue;
    if (const auto* e = saved.find(name)) {
      if (e->is_index)
        reads.add_indices(name, e->index);
      else
        reads.add(name, e->real);
    } else {
      add_drawn(reads, l, d, name);
    }
  }
  return reads;
}

}  // namespace plumb
