// CPU kernels of coded matrices: integer products, and weights whose scales belong to groups of columns.
#include <cstring>

#include "test_simd.h"

namespace vireo::simd {
namespace {

class SimdCodes : public Simd {};

struct CodedRows {
  AlignedBuffer codes, scales, sums;
  int64_t ld;
  CodedRows(int64_t rows, int64_t cols)
      : codes(size_t(rows * (round_up(cols, 64)) * 2)),
        scales(size_t(rows) * 4),
        sums(size_t(rows) * 4),
        ld(round_up(cols, 64)) {}
};

CodedRows convert(const Kernels& k, Rows& x, bool normalise = false) {
  CodedRows c(x.rows, x.cols);
  ToI8Args a;
  a.x = x.p(), a.ldx = x.ld, a.rows = x.rows, a.cols = x.cols, a.normalise = normalise, a.eps = 1e-6f;
  a.out = c.codes.data(), a.ldo = c.ld, a.scales = c.scales.as<float>(), a.sums = c.sums.as<int32_t>();
  run(k.to_i8, a);
  return c;
}

/// The rule that the header states.
void reference_codes(const Rows& x, int64_t row, std::vector<int>* codes, float* scale) {
  float most = 0;
  for (int64_t j = 0; j < x.cols; ++j) most = std::max(most, std::fabs(x(row, j)));
  *scale = most > 0 ? most / 127.5f : 1.0f;
  codes->clear();
  for (int64_t j = 0; j < x.cols; ++j)
    codes->push_back(most > 0 && x(row, j) == -most  // a tie: -128 is even
                         ? -128
                         : int(std::min(127.0f, std::max(-128.0f, std::nearbyint(x(row, j) / *scale)))));
}

std::vector<int8_t> random_codes(int64_t count, uint64_t seed) {
  std::vector<int8_t> q(static_cast<size_t>(count));
  Random r(seed);
  for (int8_t& c : q) c = int8_t(std::lround(r(127.9f)));
  if (count > 2) q[0] = -128, q[1] = 127;
  return q;
}

struct I8Case {
  int64_t m, n, k;
};
const I8Case kI8Cases[] = {{1, 1, 1},     {1, 5, 3},     {2, 33, 4},    {3, 31, 7},    {11, 97, 101},   {12, 32, 16},
                           {13, 36, 127}, {29, 100, 48}, {29, 70, 101}, {67, 40, 768}, {197, 192, 192}, {30, 64, 3072}};

TEST_P(SimdCodes, IntegerProductsAreExact) {
  uint64_t seed = 40;
  for (const I8Case& c : kI8Cases) {
    if (slow() && c.m * c.n * c.k > 4000000) continue;
    for (const bool full : {false, true}) {
      const std::string what = "gemm_i8 " + std::to_string(c.m) + "x" + std::to_string(c.n) + "x" + std::to_string(c.k);
      Rows x = Rows::random(c.m, c.k, ++seed, 3.0f);
      const std::vector<int8_t> w = random_codes(c.n * c.k, ++seed);
      const CodedRows rows = convert(k(), x);
      AlignedBuffer packed(integer_weight_bytes(c.n, c.k));
      const int64_t cut = std::min(c.n, round_up(c.n / 2, 32));
      pack_weight_integer(w.data() + cut * c.k, cut, c.n - cut, c.n, c.k, packed.data());
      pack_weight_integer(w.data(), 0, cut, c.n, c.k, packed.data());
      const Vec scales(c.n, ++seed, 0.01f, 0.02f), bias(c.n, ++seed), col(c.n, ++seed);
      Rows residual = Rows::random(c.m, c.n, ++seed);
      Rows out = Rows::output(c.m, c.n, full ? 8 : 0);
      I8GemmArgs a;
      a.gemm.m = c.m, a.gemm.n = c.n, a.gemm.k = c.k, a.gemm.b = packed.data(), a.gemm.b_scales = scales.p();
      if (full)
        a.gemm.bias = bias.p(), a.gemm.act = Act::kGeluErf, a.gemm.col_scale = col.p(), a.gemm.residual = residual.p();
      a.gemm.ldr = residual.ld, a.gemm.out = out.p(), a.gemm.ldo = out.ld;
      a.a = rows.codes.data(), a.lda = rows.ld, a.scales = rows.scales.as<float>(), a.sums = rows.sums.as<int32_t>();
      run(k().gemm_i8, a);
      out.check_frame(what);
      int failures = 0;
      std::vector<int> codes;
      for (int64_t i = 0; i < c.m; ++i) {
        float scale = 0;
        reference_codes(x, i, &codes, &scale);
        ASSERT_EQ(scale, rows.scales.as<float>()[i]) << what;
        int total = 0;
        for (const int q : codes) total += q;
        ASSERT_EQ(total, rows.sums.as<int32_t>()[i]) << what;
        for (int64_t j = 0; j < c.n; ++j) {
          int64_t sum = 0;
          for (int64_t y = 0; y < c.k; ++y) sum += codes[size_t(y)] * int64_t(w[size_t(j * c.k + y)]);
          double want = double(sum) * double(scale) * scales[j];
          double bound = 6 * kEps * std::fabs(want);
          if (full) {
            bound =
                kSlope * (bound + 2 * kEps * (std::fabs(want) + std::fabs(bias[j]))) + 1e-6 * std::fabs(want) + 6e-7;
            want = ref_act(Act::kGeluErf, want + bias[j]) * col[j] + double(residual(i, j));
            bound += 4 * kEps * std::fabs(want) + 1e-6 * std::fabs(double(residual(i, j)));
          }
          expect_near(what, out(i, j), want, bound + 1e-37, i, j, &failures);
        }
      }
      if (HasFailure()) return;
    }
  }
}

/// A step's scratch is planned for the most rows that it does at once; its last part may have one.
TEST_P(SimdCodes, FewerRowsNeedNoMoreScratch) {
  for (const bool nibbles : {false, true})
    for (const int64_t kk : {4, 768, 4608}) {
      I8GemmArgs codes;
      codes.gemm.n = 256, codes.gemm.k = kk, codes.gemm.b_nibbles = nibbles;
      GemmArgs floats;
      floats.n = 256, floats.k = kk;
      Bf16GemmArgs halves;
      size_t least[] = {SIZE_MAX, SIZE_MAX, SIZE_MAX};
      for (int64_t m = 600; m > 0; --m) {
        codes.gemm.m = floats.m = m, halves.gemm = floats;
        const size_t now[] = {k().gemm_i8.scratch_bytes(codes), k().gemm.scratch_bytes(floats),
                              k().bf16_name[0] ? k().gemm_bf16.scratch_bytes(halves) : 0};
        for (int i = 0; i < 3; ++i) {
          ASSERT_LE(now[i], least[i]) << "kernel " << i << " of " << k().name << ": " << m << " rows of " << kk;
          least[i] = now[i];
        }
      }
    }
}

/// Sums are exact, so what follows them decides the bits, and that is the same on all kernels of one vector width.
TEST(SimdTiles, GiveTheBitsOfVnni) {
  const Kernels *const tiles = find("amx"), *const vnni = find("avx512");
  if (tiles == nullptr || std::strcmp(tiles->int8_name, "int8 amx") != 0)
    GTEST_SKIP() << "no tiles here multiply bytes";
  ASSERT_STREQ(vnni->int8_name, "int8 vnni");
  uint64_t seed = 3000;
  for (const I8Case& c : kI8Cases)
    for (const Act act : {Act::kNone, Act::kGeluErf, Act::kGeluTanh, Act::kSilu})
      for (const bool full : {false, true}) {
        Rows x = Rows::random(c.m, c.k, ++seed, 3.0f);
        const CodedRows rows = convert(*vnni, x);
        const std::vector<int8_t> w = random_codes(c.n * c.k, ++seed);
        AlignedBuffer packed(integer_weight_bytes(c.n, c.k));
        pack_weight_integer(w.data(), 0, c.n, c.n, c.k, packed.data());
        const Vec scales(c.n, ++seed, 0.01f, 0.02f), bias(c.n, ++seed), col(c.n, ++seed);
        Rows residual = Rows::random(c.m, c.n, ++seed), out[] = {Rows::output(c.m, c.n, 4), Rows::output(c.m, c.n, 4)};
        for (int i = 0; i < 2; ++i) {
          I8GemmArgs a;
          a.gemm.m = c.m, a.gemm.n = c.n, a.gemm.k = c.k, a.gemm.b = packed.data(), a.gemm.b_scales = scales.p();
          a.gemm.act = act, a.gemm.out = out[i].p(), a.gemm.ldo = out[i].ld;
          if (full) a.gemm.bias = bias.p(), a.gemm.col_scale = col.p(), a.gemm.residual = residual.p();
          a.gemm.ldr = residual.ld;
          a.a = rows.codes.data(), a.lda = rows.ld, a.scales = rows.scales.as<float>();
          a.sums = rows.sums.as<int32_t>();
          run((i == 0 ? tiles : vnni)->gemm_i8, a);
          out[i].check_frame("gemm_i8");
        }
        EXPECT_EQ(out[0].data, out[1].data) << c.m << "x" << c.n << "x" << c.k << " activation " << int(act);
      }
}

TEST_P(SimdCodes, IntegerProductsOfTheLowestCodesDoNotSaturate) {
  // -128 x -128 everywhere: two such products exceed 16 bits, and 255 x -128 in pairs is what saturates elsewhere.
  for (const int64_t kk : {4, 64, 1000, 65536}) {
    const int64_t m = 14, n = 33;
    if (slow() && kk > 1000) continue;
    Rows x(m, kk, 0.0f);
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < kk; ++j) x(i, j) = -127.5f;  // scale 1, code -128 (a tie to even)
    const CodedRows rows = convert(k(), x);
    for (const int8_t code : {int8_t(-128), int8_t(127)}) {
      const std::vector<int8_t> w(size_t(n * kk), code);
      AlignedBuffer packed(integer_weight_bytes(n, kk));
      pack_weight_integer(w.data(), 0, n, n, kk, packed.data());
      const std::vector<float> ones(size_t(n), 1.0f);
      Rows out = Rows::output(m, n);
      I8GemmArgs a;
      a.gemm.m = m, a.gemm.n = n, a.gemm.k = kk, a.gemm.b = packed.data(), a.gemm.b_scales = ones.data();
      a.gemm.out = out.p(), a.gemm.ldo = out.ld;
      a.a = rows.codes.data(), a.lda = rows.ld, a.scales = rows.scales.as<float>(), a.sums = rows.sums.as<int32_t>();
      run(k().gemm_i8, a);
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j)
          ASSERT_EQ(out(i, j), float(int64_t(-128) * code * kk)) << "k " << kk << ", code " << int(code);
    }
  }
}

