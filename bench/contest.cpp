#include "bench/contest.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <system_error>

#include "bench/work.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/batch.hpp"
#include "verify/compare.hpp"
#include "verify/counter_random.hpp"
#include "verify/exam.hpp"
#include "verify/places.hpp"

namespace plumb::bench {

shared_memory::shared_memory(std::uint64_t bytes)
    : descriptor_(::memfd_create("plumb-bench", MFD_CLOEXEC)),
      data_(nullptr),
      bytes_(std::max<std::uint64_t>(bytes, 1)) {
  void* at = MAP_FAILED;
  if (descriptor_ >= 0 && ::ftruncate(descriptor_, static_cast<off_t>(bytes_)) == 0)
    at = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_, 0);
  if (at == MAP_FAILED) {
    const std::error_code why(errno, std::system_category());
    if (descriptor_ >= 0) ::close(descriptor_);
    throw std::system_error(why, "cannot get memory for a benchmark");
  }
  data_ = static_cast<std::byte*>(at);
}

shared_memory::~shared_memory() {
  ::munmap(data_, bytes_);
  ::close(descriptor_);
}

std::string shared_memory::path() const {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(descriptor_);
}

namespace {

constexpr std::uint64_t line = 64;  ///< tensors begin at cache lines

std::uint64_t aligned(std::uint64_t offset) { return (offset + line - 1) / line * line; }

/// First, last and middle element, and `count` drawn ones; sorted, each once.
std::vector<index_t> sample_of(index_t size, index_t count, std::uint64_t seed) {
  std::vector<index_t> numbers = {0, size - 1, size / 2};
  const counter_random dice(seed, "picks");
  for (index_t i = 0; i < count; ++i)
    numbers.push_back(
        static_cast<index_t>(dice.bits(static_cast<std::uint64_t>(i)) % static_cast<std::uint64_t>(size)));
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  return numbers;
}

}  // namespace

contest::contest(std::shared_ptr<const layer> l, const pass_spec& pass,
                 std::vector<const kernel_info*> kernels, const contest_conditions& how)
    : layer_(std::move(l)), pass_(&pass), kernels_(std::move(kernels)), how_(how) {
  request_.resolved = layer_->resolved().print();
  request_.canonical = layer_->canonical().print();
  request_.layout = how.layout;
  request_.threads = how.threads;
  request_.sets = sets;
  request_.rounds = how.rounds;
  request_.seed = how.seed + static_cast<std::uint64_t>(how.visit);
  request_.memory_roof = how.memory_roof;
  request_.traffic = static_cast<std::uint64_t>(compulsory_bytes(*layer_, pass, dtype::f32));
  for (const std::string& name : pass.reads) request_.reads.push_back(place(name, false));
  for (const std::string& name : pass.writes) request_.writes.push_back(place(name, true));
  choose_samples();
  choose_picks();
  if (request_.file_bytes > most_bytes)
    throw std::length_error(fmt::format("timing it would take {:.1f} GiB of memory, more than the {} allowed",
                                        static_cast<double>(request_.file_bytes) * 0x1p-30,
                                        most_bytes >> 30));
  memory_ = std::make_unique<shared_memory>(request_.file_bytes);
  request_.file = memory_->path();
  data_ = draw(*layer_, pass, regime::zero_mean, how.seed, dtype::f32);
  write_picks();
}

/// Room for a tensor: once for parameters that are read (they stay in place from call to call), else once a
/// set.
tensor_place contest::place(const std::string& name, bool written) {
  tensor_place t;
  t.name = name;
  t.present = layer_->present(name);
  if (!t.present) return t;
  const tensor_spec& spec = layer_->spec(name);
  t.type = spec.kind == element::index ? dtype::i64 : dtype::f32;
  t.extents = layer_->shapes()[name];
  const bool last = how_.layout == layout::nhwc && follows_layout(spec, t.extents.rank());
  t.strides = last ? channels_last(t.extents) : row_major(t.extents);
  t.offset = aligned(request_.file_bytes);
  const bool parameter = !written && spec.batch_axis == tensor_spec::no_batch;
  t.step = parameter ? 0 : aligned(t.bytes());
  request_.file_bytes = t.offset + (parameter ? t.bytes() : t.step * (sets + 1));
  return t;
}

