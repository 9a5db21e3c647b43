// Small public functions over results: top_k, version, reading a tensor as dense floats.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/half.h"
#include "runtime/model_impl.h"

#include <vireo/capture.hpp>

namespace vireo {

const char* version() noexcept { return VIREO_VERSION; }

const char* to_string(Head h) {
  switch (h) {
    case Head::kLogits: return "logits";
    case Head::kFeatures: return "features";
    case Head::kTokens: return "tokens";
    case Head::kClassMap: return "class_map";
  }
  return "unknown";
}

const char* to_string(Scores s) {
  switch (s) {
    case Scores::kSoftmax: return "softmax";
    case Scores::kSigmoid: return "sigmoid";
  }
  return "unknown";
}

const char* to_string(Preprocess p) {
  switch (p) {
    case Preprocess::kAuto: return "auto";
    case Preprocess::kCpu: return "cpu";
    case Preprocess::kGpu: return "gpu";
  }
  return "?";
}

const char* to_string(Task t) {
  switch (t) {
    case Task::kFeatures: return "features";
    case Task::kClassification: return "classification";
    case Task::kSegmentation: return "segmentation";
  }
  return "unknown";
}

std::vector<Score> top_k(const Output& logits, int k, int item) {
  std::vector<Score> scores;
  if (!logits.data || item < 0 || item >= logits.batch || logits.cols < 1) return scores;
  const float* x = logits.data + size_t(item) * size_t(logits.rows) * size_t(logits.cols);
  std::vector<int> order(size_t(logits.cols));
  std::iota(order.begin(), order.end(), 0);
  k = std::max(0, std::min(k, logits.cols));
  // NaN sorts last, so that the order stays a strict one whatever the model produced.
  const auto before = [x](int a, int b) {
    const bool na = std::isnan(x[a]), nb = std::isnan(x[b]);
    if (na || nb) return na != nb ? nb : a < b;
    return x[a] != x[b] ? x[a] > x[b] : a < b;
  };
  std::partial_sort(order.begin(), order.begin() + k, order.end(), before);
  if (logits.scores == Scores::kSigmoid) {
    for (int i = 0; i < k; ++i)
      scores.push_back({order[size_t(i)], float(1 / (1 + std::exp(-double(x[order[size_t(i)]]))))});
    return scores;
  }
  double top = -INFINITY, sum = 0;
  for (int i = 0; i < logits.cols; ++i) top = std::max(top, double(x[i]));
  for (int i = 0; i < logits.cols; ++i) sum += std::exp(double(x[i]) - top);
  for (int i = 0; i < k; ++i)
    scores.push_back({order[size_t(i)], float(std::exp(double(x[order[size_t(i)]]) - top) / sum)});
  return scores;
}

std::vector<float> dense_floats(const TensorDesc& d, const uint8_t* from, int64_t shape[4]) {
  for (int i = 0; i < 4; ++i) shape[i] = d.shape.d[size_t(i)];
  const int64_t rows = d.shape.rows(), cols = d.shape.c(), pixels = d.shape.h() * d.shape.w();
  std::vector<float> out(size_t(d.shape.elements()));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) {
      const int64_t at =
          d.layout == Layout::kRows ? r * d.row_stride() + c : (r / pixels * cols + c) * pixels + r % pixels;
      out[size_t(r * cols + c)] = d.dtype == DType::kF16 ? half_to_float(reinterpret_cast<const uint16_t*>(from)[at])
                                                         : reinterpret_cast<const float*>(from)[at];
    }
  return out;
}

}  // namespace vireo
