#include "base/core_time.h"

#include <dirent.h>

#include <cstdio>
#include <string>

namespace vireo {

std::optional<CoreTime> core_time() {
  DIR* const tasks = opendir("/proc/self/task");
  if (!tasks) return std::nullopt;
  CoreTime sum;
  bool any = false;
  while (const dirent* task = readdir(tasks)) {
    if (task->d_name[0] == '.') continue;
    FILE* const f = std::fopen((std::string("/proc/self/task/") + task->d_name + "/schedstat").c_str(), "re");
    if (!f) continue;  // a thread that has just ended
    unsigned long long ran = 0, waited = 0;
    if (std::fscanf(f, "%llu %llu", &ran, &waited) == 2) {
      sum.ran_s += double(ran) * 1e-9, sum.waited_s += double(waited) * 1e-9;
      any = true;
    }
    std::fclose(f);
  }
  closedir(tasks);
  // A kernel that counts nothing says 0 for a thread that runs this very line.
  if (!any || !(sum.ran_s > 0)) return std::nullopt;
  return sum;
}

}  // namespace vireo
