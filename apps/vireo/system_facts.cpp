#include "system_facts.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>

#include "base/json.h"

namespace cli {
namespace {

/// Files of a system. What cannot be read is empty: most machines lack most of them.
class Tree {
 public:
  explicit Tree(std::string root) : root_(std::move(root)) {
    while (!root_.empty() && root_.back() == '/') root_.pop_back();
  }

  std::string text(const std::string& path) const {
    constexpr size_t kMost = 65536;  // none of these files is longer
    std::ifstream file(root_ + path, std::ios::binary);
    std::string all(kMost, '\0');
    file.read(all.data(), std::streamsize(kMost));
    all.resize(size_t(std::max<std::streamsize>(file.gcount(), 0)));
    return all;
  }
  /// The first line without blanks and zeros (device trees have them) around it, fit to be printed.
  std::string line(const std::string& path) const {
    std::string first = text(path);
    first.resize(std::min(first.find('\n'), first.size()));
    const char* const kBlank = " \t\r";
    first.erase(std::remove(first.begin(), first.end(), '\0'), first.end());
    first.erase(first.find_last_not_of(kBlank) + 1);
    first.erase(0, std::min(first.find_first_not_of(kBlank), first.size()));
    for (char& c : first)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    return first;
  }
  double number(const std::string& path) const {
    const double value = std::strtod(line(path).c_str(), nullptr);
    return value == value && value < 1e15 && value > -1e15 ? value : 0;
  }
  bool exists(const std::string& path) const { return access((root_ + path).c_str(), F_OK) == 0; }
  bool opens(const std::string& path) const { return access((root_ + path).c_str(), R_OK | W_OK) == 0; }
  /// Names in a folder that begin so, sorted.
  std::vector<std::string> names(const std::string& folder, const std::string& begin = "") const {
    std::vector<std::string> all;
    DIR* dir = opendir((root_ + folder).c_str());
    if (dir == nullptr) return all;
    while (const dirent* entry = readdir(dir)) {
      const std::string name = entry->d_name;
      if (name[0] != '.' && name.compare(0, begin.size(), begin) == 0) all.push_back(name);
    }
    closedir(dir);
    std::sort(all.begin(), all.end());
    return all;
  }

 private:
  std::string root_;
};

/// "0-3,6" to {0, 1, 2, 3, 6}; empty where it is no such list.
std::vector<int> cpu_list(const std::string& text) {
  std::vector<int> all;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    char* end = nullptr;
    const long first = std::strtol(part.c_str(), &end, 10);
    const long last = *end == '-' ? std::strtol(end + 1, nullptr, 10) : first;
    if (end == part.c_str() || first < 0 || last > 4095) return {};
    for (long cpu = first; cpu <= last; ++cpu) all.push_back(int(cpu));
  }
  return all;
}

/// "KEY=value" or "KEY="value"" of a file of such lines.
std::string assigned(const std::string& text, const std::string& key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, key.size() + 1, key + "=") != 0) continue;
    line.erase(0, key.size() + 1);
    line.erase(std::remove(line.begin(), line.end(), '"'), line.end());
    return line;
  }
  return {};
}

/// "# R32 (release), REVISION: 7.6, GCID: ..." to "32.7.6".
std::string l4t_release(const std::string& line) {
  const size_t r = line.find("# R"), revision = line.find("REVISION: ");
  if (r == std::string::npos || revision == std::string::npos) return {};
  const char* const kDigits = "0123456789.";
  const std::string major = line.substr(r + 3, line.find_first_not_of(kDigits, r + 3) - r - 3);
  const size_t begin = revision + 10;
  const std::string minor = line.substr(begin, line.find_first_not_of(kDigits, begin) - begin);
  return major.empty() || minor.empty() ? std::string() : major + "." + minor;
}

void read_release(const Tree& tree, SystemFacts* f) {
  f->system = assigned(tree.text("/etc/os-release"), "PRETTY_NAME");
  f->board = tree.line("/proc/device-tree/model");
  if (f->board.empty()) f->board = tree.line("/sys/class/dmi/id/product_name");
  f->kernel = tree.line("/proc/sys/kernel/osrelease");
  f->l4t = l4t_release(tree.line("/etc/nv_tegra_release"));
  f->jetpack = jetpack_of(f->l4t);
}

