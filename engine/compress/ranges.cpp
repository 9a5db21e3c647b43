#include "compress/ranges.h"

#include <algorithm>
#include <cmath>

namespace vireo::compress {
namespace {

constexpr int64_t kRowsOfAPicture = 4;

}  // namespace

const std::vector<const RangeMethod*>& range_methods() {
  static const std::vector<const RangeMethod*> all = {
#define RANGE(name) &name,
#include "compress/ranges.def"
#undef RANGE
  };
  return all;
}

const RangeMethod* find_range_method(const std::string& name) {
  for (const RangeMethod* m : range_methods())
    if (name == m->name) return m;
  return nullptr;
}

RangeCodes::RangeCodes(Range r) {
  if (r.most > r.least) scale = (r.most - r.least) / 255.f;
  zero = std::max(-128.f, std::min(127.f, std::nearbyint(-128.f - r.least / scale)));
}

double RangeCodes::rounded(double x) const {
  const double code = std::nearbyint(x / double(scale)) + double(zero);
  return (std::max(-128.0, std::min(127.0, code)) - double(zero)) * double(scale);
}

// ---- what is gathered

void Histogram::widen(float magnitude) {
  if (width_ == 0) {
    // 2^e > magnitude: all values so far were 0, whose bin stays.
    width_ = std::exp2(std::ilogb(magnitude) + 1) / kHalf;
    return;
  }
  while (double(magnitude) >= width_ * kHalf) {
    std::vector<uint64_t> wide(counts_.size(), 0);
    for (int i = -kHalf; i < kHalf; ++i)  // an arithmetic shift: [-2, 0) becomes -1
      wide[size_t((i >> 1) + kHalf)] += counts_[size_t(i + kHalf)];
    counts_ = std::move(wide);
    width_ *= 2;
  }
}

void Histogram::add(const float* x, int64_t n) {
  counts_.resize(2 * kHalf, 0);
  for (int64_t i = 0; i < n; ++i) {
    const float magnitude = std::fabs(x[i]);
    if (magnitude > 0 && (width_ == 0 || double(magnitude) >= width_ * kHalf)) widen(magnitude);
    const int bin = width_ == 0 ? 0 : int(std::floor(double(x[i]) / width_));
    ++counts_[size_t(bin + kHalf)];
  }
  values_ += uint64_t(n);
}

void RangeStatistics::add(const Rows& x) {
  for (int64_t r = 0; r < x.rows; ++r) {
    const float* const row = x.data + r * x.stride;
    for (int64_t k = 0; k < cols_; ++k)
      whole_.least = std::min(whole_.least, row[k]), whole_.most = std::max(whole_.most, row[k]);
    if (looks_.histogram) histogram_.add(row, cols_);
  }
  if (looks_.rows)
    for (int64_t i = 0; i < std::min(kRowsOfAPicture, x.rows); ++i) {
      const int64_t r = i == 0 ? 0 : (i * x.rows / kRowsOfAPicture + added_) % x.rows;
      rows_.insert(rows_.end(), x.data + r * x.stride, x.data + r * x.stride + cols_);
    }
  ++added_;
}

uint64_t RangeStatistics::bytes(int64_t cols, Looks looks, size_t pictures) {
  return (looks.histogram ? 2 * Histogram::kHalf * sizeof(uint64_t) : 0) +
         (looks.rows ? uint64_t(cols) * kRowsOfAPicture * pictures * sizeof(float) : 0);
}

// ---- the methods that look at single values

namespace {

Range min_max(const RangeStatistics& seen, const std::vector<RangeReader>&, const simd::Kernels&, ThreadPool&) {
  return seen.whole();
}

/// One value of 100,000 may lie beyond on either side, to a bin.
Range percentile(const RangeStatistics& seen, const std::vector<RangeReader>&, const simd::Kernels&, ThreadPool&) {
  constexpr double kBeyond = 1e-5;
  const Histogram& h = seen.histogram();
  const auto may = uint64_t(kBeyond * double(h.values()));
  Range r = seen.whole();
  uint64_t beyond = 0;
  for (int i = Histogram::kHalf - 1; i >= 0 && (beyond += h.count(i)) <= may; --i)
    r.most = std::min(r.most, float(i * h.width()));
  beyond = 0;
  for (int i = -Histogram::kHalf; i < 0 && (beyond += h.count(i)) <= may; ++i)
    r.least = std::max(r.least, float((i + 1) * h.width()));
  return r;
}

/// sum over values of (x - rounded x)^2, each where the middle of its bin is.
double squared_error(const Histogram& h, const RangeCodes& codes) {
  double sum = 0;
  for (int i = -Histogram::kHalf; i < Histogram::kHalf; ++i) {
    if (h.count(i) == 0) continue;
    const double x = (i + 0.5) * h.width(), off = x - codes.rounded(x);
    sum += double(h.count(i)) * off * off;
  }
  return sum;
}

Range least_squares(const RangeStatistics& seen, const std::vector<RangeReader>&, const simd::Kernels&,
                    ThreadPool& pool) {
  constexpr int kSteps = 90;  // both ends, 1 % less each
  std::vector<double> errors(kSteps);
  const auto cut = [&](int step) {
    const float by = 1.f - 0.01f * float(step);
    return Range{seen.whole().least * by, seen.whole().most * by};
  };
  pool.parallel_for(kSteps, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) errors[size_t(i)] = squared_error(seen.histogram(), RangeCodes(cut(int(i))));
  });
  return cut(int(std::min_element(errors.begin(), errors.end()) - errors.begin()));
}

}  // namespace

const RangeMethod kMinMaxRange = {"minmax",
                                  "from the least to the largest value that the pictures give",
                                  "min-max, compressed-tensors static",
                                  {false, false},
                                  min_max};

const RangeMethod kPercentileRange = {"percentile",
                                      "one value of 100,000 may lie beyond on either side",
                                      "percentile 0.99999, as in FQ-ViT (Lin et al. 2022, arXiv 2111.13824)",
                                      {true, false},
                                      percentile};

const RangeMethod kMseRange = {"mse",
                               "of 90 ranges, each 1 % smaller, that with the least squared error of the values",
                               "OMSE (Choukroun et al. 2019, arXiv 1902.06822), steps as in FQ-ViT",
                               {true, false},
                               least_squares};

}  // namespace vireo::compress
