#include "reference/core/npz.hpp"

#include <zip.h>

#include <memory>

#include "reference/core/record.hpp"

namespace plumb {
namespace {

constexpr std::string_view extension = ".npy";

std::string reason(int code) {
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  std::string text = zip_error_strerror(&error);
  zip_error_fini(&error);
  return text;
}

}  // namespace

npz_arrays read_npz(const std::filesystem::path& path) {
  const std::string name = path.string();
  int code = 0;
  const std::unique_ptr<zip_t, decltype(&zip_discard)> archive(zip_open(name.c_str(), ZIP_RDONLY, &code),
                                                               &zip_discard);
  if (!archive) throw npy_error("`" + name + "`: " + reason(code) + "; expected a NumPy .npz archive");
  npz_arrays arrays;
  for (zip_int64_t i = 0; i < zip_get_num_entries(archive.get(), 0); ++i) {
    zip_stat_t about;
    if (zip_stat_index(archive.get(), static_cast<zip_uint64_t>(i), 0, &about) != 0) continue;
    const std::string entry = about.name;
    const std::unique_ptr<zip_file_t, decltype(&zip_fclose)> file(
        zip_fopen_index(archive.get(), static_cast<zip_uint64_t>(i), 0), &zip_fclose);
    std::string bytes(about.size, '\0');
    if (!file || zip_fread(file.get(), bytes.data(), about.size) != static_cast<zip_int64_t>(about.size))
      throw npy_error("`" + name + "`: cannot read `" + entry +
                      "` inside it: " + zip_strerror(archive.get()));
    const std::string array =
        entry.ends_with(extension) ? entry.substr(0, entry.size() - extension.size()) : entry;
    arrays.emplace_back(array, decode_npy(bytes, name + ":" + entry));
  }
  return arrays;
}

void write_npz(const std::filesystem::path& path, const npz_arrays& arrays) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* const buffer = zip_source_buffer_create(nullptr, 0, 0, &error);
  zip_source_keep(buffer);  // zip_close gives one reference back, and the bytes are read after it
  zip_t* const archive = zip_open_from_source(buffer, ZIP_TRUNCATE, &error);
  std::vector<std::string> files;
  for (const auto& [name, array] : arrays) files.push_back(encode_npy(array));
  bool good = archive != nullptr;
  for (std::size_t i = 0; good && i < arrays.size(); ++i) {
    zip_source_t* const source = zip_source_buffer(archive, files[i].data(), files[i].size(), 0);
    const zip_int64_t at =
        zip_file_add(archive, (arrays[i].first + std::string(extension)).c_str(), source, ZIP_FL_OVERWRITE);
    good = at >= 0 && zip_set_file_compression(archive, static_cast<zip_uint64_t>(at), ZIP_CM_STORE, 0) == 0;
  }
  good = good && zip_close(archive) == 0;
  zip_stat_t about;
  std::string bytes;
  if (good && zip_source_stat(buffer, &about) == 0 && zip_source_open(buffer) == 0) {
    bytes.resize(about.size);
    good = zip_source_read(buffer, bytes.data(), about.size) == static_cast<zip_int64_t>(about.size);
    zip_source_close(buffer);
  }
  zip_source_free(buffer);
  zip_error_fini(&error);
  if (!good) throw report_error("cannot write " + path.string() + ": the archive could not be made");
  write_file(path, bytes);
}

}  // namespace plumb
