#include "runtime/cpu_caches.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>

namespace vireo {
namespace {

std::string line_of(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// "48K", "2048K", "1M"; 0 of anything else, and of more than any cache has.
uint64_t bytes_of(const std::string& text) {
  char* end = nullptr;
  const unsigned long long n = std::strtoull(text.c_str(), &end, 10);
  if (end == text.c_str() || text[0] == '-' || n > (1ull << 40)) return 0;
  const std::string unit = end;
  const uint64_t bytes = unit == "K" ? n << 10 : unit == "M" ? n << 20 : unit.empty() ? n : 0;
  return bytes <= (1ull << 40) ? bytes : 0;
}

/// Cores in a list such as "0-3,8".
uint32_t cores_in(const std::string& list) {
  uint32_t cores = 0;
  for (size_t at = 0; at < list.size();) {
    const size_t end = std::min(list.find(',', at), list.size()), dash = list.find('-', at);
    const int first = std::atoi(list.c_str() + at), last = dash < end ? std::atoi(list.c_str() + dash + 1) : first;
    if (last >= first && last < 65536) cores += uint32_t(last - first) + 1;
    at = end + 1;
  }
  return std::max(cores, 1u);
}

void least(uint64_t bytes, uint32_t cores, uint64_t* kept, uint32_t* kept_cores) {
  if (bytes == 0) return;
  if (*kept != 0 && *kept / *kept_cores <= bytes / cores) return;
  *kept = bytes, *kept_cores = cores;
}

}  // namespace

CpuCaches read_cpu_caches(const std::string& root) {
  CpuCaches c;
  uint32_t own = 1;
  for (int cpu = 0; cpu < 256; ++cpu) {
    const std::string caches = root + "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/cache/index";
    if (line_of(caches + "0/level").empty()) break;
    for (int index = 0; index < 8; ++index) {
      const std::string at = caches + std::to_string(index) + "/";
      const std::string level = line_of(at + "level");
      if (level.empty()) break;
      if (line_of(at + "type") == "Instruction") continue;
      const uint64_t bytes = bytes_of(line_of(at + "size"));
      const uint32_t cores = cores_in(line_of(at + "shared_cpu_list"));
      if (level == "1") least(bytes, 1, &c.l1_bytes, &own);
      if (level == "2") least(bytes, cores, &c.l2_bytes, &c.l2_cores);
      if (level == "3") least(bytes, cores, &c.l3_bytes, &c.l3_cores);
    }
  }
  return c;
}

const CpuCaches& cpu_caches() {
  static const CpuCaches here = read_cpu_caches("");
  return here;
}

}  // namespace vireo
