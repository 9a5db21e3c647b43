// What the verbs of the command line share: common options, opening models, devices and sessions, failing, printing
// JSON.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>
#include <vireo/vireo.hpp>

#include "base/json.h"
#include "options.h"

namespace cli {

/// Key order in our JSON is the order of writing.
using Json = vireo::OrderedJson;

/// Ends the program with exit code 1 and this one line on stderr.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// One of the machine's (a full disk), which nothing else that is tried will not meet.
struct IoFailure : Failure {
  using Failure::Failure;
};
/// Ends the program with exit code 2 and this one line on stderr.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The value of a Result, or Failure with its message.
template <typename T>
T need(vireo::Result<T> result) {
  if (!result && result.error().code == vireo::ErrorCode::kIo) throw IoFailure(result.error().message);
  if (!result) throw Failure(result.error().message);
  return std::move(*result);
}
inline void need(vireo::Result<void> result) {
  if (!result) throw Failure(result.error().message);
}

/// Options that mean the same for every verb that has them.
struct Common {
  std::string model;
  std::string weights;       // which network of a checkpoint that holds several
  std::string config;        // config.json: of the model's weights; in verbs with kRandom, of random ones
  std::string architecture;  // timm's name instead of one
  bool random = false;       // --random-weights was given
  uint64_t seed = 0;
  std::string device = "auto";
  vireo::Precision precision = vireo::Precision::kCheckpoint;
  bool precision_given = false;
  std::string policy, policy_file;  // a file's text and name instead of a precision
  /// What Precision::kAuto came to in the session that was opened last, also by copies of these options.
  struct Chosen {
    std::string precision, reason;
  };
  std::shared_ptr<Chosen> chosen = std::make_shared<Chosen>();
  /// What sessions that are open at the same time have in common.
  struct Together {
    std::optional<vireo::Device> device;  // of the first that was opened
    std::shared_ptr<const vireo::SharedWeights> weights = std::make_shared<vireo::SharedWeights>();
  };
  std::shared_ptr<Together> together;  // null: a session by itself
  int threads = 0;
  int height = 0, width = 0;  // 0 = the model's own
  std::vector<std::string> cpu_ops;
  vireo::Preprocess preprocess = vireo::Preprocess::kAuto;
  bool json = false;
  bool ignore_exif = false;
  bool json_lines = false;                // --jsonl
  int frame_width = 0, frame_height = 0;  // of raw frames; 0 = not given
  std::string frame_format;               // empty: not given
  vireo::YuvRange frame_range = vireo::YuvRange::kLimited;
  bool frame_range_given = false, frame_matrix_given = false;
  vireo::YuvMatrix frame_matrix = vireo::YuvMatrix::kBt601;
  int frame_rotation = 0;
  bool frame_rotation_given = false;
  uint64_t frame_limit = 0;                   // frames of a stream; 0 = to its end
  bool frame_drop = false;                    // --drop
  double frame_deadline = 0;                  // ms; 0 = none
  double frame_stall = 0;                     // --stall, seconds; 0 = not given
  static constexpr double kCameraStall = 10;  // of a camera, where it was not given

  /// Nothing but JSON is printed on stdout.
  bool quiet() const { return json || json_lines; }
};

/// Which of them a verb takes.
enum Options : unsigned {
  kModel = 1,      // --model DIR, required; --config FILE or --architecture NAME beside it
  kRandom = 2,     // --config FILE --random-weights SEED instead of --model
  kDevice = 4,     // --device, --threads
  kSession = 8,    // --precision, --size, --cpu-ops, --preprocess
  kJson = 16,      // --json
  kPictures = 32,  // --ignore-exif
  kFrames = 64,    // --frame, --format, --range, --matrix, --rotate, --frames, --stall
  kLines = 128,    // --jsonl, --drop, --deadline
  kShape = 256,    // --frame, --format, --range, --matrix, --rotate: of pictures that are only talked of
};
/// A pixel format by our name or ffmpeg's ("nv12", "yuv420p"); false when there is none.
bool parse_pixel_format(const std::string& text, vireo::PixelFormat* format);
/// "480x360" to two numbers from 1 to 999,999; false when the text is something else.
bool parse_pair(const std::string& text, int* first, int* second);
void add_common(CLI::App& verb, Common& common, unsigned which);
/// The option of the long name "--name", or nullptr. (CLI11's own get_option_no_throw allocates and is noexcept: it
/// terminates the program where memory has run out.)
CLI::Option* find_option(CLI::App& verb, const std::string& name);
/// For CLI11: empty when the text names a device, else what is wrong with it.
std::string check_device(const std::string& text);
/// For CLI11: the text is one of these; `kind` is what they are, for the message.
CLI::Validator one_of(const std::string& kind, const std::vector<std::string>& names);
/// The end of --help: command lines as a user would type them.
void add_examples(CLI::App& verb, const std::vector<std::string>& lines);

/// Also settles --precision where it was not given: as the checkpoint holds its weights.
vireo::Model open_model(Common& common);
/// "fp16", what "auto" came to, or the policy file's name.
std::string precision_text(const Common& common);
/// Why "auto" came to that: a line of text, a field of JSON; nothing of other precisions.
void print_precision_reason(const Common& common);
void add_precision_reason(Json& json, const Common& common);
/// "auto", "cpu", "vulkan" or "vulkan:N".
vireo::Device open_device(const std::string& name, int threads);
/// Whether a device may still be at work, as nothing could prove that it is done (Device::on_log): the process must
/// then end without unloading the driver under its threads.
bool device_at_work();
/// A line on stderr (SessionOptions::on_compile).
void say_what_compiles(const vireo::Compilation& c);
/// Options of a session; a device that was asked for by name does not fall back.
vireo::SessionOptions session_options(const Common& common, const std::string& device);
/// What the tool makes of a model: class scores, a class map, or features where there is no head.
vireo::Head default_head(const vireo::Model& model);
/// `caps`, where given: Device::caps_text() of the device that the session runs on.
vireo::Session open_session(const vireo::Model& model, const Common& common, vireo::Head head, int batch = 1,
                            std::string* caps = nullptr);

/// The pictures of --frame, if it was given; their pointers do not count.
vireo::Image frame_shape(const Common& common);
/// Adds "preprocessing", where the last picture became pixels: {"kind", "reason"}.
void add_preprocessing(Json& json, const vireo::Session& session);
/// A note on stderr where pictures did not become pixels in the way that --preprocess asked for.
void tell_preprocessing(const Common& common, const vireo::Session& session);

/// {"kind", "name", "reason"}.
Json device_json(const vireo::DeviceUsed& used);
/// "vulkan: llvmpipe (...)" and, on a line of its own, the reason if there is one.
std::string device_line(const vireo::DeviceUsed& used);
/// Answers that were had otherwise than the session began: it fell back to the CPU, or fp32 had to answer.
class Reasons {
 public:
  Reasons() = default;
  explicit Reasons(const vireo::Session& session) { begin(session); }
  /// Before the first inference of the first session: what its reason is then is known. Later calls do nothing.
  void begin(const vireo::Session& session) {
    if (!begun_) known_ = session.device().reason;
    begun_ = true;
  }
  /// What the reason says beyond what was known, or empty; counts it.
  std::string add(const vireo::DeviceUsed& used);
  /// "2 of 3 pictures: fp16 overflowed ..." for each reason but the last one used, which the device's own line tells.
  void print(size_t total, const vireo::DeviceUsed& last) const;
  /// The same as "reasons" into the JSON, where there are some.
  void add_to(Json& json) const;

