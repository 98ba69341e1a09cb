// From a law as a template over lab<T> to the erased `law`: on the reference it runs in rationals (100 digits
// where the layer has none), on a kernel in doubles.
#pragma once

#include "properties/laws/lab.hpp"

namespace plumb {

namespace detail {

template <class T, class F>
law_verdict try_law(const F& statement, const layer& l, const pass_spec& pass, std::uint64_t seed,
                    const evaluator<T>& subject, double unit) {
  lab<T> bench(l, pass, seed, subject, unit);
  try {
    if (work_of(l) > most_work) throw not_applicable();
    statement(bench);
  } catch (const not_applicable&) {
    return {.holds = true, .applicable = false, .message = {}};
  }
  law_verdict verdict = bench.verdict();
  if (subject && !bench.asked()) verdict.applicable = false;
  return verdict;
}

template <class F>
law_verdict try_on_reference(const F& statement, const layer& l, const pass_spec& pass, std::uint64_t seed) {
#ifdef PLUMB_FEW_SCALARS
  return try_law<double>(statement, l, pass, seed, {}, 0x1p-50);
#else
  if (l.rational_arithmetic()) return try_law<rational>(statement, l, pass, seed, {}, 0);
  return try_law<mp100>(statement, l, pass, seed, {}, 1e-42);
#endif
}

}  // namespace detail

using law_scope = std::function<bool(const layer&, const pass_spec&)>;

/// `statement` is called with a lab<T>&, for several T.
template <class F>
law state(std::string name, std::string formula, law_scope applies, F statement) {
  return {.name = std::move(name),
          .statement = std::move(formula),
          .applies = std::move(applies),
          .on_reference =
              [statement](const layer& l, const pass_spec& pass, std::uint64_t seed) {
                return detail::try_on_reference(statement, l, pass, seed);
              },
          .on_kernel =
              [statement](const layer& l, const pass_spec& pass, std::uint64_t seed,
                          const evaluator<double>& kernel) {
                return detail::try_law<double>(statement, l, pass, seed, kernel, 0x1p-24);
              }};
}

// Scopes -------------------------------------------------------------------------------------------------

inline bool any_pass(const layer&, const pass_spec&) { return true; }
inline law_scope only(std::string pass) {
  return [pass = std::move(pass)](const layer&, const pass_spec& p) { return p.name == pass; };
}

}  // namespace plumb
