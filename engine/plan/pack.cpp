// pack: reads a constant row by row and writes it as a kernel wants it. Codes that the checkpoint holds are written
// unchanged; floats that become codes are quantised on the way (plan/quantise.h).
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/finite.h"
#include "base/half.h"
#include "plan/plan.h"
#include "plan/quantise.h"
#include "simd/winograd_weights.h"

namespace vireo {
namespace {

constexpr int64_t kBlock = 32;  // rows read at once: one CPU panel, and enough to write whole cache lines k-major

/// Rows of the constant, dense, with the zeros of other groups, permuted and checked.
class RowReader {
 public:
  RowReader(const PlanConst& c, const Constant& source)
      : const_(c), source_(source), wide_(source.cols() * c.pack.groups) {
    const auto& p = c.pack.permute;
    cols_ = wide_;
    if (p[0]) cols_ = int64_t(p[1]) * p[2] * (c.pack.pad_channels ? round_up(p[0], 4) : p[0]);
    raw_.resize(size_t(kBlock * wide_));
    rows_.resize(size_t(kBlock * cols_));
    codes_ = source.grid().coded() && c.pack.grid.coded();
    if (!codes_) return;
    const int64_t groups = source.grid().groups(source.cols());
    codes_buffer_.resize(size_t(kBlock * source.cols()));
    scales_.resize(size_t(kBlock * groups));
    zeros_.assign(size_t(kBlock * groups), 0);
  }

  /// True if read() gives the checkpoint's codes as numbers; then these are the scales and zero points of the rows read
  /// last, [rows][groups of the stored grid].
  bool codes() const { return codes_; }
  const float* scales() const { return scales_.data(); }
  const int8_t* zeros() const { return zeros_.data(); }

  int64_t cols() const { return cols_; }

  Result<const float*> read(int64_t first, int64_t count) {
    if (codes_) {  // as small numbers, so that they take the same ways
      source_.read_codes(first, count, codes_buffer_.data(), scales_.data(), zeros_.data());
      std::copy_n(codes_buffer_.data(), count * source_.cols(), raw_.data());
      // A file's scales were looked at when it was opened; what was folded into them was not.
      for (int64_t i = 0, each = source_.grid().groups(source_.cols()); i < count * each; ++i)
        if (!std::isfinite(scales_[size_t(i)] * 256.f))
          return fail(ErrorCode::kCorrupt,
                      "weight '{}' has the scale {} in row {}; the checkpoint is damaged or training diverged",
                      const_.name, scales_[size_t(i)], first + i / each);
    } else {
      source_.read(first, count, raw_.data());
    }
    const int64_t n = count * source_.cols();
    for (int64_t i = all_finite(raw_.data(), size_t(n)) ? n : 0; i < n; ++i)
      if (!std::isfinite(raw_[size_t(i)]))
        return fail(ErrorCode::kCorrupt,
                    "weight '{}' holds {} at [{}, {}]; the checkpoint is damaged or training diverged", const_.name,
                    raw_[size_t(i)], first + i / source_.cols(), i % source_.cols());
    if (const_.pack.groups > 1) spread_groups(first, count);
    const auto& p = const_.pack.permute;
    if (!p[0]) return static_cast<const float*>(raw_.data());
    const int64_t cin = p[0], taps = int64_t(p[1]) * p[2], step = cols_ / taps;
    std::fill(rows_.begin(), rows_.end(), 0.f);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t c = 0; c < cin; ++c)
        for (int64_t t = 0; t < taps; ++t)
          rows_[size_t(r * cols_ + t * step + c)] = raw_[size_t((r * cin + c) * taps + t)];
    return static_cast<const float*>(rows_.data());
  }

 private:
  /// Moves every row to its group's place in a row of all input channels; from the last one on, because they grow.
  void spread_groups(int64_t first, int64_t count) {
    const int64_t own = source_.cols(), rows_per_group = source_.rows() / const_.pack.groups;
    for (int64_t r = count - 1; r >= 0; --r) {
      const std::vector<float> row(raw_.begin() + r * own, raw_.begin() + (r + 1) * own);
      std::fill_n(raw_.begin() + r * wide_, wide_, 0.f);
      std::copy(row.begin(), row.end(), raw_.begin() + r * wide_ + (first + r) / rows_per_group * own);
    }
  }

