// The file of include/vireo/capture.hpp: what is in it, writing it, and reading it from a stranger.
//
// A safetensors file. __metadata__ holds strings: format ("vireo-capture"), version, vireo, checksum; model,
// architecture, weights
// ("stored" or "random"), seed, config, preprocessor; session, device, values (JSON); caps, plan, tuning, note.
// Tensors, in this order: "input" F32 [batch, channels, h, w], "output" F32 [batch, rows, cols], "value/N" F32
// [samples], "weights/NAME" as the checkpoint has them.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/model.h"
#include "ops/tuned.h"

#include <vireo/capture.hpp>

namespace vireo {

/// What an intermediate value was: all of it, or samples.
struct CapturedValue {
  std::string name;
  std::array<int64_t, 4> shape{1, 1, 1, 1};
  uint64_t sum = 0;            // checksum() of all elements
  double scale = 0;            // largest finite magnitude
  std::vector<float> samples;  // at sample_position(i, samples.size(), elements)

  int64_t elements() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
};

/// Where sample i of `count` lies among `total` elements: evenly from the first to the last. kSamples - 1 is prime, so
/// that the samples of a tensor with a round number of channels are not all of the same few channels.
constexpr size_t kSamples = 1022;
size_t sample_position(size_t i, size_t count, size_t total);
/// Records dense floats; `whole`: all of them.
CapturedValue captured_value(const std::string& name, const int64_t shape[4], const std::vector<float>& data,
                             bool whole);

struct CaptureFile {
  CaptureInfo info;
  std::string config, preprocessor;  // texts of config.json and preprocessor_config.json, or empty
  DeviceCaps caps;
  TunedSteps tuned;
  std::vector<float> input, output;
  std::vector<CapturedValue> values;
  std::shared_ptr<const Checkpoint> weights;  // null: random, from info.seed
};

/// Returns the file's size. Errors: kIo.
Result<uint64_t> write_capture(const std::string& path, const CaptureFile& capture);
/// Errors: as read_capture of capture.hpp.
Result<CaptureFile> load_capture(const std::string& path);
/// The same from memory, which `owner` keeps alive (null: the caller does).
Result<CaptureFile> parse_capture(const uint8_t* data, size_t size, std::shared_ptr<const void> owner,
                                  const std::string& source);
/// What stands behind the checksum: metadata and tensors of such a file, checked for what they promise.
Result<CaptureFile> captured_parts(const std::map<std::string, std::string>& metadata,
                                   const std::vector<TensorView>& tensors, std::shared_ptr<const void> owner,
                                   const std::string& source);
/// The model as it was captured. Errors: as Model::open.
Result<LoadedModel> captured_model(const CaptureFile& capture, const std::string& source);

}  // namespace vireo