void read_cpu(const Tree& tree, SystemFacts* f) {
  const std::string cpus = "/sys/devices/system/cpu/";
  const std::vector<int> online = cpu_list(tree.line(cpus + "online"));
  f->cores = int(cpu_list(tree.line(cpus + "present")).size());
  f->online = int(online.size());
  for (const int cpu : online) {
    const std::string freq = cpus + "cpu" + std::to_string(cpu) + "/cpufreq/";
    const std::string governor = tree.line(freq + "scaling_governor");
    if (governor.empty()) continue;
    if (f->cpu.governor.find(governor) == std::string::npos)
      f->cpu.governor += (f->cpu.governor.empty() ? "" : ", ") + governor;
    const double khz = 1e-3;
    f->cpu.mhz = std::max(f->cpu.mhz, tree.number(freq + "scaling_cur_freq") * khz);
    f->cpu.hardware_mhz = std::max(f->cpu.hardware_mhz, tree.number(freq + "cpuinfo_max_freq") * khz);
    f->cpu.limit_mhz = std::max(f->cpu.limit_mhz, tree.number(freq + "scaling_max_freq") * khz);
  }
}

void read_gpu_clock(const Tree& tree, SystemFacts* f) {
  const std::string folder = "/sys/class/devfreq/";
  for (const std::string& name : tree.names(folder)) {
    // 57000000.gpu is the Nano's; the later boards' are named by their chips.
    const bool gpu = name.find("gpu") != std::string::npos || name.find("gp10b") != std::string::npos ||
                     name.find("gv11b") != std::string::npos || name.find("ga10b") != std::string::npos;
    if (!gpu) continue;
    const std::string at = folder + name + "/";
    const double hz = 1e-6;
    f->gpu = {name, tree.line(at + "governor"), tree.number(at + "cur_freq") * hz, tree.number(at + "max_freq") * hz,
              0};
    std::istringstream steps(tree.line(at + "available_frequencies"));
    for (double step; steps >> step;) f->gpu.hardware_mhz = std::max(f->gpu.hardware_mhz, step * hz);
    return;
  }
}

void read_memory(const Tree& tree, SystemFacts* f) {
  std::istringstream lines(tree.text("/proc/meminfo"));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key;
    int64_t kib = 0;
    if (!(words >> key >> kib)) continue;
    if (key == "MemTotal:") f->memory_mib = kib / 1024;
    else if (key == "MemAvailable:") f->available_mib = kib / 1024;
    else if (key == "SwapTotal:") f->swap_mib = kib / 1024;
  }
}

void read_thermal(const Tree& tree, SystemFacts* f) {
  for (const std::string& name : tree.names("/sys/class/thermal", "thermal_zone")) {
    const std::string at = "/sys/class/thermal/" + name + "/";
    ThermalZone zone;
    zone.name = tree.line(at + "type");
    // The Nano's PMIC has a sensor in name only: it says 100 degrees for ever.
    if (tree.line(at + "temp").empty() || zone.name == "PMIC-Die") continue;
    zone.celsius = tree.number(at + "temp") / 1000;
    for (int trip = 0; trip < 16; ++trip) {
      std::string point = at;
      point += "trip_point_";
      point += std::to_string(trip);
      point += '_';
      const double celsius = tree.number(point + "temp") / 1000;
      if (tree.line(point + "type") != "passive" || celsius <= 0) continue;
      if (zone.throttles_at == 0 || celsius < zone.throttles_at) zone.throttles_at = celsius;
    }
    f->thermal.push_back(std::move(zone));
  }
  f->fan = tree.exists("/sys/devices/pwm-fan/target_pwm");
}

/// nvpmodel keeps the number of the mode in its status file ("pmode:0001") and their names in its configuration
/// ("< POWER_MODEL ID=1 NAME=5W >").
void read_power_mode(const Tree& tree, SystemFacts* f) {
  const std::string status = tree.line("/var/lib/nvpmodel/status"), key = "pmode:";
  if (status.compare(0, key.size(), key) != 0) return;
  f->power.id = int(std::strtol(status.c_str() + key.size(), nullptr, 10));
  std::istringstream lines(tree.text("/etc/nvpmodel.conf"));
  for (std::string line; std::getline(lines, line);) {
    const size_t id = line.find(" ID="), name = line.find(" NAME=");
    if (line.find("POWER_MODEL") == std::string::npos || id == std::string::npos || name == std::string::npos) continue;
    const int number = int(std::strtol(line.c_str() + id + 4, nullptr, 10));
    const std::string word = line.substr(name + 6, line.find_first_of(" >", name + 6) - name - 6);
    if (number == f->power.id) f->power.name = word;
    if (word.compare(0, 4, "MAXN") == 0 && f->power.best < 0) f->power.best = number;
  }
}

