// Similarity-aware ranges (Liu et al. 2021): what counts is not each value but what the linears behind them answer. Of
// ranges from half to 1.2 times the values' own, the one for which the answers of rounded rows correlate best with
// those of the rows themselves.
#include <algorithm>
#include <cmath>
#include <new>

#include "base/aligned.h"
#include "compress/ranges.h"

namespace vireo::compress {
namespace {

constexpr int kPearsonSteps = 71;
constexpr float kPearsonFrom = 0.5f, kPearsonStep = 0.01f;

/// A weight as the CPU's matrix product reads it.
struct Packed {
  AlignedBuffer panels;
  int64_t rows;
};

/// x [n, k] times all weights, side by side.
void multiply(const std::vector<float>& x, int64_t k, const std::vector<Packed>& weights, int64_t wide,
              const simd::Kernels& kernels, ThreadPool& pool, std::vector<float>* out) {
  const int64_t stride = round_up(k, 4), n = int64_t(x.size()) / stride;
  out->assign(size_t(n * wide), 0.f);
  int64_t at = 0;
  for (const Packed& w : weights) {
    simd::GemmArgs product;
    product.a = x.data(), product.lda = stride;
    product.m = n, product.n = w.rows, product.k = k;
    product.b = w.panels.data();
    product.out = out->data() + at, product.ldo = wide;
    run_kernel(kernels.gemm, product, pool);
    at += round_up(w.rows, 4);
  }
}

/// Pearson's correlation of all answers, less what falls to 1: differences of order 1e-6 decide, so the sums are those
/// of deviations from the means, in double precision.
double correlation(const std::vector<float>& a, const std::vector<float>& b) {
  double mean_a = 0, mean_b = 0;
  for (size_t i = 0; i < a.size(); ++i) mean_a += double(a[i]), mean_b += double(b[i]);
  mean_a /= double(a.size()), mean_b /= double(b.size());
  double aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = double(a[i]) - mean_a, y = double(b[i]) - mean_b;
    aa += x * x, bb += y * y, ab += x * y;
  }
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0;
}

Range pearson(const RangeStatistics& seen, const std::vector<RangeReader>& readers, const simd::Kernels& kernels,
              ThreadPool& pool) {
  const int64_t k = seen.cols(), stride = round_up(k, 4), n = int64_t(seen.rows().size()) / std::max<int64_t>(k, 1);
  if (n == 0 || readers.empty()) return seen.whole();
  std::vector<Packed> weights;
  int64_t wide = 0;
  for (const RangeReader& r : readers) {
    Packed p{AlignedBuffer(simd::packed_weight_bytes(r.rows, k, DType::kF32)), r.rows};
    if (!p.panels) throw std::bad_alloc();
    simd::pack_weight(r.weight, 0, r.rows, r.rows, k, DType::kF32, p.panels.data(), nullptr);
    weights.push_back(std::move(p));
    wide += round_up(r.rows, 4);
  }
  std::vector<float> rows(size_t(n * stride), 0.f), rounded = rows, answers, candidate;
  for (int64_t r = 0; r < n; ++r) std::copy_n(seen.rows().data() + r * k, k, rows.data() + r * stride);
  multiply(rows, k, weights, wide, kernels, pool, &answers);
  Range best = seen.whole();
  double most = -INFINITY;
  for (int i = 0; i < kPearsonSteps; ++i) {
    const float by = kPearsonFrom + kPearsonStep * float(i);
    const Range range{seen.whole().least * by, seen.whole().most * by};
    const RangeCodes codes(range);
    pool.parallel_for(n, 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t at = begin * stride; at < end * stride; ++at)
        rounded[size_t(at)] = float(codes.rounded(double(rows[size_t(at)])));
    });
    multiply(rounded, k, weights, wide, kernels, pool, &candidate);
    if (const double like = correlation(answers, candidate); like > most) most = like, best = range;
  }
  return best;
}

}  // namespace

const RangeMethod kPearsonRange = {"pearson",
                                   "of 71 ranges from half to 1.2 times that of the values, the one for which the "
                                   "linears' answers correlate best with those in fp32",
                                   "similarity-aware quantisation (Liu et al. 2021, arXiv 2106.14156)",
                                   {false, true},
                                   pearson};

}  // namespace vireo::compress
