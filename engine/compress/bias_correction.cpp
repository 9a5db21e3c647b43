#include "compress/bias_correction.h"

#include "compress/blocks.h"
#include "compress/replace.h"

namespace vireo::compress {

std::vector<float> bias_shift(const Weight& w, const Coded& coded, const std::vector<double>& means) {
  const std::vector<double> off = rounding_errors(w, coded);
  std::vector<float> shift;
  for (int64_t r = 0; r < w.rows; ++r) {
    double sum = 0;
    for (int64_t k = 0; k < w.cols; ++k) sum += off[size_t(r * w.cols + k)] * means[size_t(k)];
    shift.push_back(float(sum));
  }
  return shift;
}

bool has_bias(const LoadedModel& model, const Layer& l) {
  const TensorView* const bias = find_tensor(model, l.module + ".bias");
  return bias != nullptr && bias->shape.size() == 1 && bias->shape[0] == l.rows;
}

Result<StoredTensor> moved_bias(const LoadedModel& model, const Layer& l, const std::vector<float>& shift) {
  const std::string name = l.module + ".bias";
  VIREO_ASSIGN(std::vector<float> values, tensor_values(model, name));
  for (size_t r = 0; r < values.size(); ++r) values[r] += shift[r];
  return as_floats(name, find_tensor(model, name)->dtype, {l.rows}, values);
}

}  // namespace vireo::compress
