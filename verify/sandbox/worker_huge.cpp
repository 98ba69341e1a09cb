#include "verify/sandbox/worker_huge.hpp"

#include <omp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cstring>
#include <map>
#include <sstream>
#include <system_error>

#include "verify/huge/periodic.hpp"

namespace plumb {
namespace {

constexpr std::size_t stretch_bytes = static_cast<std::size_t>(huge_period) * sizeof(float);
constexpr std::size_t guard = std::size_t{64} << 20;
constexpr std::size_t most_workspace = std::size_t{1} << 30;

[[noreturn]] void give_up(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

/// A file of memory, closed and unmapped when the call is over.
class memory_file {
 public:
  explicit memory_file(std::size_t bytes) : descriptor_(::memfd_create("plumb-huge", MFD_CLOEXEC)) {
    if (descriptor_ < 0 || ::ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0) give_up("memfd_create");
  }
  memory_file(const memory_file&) = delete;
  memory_file& operator=(const memory_file&) = delete;
  ~memory_file() { ::close(descriptor_); }
  std::byte* map(void* at, std::size_t bytes, std::size_t offset, bool writable) const {
    void* const p =
        ::mmap(at, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ,
               MAP_SHARED | (at != nullptr ? MAP_FIXED : 0), descriptor_, static_cast<off_t>(offset));
    if (p == MAP_FAILED) give_up("mmap");
    return static_cast<std::byte*>(p);
  }

 private:
  int descriptor_;
};

/// A tensor whose memory repeats, between two guards. Of a written one the pages that hold a wanted element are their own.
class repeated_tensor {
 public:
  repeated_tensor(const std::string& name, const shape& extents, bool written,
                  const std::vector<index_t>& wanted)
      : bytes_(static_cast<std::size_t>(extents.size()) * sizeof(float)),
        size_((bytes_ + stretch_bytes - 1) / stretch_bytes * stretch_bytes),
        file_(stretch_bytes) {
    void* const region =
        ::mmap(nullptr, size_ + 2 * guard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) give_up("mmap");
    region_ = static_cast<std::byte*>(region);
    std::byte* const begin = region_ + guard;
    fill(name, written);
    for (std::size_t at = 0; at < size_; at += stretch_bytes)
      file_.map(begin + at, stretch_bytes, 0, written);
    if (written) own_pages(begin, wanted);
    here_ = {begin, dtype::f32, extents, row_major(extents)};
  }
  repeated_tensor(const repeated_tensor&) = delete;
  repeated_tensor& operator=(const repeated_tensor&) = delete;
  ~repeated_tensor() { ::munmap(region_, size_ + 2 * guard); }

  const tensor_ref& here() const { return here_; }
  float operator[](index_t i) const { return static_cast<const float*>(here_.data)[i]; }

 private:
  void fill(const std::string& name, bool written) const {
    auto* const values = reinterpret_cast<float*>(file_.map(nullptr, stretch_bytes, 0, true));
    if (written)
      std::memset(values, 0xff, stretch_bytes);
    else
      for (index_t i = 0; i < huge_period; ++i) values[i] = huge_value(name, i);
    ::munmap(values, stretch_bytes);
  }
  void own_pages(std::byte* begin, const std::vector<index_t>& wanted) {
    std::map<std::size_t, std::size_t> pages;  // page of the tensor → page of the file
    for (const index_t i : wanted)
      pages.emplace(static_cast<std::size_t>(i) * sizeof(float) / huge_page_bytes, pages.size());
    own_ = std::make_unique<memory_file>(std::max<std::size_t>(1, pages.size()) * huge_page_bytes);
    for (const auto& [page, number] : pages) {
      std::byte* const at =
          own_->map(begin + page * huge_page_bytes, huge_page_bytes, number * huge_page_bytes, true);
      std::memset(at, 0xff, huge_page_bytes);
    }
  }

  std::size_t bytes_, size_;
  memory_file file_;
  std::unique_ptr<memory_file> own_;
  std::byte* region_ = nullptr;
  tensor_ref here_;
};

struct parsed_tensor {
  bool written = false;
  std::string name;
  shape extents;
  std::vector<index_t> wanted;
};

parsed_tensor parse_tensor(const std::string& line) {
  std::istringstream words(line);
  std::string role, extents;
  parsed_tensor t;
  words >> role >> t.name >> extents;
  t.written = role == "write";
  std::istringstream list(extents);
  for (std::string e; std::getline(list, e, 'x');) t.extents.push_back(std::stoll(e));
  for (index_t i = 0; words >> i;) t.wanted.push_back(i);
  return t;
}

}  // namespace

std::string run_huge(const registry& kernels, const std::string& request) {
  std::istringstream lines(request);
  std::string name, resolved, canonical, threads;
  std::getline(lines, name), std::getline(lines, resolved), std::getline(lines, canonical),
      std::getline(lines, threads);
  const kernel* const k = kernels.find(name);
  if (k == nullptr) throw std::runtime_error("the worker has no such kernel");
  kernel_problem kp;
  kp.problem = problem::parse(resolved);
  kp.canonical = canonical;
  kp.threads = std::stoi(threads);
  if (const support answer = k->supports ? k->supports(kp) : support::yes(); !answer.ok)
    return "declined " + answer.reason;
  const std::unique_ptr<plan> p = k->make_plan(kp);
  const std::size_t scratch = p->workspace_size();
  if (scratch > most_workspace)
    return "declined asks for a workspace of " + std::to_string(scratch) + " bytes";

  std::vector<std::unique_ptr<repeated_tensor>> tensors;
  std::vector<std::pair<const repeated_tensor*, std::vector<index_t>>> written;
  std::vector<tensor_ref> reads, writes;
  for (std::string line; std::getline(lines, line);) {
    const parsed_tensor t = parse_tensor(line);
    tensors.push_back(std::make_unique<repeated_tensor>(t.name, t.extents, t.written, t.wanted));
    (t.written ? writes : reads).push_back(tensors.back()->here());
    if (t.written) written.emplace_back(tensors.back().get(), t.wanted);
  }
  std::vector<std::byte> workspace(scratch + 64);
  const std::size_t misplaced = std::bit_cast<std::uintptr_t>(workspace.data()) % 64;
  omp_set_num_threads(kp.threads);
  p->prepare(reads);
  p->run({reads, writes, workspace.data() + (64 - misplaced), kp.threads});
  if (!p->failure().empty()) throw std::runtime_error(p->failure());
  std::string answer = "ok";
  for (const auto& [t, wanted] : written)
    for (const index_t i : wanted) answer += " " + std::to_string(std::bit_cast<std::uint32_t>((*t)[i]));
  return answer;
}

}  // namespace plumb
