// The tables of kernels, one per compiled instruction set, and the choice among them by what CPU and system support.
#include <cstring>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "simd/bf16.h"
#include "simd/kernels.h"
#include "simd/targets.h"

#include <hwy/detect_targets.h>

// Every kernel file defines, in each target's namespace, a function that returns its Kernel<Args>.
#define VIREO_SIMD_DECLARE(name, Args) Kernel<Args> name##_kernel();
#define VIREO_SIMD_FILL(name, Args) t.name = name##_kernel();
#define VIREO_SIMD_TABLE(target, text, floats) \
  namespace vireo::simd::target {              \
  VIREO_SIMD_KERNELS(VIREO_SIMD_DECLARE)       \
  Blocking blocking_of(const Caches& caches);  \
  static Kernels make_table() {                \
    Kernels t{};                               \
    t.name = text;                             \
    t.vector_floats = floats;                  \
    t.blocking = &blocking_of;                 \
    t.bf16_name = "";                          \
    t.int8_name = "int8";                      \
    VIREO_SIMD_KERNELS(VIREO_SIMD_FILL)        \
    return t;                                  \
  }                                            \
  }

#if HWY_TARGETS & HWY_AVX3
VIREO_SIMD_TABLE(N_AVX3, "avx512", 16)
#endif
#if HWY_TARGETS & HWY_AVX2
VIREO_SIMD_TABLE(N_AVX2, "avx2", 8)
#endif
#if HWY_TARGETS & HWY_SSE4
VIREO_SIMD_TABLE(N_SSE4, "sse4", 4)
#endif
#if HWY_TARGETS & HWY_NEON
VIREO_SIMD_TABLE(N_NEON, "neon", 4)
#endif
#if HWY_TARGETS & HWY_EMU128
VIREO_SIMD_TABLE(N_EMU128, "portable", 4)
#endif
#if HWY_TARGETS & HWY_SCALAR
VIREO_SIMD_TABLE(N_SCALAR, "portable", 1)
#endif

#if (HWY_TARGETS & HWY_NEON) && HWY_ARCH_ARM_A64
namespace vireo::simd::N_NEON {
Kernel<I8GemmArgs> sdot_gemm_i8_kernel();  // i8.cpp
}
#endif
#if HWY_TARGETS & HWY_AVX3
namespace vireo::simd::N_AVX3 {
Kernel<ToI8Args> vnni_to_i8_kernel();  // i8.cpp
Kernel<I8GemmArgs> vnni_gemm_i8_kernel();
Kernel<AttentionArgs> vnni_attention_i8_kernel();  // attention_i8.cpp
Kernel<PictureArgs> vnni_picture_kernel();         // picture.cpp
#if VIREO_SIMD_BF16
Kernel<I8GemmArgs> amx_gemm_i8_kernel();          // i8_amx.cpp
Kernel<AttentionArgs> amx_attention_i8_kernel();  // attention_i8.cpp
#endif
}  // namespace vireo::simd::N_AVX3
#endif

namespace vireo::simd {
namespace {

constexpr int kMaxTables = 10;

struct Tables {
  Kernels table[kMaxTables];
  int count = 0;
};

#if defined(__x86_64__) || defined(__i386__)
/// __builtin_cpu_supports knows this feature only since GCC 11 and clang 16. What saves AVX's registers saves these.
[[maybe_unused]] bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 29)) != 0;
}
#endif

