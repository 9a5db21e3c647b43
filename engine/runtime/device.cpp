// Device: finding and choosing where to run.
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "base/env.h"
#include "base/names.h"
#include "runtime/cpu_caches.h"
#include "runtime/device_impl.h"

namespace vireo {
namespace {

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

int thread_count(int asked) {
  if (asked <= 0) asked = std::atoi(env::get("VIREO_THREADS").c_str());
  return asked > 0 ? std::min(asked, 256) : available_cores();
}

[[maybe_unused]] std::string one_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  for (size_t at; (at = text.find('\n')) != std::string::npos;) text.replace(at, 1, "; ");
  return text;
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.compare(0, 10, "model name") == 0 || line.compare(0, 8, "Hardware") == 0) {
      const size_t colon = line.find(": ");
      if (colon != std::string::npos) return line.substr(colon + 2);
    }
  return "CPU";
}

/// VIREO_SIMD's kernels, or the best ones; a wish that cannot be met is added to the reason.
const simd::Kernels& kernels_asked_for(std::string* reason) {
  const std::string wanted = env::get("VIREO_SIMD");
  const simd::Kernels* kernels = wanted.empty() ? nullptr : simd::find(wanted.c_str());
  if (kernels) return *kernels;
  if (!wanted.empty())
    *reason += fmt::format("{}VIREO_SIMD={} is not available on this CPU or in this build, {} is used",
                           reason->empty() ? "" : "; ", wanted, simd::best().name);
  return simd::best();
}

#if VIREO_VULKAN
struct Opened {
  std::shared_ptr<vk::Instance> instance;
  std::shared_ptr<ValidationLog> log;
  vk::GpuOptions gpu_options;
};

Result<Opened> open_instance(const VulkanHooks& hooks = {}) {
  Opened r;
  r.gpu_options = hooks.gpu_options;
  r.log = std::make_shared<ValidationLog>();
  vk::InstanceOptions o;
  o.validation = env::flag("VIREO_VALIDATION");
  o.labels = labels_asked_for();
  o.loader = hooks.loader;
  o.on_message = [log = r.log](const std::string& text) { log->add(text); };
  VIREO_ASSIGN(r.instance, vk::Instance::open(o));
  return r;
}

bool is_software(const vk::Physical& p) {
  return p.type == VK_PHYSICAL_DEVICE_TYPE_CPU || p.caps.device_class == DeviceClass::kSoftware;
}

std::shared_ptr<const Device::Impl> make_vulkan_device(const Opened& opened, int index, int threads,
                                                       std::string reason) {
  auto d = std::make_shared<Device::Impl>();
  d->kind = DeviceKind::kVulkan;
  d->caps = opened.instance->devices()[size_t(index)].caps;
  d->index = index;
  d->software = is_software(opened.instance->devices()[size_t(index)]);
  d->threads = thread_count(threads);
  d->reason = std::move(reason);
  d->kernels = &kernels_asked_for(&d->reason);
  describe_cpu(*d->kernels, d->threads, &d->caps);
  d->instance = opened.instance;
  d->validation = opened.log;
  d->gpu_options = opened.gpu_options;
  return d;
}

constexpr const char* kNoGpu = "no GPU was found; this is a software driver";

/// The device that VIREO_DEVICE=vulkan:N names; -1 when the text is something else, -2 when there is no such device
/// that can be used.
int named_index(const std::string& wanted, const vk::Instance& instance) {
  DeviceName name;
  if (!parse_device(wanted, &name) || name.index < 0) return -1;
  const size_t index = size_t(name.index);
  return index < instance.devices().size() && instance.devices()[index].unusable.empty() ? int(index) : -2;
}
#endif

}  // namespace

void describe_cpu(const simd::Kernels& kernels, int threads, DeviceCaps* caps) {
  caps->simd = kernels.name;  // scratch is sized for these
  caps->threads = uint32_t(threads);
  caps->caches = cpu_caches();
}

std::shared_ptr<const Device::Impl> make_cpu_device(int threads, std::string reason) {
  auto d = std::make_shared<Device::Impl>();
  d->kernels = &kernels_asked_for(&reason);
  d->kind = DeviceKind::kCpu;
  d->threads = thread_count(threads);
  d->reason = std::move(reason);
  d->caps.kind = DeviceKind::kCpu;
  d->caps.name = fmt::format("{} ({})", cpu_name(), d->kernels->name);
  describe_cpu(*d->kernels, d->threads, &d->caps);
  d->caps.integrated = true;
  d->caps.storage_alignment = d->caps.texel_alignment = 64;
  return d;
}

Device Device::cpu(int threads) { return Device(make_cpu_device(threads, "")); }

#if VIREO_VULKAN

vk::Labels labels_asked_for() {
  if (env::get("VIREO_LABELS") == "auto") return vk::Labels::kAuto;
  return env::flag("VIREO_LABELS") ? vk::Labels::kOn : vk::Labels::kOff;
}

Result<std::shared_ptr<vk::Gpu>> Device::Impl::open_gpu() const {
  const std::lock_guard<std::mutex> lock(mutex);
  if (gpu && (adopted || !gpu->lost())) return gpu;
  VIREO_ASSIGN(gpu, vk::Gpu::open(instance, uint32_t(index), gpu_options));
  return gpu;
}

