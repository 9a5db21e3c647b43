// How far a model's answer moves when some of its weights are compressed and the others are not.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "compress/encode.h"
#include "compress/runner.h"

namespace vireo::compress {

constexpr size_t kSensitivityPictures = 8;
constexpr double kSensitivityWork = 0.012;  // seconds of a picture and a layer, in compress.cpp's terms

/// Opens the model from tensors in memory and files, as its folder would be opened. Errors: those of LoadedModel.
Result<LoadedModel> open_coded(const LoadedModel& model, const std::string& config,
                               const std::vector<TensorView>& views);

/// Layers that are coded, by index, those of one node (query, key and value) together.
std::vector<std::vector<size_t>> layers_by_node(const Layers& layers, const std::vector<Scheme>& schemes);

/// Mean KL(p || q) over rows of scores, p and q by softmax, in double precision.
double mean_kl(const float* p, const float* q, int64_t rows, int64_t cols, int64_t stride);

/// How far an answer has moved: mean_kl of scores (`classes`); else the squared difference over the square.
double answer_difference(bool classes, const float* before, const float* after, int64_t rows, int64_t cols,
                         int64_t stride);

class Sensitivity {
 public:
  Sensitivity(const LoadedModel& model, const Layers& layers, const std::string& config,
              const std::vector<std::vector<StoredTensor>>& coded, const Device::Impl& device, ThreadPool& pool)
      : model_(model), layers_(layers), config_(config), coded_(coded), device_(device), pool_(pool) {}

  /// Runs the original on the first `count` pictures.
  Result<void> begin(const std::vector<std::vector<float>>& pictures, size_t count, Head head);
  /// KL of the answers with these layers alone compressed; of a model without classes the squared difference of its
  /// answers over their square.
  Result<double> of(const std::vector<size_t>& only);

 private:
  const LoadedModel& model_;
  const Layers& layers_;
  const std::string& config_;
  const std::vector<std::vector<StoredTensor>>& coded_;
  const Device::Impl& device_;
  ThreadPool& pool_;
  std::vector<const std::vector<float>*> pictures_;
  std::vector<std::vector<float>> answers_;
  Head head_ = Head::kLogits;
};

}  // namespace vireo::compress
