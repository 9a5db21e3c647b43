#include "doctor.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sstream>

#include "machines.h"

namespace cli {
namespace {

struct DoctorArgs {
  Common common;
  std::string root, caps;
};

std::map<std::string, std::string> caps_keys(const std::string& text) {
  std::map<std::string, std::string> keys;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(": ");
    if (colon != std::string::npos && line[0] != '#') keys[line.substr(0, colon)] = line.substr(colon + 2);
  }
  return keys;
}

/// Where sessions keep what they compiled, as they find it; empty: nowhere.
std::string cache_folder() {
  const auto get = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  const std::string set = get("VIREO_CACHE_DIR"), xdg = get("XDG_CACHE_HOME"), home = get("HOME");
  if (!set.empty()) return set == "-" ? "" : set;
  if (!xdg.empty() && xdg[0] == '/') return xdg + "/vireo";
  if (!home.empty() && home[0] == '/') return home + "/.cache/vireo";
  return {};
}

/// Why nothing can be kept in the folder, or empty. It is made by the first session, so its parents count.
std::string cache_trouble(std::string folder) {
  if (folder.empty())
    return std::getenv("VIREO_CACHE_DIR") != nullptr ? "VIREO_CACHE_DIR is -; unset it"
                                                     : "there is no HOME; set VIREO_CACHE_DIR to a folder";
  const std::string wanted = folder;
  for (;;) {
    struct stat info {};
    if (stat(folder.c_str(), &info) == 0) {
      if (!S_ISDIR(info.st_mode)) return folder + " is no folder; set VIREO_CACHE_DIR to one";
      if (access(folder.c_str(), W_OK | X_OK) != 0)
        return folder + " cannot be written to; set VIREO_CACHE_DIR to a folder that can";
      return {};
    }
    const size_t slash = folder.rfind('/');
    if (slash == std::string::npos) folder = ".";
    else folder.resize(slash == 0 ? 1 : slash);
  }
}

/// The file of the Vulkan loader that this process has open.
std::string open_loader() {
  void* handle = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (handle == nullptr) return {};
  Dl_info info{};
  void* const symbol = dlsym(handle, "vkGetInstanceProcAddr");
  std::string file = symbol != nullptr && dladdr(symbol, &info) != 0 && info.dli_fname != nullptr ? info.dli_fname : "";
  dlclose(handle);
  if (char* real = realpath(file.c_str(), nullptr)) {
    file = real;
    std::free(real);
  }
  return file;
}

void look_here(Findings* f) {
  for (const vireo::Device& d : vireo::Device::list(&f->no_device)) {
    if (d.index() < 0) {
      f->cpu = d.name();
      f->threads = std::atoi(caps_keys(d.caps_text())["threads"].c_str());
      continue;
    }
    f->devices.push_back(doctor_device("vulkan:" + std::to_string(d.index()), d.software(), d.caps_text()));
  }
  f->loader = open_loader();
  const vireo::Device best = vireo::Device::best();
  f->takes = best.index() >= 0 ? best.name() + " (vulkan:" + std::to_string(best.index()) + ")" : "the CPU";
  f->takes_why = best.reason();
  f->cache = cache_folder();
  f->cache_trouble = cache_trouble(f->cache);
}

/// The loader that was opened here, or the one that another machine has.
std::string loader_of(const SystemFacts& s, const Findings& f) {
  return f.here ? f.loader : s.loaders.empty() ? "" : s.loaders.front();
}

Findings look(const DoctorArgs& args) {
  Findings f;
  f.here = args.root.empty() && args.caps.empty();
  if (f.here) {
    look_here(&f);
  } else if (!args.caps.empty()) {
    const std::string caps = caps_argument(args.caps);
    auto keys = caps_keys(caps);
    if (keys["kind"] != "vulkan" || keys["name"].empty())
      throw Failure("'" + args.caps +
                    "' does not say what a GPU can do ('kind: vulkan' and a name); --caps takes what " +
                    "`vireo devices --caps` prints for one, or the name of a built-in one");
    f.devices.push_back(doctor_device("vulkan:0", keys["class"] == "software", caps));
    f.takes = keys["class"] == "software" ? "the CPU" : f.devices[0].name + " (vulkan:0)";
  }
  return f;
}

// ------------------------------------------------------------------------------------------------------------ JSON

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }
Json number_or_null(double value) { return value > 0 ? Json(std::round(value * 10) / 10) : Json(); }
Json count_or_null(int64_t value) { return value > 0 ? Json(value) : Json(); }

