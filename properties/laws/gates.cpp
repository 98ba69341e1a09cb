// Laws of the gates: the arithmetic everybody knows, and each backward gate as a circuit of forward gates.
#include "properties/laws/statement.hpp"

namespace plumb {
namespace gates_family {
namespace {

law_scope gate(std::vector<std::string> names, std::string pass) {
  return [names = std::move(names), pass = std::move(pass)](const layer& l, const pass_spec& p) {
    return p.name == pass && std::ranges::find(names, l.name()) != names.end();
  };
}

/// A gate of two inputs at a and b: the one under judgement if it has that name.
template <class T>
tensor<known<T>> of_two(lab<T>& bench, const char* name, const tensor<T>& a, const tensor<T>& b) {
  problem text(name);
  text.set("x0", to_string(a.extents()));
  text.set("x1", to_string(b.extents()));
  tensor_set<T> reads;
  reads.add("x0", a);
  reads.add("x1", b);
  return bench.run(*derived(text), "forward", reads)["y"];
}
template <class T>
tensor<known<T>> of_one(lab<T>& bench, const char* name, const tensor<T>& x) {
  problem text(name);
  text.set("x", to_string(x.extents()));
  return bench.run(*derived(text), "forward", of_x(x))["y"];
}

template <class T>
tensor<T> mapped(const tensor<T>& t, auto&& f) {
  tensor<T> result(t.extents());
  for (index_t i = 0; i < t.size(); ++i) result[i] = f(t[i]);
  return result;
}

template <class T>
shape extents(const lab<T>& bench) {
  return bench.about().shapes().entries().front().extents;
}

/// x0 and x1 may change places.
template <class T>
void commutes(lab<T>& bench) {
  const tensor<T> a = bench.numbers(extents(bench)), b = bench.numbers(extents(bench));
  const char* name = bench.about().name().c_str();
  const auto one = of_two(bench, name, a, b), other = of_two(bench, name, b, a);
  bench.claim_all("y", one, [&](const shape& at) { return other.view()(at); });
}

/// (a ∘ b) ∘ c = a ∘ (b ∘ c)
template <class T>
void associates(lab<T>& bench) {
  const tensor<T> a = bench.numbers(extents(bench)), b = bench.numbers(extents(bench)),
                  c = bench.numbers(extents(bench));
  const char* name = bench.about().name().c_str();
  const auto left = of_two(bench, name, values_of<T>(of_two(bench, name, a, b)), c);
  const auto right = of_two(bench, name, a, values_of<T>(of_two(bench, name, b, c)));
  bench.claim_all("y", left, [&](const shape& at) { return right.view()(at); });
}

/// a·(b + c) = a·b + a·c, asked of add and of mul.
template <class T>
void distributes(lab<T>& bench) {
  const tensor<T> a = bench.numbers(extents(bench)), b = bench.numbers(extents(bench)),
                  c = bench.numbers(extents(bench));
  const auto factored = of_two(bench, "mul", a, values_of<T>(of_two(bench, "add", b, c)));
  const auto sum = of_two(bench, "add", values_of<T>(of_two(bench, "mul", a, b)),
                          values_of<T>(of_two(bench, "mul", a, c)));
  bench.claim_all("y", factored, [&](const shape& at) { return sum.view()(at); });
}

/// x + (-x) = 0, asked of add and of neg; and -(-x) = x.
template <class T>
void negatives(lab<T>& bench) {
  const tensor<T> x = bench.numbers(extents(bench));
  const tensor<T> minus = values_of<T>(of_one(bench, "neg", x));
  const auto sum = of_two(bench, "add", x, minus), again = of_one(bench, "neg", minus);
  bench.claim_all("x + (-x)", sum, [](const shape&) { return known<T>(T(0)); });
  bench.claim_all("-(-x)", again, [&](const shape& at) { return known<T>(x.view()(at)); });
}

/// max(a, b) - max(-a, -b) = a + b: the larger and the smaller are both.
template <class T>
void larger_and_smaller(lab<T>& bench) {
  const auto minus = [](const T& v) { return T(-v); };
  const tensor<T> a = bench.numbers(extents(bench)), b = bench.numbers(extents(bench));
  const auto larger = of_two(bench, "max", a, b),
             smaller = of_two(bench, "max", mapped(a, minus), mapped(b, minus));
  for (index_t i = 0; i < a.size(); ++i)
    bench.claim_equal("max(a,b) - max(-a,-b)", unflatten(i, a.extents()), larger[i] - smaller[i],
                      known<T>(a[i] + b[i]));
}

/// Eighths, so that exponentials stay moderate.
template <class T>
tensor<T> eighths(lab<T>& bench) {
  return mapped(bench.numbers(extents(bench), -16, 16), [](const T& v) { return T(v / T(8)); });
}

/// e^(a + b) = e^a·e^b and e^0 = 1
template <class T>
void exponentials(lab<T>& bench) {
  const tensor<T> a = eighths(bench), b = eighths(bench);
  tensor<T> sum(a.extents());
  for (index_t i = 0; i < a.size(); ++i) sum[i] = a[i] + b[i];
  const auto of_a = of_one(bench, "exp", a), of_b = of_one(bench, "exp", b),
             of_sum = of_one(bench, "exp", sum);
  for (index_t i = 0; i < a.size(); ++i) {
    known<T> product = of_a[i].value * of_b[i];
    product.slack += static_cast<double>(of_b[i].value) * of_a[i].slack;
    bench.claim_equal("e^(a+b)", unflatten(i, a.extents()), of_sum[i], product);
  }
  bench.claim_all("e^0", of_one(bench, "exp", tensor<T>(a.extents())),
                  [](const shape&) { return known<T>(T(1)); });
}

/// x·(1/x) = 1, and 1/(1/x) = x for powers of two.
template <class T>
void reciprocals(lab<T>& bench) {
  const tensor<T> x = mapped(bench.numbers(extents(bench), 1, 6), [](const T& v) {
    return v > T(3) ? T(T(3) - v) : v;  // 1, 2, 3, -1, -2, -3
  });
  const auto once = of_one(bench, "reciprocal", x);
  for (index_t i = 0; i < x.size(); ++i)
    bench.claim_equal("x·(1/x)", unflatten(i, x.extents()), x[i] * once[i], known<T>(T(1)));
  const tensor<T> powers = mapped(x, [](const T& v) { return v == T(3) ? T(4) : v == T(-3) ? T(-8) : v; });
  const auto twice = of_one(bench, "reciprocal", values_of<T>(of_one(bench, "reciprocal", powers)));
  bench.claim_all("1/(1/x)", twice, [&](const shape& at) { return known<T>(powers.view()(at)); });
}

/// x² = x·x
template <class T>
void squares(lab<T>& bench) {
  const tensor<T> x = bench.numbers(extents(bench));
  const auto square = of_one(bench, "square", x), product = of_two(bench, "mul", x, x);
  bench.claim_all("y", square, [&](const shape& at) { return product.view()(at); });
}

/// A copy added to the other is 2x; its gradient is what add makes of the two cotangents.
template <class T>
void copies_add_up(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto writes = bench.run(l, reads);
  if (is_forward(bench.pass())) {
    const auto sum = of_two(bench, "add", values_of<T>(writes["y0"]), values_of<T>(writes["y1"]));
    bench.claim_all("y0 + y1", sum, [&](const shape& at) { return known<T>(T(2) * reads["x"].view()(at)); });
  } else {
    const auto sum = of_two(bench, "add", reads["dy0"], reads["dy1"]);
    bench.claim_all("dx", writes["dx"], [&](const shape& at) { return sum.view()(at); });
  }
}

/// The gradients of add, mul, neg, square, reciprocal and exp by the gates themselves; those of max add up to
/// dy.
template <class T>
void gradient_by_gates(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor_set<T> in = bench.inputs(l), reads = bench.reads(l, bench.pass(), in);
  const auto writes = bench.run(l, reads);
  const tensor<T>& dy = reads["dy"];
  const auto claim = [&](const char* gradient, const tensor<T>& expected) {
    bench.claim_all(gradient, writes[gradient],
                    [&](const shape& at) { return known<T>(expected.view()(at)); });
  };
  const auto times = [&](const tensor<T>& a, const tensor<T>& b) {
    return values_of<T>(of_two(bench, "mul", a, b));
  };
  if (l.name() == "add") {
    claim("dx0", dy);
    claim("dx1", dy);
  } else if (l.name() == "mul") {
    claim("dx0", times(dy, in["x1"]));
    claim("dx1", times(dy, in["x0"]));
  } else if (l.name() == "max") {
    for (index_t i = 0; i < dy.size(); ++i)
      bench.claim_equal("dx0 + dx1", unflatten(i, dy.extents()), writes["dx0"][i] + writes["dx1"][i],
                        known<T>(dy[i]));
  } else if (l.name() == "neg") {
    claim("dx", values_of<T>(of_one(bench, "neg", dy)));
  } else if (l.name() == "square") {
    claim("dx", values_of<T>(of_two(bench, "add", times(dy, in["x"]), times(dy, in["x"]))));
  } else if (l.name() == "exp") {
    claim("dx", times(dy, reads["y"]));
  } else {
    claim("dx",
          values_of<T>(of_one(bench, "neg", times(dy, values_of<T>(of_one(bench, "square", reads["y"]))))));
  }
}

}  // namespace
}  // namespace gates_family

std::vector<law> gates_laws() {
  using namespace gates_family;
  const std::vector<std::string> differentiated = {"add", "mul", "max", "neg", "square", "exp", "reciprocal"};
  return {
      state("gates.commute", "add, mul and max do not care for the order of their inputs",
            gate({"add", "mul", "max"}, "forward"), [](auto& bench) { commutes(bench); }),
      state("gates.associate", "neither do chains of them", gate({"add", "mul", "max"}, "forward"),
            [](auto& bench) { associates(bench); }),
      state("gates.distribute", "a(b + c) = ab + ac", gate({"add", "mul"}, "forward"),
            [](auto& bench) { distributes(bench); }),
      state("gates.negative", "x + (-x) = 0 and -(-x) = x", gate({"add", "neg"}, "forward"),
            [](auto& bench) { negatives(bench); }),
      state("gates.max_and_min", "max(a, b) - max(-a, -b) = a + b", gate({"max"}, "forward"),
            [](auto& bench) { larger_and_smaller(bench); }),
      state("gates.exponential", "e^(a + b) = e^a e^b and e^0 = 1", gate({"exp"}, "forward"),
            [](auto& bench) { exponentials(bench); }),
      state("gates.reciprocal", "x (1/x) = 1 and 1/(1/x) = x", gate({"reciprocal"}, "forward"),
            [](auto& bench) { reciprocals(bench); }),
      state("gates.square", "x squared = x x", gate({"square"}, "forward"),
            [](auto& bench) { squares(bench); }),
      state(
          "gates.copy", "the copies of x add up to 2x, their cotangents to dx",
          [](const layer& l, const pass_spec&) { return l.name() == "copy"; },
          [](auto& bench) { copies_add_up(bench); }),
      state("gates.gradient", "gradients are circuits of gates", gate(differentiated, "backward"),
            [](auto& bench) { gradient_by_gates(bench); }),
  };
}

}  // namespace plumb