void read_vulkan(const Tree& tree, SystemFacts* f) {
  for (const char* folder : {"/usr/local/lib", "/usr/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu/tegra",
                             "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"})
    if (tree.exists(std::string(folder) + "/libvulkan.so.1"))
      f->loaders.push_back(std::string(folder) + "/libvulkan.so.1");
  for (const char* folder : {"/usr/local/etc", "/usr/local/share", "/etc", "/usr/share"}) {
    const std::string at = std::string(folder) + "/vulkan/icd.d/";
    for (const std::string& name : tree.names(at)) {
      if (name.size() < 5 || name.compare(name.size() - 5, 5, ".json") != 0) continue;
      VulkanDriver driver;
      driver.file = at;
      driver.file += name;
      const auto json = vireo::read_ordered_json(tree.text(driver.file));
      if (json.is_object() && json.contains("ICD") && json["ICD"].is_object() && json["ICD"].contains("library_path") &&
          json["ICD"]["library_path"].is_string())
        driver.library = json["ICD"]["library_path"].get<std::string>();
      f->drivers.push_back(std::move(driver));
    }
  }
  std::vector<std::string> files;
  for (const char* file : {"/dev/nvhost-gpu", "/dev/nvhost-ctrl-gpu", "/dev/nvmap", "/dev/nvidia0", "/dev/nvidiactl"})
    if (tree.exists(file)) files.push_back(file);
  for (const std::string& name : tree.names("/dev/dri", "renderD")) files.push_back("/dev/dri/" + name);
  for (const std::string& file : files) {
    f->gpu_files.push_back(file);
    if (!tree.opens(file)) f->closed_gpu_files.push_back(file);
  }
}

}  // namespace

bool older(const std::string& a, const std::string& b) {
  std::istringstream x(a), y(b);
  while (x || y) {
    std::string u, v;
    std::getline(x, u, '.');
    std::getline(y, v, '.');
    const long i = std::strtol(u.c_str(), nullptr, 10), j = std::strtol(v.c_str(), nullptr, 10);
    if (i != j) return i < j;
  }
  return false;
}

std::string jetpack_of(const std::string& l4t) {
  struct Release {
    const char *l4t, *jetpack;
  };
  // NVIDIA's archive of JetPacks for the boards of the Nano's generation; later ones go by the first number.
  static const Release kReleases[] = {
      {"32.1", "4.2"},     {"32.2", "4.2.1"},   {"32.2.1", "4.2.2"}, {"32.2.3", "4.2.3"}, {"32.3.1", "4.3"},
      {"32.4.2", "4.4"},   {"32.4.3", "4.4"},   {"32.4.4", "4.4.1"}, {"32.5", "4.5"},     {"32.5.0", "4.5"},
      {"32.5.1", "4.5.1"}, {"32.6.1", "4.6"},   {"32.7.1", "4.6.1"}, {"32.7.2", "4.6.2"}, {"32.7.3", "4.6.3"},
      {"32.7.4", "4.6.4"}, {"32.7.5", "4.6.5"}, {"32.7.6", "4.6.6"}};
  for (const Release& r : kReleases)
    if (l4t == r.l4t) return r.jetpack;
  if (l4t.compare(0, 3, "35.") == 0) return "5";
  if (l4t.compare(0, 3, "36.") == 0) return "6";
  return {};
}

SystemFacts read_system(std::string root) {
  const Tree tree(std::move(root));
  SystemFacts f;
  read_release(tree, &f);
  read_cpu(tree, &f);
  read_gpu_clock(tree, &f);
  read_memory(tree, &f);
  read_thermal(tree, &f);
  read_power_mode(tree, &f);
  read_vulkan(tree, &f);
  return f;
}

}  // namespace cli
