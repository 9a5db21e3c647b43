// Vireo: Vision Transformers on Vulkan compute, with a SIMD CPU path.
//
//   auto model   = vireo::Model::open("models/fashion-vit");
//   auto session = vireo::Session::create(*model, vireo::Device::best());
//   auto out     = session->run(vireo::Image{rgb, width, height});   // preprocess, submit, wait
//   for (const vireo::Score& s : vireo::top_k(*out, 5)) ...
//
// Model and Device are cheap to copy and may be shared between threads. A Session is used by one thread at a time, but
// for its latency(), which any thread may ask: a call made while another thread's is still running returns
// kInvalidArgument at once and changes nothing. Give each thread a Session of its own (they share the Model and its
// open files) or hold a lock from run() to the last use of its Output; submit() in one thread and a later wait() in
// another is fine. Two sessions run in two threads without care. No exception crosses a function that returns a Result;
// the others throw nothing but std::bad_alloc. Nothing prints or exits.
#ifndef VIREO_VIREO_HPP
#define VIREO_VIREO_HPP

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <vireo/image.hpp>
#include <vireo/result.hpp>
#include <vireo/types.hpp>

namespace vireo {

/// "0.1.0".
VIREO_API const char* version() noexcept;

/// What a checkpoint is, said instead of its folder's config.json or for want of one, and how it is read where it
/// leaves a choice.
struct ModelOptions {
  std::string config;        ///< a config.json, or the folder that holds it
  std::string architecture;  ///< or timm's name of an architecture: "vit_tiny_patch16_224"
  /// Which network, where the file holds several ("student.", "teacher.", "ema."): the prefix of its tensors' names, or
  /// the beginning of it that no other has; "." for names without a prefix. Empty: there must be one only.
  std::string weights;
};

/// A checkpoint: configuration, labels and open files of weights. Immutable.
class VIREO_API Model {
 public:
  /// Opens a Hugging Face folder (config.json, preprocessor_config.json, model.safetensors or its sharded index), a
  /// model's folder in the Hugging Face cache, a timm folder, or one .safetensors file whose tensors are those of one
  /// published network (what they do not tell is taken for granted, and warnings() says so). Errors: kNotFound, kIo,
  /// kCorrupt, kUnsupported, kInvalidArgument (several networks, see ModelOptions); the message names the file, key or
  /// tensor. The weights stay in their files, which are open while the model lives and are read by every new session,
  /// also one that falls back on the CPU: replace a file by renaming a new one over it. One that is written into gives
  /// kIo from then on.
  static Result<Model> open(const std::string& path);
  static Result<Model> open(const std::string& path, const ModelOptions& options);
  /// A model of the given config.json with random weights (normal, of a fresh model's scale): for benchmarks without a
  /// checkpoint.
  static Result<Model> random(const std::string& config_path, uint64_t seed);

  const std::string& name() const;          ///< folder or file name
  const std::string& architecture() const;  ///< "ViTForImageClassification", "vit_tiny_patch16_224", ...
  int input_height() const;                 ///< pixels, after preprocessing
  int input_width() const;
  /// True where the checkpoint's image processor keeps proportions and does not crop: each size of picture is an input
  /// size of its own, and a session (SessionOptions::height and width) runs pictures of one. input_height() x
  /// input_width() is a square's.
  bool keeps_proportions() const;
  /// The input size that a picture of width x height becomes: input_height() x input_width() where proportions are not
  /// kept.
  void input_size_for(int width, int height, int* input_height, int* input_width) const;
  int channels() const;
  Task task() const;
  int classes() const;    ///< of pictures or of pixels; 0 without such a head
  Scores scores() const;  ///< what makes scores of its logits; top_k() applies it
  /// Name of class `index`; "LABEL_17" when the checkpoint has no names.
  std::string label(int index) const;
  /// kCheckpoint where weights are stored as codes (a quantization_config of compressed-tensors), else kFp32: what
  /// SessionOptions::precision is by default.
  Precision precision() const;
  /// What was noticed while opening, one sentence each: tensors present but unused, absent preprocessing, ...
  const std::vector<std::string>& warnings() const;

  struct Impl;
  const Impl& impl() const { return *impl_; }

