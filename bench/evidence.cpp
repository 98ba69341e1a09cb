#include "bench/evidence.hpp"

#include <algorithm>
#include <cstring>

#include "bench/work.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/compare.hpp"
#include "verify/counter_random.hpp"
#include "verify/exam.hpp"

namespace plumb::bench {
namespace {

/// Those given and `count` drawn ones; sorted, each once.
std::vector<index_t> with_drawn(std::vector<index_t> numbers, index_t size, index_t count, std::uint64_t seed,
                                const char* stream) {
  const counter_random dice(seed, stream);
  for (index_t i = 0; i < count; ++i)
    numbers.push_back(
        static_cast<index_t>(dice.bits(static_cast<std::uint64_t>(i)) % static_cast<std::uint64_t>(size)));
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  return numbers;
}

}  // namespace

evidence::evidence(std::shared_ptr<const layer> about, const pass_spec& pass, std::uint64_t seed,
                   index_t most_judged)
    : about_(std::move(about)), pass_(&pass), seed_(seed), most_judged_(most_judged), judged_(about_) {
  choose_parts();
  for (const std::string& name : pass.writes) picks_.push_back(choose_elements(name));
}

bool evidence::judges_whole(const layer& about, const pass_spec& pass) {
  return !pass.contraction && !writes_apart(parts::samples, about, pass) &&
         !writes_apart(parts::channels, about, pass);
}

const tensor_set<double>& evidence::data() {
  if (!data_) data_ = draw(*about_, *pass_, regime::zero_mean, seed_, dtype::f32);
  return *data_;
}

/// The last sample or channel and as many others as the oracle works out in a fraction of a second.
void evidence::choose_parts() {
  constexpr index_t dearer = 10;  // an element of a definition than one of a sum
  if (pass_->contraction) return;
  for (const parts of : {parts::samples, parts::channels}) {
    if (!writes_apart(of, *about_, *pass_)) continue;
    const index_t all = count_of(of, *about_);
    index_t elements = 0;
    for (const std::string& name : pass_->writes)
      if (about_->present(name)) elements += about_->shapes()[name].size();
    if (all < 2 || elements == 0) return;
    const index_t affordable =
        std::max<index_t>(2, most_judged_ / dearer / std::max<index_t>(elements / all, 1));
    if (affordable >= all) return;
    cut_ = of;
    parts_ = with_drawn({all - 1}, all, affordable - 1, seed_, "parts");
    judged_ = bind(with_count(of, *about_, std::ssize(parts_)));
    return;
  }
}

std::vector<index_t> evidence::choose_elements(const std::string& tensor) const {
  constexpr double products = 2e7;
  const index_t size = about_->present(tensor) ? about_->shapes()[tensor].size() : 0;
  if (size == 0) return {};
  if (!parts_.empty()) return elements_of_parts(tensor);
  if (!pass_->contraction) return {};
  const double terms = count_products(*about_, *pass_) / static_cast<double>(size);
  const auto affordable = static_cast<index_t>(std::max(64.0, products / std::max(terms, 1.0)));
  const index_t count = std::min(affordable, most_judged_);
  return count < size ? with_drawn({0, size - 1, size / 2}, size, count, seed_, "picks")
                      : std::vector<index_t>{};
}

/// In the order of the elements of the judged layer.
std::vector<index_t> evidence::elements_of_parts(const std::string& tensor) const {
  const int axis = axis_of(cut_, *about_, tensor);
  const shape strides = row_major(about_->shapes()[tensor]);
  std::vector<index_t> numbers;
  for_each_index(judged_->shapes()[tensor], [&](shape at) {
    at[axis] = parts_[static_cast<std::size_t>(at[axis])];
    index_t number = 0;
    for (int i = 0; i < at.rank(); ++i) number += at[i] * strides[i];
    numbers.push_back(number);
  });
  return numbers;
}

const tensor_set<double>& evidence::judged_data() {
  if (parts_.empty()) return data();
  if (!of_parts_) of_parts_ = some_parts(cut_, *about_, *judged_, data(), parts_);
  return *of_parts_;
}

const truths& evidence::truth_of(std::size_t tensor, int threads) {
  if (!evaluated_) {
    if (parts_.empty() && picks_.size() == 1 && !picks_[0].empty())
      truth_.evaluate_some(*about_, *pass_, data(), dtype::f32, picks_[0], threads);
    else
      truth_.evaluate(*judged_, judged_pass(), judged_data(), dtype::f32, threads);
    evaluated_ = true;
  }
  return truth_.results()[tensor];
}

const evidence::declared_bounds& evidence::bounds_for(const kernel_info& k, std::size_t tensor, int threads) {
  for (const declared_bounds& b : bounds_)
    if (b.arithmetic == k.arithmetic && b.ulps == k.accuracy.ulps && b.tensor == tensor) return b;
  const parsed_arithmetic how = parse_arithmetic(k.arithmetic, dtype::f32);
  declared_bounds& b = bounds_.emplace_back();
  b.arithmetic = k.arithmetic;
  b.ulps = k.accuracy.ulps;
  b.tensor = tensor;
  b.error = how.error;
  if (b.error.empty())
    b.error = thresholds_of(*judged_, judged_pass(), judged_data(), truth_of(tensor, threads), how.value,
                            k.accuracy, regime::zero_mean, run_statistics(), b.bounds, threads);
  return b;
}

std::string evidence::judge(const kernel_info& k, std::size_t tensor, std::byte* values, int threads,
                            comparison& seen) {
  const truths& truth = truth_of(tensor, threads);
  const declared_bounds& declared = bounds_for(k, tensor, threads);
  if (!declared.error.empty()) return declared.error;
  const std::string& name = pass_->writes[tensor];
  const std::vector<index_t>& picks = picks_[tensor];
  const dtype type = about_->spec(name).kind == element::index ? dtype::i64 : dtype::f32;
  const shape& extents = judged_->shapes()[name];
  tensor_ref got{values, type, extents, row_major(extents)};
  std::vector<std::byte> whole;
  if (parts_.empty() && !picks.empty()) {
    const std::size_t bytes = size_of(type);
    whole.resize(static_cast<std::size_t>(extents.size()) * bytes);
    for (std::size_t i = 0; i < picks.size(); ++i)
      std::memcpy(&whole[static_cast<std::size_t>(picks[i]) * bytes], values + i * bytes, bytes);
    got.data = whole.data();
  }
  compare(got, truth, declared.bounds, &truth_, tensor, seen);
  if (parts_.empty()) return {};
  const auto in_the_whole = [&](judged_element& e) {
    if (e.at >= 0) e.at = picks[static_cast<std::size_t>(e.at)];
  };
  in_the_whole(seen.worst);
  for (judged_element& e : seen.wrong) in_the_whole(e);
  return {};
}

}  // namespace plumb::bench
