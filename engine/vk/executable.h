// A plan on a device: packed weights, pipelines and recorded command buffers, ready to be submitted again and again.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "plan/plan.h"
#include "plan/weight_store.h"
#include "vk/flight.h"
#include "vk/gpu.h"
#include "vk/memory.h"
#include "vk/pipelines.h"

namespace vireo::vk {

constexpr int kSlots = 2;  // inferences in flight

/// Where the regions of a plan lie for the host, for one slot. base[] is by Region; null where the host cannot see.
struct HostMemory {
  uint8_t* base[4] = {};
  const uint8_t* const* consts = nullptr;  // by constant; null where the host cannot see them
  uint8_t* at(const BufferRef& r) const { return base[size_t(r.region)] ? base[size_t(r.region)] + r.offset : nullptr; }
};

/// Runs step number `step` of the plan, placed on the CPU, on the slot's memory (that of Executable::host_memory).
using HostStep = std::function<Result<void>(size_t step, int slot, const HostMemory& memory)>;

struct ExecutableOptions {
  std::string cache_dir;        // pipeline cache; empty = no file
  CompileNotice compiles;       // before pipelines are compiled for the first time
  double timeout_s = 600;       // a submission without an answer for so long means that the device hangs
  bool readable_arena = false;  // read() may be called for arena values (keep_all)
  HostStep host_step;           // required for plans with CPU steps
  SessionBuffers buffers;       // an application's own input and output; null handles = staging memory
  /// Instead of buffers.output: a buffer that the executable keeps as long as the device may write it.
  std::shared_ptr<Buffer> output_memory;
  /// What it holds in common with others, where the device's memory is the host's, too; null: nothing.
  std::shared_ptr<WeightStore> store;
};

/// Used by one thread at a time. Plans with CPU steps run inside submit(); the others run while the caller does
/// something else, the two slots one after the other in the order of submission.
class Executable {
 public:
  /// `plan` must outlive the executable, `graph` only this call; `plan` was verified for gpu->caps(). Weights are
  /// packed and pipelines compiled on `pool`. Errors: kOutOfMemory, kUnsupported (a shader or layout the device
  /// refuses), kCorrupt (a weight that is NaN), kInvalidArgument (misplaced application buffers, a weight beyond fp16),
  /// kDeviceLost, kInternal (a plan that contradicts its shaders).
  static Result<std::unique_ptr<Executable>> create(std::shared_ptr<Gpu> gpu, const Plan& plan, const Graph& graph,
                                                    ThreadPool& pool, ExecutableOptions options);
  Executable(const Executable&) = delete;
  Executable& operator=(const Executable&) = delete;

  /// The slot's input, dense [n, c, h, w] as the plan's first input; write before submit(). Null if the application's.
  float* input(int slot);
  /// From now on the plan reads its input from `memory`, one for both slots, which it keeps as long as the device may
  /// use it: commands are recorded anew, and input() is null. Errors: kUnsupported (a step on the CPU reads the input),
  /// kInvalidArgument (a slot in flight), kDeviceLost, kOutOfMemory; unless it is the first, the executable is of no
  /// more use.
  Result<void> read_from(std::shared_ptr<Buffer> memory);
  /// The slot's output rows (TensorDesc::row_stride() floats apart), valid from wait() to the slot's next submit().
  /// Null if the application's.
  const float* output(int slot) const;
  /// Starts the slot's inference. Errors: kInvalidArgument (slot still in flight), kDeviceLost, a CPU step's.
  Result<void> submit(int slot);
  /// The same with the output of the plan's sized step at another height and width: map() has it, and output() is of no
  /// use. The first inference of a size records one step, and makes room for it where none was as large; nothing else
  /// is made anew. On a plan whose sized step is on the CPU, its host_step does the same. Errors: also kInvalidArgument
  /// (no such step, or the output is the application's), kOutOfMemory. (map.cpp)
  Result<void> submit(int slot, int64_t map_h, int64_t map_w);
  /// [n, map_h, map_w] dense floats, valid from wait() to the slot's next submit().
  const float* map(int slot) const { return reinterpret_cast<const float*>(own_->maps[size_t(slot)].buffer.mapped()); }
  /// Waits for it. Without a submit() before, or after an error, there is nothing to wait for: success.
  Result<void> wait(int slot);
  /// How time() brackets the dispatches.
  enum class Timing : uint8_t {
    kScheduled,   ///< as they always run: neighbours without a barrier between them may overlap
    kSerialised,  ///< each waits for the one before; behind each the same once more without a dispatch
  };
  /// A dispatch of the plan, or a step on the CPU (dispatch -1), with its time since the inference began.
  struct Span {
    int32_t step = 0, dispatch = -1;
    bool timed = false;
    double begin_us = 0, end_us = 0;
  };
  struct Times {
    std::vector<Span> spans;          // in the order of the plan
    double begin_us = 0, end_us = 0;  // of the first one and of the last one
    std::vector<double> empty_us;     // kSerialised: as spans, of as many that hold no dispatch, one behind each
  };
  /// Runs one inference in slot 0 from commands of its own that take the time before and behind the spans first ..
  /// last; the recorded ones stay as they are. Where the inference begins and ends is known however few those are: a
  /// timestamp makes some drivers slower. Errors: kUnsupported (no timestamps on this queue), kInvalidArgument (a slot
  /// is in flight), and submit()'s and wait()'s. (timing.cpp)
  Result<Times> time(Timing timing, size_t first = 0, size_t last = SIZE_MAX);
  /// What a timestamp adds to the commands around it, in microseconds: commands of nothing else, the least of a few.
  /// Errors: as time().
  Result<double> timestamp_us();
  /// Submits commands that hold no dispatch and waits for them, in slot 0, as often as an inference submits: how long
  /// that takes, in microseconds. Errors: as submit() and wait(). (timing.cpp)
  Result<double> launch_us();
  /// What a dispatch's workgroups spent loading, computing and storing, in ticks of the shader clock of their first
  /// invocation.
  struct Phases {
    int32_t step = 0, dispatch = -1;
    uint32_t workgroups = 0;  // 0: its shader has no PHASES=1 variant, or it is a step on the CPU
    struct Run {
      double sum[3] = {}, largest[3] = {};  // over the workgroups; of one of them
    };
    std::vector<Run> runs;
  };
  /// Runs `runs` inferences in slot 0 with PHASES=1 shaders, from pipelines and commands of its own; the recorded ones
  /// stay as they are. In the order of the plan. Errors: kUnsupported (no shader clock, or one storage buffer too
  /// many), kInvalidArgument (a slot is in flight), and submit()'s and wait()'s. (phases.cpp)
  Result<std::vector<Phases>> phases(int runs, ThreadPool& pool);

