// Eight floats at a time with the vector types of GCC and Clang: the same source becomes AVX2, SSE2 or NEON,
// depending on the function that it is inlined into. Hence everything here and in the files that use it is
// inlined.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

// Vectors are only passed to functions that are inlined, so it does not matter how they would be passed.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace tcl {

constexpr int kLanes = 8;

using Floats = float __attribute__((vector_size(32)));
using Ints = std::int32_t __attribute__((vector_size(32)));
using Words = std::uint16_t __attribute__((vector_size(32)));  // sixteen of them
using HalfWords = std::uint16_t __attribute__((vector_size(16)));
using Bytes16 = std::uint8_t __attribute__((vector_size(16)));

template <typename V>
[[gnu::always_inline]] inline V load(const void* from) {
  V value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename V>
[[gnu::always_inline]] inline void store(void* to, V value) {
  std::memcpy(to, &value, sizeof value);
}

// The same bits as another type.
template <typename V, typename From>
[[gnu::always_inline]] inline V load_as(From value) {
  static_assert(sizeof(V) == sizeof(From));
  return load<V>(&value);
}

// A loop, because only that becomes a broadcast when GCC inlines it into AVX2 code.
template <typename V, typename T>
[[gnu::always_inline]] inline V filled(T value) {
  V lanes;
  for (std::size_t i = 0; i < sizeof(V) / sizeof(T); ++i) lanes[i] = value;
  return lanes;
}
[[gnu::always_inline]] inline Floats all(float value) { return filled<Floats>(value); }
[[gnu::always_inline]] inline Ints all(std::int32_t value) { return filled<Ints>(value); }
[[gnu::always_inline]] inline Floats min(Floats a, Floats b) { return a < b ? a : b; }
[[gnu::always_inline]] inline Floats max(Floats a, Floats b) { return a > b ? a : b; }

// As in grid.h.
[[gnu::always_inline]] inline Floats between(Floats a, Floats b, Floats fraction) {
  return (1.0f - fraction) * a + fraction * b;
}

// The low halves of the lanes. The compilers' own conversion takes vectors apart, lane by lane.
[[gnu::always_inline]] inline HalfWords low_words(Ints lanes) {
#if defined(__x86_64__)
  const Ints extended = lanes << 16 >> 16;  // so that the instruction, which saturates, need not
  __m128i half[2];
  std::memcpy(half, &extended, sizeof half);
  return load_as<HalfWords>(_mm_packs_epi32(half[0], half[1]));
#elif defined(__ARM_NEON)
  int32x4_t half[2];
  std::memcpy(half, &lanes, sizeof half);
  return load_as<HalfWords>(vcombine_s16(vmovn_s32(half[0]), vmovn_s32(half[1])));
#else
  return __builtin_convertvector(lanes, HalfWords);
#endif
}

// Sixteen words, each at most 255, as bytes.
[[gnu::always_inline]] inline Bytes16 low_bytes(Words words) {
#if defined(__x86_64__)
  __m128i half[2];
  std::memcpy(half, &words, sizeof half);
  return load_as<Bytes16>(_mm_packus_epi16(half[0], half[1]));
#elif defined(__ARM_NEON)
  uint16x8_t half[2];
  std::memcpy(half, &words, sizeof half);
  return load_as<Bytes16>(vcombine_u8(vmovn_u16(half[0]), vmovn_u16(half[1])));
#else
  return __builtin_convertvector(words, Bytes16);
#endif
}

// Eight words, each at most 255, as bytes; the lowest byte is the first. Not a vector: GCC moves one of eight
// bytes with a loop.
[[gnu::always_inline]] inline std::uint64_t low_bytes(HalfWords words) {
#if defined(__x86_64__)
  const __m128i half = load_as<__m128i>(words);
  return static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_packus_epi16(half, half)));
#elif defined(__ARM_NEON)
  return vget_lane_u64(vreinterpret_u64_u8(vmovn_u16(load_as<uint16x8_t>(words))), 0);
#else
  std::uint64_t bytes = 0;
  for (int i = 0; i < kLanes; ++i) bytes |= std::uint64_t{words[i] & 0xFFu} << (8 * i);
  return bytes;
#endif
}

// One byte for each lane of a comparison, not 0 where it holds; the lowest byte is the first lane.
[[gnu::always_inline]] inline std::uint64_t mask_bytes(Ints comparison) {
  return low_bytes(low_words(comparison & 0xFF));
}

// Stores the lanes as labels.
[[gnu::always_inline]] inline void store_labels(std::uint8_t* to, Ints labels) {
  const std::uint64_t bytes = low_bytes(low_words(labels));
  if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) return store(to, bytes);
  for (int i = 0; i < kLanes; ++i) to[i] = static_cast<std::uint8_t>(bytes >> (8 * i));
}
[[gnu::always_inline]] inline void store_labels(std::uint16_t* to, Ints labels) {
  store(to, low_words(labels));
}

}  // namespace tcl
