// The floating-point environment of a thread in one word: rounding, flush-to-zero, exception masks. A library
// built with fast-math changes it when it is loaded, and then every result in the process is another one.
// x86: MXCSR control bits (Intel SDM vol. 1, 10.2.3) below, the x87 control word above. AArch64: FPCR.
#pragma once

#include <cfenv>
#include <cstdint>
#include <string>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace plumb {

inline std::uint32_t floating_point_state() {
#if defined(__x86_64__)
  constexpr std::uint32_t control_bits =
      0xffc0;  // the low six bits are sticky flags, which every inexact result sets
  std::uint16_t x87 = 0;
  __asm__ volatile("fnstcw %0" : "=m"(x87));
  return (_mm_getcsr() & control_bits) | (static_cast<std::uint32_t>(x87) << 16);
#elif defined(__aarch64__)
  std::uint64_t fpcr = 0;
  __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
  return static_cast<std::uint32_t>(fpcr);
#else
  return static_cast<std::uint32_t>(std::fegetround());
#endif
}

inline void restore_floating_point_state(std::uint32_t state) {
#if defined(__x86_64__)
  const auto x87 = static_cast<std::uint16_t>(state >> 16);
  __asm__ volatile("fldcw %0" : : "m"(x87));
  _mm_setcsr(state & 0xffff);
#elif defined(__aarch64__)
  const std::uint64_t fpcr = state;
  __asm__ volatile("msr fpcr, %0" : : "r"(fpcr));
#else
  std::fesetround(static_cast<int>(state));
#endif
}

/// "turned flush-to-zero on and changed the rounding mode"; empty if nothing changed.
inline std::string describe_floating_point_change(std::uint32_t before, std::uint32_t after) {
  std::string text;
  const auto say = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
#if defined(__x86_64__)
  const std::uint32_t changed = before ^ after;
  const auto onoff = [&](std::uint32_t bit) { return (after & bit) != 0 ? " on" : " off"; };
  if ((changed & 0x8000) != 0) say(std::string("turned flush-to-zero") + onoff(0x8000));
  if ((changed & 0x0040) != 0) say(std::string("turned denormals-are-zero") + onoff(0x0040));
  if ((changed & 0x6000) != 0) say("changed the rounding mode");
  if ((changed & 0x1f80) != 0) say("changed the exception masks");
  if ((changed >> 16) != 0) say("changed the x87 control word");
#else
  if (before != after) say("changed the floating-point control register");
#endif
  return text;
}

}  // namespace plumb