TEST_P(SimdCodes, RowsBecomeTheSameCodesOnEveryCpu) {
  for (const bool normalise : {false, true}) {
    for (const int64_t cols : {1, 5, 64, 191, 768, 1031}) {
      Rows x = Rows::random(19, cols, 77 + uint64_t(cols), 4.0f);
      for (int64_t j = 0; j < cols; ++j) x(3, j) = 0.0f;
      const Kernels& other = *supported(0);
      const CodedRows here = convert(k(), x, normalise), there = convert(other, x, normalise);
      for (int64_t i = 0; i < x.rows; ++i) {
        EXPECT_EQ(here.scales.as<float>()[i], there.scales.as<float>()[i]) << cols << " " << i;
        EXPECT_EQ(here.sums.as<int32_t>()[i], there.sums.as<int32_t>()[i]) << cols << " " << i;
        if (i == 3 && !normalise) {
          EXPECT_EQ(here.scales.as<float>()[i], 1.0f);
        }
      }
    }
  }
}

/// Where the quotient decides: halves of a code, the numbers beside them, and rows of every size.
TEST_P(SimdCodes, RowsAreRoundedAsTheirQuotients) {
  Random random(91);
  const int64_t n = 3 * 255;
  for (int round = 0; round < 400; ++round) {
    const float most = std::ldexp(1.0f + std::fabs(random(0.999f)), round % 5 == 4 ? round - 320 : round % 40 - 20);
    if (!(most < 1e37f && most > 1e-37f)) continue;
    Rows x(1, n + 1, most);
    const float scale = most / 127.5f;
    for (int64_t i = 0; i < 255; ++i) {
      const float half = (float(i) - 127.0f + 0.5f) * scale;
      x(0, 3 * i) = std::max(-most, std::nextafter(half, -kInf)), x(0, 3 * i + 1) = std::max(-most, half);
      x(0, 3 * i + 2) = std::min(most, std::nextafter(half, kInf));
    }
    std::vector<int> codes;
    float want = 0;
    reference_codes(x, 0, &codes, &want);
    const CodedRows got = convert(k(), x);
    ASSERT_EQ(got.scales.as<float>()[0], want);
    for (int64_t i = 0; i <= n; ++i)
      ASSERT_EQ(byte_codes(k()) ? got.codes.as<int8_t>()[i] : got.codes.as<int16_t>()[i], codes[size_t(i)])
          << x(0, i) << " / " << want;
  }
}

