#include "ops/rounded.h"

#include <algorithm>
#include <cmath>

namespace vireo {
namespace {

constexpr int kGeluBits = 8;                  // of ShiftGELU's sigmoid
constexpr double kLeastGeluStep = 0.0078125;  // finer ones gain nothing and would overflow 31 bits

/// Calls run(row, codes of it, their step) for every row.
template <typename Run>
void for_codes(const FloatRows& x, const IntegerFunction& how, double least_step, const Run& run) {
  const double top = double((1 << (how.bits - 1)) - 1);
  const auto largest = [&](int64_t from, int64_t to) {
    double most = 0;
    for (int64_t r = from; r < to; ++r)
      for (int64_t k = 0; k < x.cols; ++k) most = std::max(most, std::fabs(double(x.data[r * x.stride + k])));
    return most;
  };
  const double all = how.tensor ? largest(0, x.rows) : 0;
  std::vector<int32_t> codes(static_cast<size_t>(x.cols));
  for (int64_t r = 0; r < x.rows; ++r) {
    const double step = std::max(least_step, (how.tensor ? all : largest(r, r + 1)) / top);
    for (int64_t k = 0; k < x.cols; ++k)
      codes[size_t(k)] = int32_t(nearest_code(double(x.data[r * x.stride + k]), step, -top, top));
    run(r, codes.data(), step);
  }
}

}  // namespace

bool all_numbers(const float* x, int64_t n) {
  return std::all_of(x, x + n, [](float v) { return std::isfinite(v); });
}

void round_rows(const Rounding& r, const std::vector<double>* fit, const FloatRows& x, ThreadPool& pool) {
  if (r.grid->fitted() || !r.tensor) {
    pool.parallel_for(x.rows, 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i)
        if (!all_numbers(x.data + i * x.stride, x.cols)) std::fill_n(x.data + i * x.stride, x.cols, NAN);
        else if (r.grid->fitted()) r.grid->round_fitted(x.data + i * x.stride, x.cols, *fit, r.bits);
        else r.grid->round(x.data + i * x.stride, x.cols, r.bits);
    });
    return;
  }
  std::vector<float> all(size_t(x.rows * x.cols));
  for (int64_t i = 0; i < x.rows; ++i) std::copy_n(x.data + i * x.stride, x.cols, all.data() + i * x.cols);
  if (all_numbers(all.data(), x.rows * x.cols)) r.grid->round(all.data(), x.rows * x.cols, r.bits);
  else std::fill(all.begin(), all.end(), NAN);
  for (int64_t i = 0; i < x.rows; ++i) std::copy_n(all.data() + i * x.cols, x.cols, x.data + i * x.stride);
}

namespace {

/// By row, whether it is to become NaN: its own numbers are none, or those of another with the same step.
std::vector<bool> rows_of_no_numbers(const IntegerFunction& how, const FloatRows& x) {
  std::vector<bool> none(static_cast<size_t>(x.rows));
  for (int64_t r = 0; r < x.rows; ++r) none[size_t(r)] = !all_numbers(x.data + r * x.stride, x.cols);
  if (how.tensor && std::find(none.begin(), none.end(), true) != none.end()) none.assign(none.size(), true);
  return none;
}

}  // namespace

void integer_gelu_rows(const IntegerFunction& how, const FloatRows& x, const FloatRows& out) {
  const std::vector<bool> none = rows_of_no_numbers(how, x);
  std::vector<int64_t> codes(static_cast<size_t>(x.cols));
  for_codes(x, how, kLeastGeluStep, [&](int64_t r, const int32_t* row, double step) {
    if (none[size_t(r)]) return void(std::fill_n(out.data + r * out.stride, x.cols, NAN));
    shift_gelu(row, x.cols, codes_of_one(1.702 * step), kGeluBits, codes.data());
    for (int64_t k = 0; k < x.cols; ++k)
      out.data[r * out.stride + k] = float(double(codes[size_t(k)]) * step / double(1 << (kGeluBits - 1)));
  });
}

void integer_norm_rows(const IntegerFunction& how, const FloatRows& x, const float* gain, const float* offset,
                       const FloatRows& out) {
  const std::vector<bool> none = rows_of_no_numbers(how, x);
  const double unit = std::sqrt(double(x.cols)) / double(1 << 30);
  std::vector<int64_t> codes(static_cast<size_t>(x.cols));
  for_codes(x, how, 1e-30, [&](int64_t r, const int32_t* row, double) {
    if (none[size_t(r)]) return void(std::fill_n(out.data + r * out.stride, x.cols, NAN));
    integer_norm(row, x.cols, codes.data());
    for (int64_t k = 0; k < x.cols; ++k) {
      // The offset is a whole number of codes, as the paper adds it; where a gain of 0 leaves no codes, itself.
      const double g = double(gain[k]), b = double(offset[k]), whole = std::floor(b / g / unit);
      const bool fits = std::fabs(whole) < 9e15;
      const double code = double(codes[size_t(k)]) + (fits ? whole : 0);
      out.data[r * out.stride + k] = float(code * unit * g + (fits ? 0 : b));
    }
  });
}

}  // namespace vireo
