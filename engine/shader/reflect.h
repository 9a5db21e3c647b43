// What a compute module declares, read from its SPIR-V words: bindings, access, push constants, specialisation
// constants and shared memory are stated once, in GLSL, and this is how the rest of the engine learns them. Pure, no
// Vulkan; safe on any input.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <vireo/result.hpp>

#include "shader/modules.h"

namespace vireo::shader {

enum class BindingKind : uint8_t { kStorage, kTexel };  // storage buffer, uniform texel buffer

/// One descriptor. Several declarations of one binding (the same buffer seen as vec4 and as uvec2) are merged: it reads
/// if any of them may be read, and writes if any of them may be written.
struct Binding {
  uint32_t set = 0;
  uint32_t binding = 0;
  BindingKind kind = BindingKind::kStorage;
  bool reads = false;
  bool writes = false;
};

/// A scalar specialisation constant; `value` holds the default's 32 bits (booleans 0 or 1). `name` is the one of the
/// GLSL source; a constant that only sets the workgroup's size is called LX, LY or LZ. Empty: the module has no names.
struct SpecConstant {
  uint32_t id = 0;
  uint32_t value = 0;
  std::string name;
};

/// A member of the push constants, 32 bits wide.
struct PushConstant {
  std::string name;
  uint32_t offset = 0;  // bytes
  bool is_float = false;
};

struct Reflection {
  std::string entry_point;
  std::vector<Binding> bindings;  // sorted by set, then binding
  uint32_t push_constant_bytes = 0;
  std::vector<PushConstant> push_constants;  // sorted by offset
  std::vector<SpecConstant> spec_constants;  // sorted by id, each id once
  std::array<uint32_t, 3> default_local_size{1, 1, 1};
  std::array<int64_t, 3> local_size_ids{-1, -1, -1};  // the constants that set x, y, z; -1: fixed at the default
  std::vector<uint32_t> capabilities;                 // SPIR-V capability numbers, sorted

  bool has_spec(uint32_t id) const;
  bool needs(uint32_t capability) const;
};

/// SPIR-V capability numbers of the subgroup operations that a variant may need.
constexpr uint32_t kSubgroupBasic = 61, kSubgroupShuffle = 65;

/// Reads a module with one compute entry point; kCorrupt, naming the module, if the words are not such a module.
Result<Reflection> reflect(const Module& m);

/// The workgroup size when specialisation constant i has the value spec[i]; ids beyond spec keep their defaults.
std::array<uint32_t, 3> local_size(const Reflection& r, const std::vector<uint32_t>& spec);

/// Bytes of workgroup-shared memory under `spec` (as above): array lengths that depend on constants are computed as the
/// driver will. Every variable is rounded up to 16 bytes, so a driver's own layout is never larger.
Result<uint64_t> shared_bytes(const Module& m, const std::vector<uint32_t>& spec);

}  // namespace vireo::shader