// __builtin_cpu_supports also asks the operating system (XGETBV) whether it saves the wide registers.
Tables detect() {
  Tables t;
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
#endif
#if HWY_TARGETS & HWY_AVX3
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma") && has_f16c() &&
      __builtin_cpu_supports("bmi2")) {
#if VIREO_SIMD_BF16
    const auto add_bf16 = [&t](const char* name, const char* in_plans, const Kernel<Bf16GemmArgs>& gemm,
                               Bf16Probe probe) {
      Kernels& k = t.table[t.count++] = N_AVX3::make_table();
      k.name = name, k.bf16_name = in_plans, k.to_bf16 = to_bf16_kernel(), k.gemm_bf16 = gemm, k.bf16_probe = probe;
    };
    const auto add_dot = [&] {
      add_bf16("avx512_bf16", "bf16 dot", bf16_dot_kernel(), bf16_dot_probe());
      t.table[t.count - 1].attention_bf16 = attention_bf16_kernel();
    };
    if (have_bf16_amx()) {
      add_bf16("amx", "bf16 amx", bf16_amx_kernel(), bf16_amx_probe());
      t.table[t.count - 1].attention_bf16 = attention_bf16_amx_kernel();
    }
    // AMD's dot products are twice as fast as its fp32; Intel's were measured at half the speed of fp32 beside AMX.
    const bool fast_dot = have_bf16_dot() && __builtin_cpu_is("amd");
    if (fast_dot) add_dot();
    t.table[t.count++] = N_AVX3::make_table();
    if (have_bf16_dot() && !fast_dot) add_dot();
#else
    t.table[t.count++] = N_AVX3::make_table();
#endif
  }
#endif
#if HWY_TARGETS & HWY_AVX3
  if (__builtin_cpu_supports("avx512vnni"))
    for (int i = 0; i < t.count; ++i) {  // those so far are AVX-512's
      t.table[i].int8_name = "int8 vnni";
      t.table[i].to_i8 = N_AVX3::vnni_to_i8_kernel(), t.table[i].gemm_i8 = N_AVX3::vnni_gemm_i8_kernel();
      t.table[i].attention_i8 = N_AVX3::vnni_attention_i8_kernel();
      t.table[i].picture = N_AVX3::vnni_picture_kernel();
    }
#if VIREO_SIMD_BF16
  // The rows' codes are those of VNNI, which every CPU with AMX has.
  if (t.count > 0 && std::strcmp(t.table[0].name, "amx") == 0 && __builtin_cpu_supports("avx512vnni") &&
      have_i8_amx()) {
    t.table[0].int8_name = "int8 amx", t.table[0].gemm_i8 = N_AVX3::amx_gemm_i8_kernel();
    t.table[0].attention_i8 = N_AVX3::amx_attention_i8_kernel();
  }
#endif
#endif
#if HWY_TARGETS & HWY_AVX2
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c() && __builtin_cpu_supports("bmi2")) {
    t.table[t.count++] = N_AVX2::make_table();
  }
#endif
#if HWY_TARGETS & HWY_SSE4
  if (__builtin_cpu_supports("sse4.2")) t.table[t.count++] = N_SSE4::make_table();
#endif
#if HWY_TARGETS & HWY_NEON
#if HWY_ARCH_ARM_A64 && defined(__linux__)
  constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP
  if (getauxval(AT_HWCAP) & kDotProducts) {
    Kernels& k = t.table[t.count++] = N_NEON::make_table();
    k.name = "neon_dot", k.int8_name = "int8 dot", k.gemm_i8 = N_NEON::sdot_gemm_i8_kernel();
  }
#endif
  t.table[t.count++] = N_NEON::make_table();  // part of the AArch64 baseline
#endif
#if HWY_TARGETS & HWY_EMU128
  t.table[t.count++] = N_EMU128::make_table();
#endif
#if HWY_TARGETS & HWY_SCALAR
  t.table[t.count++] = N_SCALAR::make_table();
#endif
  return t;
}

const Tables& tables() {
  static const Tables t = detect();  // set once, thread-safe, never changed
  return t;
}

}  // namespace

const Kernels* supported(int index) {
  const Tables& t = tables();
  return index >= 0 && index < t.count ? &t.table[index] : nullptr;
}

const Kernels& best() { return tables().table[0]; }

const Kernels* find(const char* name) {
  for (int i = 0; const Kernels* k = supported(i); ++i) {
    if (std::strcmp(k->name, name) == 0) return k;
  }
  return nullptr;
}

}  // namespace vireo::simd
