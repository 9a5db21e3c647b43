// Attention with its operands and probabilities on grids, head by head.
#include <algorithm>
#include <cmath>

#include "ops/rounded.h"

namespace vireo {
namespace {

constexpr int kSoftmaxBits = 16;             // of the probabilities that Shiftmax gives
constexpr double kLeastScoreStep = 0.03125;  // finer ones gain nothing and would overflow 31 bits in long rows

/// Rounds `rows` rows that lie one behind another: each by itself, or all at once.
void round_by(const Rounding& r, float* x, int64_t rows, int64_t cols) {
  if (r.grid == nullptr) return;
  if (r.tensor) return r.grid->round(x, rows * cols, r.bits);
  for (int64_t i = 0; i < rows; ++i) r.grid->round(x + i * cols, cols, r.bits);
}

double largest_magnitude(const float* x, int64_t n) {
  double most = 0;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, std::fabs(double(x[i])));
  return most;
}

void softmax_row(float* row, int64_t n) {
  const float most = *std::max_element(row, row + n);
  double all = 0;
  for (int64_t j = 0; j < n; ++j) row[j] = std::exp(row[j] - most), all += double(row[j]);
  for (int64_t j = 0; j < n; ++j) row[j] = float(double(row[j]) / all);
}

/// Scores [n, n] to probabilities, as codes throughout.
void shiftmax_rows(float* scores, int64_t n, const IntegerFunction& how) {
  const double top = double((1 << (how.bits - 1)) - 1);
  std::vector<int32_t> codes(static_cast<size_t>(n)), shares(static_cast<size_t>(n));
  const double all = how.tensor ? largest_magnitude(scores, n * n) : 0;
  for (int64_t i = 0; i < n; ++i) {
    float* const row = scores + i * n;
    const double step = std::max(kLeastScoreStep, (how.tensor ? all : largest_magnitude(row, n)) / top);
    for (int64_t j = 0; j < n; ++j) codes[size_t(j)] = int32_t(nearest_code(double(row[j]), step, -top, top));
    shiftmax(codes.data(), n, codes_of_one(step), kSoftmaxBits, shares.data());
    for (int64_t j = 0; j < n; ++j) row[j] = float(shares[size_t(j)]) / float(1 << (kSoftmaxBits - 1));
  }
}

}  // namespace

void RoundedAttention::run_head(int64_t head, std::vector<float>* probabilities) const {
  const int64_t n = tokens;
  std::vector<float> q, k, v;
  const auto take = [&](int64_t from, int64_t wide, std::vector<float>* to) {
    for (int64_t t = 0; t < n; ++t) to->insert(to->end(), x + t * ldx + from, x + t * ldx + from + wide);
  };
  take(head * dim, dim, &q), take((heads + head) * dim, dim, &k), take(2 * heads * dim + head * vdim, vdim, &v);
  // Codes, and weights of 0, would hide what is no number.
  const auto none = [&] {
    for (int64_t i = 0; i < n; ++i) std::fill_n(out + i * ldo + head * vdim, vdim, NAN);
  };
  if (seen == nullptr &&
      !(all_numbers(q.data(), n * dim) && all_numbers(k.data(), n * dim) && all_numbers(v.data(), n * vdim)))
    return none();
  if (seen == nullptr && operands.grid != nullptr) {
    round_by(operands, q.data(), n, dim), round_by(operands, k.data(), n, dim);
    std::vector<float> column(static_cast<size_t>(n));
    for (int64_t c = 0; c < vdim; ++c) {
      for (int64_t t = 0; t < n; ++t) column[size_t(t)] = v[size_t(t * vdim + c)];
      operands.grid->round(column.data(), n, operands.bits);
      for (int64_t t = 0; t < n; ++t) v[size_t(t * vdim + c)] = column[size_t(t)];
    }
  }
  std::vector<float>& p = *probabilities;
  p.assign(size_t(n * n), 0.f);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (int64_t c = 0; c < dim; ++c) sum += q[size_t(i * dim + c)] * k[size_t(j * dim + c)];
      p[size_t(i * n + j)] = sum * float(scale) + (key_bias ? key_bias[j] : 0.f);
    }
  if (seen == nullptr && !all_numbers(p.data(), n * n)) return none();
  if (seen == nullptr && integer_softmax.bits > 0) shiftmax_rows(p.data(), n, integer_softmax);
  else
    for (int64_t i = 0; i < n; ++i) softmax_row(p.data() + i * n, n);
  if (seen == nullptr && softmax.grid != nullptr) {
    if (!softmax.grid->fitted()) round_by(softmax, p.data(), n, n);
    else
      for (int64_t i = 0; i < n; ++i) softmax.grid->round_fitted(p.data() + i * n, n, fit, softmax.bits);
  }
  for (int64_t i = 0; i < n; ++i) {
    float* const o = out + i * ldo + head * vdim;
    std::fill_n(o, vdim, 0.f);
    for (int64_t j = 0; j < n; ++j) {
      const float w = p[size_t(i * n + j)];
      if (w == 0) continue;
      for (int64_t c = 0; c < vdim; ++c) o[c] += w * v[size_t(j * vdim + c)];
    }
  }
}

void RoundedAttention::run(ThreadPool& pool) const {
  std::vector<std::vector<float>> probabilities(static_cast<size_t>(heads));
  pool.parallel_for(heads, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t h = begin; h < end; ++h) {
      run_head(h, &probabilities[size_t(h)]);
      if (seen == nullptr) probabilities[size_t(h)] = {};
    }
  });
  if (seen != nullptr) *seen = std::move(probabilities);
}

}  // namespace vireo