  bool in_flight(int slot) const { return slots_[size_t(slot)].pending; }

  /// What the host sees of the slot's memory; the same for the executable's life.
  HostMemory host_memory(int slot) const;
  /// Bytes of a value after wait(); null when the host cannot see that memory.
  const uint8_t* read(const BufferRef& where, int slot) const;
  /// Of Plan::weights_bytes, what lies in memory of others.
  uint64_t shared_bytes() const { return own_->places.shared_bytes; }

  /// What was noticed on the way, one sentence each: an unusable pipeline cache, ...
  const std::vector<std::string>& notes() const { return notes_; }
  const Gpu& gpu() const { return *gpu_; }
  const std::shared_ptr<Gpu>& shared_gpu() const { return gpu_; }
  double timeout_s() const { return options_.timeout_s; }

 private:
  struct Slot {
    uint64_t input_offset = 0, output_offset = 0;  // in staging_
    bool pending = false;                          // between submit() and wait()
  };
  /// Consecutive steps that run on one side.
  struct Segment {
    int32_t first = 0, last = 0;  // steps [first, last)
    bool cpu = false;
    VkCommandBuffer commands[kSlots] = {};
  };
  struct Range {  // a BufferRef on a real buffer
    VkBuffer buffer = VK_NULL_HANDLE;
    uint64_t offset = 0, bytes = 0;
  };
  /// One dispatch of the plan, flattened.
  struct Launch {
    const PlanDispatch* dispatch = nullptr;
    int32_t step = 0;
    PipelinePtr pipeline;
    VkDescriptorSet sets[kSlots] = {};
    Range ticks;  // PHASES=1 shaders: bound behind the plan's bindings
    Range out;    // of a sized step: where the output goes, if not where the plan has it
  };
  /// A slot's output at a size that was chosen for its inferences. (map.cpp)
  struct Map {
    int64_t h = 0, w = 0;  // what `last` is recorded for
    Buffer buffer;         // for the largest so far
    std::vector<PlanDispatch> dispatches;
    std::vector<Launch> launches;
    VkDescriptorPool descriptors = VK_NULL_HANDLE;
    std::vector<VkBufferView> views;
    VkCommandBuffer commands[2] = {};  // the last segment up to the sized step, null where that is nothing; that step
    void drop_bindings(const Gpu& gpu);
  };
  struct Weights final : WeightMemory {
    explicit Weights(std::shared_ptr<Gpu> g) : gpu(std::move(g)) {}
    const uint8_t* bytes() const override { return buffer.mapped(); }
    const std::shared_ptr<Gpu> gpu;  // first: destroyed last
    Buffer buffer;                   // none where every constant is in memory of others
  };
  /// What the commands use.
  struct Objects final : Held {
    explicit Objects(std::shared_ptr<Gpu> g) : gpu(std::move(g)) {}
    ~Objects() override;
    uint64_t bytes() const override;
    void drop_commands();
    const std::shared_ptr<Gpu> gpu;         // first: destroyed last
    std::shared_ptr<Buffer> input, output;  // in the place of staging
    WeightPlaces places;
    std::shared_ptr<Weights> weights;
    Buffer arena, staging;
    std::vector<Launch> launches;
    std::vector<VkBufferView> views;
    VkDescriptorPool descriptors = VK_NULL_HANDLE;
    VkCommandPool commands = VK_NULL_HANDLE;
    PipelinePtr map_pipeline;  // null where the plan has no sized step for maps
    VkCommandPool map_commands = VK_NULL_HANDLE;
    Map maps[kSlots];  // a slot's may change while nothing of that slot is out
  };
  struct PhaseRun;  // phases.cpp
  struct Scratch;   // timing.cpp
  Executable(std::shared_ptr<Gpu> gpu, const Plan& plan, ExecutableOptions options)
      : gpu_(std::move(gpu)), plan_(plan), options_(std::move(options)), own_(std::make_shared<Objects>(gpu_)) {}

