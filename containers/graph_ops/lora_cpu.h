// One row of LoraAdd on a CPU: y = plain + (x A) B, activations in float, A and B in 16-bit floats.
// Decode reads all of A and B for every token, so what counts is their bytes: half of what floats would be.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "lora_pack.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using Half = std::uint16_t;

inline float as_float(Half half) {
  const std::uint32_t sign = (half & 0x8000u) << 16, rest = half & 0x7fffu;
  if (rest >= 0x7c00u) {  // infinite, or no number
    const std::uint32_t bits = sign | 0x7f800000u | (rest & 0x3ffu) << 13;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
  std::uint32_t bits = rest << 13;  // off by the difference of the exponents' biases, which the product makes good
  float value;
  std::memcpy(&value, &bits, sizeof value);
  value *= 0x1p112f;
  std::memcpy(&bits, &value, sizeof value);
  bits |= sign;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// x [inputs] and plain [outputs] of one row; t [rank] between the two halves. A and B as in lora_pack.h.
struct LoraRow {
  const float *x, *plain;
  const char* pack;
  const PackBranch& branch;
  float *y, *t;

  std::int64_t tiles() const { return branch.rank / kRankStep; }

  // t = x A, eight ranks of it for each tile
  void run_down(std::int64_t first, std::int64_t last) const {
    for (std::int64_t tile = first; tile < last; ++tile) {
      const Half* a = reinterpret_cast<const Half*>(pack + branch.at) + tile * branch.inputs * kRankStep;
#if defined(__x86_64__)
      if (is_wide()) {
        down_wide(a, t + tile * kRankStep);
        continue;
      }
#endif
      down(a, t + tile * kRankStep);
    }
  }

  // y = plain + t B, outputs `first` to `last` of it
  void run_up(std::int64_t first, std::int64_t last) const {
    if (y != plain) std::memcpy(y + first, plain + first, (last - first) * sizeof(float));
    for (std::uint32_t number = 0; number < branch.segments; ++number) {
      const PackSegment& part = branch.of[number];
      const std::int64_t begin = std::max<std::int64_t>(first, part.first_column);
      const std::int64_t end = std::min<std::int64_t>(last, std::int64_t{part.first_column} + part.columns);
      if (begin >= end) continue;
#if defined(__x86_64__)
      if (is_wide()) {
        up_wide(part, begin, end);
        continue;
      }
#endif
      up(part, begin, end);
    }
  }

 private:
  const Half* row_of(const PackSegment& part, std::int64_t rank, std::int64_t column) const {
    return reinterpret_cast<const Half*>(pack + part.at) + rank * part.columns + (column - part.first_column);
  }

  void down(const Half* a, float* sums) const {
    for (int j = 0; j < kRankStep; ++j) sums[j] = 0.f;
    for (std::int64_t k = 0; k < branch.inputs; ++k)
      for (int j = 0; j < kRankStep; ++j) sums[j] += x[k] * as_float(a[k * kRankStep + j]);
  }

  void up(const PackSegment& part, std::int64_t first, std::int64_t last) const {
    for (std::int64_t n = first; n < last; ++n) {
      float sum = y[n];
      for (std::int64_t j = 0; j < part.ranks; ++j) sum += t[part.first_rank + j] * as_float(*row_of(part, j, n));
      y[n] = sum;
    }
  }

#if defined(__x86_64__)
  static bool is_wide() {
    static const bool value = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    return value;
  }

#define EDGE_WIDE __attribute__((target("avx2,fma,f16c")))

  EDGE_WIDE static __m256 eight(const Half* from) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))); }

  // Rows of A by fours, so that no sum waits for the one before.
  EDGE_WIDE void down_wide(const Half* a, float* to) const {
    __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    std::int64_t k = 0;
    for (; k + 4 <= branch.inputs; k += 4)
      for (int at = 0; at < 4; ++at) sums[at] = _mm256_fmadd_ps(_mm256_broadcast_ss(x + k + at), eight(a + (k + at) * kRankStep), sums[at]);
    for (; k < branch.inputs; ++k) sums[0] = _mm256_fmadd_ps(_mm256_broadcast_ss(x + k), eight(a + k * kRankStep), sums[0]);
    _mm256_storeu_ps(to, _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
  }

  EDGE_WIDE void up_wide(const PackSegment& part, std::int64_t n, std::int64_t last) const {
    for (; n + 32 <= last; n += 32) {
      __m256 sums[4];
      for (int at = 0; at < 4; ++at) sums[at] = _mm256_loadu_ps(y + n + 8 * at);
      const Half* row = row_of(part, 0, n);
      for (std::int64_t j = 0; j < part.ranks; ++j, row += part.columns) {
        const __m256 value = _mm256_broadcast_ss(t + part.first_rank + j);
        for (int at = 0; at < 4; ++at) sums[at] = _mm256_fmadd_ps(value, eight(row + 8 * at), sums[at]);
      }
      for (int at = 0; at < 4; ++at) _mm256_storeu_ps(y + n + 8 * at, sums[at]);
    }
    up(part, n, last);
  }
#undef EDGE_WIDE
#endif
};