Json clock_json(const CpuClock& c) {
  return {{"governor", text_or_null(c.governor)},
          {"mhz", number_or_null(c.mhz)},
          {"limit_mhz", number_or_null(c.limit_mhz)},
          {"hardware_mhz", number_or_null(c.hardware_mhz)}};
}

Json to_json(const DoctorArgs& args, const SystemFacts& s, const Findings& f, const Advice& advice) {
  Json json;
  json["root"] = args.root.empty() ? "/" : args.root;
  json["system"] = {{"name", text_or_null(s.system)},
                    {"board", text_or_null(s.board)},
                    {"kernel", text_or_null(s.kernel)},
                    {"l4t", text_or_null(s.l4t)},
                    {"jetpack", text_or_null(s.jetpack)}};
  Json& cpu = json["cpu"] = clock_json(s.cpu);
  cpu["name"] = text_or_null(f.cpu);
  cpu["cores"] = count_or_null(s.cores);
  cpu["online"] = count_or_null(s.online);
  cpu["threads"] = count_or_null(f.threads);
  Json& gpu = json["gpu_clock"] = clock_json(s.gpu);
  gpu["name"] = text_or_null(s.gpu.name);
  json["memory"] = {{"total_mib", count_or_null(s.memory_mib)},
                    {"available_mib", count_or_null(s.available_mib)},
                    {"swap_mib", s.swap_mib}};
  json["power_mode"] = {{"id", s.power.id < 0 ? Json() : Json(s.power.id)},
                        {"name", text_or_null(s.power.name)},
                        {"best", s.power.best < 0 ? Json() : Json(s.power.best)}};
  json["thermal"] = Json::array();
  for (const ThermalZone& zone : s.thermal)
    json["thermal"].push_back({{"name", zone.name},
                               {"celsius", std::round(zone.celsius * 10) / 10},
                               {"throttles_at", number_or_null(zone.throttles_at)}});
  Json& vulkan = json["vulkan"];
  vulkan["loader"] = text_or_null(loader_of(s, f));
  vulkan["drivers"] = Json::array();
  for (const VulkanDriver& d : s.drivers)
    vulkan["drivers"].push_back({{"file", d.file}, {"library", text_or_null(d.library)}});
  vulkan["gpu_files"] = s.gpu_files;
  vulkan["closed_gpu_files"] = s.closed_gpu_files;
  vulkan["reason"] = f.no_device;
  vulkan["devices"] = Json::array();
  for (const DoctorDevice& d : f.devices)
    vulkan["devices"].push_back({{"id", d.id},
                                 {"name", d.name},
                                 {"api", d.api},
                                 {"driver", d.driver},
                                 {"software", d.software},
                                 {"integrated", d.integrated},
                                 {"float16", d.float16},
                                 {"storage16", d.storage16},
                                 {"int8", d.int8},
                                 {"storage8", d.storage8},
                                 {"timestamps", d.timestamps},
                                 {"subgroup", d.subgroup},
                                 {"shared_kib", d.shared_kib}});
  json["cache"] = {{"folder", text_or_null(f.cache)}, {"trouble", f.cache_trouble}};
  json["will"] = advice.will;
  json["change"] = advice.change;
  return json;
}

// ------------------------------------------------------------------------------------------------------------ text

void row(const char* name, const std::string& text) {
  if (!text.empty()) std::printf("%-13s%s\n", name, text.c_str());
}

std::string mhz(double value) { return std::to_string(std::lround(value)) + " MHz"; }

std::string clock_sentence(const CpuClock& c) {
  std::string text;
  if (c.mhz > 0) text += "at " + mhz(c.mhz);
  if (c.limit_mhz > 0) text += (text.empty() ? "" : ", ") + mhz(c.limit_mhz) + " at most";
  if (c.hardware_mhz > 0 && c.hardware_mhz > c.limit_mhz) text += (text.empty() ? "" : " of ") + mhz(c.hardware_mhz);
  if (!c.governor.empty()) text += (text.empty() ? "governor " : ", governor ") + c.governor;
  return text;
}

std::string device_text(const DoctorDevice& d) {
  std::string text = d.id + " " + d.name + ", Vulkan " + d.api;
  if (d.software) text += ", a software driver";
  text += d.float16 ? ", fp16 arithmetic" : ", no fp16 arithmetic";
  text += ", subgroups of " + std::to_string(d.subgroup) + ", " + std::to_string(d.shared_kib) + " KiB shared";
  return text;
}

