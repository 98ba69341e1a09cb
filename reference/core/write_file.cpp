// Complete or not at all: write beside the target, flush to the disk, rename over it (POSIX: rename is
// atomic). A full disk is noticed at write, fsync or close, and all three are checked.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "reference/core/record.hpp"

namespace plumb {

namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, int error) {
  throw report_error("cannot write " + path.string() + ": " + std::strerror(error));
}

/// Returns 0 or errno.
int write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

void write_in_place(const fs::path& path, std::string_view text) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) fail(path, errno);
  const int error = write_all(file, text);
  if (::close(file) != 0 && error == 0) fail(path, errno);
  if (error != 0) fail(path, error);
}

void write_beside_and_rename(const fs::path& path, const fs::path& target, std::string_view text) {
  const fs::path beside = target.string() + ".part" + std::to_string(::getpid());
  const int file = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) fail(path, errno);
  int error = write_all(file, text);
  if (error == 0 && ::fsync(file) != 0) error = errno;
  if (::close(file) != 0 && error == 0) error = errno;
  if (error == 0 && ::rename(beside.c_str(), target.c_str()) != 0) error = errno;
  if (error == 0) return;
  ::unlink(beside.c_str());
  fail(path, error);
}

}  // namespace

void write_file(const fs::path& path, std::string_view text) {
  std::error_code ignored;
  // Through a symbolic link the file it points at is replaced, not the link.
  const fs::path resolved = fs::canonical(path, ignored);
  const fs::path target = resolved.empty() ? path : resolved;
  const fs::file_status status = fs::status(target, ignored);
  if (fs::is_directory(status)) fail(path, EISDIR);
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    write_in_place(path, text);
  } else {
    write_beside_and_rename(path, target, text);
  }
}

}  // namespace plumb
