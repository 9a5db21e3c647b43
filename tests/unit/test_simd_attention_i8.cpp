// Attention whose products are of integers, against the rule of simd/kernels.h stated in scalars, and against
// attention.
#include "test_simd.h"

namespace vireo::simd {
namespace {

class SimdAttentionCodes : public Simd {};

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
  return "attention_i8 " + std::to_string(c.batch) + "x" + std::to_string(c.tokens) + "x" + std::to_string(c.heads) +
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
    // Channels whose values lie far from 0, as keys and values of a network have them.
    for (int64_t r = 0; r < qkv.rows; ++r)
      for (int64_t j = c.heads * c.dim; j < qkv.cols; j += 3) qkv(r, j) += 2 * c.amplitude;
    args = AttentionArgs::from_qkv(qkv.p(), qkv.ld, c.batch, c.tokens, c.heads, c.dim, 1.0f / std::sqrt(float(c.dim)),
                                   out.p(), out.ld, c.value_dim);
    if (c.bias) args.bias = bias.p(), args.bias_batch = c.batch, args.bias_batch_stride = bias.ld;
  }
};

/// Codes of a row of numbers that share a scale.
float codes_of(const std::vector<float>& x, std::vector<int>* codes) {
  float most = 0;
  for (const float v : x) most = std::max(most, std::fabs(v));
  const float inverse = most > 0 ? 127.0f / most : 0.0f;
  codes->clear();
  for (const float v : x) {
    const float y = v * inverse;
    codes->push_back(int(std::nearbyint(y)));
  }
  return most / 127.0f;
}

void check_rule(const Kernels& kernels, const Case& c, uint64_t seed, int64_t row_step) {
  const std::string what = text_of(c);
  Problem p(c, seed);
  run(kernels.attention_i8, p.args);
  p.out.check_frame(what);
  const int64_t n = c.tokens, dim = c.dim, vdim = p.args.values();
  int failures = 0;
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t h = 0; h < c.heads; ++h) {
      const auto at = [&](int64_t part, int64_t token, int64_t e) {
        const int64_t from = part < 2 ? (part * c.heads + h) * dim : 2 * c.heads * dim + h * vdim;
        return p.qkv(b * n + token, from + e);
      };
      std::vector<float> row, mean(size_t(dim), 0.0f), k_scale, v_scale, centre;
      std::vector<std::vector<int>> k, v;
      std::vector<int> codes;
      for (int64_t e = 0; e < dim; ++e) {
        for (int64_t j = 0; j < n; ++j) mean[size_t(e)] += at(1, j, e);
        mean[size_t(e)] /= float(n);
      }
      for (int64_t j = 0; j < n; ++j) {
        row.clear();
        for (int64_t e = 0; e < dim; ++e) row.push_back(at(1, j, e) - mean[size_t(e)]);
        k_scale.push_back(codes_of(row, &codes));
        k.push_back(codes);
      }
      for (int64_t e = 0; e < vdim; ++e) {
        float low = at(2, 0, e), high = low;
        for (int64_t j = 0; j < n; ++j) low = std::min(low, at(2, j, e)), high = std::max(high, at(2, j, e));
        centre.push_back((high + low) * 0.5f);
        // The larger half of the range has the largest code.
        const float most = std::max(high - centre.back(), centre.back() - low);
        const float inverse = most > 0 ? 127.0f / most : 0.0f;
        v_scale.push_back(most / 127.0f);
        v.emplace_back();
        for (int64_t j = 0; j < n; ++j) {
          const float off = at(2, j, e) - centre.back();
          const float y = off * inverse;
          v.back().push_back(int(std::nearbyint(y)));
        }
      }
      for (int64_t i = 0; i < n; i += row_step) {
        row.clear();
        for (int64_t e = 0; e < dim; ++e) row.push_back(at(0, i, e));
        const double step = double(codes_of(row, &codes)) * double(p.args.scale);
        std::vector<double> score;
        for (int64_t j = 0; j < n; ++j) {
          int64_t sum = 0;
          for (int64_t e = 0; e < dim; ++e) sum += codes[size_t(e)] * k[size_t(j)][size_t(e)];
          score.push_back(double(sum) * step * double(k_scale[size_t(j)]) + (c.bias ? double(p.bias(b, j)) : 0.0));
        }
        const double top = *std::max_element(score.begin(), score.end());
        std::vector<double> acc(size_t(vdim), 0.0), size(size_t(vdim), 0.0), doubt(size_t(vdim), 0.0);
        double total = 0;
        for (int64_t j0 = 0; j0 < n; j0 += 256) {
          const int64_t j1 = std::min(n, j0 + 256);
          const double most = *std::max_element(score.begin() + j0, score.begin() + j1), weight = std::exp(most - top);
          for (int64_t j = j0; j < j1; ++j) {
            const double e = std::exp(score[size_t(j)] - most), scaled = 255 * e, code = std::nearbyint(scaled);
            // How far a power may be off: its polynomial, and the rounding of scores of this size.
            const double off = scaled * (6e-6 + 6e-7 * std::max(std::fabs(most), std::fabs(score[size_t(j)])));
            const bool tie = std::fabs(std::fabs(scaled - code) - 0.5) <= off;
            total += e * weight;
            for (int64_t x = 0; x < vdim; ++x) {
              const double one = weight * double(v[size_t(x)][size_t(j)]) / 255;
              acc[size_t(x)] += code * one, size[size_t(x)] += code * std::fabs(one);
              if (tie) doubt[size_t(x)] += std::fabs(one);
            }
          }
        }
        for (int64_t x = 0; x < vdim; ++x) {
          const double unit = double(v_scale[size_t(x)]) / total,
                       want = acc[size_t(x)] * unit + double(centre[size_t(x)]);
          const double bound = doubt[size_t(x)] * unit + 2e-5 * size[size_t(x)] * unit + 8 * kEps * std::fabs(want) +
                               8 * kEps * std::fabs(double(centre[size_t(x)]));
          expect_near(what, p.out(b * n + i, h * vdim + x), want, bound, b * n + i, h * vdim + x, &failures);
        }
      }
    }
}

