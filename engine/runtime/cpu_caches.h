// The caches of this machine's CPU, as Linux describes them.
#pragma once

#include <string>

#include "device/caps.h"

namespace vireo {

/// Of the cores with the least, where they differ. `root`: of the file system; what it does not say stays 0.
CpuCaches read_cpu_caches(const std::string& root);

/// Those of this machine, read once.
const CpuCaches& cpu_caches();

}  // namespace vireo
