// An inference in one file, to be run again elsewhere: a bug report. The file is a safetensors file, so other tools can
// read it as well: tensors "input", "output", "value/N" and "weights/NAME", everything else as text in __metadata__.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <vireo/vireo.hpp>

namespace vireo {

VIREO_API const char* to_string(
    Head h);  ///< "logits", "features", "tokens", "class_map": as captures and the tool write it

struct CaptureOptions {
  bool values =
      true;  ///< also record what intermediate values were: a checksum, the range and about a thousand samples of each
  bool all_values = false;  ///< record intermediate values whole instead of samples
  std::string note;         ///< of whoever captures, for whoever replays
};

struct CaptureReport {
  uint64_t bytes = 0;              ///< of the file
  size_t values = 0;               ///< intermediate values recorded
  std::vector<std::string> notes;  ///< what could not be had
};

/// Runs the session on pixels as Session::run takes them, and writes what is needed to do so again to `file`, which
/// appears whole or not at all: configuration and weights (of a model with random weights their seed), options, the
/// device's capabilities, plan, input and answer. Intermediate values come from a second session like this one with
/// keep_all, which needs as much memory again; without that memory they are left out with a note. Errors:
/// kInvalidArgument (the input, an inference in flight), kUnsupported (an application's own buffers), kIo, and what the
/// device reports.
VIREO_API Result<CaptureReport> capture(Session& session, const float* pixels, size_t count, const std::string& file,
                                        const CaptureOptions& options = {});
/// The same for `count` == batch pictures, preprocessed as Session::run does; the file holds the pixels that the model
/// gets.
VIREO_API Result<CaptureReport> capture(Session& session, const Image* images, int count, const std::string& file,
                                        const CaptureOptions& options = {});

/// What a capture says without being run.
struct CaptureInfo {
  std::string vireo;  ///< version that wrote it
  std::string note;
  std::string model, architecture;
  bool random_weights = false;  ///< the file holds no weights but their seed
  uint64_t seed = 0;
  SessionOptions options;  ///< precision, head, batch, input size, keep_all, cpu_ops
  bool fused = true;       ///< false: captured under VIREO_NO_FUSE
  std::string device_kind, device_name, device_reason;
  int threads = 0;
  std::string caps;                   ///< DeviceCaps as text, fit for `vireo plan --caps`
  std::string plan;                   ///< as Session::describe_plan
  std::string tuning;                 ///< constants of the device's tuning file that the plan uses; empty for none
  int input_shape[4] = {0, 0, 0, 0};  ///< [batch, channels, height, width]
  int output_shape[3] = {0, 0, 0};    ///< [batch, rows, cols]
  std::vector<std::string> values;    ///< names of the intermediate values
  uint64_t weights = 0, weights_bytes = 0;
  uint64_t file_bytes = 0;
};
/// Errors: kNotFound, kIo, kCorrupt (no capture, cut short, damaged), kUnsupported (of another version of the format).
VIREO_API Result<CaptureInfo> read_capture(const std::string& file);

struct ReplayOptions {
  /// Largest difference allowed, as a part of the value's largest magnitude; of a class map: share of pixels. Negative:
  /// default_tolerance() of the captured precision.
  double tolerance = -1;
  bool plan_anew = false;  ///< plan for this device even where the captured plan could run
  bool values = true;      ///< compare intermediate values too, where there are some
};

/// How far a value is from what was captured.
struct ReplayDifference {
  std::string name;
  int64_t shape[4] = {0, 0, 0, 0};  ///< [n, h, w, c]
  uint64_t compared = 0;            ///< elements: all, or the captured samples
  uint64_t unequal = 0;             ///< of these
  bool identical = false;           ///< bit by bit, all elements
  bool differs = false;             ///< beyond the tolerance
  double largest = 0;               ///< max |here - captured|; infinite where one of them is no finite number
  double scale = 0;                 ///< max |captured|
  double distance = 0;              ///< what is held against the tolerance
  int64_t at[4] = {0, 0, 0, 0};     ///< where the largest is
  float captured = 0, here = 0;     ///< the two there
  std::string problem;              ///< why it cannot be compared; counts as a difference
};

struct ReplayReport {
  std::string device_kind, device_name, device_reason;
  bool captured_plan = false;  ///< the very plan that was captured ran here
  std::string plan_reason;     ///< why not
  double ms = 0;               ///< of the inference here
  double tolerance = 0;        ///< what differences were held against
  ReplayDifference output;
  std::vector<ReplayDifference> values;  ///< in order of execution
  int first = -1;                        ///< the first of them that differs
  std::vector<std::string> notes;
  bool same() const { return !output.differs && first < 0; }
};

/// Runs a capture on `device` and compares. Where this device can do what the captured plan asks of it, that plan runs
/// (the captured capabilities are planned for, with the captured constants; on a CPU its kernels must exist here); else
/// one made for this device, and plan_reason says why. Never falls back to another device. Errors: those of
/// read_capture, and what the device reports.
VIREO_API Result<ReplayReport> replay(const std::string& file, const Device& device, const ReplayOptions& options = {});

}  // namespace vireo
