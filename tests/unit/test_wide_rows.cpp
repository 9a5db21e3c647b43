// Weights of 4 bits some of whose rows have 8: policies, constants, memory, products, checkpoints and the recipe.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "base/aligned.h"
#include "base/half.h"
#include "base/json.h"
#include "compress/encode.h"
#include "compress/mix_rows.h"
#include "cpu/executable.h"
#include "model/compressed.h"
#include "plan/plan.h"
#include "runtime/model_impl.h"
#include "test_model_family.h"

#include <vireo/compress.hpp>
#include <vireo/simulate.hpp>

namespace vireo {
namespace {

using test::TempDir;

Grid grid_of(const std::string& name, int32_t wide = 0) {
  Format f;
  EXPECT_TRUE(parse_format(name, &f)) << name;
  f.grid.wide = wide;
  return f.grid;
}

template <typename T>
void expect_says(const Result<T>& r, const std::string& what) {
  ASSERT_FALSE(r.ok()) << "expected: " << what;
  EXPECT_NE(r.error().message.find(what), std::string::npos) << r.error().message;
}

FormatPolicy policy(const std::string& text) {
  auto p = parse_policy(text, "mine");
  EXPECT_TRUE(p.ok()) << p.error().message;
  return p.ok() ? *p : FormatPolicy();
}

TEST(WideRows, EveryCodeIsTwoParts) {
  for (int code = -128; code < 128; ++code) {
    const int low = low_part(int8_t(code)), high = high_part(int8_t(code));
    EXPECT_EQ(low + 16 * high - 120, code);
    EXPECT_TRUE(low >= -8 && low <= 7 && high >= 0 && high <= 15) << code;
  }
}

TEST(WideRows, APolicySaysThemByNumber) {
  std::vector<bool> wide;
  const auto of = [&wide](const FormatPolicy& p, const char* name) {
    const auto f = p.of_rows(name, 6, &wide);
    EXPECT_TRUE(f.ok()) << f.error().message;
    return f.ok() ? to_string(*f) : "";
  };
  const FormatPolicy p =
      policy("weights i4g8\na*[1:3] i8g8\nab[4:5] i8g8\nb[0:2] i4g8\nc[0:6] i8g8\nd[0:6] i8g8\nd i3\n");
  EXPECT_EQ(of(p, "a"), "i4g8+2xi8");
  EXPECT_EQ(wide, (std::vector<bool>{false, true, true, false, false, false}));
  EXPECT_EQ(of(p, "ab"), "i4g8+3xi8");
  EXPECT_EQ(wide, (std::vector<bool>{false, true, true, false, true, false}));
  EXPECT_EQ(of(p, "b"), "i4g8");
  EXPECT_TRUE(wide.empty());
  EXPECT_EQ(of(p, "c"), "i4g8+6xi8");  // as its neighbours in a stack may have rows of 4
  EXPECT_EQ(of(p, "d"), "i3");         // the last rule that names a row counts
  EXPECT_EQ(of(p, "e"), "i4g8");
  // The other way round: rows of fewer bits.
  EXPECT_EQ(of(policy("weights i8\na[2:6] i2\n"), "a"), "i2+2xi8");
  EXPECT_EQ(wide, (std::vector<bool>{true, true, false, false, false, false}));

  // Ranges that leave no row out are a rule for all of them, of any format.
  EXPECT_EQ(of(policy("weights f32\na[0:2] i5\na[2:6] i5\n"), "a"), "i5");
  EXPECT_EQ(of(policy("weights i4g8\na[0:6] f16\n"), "a"), "f16");
  expect_says(policy("weights i4g8\na[0:5] f16\n").of_rows("a", 6, &wide), "rows of 'a' are to be i4g8 and f16");

  const auto refused = [&wide](const char* text, const std::string& what) {
    expect_says(policy(text).of_rows("a", 6, &wide), what);
  };
  refused("weights i4\na[4:7] i8\n", "line 2: 'a' has 6 rows, not the 4 to 6 of [4:7]");
  refused("weights i4\na[1:3] f16\n", "rows of 'a' are to be i4 and f16");
  refused("weights f32\na[1:3] i8\n", "are to be f32 and i8");
  refused("weights i4g8\na[1:3] i8\n", "are to be i4g8 and i8");
  refused("weights i4\na[1:3] u8\n", "are to be i4 and u8");
  refused("weights i4\na[1:3] i6\n", "are to be i4 and i6");
  refused("weights i4\na[1:3] i3\n", "are to be i4 and i3");
  refused("weights i4tensor\na[1:3] i8tensor\n", "are to be i4tensor and i8tensor");
  refused("weights i5\na[1:3] i8\n", "are to be i5 and i8");
  for (const char* line :
       {"a[1:1] i8", "a[3:1] i8", "a[-1:3] i8", "a[1:3 i8", "a[1:] i8", "a[:3] i8", "a[1-3] i8", "a[1:3]b i8",
        "[1:3] i8", "a[1:3][4:5] i8", "a[1: 3] i8", "a[1:+3] i8", "a[1:3] i8 i8", "a[1:99999999999999999999] i8"})
    expect_says(parse_policy(std::string("weights i4\n") + line, "mine"), "policy 'mine', line 2");
}

/// Codes that fill their bits, with scales (and zero points) of their own; every third row is wide.
struct Mixture {
  int64_t rows, cols;
  Grid grid;
  std::vector<int8_t> codes, zeros;
  std::vector<float> scales;
  std::vector<bool> wide;

