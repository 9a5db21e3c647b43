// Session: plan, pack, record once; run many times; and go on with the CPU, saying so, when the device fails.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/env.h"
#include "base/number.h"
#include "model/input_size.h"
#include "runtime/model_impl.h"
#include "runtime/session_impl.h"
#if VIREO_VULKAN
#include "runtime/self_test.h"
#endif

#include <vireo/capture.hpp>

namespace vireo {
namespace {

double ms_since(Session::Impl::Clock::time_point t) {
  return std::chrono::duration<double, std::milli>(Session::Impl::Clock::now() - t).count();
}

[[maybe_unused]] double timeout_s(const SessionOptions& o) {
  if (o.timeout_s > 0) return o.timeout_s;
  double seconds = 0;
  parse_number(env::get("VIREO_TIMEOUT"), &seconds);  // one: check_options saw to it
  return seconds;
}

}  // namespace

/// What a Vulkan plan leaves to the CPU, for the result's reason; empty when nothing.
static std::string cpu_steps_note(const Plan& plan) {
  if (plan.device != DeviceKind::kVulkan) return {};
  size_t count = 0;
  const Step* first = nullptr;
  for (const Step& s : plan.steps)
    if (s.device == DeviceKind::kCpu) {
      ++count;
      if (first == nullptr && !op_def(s.op).conversion) first = &s;
    }
  return first ? fmt::format("{} of {} steps run on the CPU, first '{}': {}", count, plan.steps.size(), first->name,
                             first->reason)
               : std::string();
}

SharedWeights::SharedWeights() : impl_(std::make_shared<Impl>()) {}
SharedWeights::~SharedWeights() = default;

std::shared_ptr<WeightStore> Session::Impl::store() const {
  return options.shared_weights ? options.shared_weights->impl() : nullptr;
}

Result<void> Session::Impl::open_on(const Device::Impl& target) {
  VIREO_ASSIGN(Graph graph, build_graph(model, options));
  VIREO_ASSIGN(PlanOptions how, plan_options(options));
  how.fuse = how.fuse && !unfused;
  if (!tuned_given) tuned = tuned_steps(options, target.caps, &warnings);
  how.tuned = &tuned;
  // A kernel whose answers are not what the device was taken for is left out, and what comes in its place is asked
  // about.
  for (bool complete = false; !complete;) {
    std::vector<std::string> notes;
    VIREO_ASSIGN(planned, plan_model(model, options, Graph(graph), target.caps, how, &notes));
    for (std::string& note : notes)  // once, however often is planned
      if (std::find(warnings.begin(), warnings.end(), note) == warnings.end()) warnings.push_back(std::move(note));
    complete = true;
#if VIREO_VULKAN
    const std::vector<Tested> tested = tested_kernels(planned.plan);
    if (tested.empty()) break;
    VIREO_ASSIGN(const std::shared_ptr<vk::Gpu> device_gpu, target.open_gpu());
    const bool by_file = how.tuned != nullptr;
    for (const std::string& kernel : target.failing_kernels(tested, device_gpu, pool)) {
      if (device_gpu->lost())
        return fail(ErrorCode::kDeviceLost, "{}: the device failed while the accuracy of {} was checked",
                    target.caps.name, kernel);
      if (!how.tuning) how.tuning = tuning_for(target.caps);
      // Where the class does not have it, a tuning file does; and what it says of one step would bring it back.
      const bool removed = how.tuning->constants.erase(kernel) > 0;
      how.tuned = nullptr;
      if (!removed && !by_file) continue;
      complete = false;
      warnings.push_back(
          fmt::format("{}: {} failed its accuracy check, or it could not be run; other kernels do its work",
                      target.caps.name, kernel));
    }
#endif
  }
  places[place].kind = target.kind;
  places[place].name = target.caps.name;
  cpu.reset();
  if (target.kind == DeviceKind::kCpu) {
    VIREO_ASSIGN(cpu,
                 cpu::Executable::create(planned.plan, planned.graph, pool, *target.kernels, kSlots, store().get()));
  }
#if VIREO_VULKAN
  if (target.kind == DeviceKind::kVulkan) {
    VIREO_ASSIGN(const std::shared_ptr<vk::Gpu> device_gpu, target.open_gpu());
    vk::ExecutableOptions o;
    o.cache_dir = cache_dir(options);
    if (options.on_compile)
      o.compiles = [this, &target](size_t pipelines, const std::string& kept_in) {
        try {
          options.on_compile({int(pipelines), target.caps.name, kept_in});
        } catch (...) {  // the caller's own; compiling goes on
        }
      };
    o.readable_arena = options.keep_all;
    o.timeout_s = timeout_s(options);
    o.host_step = [this](size_t step, int slot, const vk::HostMemory&) -> Result<void> {
      const bool sized = sizing && int32_t(step) == planned.plan.sized_step();
      const SizedOutput to = sized_output(slots[size_t(slot)]);
      host_steps[slot].at(step).run(pool, sized ? &to : nullptr);
      return {};
    };
    o.buffers = buffers;
    o.store = store();
    VIREO_ASSIGN(gpu, vk::Executable::create(device_gpu, planned.plan, planned.graph, pool, std::move(o)));
    warnings.insert(warnings.end(), gpu->notes().begin(), gpu->notes().end());
    make_host_steps(*target.kernels);
    VIREO_TRY(check_validation());
  }
#endif
  if (std::string note = cpu_steps_note(planned.plan); !note.empty()) {
    std::string& reason = places[place].reason;
    reason += (reason.empty() ? "" : "; ") + note;
  }
  const PlanValue& out = planned.plan.values[size_t(planned.plan.outputs[0])];
  for (Slot& s : slots) {
    s.pixels.resize(input_floats());
    s.result.resize(size_t(out.desc.shape.elements()));
  }
  return {};
}

Result<void> Session::Impl::fall_back(const Error& why) {
  // Memory may run out at any line from here on: until the CPU has taken over, this stands in for what cannot be said.
  health = out_of_memory();
  const uint64_t abandoned = device.abandoned().times;
#if VIREO_VULKAN
  gpu.reset();  // first: its flights know how long to wait, and tell the others of a hang
  by_picture.reset(), by_floats.reset();
  device_input.reset();
  for (auto& steps : host_steps) steps.clear();
#endif
  place = 1;
  drop_fp32();
  Result<void> opened = no_throw([&]() -> Result<void> {
    VIREO_TRY(open_on(*make_cpu_device(device.impl()->threads, "")));
    places[place].reason = why.message;
    if (device.abandoned().times != abandoned)
      places[place].reason += "; what the device may still be using is never freed";
    return {};
  });
  if (opened) {
    health = {};
    return {};
  }
  cpu.reset();  // no half-made session may stay behind
  for (Slot& s : slots) s.ticket = 0;
  health = no_throw([&]() -> Result<void> {
    return fail(opened.error().code, "{}; going on with the CPU failed too: {}", why.message, opened.error().message);
  });
  return health;
}

bool may_fall_back(const Error& e) {
  return e.code != ErrorCode::kInvalidArgument && e.code != ErrorCode::kCorrupt && e.code != ErrorCode::kInternal;
}

Result<void> Session::Impl::open() {
  height = options.height ? options.height : model.input_height();
  width = options.width ? options.width : model.input_width();
  places[place].reason = device.impl()->reason;
  preprocessor.emplace(preprocess_for(model.impl().loaded.preprocess(), height, width));
  Result<void> opened = open_on(*device.impl());
  if (opened || device.impl()->kind == DeviceKind::kCpu || !options.fallback) return opened;
  return may_fall_back(opened.error()) ? fall_back(opened.error()) : opened;
}

Result<void> Session::Impl::check_validation() const {
#if VIREO_VULKAN
  if (device.impl()->instance && device.impl()->instance->message_count())
    return fail(ErrorCode::kInternal, "the Vulkan validation layer objects: {}", device.impl()->validation->text());
#endif
  return {};
}

#if VIREO_VULKAN
void Session::Impl::make_host_steps(const simd::Kernels& kernels) {
  const Plan& plan = planned.plan;
  for (int slot = 0; slot < kSlots; ++slot)
    for (size_t i = 0; i < plan.steps.size(); ++i) {
      if (plan.steps[i].device != DeviceKind::kCpu) continue;
      const vk::HostMemory memory = gpu->host_memory(slot);
      cpu::Memory m;
      std::memcpy(m.base, memory.base, sizeof m.base);
      m.consts = memory.consts;
      host_steps[slot].emplace(i, cpu::StepRunner(plan, plan.steps[i], m, kernels));
    }
}
#endif

Result<void> Session::Impl::start(int slot) {
  if (!health) return health.error();
  Slot& s = slots[size_t(slot)];
  Result<void> started = launch(slot);
  s.end = overlaps() ? Clock::time_point{} : Clock::now();
  return started;
}

bool Session::Impl::overlaps() const { return !cpu && !planned.plan.has_cpu_steps(); }

Result<void> Session::Impl::launch(int slot) {
  Slot& s = slots[size_t(slot)];
  if (settled) return start_in_fp32(s);
  const bool sized = s.map.height > 0;
  const Shape& planned_out = planned.plan.values[size_t(planned.plan.outputs[0])].desc.shape;
  s.result.resize(sized ? size_t(planned_out.n()) * size_t(s.map.height) * size_t(s.map.width)
                        : size_t(planned_out.elements()));
  if (cpu) {
    if (s.unprepared) {
      prepared.kind = DeviceKind::kCpu, prepared.name = device.impl()->caps.simd;
      prepared.reason = "the device failed, and the CPU has taken over";
    }
    VIREO_TRY(prepare(s));
    std::memcpy(cpu->input(slot), s.pixels.data(), s.pixels.size() * sizeof(float));
    const SizedOutput to = sized_output(s);
    cpu->run(slot, pool, sized ? &to : nullptr);
    return {};
  }
#if VIREO_VULKAN
  VIREO_TRY(feed(slot));
  if (!sized) return gpu->submit(slot);
  struct Sizing {  // steps on the CPU run meanwhile
    explicit Sizing(bool& f) : flag(f) { flag = true; }
    ~Sizing() { flag = false; }
    bool& flag;
  } meanwhile(sizing);
  return gpu->submit(slot, s.map.height, s.map.width);
#else
  return {};
#endif
}

Result<void> Session::Impl::finish(int slot) {
  if (slots[size_t(slot)].in_fp32.id) return finish_in_fp32(slots[size_t(slot)]);
#if VIREO_VULKAN
  if (gpu) {
    VIREO_TRY(gpu->wait(slot));
    for (const std::unique_ptr<Front>* front : {&by_picture, &by_floats})
      if (*front) VIREO_TRY((*front)->run->wait(slot));
    VIREO_TRY(check_validation());
  }
#endif
  if (!health) return health.error();
  gather(slot);
  return check_answer(slot);
}

/// Rows without their padding, for the caller.
void Session::Impl::gather(int slot) {
  const TensorDesc& d = planned.plan.values[size_t(planned.plan.outputs[0])].desc;
  if (Slot& s = slots[size_t(slot)]; s.map.height > 0) {
#if VIREO_VULKAN
    if (gpu && planned.plan.steps.back().device == DeviceKind::kVulkan)
      std::memcpy(s.result.data(), gpu->map(slot), s.result.size() * sizeof(float));
#endif
    return;  // a step on the CPU has put it there
  }
  const float* from = cpu ? cpu->output(slot) : nullptr;
#if VIREO_VULKAN
  if (gpu) from = gpu->output(slot);
#endif
  if (!from) return;
  for (int64_t r = 0; r < d.shape.rows(); ++r)
    std::memcpy(&slots[size_t(slot)].result[size_t(r * d.shape.c())], from + r * d.row_stride(),
                size_t(d.shape.c()) * sizeof(float));
}

Result<void> Session::Impl::check_map(MapSize map) const {
  if (map.height == 0 && map.width == 0) return {};
  constexpr int kSide = 65536;
  if (map.height < 1 || map.width < 1 || map.height > kSide || map.width > kSide ||
      int64_t(map.height) * map.width * options.batch > INT32_MAX)
    return fail(ErrorCode::kInvalidArgument,
                "session: the map's size is {}x{} for a batch of {}, expected both sides from 1 to {} pixels and {} in "
                "all, or 0x0 for the input's",
                map.height, map.width, options.batch, int(kSide), INT32_MAX);
  if (options.head != Head::kClassMap)
    return fail(ErrorCode::kInvalidArgument,
                "session: a map of {}x{} was asked for, but the head is {}; expected Head::kClassMap", map.height,
                map.width, to_string(options.head));
#if VIREO_VULKAN
  if (buffers.output != VK_NULL_HANDLE)
    return fail(ErrorCode::kInvalidArgument,
                "session: a map of {}x{} was asked for, but the output is the application's buffer, which is for the "
                "input's size",
                map.height, map.width);
#endif
  if (planned.plan.sized_step() < 0)
    return fail(ErrorCode::kInternal, "session: plan '{}' does not end in a map", planned.plan.model);
  return {};
}

Result<Ticket> Session::Impl::submit(const float* pixels, size_t count, double preprocess_ms, MapSize map) {
#if VIREO_VULKAN
  const bool external = buffers.input != VK_NULL_HANDLE;
#else
  const bool external = false;
#endif
  if (external && (pixels || count))
    return fail(ErrorCode::kInvalidArgument,
                "session: got {} input values, but the input is the application's buffer; call it with nullptr, 0",
                count);
  if (!external && (!pixels || count != input_floats()))
    return fail(ErrorCode::kInvalidArgument,
                "session: got {} input values, expected {} = {} x {} channels x {} x {} pixels", pixels ? count : 0,
                input_floats(), options.batch, model.channels(), height, width);
  return enter(preprocess_ms, map, [&](Slot& s) {
    s.unprepared = false;
    if (!external) std::memcpy(s.pixels.data(), pixels, count * sizeof(float));
  });
}

template <typename F>
Result<Ticket> Session::Impl::enter(double preprocess_ms, MapSize map, F&& fill) {
  if (!health) return health.error();
  VIREO_TRY(check_map(map));
  int slot = 0;
  while (slot < kSlots && slots[size_t(slot)].ticket) ++slot;
  if (slot == kSlots)
    return fail(ErrorCode::kInvalidArgument, "session: {} inferences are in flight already; wait for one of them first",
                kSlots);
  Slot& s = slots[size_t(slot)];
  s.start = Clock::now();
  s.preprocess_ms = preprocess_ms;
  s.in_fp32 = {}, s.recomputed = nullptr;
  s.map = map;
  fill(s);
  s.status = start(slot);
  if (!s.status) {
    if (!options.fallback || cpu || !may_fall_back(s.status.error())) return s.status.error();
    // What was in flight beside it is lost as well and done again.
    const Error why = s.status.error();
    VIREO_TRY(fall_back(why));
    for (int i = 0; i < kSlots; ++i)
      if (slots[size_t(i)].ticket || i == slot) slots[size_t(i)].status = start(i);
  }
  newest_slot = slot;
  s.ticket = next_ticket++;
  if (next_ticket == 0) next_ticket = 1;
  return Ticket{s.ticket};
}

Result<Output> Session::Impl::wait(Ticket ticket) {
  if (!health) return health.error();
  int slot = 0;
  while (slot < kSlots && slots[size_t(slot)].ticket != ticket.id) ++slot;
  if (!ticket.id || slot == kSlots)
    return fail(ErrorCode::kInvalidArgument,
                "session: ticket {} is not in flight; at most {} are, and each is waited for once", ticket.id, kSlots);
  Slot& s = slots[size_t(slot)];
  Result<void> done = s.status ? finish(slot) : s.status;
  if (!done && options.fallback && !cpu && may_fall_back(done.error())) {
    VIREO_TRY(fall_back(done.error()));
    for (int i = 0; i < kSlots; ++i)
      if (slots[size_t(i)].ticket) slots[size_t(i)].status = start(i);
    done = finish(slot);
  }
  const double ms = took_ms(slot);
  s.ticket = 0;
  if (!done) return done.error();
  last_slot = slot;
  recomputed = s.recomputed;
  const TensorDesc& d = planned.plan.values[size_t(planned.plan.outputs[0])].desc;
  Output o;
  o.data = s.result.data();
#if VIREO_VULKAN
  if (buffers.output != VK_NULL_HANDLE && gpu) o.data = nullptr;
#endif
  o.batch = int(d.shape.n());
  o.rows = int(d.shape.h() * d.shape.w());
  o.cols = int(d.shape.c());
  o.device = used();
  o.ms = ms;
  o.preprocess_ms = s.preprocess_ms;
  o.height = map_height();
  o.width = map_width();
  o.precision = recomputed ? Precision::kFp32 : options.precision;
  o.scores = model.scores();
  if (s.map.height > 0) o.height = s.map.height, o.width = s.map.width, o.rows = s.map.height * s.map.width;
  note_done(ticket.id, o);
  return o;
}

double Session::Impl::took_ms(int slot) {
  const Slot& s = slots[size_t(slot)];
  // What a CPU did since is the other one's.
  const bool other_since = newest_slot != slot && s.end > s.start && s.recomputed == nullptr;
  const Clock::time_point end = other_since ? s.end : Clock::now();
  const Clock::time_point start = ended_ticket + 1 == s.ticket ? std::max(s.start, ended_at) : s.start;
  ended_ticket = s.ticket, ended_at = end;
  return std::chrono::duration<double, std::milli>(end - start).count();
}

void Session::Impl::note_done(uint32_t ticket, const Output& o) noexcept {
  latency.add(o.ms);
  ++done;
  if (!options.on_inference) return;
  try {
    options.on_inference({ticket, done, o.ms, o.preprocess_ms, o.device, place != 0, recomputed != nullptr});
  } catch (...) {
    if (callback_threw) return;
    callback_threw = true;
    try {
      warnings.push_back("on_inference threw an exception, which was dropped; it must handle its own");
    } catch (...) {  // no memory for the sentence
    }
  }
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Result<std::unique_ptr<Session::Impl>> Session::Impl::opened(const Model& model, const Device& device,
                                                             const SessionOptions& options) {
  auto impl = std::make_unique<Impl>(model, device, options);
  if (const int wanted = impl->device.impl()->threads; impl->pool.threads() < wanted)
    impl->warnings.push_back(fmt::format("only {} of {} CPU threads could be started; the answers are the same, later",
                                         impl->pool.threads(), wanted));
  VIREO_TRY(impl->open());
  return impl;
}

Result<Session> Session::create(const Model& model, const Device& device, const SessionOptions& options) {
  return no_throw([&]() -> Result<Session> {
    if (options.precision == Precision::kAuto && options.policy.empty()) {
      VIREO_ASSIGN(std::unique_ptr<Impl> fastest, Impl::open_fastest(model, device, options));
      return Session(std::move(fastest));
    }
    VIREO_ASSIGN(std::unique_ptr<Impl> impl, Impl::opened(model, device, resolved(model, options)));
    return Session(std::move(impl));
  });
}

Result<void> Session::Impl::stage(const Image* images, int count) {
  if (!images || count != options.batch)
    return fail(ErrorCode::kInvalidArgument, "session: got {} pictures, expected the session's batch of {}",
                images ? count : 0, options.batch);
#if VIREO_VULKAN
  if (buffers.input != VK_NULL_HANDLE)
    return fail(ErrorCode::kInvalidArgument,
                "session: got a picture, but the input is the application's buffer; call run(nullptr, 0)");
#endif
  const size_t each = input_floats() / size_t(count);
  staged.resize(input_floats());
  for (int i = 0; i < count; ++i) VIREO_TRY(preprocessor->run(images[i], staged.data() + size_t(i) * each, &pool));
  return {};
}

Result<Ticket> Session::Impl::submit(const Image* images, int count, MapSize map) {
#if VIREO_VULKAN
  // submit(nullptr, 0) of a session on an application's buffers: which overload a compiler takes for it must not
  // matter.
  if (!images && !count && buffers.input != VK_NULL_HANDLE)
    return submit(static_cast<const float*>(nullptr), 0, 0, map);
#endif
  const auto start = Clock::now();
  VIREO_ASSIGN(const bool on_device, bring(images, count));
  // `ms` is of the copy alone then; what the device does with the bytes is part of the inference.
  if (on_device) return enter(0, map, [&](Slot& s) { keep(s, images[0]), s.preprocess_ms = ms_since(start); });
  VIREO_TRY(stage(images, count));
  return submit(staged.data(), staged.size(), ms_since(start), map);
}

Error Session::Impl::in_use(const char* call, const char* running) {
  return fail(ErrorCode::kInvalidArgument,
              "session: {} was called while {} is still running; a session serves one call at a time: give each thread "
              "a Session of its own (they share the "
              "Model's weights), or lock around it",
              call, running ? running : "another call");
}

Result<Output> Session::run(const float* pixels, size_t count) { return run(pixels, count, MapSize{}); }
Result<Output> Session::run(const Image* images, int count) { return run(images, count, MapSize{}); }
Result<Ticket> Session::submit(const Image* images, int count) { return submit(images, count, MapSize{}); }
Result<Ticket> Session::submit(const float* pixels, size_t count) { return submit(pixels, count, MapSize{}); }
Result<Output> Session::run(const float* pixels, size_t count, MapSize map) {
  return no_throw([&] {
    return impl_->alone("run()", [&]() -> Result<Output> {
      VIREO_ASSIGN(const Ticket t, impl_->submit(pixels, count, 0, map));
      return impl_->wait(t);
    });
  });
}
Result<Output> Session::run(const Image* images, int count, MapSize map) {
  return no_throw([&] {
    return impl_->alone("run()", [&]() -> Result<Output> {
      VIREO_ASSIGN(const Ticket t, impl_->submit(images, count, map));
      return impl_->wait(t);
    });
  });
}
Result<Ticket> Session::submit(const Image* images, int count, MapSize map) {
  return no_throw([&] { return impl_->alone("submit()", [&] { return impl_->submit(images, count, map); }); });
}
Result<Ticket> Session::submit(const float* pixels, size_t count, MapSize map) {
  return no_throw([&] { return impl_->alone("submit()", [&] { return impl_->submit(pixels, count, 0, map); }); });
}
Result<Output> Session::wait(Ticket ticket) {
  return no_throw([&] { return impl_->alone("wait()", [&] { return impl_->wait(ticket); }); });
}

int Session::input_height() const { return impl_->height; }
int Session::input_width() const { return impl_->width; }
int Session::batch() const { return impl_->options.batch; }
int Session::worth_in_flight() const { return impl_->overlaps() ? 2 : 1; }
Precision Session::precision() const { return impl_->options.precision; }
const std::string& Session::precision_reason() const { return impl_->precision_reason; }
DeviceUsed Session::device() const { return impl_->used(); }
DeviceUsed Session::preprocessing() const {
  if (!impl_->prepared_any) return {};
  const Impl::Place& p = impl_->prepared;
  return {to_string(p.kind), p.name.c_str(), p.reason.c_str()};
}
Latency Session::latency() const { return impl_->latency.read(); }
const std::vector<std::string>& Session::warnings() const { return impl_->warnings; }
std::string Session::describe_plan() const { return dump(impl_->planned.plan) + impl_->front_text(); }
std::string Session::plan_json() const { return dump_json(impl_->planned.plan); }

Session::Footprint Session::footprint() const {
  const Plan& p = impl_->planned.plan;
  uint64_t shared = impl_->cpu ? impl_->cpu->shared_bytes() : 0;
#if VIREO_VULKAN
  if (impl_->gpu) shared = impl_->gpu->shared_bytes();
#endif
  return {p.arena_bytes, p.weights_bytes, uint64_t(p.dispatch_count()), uint64_t(p.barriers.size()), shared};
}

std::vector<std::string> Session::value_names() const {
  std::vector<std::string> names;
  const Plan& p = impl_->planned.plan;
  for (const PlanValue& v : p.values)
    if (impl_->kept(v)) names.push_back(v.name);
  return names;
}

Result<std::vector<float>> Session::Impl::value(const std::string& name, int64_t shape[4]) const {
  for (const PlanValue& v : planned.plan.values) {
    if (v.name != name) continue;
    for (const Slot& s : slots)
      if (s.ticket)
        return fail(ErrorCode::kInvalidArgument,
                    "value '{}' cannot be read while an inference is in flight; wait for it first", name);
    const Slot& last = slots[size_t(last_slot)];  // as its answer left it: nothing was submitted since
    const bool sized = last.map.height > 0 && &v == &planned.plan.values[size_t(planned.plan.outputs[0])];
    // Of the answer, but for a map of a chosen size: that is here, whoever computed it.
    if (recomputed && fp32 && !options.keep_all && !sized) return fp32->value(name, shape);
    if (!kept(v))
      return fail(ErrorCode::kUnsupported,
                  "value '{}' is not kept, its bytes are used again; create the session with keep_all", name);
    if (last_slot != newest_slot)
      return fail(ErrorCode::kInvalidArgument,
                  "value '{}' is of the last inference submitted, another one was waited for last; wait in the order "
                  "of submission",
                  name);
    if (sized) {
      const int64_t of[4] = {v.desc.shape.n(), last.map.height, last.map.width, 1};  // not as planned
      std::copy_n(of, 4, shape);
      return last.result;
    }
    const uint8_t* from = cpu ? cpu->read(v.where, last_slot) : nullptr;
#if VIREO_VULKAN
    if (gpu) from = gpu->read(v.where, last_slot);
    if (!from && device_input && v.where.region == Region::kInput && device_input->mapped())
      from = device_input->mapped() + v.where.offset;
#endif
    if (!from)
      return fail(ErrorCode::kUnsupported,
                  "value '{}' lies in memory that the host cannot read; create the session with keep_all", name);
    return dense_floats(v.desc, from, shape);
  }
  return fail(ErrorCode::kNotFound, "session: there is no value '{}'; value_names() lists them", name);
}

Result<std::vector<float>> Session::value(const std::string& name, int64_t shape[4]) const {
  return no_throw([&] { return impl_->alone("value()", [&] { return impl_->value(name, shape); }); });
}

}  // namespace vireo
