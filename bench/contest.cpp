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
#include "verify/compare.hpp"
#include "verify/counter_random.hpp"
#include "verify/exam.hpp"
#include "verify/parts.hpp"
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

}  // namespace

contest::contest(std::shared_ptr<evidence> truth, std::vector<const kernel_info*> kernels,
                 const contest_conditions& how)
    : truth_(std::move(truth)), kernels_(std::move(kernels)), how_(how) {
  const layer& about = *truth_->about();
  const pass_spec& pass = truth_->pass();
  request_.resolved = about.resolved().print();
  request_.canonical = about.canonical().print();
  request_.layout = how.layout;
  request_.threads = how.threads;
  request_.sets = sets;
  request_.rounds = how.rounds;
  request_.seed = truth_->seed() + static_cast<std::uint64_t>(how.visit);
  request_.memory_roof = how.memory_roof;
  request_.traffic = static_cast<std::uint64_t>(compulsory_bytes(about, pass, dtype::f32));
  for (const std::string& name : pass.reads) request_.reads.push_back(place(name, false));
  for (const std::string& name : pass.writes) request_.writes.push_back(place(name, true));
  place_picks();
  if (request_.file_bytes > most_bytes)
    throw std::length_error(fmt::format("timing it would take {:.1f} GiB of memory, more than the {} allowed",
                                        static_cast<double>(request_.file_bytes) * 0x1p-30,
                                        most_bytes >> 30));
  memory_ = std::make_unique<shared_memory>(request_.file_bytes);
  request_.file = memory_->path();
  write_picks();
}

/// Room for a tensor: once for parameters that are read (they stay in place from call to call), else once a
/// set.
tensor_place contest::place(const std::string& name, bool written) {
  tensor_place t;
  t.name = name;
  t.present = truth_->about()->present(name);
  if (!t.present) return t;
  const tensor_spec& spec = truth_->about()->spec(name);
  t.type = spec.kind == element::index ? dtype::i64 : dtype::f32;
  t.extents = truth_->about()->shapes()[name];
  const bool last = how_.layout == layout::nhwc && follows_layout(spec, t.extents.rank());
  t.strides = last ? channels_last(t.extents) : row_major(t.extents);
  t.offset = aligned(request_.file_bytes);
  const bool parameter = !written && spec.batch_axis == tensor_spec::no_batch;
  t.step = parameter ? 0 : aligned(t.bytes());
  request_.file_bytes = t.offset + (parameter ? t.bytes() : t.step * (sets + 1));
  return t;
}

void contest::place_picks() {
  for (std::size_t i = 0; i < request_.writes.size(); ++i) {
    const tensor_place& t = request_.writes[i];
    const std::vector<index_t>& numbers = truth_->picks(i);
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
  }
}

void contest::write_picks() {
  for (std::size_t i = 0; i < request_.picks.size(); ++i)
    std::ranges::copy(truth_->picks(i),
                      reinterpret_cast<std::int64_t*>(memory_->at(request_.picks[i].numbers)));
}

/// Set 0 is what was drawn; in set s every real tensor is turned round by a share of its length.
void contest::write_inputs() {
  for (const tensor_place& t : request_.reads) {
    if (!t.present) continue;
    tensor_set<double>::entry entry = truth_->data().at(t.name);
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
  c.verdict = record::verdict::pass;
  for (std::size_t t = 0; t < request_.writes.size() && c.verdict == record::verdict::pass; ++t)
    compare_tensor(c, t, place_in_answer, *c.kernel);
}

void contest::compare_tensor(contestant& c, std::size_t tensor, std::size_t place_in_answer,
                             const kernel_info& k) {
  const tensor_place& t = request_.writes[tensor];
  const element_picks& p = request_.picks[tensor];
  comparison seen;
  c.reason = truth_->judge(k, tensor, memory_->at(p.values + p.step * place_in_answer), how_.threads, seen);
  if (!c.reason.empty()) {
    c.verdict = record::verdict::inconclusive;
    return;
  }
  c.worst_ulps = std::max(c.worst_ulps.value_or(0), seen.worst_ulps);
  c.worst_proven = std::max(c.worst_proven.value_or(0), seen.worst_proven);
  if (seen.passed() || t.extents.size() == 0) return;
  c.verdict = seen.failures > 0 ? record::verdict::fail : record::verdict::inconclusive;
  const judged_element& e = seen.wrong.empty() ? seen.worst : seen.wrong.front();
  c.reason = fmt::format("{} is {}, expected {}; {} of {} elements looked at are wrong",
                         element_name(*truth_->about(), t.name, e.at), e.got, e.expected, seen.failures,
                         seen.elements);
}

}  // namespace plumb::bench
