// Pictures that become the network's input on the device: their bytes go there, and a plan of their own
// (plan/picture.h) makes the input of them. It is made for the shape of the pictures that come, and again when that
// changes; what it cannot do the CPU does, and Session::preprocessing() says why.
#include <algorithm>
#include <cstring>

#include "plan/picture.h"
#include "profile/text.h"
#include "runtime/session_impl.h"

#include <vireo/profile.hpp>

namespace vireo {

Result<void> Session::Impl::prepare(Slot& s) {
  if (!s.unprepared) return {};
  VIREO_TRY(preprocessor->run(s.picture, s.pixels.data(), &pool));
  s.unprepared = false;
  return {};
}

#if VIREO_VULKAN

namespace {

/// Whether a plan for pictures of one shape is one for the other.
bool same_shape(const simd::PictureSource& a, const PackedPart& pa, const simd::PictureSource& b,
                const PackedPart& pb) {
  const bool same_part = pa.x == pb.x && pa.y == pb.y && a.width == b.width && a.height == b.height;
  return same_part && a.format == b.format && a.rotation == b.rotation && a.black == b.black && a.yy == b.yy &&
         a.rv == b.rv && a.gu == b.gu && a.gv == b.gv && a.bu == b.bu;
}

uint64_t input_bytes(const Plan& plan) { return plan.values[size_t(plan.inputs[0])].where.bytes; }

}  // namespace

/// Errors: kUnsupported and kOutOfMemory leave the session as it was; kDeviceLost: its plan cannot run.
Result<void> Session::Impl::open_front(const Image& image, const simd::PictureSource& source) {
  VIREO_ASSIGN(const PictureInput in, preprocessor->describe(image));
  const std::shared_ptr<vk::Gpu> device_gpu = gpu->shared_gpu();
  by_picture.reset();  // before its successor: both might not fit
  auto front = std::make_unique<Front>();
  VIREO_ASSIGN(front->plan, plan_picture(in, device_gpu->caps()));
  front->of = source, front->part = in.part;
  if (!device_input) {
    constexpr uint64_t kWhole = 256;  // a copy of floats writes whole groups of 4
    vk::BufferRequest request;
    request.what = "pixels";
    request.bytes = input_bytes(planned.plan) + kWhole;
    request.usage = vk::kStorageUsage;
    request.use = options.keep_all ? vk::MemoryUse::kHostAccess : vk::MemoryUse::kDevice;
    request.owner = planned.plan.model.c_str();
    VIREO_ASSIGN(vk::Buffer made, vk::Buffer::create(*device_gpu, request));
    auto shared = std::make_shared<vk::Buffer>(std::move(made));
    if (const Result<void> read = gpu->read_from(shared); !read) {
      // But for kUnsupported the plan has no commands any more: this inference fails.
      if (read.error().code == ErrorCode::kUnsupported) return read;
      return fail(ErrorCode::kDeviceLost, "{}", read.error().message);
    }
    device_input = std::move(shared);
  }
  vk::ExecutableOptions o;
  o.timeout_s = gpu->timeout_s();
  o.cache_dir = cache_dir(options);
  o.output_memory = device_input;
  VIREO_ASSIGN(front->run, vk::Executable::create(device_gpu, front->plan, Graph(), pool, std::move(o)));
  const std::vector<std::vector<int32_t>> tables = picture_tables(in);
  for (int slot = 0; slot < kSlots; ++slot) {
    const vk::HostMemory memory = front->run->host_memory(slot);
    for (size_t i = 0; i < tables.size(); ++i)
      std::memcpy(memory.at(front->plan.values[size_t(front->plan.inputs[i + 1])].where), tables[i].data(),
                  tables[i].size() * sizeof(int32_t));
  }
  for (Slot& s : slots)
    if (s.ticket == 0) s.bytes.reserve(size_t(in.part.bytes));  // the picture of one in flight points into its own
  by_picture = std::move(front);
  return {};
}

Result<bool> Session::Impl::bring(const Image* images, int count) {
  prepared_any = true;
  prepared.kind = DeviceKind::kCpu;
  prepared.name = device.impl()->caps.simd;
  prepared.reason.clear();
  if (options.preprocess == Preprocess::kCpu) return false;
  const auto on_cpu = [this](const char* why) {
    prepared.reason = why;  // into the memory that it has: a frame allocates nothing
    return false;
  };
  if (buffers.input != VK_NULL_HANDLE) return false;  // which stage() refuses
  if (!gpu) return on_cpu(options.preprocess == Preprocess::kGpu ? "the session runs on the CPU" : "");
  const DeviceCaps& caps = gpu->gpu().caps();
  if (options.preprocess == Preprocess::kAuto && caps.device_class == DeviceClass::kSoftware) {
    if (refusal.empty()) refusal = software_reason(caps.name);
    return on_cpu(refusal.c_str());
  }
  if (settled) return on_cpu("every inference is computed in fp32, by a session that takes floats");
  if (options.batch != 1 || count != 1 || images == nullptr)
    return on_cpu("pictures of a batch are prepared by the CPU");
  VIREO_ASSIGN(const simd::PictureSource source, check_image(images[0]));
  const PackedPart part = packed_part(source);
  if (!by_picture || !same_shape(by_picture->of, by_picture->part, source, part)) {
    if (!refusal.empty() && same_shape(refused.of, refused.part, source, part)) return on_cpu(refusal.c_str());
    for (const Slot& s : slots)
      if (s.ticket && !device_input) return on_cpu("an inference was in flight when the first picture came");
    Result<void> opened = open_front(images[0], source);
    if (!opened) {
      const Error& e = opened.error();
      // A device that fails here fails again at the inference, which then goes to the CPU.
      const bool goes_on = e.code == ErrorCode::kUnsupported || e.code == ErrorCode::kOutOfMemory;
      if (!goes_on && e.code != ErrorCode::kDeviceLost) return e;
      refusal = e.message;
      refused.of = source, refused.part = part;
      return on_cpu(refusal.c_str());
    }
  }
  prepared.kind = DeviceKind::kVulkan;
  prepared.name = caps.name;
  return true;
}

void Session::Impl::keep(Slot& s, const Image& image) {
  const Result<simd::PictureSource> source = check_image(image);  // bring() saw to it
  const PackedPart& part = by_picture->part;
  s.bytes.resize(size_t(part.bytes));
  pack_part(*source, part, s.bytes.data());
  s.picture = packed_image(image, *source, part, s.bytes.data());
  s.unprepared = true;
}

Result<void> Session::Impl::feed(int slot) {
  const Slot& s = slots[size_t(slot)];
  if (!device_input) {
    VIREO_TRY(prepare(slots[size_t(slot)]));
    if (float* in = gpu->input(slot)) std::memcpy(in, s.pixels.data(), s.pixels.size() * sizeof(float));
    return {};
  }
  const std::unique_ptr<Front>& front = s.unprepared ? by_picture : by_floats;
  if (!s.unprepared && !by_floats) {
    auto made = std::make_unique<Front>();
    VIREO_ASSIGN(made->plan, plan_floats(int64_t(s.pixels.size()), gpu->gpu().caps()));
    vk::ExecutableOptions o;
    o.timeout_s = gpu->timeout_s();
    o.cache_dir = cache_dir(options);
    o.output_memory = device_input;
    VIREO_ASSIGN(made->run, vk::Executable::create(gpu->shared_gpu(), made->plan, Graph(), pool, std::move(o)));
    by_floats = std::move(made);
  }
  // Where the plan behind it failed nobody waited for this one, and the device may still read these bytes.
  VIREO_TRY(front->run->wait(slot));
  void* const to = front->run->host_memory(slot).at(front->plan.values[size_t(front->plan.inputs[0])].where);
  if (s.unprepared) std::memcpy(to, s.bytes.data(), s.bytes.size());
  else std::memcpy(to, s.pixels.data(), s.pixels.size() * sizeof(float));
  return front->run->submit(slot);
}

Result<void> Session::Impl::profile_front(const Image& image, Profile* p) {
  using Us = std::chrono::duration<double, std::micro>;
  Slot& slot = slots[0];
  std::vector<double> copies;
  std::vector<std::vector<double>> alone(by_picture->plan.steps.size());
  for (int i = 0; i < p->runs; ++i) {
    const auto start = Clock::now();
    keep(slot, image);
    std::memcpy(by_picture->run->input(0), slot.bytes.data(), slot.bytes.size());
    copies.push_back(Us(Clock::now() - start).count());
    VIREO_ASSIGN(const vk::Executable::Times times, by_picture->run->time(vk::Executable::Timing::kSerialised));
    for (size_t k = 0; k < alone.size(); ++k) {
      const vk::Executable::Span& span = times.spans[k];
      alone[k].push_back(std::max(0.0, span.end_us - span.begin_us - times.empty_us[k]));
    }
  }
  slot.unprepared = false;
  p->host.preprocess = median(std::move(copies));
  for (size_t i = 0; i < by_picture->plan.steps.size(); ++i) {
    const Step& step = by_picture->plan.steps[i];
    const PlanDispatch& dispatch = step.dispatches[0];
    DispatchProfile d;
    d.step = int(i);
    d.name = d.label = step.name, d.op = op_def(step.op).name, d.kernel = step.kernel;
    d.shader = dispatch.shader, d.spec = dispatch.spec;
    std::copy(dispatch.groups.begin(), dispatch.groups.end(), d.groups);
    d.bytes = step.cost.read_bytes + step.cost.write_bytes;
    d.serialised_us = median(std::move(alone[i]));
    p->preprocessing.push_back(std::move(d));
  }
  return {};
}

std::string Session::Impl::front_text() const {
  if (by_picture) return dump(by_picture->plan);
  if (options.preprocess != Preprocess::kGpu || !prepared_any) return {};
  return fmt::format("pictures on the cpu: {}\n", prepared.reason);
}

#else

Result<bool> Session::Impl::bring(const Image*, int) {
  prepared_any = true;
  prepared.kind = DeviceKind::kCpu;
  prepared.name = device.impl()->caps.simd;
  prepared.reason = options.preprocess == Preprocess::kGpu ? "this build has no Vulkan" : "";
  return false;
}
void Session::Impl::keep(Slot&, const Image&) {}
std::string Session::Impl::front_text() const { return {}; }

#endif

}  // namespace vireo
