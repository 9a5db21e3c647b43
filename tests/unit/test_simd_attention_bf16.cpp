// Attention whose products are of bfloat16, against its rule (simd/kernels.h) in double precision.
#include <cstring>

#include "test_simd.h"

namespace vireo::simd {
namespace {

class SimdAttentionBf16 : public Simd {
 protected:
  void SetUp() override {
    if (k().attention_bf16.run == nullptr) GTEST_SKIP() << k().name << " multiplies no bfloat16";
  }
};

struct Case {
  int64_t batch, tokens, heads, dim, value_dim;
  float amplitude;
  bool bias;
};
// Whole and broken panels, words and vectors; more than one block of keys; one of everything.
const Case kCases[] = {{1, 197, 3, 64, 0, 1, false},  {2, 50, 2, 32, 0, 3, false}, {1, 1, 1, 1, 0, 1, false},
                       {1, 17, 3, 5, 0, 1, true},     {1, 33, 2, 127, 0, 1, true}, {2, 65, 1, 128, 0, 2, false},
                       {1, 300, 1, 20, 0, 4, true},   {1, 530, 2, 13, 0, 1, true}, {1, 257, 1, 16, 48, 1, false},
                       {1, 96, 2, 64, 31, 20, false}, {1, 256, 1, 8, 40, 1, true}};

std::string text_of(const Case& c) {
  return "attention_bf16 " + std::to_string(c.batch) + "x" + std::to_string(c.tokens) + "x" + std::to_string(c.heads) +
         "x" + std::to_string(c.dim) + " values " + std::to_string(c.value_dim) + (c.bias ? " bias" : "");
}

struct Problem {
  Rows qkv, bias, out;
  AttentionArgs args;
  explicit Problem(const Case& c, uint64_t seed)
      : qkv(Rows::random(c.batch * c.tokens, c.heads * (2 * c.dim + (c.value_dim ? c.value_dim : c.dim)), seed,
                         c.amplitude, 4)),
        bias(Rows::random(c.batch, c.tokens, seed + 1, 2.0f)),
        out(Rows::output(c.batch * c.tokens, c.heads * (c.value_dim ? c.value_dim : c.dim), 8)) {
    args = AttentionArgs::from_qkv(qkv.p(), qkv.ld, c.batch, c.tokens, c.heads, c.dim, 1.0f / std::sqrt(float(c.dim)),
                                   out.p(), out.ld, c.value_dim);
    if (c.bias) args.bias = bias.p(), args.bias_batch = c.batch, args.bias_batch_stride = bias.ld;
  }
};

/// To nearest, ties to even, of a number that is none of the extremes.
float rounded(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits = (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
  std::memcpy(&x, &bits, sizeof bits);
  return x;
}

void check_rule(const Kernels& kernels, const Case& c, uint64_t seed, int64_t row_step) {
  const std::string what = text_of(c);
  Problem p(c, seed);
  run(kernels.attention_bf16, p.args);
  p.out.check_frame(what);
  const int64_t n = c.tokens, dim = c.dim, vdim = p.args.values();
  const float factor = p.args.scale * 1.44269504088896341f;
  const double log2e = 1 / std::log(2.0);
  int failures = 0;
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t h = 0; h < c.heads; ++h) {
      const auto at = [&](int64_t part, int64_t token, int64_t e) {
        const int64_t from = part < 2 ? (part * c.heads + h) * dim : 2 * c.heads * dim + h * vdim;
        return p.qkv(b * n + token, from + e);
      };
      for (int64_t i = 0; i < n; i += row_step) {
        std::vector<double> score, power;
        double size = 0;  // of what a score is summed from
        for (int64_t j = 0; j < n; ++j) {
          double sum = c.bias ? double(p.bias(b, j)) * log2e : 0.0, terms = std::fabs(sum);
          for (int64_t e = 0; e < dim; ++e) {
            const double term = double(rounded(factor * at(0, i, e))) * double(rounded(at(1, j, e)));
            sum += term, terms += std::fabs(term);
          }
          score.push_back(sum), size = std::max(size, terms);
        }
        const double top = *std::max_element(score.begin(), score.end());
        double total = 0;
        for (const double s : score) power.push_back(std::exp2(s - top)), total += power.back();
        // Of a power: its score's sum and its difference to the maximum, the polynomial, and the rounding to 8 bits.
        const double computed = 0.7 * (double(dim) + 8) * kEps * size + 6e-6, half = std::ldexp(1.0, -8);
        for (int64_t x = 0; x < vdim; ++x) {
          double want = 0, all = 0;
          for (int64_t j = 0; j < n; ++j) {
            const double term = power[size_t(j)] / total * double(rounded(at(2, j, x)));
            want += term, all += std::fabs(term);
          }
          const double bound = (half + 2 * computed + 2 * double(n) * kEps) * all;
          expect_near(what, p.out(b * n + i, h * vdim + x), want, bound, b * n + i, h * vdim + x, &failures);
        }
      }
    }
}

TEST_P(SimdAttentionBf16, FollowsItsRule) {
  uint64_t seed = 900;
  for (const Case& c : kCases) {
    check_rule(k(), c, seed += 2, c.tokens > 60 ? 7 : 1);
    if (HasFailure()) return;
  }
}

/// Powers of 1 round to themselves: what is left is the rounding of the values.
TEST_P(SimdAttentionBf16, EqualKeysGiveTheMeanOfTheRoundedValues) {
  for (const int64_t n : {1, 2, 4, 64}) {
    Problem p({1, n, 1, 7, 21, 1, false}, 12);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t e = 0; e < 7; ++e) p.qkv(i, 7 + e) = 0.25f;
    run(k().attention_bf16, p.args);
    for (int64_t x = 0; x < 21; ++x) {
      float sum = 0;  // exact enough: n is a power of two, and sums of 8 bits fit 24
      for (int64_t j = 0; j < n; ++j) sum += rounded(p.qkv(j, 14 + x));
      for (int64_t i = 0; i < n; ++i) EXPECT_NEAR(p.out(i, x), sum / float(n), n <= 2 ? 0 : 1e-6) << n;
    }
  }
}

TEST_P(SimdAttentionBf16, IsAttention) {
  for (const Case& c : {Case{1, 197, 3, 64, 0, 1, false}, Case{2, 70, 2, 24, 0, 3, true}}) {
    Problem halves(c, 5), floats(c, 5);
    run(k().attention_bf16, halves.args);
    run(k().attention, floats.args);
    double square = 0, size = 0;
    for (int64_t i = 0; i < halves.out.rows; ++i)
      for (int64_t j = 0; j < halves.out.cols; ++j) {
        const double off = double(halves.out(i, j)) - double(floats.out(i, j));
        square += off * off, size += double(floats.out(i, j)) * double(floats.out(i, j));
      }
    EXPECT_LT(std::sqrt(square / size), 0.006) << text_of(c);
    EXPECT_GT(square, 0.0) << "nothing was rounded";
  }
}

TEST_P(SimdAttentionBf16, WhatIsNoNumberStaysWhereItIs) {
  const Case c{1, 40, 2, 12, 0, 1, false};
  for (const float spoilt : {kNan, kInf}) {
    // A value spoils its channel of every row, a query its own row, a key all rows of its head.
    Problem value(c, 3), query(c, 3), key(c, 3);
    value.qkv(9, 48 + 5) = spoilt, query.qkv(9, 3) = spoilt, key.qkv(9, 24 + 3) = spoilt;
    for (Problem* p : {&value, &query, &key}) run(k().attention_bf16, p->args);
    for (int64_t i = 0; i < 40; ++i)
      for (int64_t x = 0; x < 24; ++x) {
        EXPECT_EQ(std::isfinite(value.out(i, x)), x != 5) << i << " " << x;
        EXPECT_EQ(std::isfinite(query.out(i, x)), i != 9 || x >= 12) << i << " " << x;
        if (x >= 12 || std::isnan(spoilt)) {
          EXPECT_EQ(std::isfinite(key.out(i, x)), x >= 12) << i << " " << x;
        }
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, SimdAttentionBf16, ::testing::ValuesIn(all_targets()),
                         [](const auto& i) { return std::string(supported(i.param)->name); });

}  // namespace
}  // namespace vireo::simd
