// What stands behind vireo::Session: a plan, its executable on one device, and what is needed to go on without that
// device.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "cpu/executable.h"
#include "model/picture.h"
#include "model/preprocess.h"
#include "ops/tuned.h"
#include "plan/plan.h"
#include "plan/weight_store.h"
#include "runtime/device_impl.h"
#include "runtime/latency.h"
#if VIREO_VULKAN
#include "vk/executable.h"

#include <vireo/vulkan.hpp>
#endif

#include <vireo/vireo.hpp>

namespace vireo {

/// The folder for what may be lost: options, VIREO_CACHE_DIR, XDG_CACHE_HOME/vireo or ~/.cache/vireo; empty for none.
std::string cache_dir(const SessionOptions& options);
/// The tuning file that sessions read: VIREO_TUNING or one in the cache folder; empty for none.
std::string tuning_path(const SessionOptions& options, const TuningId& id);
/// What was tuned for this device; a file that cannot be used is noted.
TunedSteps tuned_steps(const SessionOptions& options, const DeviceCaps& caps, std::vector<std::string>* notes);
/// Errors: kNotFound (no such file), kCorrupt (one sentence why it is not used).
Result<TunedSteps> load_tuning(const std::string& path, const TuningId& id);
/// Returns why it failed, or "".
std::string save_tuning(const std::string& path, const TuningId& id, const TunedSteps& steps);

/// Not when it is the model's or the caller's fault, about which the CPU would say the same, nor a defect of ours,
/// which must show.
bool may_fall_back(const Error& e);
/// Why pictures are not brought to such a device unless asked for.
inline std::string software_reason(const std::string& name) {
  return fmt::format("{} is a software driver, beside which the CPU's vector instructions are quicker", name);
}
/// The plan that brings SessionOptions::frame to the input; none, and why, where the CPU does it, and none without a
/// reason where there is no frame. Errors: kInvalidArgument (a frame that cannot be).
Result<std::optional<Plan>> plan_frame(const Model& model, const SessionOptions& options, const DeviceCaps& caps,
                                       std::string* why);

struct SharedWeights::Impl : WeightStore {};

struct Session::Impl {
  static constexpr int kSlots = 2;
  using Clock = std::chrono::steady_clock;

  Impl(Model m, Device d, SessionOptions o)
      : model(std::move(m)),
        device(std::move(d)),
        options(std::move(o)),
        pool(device.impl()->threads),
        latency(options.latency_window) {}

  /// What DeviceUsed points to. An Output of before a fallback still points to the first one.
  struct Place {
    DeviceKind kind = DeviceKind::kCpu;
    std::string name, reason;
  };
  /// One inference in flight.
  struct Slot {
    uint32_t ticket = 0;        // 0: free
    std::vector<float> pixels;  // kept until the answer is there: a lost device's work is done again on the CPU
    // A picture whose pixels are made on the device: they come to be here where something else needs them.
    Image picture;
    std::vector<uint8_t> bytes;  // the picture's
    bool unprepared = false;
    std::vector<float> result;     // dense
    MapSize map;                   // that was asked for
    Clock::time_point start, end;  // end: of work that is done when start() returns
    double preprocess_ms = 0;
    Result<void> status;
    Ticket in_fp32;                     // of the session in fp32, when that does this inference
    const Place* recomputed = nullptr;  // the answer is of there
  };

  /// How long the slot's inference took, which is done now: since its start, or since the end of the one before it,
  /// beside which it was in flight.
  double took_ms(int slot);

  /// Runs f(), which returns a Result, as the one call that uses the session; while another thread's is running, an
  /// error at once. What one call wrote the next one sees, in whichever thread.
  template <typename F>
  auto alone(const char* call, F&& f) const -> decltype(f()) {
    const char* running = nullptr;
    if (!busy.compare_exchange_strong(running, call, std::memory_order_acquire, std::memory_order_relaxed))
      return in_use(call, running);
    struct Done {
      std::atomic<const char*>& busy;
      ~Done() { busy.store(nullptr, std::memory_order_release); }
    } done_at_last{busy};
    return f();
  }
  static Error in_use(const char* call, const char* running);
  mutable std::atomic<const char*> busy{nullptr};  // the call that is running