  Result<void> run(const std::shared_ptr<PhaseRun>& run);

  // executable.cpp
  Result<void> build(const Graph& graph, ThreadPool& pool);
  Result<void> check_options() const;
  Result<void> allocate(const Graph& graph, ThreadPool& pool);
  Result<void> run_cpu(const Segment& segment, int slot);
  /// `uses`: what the commands use, when that is more than own_.
  Result<void> start(const Segment& segment, int slot, std::shared_ptr<const Held> uses = nullptr);
  Result<void> start(const Segment& segment, int slot, const VkCommandBuffer* commands, uint32_t count,
                     std::shared_ptr<const Held> uses = nullptr);
  Result<void> submit(int slot, const Map* map);
  Result<void> expect_idle(const char* before = "profiling") const;
  Result<void> expect_timestamps() const;
  Result<void> finish(const Segment& segment, int slot);
  std::string steps_text(const Segment& segment) const;
  // weights.cpp
  Result<void> allocate_weights(const Graph& graph, ThreadPool& pool);
  Result<void> upload_weights(const Graph& graph, ThreadPool& pool);
  Result<void> pack(const Graph& graph, ThreadPool& pool, const std::vector<size_t>& consts, uint64_t base,
                    uint8_t* out) const;
  Range const_range(const BufferRef& where) const;
  Result<void> clear_arena();
  // map.cpp
  Result<std::vector<SizedDispatch>> sized_dispatches(int64_t h, int64_t w) const;
  Result<void> make_map(int slot, int64_t h, int64_t w);
  // record.cpp
  Result<void> make_pipelines(ThreadPool& pool);
  /// Descriptor sets for both slots, from a pool and with views that become the caller's, also on failure.
  Result<void> bind(std::vector<Launch>& launches, VkDescriptorPool* pool, std::vector<VkBufferView>* views);
  Range resolve(const BufferRef& where, int slot) const;
  Result<void> check_binding(const Step& step, const PlanDispatch& d, const shader::Binding& declared) const;
  Result<void> record();
  /// Timestamps to record: around the launches first .. last of a segment, behind the one before them, before the
  /// segment's first and behind its last.
  struct Stamps {
    static constexpr uint32_t kNone = ~0u;
    struct Around {
      uint32_t begin = kNone, end = kNone;              // queries
      uint32_t empty_begin = kNone, empty_end = kNone;  // behind it and a barrier, around nothing
      bool waits = false;                               // behind a barrier
    };
    VkQueryPool pool = VK_NULL_HANDLE;  // of as many queries as there can be
    bool empties = false;               // the same timestamps around nothing, behind each launch
    size_t first = 0, last = SIZE_MAX;
    uint32_t used = 0;
    std::vector<Around> launches;  // filled: one for each of the segment's
  };
  /// The launches of the segment into `c`.
  Result<void> record(const Segment& segment, int slot, VkCommandBuffer c, const std::vector<Launch>& launches,
                      Timing order = Timing::kScheduled, Stamps* stamps = nullptr);

  const std::shared_ptr<Gpu> gpu_;
  const Plan& plan_;
  ExecutableOptions options_;
  std::vector<const uint8_t*> consts_;  // by constant; empty where the host does not see them all
  std::vector<std::string> notes_;
  const std::shared_ptr<Objects> own_;
  uint64_t dummy_offset_ = 0;  // in the arena: zeros for bindings that a shader's constants switch off
  std::vector<Segment> segments_;
  bool unrecorded_ = false;  // read_from() failed half-way
  Slot slots_[kSlots];
  Flight flights_[kSlots] = {{gpu_, "an inference"}, {gpu_, "an inference"}};
};

}  // namespace vireo::vk
