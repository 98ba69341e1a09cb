#include "verify/places.hpp"

namespace plumb {
namespace {

/// Writes doubles into a tensor of the type at hand, whatever its strides.
template <class Stored, class T>
void store_as(const tensor<T>& from, const tensor_ref& to) {
  const auto view = to.view<Stored>();
  const auto convert = [](const T& v) {
    if constexpr (std::is_same_v<Stored, bf16> || std::is_same_v<Stored, f16>)
      return Stored(static_cast<float>(v));
    else
      return static_cast<Stored>(v);
  };
  if (to.strides == row_major(to.extents)) {
    Stored* const out = view.data_handle();
    for (index_t i = 0; i < from.size(); ++i) out[i] = convert(from[i]);
    return;
  }
  if (to.strides == channels_last(to.extents) && from.size() > 0) {
    const index_t channels = to.extents[1], places = from.size() / (to.extents[0] * channels);
    in_blocks_of_places(to.extents, [&](index_t n, index_t c, index_t first, index_t count) {
      const T* const in = from.data() + (n * channels + c) * places + first;
      Stored* const out = view.data_handle() + (n * places + first) * channels + c;
      for (index_t i = 0; i < count; ++i) out[i * channels] = convert(in[i]);
    });
    return;
  }
  index_t flat = 0;
  for_each_index(to.extents, [&](const shape& at) { view(at) = convert(from[flat++]); });
}

}  // namespace

void store(const tensor_set<double>::entry& from, const tensor_ref& to) {
  switch (to.type) {
    case dtype::f32:
      return store_as<float>(from.real, to);
    case dtype::f64:
      return store_as<double>(from.real, to);
    case dtype::bf16:
      return store_as<bf16>(from.real, to);
    case dtype::f16:
      return store_as<f16>(from.real, to);
    case dtype::i64:
      return store_as<index_t>(from.index, to);
  }
}

}  // namespace plumb
