// vireo doctor: what it reads of a machine's files, what it says of them, and that each advice has one cause. The files
// are those of a Jetson Nano under JetPack 4.6.6, written down from surveys of such boards; none was at hand.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "cli/run_cli.h"

namespace cli_test {
namespace {

using nlohmann::json;

const char* const kGpu = "/sys/class/devfreq/57000000.gpu/";
const char* const kZone = "/sys/class/thermal/thermal_zone2/";

/// A machine's files in a folder.
class Machine {
 public:
  void put(const std::string& path, const std::string& text) const {
    for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
      mkdir(scratch_.path(path.substr(1, slash - 1)).c_str(), 0755);
    scratch_.write(path.substr(1), text);
  }
  void remove(const std::string& path) const { ASSERT_EQ(std::remove(scratch_.path(path.substr(1)).c_str()), 0); }

  /// A Jetson Nano as it should be: MAXN, jetson_clocks.
  void nano() const {
    put("/etc/os-release", "NAME=\"Ubuntu\"\nPRETTY_NAME=\"Ubuntu 18.04.6 LTS\"\n");
    put("/etc/nv_tegra_release",
        "# R32 (release), REVISION: 7.6, GCID: 38171779, BOARD: t210ref, EABI: aarch64, DATE: Tue Nov  5 07:46:14 UTC "
        "2024\n");
    put("/proc/device-tree/model", std::string("NVIDIA Jetson Nano Developer Kit\0", 33));
    put("/proc/sys/kernel/osrelease", "4.9.337-tegra\n");
    put("/proc/meminfo",
        "MemTotal:        4059384 kB\nMemFree: 1 kB\nMemAvailable:    2744320 kB\nSwapTotal: 2029680 kB\n");
    cores("0-3", "performance", 1479000);
    gpu(921600000);
    put("/etc/nvpmodel.conf",
        "< PARAM TYPE=FILE NAME=CPU_ONLINE >\n< POWER_MODEL ID=0 NAME=MAXN >\nCPU_ONLINE CORE_1 1\n"
        "< POWER_MODEL ID=1 NAME=5W >\n< PM_CONFIG DEFAULT=0 >\n");
    put("/var/lib/nvpmodel/status", "pmode:0000");
    put("/sys/class/thermal/thermal_zone0/type", "AO-therm\n");
    put("/sys/class/thermal/thermal_zone0/temp", "44500\n");
    put("/sys/class/thermal/thermal_zone4/type", "PMIC-Die\n");
    put("/sys/class/thermal/thermal_zone4/temp", "100000\n");
    put(std::string(kZone) + "type", "GPU-therm\n");
    put(std::string(kZone) + "temp", "37500\n");
    put(std::string(kZone) + "trip_point_0_type", "critical\n");
    put(std::string(kZone) + "trip_point_0_temp", "96500\n");
    put(std::string(kZone) + "trip_point_1_type", "passive\n");
    put(std::string(kZone) + "trip_point_1_temp", "85000\n");
    put("/sys/devices/pwm-fan/target_pwm", "0\n");
    put("/usr/lib/aarch64-linux-gnu/tegra/libvulkan.so.1", "");
    put("/etc/vulkan/icd.d/nvidia_icd.json",
        R"({"file_format_version": "1.0.0", "ICD": {"library_path": "libGLX_nvidia.so.0", "api_version": "1.2.131"}})");
    put("/dev/nvhost-gpu", "");
    put("/dev/nvmap", "");
  }
  void cores(const std::string& online, const std::string& governor, int limit_khz) const {
    put("/sys/devices/system/cpu/present", "0-3\n");
    put("/sys/devices/system/cpu/online", online + "\n");
    for (int i = 0; i < 4; ++i) {
      const std::string at = "/sys/devices/system/cpu/cpu" + std::to_string(i) + "/cpufreq/";
      put(at + "scaling_governor", governor + "\n");
      put(at + "scaling_cur_freq", "102000\n");
      put(at + "scaling_max_freq", std::to_string(limit_khz) + "\n");
      put(at + "cpuinfo_max_freq", "1479000\n");
    }
  }
  void gpu(int limit_hz) const {
    put(std::string(kGpu) + "governor", "nvhost_podgov\n");
    put(std::string(kGpu) + "cur_freq", "76800000\n");
    put(std::string(kGpu) + "max_freq", std::to_string(limit_hz) + "\n");
    put(std::string(kGpu) + "available_frequencies", "76800000 153600000 614400000 921600000\n");
  }

