// vireo doctor: what a machine offers, what Vireo will therefore do, and what to change.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cli.h"
#include "system_facts.h"

namespace cli {

/// A Vulkan device, by its capabilities' text.
struct DoctorDevice {
  std::string id, name, api, driver;  // "vulkan:0", ..., "1.2.131"
  bool software = false, integrated = false, float16 = false, storage16 = false, int8 = false, storage8 = false,
       timestamps = false;
  int subgroup = 0, shared_kib = 0;
};
DoctorDevice doctor_device(const std::string& id, bool software, const std::string& caps);

/// What the running process finds beyond files; of another machine only `devices` may be known.
struct Findings {
  bool here = true;    // this machine, not the files of another
  std::string loader;  // the Vulkan loader that was opened
  std::vector<DoctorDevice> devices;
  std::string no_device;         // why there is none
  std::string takes, takes_why;  // the device that auto takes, and why not a GPU
  std::string cpu;               // the CPU's name, with its SIMD kernels
  int threads = 0;
  std::string cache, cache_trouble;  // the folder; why nothing can be kept there
};

struct Advice {
  std::vector<std::string> will, change;
};
Advice advise(const SystemFacts& system, const Findings& found);

}  // namespace cli