void print(const SystemFacts& s, const Findings& f, const Advice& advice) {
  row("system", s.system + (s.kernel.empty() ? "" : (s.system.empty() ? "" : ", ") + ("kernel " + s.kernel)));
  row("board", s.board);
  if (!s.l4t.empty()) row("release", "L4T " + s.l4t + (s.jetpack.empty() ? "" : ", JetPack " + s.jetpack));
  if (s.power.id >= 0)
    row("power mode", std::to_string(s.power.id) + (s.power.name.empty() ? "" : ", " + s.power.name));
  std::string cpu = f.cpu;
  if (s.cores > 0)
    cpu += (cpu.empty() ? "" : ", ") + std::to_string(s.online) + " of " + std::to_string(s.cores) + " cores online";
  const std::string clock = clock_sentence(s.cpu);
  row("CPU", cpu + (clock.empty() ? "" : ", " + clock));
  row("GPU clock", clock_sentence(s.gpu));
  if (s.memory_mib > 0)
    row("memory", std::to_string(s.available_mib) + " of " + std::to_string(s.memory_mib) + " MiB free, " +
                      std::to_string(s.swap_mib) + " MiB swap");
  std::string thermal;
  for (const ThermalZone& zone : s.thermal)
    thermal += (thermal.empty() ? "" : ", ") + zone.name + " " + std::to_string(std::lround(zone.celsius)) + " C";
  row("temperature", thermal);
  const std::string loader = loader_of(s, f);
  row("Vulkan",
      "loader " + (loader.empty() ? "none" : loader) + ", drivers described: " + std::to_string(s.drivers.size()));
  for (const DoctorDevice& d : f.devices) row("", device_text(d));
  row("", f.no_device);
  row("cache", f.cache);
  if (!advice.will.empty()) std::printf("\nVireo will\n");
  for (const std::string& sentence : advice.will) std::printf("- %s\n", sentence.c_str());
  std::printf("\n%s\n", advice.change.empty() ? "Nothing needs to be changed." : "To change");
  for (const std::string& sentence : advice.change) std::printf("- %s\n", sentence.c_str());
}

void run(const DoctorArgs& args) {
  struct stat info {};
  if (!args.root.empty() && (stat(args.root.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)))
    throw Failure("'" + args.root + "' is no folder; --root takes one that holds etc, sys and proc of a machine");
  const Findings found = look(args);
  const SystemFacts system = read_system(args.root);
  const Advice advice = advise(system, found);
  if (args.common.json) return print_json(to_json(args, system, found, advice));
  print(system, found, advice);
}

}  // namespace

DoctorDevice doctor_device(const std::string& id, bool software, const std::string& caps) {
  auto keys = caps_keys(caps);
  const auto number = [&keys](const char* key) { return std::strtoul(keys[key].c_str(), nullptr, 0); };
  DoctorDevice d;
  d.id = id;
  d.name = keys["name"];
  d.driver = keys["driver"];
  const unsigned long api = number("api_version");
  d.api = std::to_string(api >> 22) + "." + std::to_string(api >> 12 & 0x3ff) + "." + std::to_string(api & 0xfff);
  d.software = software;
  d.integrated = number("integrated") != 0;
  d.float16 = number("shader_float16") != 0;
  d.storage16 = number("storage_16bit") != 0;
  d.int8 = number("shader_int8") != 0;
  d.storage8 = number("storage_8bit") != 0;
  d.timestamps = number("timestamps") != 0;
  d.subgroup = int(number("subgroup_size"));
  d.shared_kib = int(number("max_shared_bytes") / 1024);
  return d;
}

void add_doctor(CLI::App& app) {
  auto args = std::make_shared<DoctorArgs>();
  CLI::App* verb = app.add_subcommand("doctor", "say what this machine offers, what Vireo will do, and what to change");
  verb->add_option("--root", args->root,
                   "read the files of another machine below this folder (its etc, proc, sys, usr/lib); nothing of this "
                   "one is asked")
      ->type_name("DIR");
  verb->add_option("--caps", args->caps,
                   "the GPU of that machine: what `vireo devices --caps` prints there, or the name of a built-in one")
      ->type_name("FILE|NAME");
  add_common(*verb, args->common, kJson);
  add_examples(*verb, {"vireo doctor", "vireo doctor --json"});
  verb->callback([args] { run(*args); });
}

}  // namespace cli