/// Where the samples of a batch do not depend on each other, the last and as many others as the oracle works out in a
/// fraction of a second: what is no contraction it evaluates whole, but for that.
void contest::choose_samples() {
  constexpr index_t dearer = 10;  // an element of a definition than one of a sum
  judged_ = layer_;
  if (pass_->contraction || !writes_samples_alone(*layer_, *pass_)) return;
  const index_t all = samples_of(*layer_);
  index_t elements = 0;
  for (const tensor_place& t : request_.writes) elements += t.present ? t.extents.size() : 0;
  if (all < 2 || elements == 0) return;
  const index_t affordable =
      std::max<index_t>(2, how_.most_judged / dearer / std::max<index_t>(elements / all, 1));
  if (affordable >= all) return;
  samples_ = {all - 1};
  for (const counter_random dice(how_.seed, "samples"); std::ssize(samples_) < affordable;)
    samples_.push_back(static_cast<index_t>(dice.bits(samples_.size()) % static_cast<std::uint64_t>(all)));
  std::sort(samples_.begin(), samples_.end());
  samples_.erase(std::unique(samples_.begin(), samples_.end()), samples_.end());
  judged_ = bind(with_samples(*layer_, std::ssize(samples_)));
}

/// Numbers of the elements that belong to the samples, sample by sample.
std::vector<index_t> contest::elements_of_samples(const std::string& tensor) const {
  const int axis = batch_axis(*layer_, tensor);
  const shape strides = row_major(layer_->shapes()[tensor]);
  std::vector<index_t> numbers;
  for_each_index(judged_->shapes()[tensor], [&](shape at) {
    at[axis] = samples_[static_cast<std::size_t>(at[axis])];
    index_t number = 0;
    for (int i = 0; i < at.rank(); ++i) number += at[i] * strides[i];
    numbers.push_back(number);
  });
  return numbers;
}

/// As many elements as the oracle works out in a fraction of a second.
void contest::choose_picks() {
  constexpr double products = 2e7;
  for (const tensor_place& t : request_.writes) {
    std::vector<index_t> numbers;
    if (!samples_.empty() && t.present) {
      numbers = elements_of_samples(t.name);
    } else if (pass_->contraction && t.extents.size() > 0) {
      const double terms = count_products(*layer_, *pass_) / static_cast<double>(t.extents.size());
      const auto affordable = static_cast<index_t>(std::max(64.0, products / std::max(terms, 1.0)));
      const index_t count = std::min(affordable, how_.most_judged);
      if (count < t.extents.size()) numbers = sample_of(t.extents.size(), count, how_.seed);
    }
    element_picks p;
    p.count = static_cast<std::uint64_t>(numbers.empty() ? t.extents.size() : std::ssize(numbers));
    if (!numbers.empty()) {
      p.numbers = aligned(request_.file_bytes);
      request_.file_bytes = p.numbers + p.count * sizeof(std::int64_t);
    }
    p.values = aligned(request_.file_bytes);
    p.step = aligned(p.count * size_of(t.type));
    request_.file_bytes = p.values + p.step * kernels_.size();
    request_.picks.push_back(p);
    picks_.push_back(std::move(numbers));
  }
}

void contest::write_picks() {
  for (std::size_t i = 0; i < picks_.size(); ++i)
    if (!picks_[i].empty())
      std::copy(picks_[i].begin(), picks_[i].end(),
                reinterpret_cast<std::int64_t*>(memory_->at(request_.picks[i].numbers)));
}

/// Set 0 is what was drawn; in set s every real tensor is turned round by a share of its length.
void contest::write_inputs() {
  for (const tensor_place& t : request_.reads) {
    if (!t.present) continue;
    tensor_set<double>::entry entry = data_.at(t.name);
    for (int set = 0; set < (t.step == 0 ? 1 : sets); ++set) {
      if (set > 0 && !entry.is_index) {
        std::vector<double>& values = entry.real.values();
        std::rotate(values.begin(), values.begin() + std::ssize(values) / sets, values.end());
      }
      store(entry,
            {memory_->at(t.offset + t.step * static_cast<std::uint64_t>(set)), t.type, t.extents, t.strides});
    }
  }
}

