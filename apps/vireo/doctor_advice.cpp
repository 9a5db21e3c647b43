// The sentences of `vireo doctor`: what Vireo will do on a machine with these findings, and what is worth changing
// there.
#include <algorithm>
#include <cmath>

#include "doctor.h"

namespace cli {
namespace {

std::string whole(double value) { return std::to_string(std::lround(value)); }

std::string listed(const std::vector<std::string>& words) {
  std::string all;
  for (const std::string& w : words) all += (all.empty() ? "" : ", ") + w;
  return all;
}

const DoctorDevice* gpu_of(const Findings& found) {
  for (const DoctorDevice& d : found.devices)
    if (!d.software) return &d;
  return nullptr;
}

void device_sentences(const Findings& found, std::vector<std::string>* will) {
  if (!found.takes.empty()) {
    std::string text = "take " + found.takes + " unless --device says otherwise";
    if (!found.takes_why.empty()) text += " (" + found.takes_why + ")";
    will->push_back(text + ".");
  }
  const DoctorDevice* gpu = gpu_of(found);
  if (gpu == nullptr) return;
  will->push_back(gpu->float16 ? "multiply packed pairs of fp16 with --precision fp16, where a self-test shows that "
                                 "this driver is exact enough and the GPU's kind gains from it."
                               : "save memory with --precision fp16 and compute in fp32 all the same: " + gpu->name +
                                     " has no shaderFloat16.");
  will->push_back(
      "save memory with --precision int8 and w8a8; `vireo plan` says whether this GPU multiplies their codes as "
      "integers, halves or floats.");
  if (!gpu->timestamps) will->push_back("show no times of dispatches in `vireo profile`: the GPU has no timestamps.");
  if (found.here && found.cache_trouble.empty())
    will->push_back("compile its shaders for this GPU before the first answer, and keep them in " + found.cache + ".");
}

void vulkan_advice(const SystemFacts& s, const Findings& found, std::vector<std::string>* change) {
  const bool tegra = !s.l4t.empty();
  // Files alone are no loader of this process: they may be of another architecture. A GPU of --caps is no loader
  // either.
  if (found.here ? found.loader.empty() : s.loaders.empty()) {
    change->push_back(tegra
                          ? "There is no Vulkan loader (libvulkan.so.1), though JetPack has one: its driver's packages "
                            "are not installed, or this is a container that was not started with --runtime nvidia."
                          : "There is no Vulkan loader: `sudo apt-get install libvulkan1`, and the GPU's driver.");
    return;
  }
  if (gpu_of(found) != nullptr) return;
  if (s.drivers.empty() && found.devices.empty())
    change->push_back(
        tegra
            ? "There is a Vulkan loader but no driver for it: JetPack's is described in "
              "/etc/vulkan/icd.d/nvidia_icd.json, which is not there. In a container, start it with --runtime nvidia."
            : "There is a Vulkan loader but no driver for it: install the GPU's (Intel and AMD: `sudo apt-get install "
              "mesa-vulkan-drivers`; NVIDIA: its own).");
  if (!s.closed_gpu_files.empty())
    change->push_back("This user may not open " + listed(s.closed_gpu_files) + ": `sudo usermod -aG " +
                      (tegra ? "video" : "video,render") + " $USER`, then log in anew.");
  else if (tegra && s.gpu_files.empty())
    change->push_back(
        "The GPU's files (/dev/nvhost-gpu, /dev/nvmap) are not here: this looks like a container; start "
        "it with --runtime nvidia.");
}

void release_advice(const SystemFacts& s, std::vector<std::string>* change) {
  if (s.l4t.empty()) return;
  if (older(s.l4t, "32.4.3"))
    change->push_back("L4T " + s.l4t +
                      " is older than JetPack 4.4, whose driver was the first with Vulkan 1.2 and fp16 arithmetic: "
                      "flash JetPack 4.6.");
}

void clock_advice(const SystemFacts& s, std::vector<std::string>* change) {
  const bool tegra = !s.l4t.empty();
  if (s.power.id >= 0 && s.power.best >= 0 && s.power.id != s.power.best)
    change->push_back("Power mode " + std::to_string(s.power.id) +
                      (s.power.name.empty() ? "" : " (" + s.power.name + ")") +
                      " limits clocks and cores: `sudo nvpmodel -m " + std::to_string(s.power.best) +
                      "`, with a supply that can give the current (the Nano: 4 A at its barrel connector).");
  else if (s.gpu.limit_mhz > 0 && s.gpu.limit_mhz < 0.99 * s.gpu.hardware_mhz)
    change->push_back("The GPU may reach " + whole(s.gpu.limit_mhz) + " of its " + whole(s.gpu.hardware_mhz) +
                      " MHz: " + (tegra ? "`sudo jetson_clocks`." : "its devfreq's max_freq is set lower."));
  if (s.online > 0 && s.online < s.cores && (s.power.best < 0 || s.power.id == s.power.best))
    change->push_back("Only " + std::to_string(s.online) + " of " + std::to_string(s.cores) +
                      " cores are online: write 1 to /sys/devices/system/cpu/cpuN/online of the others.");
  if (!s.cpu.governor.empty() && s.cpu.governor != "performance")
    change->push_back("The CPU's governor (" + s.cpu.governor +
                      ") lowers clocks between frames, and the next frame waits for them: " +
                      (tegra ? "`sudo jetson_clocks`, after nvpmodel, sets CPU, GPU and memory to their highest."
                             : "`sudo cpupower frequency-set -g performance`."));
}

void heat_and_memory_advice(const SystemFacts& s, std::vector<std::string>* change) {
  for (const ThermalZone& zone : s.thermal) {
    if (zone.throttles_at == 0 || zone.celsius < zone.throttles_at - 5) continue;
    change->push_back(zone.name + " has " + whole(zone.celsius) + " degrees and clocks fall at " +
                      whole(zone.throttles_at) + ": cool it" +
                      (s.fan ? " (`sudo sh -c 'echo 255 > /sys/devices/pwm-fan/target_pwm'` turns the fan up)." : "."));
  }
  constexpr int64_t kLeast = 768;  // MiB: a base ViT in fp32, its pictures and the driver
  if (s.available_mib > 0 && s.available_mib < kLeast)
    change->push_back(
        "Only " + std::to_string(s.available_mib) + " of " + std::to_string(s.memory_mib) + " MiB of memory are free" +
        (s.l4t.empty() ? "" : ", which the GPU shares") +
        ": without a desktop (`sudo systemctl isolate multi-user.target`) there is more; --precision fp16 "
        "and int8 need less.");
}

}  // namespace

Advice advise(const SystemFacts& s, const Findings& found) {
  Advice a;
  device_sentences(found, &a.will);
  if (found.threads > 0)
    a.will.push_back("use " + std::to_string(found.threads) + (found.threads == 1 ? " thread" : " threads") + " on " +
                     found.cpu + " for what runs on the CPU.");
  vulkan_advice(s, found, &a.change);
  release_advice(s, &a.change);
  clock_advice(s, &a.change);
  heat_and_memory_advice(s, &a.change);
  if (found.here && !found.cache_trouble.empty())
    a.change.push_back("Nothing is kept between runs, so each start compiles the shaders anew: " + found.cache_trouble +
                       ".");
  return a;
}

}  // namespace cli