  const PlanConst& const_;
  const Constant& source_;
  const int64_t wide_;  // columns of all groups, in the source's order
  int64_t cols_;
  std::vector<float> raw_, rows_;
  bool codes_ = false;
  std::vector<int8_t> codes_buffer_, zeros_;
  std::vector<float> scales_;
};

/// Rows as codes of at most 8 bits with their scales: one for each row, or for each of its groups of columns.
class Quantiser {
 public:
  Quantiser(const PlanConst& c, int64_t cols)
      : pack_(c.pack), cols_(cols), groups_(c.pack.grid.groups(cols)), row_(size_t(cols)), q_(size_t(kBlock * cols)) {}

  /// Scales and zero points [count][groups]; the latter are written where the grid has them.
  int8_t* run(const RowReader& reader, const float* rows, int64_t count, float* scales, int8_t* zeros) {
    if (reader.codes()) {
      for (int64_t i = 0; i < count * cols_; ++i) q_[size_t(i)] = int8_t(rows[i]);
      std::copy_n(reader.scales(), count * groups_, scales);
      if (pack_.grid.zero_points && zeros != nullptr) std::copy_n(reader.zeros(), count * groups_, zeros);
      return q_.data();
    }
    for (int64_t r = 0; r < count; ++r) {  // floats: Vireo's own int8, a scale for each row
      row_.assign(rows + r * cols_, rows + (r + 1) * cols_);
      scales[r] = own(&q_[size_t(r * cols_)]);
    }
    return q_.data();
  }

 private:
  float own(int8_t* q) {
    const bool permuted = pack_.permute[0] != 0;
    if (pack_.centre) centre_row(row_.data(), cols_);
    const float scale = quantise_row(row_.data(), cols_, q);
    const int64_t kernels =
        pack_.taps ? cols_ / pack_.taps : 0;  // (cin, taps), or (taps, cin) where the operand is NHWC
    for (int64_t c = 0; c < kernels; ++c) {
      const int64_t start = permuted ? c : c * pack_.taps;
      balance_roundings(&row_[size_t(start)], scale, pack_.taps, permuted ? kernels : 1, q + start);
    }
    return scale;
  }

  const PackedConst& pack_;
  int64_t cols_, groups_;
  std::vector<float> row_;
  std::vector<int8_t> q_;
};

/// Rows of 8 bits among rows of 4 (PackedConst::wide_offset): takes their codes apart as they come, writes the high
/// parts into the constant and leaves the low ones in the codes' place.
class WideRows {
 public:
  WideRows(const PackedConst& pack, const Constant& source, int64_t k, uint8_t* out)
      : pack_(pack), source_(source), k_(k), words_(div_up(k, 8)) {
    if (!pack.wide_rows()) return;
    const int64_t rows = round_up(source.rows(), pack.pack == Pack::kGpuMatrix ? pack.panel : simd::kPanel);
    table_ = reinterpret_cast<uint32_t*>(out + pack.wide_offset);
    high_ = table_ + rows;
    std::fill(table_, high_, ~0u);
    std::fill(high_, reinterpret_cast<uint32_t*>(out + pack.bytes), 0u);
  }

  /// `codes`: of rows [first, first + count), dense.
  void take(int64_t first, int64_t count, int8_t* codes) {
    for (int64_t r = 0; table_ != nullptr && r < count; ++r) {
      if (!source_.wide(first + r)) continue;
      table_[first + r] = uint32_t(found_ * (pack_.pack == Pack::kGpuMatrix ? words_ : 1));
      uint32_t* const to = high_ + found_++ * words_;
      for (int64_t i = 0; i < k_; ++i) {
        int8_t& code = codes[r * k_ + i];
        to[i / 8] |= uint32_t(high_part(code)) << (i % 4 * 8 + i / 4 % 2 * 4);
        code = low_part(code);
      }
    }
  }

