// The bfloat16 kernels of x86 (bf16.cpp) and whether this CPU and system have them; for dispatch.cpp.
#pragma once

#include "simd/kernels.h"

#if defined(__x86_64__) && defined(__linux__)
#define VIREO_SIMD_BF16 1
#else
#define VIREO_SIMD_BF16 0
#endif

#if VIREO_SIMD_BF16
/// Of functions that use AVX-512's dot product of bfloat16.
#define VIREO_BF16_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma,avx2")))

namespace vireo::simd {

bool have_bf16_dot();
/// Asks the system for the tile state; true when this process may use it from now on.
bool have_bf16_amx();
/// Whether the tiles also multiply bytes; the system's leave is have_bf16_amx()'s.
bool have_i8_amx();
Kernel<ToBf16Args> to_bf16_kernel();
Kernel<Bf16GemmArgs> bf16_dot_kernel();
Kernel<Bf16GemmArgs> bf16_amx_kernel();
Kernel<AttentionArgs> attention_bf16_kernel();  // attention_bf16.cpp; of AVX-512's dot product
Kernel<AttentionArgs> attention_bf16_amx_kernel();
Bf16Probe bf16_dot_probe();
Bf16Probe bf16_amx_probe();

}  // namespace vireo::simd
#endif