Device Device::best(int threads) {
  const std::string wanted = env::get("VIREO_DEVICE");
  if (wanted == "cpu") return Device(make_cpu_device(threads, "VIREO_DEVICE=cpu"));
  Result<Opened> opened = open_instance();
  if (!opened) return Device(make_cpu_device(threads, opened.error().message));
  const std::shared_ptr<vk::Instance>& instance = opened->instance;
  const int named = named_index(wanted, *instance), first = instance->best(), index = named >= 0 ? named : first;
  const bool any = wanted.empty() || wanted == "auto";
  if (named == -1 && !any && wanted != "vulkan")
    return Device(make_cpu_device(threads, fmt::format("VIREO_DEVICE is '{}'; expected {}", wanted, kDeviceNames)));
  if (named == -2)
    return Device(make_cpu_device(threads, fmt::format("VIREO_DEVICE={} names no usable device; there are: {}", wanted,
                                                       one_line(instance->list_devices()))));
  if (index < 0)
    return Device(make_cpu_device(threads, "no Vulkan device can be used: " + one_line(instance->list_devices())));
  const bool software = is_software(instance->devices()[size_t(index)]);
  if (software && any) {
    // What else is listed may be the GPU that the user expected, and why it cannot be used.
    std::string others;
    for (const vk::Physical& p : instance->devices())
      if (!p.unusable.empty()) others += fmt::format("; {} cannot be used: {}", p.caps.name, p.unusable);
    return Device(make_cpu_device(
        threads,
        fmt::format("no GPU was found ({} is a software driver; --device vulkan or VIREO_DEVICE=vulkan uses it){}",
                    instance->devices()[size_t(index)].caps.name, one_line(others))));
  }
  return Device(make_vulkan_device(*opened, index, threads, software ? kNoGpu : ""));
}

Result<Device> Device::best_vulkan(int threads) {
  return no_throw([&]() -> Result<Device> {
    VIREO_ASSIGN(const Opened opened, open_instance());
    const vk::Instance& instance = *opened.instance;
    const int named = named_index(env::get("VIREO_DEVICE"), instance), index = named >= 0 ? named : instance.best();
    if (index < 0)
      return fail(ErrorCode::kNotFound, "no Vulkan device can be used: {}", one_line(instance.list_devices()));
    return Device(
        make_vulkan_device(opened, index, threads, is_software(instance.devices()[size_t(index)]) ? kNoGpu : ""));
  });
}

Result<Device> Device::vulkan(int index, int threads) { return vulkan_device(index, threads, {}); }

Result<Device> vulkan_device(int index, int threads, const VulkanHooks& hooks) {
  return no_throw([&]() -> Result<Device> {
    VIREO_ASSIGN(const Opened opened, open_instance(hooks));
    const std::shared_ptr<vk::Instance>& instance = opened.instance;
    const auto& devices = instance->devices();
    if (index < 0 || size_t(index) >= devices.size())
      return fail(ErrorCode::kNotFound, "there is no Vulkan device {}; the loader lists {}:\n{}", index, devices.size(),
                  instance->list_devices());
    if (!devices[size_t(index)].unusable.empty())
      return fail(ErrorCode::kUnsupported, "Vulkan device {} ({}) cannot be used: {}", index,
                  devices[size_t(index)].caps.name, devices[size_t(index)].unusable);
    return Device(make_vulkan_device(opened, index, threads, ""));
  });
}

std::vector<Device> Device::list(std::string* why_not) {
  std::vector<Device> all;
  Result<Opened> opened = open_instance();
  if (opened)
    for (const vk::Physical& p : opened->instance->devices())
      all.push_back(Device(make_vulkan_device(*opened, int(p.index), 0, p.unusable)));
  if (why_not) *why_not = opened ? (all.empty() ? "the Vulkan loader lists no device" : "") : opened.error().message;
  all.push_back(Device::cpu());
  return all;
}

#else

Device Device::best(int threads) {
  return Device(make_cpu_device(threads, "this build has no Vulkan path (VIREO_VULKAN=OFF)"));
}

Result<Device> Device::best_vulkan(int) {
  return fail(ErrorCode::kUnsupported,
              "a Vulkan device was asked for, but this build has no Vulkan path (VIREO_VULKAN=OFF)");
}

Result<Device> Device::vulkan(int index, int) {
  return fail(ErrorCode::kUnsupported,
              "Vulkan device {} was asked for, but this build has no Vulkan path (VIREO_VULKAN=OFF)", index);
}

std::vector<Device> Device::list(std::string* why_not) {
  if (why_not) *why_not = "this build has no Vulkan path (VIREO_VULKAN=OFF)";
  return {Device::cpu()};
}

#endif

#if VIREO_VULKAN
void Device::on_log(std::function<void(const std::string&)> sink) const {
  if (const vk::Instance* i = impl_->used_instance()) i->abandonments().set_sink(std::move(sink));
}
Abandoned Device::abandoned() const {
  const vk::Instance* i = impl_->used_instance();
  return i ? Abandoned{i->abandonments().times(), i->abandonments().bytes()} : Abandoned{};
}
#else
void Device::on_log(std::function<void(const std::string&)>) const {}
Abandoned Device::abandoned() const { return {}; }
#endif

const char* Device::kind() const { return to_string(impl_->kind); }
const std::string& Device::name() const { return impl_->caps.name; }
const std::string& Device::reason() const { return impl_->reason; }
int Device::index() const { return impl_->index; }
bool Device::software() const { return impl_->software; }
std::string Device::caps_text() const { return to_text(impl_->caps); }

}  // namespace vireo