TEST_P(SimdCodes, IntegerProductsKeepNanInItsRow) {
  Rows x = Rows::random(20, 40, 1);
  x(3, 5) = kNan, x(4, 6) = kInf, x(5, 39) = -kInf;
  const CodedRows rows = convert(k(), x);
  const std::vector<int8_t> w = random_codes(37 * 40, 2);
  AlignedBuffer packed(integer_weight_bytes(37, 40));
  pack_weight_integer(w.data(), 0, 37, 37, 40, packed.data());
  const std::vector<float> ones(37, 1.0f);
  Rows out = Rows::output(20, 37);
  I8GemmArgs a;
  a.gemm.m = 20, a.gemm.n = 37, a.gemm.k = 40, a.gemm.b = packed.data(), a.gemm.b_scales = ones.data();
  a.gemm.out = out.p(), a.gemm.ldo = out.ld;
  a.a = rows.codes.data(), a.lda = rows.ld, a.scales = rows.scales.as<float>(), a.sums = rows.sums.as<int32_t>();
  run(k().gemm_i8, a);
  for (int64_t i = 0; i < 20; ++i)
    for (int64_t j = 0; j < 37; ++j) EXPECT_EQ(std::isfinite(out(i, j)), i < 3 || i > 5) << i << " " << j;
}