 private:
  const PackedConst& pack_;
  const Constant& source_;
  const int64_t k_, words_;
  uint32_t *table_ = nullptr, *high_ = nullptr;
  int64_t found_ = 0;
};

Result<void> check_half(const PlanConst& c, const float* rows, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    if (std::fabs(rows[i]) > 65504.f)
      return fail(ErrorCode::kInvalidArgument, "weight '{}' holds {}, beyond fp16's 65504; use --precision fp32",
                  c.name, rows[i]);
  return {};
}

/// Writes the scales of rows [first, first + count) as PackedConst::by_group() says: [groups][n to whole panels], then
/// the offsets -zero * scale.
void store_group_scales(const PackedConst& p, int64_t first, int64_t count, int64_t n, int64_t groups,
                        const float* scales, const int8_t* zeros, float* to) {
  const int64_t ld = round_up(n, simd::kPanel);
  for (int64_t r = 0; r < count; ++r)
    for (int64_t g = 0; g < groups; ++g) {
      const float scale = scales[r * groups + g];
      to[g * ld + first + r] = scale;
      if (p.grid.zero_points) to[(groups + g) * ld + first + r] = -float(zeros[r * groups + g]) * scale;
    }
}

Result<void> pack_gpu_matrix(const PlanConst& c, const Constant& source, uint8_t* out) {
  RowReader reader(c, source);
  const int64_t n = source.rows(), k = reader.cols();
  const int64_t panel = c.pack.panel ? c.pack.panel : round_up(n, 4);
  // Where column j of row 0 lies; its next row is `panel` elements on.
  const auto column = [&](int64_t j) { return j / panel * round_up(k, 4) * panel + j % panel; };
  std::memset(out, 0, size_t(c.pack.bytes));
  float* const scales = reinterpret_cast<float*>(out + c.pack.scales_offset);
  Quantiser quantiser(c, k);
  WideRows wide(c.pack, source, k, out);
  std::vector<float> group_scales;
  std::vector<int8_t> group_zeros;
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t count = std::min(kBlock, n - first);
    VIREO_ASSIGN(const float* rows, reader.read(first, count));
    std::array<int64_t, kBlock> at{};
    for (int64_t r = 0; r < count; ++r) at[size_t(r)] = column(first + r);
    const auto store = [&](auto* to, auto value) {
      for (int64_t i = 0; i < k; ++i)
        for (int64_t r = 0; r < count; ++r) to[at[size_t(r)] + i * panel] = value(r * k + i);
    };
    switch (c.pack.dtype) {
      case DType::kF16:
        VIREO_TRY(check_half(c, rows, count * k));
        store(reinterpret_cast<uint16_t*>(out), [&](int64_t i) { return float_to_half(rows[i]); });
        break;
      case DType::kI8: {
        if (!c.pack.staged) {
          const int8_t* q = quantiser.run(reader, rows, count, scales + first, nullptr);
          store(reinterpret_cast<int8_t*>(out), [&](int64_t i) { return q[i]; });
          break;
        }
        const int64_t groups = c.pack.grid.groups(k);
        group_scales.resize(size_t(kBlock * groups)), group_zeros.resize(size_t(kBlock * groups));
        int8_t* q = quantiser.run(reader, rows, count, group_scales.data(), group_zeros.data());
        wide.take(first, count, q);
        for (int64_t r = 0; r < count; ++r)
          for (int64_t g = 0; g < groups; ++g) {
            const int64_t row = (first + r) / panel * c.pack.scale_rows + g, to = row * panel + (first + r) % panel;
            const float scale = group_scales[size_t(r * groups + g)];
            scales[to] = scale;
            if (c.pack.grid.zero_points)
              scales[round_up(n, panel) * c.pack.scale_rows + to] = -float(group_zeros[size_t(r * groups + g)]) * scale;
          }
        if (!c.pack.nibbles()) {
          store(reinterpret_cast<int8_t*>(out), [&](int64_t i) { return q[i]; });
          break;
        }
        for (int64_t r = 0; r < count; ++r)
          for (int64_t i = 0; i < k; ++i) {
            const int64_t element = at[size_t(r)] + i * panel;
            out[element / 2] |= uint8_t((int(q[r * k + i]) + 8) << (element % 2 * 4));  // zeros before
          }
        break;
      }
      default: store(reinterpret_cast<float*>(out), [&](int64_t i) { return rows[i]; });
    }
  }
  return {};
}

