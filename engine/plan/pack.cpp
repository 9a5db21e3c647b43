// pack: reads a constant row by row and writes it as a kernel wants it. int8 is quantised here: per output channel,
// symmetric, s = max|w| / 127, q = round_half_even(w / s).
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "plan/plan.h"

namespace vireo {
namespace {

constexpr int64_t kBlock = 32;  // rows read at once: one CPU panel, and enough to write whole cache lines k-major

/// Rows of the constant, dense, permuted and checked.
class RowReader {
 public:
  RowReader(const PlanConst& c, const Constant& source) : const_(c), source_(source) {
    const auto& p = c.pack.permute;
    cols_ = source.cols();
    if (p[0]) cols_ = int64_t(p[1]) * p[2] * (c.pack.pad_channels ? round_up(p[0], 4) : p[0]);
    raw_.resize(size_t(kBlock * source.cols()));
    rows_.resize(size_t(kBlock * cols_));
  }

  int64_t cols() const { return cols_; }

  Result<const float*> read(int64_t first, int64_t count) {
    source_.read(first, count, raw_.data());
    const int64_t n = count * source_.cols();
    for (int64_t i = 0; i < n; ++i)
      if (!std::isfinite(raw_[size_t(i)]))
        return fail(ErrorCode::kCorrupt, "weight '{}' holds {} at [{}, {}]; the checkpoint is damaged or training diverged", const_.name,
                    raw_[size_t(i)], first + i / source_.cols(), i % source_.cols());
    const auto& p = const_.pack.permute;
    if (!p[0]) return static_cast<const float*>(raw_.data());
    const int64_t cin = p[0], taps = int64_t(p[1]) * p[2], step = cols_ / taps;
    std::fill(rows_.begin(), rows_.end(), 0.f);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t c = 0; c < cin; ++c)
        for (int64_t t = 0; t < taps; ++t) rows_[size_t(r * cols_ + t * step + c)] = raw_[size_t((r * cin + c) * taps + t)];
    return static_cast<const float*>(rows_.data());
  }

 private:
  const PlanConst& const_;
  const Constant& source_;
  int64_t cols_;
  std::vector<float> raw_, rows_;
};

Result<void> check_half(const PlanConst& c, const float* rows, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    if (std::fabs(rows[i]) > 65504.f)
      return fail(ErrorCode::kUnsupported, "weight '{}' holds {}, beyond fp16's 65504; use --precision fp32", c.name, rows[i]);
  return {};
}

Result<void> pack_gpu_matrix(const PlanConst& c, const Constant& source, uint8_t* out) {
  RowReader reader(c, source);
  const int64_t n = source.rows(), k = reader.cols(), n4 = round_up(n, 4);
  std::memset(out, 0, size_t(c.pack.bytes));
  float* const scales = reinterpret_cast<float*>(out + c.pack.scales_offset);
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t count = std::min(kBlock, n - first);
    VIREO_ASSIGN(const float* rows, reader.read(first, count));
    switch (c.pack.dtype) {
      case DType::kF16: {
        VIREO_TRY(check_half(c, rows, count * k));
        auto* h = reinterpret_cast<uint16_t*>(out);
        for (int64_t i = 0; i < k; ++i)
          for (int64_t r = 0; r < count; ++r) h[i * n4 + first + r] = float_to_half(rows[r * k + i]);
        break;
      }
      case DType::kI8: {
        for (int64_t r = 0; r < count; ++r) scales[first + r] = simd::int8_scale(rows + r * k, k);
        auto* q = reinterpret_cast<int8_t*>(out);
        for (int64_t i = 0; i < k; ++i)
          for (int64_t r = 0; r < count; ++r) q[i * n4 + first + r] = simd::int8_quantise(rows[r * k + i], scales[first + r]);
        break;
      }
      default: {
        auto* f = reinterpret_cast<float*>(out);
        for (int64_t i = 0; i < k; ++i)
          for (int64_t r = 0; r < count; ++r) f[i * n4 + first + r] = rows[r * k + i];
      }
    }
  }
  return {};
}

Result<void> pack_cpu_panels(const PlanConst& c, const Constant& source, uint8_t* out) {
  RowReader reader(c, source);
  const simd::WeightType type = c.pack.dtype == DType::kF32   ? simd::WeightType::kF32
                                : c.pack.dtype == DType::kF16 ? simd::WeightType::kF16
                                                              : simd::WeightType::kI8;
  float* const scales = c.pack.scales_offset ? reinterpret_cast<float*>(out + c.pack.scales_offset) : nullptr;
  for (int64_t first = 0; first < source.rows(); first += kBlock) {
    const int64_t count = std::min(kBlock, source.rows() - first);
    VIREO_ASSIGN(const float* rows, reader.read(first, count));
    if (type == simd::WeightType::kF16) VIREO_TRY(check_half(c, rows, count * reader.cols()));
    simd::pack_weight(rows, first, count, source.rows(), reader.cols(), type, out, scales);
  }
  return {};
}

Result<void> pack_rows(const PlanConst& c, const Constant& source, uint8_t* out) {
  RowReader reader(c, source);
  const int64_t ld = round_up(source.cols(), 4);
  auto* f = reinterpret_cast<float*>(out);
  std::memset(out, 0, size_t(c.pack.bytes));
  for (int64_t first = 0; first < source.rows(); first += kBlock) {
    const int64_t count = std::min(kBlock, source.rows() - first);
    VIREO_ASSIGN(const float* rows, reader.read(first, count));
    for (int64_t r = 0; r < count; ++r) std::copy_n(rows + r * source.cols(), source.cols(), f + (first + r) * ld);
  }
  return {};
}

}  // namespace

Result<void> pack_constant(const Plan& plan, const Graph& graph, size_t index, uint8_t* out) {
  const PlanConst& c = plan.consts[index];
  const Constant& source = *graph.value(c.id).constant;
  switch (c.pack.pack) {
    case Pack::kVector:
    case Pack::kRows: return pack_rows(c, source, out);
    case Pack::kGpuMatrix: return pack_gpu_matrix(c, source, out);
    case Pack::kCpuPanels: return pack_cpu_panels(c, source, out);
  }
  return {};
}

}  // namespace vireo
