// One row of LoraAdd on a CPU: y = plain + (x A) B, activations in float, A and B in 16-bit floats.
// Decode reads all of A and B for every token, so what counts is their bytes: half of what floats would be.
#pragma once

#include <cstdint>
#include <cstring>

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

struct LoraRow {
  const float *x, *plain;
  const Half *a, *b;
  float* y;
  std::int64_t inputs, outputs, rank;
  float* t;  // [rank]

  void run() const {
    run_down();
    run_up(0, outputs);
  }

  // t = x A
  void run_down() const {
#if defined(__x86_64__)
    if (is_wide()) return down_wide();
#endif
    for (std::int64_t j = 0; j < rank; ++j) down(j, j + 1);
  }

  // y = plain + t B, outputs `first` to `last` of it
  void run_up(std::int64_t first, std::int64_t last) const {
#if defined(__x86_64__)
    if (is_wide()) return up_wide(first, last);
#endif
    up(first, last);
  }

 private:
  void down(std::int64_t first, std::int64_t last) const {
    for (std::int64_t j = first; j < last; ++j) t[j] = 0.f;
    for (std::int64_t k = 0; k < inputs; ++k)
      for (std::int64_t j = first; j < last; ++j) t[j] += x[k] * as_float(a[k * rank + j]);
  }

  void up(std::int64_t first, std::int64_t last) const {
    for (std::int64_t n = first; n < last; ++n) {
      float sum = plain[n];
      for (std::int64_t j = 0; j < rank; ++j) sum += t[j] * as_float(b[j * outputs + n]);
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

  // Sixteen columns of A at a time, rows of it one and one, so that no sum waits for the one before.
  EDGE_WIDE void down_wide() const {
    std::int64_t j = 0;
    for (; j + 16 <= rank; j += 16) {
      __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
      std::int64_t k = 0;
      for (; k + 2 <= inputs; k += 2) {
        const Half *first = a + k * rank + j, *second = first + rank;
        const __m256 one = _mm256_set1_ps(x[k]), two = _mm256_set1_ps(x[k + 1]);
        sums[0] = _mm256_fmadd_ps(one, eight(first), sums[0]);
        sums[1] = _mm256_fmadd_ps(one, eight(first + 8), sums[1]);
        sums[2] = _mm256_fmadd_ps(two, eight(second), sums[2]);
        sums[3] = _mm256_fmadd_ps(two, eight(second + 8), sums[3]);
      }
      for (; k < inputs; ++k) {
        const Half* row = a + k * rank + j;
        sums[0] = _mm256_fmadd_ps(_mm256_set1_ps(x[k]), eight(row), sums[0]);
        sums[1] = _mm256_fmadd_ps(_mm256_set1_ps(x[k]), eight(row + 8), sums[1]);
      }
      _mm256_storeu_ps(t + j, _mm256_add_ps(sums[0], sums[2]));
      _mm256_storeu_ps(t + j + 8, _mm256_add_ps(sums[1], sums[3]));
    }
    for (; j + 8 <= rank; j += 8) {
      __m256 sum = _mm256_setzero_ps();
      for (std::int64_t k = 0; k < inputs; ++k) sum = _mm256_fmadd_ps(_mm256_set1_ps(x[k]), eight(a + k * rank + j), sum);
      _mm256_storeu_ps(t + j, sum);
    }
    if (j < rank) down(j, rank);
  }

  EDGE_WIDE void up_wide(std::int64_t n, std::int64_t last) const {
    for (; n + 32 <= last; n += 32) {
      __m256 sums[4];
      for (int part = 0; part < 4; ++part) sums[part] = _mm256_loadu_ps(plain + n + 8 * part);
      for (std::int64_t j = 0; j < rank; ++j) {
        const __m256 value = _mm256_set1_ps(t[j]);
        const Half* row = b + j * outputs + n;
        for (int part = 0; part < 4; ++part) sums[part] = _mm256_fmadd_ps(value, eight(row + 8 * part), sums[part]);
      }
      for (int part = 0; part < 4; ++part) _mm256_storeu_ps(y + n + 8 * part, sums[part]);
    }
    up(n, last);
  }
#undef EDGE_WIDE
#endif
};
