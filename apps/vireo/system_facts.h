// What the files of a Linux system say about the machine that it runs on: board, release, cores, clocks, memory,
// temperatures, Vulkan drivers. Read below a folder, so that another machine's files can be looked at here.
#pragma once

#include <string>
#include <vector>

namespace cli {

struct ThermalZone {
  std::string name;
  double celsius = 0;
  double throttles_at = 0;  // its lowest passive trip point; 0: none
};

/// nvpmodel's, of NVIDIA's boards.
struct PowerMode {
  int id = -1;  // -1: there is none
  std::string name;
  int best = -1;  // the mode without limits, MAXN; -1: nvpmodel.conf does not name it
};

struct CpuClock {
  std::string name, governor;                       // of cores that differ: "ondemand, performance"
  double mhz = 0, limit_mhz = 0, hardware_mhz = 0;  // now, what it may reach now, what it could reach; 0: not said
};

struct VulkanDriver {
  std::string file, library;  // the loader's description of it, and what that names
};

/// Empty strings, zeros and negative numbers where no file says.
struct SystemFacts {
  std::string system, board, kernel;
  std::string l4t, jetpack;  // "32.7.6", "4.6.6"
  int cores = 0, online = 0;
  CpuClock cpu, gpu;
  int64_t memory_mib = 0, available_mib = 0, swap_mib = 0;
  std::vector<ThermalZone> thermal;
  PowerMode power;
  bool fan = false;                  // one that can be told how fast to turn
  std::vector<std::string> loaders;  // files named libvulkan.so.1
  std::vector<VulkanDriver> drivers;
  std::vector<std::string> gpu_files, closed_gpu_files;  // /dev/...; those that this user may not open
};

/// `root`: "" or "/" for this machine.
SystemFacts read_system(std::string root);

/// A JetPack's name for a release of L4T ("32.7.6" is 4.6.6), or empty.
std::string jetpack_of(const std::string& l4t);
/// Whether a version of numbers and dots comes before another.
bool older(const std::string& a, const std::string& b);

}  // namespace cli
