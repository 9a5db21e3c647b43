// The well-known names among the statistics of drivers' compilers, as common fields.
#pragma once

#include <vireo/profile.hpp>

namespace vireo {

/// Fills the fields that any of `s.values` stands for; the values stay. Names of NVIDIA, NVK, RADV, ANV, Turnip and
/// V3DV are known.
void read_compiler_fields(CompilerStatistics& s);

}  // namespace vireo