/// PackedConst::dots.
Result<void> pack_gpu_dots(const PlanConst& c, const Constant& source, uint8_t* out) {
  RowReader reader(c, source);
  const int64_t n = source.rows(), k = reader.cols(), ld = round_up(n, 4);
  std::memset(out, 0, size_t(c.pack.bytes));
  auto* const scales = reinterpret_cast<float*>(out + c.pack.scales_offset);
  auto* const sums = reinterpret_cast<int32_t*>(scales + ld);
  Quantiser quantiser(c, k);
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t count = std::min(kBlock, n - first);
    VIREO_ASSIGN(const float* rows, reader.read(first, count));
    const int8_t* q = quantiser.run(reader, rows, count, scales + first, nullptr);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t i = 0; i < k; ++i) {
        out[(i / 4 * ld + first + r) * 4 + i % 4] = uint8_t(q[r * k + i]);
        if (c.pack.column_sums) sums[first + r] += q[r * k + i];
      }
  }
  return {};
}

/// Scales and integers as Pack::kCpuInteger has them.
void store_integer_scales(const PackedConst& p, int64_t first, int64_t count, int64_t n, int64_t k, const float* scales,
                          const int8_t* zeros, const int8_t* codes, float* to) {
  const int64_t ld = round_up(n, simd::kPanel), groups = p.grid.groups(k);
  const int64_t span = p.grid.scope == Scope::kGroup ? p.grid.group : k;
  auto* const integers = reinterpret_cast<int32_t*>(to + groups * ld);
  int32_t* const sums = integers + (p.grid.zero_points ? groups * ld : 0);
  for (int64_t r = 0; r < count; ++r)
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t at = g * ld + first + r;
      const int32_t zero = p.grid.zero_points ? zeros[r * groups + g] : 0;
      to[at] = scales[r * groups + g];
      if (p.grid.zero_points) integers[at] = zero;
      if (!p.column_sums) continue;
      int32_t sum = 0;
      for (int64_t i = g * span; i < std::min(k, (g + 1) * span); ++i) sum += codes[r * k + i] - zero;
      sums[at] = sum;
    }
}

Result<void> pack_cpu_panels(const PlanConst& c, const Constant& source, uint8_t* out) {
  RowReader reader(c, source);
  const int64_t n = source.rows(), k = reader.cols(), groups = c.pack.grid.groups(k);
  if (!c.pack.grid.coded()) {
    for (int64_t first = 0; first < n; first += kBlock) {
      const int64_t count = std::min(kBlock, n - first);
      VIREO_ASSIGN(const float* rows, reader.read(first, count));
      if (c.pack.dtype == DType::kF16) VIREO_TRY(check_half(c, rows, count * k));
      simd::pack_weight(rows, first, count, n, k, c.pack.dtype, out, nullptr);
    }
    return {};
  }
  Quantiser quantiser(c, k);
  float* const to = reinterpret_cast<float*>(out + c.pack.scales_offset);
  std::fill(to, reinterpret_cast<float*>(out + c.pack.bytes), 0.f);
  WideRows wide(c.pack, source, k, out);
  std::vector<float> scales(size_t(kBlock * groups));
  std::vector<int8_t> zeros(size_t(kBlock * groups));
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t count = std::min(kBlock, n - first);
    VIREO_ASSIGN(const float* rows, reader.read(first, count));
    int8_t* q = quantiser.run(reader, rows, count, scales.data(), zeros.data());
    if (c.pack.pack == Pack::kCpuInteger)
      store_integer_scales(c.pack, first, count, n, k, scales.data(), zeros.data(), q, to);
    else if (c.pack.by_group()) store_group_scales(c.pack, first, count, n, groups, scales.data(), zeros.data(), to);
    else std::copy_n(scales.data(), count, to + first);
    wide.take(first, count, q);
    if (c.pack.pack == Pack::kCpuInteger) simd::pack_weight_integer(q, first, count, n, k, out, c.pack.nibbles());
    else if (c.pack.nibbles()) simd::pack_weight_i4(q, first, count, n, k, out);
    else simd::pack_weight_i8(q, first, count, n, k, out);
  }
  return {};
}