  static Result<std::unique_ptr<Impl>> opened(const Model& model, const Device& device, const SessionOptions& options);
  /// The answer to an inference that counts nowhere, of a session that nobody else has.
  Result<std::vector<float>> answer_to(const std::vector<float>& pixels);
  /// Of Precision::kAuto (auto_precision.cpp).
  static Result<std::unique_ptr<Impl>> open_fastest(const Model& model, const Device& device,
                                                    const SessionOptions& options);
  Result<void> open();  // on `device`, or on the CPU if that fails and fallback is on
  Result<void> open_on(const Device::Impl& target);
  Result<void> fall_back(const Error& why);  // plans again for the CPU
  Result<Ticket> submit(const float* pixels, size_t count, double preprocess_ms, MapSize map = {});
  Result<Ticket> submit(const Image* images, int count, MapSize map = {});
  Result<void> check_map(MapSize map) const;
  /// An inference of what `fill` puts into its slot.
  template <typename F>
  Result<Ticket> enter(double preprocess_ms, MapSize map, F&& fill);
  // Pictures that become pixels on the device (pictures.cpp).
  Result<bool> bring(const Image* images, int count);  // false: the CPU does it, `prepared` says why
  void keep(Slot& s, const Image& image);              // after bring()
  Result<void> prepare(Slot& s);                       // its pixels, if they are not there
  Result<void> feed(int slot);                         // to where the plan reads its input
  Result<void> open_front(const Image& image, const simd::PictureSource& source);
  Result<void> profile_front(const Image& image, Profile* p);  // after bring(): p->preprocessing
  std::string front_text() const;                              // the plan of pictures, or why there is none
  Result<void> stage(const Image* images, int count);          // preprocesses them into `staged`
  Result<std::vector<float>> value(const std::string& name, int64_t shape[4]) const;
  Result<Output> wait(Ticket ticket);
  Result<void> start(int slot);
  Result<void> launch(int slot);  // start()'s work
  /// Whether a device works on while start() has returned.
  bool overlaps() const;
  Result<void> finish(int slot);
  Result<void> check_validation() const;
  void gather(int slot);
  // Answers that are no numbers (recompute.cpp).
  Result<void> check_answer(int slot);            // after gather(): computed again in fp32 where it is not finite
  Result<void> answer_is_finite(int slot) const;  // where the host can look
  Error not_finite(const Slot& s) const;
  Result<void> open_fp32();
  Result<void> start_in_fp32(Slot& s);
  Result<void> finish_in_fp32(Slot& s);
  void drop_fp32();
  void note_done(uint32_t ticket, const Output& o) noexcept;
  /// True if the value's bytes are its own until the next inference.
  bool kept(const PlanValue& v) const {
    return options.keep_all || (v.where.region == Region::kInput && host_sees_input()) ||
           v.where.region == Region::kOutput;
  }
  bool host_sees_input() const {
#if VIREO_VULKAN
    return !device_input || device_input->mapped() != nullptr;
#else
    return true;
#endif
  }
  /// The map that the output's rows are: a segmentation's answer has the size of its input.
  bool gives_map() const { return model.task() == Task::kSegmentation; }
  int map_height() const { return gives_map() ? height : 0; }
  int map_width() const { return gives_map() ? width : 0; }
  /// Where a step on the CPU puts the map of a size that was asked for.
  SizedOutput sized_output(Slot& s) const { return {s.map.height, s.map.width, s.result.data()}; }
  size_t input_floats() const {
    return size_t(planned.plan.values[size_t(planned.plan.inputs[0])].desc.shape.elements());
  }

  /// What SessionOptions::shared_weights stands for; null for none.
  std::shared_ptr<WeightStore> store() const;

  Model model;
  Device device;
  SessionOptions options;
  ThreadPool pool;
  int height = 0, width = 0;
  Place places[2];  // as opened, and after falling back
  Place prepared;   // of the last picture's pixels
  bool prepared_any = false;
  int place = 0;
  DeviceUsed used() const {  // by the last inference
    const Place& p = recomputed ? *recomputed : places[place];
    return {to_string(p.kind), p.name.c_str(), p.reason.c_str()};
  }
  std::vector<std::string> warnings;
  std::string precision_reason;
  Planned planned;
  TunedSteps tuned;  // what the plan was made with: of the tuning file, or given before open()
  bool tuned_given = false;
  bool unfused = false;  // given before open(): as VIREO_NO_FUSE
  std::unique_ptr<cpu::Executable> cpu;
#if VIREO_VULKAN
  SessionBuffers buffers;  // an application's own, or null handles
  /// What brings a frame to where the plan then reads it, `device_input`: a plan of its own.
  struct Front {
    Plan plan;
    std::unique_ptr<vk::Executable> run;
    simd::PictureSource of;  // pictures of this shape
    PackedPart part;
  };
  std::shared_ptr<vk::Buffer> device_input;  // null until the first picture that goes this way
  std::unique_ptr<vk::Executable> gpu;
  std::unique_ptr<Front> by_picture, by_floats;
  Front refused;  // pictures of a shape for which there is no such plan, and why
  std::string refusal;
  // CPU steps of a Vulkan plan, by step number. The slots differ in where input and output lie, so each has its own.
  std::map<size_t, cpu::StepRunner> host_steps[kSlots];
  void make_host_steps(const simd::Kernels& kernels);
#endif
  std::array<Slot, kSlots> slots;
  Result<void>
      health;  // an error once the device failed and the CPU could not take over: what every later call answers
  std::unique_ptr<Impl> fp32;  // this session in fp32, once an answer was not finite
  int recomputed_in_a_row = 0;
  bool settled = false;                 // ... so often that fp32 does every inference
  std::deque<Place> recomputed_places;  // what DeviceUsed points to
  const Place* recomputed = nullptr;    // the last answer is of there
  uint32_t next_ticket = 1;
  uint32_t ended_ticket = 0;  // waited for last, and when it was done
  Clock::time_point ended_at;
  LatencyRecorder latency;
  uint64_t done = 0;  // inferences that gave an answer
  bool callback_threw = false;
  std::optional<Preprocessor> preprocessor;
  std::vector<float> staged;           // preprocessed pictures of run(Image)
  bool sizing = false;                 // start() is about a map of a size that was asked for
  int last_slot = 0, newest_slot = 0;  // waited for last; submitted last
};

}  // namespace vireo