  /// `gpu`: the device that the driver would show; empty: none.
  Answer doctor(bool as_json, const std::string& gpu = "jetson-nano") const {
    std::vector<std::string> words{"doctor", "--root", scratch_.path()};
    if (!gpu.empty()) words.insert(words.end(), {"--caps", gpu});
    if (as_json) words.push_back("--json");
    return run_cli(words);
  }
  json facts(const std::string& gpu = "jetson-nano") const {
    const Answer answer = doctor(true, gpu);
    EXPECT_EQ(answer.code, 0) << answer.text();
    EXPECT_EQ(answer.err, "");
    return answer.json();
  }

 private:
  Scratch scratch_;
};

bool any_has(const json& sentences, const std::string& word) {
  for (const json& s : sentences)
    if (s.get<std::string>().find(word) != std::string::npos) return true;
  return false;
}

TEST(Doctor, ReadsANanosFiles) {
  const Machine nano;
  nano.nano();
  const json f = nano.facts();
  EXPECT_EQ(f["system"], json({{"name", "Ubuntu 18.04.6 LTS"},
                               {"board", "NVIDIA Jetson Nano Developer Kit"},
                               {"kernel", "4.9.337-tegra"},
                               {"l4t", "32.7.6"},
                               {"jetpack", "4.6.6"}}));
  EXPECT_EQ(f["cpu"]["cores"], 4);
  EXPECT_EQ(f["cpu"]["online"], 4);
  EXPECT_EQ(f["cpu"]["governor"], "performance");
  EXPECT_EQ(f["cpu"]["mhz"], 102.0);
  EXPECT_EQ(f["cpu"]["hardware_mhz"], 1479.0);
  EXPECT_EQ(f["gpu_clock"], json({{"name", "57000000.gpu"},
                                  {"governor", "nvhost_podgov"},
                                  {"mhz", 76.8},
                                  {"limit_mhz", 921.6},
                                  {"hardware_mhz", 921.6}}));
  EXPECT_EQ(f["memory"], json({{"total_mib", 3964}, {"available_mib", 2680}, {"swap_mib", 1982}}));
  EXPECT_EQ(f["power_mode"], json({{"id", 0}, {"name", "MAXN"}, {"best", 0}}));
  // Without the sensor that always says 100 degrees.
  EXPECT_EQ(f["thermal"], json::parse(R"([{"name": "AO-therm", "celsius": 44.5, "throttles_at": null},
                                          {"name": "GPU-therm", "celsius": 37.5, "throttles_at": 85.0}])"));
  EXPECT_EQ(f["vulkan"]["loader"], "/usr/lib/aarch64-linux-gnu/tegra/libvulkan.so.1");
  EXPECT_EQ(f["vulkan"]["drivers"],
            json::parse(R"([{"file": "/etc/vulkan/icd.d/nvidia_icd.json", "library": "libGLX_nvidia.so.0"}])"));
  EXPECT_EQ(f["vulkan"]["gpu_files"], json({"/dev/nvhost-gpu", "/dev/nvmap"}));
  EXPECT_EQ(f["vulkan"]["devices"][0]["api"], "1.2.131");
  EXPECT_EQ(f["vulkan"]["devices"][0]["float16"], true);
  EXPECT_TRUE(any_has(f["will"], "take NVIDIA Tegra X1 (nvgpu) (vulkan:0)")) << f["will"];
  EXPECT_TRUE(any_has(f["will"], "packed pairs of fp16")) << f["will"];
  EXPECT_EQ(f["change"], json::array());

  const Answer text = nano.doctor(false);
  for (const char* word : {"Ubuntu 18.04.6 LTS, kernel 4.9.337-tegra", "L4T 32.7.6, JetPack 4.6.6", "0, MAXN",
                           "4 of 4 cores online, at 102 MHz, 1479 MHz at most, governor performance",
                           "2680 of 3964 MiB free", "GPU-therm 38 C", "Nothing needs to be changed."})
    EXPECT_NE(text.out.find(word), std::string::npos) << word << " in\n" << text.out;
}

/// One thing that is wrong with a Nano, and a part of the one sentence that says so.
struct Wrong {
  const char* name;
  void (*make)(const Machine&);
  const char* advice;
  const char* gpu;
};
const Wrong kWrong[] = {
    {"FiveWatts",
     [](const Machine& m) {
       m.put("/var/lib/nvpmodel/status", "pmode:0001");
       m.cores("0-1", "performance", 918000);  // the mode's doing: no sentence of their own
       m.gpu(614400000);
     },
     "Power mode 1 (5W) limits clocks and cores: `sudo nvpmodel -m 0`", "jetson-nano"},
    {"CoresOffline", [](const Machine& m) { m.cores("0,2-3", "performance", 1479000); }, "Only 3 of 4 cores are online",
     "jetson-nano"},
    {"Governor", [](const Machine& m) { m.cores("0-3", "schedutil", 1479000); }, "governor (schedutil)", "jetson-nano"},
    {"OneGovernor",
     [](const Machine& m) { m.put("/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "schedutil\n"); },
     "governor (performance, schedutil)", "jetson-nano"},
    {"GpuClock", [](const Machine& m) { m.gpu(614400000); }, "The GPU may reach 614 of its 922 MHz", "jetson-nano"},
    {"Hot", [](const Machine& m) { m.put(std::string(kZone) + "temp", "81000\n"); },
     "GPU-therm has 81 degrees and clocks fall at 85", "jetson-nano"},
    {"Memory", [](const Machine& m) { m.put("/proc/meminfo", "MemTotal: 4059384 kB\nMemAvailable: 409600 kB\n"); },
     "Only 400 of 3964 MiB of memory are free, which the GPU shares", "jetson-nano"},
    {"OldRelease",
     [](const Machine& m) { m.put("/etc/nv_tegra_release", "# R32 (release), REVISION: 3.1, GCID: 1\n"); },
     "L4T 32.3.1 is older than JetPack 4.4", "jetson-nano"},
    {"NoLoader", [](const Machine& m) { m.remove("/usr/lib/aarch64-linux-gnu/tegra/libvulkan.so.1"); },
     "There is no Vulkan loader (libvulkan.so.1), though JetPack has one", ""},
    {"NoDriver", [](const Machine& m) { m.remove("/etc/vulkan/icd.d/nvidia_icd.json"); },
     "There is a Vulkan loader but no driver", ""},
    {"Container",
     [](const Machine& m) {
       m.remove("/dev/nvhost-gpu");
       m.remove("/dev/nvmap");
     },
     "this looks like a container", ""},
};
void PrintTo(const Wrong& w, std::ostream* out) { *out << w.name; }

class DoctorAdvises : public testing::TestWithParam<Wrong> {};

TEST_P(DoctorAdvises, OnceForEachCause) {
  const Machine nano;
  nano.nano();
  EXPECT_EQ(nano.facts(GetParam().gpu)["change"], json::array());
  GetParam().make(nano);
  const json change = nano.facts(GetParam().gpu)["change"];
  ASSERT_EQ(change.size(), 1u) << change;
  EXPECT_TRUE(any_has(change, GetParam().advice)) << change;
  EXPECT_NE(nano.doctor(false, GetParam().gpu).out.find("To change\n- "), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Each, DoctorAdvises, testing::ValuesIn(kWrong),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Doctor, TheFanIsAdvisedWhereThereIsOne) {
  const Machine nano;
  nano.nano();
  nano.put(std::string(kZone) + "temp", "90000\n");
  EXPECT_TRUE(any_has(nano.facts()["change"], "pwm-fan"));
  nano.remove("/sys/devices/pwm-fan/target_pwm");
  const json change = nano.facts()["change"];
  EXPECT_FALSE(any_has(change, "pwm-fan")) << change;
  EXPECT_TRUE(any_has(change, "clocks fall at 85")) << change;
}

TEST(Doctor, KnowsTheReleasesOfTheNano) {
  for (const auto& [l4t, jetpack] : {std::pair<const char*, const char*>{"R32 (release), REVISION: 6.1", "4.6"},
                                     {"R32 (release), REVISION: 7.1", "4.6.1"},
                                     {"R32 (release), REVISION: 4.3", "4.4"},
                                     {"R35 (release), REVISION: 4.1", "5"}}) {
    const Machine m;
    m.nano();
    m.put("/etc/nv_tegra_release", std::string("# ") + l4t + ", GCID: 1\n");
    const json f = m.facts();
    EXPECT_EQ(f["system"]["jetpack"], jetpack) << l4t;
    EXPECT_EQ(f["change"], json::array()) << l4t;
  }
}

TEST(Doctor, AGpuWithoutFp16SaysSo) {
  const Machine nano;
  nano.nano();
  const Scratch scratch;
  const std::string caps =
      scratch.write("caps", "name: Old GPU\nkind: vulkan\napi_version: 0x401000\nshader_float16: 0\ntimestamps: 0\n");
  const json f = nano.facts(caps);
  EXPECT_TRUE(any_has(f["will"], "Old GPU has no shaderFloat16")) << f["will"];
  EXPECT_TRUE(any_has(f["will"], "no times of dispatches")) << f["will"];
  EXPECT_FALSE(any_has(f["will"], "packed pairs")) << f["will"];
}

TEST(Doctor, OtherMachinesGetOtherCommands) {
  const Machine pc;
  pc.put("/usr/lib/x86_64-linux-gnu/libvulkan.so.1", "");
  json change = pc.facts("")["change"];
  ASSERT_EQ(change.size(), 1u) << change;
  EXPECT_TRUE(any_has(change, "mesa-vulkan-drivers")) << change;
  pc.put("/usr/share/vulkan/icd.d/radeon_icd.x86_64.json", "not JSON");  // a driver all the same
  pc.cores("0-3", "powersave", 1479000);
  change = pc.facts("")["change"];
  ASSERT_EQ(change.size(), 1u) << change;
  EXPECT_TRUE(any_has(change, "cpupower")) << change;
  EXPECT_FALSE(any_has(change, "jetson_clocks")) << change;
}

TEST(Doctor, NothingAndNonsenseAreRead) {
  const Machine bare;
  const json nothing = bare.facts("");
  EXPECT_EQ(nothing["system"]["name"], nullptr);
  EXPECT_EQ(nothing["cpu"]["cores"], nullptr);
  EXPECT_EQ(nothing["power_mode"]["id"], nullptr);
  EXPECT_EQ(nothing["change"].size(), 1u);
  EXPECT_TRUE(any_has(nothing["change"], "no Vulkan loader"));

  // The capabilities of a GPU are no loader, and without one nothing runs on it.
  EXPECT_TRUE(any_has(bare.facts("jetson-nano")["change"], "no Vulkan loader"));

  const Machine odd;
  odd.nano();
  odd.put("/etc/nv_tegra_release", "# R (release), REVISION: , GCID\n");
  odd.put("/sys/devices/system/cpu/present", "0-99999999\n");
  odd.put("/sys/devices/system/cpu/online", "-,x\n");
  odd.put(std::string(kGpu) + "cur_freq", "nan\n");
  odd.put(std::string(kGpu) + "max_freq", "1e300\n");
  odd.put(std::string(kZone) + "temp", std::string(200000, '9'));
  odd.put("/proc/meminfo", "MemTotal: lots kB\nMemAvailable:\n");
  odd.put("/var/lib/nvpmodel/status", "pmode:");
  odd.put("/proc/device-tree/model", "A\x1b[31mBoard\n");
  odd.put("/etc/vulkan/icd.d/nvidia_icd.json", R"({"ICD": {"library_path": 7}})");
  const json f = odd.facts();
  EXPECT_EQ(f["system"]["l4t"], nullptr);
  EXPECT_EQ(f["system"]["board"], "A?[31mBoard");
  EXPECT_EQ(f["cpu"]["cores"], nullptr);
  EXPECT_EQ(f["gpu_clock"]["mhz"], nullptr);
  EXPECT_EQ(f["gpu_clock"]["limit_mhz"], nullptr);
  EXPECT_EQ(f["memory"]["total_mib"], nullptr);
  EXPECT_EQ(f["vulkan"]["drivers"][0]["library"], nullptr);
  EXPECT_EQ(odd.doctor(false).code, 0);
}

TEST(Doctor, ARootThatIsNoFolderFails) {
  for (const std::string& root : {std::string("/no/such/root"), std::string(VIREO_TEST_DATA) + "/images/rgb8.png"}) {
    const Answer answer = run_cli({"doctor", "--root", root});
    EXPECT_TRUE(answer.fails_clearly(1)) << answer.text();
    EXPECT_NE(answer.err.find(root), std::string::npos) << answer.err;
  }
}

TEST(Doctor, HereItFindsWhatDevicesFinds) {
  const json f = run_cli({"doctor", "--json"}).json(), devices = run_cli({"devices", "--json"}).json();
  ASSERT_FALSE(f.is_discarded());
  size_t vulkan = 0;
  for (const json& d : devices["devices"]) {
    if (d["kind"] == "cpu") {
      EXPECT_EQ(f["cpu"]["name"], d["name"]);
      continue;
    }
    ASSERT_LT(vulkan, f["vulkan"]["devices"].size());
    EXPECT_EQ(f["vulkan"]["devices"][vulkan]["name"], d["name"]);
    EXPECT_EQ(f["vulkan"]["devices"][vulkan++]["software"], d["software"]);
  }
  EXPECT_EQ(f["vulkan"]["devices"].size(), vulkan);
  EXPECT_EQ(f["vulkan"]["reason"], devices["reason"]);
  EXPECT_EQ(f["vulkan"]["loader"].is_null(),
            devices["reason"].get<std::string>().find("no loader") != std::string::npos);
  if (vulkan > 0) {
    EXPECT_NE(f["vulkan"]["loader"].get<std::string>().find("libvulkan.so"), std::string::npos);
  }
  EXPECT_GE(f["will"].size(), 2u) << f["will"];
}

TEST(Doctor, SaysWhenNothingIsKept) {
  const Scratch scratch;
  const auto doctor = [](const std::string& cache) {
    return run_cli({"doctor", "--json"}, {{"VIREO_CACHE_DIR", cache}}).json();
  };
  const json kept = doctor(scratch.path("new/folder"));
  EXPECT_EQ(kept["cache"]["folder"], scratch.path("new/folder"));
  EXPECT_EQ(kept["cache"]["trouble"], "");
  EXPECT_FALSE(any_has(kept["change"], "Nothing is kept"));
  for (const std::string& bad : {std::string("-"), scratch.write("file", "") + "/cache"}) {
    const json none = doctor(bad);
    EXPECT_NE(none["cache"]["trouble"], "") << bad;
    EXPECT_TRUE(any_has(none["change"], "Nothing is kept")) << bad;
  }
}

/// What describes no GPU is not taken for one.
TEST(Doctor, CapsAreThoseOfAGpu) {
  for (const std::string& caps : {std::string("jetson-nano-cpu"), std::string(VIREO_SOURCE_DIR) + "/README.md"}) {
    const Answer a = run_cli({"doctor", "--caps", caps});
    EXPECT_TRUE(a.fails_clearly(1)) << a.text();
    EXPECT_NE(a.err.find("does not say what a GPU can do"), std::string::npos) << a.text();
  }
  EXPECT_EQ(run_cli({"doctor", "--caps", "jetson-nano"}).code, 0);
}

}  // namespace
}  // namespace cli_test
