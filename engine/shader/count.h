// What a compute shader executes, counted from its SPIR-V without a device: the module runs in an interpreter for a few
// representative invocations, with the plan's constants, push constants and grid, and without data. Pure; safe on any
// input.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include <vireo/result.hpp>

#include "shader/modules.h"

namespace vireo::shader {

/// Classes of instructions, as GPUs have pipelines for them. The order is that of the names.
enum class Count : uint8_t {
  kFma,         ///< fp32 multiply-add
  kFloat,       ///< other fp32 arithmetic at the same rate: add, multiply
  kHalf,        ///< packed fp16 arithmetic, two elements
  kInteger,     ///< add, logic, select
  kShift,       ///< shift, compare, minimum, maximum
  kMultiply,    ///< 32-bit integer multiply
  kConvert,     ///< between number types, halves of storage included
  kSpecial,     ///< exp2, rcp, rsqrt
  kSharedLoad,  ///< of up to 16 bytes
  kSharedStore,
  kSharedWords,  ///< 32-bit words of both: what devices pay that do not join neighbouring accesses
  kGlobalLoad,   ///< of up to 16 bytes, from storage buffers
  kGlobalStore,
  kGlobalWords,
  kGlobalBytes,  ///< of both, what several lanes of a subgroup read or write alike counted once
  kTexel,        ///< fetches from uniform texel buffers
  kShuffle,      ///< values passed within a subgroup
  kBarrier,
  kBranch,  ///< conditional ones that are decided at run time
  kNumber
};
constexpr size_t kCounts = size_t(Count::kNumber);
/// "fma", "float", "half", ...
const char* to_string(Count c);

/// Instructions by class.
struct Mix {
  std::array<double, kCounts> n{};
  double& operator[](Count c) { return n[size_t(c)]; }
  double operator[](Count c) const { return n[size_t(c)]; }
  Mix& add(const Mix& other, double times = 1) {
    for (size_t i = 0; i < kCounts; ++i) n[i] += other.n[i] * times;
    return *this;
  }
  /// Instructions issued; words and bytes, which are other counts of the same accesses, left out.
  double issued() const;
};

/// One dispatch: a module, constants by id from 0, push constants as words, workgroups.
struct Launch {
  const Module* module = nullptr;
  const std::vector<uint32_t>* spec = nullptr;
  const std::vector<uint32_t>* push = nullptr;
  std::array<uint32_t, 3> groups{1, 1, 1};
};

/// Instructions that all subgroups of `subgroup` lanes issue together. Counted as a compiler would leave them: what is
/// known when the pipeline is made is folded; integer expressions are computed once, and outside of loops that do not
/// change them; loops that the shader asks to unroll cost nothing by themselves; accesses to neighbouring words between
/// two barriers or stores are one access of up to 16 bytes. Workgroups in the middle and at the far edges are looked
/// at, in them the first lanes of some subgroups, at the far edge of x of all of them (of one in four beyond 16). A
/// comparison that depends on data is taken to hold. Loops whose trips count the same three times running are not run
/// to their end: what would change in their middle is not seen. Errors: kCorrupt, kInternal (an instruction that is not
/// known here; a shader that does not end).
Result<Mix> count(const Launch& launch, uint32_t subgroup);

/// Bytes of the variables that one invocation keeps to itself (arrays whose length the constants decide), packed.
Result<uint64_t> function_bytes(const Module& module, const std::vector<uint32_t>& spec);

/// Instructions as they stand in the module, each once: what spirv-dis shows, by class.
Result<Mix> count_static(const Module& module);

}  // namespace vireo::shader