  Mixture(int64_t n, int64_t k, const std::string& name, uint32_t seed) : rows(n), cols(k), grid(grid_of(name)) {
    std::mt19937 random(seed);
    for (int64_t r = 0; r < n; ++r) {
      wide.push_back(r % 3 == 1);
      grid.wide += r % 3 == 1;
      const int bits = r % 3 == 1 ? 8 : grid.bits;
      for (int64_t i = 0; i < k; ++i) codes.push_back(int8_t(int(random() % (1u << bits)) - (1 << (bits - 1))));
      codes[size_t(r * k)] = int8_t(-(1 << (bits - 1)));
      for (int64_t g = 0; g < grid.groups(k); ++g) {
        scales.push_back(std::ldexp(0.5f + float(random() % 1024) / 1024.f, -bits));
        if (grid.zero_points) zeros.push_back(int8_t(int(random() % 16) - 8));
      }
    }
  }
  ConstantPtr constant() const { return coded_constant(rows, cols, grid, codes, scales, zeros, wide); }
  /// The same numbers with a byte for every code.
  ConstantPtr bytes() const {
    Grid all = grid;
    all.bits = 8, all.wide = 0;
    return coded_constant(rows, cols, all, codes, scales, zeros);
  }
};

TEST(WideRows, ConstantsKeepThem) {
  const Mixture m(5, 8, "i4g4", 1), other(4, 8, "i4g4", 2);
  const ConstantPtr a = m.constant(), four = coded_constant(2, 8, grid_of("i4g4"), std::vector<int8_t>(16, 3),
                                                            std::vector<float>(4, 1.f), {});
  const auto format = [](const ConstantPtr& c) { return to_string(Format{DType::kI8, c->grid()}); };
  const ConstantPtr gain = make_constant(1, 5, {2.f, .5f, 1.f, 4.f, -1.f});
  const ConstantPtr stacked = stack_rows({four, a, other.constant()});
  EXPECT_EQ(format(stacked), "i4g4+3xi8");
  std::vector<bool> wide;
  for (int64_t r = 0; r < 11; ++r) wide.push_back(stacked->wide(r));
  EXPECT_EQ(wide, (std::vector<bool>{false, false, false, true, false, false, true, false, true, false, false}));
  for (const ConstantPtr& c : {stacked, scale_constant(a, 2.f), scale_rows(a, gain)}) {
    std::vector<float> numbers(size_t(c->rows() * c->cols()));
    read_decoded(*c, 0, c->rows(), numbers.data());
    EXPECT_EQ(numbers, c->read_all());
  }
  EXPECT_EQ(format(scale_rows(a, gain)), "i4g4+2xi8");
  EXPECT_TRUE(scale_constant(a, 2.f)->wide(1));
  // Beside a part of 8 bits all rows have 8.
  EXPECT_EQ(format(stack_rows({a, m.bytes()})), "i8g4");
  EXPECT_EQ(format(stack_rows({coded_constant(1, 8, grid_of("i5g4"), std::vector<int8_t>(8, 3), {1.f, 1.f}, {}), a})),
            "i8g4");
}

struct Linear {
  std::vector<float> out;
  std::string text, kernel;
  PlanConst weight;
};

/// A linear of that weight on 21 rows.
Linear run_linear(const ConstantPtr& weight, const FormatPolicy& how, const simd::Kernels& kernels) {
  Linear r;
  const int64_t m = 21, k = weight->cols();
  GraphBuilder b("g");
  b.output(b.add(OpKind::kLinear, "y", {b.input("x", {DType::kF32, Shape{{1, 1, m, k}}}), b.constant("w", weight)}));
  Result<Graph> g = b.finish();
  DeviceCaps caps;
  caps.kind = DeviceKind::kCpu, caps.simd = kernels.name, caps.threads = 2;
  PlanOptions options;
  options.policy = how;
  const Result<Planned> p = make_plan(std::move(*g), caps, options);
  EXPECT_TRUE(p.ok()) << p.error().message;
  if (!p.ok()) return r;
  r.text = dump(p->plan), r.kernel = p->plan.steps[0].kernel;
  for (const PlanConst& c : p->plan.consts)
    if (c.name == "w") r.weight = c;
  ThreadPool pool(2);
  auto e = cpu::Executable::create(p->plan, p->graph, pool, kernels, 1);
  EXPECT_TRUE(e.ok());
  const std::vector<float> x = random_constant(m, k, 11, 2.f)->read_all();
  const int64_t ld = p->plan.values[size_t(p->plan.inputs[0])].desc.row_stride();
  for (int64_t i = 0; i < m; ++i) std::copy_n(x.begin() + i * k, k, (*e)->input(0) + i * ld);
  (*e)->run(0, pool);
  const TensorDesc& d = p->plan.values[size_t(p->plan.outputs[0])].desc;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < d.shape.c(); ++j) r.out.push_back((*e)->output(0)[i * d.row_stride() + j]);
  return r;
}

TEST(WideRows, ProductsAreThoseOfTheSameCodesInBytes) {
  FormatPolicy keep = policy_of(Precision::kCheckpoint), integers = keep;
  integers.products = Products::kI8,
  integers.rules.push_back({"w", {DType::kI8, grid_of("i8")}, true, {RowCodes::Kind::kDynamic}});
  for (int target = 0; simd::supported(target) != nullptr; ++target)
    for (const auto& [n, k, name] : {std::tuple<int64_t, int64_t, const char*>{70, 96, "i4g32"},
                                     {33, 64, "u4g16"},
                                     {32, 1600, "i3g64"},
                                     {5, 8, "i2g8"},
                                     {97, 36, "i4g4"}}) {
      const Mixture m(n, k, name, uint32_t(n));
      for (const FormatPolicy* how : {&keep, &integers}) {
        const Linear mixed = run_linear(m.constant(), *how, *simd::supported(target)),
                     bytes = run_linear(m.bytes(), *how, *simd::supported(target));
        const std::string what = std::string(name) + " on " + simd::supported(target)->name + ": " + mixed.kernel;
        EXPECT_EQ(mixed.kernel.find("int8") != std::string::npos, how == &integers) << what;
        EXPECT_EQ(mixed.kernel, bytes.kernel) << what;
        ASSERT_EQ(mixed.out.size(), bytes.out.size()) << what;
        int off = 0;
        for (size_t i = 0; i < mixed.out.size(); ++i) {
          // Zero points of wide rows are added in one rounding on some CPUs and in two on others.
          const float room = m.grid.zero_points && how == &keep ? 1e-5f * std::max(1.f, std::fabs(bytes.out[i])) : 0.f;
          off += !(std::fabs(mixed.out[i] - bytes.out[i]) <= room);
        }
        EXPECT_EQ(off, 0) << what;
      }
    }
}

TEST(WideRows, OnlyTheyTakeEightBitsInMemory) {
  const int64_t n = 64, k = 768;
  const Mixture m(n, k, "i4g64", 5);
  for (const bool rows : {false, true}) {
    FormatPolicy how = policy_of(Precision::kCheckpoint);
    if (rows) how.rules.push_back({"w", {DType::kI8, grid_of("i8")}, true, {RowCodes::Kind::kDynamic}});
    const Linear r = run_linear(m.constant(), how, simd::best());
    const int64_t scales = n * (k / 64) * 4, words = n * 4;
    EXPECT_EQ(int64_t(r.weight.pack.bytes), n * k / 2 + scales + words + m.grid.wide * k / 2) << r.text;
    EXPECT_NE(r.text.find("constant w i4g64+21xi8"), std::string::npos) << r.text;
    EXPECT_NE(r.text.find("stored as i4g64+21xi8"), std::string::npos) << r.text;
  }
}

TEST(WideRows, FloatsAreRoundedToWhatTheirRowsHave) {
  const ConstantPtr w = random_constant(6, 16, 3, 1.f);
  const std::vector<float> floats = w->read_all();
  Graph g;
  GraphBuilder b("g");
  b.output(b.add(OpKind::kLinear, "y", {b.input("x", {DType::kF32, Shape{{1, 1, 2, 16}}}), b.constant("w", w)}));
  g = *b.finish();
  Graph other = g;
  ASSERT_TRUE(assign(g, policy("weights i4g8\nw[2:4] i8g8\n")).ok());
  ConstantPtr coded;
  for (const Value& v : g.values)
    if (v.name == "w") coded = v.constant;
  const std::vector<float> got = coded->read_all();
  for (int64_t r = 0; r < 6; ++r)
    for (int64_t first = 0; first < 16; first += 8) {
      double most = 0;
      for (int64_t i = 0; i < 8; ++i) most = std::max(most, std::fabs(double(floats[size_t(r * 16 + first + i)])));
      const bool eight = r == 2 || r == 3;
      const double scale = most / (eight ? 127.5 : 7.5);
      for (int64_t i = 0; i < 8; ++i) {
        const size_t at = size_t(r * 16 + first + i);
        const double code = std::min(eight ? 127.0 : 7.0, std::nearbyint(double(floats[at]) / scale));
        EXPECT_NEAR(double(got[at]), code * scale, 1e-6 * most) << r;
      }
    }
  EXPECT_TRUE(coded->wide(3));
  EXPECT_FALSE(coded->wide(4));
  expect_says(assign(other, policy("weights i4g8\nw[2:7] i8g8\n")), "'w' has 6 rows");
}

// ---- checkpoints

constexpr const char* kRows = R"({"version":1,"rows":{"bits":8}})";

std::string config(const std::string& own,
                   const std::string& weights = R"("num_bits":4,"strategy":"group","group_size":8)") {
  return R"({"quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized",)" +
         (own.empty() ? "" : "\"vireo\":" + own + ",") + R"("config_groups":{"g":{"targets":["l"],"weights":{)" +
         weights + "}}}}}";
}

/// A weight "l.weight" [3, 16], by hand: row 1 has 8 bits.
struct File {
  std::vector<uint32_t> packed;
  std::vector<int32_t> wide = {1};
  std::vector<float> scales = {1, 2, .5f, .25f, 4, 8};
  std::vector<int64_t> shape = {3, 16};
  std::string dtype = "I32";