std::string contest::serve(sandbox& box, const std::vector<std::size_t>& who) {
  constexpr double patience = 60, slowness = 20;
  write_inputs();
  request asked = request_;
  for (const std::size_t i : who) asked.kernels.push_back(kernels_[i]->name);
  asked.seconds_per_kernel = how_.seconds_per_kernel;
  const double limit = patience + slowness * how_.seconds_per_kernel * static_cast<double>(who.size());
  return box.call("bench", encode(asked), std::chrono::duration<double>(limit));
}

/// After a crash or a hang: every kernel on its own; the ones that bring the worker down stay out.
std::vector<std::size_t> contest::survivors(sandbox& box, contest_result& result) {
  std::vector<std::size_t> alive;
  for (std::size_t i = 0; i < kernels_.size(); ++i) {
    try {
      serve(box, {i});
      alive.push_back(i);
    } catch (const sandbox_error& error) {
      result.contestants[i].verdict = record::verdict::crashed;
      result.contestants[i].reason = error.what();
    }
  }
  return alive;
}

contest_result contest::run(sandbox& box) {
  contest_result result;
  std::vector<std::size_t> who;
  for (std::size_t i = 0; i < kernels_.size(); ++i) {
    result.contestants.emplace_back().kernel = kernels_[i];
    who.push_back(i);
  }
  std::string text;
  try {
    text = serve(box, who);
  } catch (const sandbox_error&) {
    who = survivors(box, result);
    try {
      text = serve(box, who);
    } catch (const sandbox_error& error) {
      for (const std::size_t i : who) {
        result.contestants[i].verdict = record::verdict::crashed;
        result.contestants[i].reason = std::string("only beside the other kernels: ") + error.what();
      }
      return result;
    }
  }
  answer a = decode_answer(text);
  result.gflops_samples = std::move(a.gflops_samples);
  result.gbytes_samples = std::move(a.gbytes_samples);
  result.memory_gbytes_samples = std::move(a.memory_gbytes_samples);
  for (std::size_t i = 0; i < who.size(); ++i) {
    contestant& c = result.contestants[who[i]];
    outcome& seen = a.kernels[i];
    c.implementation = seen.implementation;
    c.prepare_seconds = seen.prepare_seconds;
    if (seen.declined) {
      c.verdict = record::verdict::skipped;
      c.reason = seen.trouble;
    } else if (!seen.trouble.empty()) {
      c.verdict = record::verdict::fail;
      c.reason = seen.trouble;
    } else {
      judge(c, who[i], i);
    }
    if (c.verdict != record::verdict::pass) continue;
    for (const double seconds : seen.samples)
      result.timed_seconds +=
          seconds * static_cast<double>(seen.calls) / static_cast<double>(seen.samples.size());
    c.times = {std::move(seen.samples), std::move(seen.rounds), std::move(seen.fastest)};
    for (int& round : c.times.rounds) round += how_.visit * how_.rounds;
    c.cold = std::move(seen.cold);
  }
  return result;
}

/// FNV-1a, by words, over the bits of all elements that are judged.
std::uint64_t contest::hash_of_outputs(std::size_t place_in_answer) const {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (std::size_t t = 0; t < request_.writes.size(); ++t) {
    const element_picks& p = request_.picks[t];
    const std::byte* const values = memory_->at(p.values + p.step * place_in_answer);
    const std::uint64_t bytes = p.count * size_of(request_.writes[t].type);
    for (std::uint64_t i = 0; i < bytes; i += sizeof hash) {
      std::uint64_t word = 0;
      std::memcpy(&word, values + i, std::min<std::uint64_t>(sizeof word, bytes - i));
      hash = (hash ^ word) * 0x100000001b3U;
      hash ^= hash >> 32;  // else the upper half of a word would never reach the lower half of the hash
    }
  }
  return hash;
}

