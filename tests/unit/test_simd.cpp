// GEMM, convolution and attention on every instruction set this machine has, against scalar double references.
// Outputs lie in buffers full of sentinels; input padding is NaN, so that reading it shows.
#include "test_simd.h"

#include <functional>

#include "base/half.h"
#include "base/thread_pool.h"

namespace vireo::simd {
namespace {

INSTANTIATE_TEST_SUITE_P(Targets, Simd, ::testing::ValuesIn(all_targets()),
                         [](const auto& info) { return std::string(supported(info.param)->name); });

TEST(SimdDispatch, TablesAreComplete) {
  ASSERT_NE(supported(0), nullptr);
  EXPECT_EQ(&best(), supported(0));
  EXPECT_EQ(find("no such target"), nullptr);
  for (int i = 0; const Kernels* k = supported(i); ++i) {
    EXPECT_EQ(find(k->name), k);
    // Every member is a Kernel of three pointers; none may be missing.
    void* const* p = reinterpret_cast<void* const*>(&k->gemm);
    const size_t count = (sizeof(Kernels) - offsetof(Kernels, gemm)) / sizeof(void*);
    for (size_t j = 0; j < count; ++j) EXPECT_NE(p[j], nullptr) << k->name << " " << j;
  }
}

// ---- GEMM ----

struct GemmCase {
  int64_t m, n, k;
};

/// What the packed weight really holds.
std::vector<double> stored_weight(const Rows& w, DType t) {
  std::vector<double> r(size_t(w.rows * w.cols));
  for (int64_t i = 0; i < w.rows; ++i) {
    float most = 0.0f;
    for (int64_t j = 0; j < w.cols; ++j) most = std::max(most, std::fabs(w(i, j)));
    const float scale = most / 127.0f;
    for (int64_t j = 0; j < w.cols; ++j) {
      const float x = w(i, j);
      double& y = r[size_t(i * w.cols + j)];
      if (t == DType::kF32) y = x;
      if (t == DType::kF16) y = half_to_float(float_to_half(x));
      if (t == DType::kI8) y = scale > 0 ? double(std::nearbyint(x / scale)) * double(scale) : 0.0;
    }
  }
  return r;
}

struct Packed {
  AlignedBuffer data, scales;
};

Packed pack(const Rows& w, DType t) {
  Packed p{AlignedBuffer(packed_weight_bytes(w.rows, w.cols, t)), AlignedBuffer(size_t(round_up(w.rows, 4)) * 4)};
  std::vector<float> dense(size_t(w.rows * w.cols));
  for (int64_t i = 0; i < w.rows; ++i) {
    for (int64_t j = 0; j < w.cols; ++j) dense[size_t(i * w.cols + j)] = w(i, j);
  }
  // In two ranges, the later first, as threads might.
  const int64_t cut = std::min(w.rows, round_up(w.rows / 2, 32));
  pack_weight(dense.data() + cut * w.cols, cut, w.rows - cut, w.rows, w.cols, t, p.data.data(), p.scales.as<float>());
  pack_weight(dense.data(), 0, cut, w.rows, w.cols, t, p.data.data(), p.scales.as<float>());
  return p;
}

/// Reference of one output with its error bound: sums of k products in any order, in fp32 with or without FMA.
void check_gemm(const std::string& what, const GemmArgs& g, const std::function<double(int64_t, int64_t)>& a,
                const std::vector<double>& w, const Rows& residual, const Rows& out, int64_t row_step) {
  int failures = 0;
  for (int64_t i = 0; i < g.m; i += row_step) {
    for (int64_t j = 0; j < g.n; ++j) {
      double sum = 0.0, size = 0.0;
      for (int64_t x = 0; x < g.k; ++x) {
        const double t = a(i, x) * w[size_t(j * g.k + x)];
        sum += t;
        size += std::fabs(t);
      }
      if (g.bias != nullptr) sum += double(g.bias[j]), size += std::fabs(double(g.bias[j]));
      double y = ref_act(g.act, sum);
      double bound = kSlope * (double(g.k) + 8.0) * kEps * size;
      if (g.act != Act::kNone) bound += 1e-6 * std::fabs(y) + 6e-7;
      if (g.col_scale != nullptr) y *= double(g.col_scale[j]), bound *= std::fabs(double(g.col_scale[j]));
      if (g.residual != nullptr) y += double(residual(i, j)), bound += 2 * kEps * std::fabs(double(residual(i, j)));
      bound += 2 * kEps * std::fabs(y) + 1e-37;
      expect_near(what, out(i, j), y, bound, i, j, &failures);
    }
  }
}

TEST_P(Simd, Gemm) {
  const GemmCase cases[] = {{1, 1, 1},     {1, 5, 1},       {3, 33, 7},      {5, 31, 64},    {13, 97, 101},
                            {14, 32, 16},  {15, 36, 127},   {29, 1000, 48},  {1, 1000, 768}, {2, 40, 1541},
                            {43, 65, 769}, {197, 192, 192}, {197, 96, 3072}, {211, 34, 131}, {67, 30, 1024}};
  uint64_t seed = 1;
  for (const GemmCase& c : cases) {
    if (slow() && c.m * c.n * c.k > 4000000) continue;
    for (DType t : {DType::kF32, DType::kF16, DType::kI8}) {
      for (int variant = 0; variant < 4; ++variant) {
        const std::string what = "gemm " + std::to_string(c.m) + "x" + std::to_string(c.n) + "x" + std::to_string(c.k) +
                                 " type " + std::to_string(int(t)) + " variant " + std::to_string(variant);
        Rows a = Rows::random(c.m, c.k, ++seed, 1.0f, variant == 1 ? 4 : 0);
        const Rows w = Rows::random(c.n, c.k, ++seed);
        Packed p = pack(w, t);
        const Vec bias(c.n, ++seed), col(c.n, ++seed);
        Rows residual = Rows::random(c.m, c.n, ++seed);
        Rows out = Rows::output(c.m, c.n, variant == 2 ? 8 : 0);
        GemmArgs g;
        g.a = a.p(), g.lda = a.ld, g.m = c.m, g.n = c.n, g.k = c.k, g.b = p.data.data(), g.type = t;
        if (t == DType::kI8) g.b_scales = p.scales.as<float>();
        if (variant != 0) g.bias = bias.p(), g.act = kActs[(seed / 6) % 6];
        if (variant == 2) g.col_scale = col.p(), g.residual = residual.p(), g.ldr = residual.ld;
        if (variant == 3) {  // in place
          for (int64_t i = 0; i < c.m; ++i) std::copy_n(&residual(i, 0), c.n, &out(i, 0));
          g.residual = out.p(), g.ldr = out.ld;
        }
        g.out = out.p(), g.ldo = out.ld;
        run(k().gemm, g);
        out.check_frame(what);
        check_gemm(
            what, g, [&](int64_t i, int64_t x) { return double(a(i, x)); }, stored_weight(w, t), residual, out,
            c.m > 40 ? 7 : 1);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(Simd, GemmKeepsNanInItsRow) {
  Rows a = Rows::random(20, 40, 1);
  const Rows w = Rows::random(37, 40, 2);
  for (DType t : {DType::kF32, DType::kI8}) {
    for (Act act : kActs) {
      Packed p = pack(w, t);
      Rows out = Rows::output(20, 37);
      a(3, 5) = kNan;
      a(4, 6) = kInf;
      GemmArgs g;
      g.a = a.p(), g.lda = a.ld, g.m = 20, g.n = 37, g.k = 40, g.b = p.data.data(), g.type = t, g.act = act;
      if (t == DType::kI8) g.b_scales = p.scales.as<float>();
      g.out = out.p(), g.ldo = out.ld;
      run(k().gemm, g);
      out.check_frame("nan");
      for (int64_t i = 0; i < 20; ++i) {
        for (int64_t j = 0; j < 37; ++j) {
          if (i == 3) {
            EXPECT_TRUE(std::isnan(out(i, j))) << j;
          } else if (i != 4) {
            EXPECT_TRUE(std::isfinite(out(i, j))) << i << " " << j;
          } else if (act == Act::kNone) {
            EXPECT_FALSE(std::isfinite(out(i, j))) << j;
          }
        }
      }
    }
  }
}

TEST(SimdPack, Int8RoundsHalfToEvenAndZeroRowsStayZero) {
  const int64_t n = 5, kk = 4;
  const float rows[n * kk] = {127, 0.5f, 1.5f, -2.5f, 0, 0, 0, 0, -254, 1, 3, 5, 1e-30f, 0, 0, 0, 1, 1, 1, -1};
  AlignedBuffer p(packed_weight_bytes(n, kk, DType::kI8));
  float scales[8];
  std::fill_n(scales, 8, kSentinel);
  pack_weight(rows, 0, n, n, kk, DType::kI8, p.data(), scales);
  const auto q = [&](int64_t row, int64_t x) { return int(p.as<int8_t>()[x * kPanel + row]); };
  EXPECT_EQ(scales[0], 1.0f);
  EXPECT_EQ(q(0, 0), 127);
  EXPECT_EQ(q(0, 1), 0);
  EXPECT_EQ(q(0, 2), 2);
  EXPECT_EQ(q(0, 3), -2);
  EXPECT_EQ(scales[1], 0.0f);
  EXPECT_EQ(q(1, 0), 0);
  EXPECT_EQ(scales[2], 2.0f);
  EXPECT_EQ(q(2, 0), -127);
  EXPECT_EQ(q(2, 1), 0);
  EXPECT_EQ(q(2, 2), 2);
  for (int i = 5; i < 8; ++i) EXPECT_EQ(scales[i], 0.0f);
  for (int64_t x = 0; x < kk; ++x) {
    for (int64_t r = n; r < kPanel; ++r) EXPECT_EQ(q(r, x), 0);
  }
}

// ---- convolution ----

double pixel(const ConvGeometry& g, int64_t image, int64_t y, int64_t x, int64_t c) {
  if (y < 0 || y >= g.h || x < 0 || x >= g.w) return 0.0;
  if (g.planar) return double(g.x[((image * g.c + c) * g.h + y) * g.w + x]);
  return double(g.x[((image * g.h + y) * g.w + x) * g.ldx + c]);
}

double patch(const ConvGeometry& g, int64_t row, int64_t i) {
  const int64_t ox = row % g.out_w, oy = row / g.out_w % g.out_h, image = row / g.out_w / g.out_h;
  const int64_t taps = g.kernel_h * g.kernel_w;
  const int64_t tap = g.planar ? i % taps : i / g.c, c = g.planar ? i / taps : i % g.c;
  return pixel(g, image, oy * g.stride_y - g.pad_y + tap / g.kernel_w * g.dilation_y,
               ox * g.stride_x - g.pad_x + tap % g.kernel_w * g.dilation_x, c);
}

ConvGeometry geometry(int64_t n, int64_t h, int64_t w, int64_t c, int64_t kh, int64_t kw, int64_t stride, int64_t pad,
                      int64_t dilation, bool planar) {
  ConvGeometry g;
  g.n = n, g.h = h, g.w = w, g.c = c, g.kernel_h = kh, g.kernel_w = kw, g.stride_y = g.stride_x = stride;
  g.pad_y = g.pad_x = pad, g.dilation_y = g.dilation_x = dilation, g.planar = planar;
  g.out_h = (h + 2 * pad - dilation * (kh - 1) - 1) / stride + 1;
  g.out_w = (w + 2 * pad - dilation * (kw - 1) - 1) / stride + 1;
  return g;
}

const ConvGeometry kGeometries[] = {
    geometry(1, 32, 48, 3, 16, 16, 16, 0, 1, false), geometry(2, 32, 32, 3, 16, 16, 16, 0, 1, true),
    geometry(2, 9, 7, 5, 3, 3, 1, 1, 1, false),      geometry(2, 9, 7, 5, 3, 3, 2, 1, 1, true),
    geometry(1, 11, 13, 37, 3, 3, 2, 1, 1, false),   geometry(1, 10, 10, 6, 3, 3, 1, 2, 2, false),
    geometry(1, 10, 10, 6, 3, 5, 1, 2, 2, true),     geometry(1, 6, 5, 33, 1, 1, 1, 0, 1, false),
    geometry(1, 4, 4, 2, 7, 7, 1, 3, 1, false),      geometry(1, 12, 12, 100, 3, 3, 1, 1, 1, false),
    geometry(1, 28, 28, 3, 14, 14, 14, 0, 1, true),  geometry(1, 64, 64, 3, 7, 7, 4, 3, 1, true)};

/// Gives the geometry data: planar dense, or NHWC rows.
Rows image(ConvGeometry* g, uint64_t seed) {
  Rows x = g->planar ? Rows::random(1, g->n * g->c * g->h * g->w, seed) : Rows::random(g->n * g->h * g->w, g->c, seed);
  g->x = x.p();
  g->ldx = g->planar ? 0 : x.ld;
  return x;
}

TEST_P(Simd, ConvAndIm2col) {
  uint64_t seed = 100;
  for (ConvGeometry g : kGeometries) {
    const Rows x = image(&g, ++seed);
    const std::string what = "conv " + std::to_string(g.h) + "x" + std::to_string(g.w) + "x" + std::to_string(g.c) +
                             " kernel " + std::to_string(g.kernel_h) + (g.planar ? " planar" : "");
    const int64_t first = g.rows() / 3, count = g.rows() - first;
    Im2colArgs ic;
    Rows patches = Rows::output(count, g.k());
    ic.geometry = g, ic.first = first, ic.count = count, ic.out = patches.p(), ic.ldo = patches.ld;
    run(k().im2col, ic);
    patches.check_frame(what);
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t i = 0; i < g.k(); ++i) {
        ASSERT_EQ(double(patches(r, i)), patch(g, first + r, i)) << what << r << " " << i;
      }
    }
    const int64_t n = 35;
    const Rows w = Rows::random(n, g.k(), ++seed);
    for (DType t : {DType::kF32, DType::kI8}) {
      Packed p = pack(w, t);
      const Vec bias(n, ++seed);
      Rows out = Rows::output(g.rows(), n), none(0, 0, 0.0f);
      ConvArgs a;
      a.geometry = g;
      a.gemm.n = n, a.gemm.b = p.data.data(), a.gemm.type = t, a.gemm.bias = bias.p(), a.gemm.act = Act::kSilu;
      if (t == DType::kI8) a.gemm.b_scales = p.scales.as<float>();
      a.gemm.out = out.p(), a.gemm.ldo = out.ld;
      run(k().conv, a);
      out.check_frame(what);
      GemmArgs as = a.gemm;
      as.m = g.rows(), as.k = g.k();
      check_gemm(
          what, as, [&](int64_t r, int64_t i) { return patch(g, r, i); }, stored_weight(w, t), none, out,
          g.rows() > 40 ? 7 : 1);
    }
  }
}

TEST_P(Simd, DepthwiseAndPool) {
  uint64_t seed = 200;
  for (ConvGeometry g : kGeometries) {
    if (g.planar) continue;
    const Rows x = image(&g, ++seed);
    const int64_t taps = g.kernel_h * g.kernel_w;
    Rows w = Rows::random(taps, g.c, ++seed);
    const Vec bias(g.c, ++seed);
    DepthwiseArgs dw;
    Rows out = Rows::output(g.rows(), g.c);
    dw.geometry = g, dw.weight = w.p(), dw.ldw = w.ld, dw.bias = bias.p(), dw.act = Act::kGeluErf;
    dw.out = out.p(), dw.ldo = out.ld;
    run(k().depthwise, dw);
    out.check_frame("depthwise");
    int failures = 0;
    const auto tap = [&](int64_t row, int64_t t, int64_t c) { return patch(g, row, t * g.c + c); };
    for (int64_t r = 0; r < g.rows(); ++r) {
      for (int64_t c = 0; c < g.c; ++c) {
        double sum = bias[c];
        for (int64_t t = 0; t < taps; ++t) sum += tap(r, t, c) * double(w(t, c));
        expect_near("depthwise", out(r, c), ref_act(Act::kGeluErf, sum), 2e-6 * double(taps), r, c, &failures);
      }
    }
    for (int mode = 0; mode < 3; ++mode) {
      PoolArgs pool;
      Rows y = Rows::output(g.rows(), g.c);
      pool.geometry = g, pool.average = mode != 2, pool.count_include_pad = mode == 1;
      pool.out = y.p(), pool.ldo = y.ld;
      run(k().pool, pool);
      y.check_frame("pool");
      for (int64_t r = 0; r < g.rows(); ++r) {
        for (int64_t c = 0; c < g.c; ++c) {
          double sum = 0.0, most = -HUGE_VAL;
          int64_t count = 0;
          const int64_t oy = r / g.out_w % g.out_h, ox = r % g.out_w;
          for (int64_t t = 0; t < taps; ++t) {
            const int64_t iy = oy * g.stride_y - g.pad_y + t / g.kernel_w * g.dilation_y;
            const int64_t ix = ox * g.stride_x - g.pad_x + t % g.kernel_w * g.dilation_x;
            if (iy < 0 || iy >= g.h || ix < 0 || ix >= g.w) continue;
            sum += tap(r, t, c), most = std::max(most, tap(r, t, c)), ++count;
          }
          const double want = mode == 2 ? most : sum / double(mode == 1 ? taps : std::max<int64_t>(count, 1));
          expect_near("pool", y(r, c), want, 2e-7 * double(taps), r, c, &failures);
        }
      }
    }
  }
}

TEST_P(Simd, MaxPoolKeepsNan) {
  ConvGeometry g = geometry(1, 6, 6, 5, 3, 3, 1, 1, 1, false);
  Rows x = image(&g, 7);
  x(14, 2) = kNan;
  g.x = x.p();
  Rows out = Rows::output(36, 5);
  PoolArgs a;
  a.geometry = g, a.average = false, a.out = out.p(), a.ldo = out.ld;
  run(k().pool, a);
  for (int64_t r = 0; r < 36; ++r) {
    const bool near = std::abs(r / 6 - 2) <= 1 && std::abs(r % 6 - 2) <= 1;
    for (int64_t c = 0; c < 5; ++c) EXPECT_EQ(std::isnan(out(r, c)), near && c == 2) << r << " " << c;
  }
}

// ---- attention ----

struct AttentionCase {
  int64_t batch, tokens, kv, heads, dim;
  float size;  // of q and k
  bool bias;
  int64_t values = 0;  // of a head; 0: dim
};

void check_attention(const Kernels& kernels, const AttentionCase& c, int64_t row_step) {
  const std::string what = "attention " + std::to_string(c.batch) + "x" + std::to_string(c.tokens) + "x" +
                           std::to_string(c.kv) + " heads " + std::to_string(c.heads) + "x" + std::to_string(c.dim);
  const int64_t d = c.heads * c.dim, vdim = c.values ? c.values : c.dim, vd = c.heads * vdim;
  Rows q = Rows::random(c.batch * c.tokens, d, 1, c.size, 4), key = Rows::random(c.batch * c.kv, d, 2, c.size),
       v = Rows::random(c.batch * c.kv, vd, 3), out = Rows::output(c.batch * c.tokens, vd, 4);
  const int64_t bias_batch = std::min<int64_t>(c.batch, 2);
  Rows bias = Rows::random(bias_batch * c.heads * c.tokens, c.kv, 4);
  AttentionArgs a;
  a.q = q.p(), a.ldq = q.ld, a.k = key.p(), a.ldk = key.ld, a.v = v.p(), a.ldv = v.ld, a.batch = c.batch;
  a.tokens = c.tokens, a.kv_tokens = c.kv, a.heads = c.heads, a.head_dim = c.dim, a.value_dim = c.values;
  a.scale = float(1.0 / std::sqrt(double(c.dim))), a.out = out.p(), a.ldo = out.ld;
  if (c.bias) {
    a.bias = bias.p(), a.bias_ld = bias.ld, a.bias_head_stride = c.tokens * bias.ld;
    a.bias_batch = bias_batch, a.bias_batch_stride = c.heads * a.bias_head_stride;
  }
  run(kernels.attention, a);
  out.check_frame(what);
  int failures = 0;
  std::vector<double> s(static_cast<size_t>(c.kv));
  for (int64_t row = 0; row < c.batch * c.tokens; row += row_step) {
    const int64_t b = row / c.tokens, i = row % c.tokens;
    for (int64_t h = 0; h < c.heads; ++h) {
      double most = -HUGE_VAL, sum = 0.0, size = 0.0;
      for (int64_t j = 0; j < c.kv; ++j) {
        double t = 0.0, t_size = 0.0;
        for (int64_t x = 0; x < c.dim; ++x) {
          const double y = double(q(row, h * c.dim + x)) * double(a.scale) * double(key(b * c.kv + j, h * c.dim + x));
          t += y, t_size += std::fabs(y);
        }
        if (c.bias) t += double(bias(((b % bias_batch) * c.heads + h) * c.tokens + i, j));
        s[size_t(j)] = t;
        most = std::max(most, t);
        size = std::max(size, t_size + 2.0);
      }
      for (double& t : s) t = std::exp(t - most), sum += t;
      // An error e of a score is a factor 1 + e of its weight; then the rounding of the weighted sum itself.
      const double bound = 2.0 * (double(c.dim) + 4.0) * kEps * size + (double(c.kv) + 16.0) * kEps;
      for (int64_t x = 0; x < vdim; ++x) {
        double y = 0.0;
        for (int64_t j = 0; j < c.kv; ++j) y += s[size_t(j)] / sum * double(v(b * c.kv + j, h * vdim + x));
        expect_near(what, out(row, h * vdim + x), y, bound, row, h * vdim + x, &failures);
      }
    }
  }
}

TEST_P(Simd, Attention) {
  const AttentionCase cases[] = {
      {1, 1, 1, 1, 1, 1, false},        {1, 1, 1, 2, 64, 1, true},       {2, 5, 5, 3, 7, 2, false},
      {1, 49, 49, 4, 32, 3, true},      {3, 17, 17, 2, 36, 1, true},     {1, 197, 197, 3, 64, 3, false},
      {1, 33, 300, 2, 128, 2, false},   {1, 7, 513, 1, 80, 4, true},     {1, 257, 257, 1, 64, 1, false},
      {1, 64, 256, 2, 16, 1, false},    {1, 577, 577, 1, 64, 2, false},  {1, 197, 197, 3, 32, 3, false, 64},
      {2, 40, 300, 2, 64, 2, true, 20}, {1, 19, 19, 3, 7, 1, false, 33}, {1, 9, 260, 2, 1, 2, false, 128},
      {2, 11, 11, 3, 128, 1, false, 1}};
  for (const AttentionCase& c : cases) {
    if (slow() && c.tokens > 300) continue;
    check_attention(k(), c, c.tokens > 60 ? 5 : 1);
  }
}

TEST_P(Simd, AttentionOfHugeScoresAndNan) {
  // Scores of about 1e4: the winner takes all, and nothing overflows.
  const int64_t n = 300, dim = 64;
  Rows qkv = Rows::random(n, 3 * dim, 5), out = Rows::output(n, dim);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < 2 * dim; ++j) qkv(i, j) *= 40.0f;
  }
  qkv(7, 3) = kNan;  // of a query: its row only
  const AttentionArgs a = AttentionArgs::from_qkv(qkv.p(), qkv.ld, 1, n, 1, dim, 1.0f, out.p(), out.ld);
  run(k().attention, a);
  out.check_frame("attention");
  for (int64_t i = 0; i < n; ++i) {
    double best = -HUGE_VAL, second = -HUGE_VAL;
    int64_t winner = 0;
    for (int64_t j = 0; j < n; ++j) {
      double t = 0.0;
      for (int64_t x = 0; x < dim; ++x) t += double(qkv(i, x)) * double(qkv(j, dim + x));
      if (t > best) {
        second = best, best = t, winner = j;
      } else {
        second = std::max(second, t);
      }
    }
    for (int64_t x = 0; x < dim; ++x) {
      if (i == 7) {
        EXPECT_TRUE(std::isnan(out(i, x)));
      } else if (best - second > 30.0) {
        EXPECT_NEAR(out(i, x), qkv(winner, 2 * dim + x), 1e-6);
      } else {
        EXPECT_LE(std::fabs(out(i, x)), 1.0001);
      }
    }
  }
  qkv(7, 3) = 0.0f;
  qkv(290, dim + 3) = kNan;  // of a key: every row
  run(k().attention, a);
  for (int64_t i = 0; i < n; ++i) EXPECT_TRUE(std::isnan(out(i, 0))) << i;
}

// Threads may share a kernel call: the same result bit for bit, whatever the number of threads.
TEST_P(Simd, ThreadsDoNotChangeTheResult) {
  const int64_t m = 50, n = 200, kk = 800;
  Rows a = Rows::random(m, kk, 1);
  const Rows w = Rows::random(n, kk, 2);
  Packed p = pack(w, DType::kF16);
  std::vector<float> first;
  for (int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    Rows out = Rows::output(m, n);
    GemmArgs g;
    g.a = a.p(), g.lda = a.ld, g.m = m, g.n = n, g.k = kk, g.b = p.data.data(), g.type = DType::kF16;
    g.out = out.p(), g.ldo = out.ld;
    const size_t each = (k().gemm.scratch_bytes(g) + 63) / 64 * 64;
    AlignedBuffer scratch(each * size_t(threads));
    pool.parallel_for(k().gemm.items(g), 1, [&](int64_t begin, int64_t end, int thread) {
      k().gemm.run(g, begin, end, scratch.as<char>() + size_t(thread) * each);
    });
    if (first.empty()) first = out.data;
    EXPECT_EQ(out.data, first);
  }
}

}  // namespace
}  // namespace vireo::simd