  File() {
    for (int r = 0; r < 4; ++r)  // row 3: the high parts of row 1
      for (int word = 0; word < 2; ++word) {
        uint32_t w = 0;
        for (int i = 0; i < 8; ++i) w |= nibble(r, word * 8 + i) << (4 * i);
        packed.push_back(w);
      }
  }
  static int code(int r, int i) { return r == 1 ? 17 * i - 128 : (r + i) % 16 - 8; }
  static uint32_t nibble(int r, int i) {
    if (r == 3) return uint32_t((code(1, i) + 128) / 16);
    return r == 1 ? uint32_t((code(1, i) + 128) % 16) : uint32_t(code(r, i) + 8);
  }
  Result<ConstantPtr> open(const std::string& text, int64_t first = 0, int64_t rows = 3) const {
    const auto view = [](const char* name, const std::string& type, std::vector<int64_t> s, const void* data,
                         size_t bytes) {
      return TensorView{name, type, std::move(s), static_cast<const uint8_t*>(data), bytes};
    };
    std::vector<TensorView> views = {
        view("l.weight_packed", "I32", {int64_t(packed.size() / 2), 2}, packed.data(), packed.size() * 4),
        view("l.weight_scale", "F32", {3, 2}, scales.data(), 24), view("l.weight_shape", "I64", {2}, shape.data(), 16)};
    if (!wide.empty())
      views.push_back(view("l.weight_wide_rows", dtype, {int64_t(wide.size())}, wide.data(), wide.size() * 4));
    VIREO_ASSIGN(const auto plain, Checkpoint::from_views(std::move(views), nullptr, "file"));
    VIREO_ASSIGN(const auto compression, parse_compression(text, "config.json"));
    VIREO_ASSIGN(const auto weights, plain->with_compression(compression));
    return weights->constant("l.weight", {3, 16}, "a test", first, rows, 16);
  }
};

TEST(WideRows, AreReadFromACheckpoint) {
  const File f;
  for (const int64_t first : {0, 1, 2}) {
    const auto c = f.open(config(kRows), first, 3 - first);
    ASSERT_TRUE(c.ok()) << c.error().message;
    EXPECT_EQ((*c)->grid().wide, first <= 1 ? 1 : 0);
    const std::vector<float> got = (*c)->read_all();
    for (int64_t r = first; r < 3; ++r) {
      EXPECT_EQ((*c)->wide(r - first), r == 1);
      for (int64_t i = 0; i < 16; ++i)
        EXPECT_EQ(got[size_t((r - first) * 16 + i)],
                  float(File::code(int(r), int(i))) * f.scales[size_t(r * 2 + i / 8)])
            << r << ", " << i;
    }
  }
}

TEST(WideRows, DamagedFilesAreNamed) {
  expect_says(File().open(config("")), "'file' holds 'l.weight_wide_rows', of which quantization_config says nothing");
  File f;
  f.wide = {};
  expect_says(f.open(config(kRows)), "'l.weight_packed' in 'file' is I32 of [4, 2], expected I32 of [3, 2]");
  for (const std::vector<int32_t>& bad : {std::vector<int32_t>{3}, {-1}, {1, 1}, {2, 0}}) {
    f.wide = bad;
    expect_says(f.open(config(kRows)), "'l.weight_wide_rows' in 'file' names row");
  }
  f.wide = {0, 1, 2, 2};
  expect_says(f.open(config(kRows)), "expected I32 of at most [3]");
  f = File();
  f.dtype = "F32";
  expect_says(f.open(config(kRows)), "is F32 of [1]");
  f = File();
  f.packed.resize(6);
  expect_says(f.open(config(kRows)), "expected I32 of [4, 2]");
  expect_says(File().open(config(kRows, R"("num_bits":3,"strategy":"channel")")), "packed weights of 4 bits");
  expect_says(File().open(config(kRows, R"("num_bits":4,"strategy":"channel","symmetric":false)")), "no zero points");
}

TEST(WideRows, WhatASectionMaySay) {
  const auto refused = [](const std::string& own, const std::string& what) {
    expect_says(parse_extension(config(own), "config.json"), what);
  };
  EXPECT_TRUE(parse_extension(config(kRows), "config.json").ok());
  refused(R"({"version":1,"rows":{"bits":6}})",
          "quantization_config.vireo.rows has 6 bits; this Vireo knows rows of 8");
  refused(R"({"version":1,"rows":{}})", "has 0 bits");
  refused(R"({"version":1,"rows":{"bits":8,"least":4}})", "rows has the key 'least'");
  refused(R"({"version":1,"rows":[8]})", "rows is a list, expected an object");
  refused(R"({"version":1,"rowz":{"bits":8}})", "has the section 'rowz'");
}

// ---- compress

/// Stated anew, in double: 4 bits to nearest with scales by the largest, 8 bits in the rows whose sum of H_kk e^2 is
/// largest.
TEST(MixRows, GivesTheWorstRowsEightBits) {
  constexpr int64_t kOut = 14, kIn = 24, kGroup = 8;
  std::mt19937 random(9);
  std::normal_distribution<double> normal;
  std::vector<float> w(size_t(kOut * kIn));
  for (int64_t i = 0; i < kOut * kIn; ++i) w[size_t(i)] = float(normal(random) * (1 + i / kIn % 5));
  std::vector<double> h(size_t(kIn * kIn), 0.0);
  for (int64_t s = 0; s < 60; ++s) {
    std::vector<double> x;
    for (int64_t k = 0; k < kIn; ++k) x.push_back(normal(random) * (k % 7 == 0 ? 9 : 1));
    for (int64_t i = 0; i < kIn * kIn; ++i) h[size_t(i)] += x[size_t(i / kIn)] * x[size_t(i % kIn)];
  }
  const auto rounded = [&](int64_t r, int64_t k, double top, double least) {
    const int64_t first = k / kGroup * kGroup;
    double most = 0;
    for (int64_t i = first; i < first + kGroup; ++i) most = std::max(most, std::fabs(double(w[size_t(r * kIn + i)])));
    const double scale = double(half_to_float(float_to_half(float(most / top))));
    return std::max(least, std::min(top, std::nearbyint(double(w[size_t(r * kIn + k)]) / scale))) * scale;
  };
  std::vector<std::pair<double, int64_t>> errors;
  for (int64_t r = 0; r < kOut; ++r) {
    double sum = 0;
    for (int64_t k = 0; k < kIn; ++k)
      sum += h[size_t(k * kIn + k)] * std::pow(double(w[size_t(r * kIn + k)]) - rounded(r, k, 7, -8), 2);
    errors.push_back({-sum, r});
  }
  std::sort(errors.begin(), errors.end());
  ThreadPool pool(2);
  for (const int32_t count : {0, 1, 5, 14}) {
    std::vector<int32_t> want;
    for (int32_t i = 0; i < count; ++i) want.push_back(int32_t(errors[size_t(i)].second));
    std::sort(want.begin(), want.end());
    const auto c =
        compress::mix_rows({w.data(), kOut, kIn, h.data()}, compress::kRtn, grid_of("i4g8", count), {}, pool);
    ASSERT_TRUE(c.ok());
    EXPECT_EQ(c->wide_rows, want);
    EXPECT_EQ(c->grid.wide, count);
    for (int64_t r = 0; r < kOut; ++r)
      for (int64_t k = 0; k < kIn; ++k) {
        const bool eight = std::count(want.begin(), want.end(), int32_t(r)) > 0;
        EXPECT_EQ(double(c->codes[size_t(r * kIn + k)]) * double(c->scales[size_t(r * 3 + k / kGroup)]),
                  rounded(r, k, eight ? 127 : 7, eight ? -127 : -8))
            << r << ", " << k << " of " << count;
      }
  }
  const auto said =
      compress::mix_rows({w.data(), kOut, kIn, h.data()}, compress::kRtn, grid_of("i4g8", 2), {3, 9}, pool);
  ASSERT_TRUE(said.ok());
  EXPECT_EQ(said->wide_rows, (std::vector<int32_t>{3, 9}));
}

struct Picture {
  std::vector<uint8_t> rgb;
  explicit Picture(int number) {
    for (int i = 0; i < 50 * 50 * 3; ++i)
      rgb.push_back(uint8_t(127.5 + 100 * std::sin(0.03 * i * (1 + number % 4) + number)));
  }
};

const std::string kCases = std::string(VIREO_TEST_DATA) + "/cases/";

Result<CompressReport> compress_case(const std::string& name, const std::string& to, const CompressOptions& o) {
  VIREO_ASSIGN(const Model model, Model::open(kCases + name));
  VIREO_ASSIGN(Compressor c, Compressor::create(model, o));
  for (int i = 0; i < 8; ++i) VIREO_TRY(c.add({Picture(i).rgb.data(), 50, 50, 0}));
  return c.write(to);
}

CompressOptions options(const std::string& recipe, const std::string& policy = "") {
  CompressOptions o;
  o.recipe = recipe, o.policy = policy, o.sensitivity = false, o.threads = 2;
  return o;
}

std::map<std::string, Grid> grids(const Model& m) {
  std::map<std::string, Grid> all;
  const auto g = m.impl().loaded.build(Head::kLogits, 1);
  EXPECT_TRUE(g.ok());
  for (const Value& v : g->values)
    if (v.constant && v.constant->grid().coded()) all[v.name] = v.constant->grid();
  return all;
}

TEST(WideRowsRecipe, OpensAgainAndTakesWhatItSays) {
  for (const char* name : {"hf-vit", "timm-vit", "hf-swin"})
    for (const auto& [recipe, part] : {std::pair<const char*, double>{"w4w8rows", 12.5}, {"w4w8rows:40+a8", 40}}) {
      const TempDir out, plain;
      const auto report = compress_case(name, out.path(), options(recipe));
      ASSERT_TRUE(report.ok()) << report.error().message;
      const auto four = compress_case(name, plain.path(), options("w4g64"));
      ASSERT_TRUE(four.ok()) << four.error().message;
      EXPECT_GT(report->bytes_after, four->bytes_after);
      double error = 0, error_of_four = 0;
      for (size_t i = 0; i < report->layers.size(); ++i) {
        const CompressedLayer& l = report->layers[i];
        if (l.format[1] != '4') continue;
        EXPECT_NE(l.format.find("+" + std::to_string(std::lround(double(l.rows) * part / 100)) + "xi8"),
                  std::string::npos)
            << l.tensor << " " << l.format;
        error += l.error, error_of_four += four->layers[i].error;
      }
      EXPECT_LT(error, error_of_four) << name << ", " << recipe;
      const auto again = Model::open(out.path());
      ASSERT_TRUE(again.ok()) << again.error().message;
      bool wide = false;
      for (const auto& [constant, grid] : grids(*again)) wide = wide || grid.wide > 0;
      EXPECT_TRUE(wide) << name;
      const auto session = Session::create(*again, Device::cpu(1), {});
      ASSERT_TRUE(session.ok()) << session.error().message;
    }
}

TEST(WideRowsRecipe, CodesAreReadToTheBit) {
  ThreadPool pool(1);
  compress::Layer l;
  l.tensor = "l.weight", l.module = "l", l.shape = {9, 40}, l.rows = 9, l.cols = 40;
  const std::vector<float> w = random_constant(9, 40, 4, 1.f)->read_all();
  for (const char* format : {"i4", "i4g8"}) {
    auto coded = compress::mix_rows({w.data(), 9, 40, nullptr}, compress::kSearch, grid_of(format, 4), {}, pool);
    ASSERT_TRUE(coded.ok());
    const auto stored = compress::encode(l, *coded);
    std::vector<TensorView> views;
    for (const auto& t : stored) views.push_back(t.view());
    const auto plain = Checkpoint::from_views(views, nullptr, "file");
    ASSERT_TRUE(plain.ok());
    const auto said = parse_compression(
        config(kRows, format == std::string("i4") ? R"("num_bits":4,"strategy":"channel")"
                                                  : R"("num_bits":4,"strategy":"group","group_size":8)"),
        "config.json");
    ASSERT_TRUE(said.ok());
    const auto weights = (*plain)->with_compression(*said);
    ASSERT_TRUE(weights.ok());
    const auto c = (*weights)->constant("l.weight", {9, 40}, "a test", 0, 9, 40);
    ASSERT_TRUE(c.ok()) << c.error().message;
    std::vector<int8_t> codes(360), zeros(45);
    std::vector<float> scales(size_t(9 * (*c)->grid().groups(40)));
    (*c)->read_codes(0, 9, codes.data(), scales.data(), zeros.data());
    EXPECT_EQ(codes, coded->codes);
    EXPECT_EQ(scales, coded->scales);
    EXPECT_EQ((*c)->grid().wide, 4);
  }
}

TEST(WideRowsRecipe, APolicyNamesRows) {
  const TempDir out;
  const auto report =
      compress_case("timm-vit", out.path(), options("", "weights i8\n*.qkv.weight i4\n*.qkv.weight[3:9] i8\n"));
  ASSERT_TRUE(report.ok()) << report.error().message;
  const auto again = Model::open(out.path());
  ASSERT_TRUE(again.ok()) << again.error().message;
  int seen = 0;
  const auto g = again->impl().loaded.build(Head::kLogits, 1);
  ASSERT_TRUE(g.ok());
  for (const Value& v : g->values)
    if (v.constant && v.name.find("qkv.weight") != std::string::npos) {
      ++seen;
      for (int64_t r = 0; r < v.constant->rows(); ++r) EXPECT_EQ(v.constant->wide(r), r >= 3 && r < 9) << v.name;
    }
  EXPECT_GT(seen, 0);
  const TempDir other;
  expect_says(compress_case("timm-vit", other.path(), options("", "weights i3\n*.qkv.weight[3:9] i8\n")),
              "beside 4 bits");
  expect_says(compress_case("timm-vit", other.path(), options("", "weights i4\n*.qkv.weight[3:9] f32\n")), "f32");
}

TEST(WideRowsRecipe, WrongNumbersAreRefused) {
  const auto says = [](const char* recipe, const char* what) {
    const TempDir out;
    expect_says(compress_case("timm-vit", out.path(), options(recipe)), what);
  };
  for (const char* bad :
       {"w4w8rows:", "w4w8rows:0", "w4w8rows:100", "w4w8rows:-5", "w4w8rows:x", "w4w8rows:25%", "w4w8rows:nan"})
    says(bad, "is no percentage of rows");
  says("w4g64:25", "takes no number");
  says("w4w8rows+w4g64", "both say how weights are stored");
  says("w4w8rows+w4w8rows:20", "both say how weights are stored");
}

TEST(WideRowsSimulated, IsTheCheckpointsAnswer) {
  const TempDir out;
  ASSERT_TRUE(compress_case("timm-vit", out.path(), options("w4w8rows:30", "blocks.* i4\n")).ok());
  const auto whole = Model::open(kCases + "timm-vit"), small = Model::open(out.path());
  ASSERT_TRUE(whole.ok() && small.ok());
  auto s = Simulator::create(*whole, "weights i4 gptq\nothers i8\nwide 30\n", "p", 2);
  ASSERT_TRUE(s.ok()) << s.error().message;
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(s->calibrate({Picture(i).rgb.data(), 50, 50, 0}).ok());
  const auto simulated = s->run({Picture(9).rgb.data(), 50, 50, 0});
  ASSERT_TRUE(simulated.ok()) << simulated.error().message;
  for (const Precision p : {Precision::kFp32, Precision::kCheckpoint}) {
    SessionOptions how;
    how.precision = p;
    auto session = Session::create(*small, Device::cpu(2), how);
    ASSERT_TRUE(session.ok()) << session.error().message;
    const auto got = session->run({Picture(9).rgb.data(), 50, 50, 0});
    ASSERT_TRUE(got.ok());
    double size = 0;
    for (const float v : simulated->after) size = std::max(size, std::fabs(double(v)));
    for (int i = 0; i < got->cols; ++i) EXPECT_NEAR(got->data[i], simulated->after[size_t(i)], 2e-5 * size) << i;
  }
  for (const char* bad : {"weights i4\nwide 0\n", "weights i4\nwide\n", "weights i4\nwide 20 30\n",
                          "weights i4\nwide 100\n", "weights i8\nwide 20\n", "wide 20\n", "weights i4\nwide x\n"})
    expect_says(Simulator::create(*whole, bad, "p"), "'wide");
}

}  // namespace
}  // namespace vireo
