// The FMA peak of this machine: independent register chains, as many as hide the latency. Benchmarks print their share
// of it.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace vireo {

constexpr int kProbeSteps = 20000;  // about 0.1 ms
inline volatile float probe_sink;

#define VIREO_FMA_CHAINS(Vec, chains, set, fma)                                           \
  Vec acc[chains];                                                                        \
  const Vec x = set(0.999f), y = set(1e-3f);                                              \
  _Pragma("GCC unroll 32") for (int i = 0; i < chains; ++i) acc[i] = set(float(i));       \
  for (int s = 0; s < kProbeSteps; ++s) {                                                 \
    _Pragma("GCC unroll 32") for (int i = 0; i < chains; ++i) acc[i] = fma(acc[i], x, y); \
  }                                                                                       \
  float sum = 0.0f;                                                                       \
  for (int i = 0; i < chains; ++i) sum += acc[i][0];                                      \
  return sum;

#if defined(__x86_64__)
__attribute__((target("avx512f"), noinline)) inline float chains_avx512() {
  VIREO_FMA_CHAINS(__m512, 24, _mm512_set1_ps, _mm512_fmadd_ps)
}
__attribute__((target("avx2,fma"), noinline)) inline float chains_avx2() {
  VIREO_FMA_CHAINS(__m256, 12, _mm256_set1_ps, _mm256_fmadd_ps)
}
#elif defined(__aarch64__)
inline float32x4_t fma_neon(float32x4_t a, float32x4_t x, float32x4_t y) { return vfmaq_f32(y, a, x); }
__attribute__((noinline)) inline float chains_neon() { VIREO_FMA_CHAINS(float32x4_t, 24, vdupq_n_f32, fma_neon) }
#endif

/// FLOPs of one probe call on this CPU's widest vectors; 0 when there is no probe for it.
inline double fma_probe() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) {
    probe_sink = chains_avx512();
    return 2.0 * 16 * 24 * kProbeSteps;
  }
  if (__builtin_cpu_supports("avx2")) {
    probe_sink = chains_avx2();
    return 2.0 * 8 * 12 * kProbeSteps;
  }
  return 0.0;
#elif defined(__aarch64__)
  probe_sink = chains_neon();
  return 2.0 * 4 * 24 * kProbeSteps;
#else
  return 0.0;
#endif
}

}  // namespace vireo