void contest::judge(contestant& c, std::size_t number, std::size_t place_in_answer) {
  c.outputs = hash_of_outputs(place_in_answer);
  if (number < how_.known.size() && how_.known[number] && how_.known[number]->outputs == c.outputs) {
    c.verdict = record::verdict::pass;
    c.worst_ulps = how_.known[number]->worst_ulps;
    c.worst_proven = how_.known[number]->worst_proven;
    return;
  }
  if (!evaluated_) {
    if (samples_.empty() && picks_.size() == 1 && !picks_[0].empty())
      truth_.evaluate_some(*layer_, *pass_, data_, dtype::f32, picks_[0], how_.threads);
    else
      truth_.evaluate(*judged_, *judged_->find_pass(pass_->name), judged_data(), dtype::f32, how_.threads);
    evaluated_ = true;
  }
  c.verdict = record::verdict::pass;
  for (std::size_t t = 0; t < request_.writes.size() && c.verdict == record::verdict::pass; ++t)
    compare_tensor(c, t, place_in_answer, *c.kernel);
}

const tensor_set<double>& contest::judged_data() {
  if (samples_.empty()) return data_;
  if (!of_samples_) of_samples_ = some_samples(*layer_, *judged_, data_, samples_);
  return *of_samples_;
}

const contest::declared_bounds& contest::bounds_for(const kernel_info& k, std::size_t tensor) {
  for (const declared_bounds& b : bounds_)
    if (b.arithmetic == k.arithmetic && b.ulps == k.accuracy.ulps && b.tensor == tensor) return b;
  const parsed_arithmetic how = parse_arithmetic(k.arithmetic, dtype::f32);
  declared_bounds& b = bounds_.emplace_back();
  b.arithmetic = k.arithmetic;
  b.ulps = k.accuracy.ulps;
  b.tensor = tensor;
  b.error = how.error;
  if (b.error.empty())
    b.error =
        thresholds_of(*judged_, *judged_->find_pass(pass_->name), judged_data(), truth_.results()[tensor],
                      how.value, k.accuracy, regime::zero_mean, run_statistics(), b.bounds, how_.threads);
  return b;
}

void contest::compare_tensor(contestant& c, std::size_t tensor, std::size_t place_in_answer,
                             const kernel_info& k) {
  const truths& truth = truth_.results()[tensor];
  const declared_bounds& declared = bounds_for(k, tensor);
  if (!declared.error.empty()) {
    c.verdict = record::verdict::inconclusive;
    c.reason = declared.error;
    return;
  }

  const tensor_place& t = request_.writes[tensor];
  const element_picks& p = request_.picks[tensor];
  std::byte* const values = memory_->at(p.values + p.step * place_in_answer);
  const shape& extents = judged_->shapes()[t.name];
  tensor_ref got{values, t.type, extents, row_major(extents)};
  std::vector<std::byte> whole;
  if (samples_.empty() && !picks_[tensor].empty()) {
    const std::size_t bytes = size_of(t.type);
    whole.resize(t.bytes());
    for (std::size_t i = 0; i < picks_[tensor].size(); ++i)
      std::memcpy(&whole[static_cast<std::size_t>(picks_[tensor][i]) * bytes], values + i * bytes, bytes);
    got.data = whole.data();
  }
  comparison seen;
  compare(got, truth, declared.bounds, &truth_, tensor, seen);
  c.worst_ulps = std::max(c.worst_ulps.value_or(0), seen.worst_ulps);
  c.worst_proven = std::max(c.worst_proven.value_or(0), seen.worst_proven);
  if (seen.passed() || t.extents.size() == 0) return;
  c.verdict = seen.failures > 0 ? record::verdict::fail : record::verdict::inconclusive;
  judged_element e = seen.wrong.empty() ? seen.worst : seen.wrong.front();
  if (!samples_.empty()) e.at = picks_[tensor][static_cast<std::size_t>(e.at)];
  c.reason =
      fmt::format("{} is {}, expected {}; {} of {} elements looked at are wrong",
                  element_name(*layer_, t.name, e.at), e.got, e.expected, seen.failures, seen.elements);
}

}  // namespace plumb::bench
