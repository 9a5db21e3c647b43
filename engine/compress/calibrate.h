// The calibration pictures through the network: what its linears are given is gathered, of as many of them at a time as
// memory allows.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "compress/layers.h"
#include "compress/moments.h"
#include "compress/ranges.h"

namespace vireo::compress {

/// What has to be known of the value that a layer multiplies.
struct Needs {
  bool looks = false;                  // anything at all
  bool products = false;               // second moments
  const RangeMethod* range = nullptr;  // where all rows share one scale
};

/// What the pictures gave of a value.
struct Seen {
  Moments moments;
  RangeStatistics range;
};
using SeenValues = std::map<std::string, Seen>;  // by the value's name

/// Seconds of a picture's work, as Progress counts them.
constexpr double kCalibrationWork = 0.02;

/// Layers that look at pictures, by index, in groups of which everything fits into half of the checkpoint's size or 64
/// MiB; those of one value, which takes `bytes` once, stay together.
std::vector<std::vector<size_t>> groups_by_memory(const LoadedModel& model, const Layers& layers,
                                                  const std::function<bool(size_t layer)>& looks,
                                                  const std::function<uint64_t(size_t layer)>& bytes);

class Calibration {
 public:
  /// `needs`: by layer.
  Calibration(const LoadedModel& model, const Layers& layers, std::vector<Needs> needs,
              const std::vector<std::vector<float>>& pictures, const Device::Impl& device, ThreadPool& pool)
      : model_(model), layers_(layers), needs_(std::move(needs)), pictures_(pictures), device_(device), pool_(pool) {}

  std::vector<std::vector<size_t>> groups() const;
  /// Of the values that these layers multiply. Errors: kCorrupt (a value that is not finite, with the layer), those of
  /// planning and of `step`.
  Result<SeenValues> run(const std::vector<size_t>& group, const Progress& step) const;

 private:
  bool has_products(const std::string& input) const;
  RangeStatistics::Looks looks_of(const std::string& input) const;

  const LoadedModel& model_;
  const Layers& layers_;
  std::vector<Needs> needs_;
  const std::vector<std::vector<float>>& pictures_;
  const Device::Impl& device_;
  ThreadPool& pool_;
};

}  // namespace vireo::compress