 private:
  explicit Model(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

/// What was never freed, because no call could prove that the device was done with it: to free memory under work that
/// goes on crashes the process or the system. It takes a driver that has no answer to "is it over?" left; see
/// Device::on_log.
struct Abandoned {
  uint64_t times = 0;  ///< submissions whose end could not be proven
  uint64_t bytes = 0;  ///< device memory that they may be using
};

/// Where a session runs.
class VIREO_API Device {
 public:
  /// The first GPU with Vulkan, discrete before integrated ones; the CPU if there is none, and then reason() says why.
  /// A software driver (llvmpipe, SwiftShader) is no GPU: the CPU path is several times as fast. VIREO_DEVICE may name
  /// another. Never fails.
  static Device best(int threads = 0);
  /// The first Vulkan device, software drivers last, or the one that VIREO_DEVICE names. Errors: kNotFound with the
  /// list of devices or why there is none.
  static Result<Device> best_vulkan(int threads = 0);
  /// The SIMD CPU path. threads 0 = all cores available to the process.
  static Device cpu(int threads = 0);
  /// Vulkan device number `index` in the loader's order. Errors: kNotFound with the list of devices or why there is
  /// none.
  static Result<Device> vulkan(int index, int threads = 0);
  /// Every Vulkan device, then the CPU. `why_not` receives the reason when no Vulkan device can be used.
  static std::vector<Device> list(std::string* why_not = nullptr);

  const char* kind() const;         ///< "vulkan" or "cpu"
  const std::string& name() const;  ///< driver's device name, or the SIMD target
  const std::string& reason()
      const;              ///< why best() or best_vulkan() chose this device when it is not a GPU; empty otherwise
  int index() const;      ///< Vulkan device number; -1 for the CPU
  bool software() const;  ///< a Vulkan driver that computes on the CPU: best() takes the SIMD path instead
  /// Where a sentence goes that no Result can carry: today one for each submission that was abandoned, also while a
  /// session is closed. One sink for all copies of this device and all sessions on them, called from whichever thread;
  /// an empty one turns it off. It must not call Vireo.
  void on_log(std::function<void(const std::string&)> sink) const;
  /// By all sessions on this device and its copies so far.
  Abandoned abandoned() const;
  std::string caps_text() const;  ///< the DeviceCaps as text, the format of `vireo plan --caps`

  struct Impl;
  const std::shared_ptr<const Impl>& impl() const { return impl_; }
  explicit Device(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

 private:
  std::shared_ptr<const Impl> impl_;
};

/// Where the work of the last inference was done.
struct DeviceUsed {
  const char* kind = "";  ///< "vulkan" or "cpu"
  const char* name = "";
  const char* reason = "";  ///< empty when everything ran where it was asked to
};

/// An inference that is done, as SessionOptions::on_inference learns of it.
struct Inference {
  uint32_t ticket = 0;  ///< Ticket::id; of run() too
  uint64_t number = 0;  ///< 1, 2, ... in the order of being done
  double ms = 0;        ///< Output::ms
  double preprocess_ms = 0;
  DeviceUsed device;
  bool fell_back = false;  ///< the session's device failed, at this inference or before, and the CPU has taken over
  bool recomputed =
      false;  ///< the answer is of fp32, because the session's precision gives none (SessionOptions::recompute)
};

/// What SessionOptions::on_compile learns.
struct Compilation {
  int pipelines = 0;    ///< how many are compiled now that no session on this machine has compiled before
  std::string device;   ///< its name
  std::string kept_in;  ///< the file that remembers them for sessions to come; empty without one
};

/// The wall times (Output::ms) of a session's last inferences. Percentiles are times that were measured (nearest rank).
struct Latency {
  uint64_t count = 0;               ///< inferences done since the session was made
  int window = 0;                   ///< how many of the last ones the figures are of
  double last_ms = 0, mean_ms = 0;  ///< all 0 when window is 0
  double min_ms = 0, p50_ms = 0, p95_ms = 0, p99_ms = 0, max_ms = 0;
};

/// What sessions hold in common. Those that were given the same one (SessionOptions::shared_weights) hold a constant
/// once that is the same in both as its kernel reads it, byte for byte: the levels of a Governor, for example, which
/// differ in input size or in where tokens are merged, and may be of several checkpoints. On the CPU, and on GPUs whose
/// memory is the host's as well (a Jetson's); beside it sessions of the same Device only. Memory is given back with the
/// last session that reads it. Creating a session takes longer by packing what may be shared twice. Thread-safe.
class VIREO_API SharedWeights {
 public:
  SharedWeights();
  ~SharedWeights();
  struct Impl;
  const std::shared_ptr<Impl>& impl() const { return impl_; }

 private:
  std::shared_ptr<Impl> impl_;
};

struct SessionOptions {
  Precision precision = Precision::kCheckpoint;  ///< kFp32 for a checkpoint of floats
  std::string policy;  ///< text of a format policy (engine/plan/policy.h) instead of `precision`; empty = none
  Head head = Head::kLogits;
  int batch = 1;              ///< images per inference, fixed for the session
  int height = 0, width = 0;  ///< input size in pixels; 0 = the model's own
  bool fallback = true;       ///< when the device fails, go on with the CPU and say so; false = fail
  /// An answer that holds NaN or infinity (fp16 ends at 65504, which some networks exceed) is computed again in fp32 on
  /// the same device, with plan and weights of its own from then on, and DeviceUsed::reason says so. After three in a
  /// row the session stays with fp32 (not with keep_all). False: such an answer is an error. So is one that is not
  /// finite in fp32 either.
  bool recompute = true;
  double timeout_s = 0;   ///< a GPU silent for so many seconds counts as lost; 0 = VIREO_TIMEOUT or 600
  bool keep_all = false;  ///< keep every intermediate value readable (Session::value)
  std::vector<std::string>
      cpu_ops;            ///< operators to place on the CPU within a Vulkan plan ("attention"), for debugging
  std::string cache_dir;  ///< pipeline cache folder; empty = VIREO_CACHE_DIR, XDG_CACHE_HOME/vireo or ~/.cache/vireo;
                          ///< "-" = none
  /// Both ways give the same input to the bit. Session::preprocessing() says which one a picture took, and why not the
  /// other.
  Preprocess preprocess = Preprocess::kAuto;
  /// plan_text() and predict() include the steps for pictures such as this one (its pointers do not count); 0 x 0:
  /// none. Sessions take pictures as they come.
  Image frame;
  std::shared_ptr<const SharedWeights> shared_weights;  ///< weights that sessions hold in common; null: none
  int latency_window = 1024;  ///< how many of the last inferences Session::latency() is of, 1 to 1,048,576
  /// Called by wait() and run() after each inference that was done, before they return, in the order of waiting. It may
  /// ask the session for its latency() and for nothing else. What it throws is dropped, and the session's warnings()
  /// say so once.
  std::function<void(const Inference&)> on_inference;
  /// Called before a GPU's driver compiles pipelines for the first time, which takes seconds, in the thread that waits
  /// for it: that of Session::create(), or of an inference that is computed again in fp32. What it throws is dropped.
  std::function<void(const Compilation&)> on_compile;
};

/// The result of an inference. The memory belongs to the session and stays valid until its next run() or wait().
struct Output {
  const float* data = nullptr;  ///< dense [batch, rows, cols]
  int batch = 0;
  int rows = 0;  ///< 1, the number of tokens (Head::kTokens), or height * width of a segmentation (below)
  int cols = 0;  ///< classes, width, or 1 (Head::kClassMap)
  DeviceUsed device;
  /// Wall time of this inference up to the end of its wait(), preprocessing excluded. Of two in flight the second one's
  /// begins where the first one's ends: a share of the time, not a latency.
  double ms = 0;
  double preprocess_ms = 0;
  int height = 0, width = 0;  ///< the map whose pixels the rows are, row by row; 0 when they are none
  Precision precision =
      Precision::kFp32;  ///< what this answer was computed in: the session's, or fp32 (SessionOptions::recompute)
  Scores scores = Scores::kSoftmax;  ///< Model::scores()
};

struct Score {
  int index = 0;
  float value = 0;  ///< probability: of the class among all (softmax), or of this label by itself (sigmoid)
};

/// The k most probable classes of image `item`, largest first; ties by smaller index. Output::scores says what makes
/// probabilities of the logits.
VIREO_API std::vector<Score> top_k(const Output& logits, int k, int item = 0);

/// The size of a class map (Head::kClassMap) in pixels; 0x0 is the input's. At another size, usually the picture's, the
/// class of a pixel is that of the largest score there, the scores being brought from the network's to the input's size
/// and from that to this one bilinearly without aligned corners, as Transformers' post_process_semantic_segmentation
/// does (target_sizes). They are never stored at these sizes. A size is data: it may change with every inference of a
/// session, and costs no new plan. The plan and its memory (describe_plan, footprint) are those of the input's size; a
/// session holds 4 bytes for each pixel of the largest map so far beside them, on a GPU and on the host.
struct MapSize {
  int height = 0, width = 0;
};

/// Names an inference in flight.
struct Ticket {
  uint32_t id = 0;
};

struct Profile;  // <vireo/profile.hpp>
struct ProfileOptions;

/// A model planned, packed and recorded for one device. Movable; one thread at a time: run(), submit(), wait(),
/// profile(), value() and capture() refuse to run beside one another (kInvalidArgument), on_inference's calls from
/// inside them included. What returns no Result cannot refuse: do not call it, or close the session, while another
/// thread's call runs.
class VIREO_API Session {
 public:
  /// Plans, packs weights, compiles pipelines, records. Errors: bad options, a weight that is NaN (named), and, without
  /// `fallback`, whatever the device reports.
  static Result<Session> create(const Model& model, const Device& device, const SessionOptions& options = {});

  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  /// Preprocesses `count` == batch pictures as the checkpoint prescribes (Pillow-exact resize, crop, normalise) and
  /// runs. Every number of an Output that the host can read is finite, and every class of a map is one; where a
  /// device's answer is not, see SessionOptions::recompute. Errors: kInvalidArgument (pixels that are NaN, infinite or
  /// absurdly large; or `recompute` is off), kCorrupt (a model whose weights make fp32 overflow), and, without
  /// `fallback`, whatever the device reports.
  Result<Output> run(const Image* images, int count);
  Result<Output> run(const Image& image) { return run(&image, 1); }
  /// Runs on pixels already preprocessed: dense float32 [batch, channels, height, width].
  Result<Output> run(const float* pixels, size_t count);
  /// The same with class maps of that size, one size for all pictures of the batch: Output::height and width, and
  /// Output::rows follow. Errors: also kInvalidArgument for another head than kClassMap, a size out of range, or an
  /// application's output buffer, which is for the input's size.
  Result<Output> run(const Image* images, int count, MapSize map);
  Result<Output> run(const float* pixels, size_t count, MapSize map);

  /// Starts an inference and returns; up to two may be in flight, a third submit() before a wait() is an error. On the
  /// CPU the work is done when submit() returns. `pixels` is copied before submit() returns.
  Result<Ticket> submit(const float* pixels, size_t count);
  /// The same for `count` == batch pictures, preprocessed as run() does; they are not needed after submit() returns.
  Result<Ticket> submit(const Image* images, int count);
  /// With class maps of that size, see run(). Inferences in flight may differ in it.
  Result<Ticket> submit(const float* pixels, size_t count, MapSize map);
  Result<Ticket> submit(const Image* images, int count, MapSize map);
  Result<Output> wait(Ticket ticket);

  int input_height() const;
  int input_width() const;
  int batch() const;
  /// 2 where a device works on after submit() has returned, so that the next picture is prepared meanwhile; 1 where the
  /// work is done by then: on the CPU, and where steps of the plan are.
  int worth_in_flight() const;
  Precision precision() const;                  ///< the options', or what kAuto has come to
  const std::string& precision_reason() const;  ///< of kAuto: the times and answers that chose; empty otherwise
  DeviceUsed device() const;                    ///< its strings live as long as the session
  /// Where the last picture became the network's input: "vulkan", or "cpu" and why (empty where that was asked for);
  /// "" before the first one. Its strings are valid until the next call of run() or submit().
  DeviceUsed preprocessing() const;
  /// What was noticed while opening, one sentence each: an unusable pipeline cache, ...
  const std::vector<std::string>& warnings() const;

  /// What the last inferences took; may be called from any thread while another one runs inferences, and neither waits.
  Latency latency() const;

  /// Where the milliseconds go: per dispatch and host phase, on pixels like those of run(). The types and what it may
  /// fail with are in <vireo/profile.hpp>. The session's own commands are not changed: profiling that is off costs
  /// nothing.
  Result<Profile> profile(const float* pixels, size_t count, const ProfileOptions& options);
  Result<Profile> profile(const float* pixels, size_t count);

  std::string describe_plan() const;  ///< stable text
  std::string plan_json() const;
  struct Footprint {
    uint64_t arena_bytes, weights_bytes, dispatches, barriers;
    uint64_t shared_weights_bytes;  ///< of weights_bytes, what lies in memory of other sessions (SharedWeights)
  };
  Footprint footprint() const;

  /// Names of the values that the plan keeps, in order of execution (all of them with keep_all). Without keep_all the
  /// input is none of them once a picture was prepared on a GPU.
  std::vector<std::string> value_names() const;
  /// The value `name` of the last run (or profile) as dense floats (channels last), with its shape [n, h, w, c]. After
  /// a run computed again in fp32: with keep_all still what the session's own precision gave (to see where it
  /// overflows), else of the answer.
  Result<std::vector<float>> value(const std::string& name, int64_t shape[4]) const;

  struct Impl;
  Impl& impl() { return *impl_; }
  explicit Session(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

/// How far `tune` is; called before a step's first candidate and after each.
struct TuneProgress {
  int step = 0, steps = 0;             ///< number of this step, and of all
  const char* name = "";               ///< the first step of the plan that this choice is for
  int tried = 0;                       ///< candidates measured for it so far
  double best_ms = 0, default_ms = 0;  ///< valid once tried > 0
  double seconds = 0;                  ///< since the beginning, at this step's start
};

struct TuneOptions {
  SessionOptions session;  ///< precision, batch, input size and head of the sessions to come
  double budget_s = 120;   ///< seconds to spend, as a goal
  std::string file;        ///< empty = the file that sessions read (VIREO_TUNING, or in the cache folder)
  std::function<void(const TuneProgress&)> progress;
  /// Asked before each candidate, in the thread that called tune(); true ends the search: what was measured until then
  /// is kept as if the time were up.
  std::function<bool()> stop;
};

struct TuneReport {
  struct Step {
    std::string name, key;
    int times = 0;                  ///< how many steps of the plan are alike
    std::string use;                ///< chosen constants; empty = the device class's defaults
    double ms = 0, default_ms = 0;  ///< of one such step alone, submission included
    int tried = 0, rejected = 0;    ///< candidates measured; those that failed or gave a wrong answer
    bool complete = true;           ///< false when the time was up or `stop` ended the search
  };
  std::string file;
  std::vector<Step> steps;
  std::vector<std::string> notes;
  double seconds = 0;
  bool complete = true;
};

/// Measures on `device` which kernels and constants do each step of the model fastest, among those whose answer agrees
/// with the CPU's, and writes them to the tuning file, beside what it held for other models. Sessions made later use
/// it. Errors: kUnsupported (the CPU), kInvalidArgument, kIo (file), and what the device reports.
VIREO_API Result<TuneReport> tune(const Model& model, const Device& device, const TuneOptions& options);

/// One environment variable that Vireo reads.
struct EnvVar {
  const char* name;
  const char* type;
  const char* initial;
  const char* sentence;
};
/// The table of environment variables (what `vireo env` prints).
VIREO_API const std::vector<EnvVar>& env_table();

/// The plan of a model for a device that need not exist: caps in the text form of Device::caps_text().
VIREO_API Result<std::string> plan_text(const Model& model, const std::string& caps, const SessionOptions& options,
                                        bool json);

/// A compute pipeline of a plan, for tools that compile shaders elsewhere.
struct PipelineDump {
  std::string name;  ///< of the shader
  std::vector<uint32_t> spirv;
  std::string json;  ///< specialisation constants, workgroups, shared memory, FLOPs and uses
};
/// The distinct pipelines of such a plan in the order of first use; empty for a CPU.
VIREO_API Result<std::vector<PipelineDump>> plan_pipelines(const Model& model, const std::string& caps,
                                                           const SessionOptions& options);

}  // namespace vireo

#endif  // VIREO_VIREO_HPP
