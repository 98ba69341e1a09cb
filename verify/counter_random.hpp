// Random numbers by counter: value number i of a stream is a pure function of (seed, stream, i), so any
// element of any tensor can be computed again on its own, in any order and by any thread. The function is the
// finaliser of SplitMix64 over a Weyl sequence (Steele, Lea & Flood 2014; the idea of counters: Salmon et al.
// 2011, "Parallel random numbers: as easy as 1, 2, 3").
#pragma once

#include <cstdint>
#include <string_view>

namespace plumb {

class counter_random {
 public:
  constexpr counter_random(std::uint64_t seed, std::string_view stream) : key_(mix(seed ^ hash(stream))) {}

  constexpr std::uint64_t bits(std::uint64_t i) const { return mix(key_ + weyl * (i + 1)); }
  /// Uniform in [0, bound), 1 ≤ bound ≤ 2^32 (multiply-shift; the bias is below bound/2^32).
  constexpr std::uint64_t below(std::uint64_t i, std::uint64_t bound) const {
    return ((bits(i) >> 32) * bound) >> 32;
  }
  /// Uniform in (-1, 1), symmetric, 53 significant bits.
  constexpr double symmetric(std::uint64_t i) const {
    return (static_cast<double>(static_cast<std::int64_t>(bits(i)) >> 10) + 0.5) * 0x1p-53;
  }
  /// Mean 0, variance 1, bell-shaped on (-3.47, 3.47): the sum of four uniform 16-bit numbers, and below its
  /// grid 32 more random bits, so that significands are full.
  constexpr double bell(std::uint64_t i) const {
    const std::uint64_t b = bits(i);
    const auto sum =
        static_cast<std::int64_t>((b & 0xffff) + (b >> 16 & 0xffff) + (b >> 32 & 0xffff) + (b >> 48)) -
        2 * 0xffff;
    const auto fine = static_cast<std::int64_t>((b * weyl) >> 32) - 0x7fffffff;
    constexpr double sqrt3 = 1.7320508075688772;
    return (static_cast<double>(sum) + static_cast<double>(fine) * 0x1p-32) * (sqrt3 * 0x1p-16);
  }

 private:
  static constexpr std::uint64_t weyl = 0x9e3779b97f4a7c15U;
  static constexpr std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }
  static constexpr std::uint64_t hash(std::string_view text) {  // FNV-1a
    std::uint64_t h = 0xcbf29ce484222325U;
    for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    return h;
  }

  std::uint64_t key_;
};

}  // namespace plumb
