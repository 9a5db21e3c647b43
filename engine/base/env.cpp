#include "base/env.h"

#include <cstdlib>
#include <cstring>

#include <vireo/vireo.hpp>

namespace vireo {

const std::vector<EnvVar>& env_table() {
  static const std::vector<EnvVar> table = {
      {"VIREO_DEVICE", "text", "auto",
       "Device for Device::best(): auto (a GPU, else the CPU), cpu, vulkan (software drivers too) or vulkan:N."},
      {"VIREO_THREADS", "integer", "0",
       "CPU threads when the program asks for 0; 0 = all cores available to the process."},
      {"VIREO_SIMD", "text", "",
       "CPU kernels to use (amx, avx512_bf16, avx512, avx2, sse4, neon, portable); empty = the fastest this CPU has."},
      {"VIREO_CACHE_DIR", "folder", "",
       "Where pipeline cache, tuning and measured roofs are kept; empty = XDG_CACHE_HOME/vireo or ~/.cache/vireo, - = "
       "nowhere."},
      {"VIREO_TUNING", "file", "",
       "What `vireo tune` found out; empty = tuning-VENDOR-DEVICE.txt in the cache folder, - = none."},
      {"VIREO_VALIDATION", "0 or 1", "0", "Turn on Vulkan's validation layers; any message fails the session."},
      {"VIREO_LABELS", "auto, 0 or 1", "auto",
       "Name Vulkan objects and dispatches for RenderDoc and Nsight; auto = where such a tool or the validation layer "
       "is on."},
      {"VIREO_TIMEOUT", "seconds", "600",
       "How long a GPU may work on one submission before it counts as hung and the CPU takes over."},
      {"VIREO_NO_FUSE", "0 or 1", "0", "Run the graph as built, operator by operator."},
      {"VIREO_CPU_OPS", "list", "",
       "Operators to place on the CPU within a Vulkan plan, separated by commas (attention,linear)."},
  };
  return table;
}

namespace env {

std::string get(const char* name) {
  for (const EnvVar& v : env_table())
    if (std::strcmp(v.name, name) == 0) {
      const char* set = std::getenv(name);
      return set && *set ? set : v.initial;
    }
  return {};
}

bool flag(const char* name) {
  const std::string v = get(name);
  return v == "1" || v == "true" || v == "yes" || v == "on";
}

}  // namespace env
}  // namespace vireo
