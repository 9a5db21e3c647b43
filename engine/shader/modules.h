// The SPIR-V modules that ship inside the library: one per shaders/*.comp and variant (shaders/README.md). The table is
// generated at build time (cmake/Shaders.cmake).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace vireo::shader {

/// One embedded module: "linear.tile", "linear.texel.SHUFFLE=1", ...
struct Module {
  const char* name;
  const uint32_t* words;
  size_t word_count;
};

/// A range over static storage, for range-based for.
struct ModuleList {
  const Module* first;
  const Module* last;

  const Module* begin() const { return first; }
  const Module* end() const { return last; }
  size_t size() const { return size_t(last - first); }
};

/// Every module, sorted by name.
ModuleList all();
/// The module of that name, or null.
const Module* find(const std::string& name);

/// A hash of the module's words (64-bit FNV-1a): the "shader hash" of pipeline caches and tuning files.
uint64_t hash(const Module& m);
/// The same over all modules and their names.
uint64_t all_hash();

}  // namespace vireo::shader