TEST_P(SimdAttentionCodes, FollowsItsRule) {
  uint64_t seed = 900;
  for (const Case& c : kCases) {
    check_rule(k(), c, seed += 2, c.tokens > 60 ? 7 : 1);
    if (HasFailure()) return;
  }
}

TEST_P(SimdAttentionCodes, IsTheSameOnEveryCpuBitForBit) {
  for (const Case& c : kCases) {
    Problem here(c, 77), there(c, 77);
    run(k().attention_i8, here.args);
    run(supported(0)->attention_i8, there.args);
    for (int64_t i = 0; i < here.out.rows; ++i)
      for (int64_t j = 0; j < here.out.cols; ++j) ASSERT_EQ(here.out(i, j), there.out(i, j)) << text_of(c) << " " << i;
  }
}

/// What it is for: attention, within what 8 bits leave.
TEST_P(SimdAttentionCodes, IsAttention) {
  for (const Case& c : {Case{1, 197, 3, 64, 0, 1, false}, Case{2, 70, 2, 24, 0, 3, true}}) {
    Problem codes(c, 5), floats(c, 5);
    run(k().attention_i8, codes.args);
    run(k().attention, floats.args);
    double square = 0, size = 0, worst = 0;
    for (int64_t i = 0; i < codes.out.rows; ++i)
      for (int64_t j = 0; j < codes.out.cols; ++j) {
        const double off = double(codes.out(i, j)) - double(floats.out(i, j));
        square += off * off, size += double(floats.out(i, j)) * double(floats.out(i, j));
        worst = std::max(worst, std::fabs(off));
      }
    EXPECT_LT(std::sqrt(square / size), 0.02) << text_of(c);
    EXPECT_LT(worst, 0.06 * c.amplitude) << text_of(c);
    EXPECT_GT(square, 0.0) << "these are no codes";
  }
}

TEST_P(SimdAttentionCodes, TheLargestCodesDoNotSaturate) {
  // Equal scores give every power its largest code, and values at both ends of the range the largest products: pairs of
  // 255 x -127 exceed 16 bits.
  const int64_t n = 256, dim = 32;
  for (const int64_t low_tokens : {int64_t(n - 1), int64_t(1)}) {
    Rows qkv(n, 3 * dim, 0.0f);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < dim; ++j) {
        qkv(i, j) = 1.0f, qkv(i, dim + j) = i % 2 ? 1.0f : -1.0f;
        qkv(i, j) *= j % 2 ? 1.0f : -1.0f;  // scores of 0: what one channel adds the next takes
        qkv(i, 2 * dim + j) = i < low_tokens ? -1.0f : 1.0f;
      }
    Rows out = Rows::output(n, dim);
    run(k().attention_i8, AttentionArgs::from_qkv(qkv.p(), qkv.ld, 1, n, 1, dim, 1.0f, out.p(), out.ld));
    const double want = double(n - 2 * low_tokens) / double(n);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < dim; ++j) ASSERT_NEAR(out(i, j), want, 1e-6) << low_tokens;
  }
}

TEST_P(SimdAttentionCodes, ChannelsOfOneValueStayThatValue) {
  Case c{1, 40, 2, 12, 0, 1, false};
  Problem p(c, 31);
  for (int64_t i = 0; i < 40; ++i) p.qkv(i, 2 * 24 + 5) = 0.1f, p.qkv(i, 2 * 24 + 6) = 0.0f;
  run(k().attention_i8, p.args);
  for (int64_t i = 0; i < 40; ++i) {
    EXPECT_EQ(p.out(i, 5), 0.1f);
    EXPECT_EQ(p.out(i, 6), 0.0f);
  }
}

TEST_P(SimdAttentionCodes, WhatIsNoNumberReachesTheOutput) {
  const int64_t n = 300, dim = 20;
  for (const float bad : {kNan, kInf}) {
    const Case c{1, n, 3, dim, 0, 1, false};
    Problem p(c, 12);
    p.qkv(7, 3) = bad;                      // a query of head 0
    p.qkv(290, 3 * dim + dim + 2) = bad;    // a key of head 1, in the second block
    p.qkv(5, 6 * dim + 2 * dim + 4) = bad;  // a value of head 2
    run(k().attention_i8, p.args);
    p.out.check_frame("attention_i8");
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < 3 * dim; ++j) {
        const bool want = (j < dim && i == 7) || (j >= dim && j < 2 * dim) || j == 2 * dim + 4;
        ASSERT_EQ(std::isnan(p.out(i, j)), want) << bad << " " << i << " " << j;
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, SimdAttentionCodes, ::testing::ValuesIn(all_targets()),
                         [](const auto& i) { return std::string(supported(i.param)->name); });

}  // namespace
}  // namespace vireo::simd
