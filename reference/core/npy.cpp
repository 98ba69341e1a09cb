#include "reference/core/npy.hpp"

#include <cstring>
#include <fstream>
#include <iterator>

#include "reference/core/problem.hpp"
#include "reference/core/record.hpp"

namespace plumb {
namespace {

struct header {
  std::string descr;
  bool fortran_order = false;
  shape extents;
};

/// The value that follows `'key':` in the header's Python dictionary.
std::string_view entry(std::string_view dictionary, std::string_view key) {
  const std::size_t at = dictionary.find("'" + std::string(key) + "':");
  if (at == std::string_view::npos) return {};
  std::string_view rest = dictionary.substr(at + key.size() + 3);
  while (rest.starts_with(' ')) rest.remove_prefix(1);
  if (rest.starts_with('(')) return rest.substr(0, rest.find(')') + 1);
  return rest.substr(0, rest.find_first_of(",}"));
}

header parse_header(std::string_view dictionary, const std::string& name) {
  header h;
  const std::string_view descr = entry(dictionary, "descr");
  const std::string_view order = entry(dictionary, "fortran_order");
  std::string_view extents = entry(dictionary, "shape");
  if (descr.size() < 3 || (order != "True" && order != "False") || !extents.starts_with('(') ||
      !extents.ends_with(')'))
    throw npy_error("`" + name + "`: the .npy header is malformed; expected descr, fortran_order and shape");
  h.descr = descr.substr(1, descr.size() - 2);
  h.fortran_order = order == "True";
  std::string list;
  for (const char c : extents.substr(1, extents.size() - 2))
    if (c != ' ' && c != 'L') list += c;
  if (list.ends_with(',')) list.pop_back();
  if (list.empty()) return h;
  const auto numbers = parse_integers(list);
  if (!numbers || numbers->size() > shape::max_rank ||
      std::ranges::any_of(*numbers, [](index_t n) { return n < 0; }))
    throw npy_error("`" + name + "`: the shape " + std::string(extents) +
                    " is not a list of at most 8 extents");
  index_t bytes = 8;
  for (const index_t n : *numbers)
    if (__builtin_mul_overflow(bytes, std::max<index_t>(n, 1), &bytes))
      throw npy_error("`" + name + "`: the shape " + std::string(extents) + " is larger than any memory");
  h.extents = shape(std::span<const index_t>(*numbers));
  return h;
}

template <class Stored, class T>
tensor<T> decode(std::string_view bytes, const header& h) {
  tensor<T> t(h.extents);
  const auto stored = [&](index_t i) {
    Stored value;
    std::memcpy(&value, bytes.data() + static_cast<std::size_t>(i) * sizeof(Stored), sizeof(Stored));
    if constexpr (std::is_same_v<Stored, f16>)
      return static_cast<T>(static_cast<float>(value));
    else
      return static_cast<T>(value);
  };
  if (!h.fortran_order) {
    for (index_t i = 0; i < t.size(); ++i) t[i] = stored(i);
    return t;
  }
  shape strides = h.extents;  // Fortran order: the first axis is contiguous
  index_t step = 1;
  for (int axis = 0; axis < h.extents.rank(); ++axis) {
    strides[axis] = step;
    step *= h.extents[axis];
  }
  index_t flat = 0;
  for_each_index(h.extents, [&](const shape& at) {
    index_t offset = 0;
    for (int axis = 0; axis < at.rank(); ++axis) offset += at[axis] * strides[axis];
    t[flat++] = stored(offset);
  });
  return t;
}

template <class Stored, class T>
std::string encode(const tensor<T>& t) {
  std::string bytes(static_cast<std::size_t>(t.size()) * sizeof(Stored), '\0');
  for (index_t i = 0; i < t.size(); ++i) {
    const auto value = static_cast<Stored>(t[i]);
    std::memcpy(bytes.data() + static_cast<std::size_t>(i) * sizeof(Stored), &value, sizeof(Stored));
  }
  return bytes;
}

}  // namespace

npy_array read_npy(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw npy_error("`" + path.string() + "`: cannot open the file; expected a NumPy .npy file");
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return decode_npy(bytes, path.string());
}

npy_array decode_npy(std::string_view all, const std::string& name) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(all[i]); };
  if (!all.starts_with("\x93NUMPY") || all.size() < 12)
    throw npy_error("`" + name + "` is not a .npy file: it does not begin with \\x93NUMPY");
  const bool wide = byte(6) >= 2;
  const std::size_t start = wide ? 12 : 10;
  std::size_t length = byte(8) | static_cast<std::size_t>(byte(9)) << 8;
  if (wide) length |= static_cast<std::size_t>(byte(10)) << 16 | static_cast<std::size_t>(byte(11)) << 24;
  if (all.size() < start + length)
    throw npy_error("`" + name + "` is truncated: the header alone needs " + std::to_string(start + length) +
                    " bytes, the file has " + std::to_string(all.size()));
  const header h = parse_header(all.substr(start, length), name);
  const std::string_view data = all.substr(start + length);

  struct format {
    std::string_view descr;
    std::size_t size;
    dtype type;
  };
  constexpr format formats[] = {{"<f2", 2, dtype::f16},
                                {"<f4", 4, dtype::f32},
                                {"<f8", 8, dtype::f64},
                                {"<i4", 4, dtype::i64},
                                {"<i8", 8, dtype::i64}};
  for (const format& f : formats) {
    if (h.descr != f.descr) continue;
    const std::size_t wanted = static_cast<std::size_t>(h.extents.size()) * f.size;
    if (data.size() < wanted)
      throw npy_error("`" + name + "` is truncated: " + to_string(h.extents) + " elements of " + h.descr +
                      " need " + std::to_string(wanted) + " bytes, the file has " +
                      std::to_string(data.size()));
    npy_array array;
    array.type = f.type;
    if (f.descr == "<f2") array.real = decode<f16, double>(data, h);
    if (f.descr == "<f4") array.real = decode<float, double>(data, h);
    if (f.descr == "<f8") array.real = decode<double, double>(data, h);
    if (f.descr == "<i4") array.index = decode<std::int32_t, index_t>(data, h);
    if (f.descr == "<i8") array.index = decode<index_t, index_t>(data, h);
    return array;
  }
  throw npy_error("`" + name + "` holds elements of type `" + h.descr +
                  "`; expected <f2, <f4, <f8, <i4 or <i8");
}

void write_npy(const std::filesystem::path& path, const npy_array& array) {
  write_file(path, encode_npy(array));
}

std::string encode_npy(const npy_array& array) {
  std::string list;
  for (const index_t extent : array.extents()) list += std::to_string(extent) + ", ";
  const char* descr = array.type == dtype::i64 ? "<i8" : array.type == dtype::f64 ? "<f8" : "<f4";
  std::string dictionary =
      std::string("{'descr': '") + descr + "', 'fortran_order': False, 'shape': (" + list + "), }";
  while ((10 + dictionary.size() + 1) % 64 != 0) dictionary += ' ';
  dictionary += '\n';
  std::string text("\x93NUMPY\x01\x00", 8);
  text += static_cast<char>(dictionary.size() & 0xff);
  text += static_cast<char>(dictionary.size() >> 8);
  text += dictionary;
  text += array.type == dtype::i64   ? encode<index_t>(array.index)
          : array.type == dtype::f64 ? encode<double>(array.real)
                                     : encode<float>(array.real);
  return text;
}

}  // namespace plumb