TEST_P(SimdCodes, GemmOfGroupedCodes) {
  struct Grouped {
    int64_t m, n, k, group;
  };
  const Grouped cases[] = {{1, 5, 32, 32},      {3, 33, 64, 32},   {15, 70, 96, 16},
                           {29, 100, 256, 128}, {7, 31, 300, 300}, {64, 40, 1152, 64}};
  uint64_t seed = 900;
  for (const Grouped& c : cases) {
    if (slow() && c.m * c.n * c.k > 4000000) continue;
    for (const bool nibbles : {false, true})
      for (const bool offsets : {false, true}) {
        const std::string what = "grouped gemm " + std::to_string(c.m) + "x" + std::to_string(c.n) + "x" +
                                 std::to_string(c.k) + (nibbles ? " nibbles" : "") + (offsets ? " offsets" : "");
        Rows x = Rows::random(c.m, c.k, ++seed);
        std::vector<int8_t> q = random_codes(c.n * c.k, ++seed);
        if (nibbles)
          for (int8_t& v : q) v = int8_t(v / 16);
        const int64_t groups = c.k / c.group, ld = round_up(c.n, kPanel);
        const Vec scales(groups * ld, ++seed, 0.01f, 0.03f), shift(groups * ld, ++seed, 0.1f);
        AlignedBuffer packed(packed_weight_bytes(c.n, c.k, DType::kI8));
        (nibbles ? pack_weight_i4 : pack_weight_i8)(q.data(), 0, c.n, c.n, c.k, packed.data());
        Rows out = Rows::output(c.m, c.n);
        GemmArgs g;
        g.a = x.p(), g.lda = x.ld, g.m = c.m, g.n = c.n, g.k = c.k, g.b = packed.data(), g.type = DType::kI8;
        g.b_scales = scales.p(), g.b_group = c.group, g.b_offsets = offsets ? shift.p() : nullptr,
        g.b_nibbles = nibbles;
        g.out = out.p(), g.ldo = out.ld;
        run(k().gemm, g);
        out.check_frame(what);
        int failures = 0;
        for (int64_t i = 0; i < c.m; ++i)
          for (int64_t j = 0; j < c.n; ++j) {
            double sum = 0, size = 0;
            for (int64_t y = 0; y < c.k; ++y) {
              const int64_t at = y / c.group * ld + j;
              const double weight = double(q[size_t(j * c.k + y)]) * scales[at] + (offsets ? shift[at] : 0.0);
              sum += double(x(i, y)) * weight;
              size += std::fabs(double(x(i, y))) *
                      (std::fabs(double(q[size_t(j * c.k + y)]) * scales[at]) + (offsets ? std::fabs(shift[at]) : 0.0));
            }
            expect_near(what, out(i, j), sum, (double(c.k) + 12) * kEps * size + 1e-37, i, j, &failures);
          }
        if (HasFailure()) return;
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, SimdCodes, ::testing::ValuesIn(all_targets()),
                         [](const auto& info) { return std::string(supported(info.param)->name); });

}  // namespace
}  // namespace vireo::simd
