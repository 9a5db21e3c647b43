// Integer products of rows with a fixed grid and of weights with zero points and scales per group of columns.
#include <cstring>

#include "test_simd.h"

namespace vireo::simd {
namespace {

class SimdIntegerGrids : public Simd {};

struct GridCase {
  int64_t m, n, k, group;  // group 0: a scale per row of W
  int bits;
  bool zeros;      // of W
  float fixed;     // scale of the rows; 0: one for each
  int32_t a_zero;  // with `fixed`
};
const GridCase kGridCases[] = {
    {1, 1, 4, 0, 8, true, 0.02f, -128},  {3, 33, 64, 32, 4, false, 0, 0},
    {15, 70, 96, 16, 4, true, 0, 0},     {29, 100, 256, 64, 8, true, 0, 0},
    {13, 31, 40, 4, 3, true, 0.05f, 7},  {12, 32, 300, 300, 8, false, 0.03f, 127},
    {5, 40, 37, 0, 8, false, 0.04f, -3}, {7, 64, 1152, 128, 8, true, 0.02f, 5},
    {2, 35, 33, 0, 4, true, 0, 0},       {29, 40, 300, 100, 8, true, 0, 0},
    {14, 40, 100, 0, 4, true, 0, 0},
};

struct Products {
  std::vector<float> out;  // [m][n]
  std::vector<int> codes;  // of the rows, [m][k]
  std::vector<float> scales;
};

Products multiply(const Kernels& k, const GridCase& c, Rows& x, const std::vector<int8_t>& w,
                  const std::vector<float>& scales, const std::vector<int32_t>& zeros) {
  const int64_t groups = c.group ? c.k / c.group : 1, ld = round_up(c.n, kPanel), stride = round_up(c.k, 64);
  const bool nibbles = c.bits <= 4, bytes = byte_codes(k);
  AlignedBuffer packed(integer_weight_bytes(c.n, c.k, nibbles)), codes(size_t(c.m * stride) * 2);
  pack_weight_integer(w.data(), 0, c.n, c.n, c.k, packed.data(), nibbles);
  std::vector<int32_t> columns(size_t(groups * ld), 0), sums(size_t(c.m * groups));
  for (int64_t j = 0; j < c.n; ++j)
    for (int64_t i = 0; i < c.k; ++i) {
      const size_t at = size_t((c.group ? i / c.group : 0) * ld + j);
      columns[at] += w[size_t(j * c.k + i)] - (c.zeros ? zeros[at] : 0);
    }
  Products p;
  p.scales.resize(size_t(c.m));
  ToI8Args rows;
  rows.x = x.p(), rows.ldx = x.ld, rows.rows = c.m, rows.cols = c.k, rows.group = c.group;
  rows.fixed = c.fixed, rows.zero = c.a_zero;
  rows.out = codes.data(), rows.ldo = stride, rows.scales = p.scales.data(), rows.sums = sums.data();
  run(k.to_i8, rows);
  Rows out = Rows::output(c.m, c.n);
  I8GemmArgs a;
  a.gemm.m = c.m, a.gemm.n = c.n, a.gemm.k = c.k, a.gemm.b = packed.data(), a.gemm.b_scales = scales.data();
  a.gemm.b_group = c.group, a.gemm.b_nibbles = nibbles, a.gemm.out = out.p(), a.gemm.ldo = out.ld;
  a.a = codes.data(), a.lda = stride, a.scales = p.scales.data(), a.sums = sums.data();
  if (c.zeros) a.b_zeros = zeros.data();
  if (c.a_zero) a.a_zero = c.a_zero, a.b_sums = columns.data();
  run(k.gemm_i8, a);
  out.check_frame("gemm_i8 on grids");
  for (int64_t i = 0; i < c.m; ++i) {
    for (int64_t j = 0; j < c.n; ++j) p.out.push_back(out(i, j));
    for (int64_t y = 0; y < c.k; ++y)
      p.codes.push_back(bytes ? codes.as<int8_t>()[i * stride + y] : codes.as<int16_t>()[i * stride + y]);
  }
  return p;
}

TEST_P(SimdIntegerGrids, GiveWhatTheirNumbersGive) {
  uint64_t seed = 70;
  for (const GridCase& c : kGridCases) {
    const std::string what = std::to_string(c.m) + "x" + std::to_string(c.n) + "x" + std::to_string(c.k) +
                             " groups of " + std::to_string(c.group) + ", " + std::to_string(c.bits) + " bits";
    const int64_t groups = c.group ? c.k / c.group : 1, ld = round_up(c.n, kPanel);
    Rows x = Rows::random(c.m, c.k, ++seed, 3.0f);
    x(0, 0) = 1000.0f;  // beyond the fixed grid: clamped
    Random random(++seed);
    std::vector<int8_t> w(size_t(c.n * c.k));
    const float reach = float(1 << (c.bits - 1));
    for (int8_t& v : w) v = int8_t(std::max(-reach, std::min(reach - 1, std::floor(random(reach)))));
    w[0] = int8_t(-reach);
    std::vector<int32_t> zeros(size_t(groups * ld));
    for (int32_t& z : zeros) z = int32_t(std::max(-reach, std::min(reach - 1, std::floor(random(reach)))));
    std::vector<float> scales;
    for (int64_t i = 0; i < groups * ld; ++i) scales.push_back(0.02f + random(0.01f));
    const Products got = multiply(k(), c, x, w, scales, zeros), there = multiply(*supported(0), c, x, w, scales, zeros);
    EXPECT_EQ(got.codes, there.codes) << what;
    // One rounding order, whatever the width of a vector.
    EXPECT_EQ(got.out, there.out) << what;
    int failures = 0;
    for (int64_t i = 0; i < c.m; ++i) {
      float most = 0;
      for (int64_t y = 0; y < c.k; ++y) most = std::max(most, std::fabs(x(i, y)));
      const float scale = c.fixed > 0 ? c.fixed : most / 127.5f;
      ASSERT_EQ(got.scales[size_t(i)], scale) << what;
      for (int64_t y = 0; y < c.k; ++y) {
        const float q = c.fixed == 0 && x(i, y) == -most
                            ? -128.0f
                            : std::nearbyint(x(i, y) / scale + float(c.fixed > 0 ? c.a_zero : 0));
        ASSERT_EQ(got.codes[size_t(i * c.k + y)], int(std::min(127.0f, std::max(-128.0f, q)))) << what;
      }
      for (int64_t j = 0; j < c.n; ++j) {
        double want = 0, size = 0;
        for (int64_t y = 0; y < c.k; ++y) {
          const size_t at = size_t((c.group ? y / c.group : 0) * ld + j);
          const double term = double(got.codes[size_t(i * c.k + y)] - (c.fixed > 0 ? c.a_zero : 0)) *
                              (w[size_t(j * c.k + y)] - (c.zeros ? zeros[at] : 0)) * scales[at];
          want += term, size += std::fabs(term);
        }
        // Integers are exact; each group's sum is rounded when it becomes a float, scaled and added.
        expect_near(what, got.out[size_t(i * c.n + j)], want * double(scale),
                    double(groups + 4) * kEps * size * double(scale) + 1e-37, i, j, &failures);
      }
    }
    if (HasFailure()) return;
  }
}

TEST_P(SimdIntegerGrids, ExtremeDifferencesDoNotOverflow) {
  // (a - a_zero) (w - b_zero) = -255 * -255 everywhere, over the longest k that is allowed with zero points.
  GridCase c{2, 3, 32768, 0, 8, true, 1.0f, 127};
  if (slow()) c.k = 256;
  Rows x(c.m, c.k, -1000.0f);
  const std::vector<int8_t> w(size_t(c.n * c.k), int8_t(-128));
  const std::vector<int32_t> zeros(size_t(kPanel), 127);
  const std::vector<float> ones(size_t(kPanel), 1.0f);
  for (const float v : multiply(k(), c, x, w, ones, zeros).out) EXPECT_EQ(v, float(int64_t(255) * 255 * c.k));
}

INSTANTIATE_TEST_SUITE_P(Targets, SimdIntegerGrids, ::testing::ValuesIn(all_targets()),
                         [](const auto& info) { return std::string(supported(info.param)->name); });

}  // namespace
}  // namespace vireo::simd