Result<void> pack_cpu_winograd(const PlanConst& c, const Constant& source, uint8_t* out) {
  RowReader reader(c, source);
  const int64_t n = source.rows();
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t count = std::min(kBlock, n - first);
    VIREO_ASSIGN(const float* rows, reader.read(first, count));
    simd::pack_winograd(rows, first, count, reader.cols() / 9, reinterpret_cast<float*>(out));
  }
  return {};
}

/// To nearest even, once: a float between, rounded to nearest as well, could move the number to the wrong side of the
/// middle of two halves, so that one is truncated, its last bit saying whether something was cut off.
uint16_t half_of(double x) {
  float f = float(x);
  if (double(f) == x) return float_to_half(f);
  const uint32_t beyond = std::fabs(double(f)) > std::fabs(x) ? 1 : 0;
  f = bits_to_float((float_to_bits(f) - beyond) | 1);
  return float_to_half(f);
}

Result<void> pack_gpu_winograd(const PlanConst& c, const Constant& source, uint8_t* out) {
  RowReader reader(c, source);
  const int64_t n = source.rows(), channels = reader.cols() / 9, panel = c.pack.panel, step = c.pack.step;
  const int64_t trips = div_up(channels, step);
  std::memset(out, 0, size_t(c.pack.bytes));
  const auto store = [&](auto* to, auto value) -> Result<void> {
    for (int64_t first = 0; first < n; first += kBlock) {
      const int64_t count = std::min(kBlock, n - first);
      VIREO_ASSIGN(const float* rows, reader.read(first, count));
      for (int64_t i = 0; i < channels; ++i)
        for (int64_t r = 0; r < count; ++r) {
          double u[simd::kWinogradProducts];
          simd::winograd_weights(rows + r * 9 * channels + i, channels, u);
          if (c.pack.dtype == DType::kF16)
            for (double each : u)
              if (const float f = float(each); std::fabs(f) > 65504.f) VIREO_TRY(check_half(c, &f, 1));
          const int64_t row = first + r, trip = row / panel * trips + i / step;
          for (int64_t p = 0; p < simd::kWinogradProducts; ++p)
            to[((trip * simd::kWinogradProducts + p) * step + i % step) * panel + row % panel] = value(u[p]);
        }
    }
    return {};
  };
  if (c.pack.dtype == DType::kF16) return store(reinterpret_cast<uint16_t*>(out), [](double u) { return half_of(u); });
  return store(reinterpret_cast<float*>(out), [](double u) { return float(u); });
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
  return no_throw([&]() -> Result<void> {  // it runs on the pool's threads, out of which nothing may be thrown
    switch (c.pack.pack) {
      case Pack::kVector:
      case Pack::kRows: return pack_rows(c, source, out);
      case Pack::kGpuMatrix: return c.pack.dots ? pack_gpu_dots(c, source, out) : pack_gpu_matrix(c, source, out);
      case Pack::kCpuInteger:
      case Pack::kCpuPanels: return pack_cpu_panels(c, source, out);
      case Pack::kCpuWinograd: return pack_cpu_winograd(c, source, out);
      case Pack::kGpuWinograd: return pack_gpu_winograd(c, source, out);
    }
    return {};
  });
}

}  // namespace vireo
