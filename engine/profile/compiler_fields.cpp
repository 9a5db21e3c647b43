#include "profile/compiler_fields.h"

#include <algorithm>

namespace vireo {
namespace {

struct Known {
  const char* name;
  double CompilerStatistics::*field;
  bool adds;  // to what another name gave: AMD spills two kinds of registers
};

constexpr Known kKnown[] = {
    {"Register Count", &CompilerStatistics::registers, false},               // NVIDIA
    {"Number of GPRs", &CompilerStatistics::registers, false},               // NVK
    {"VGPRs", &CompilerStatistics::registers, false},                        // RADV
    {"Max live registers", &CompilerStatistics::registers, false},           // ANV
    {"Registers used", &CompilerStatistics::registers, false},               // Turnip
    {"Spills to memory", &CompilerStatistics::spills, false},                // NVK
    {"Spilled VGPRs", &CompilerStatistics::spills, true},                    // RADV
    {"Spilled SGPRs", &CompilerStatistics::spills, true},                    // RADV
    {"Spill Count", &CompilerStatistics::spills, false},                     // ANV
    {"TMU Spills", &CompilerStatistics::spills, false},                      // V3DV
    {"Instruction count", &CompilerStatistics::instructions, false},         // NVK
    {"Instruction Count", &CompilerStatistics::instructions, false},         // ANV, Turnip, V3DV
    {"Instructions", &CompilerStatistics::instructions, false},              // RADV
    {"Binary Size", &CompilerStatistics::code_bytes, false},                 // NVIDIA
    {"Code size", &CompilerStatistics::code_bytes, false},                   // NVK, RADV
    {"SLM size", &CompilerStatistics::local_bytes, false},                   // NVK
    {"Scratch size", &CompilerStatistics::local_bytes, false},               // RADV
    {"Scratch Memory Size", &CompilerStatistics::local_bytes, false},        // ANV
    {"Stack Size", &CompilerStatistics::local_bytes, false},                 // NVIDIA
    {"Max warps/SM", &CompilerStatistics::subgroups_per_core, false},        // NVK
    {"Subgroups per SIMD", &CompilerStatistics::subgroups_per_core, false},  // RADV
    {"Max Waves Per Core", &CompilerStatistics::subgroups_per_core, false},  // Turnip
};

}  // namespace

void read_compiler_fields(CompilerStatistics& s) {
  for (const CompilerStatistics::Value& v : s.values)
    for (const Known& k : kKnown) {
      if (v.name != k.name) continue;
      double& field = s.*k.field;
      if (field < 0) field = v.value;
      else if (k.adds) field += v.value;
    }
}

}  // namespace vireo