 private:
  std::string news(const std::string& reason) const;

  bool begun_ = false;
  std::string known_;
  std::vector<std::pair<std::string, size_t>> counts_;
};
void print_json(const Json& json);
/// On one line, at once: what a program that reads along waits for.
void print_json_line(const Json& json);
/// What was printed goes out now. Throws Failure where nobody takes it: a full disk, or a reader that is gone while
/// SIGPIPE is ignored. Frames may come without end, so they must not go on for nobody.
void flush_output();
/// Of a verb that writes more than its standard output: a reader of that who is gone is an error of writing from now
/// on, not the end of the program.
void outlive_readers();
/// Prints the model's warnings as notes (human output only; with --json they are the array "warnings" when not empty).
void print_notes(const vireo::Model& model);
void add_notes(Json& json, const vireo::Model& model);

/// A file's bytes; throws Failure, which says what it should have been.
std::string read_text(const std::string& path, const std::string& should);

/// Throws Failure when no file can be written at `path`, so that it shows before the work starts. (write_npy itself
/// makes the file appear whole or not at all.)
void check_writable(const std::string& path);

/// True when both names are of one file.
bool same_file(const std::string& a, const std::string& b);
/// Text of a stranger's file for the terminal: control characters become '?'.
std::string printable(std::string text);

/// Throws UsageError when an output would replace what is read, or another output. Empty names and "-" are nobody's.
void check_outputs(const char* verb, const std::vector<std::string>& inputs, const std::vector<std::string>& outputs);
/// What is read of a model: the folder and the files in it, --config.
std::vector<std::string> model_files(const Common& common);

/// Writes a file that appears whole or not at all; throws Failure.
void write_file(const std::string& path, const void* bytes, size_t count);

/// "3 of 10 images failed; first: a.png: ...": the closing line of a verb that went on after bad images.
class ImageErrors {
 public:
  void add(const std::string& image, const std::string& message);
  bool any() const { return count_ > 0; }
  size_t count() const { return count_; }
  /// Throws Failure when an image failed.
  void check(size_t total) const;
  /// The same for a verb that Ctrl-C may have ended after `done` of them (Interruptible): throws Interrupted where it
  /// has, with `kept`, what there is of those. total 0: nobody knows how many there were to be.
  void check(size_t done, size_t total, const std::string& kept) const;

 private:
  std::string sentence(size_t total) const;

  size_t count_ = 0;
  std::string first_;
};

/// A verb: adds its subcommand, whose callback does the work.
void add_devices(CLI::App& app);
void add_classify(CLI::App& app);
void add_segment(CLI::App& app);
void add_embed(CLI::App& app);
void add_plan(CLI::App& app);
void add_kernels(CLI::App& app);
void add_bench(CLI::App& app);
void add_diff(CLI::App& app);
void add_tune(CLI::App& app);
void add_profile(CLI::App& app);
void add_predict(CLI::App& app);
void add_capture(CLI::App& app);
void add_replay(CLI::App& app);
void add_eval(CLI::App& app);
void add_compress(CLI::App& app);
void add_simulate(CLI::App& app);
void add_doctor(CLI::App& app);
void add_env(CLI::App& app);

/// Deterministic pixels in about [-2, 2], for runs without a picture.
std::vector<float> random_pixels(size_t count, uint64_t seed);
/// floats of one input batch of the session.
size_t pixel_count(const vireo::Model& model, const vireo::Session& session);

}  // namespace cli
