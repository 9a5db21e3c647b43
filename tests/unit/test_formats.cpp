// Number formats: names, policies, constants that keep their codes, and what packing makes of them.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/aligned.h"
#include "graph/constant.h"
#include "ops/op.h"
#include "plan/plan.h"
#include "plan/policy.h"
#include "plan/quantise.h"
#include "simd/kernels.h"
#include "tensor/format.h"

namespace vireo {
namespace {

TEST(Format, NamesAreTheirOwnInverse) {
  for (const char* name : {"f32", "f16", "bf16", "i8", "i4", "i2", "i8tensor", "u8", "i4g32", "u4g128", "i3g7"}) {
    Format f;
    ASSERT_TRUE(parse_format(name, &f)) << name;
    EXPECT_EQ(to_string(f), name);
  }
  for (const char* name :
       {"", "f64", "i1", "i9", "i", "i4g", "i4g0", "i4gx", "i4g32x", "i4tensorx", "x4", "i32", "i8 ", "i4g99999999"}) {
    Format f;
    EXPECT_FALSE(parse_format(name, &f)) << name;
  }
}

TEST(Policy, PrecisionsAndFiles) {
  EXPECT_EQ(to_string(policy_of(Precision::kFp32).of("w", {})), "f32");
  EXPECT_EQ(to_string(policy_of(Precision::kFp16).of("w", {})), "f16");
  EXPECT_EQ(to_string(policy_of(Precision::kInt8).of("w", {})), "i8");
  EXPECT_EQ(to_string(policy_of(Precision::kW8A8).of("w", {})), "i8");
  Format stored;
  ASSERT_TRUE(parse_format("u4g32", &stored));
  // Codes stay codes, never quantised again, unless floats are asked for.
  EXPECT_EQ(to_string(policy_of(Precision::kCheckpoint).of("w", stored.grid)), "u4g32");
  EXPECT_EQ(to_string(policy_of(Precision::kInt8).of("w", stored.grid)), "u4g32");
  EXPECT_EQ(to_string(policy_of(Precision::kFp32).of("w", stored.grid)), "f32");
  EXPECT_EQ(to_string(policy_of(Precision::kFp16).of("w", stored.grid)), "f16");

  const auto p =
      parse_policy("# rows\nactivations f16\nweights i8g64\n\nblocks.*.fc1.weight i4g32  # narrow\n*.0.* f32\n", "p");
  ASSERT_TRUE(p.ok()) << p.error().message;
  EXPECT_EQ(p->activations, DType::kF16);
  EXPECT_EQ(to_string(p->of("head.weight", {})), "i8g64");
  EXPECT_EQ(to_string(p->of("blocks.3.fc1.weight", {})), "i4g32");
  EXPECT_EQ(to_string(p->of("blocks.0.fc1.weight", {})), "f32");
  EXPECT_EQ(to_string(p->of("head.weight", stored.grid)), "u4g32");
  EXPECT_EQ(to_string(p->of("blocks.0.fc1.weight", stored.grid)), "f32");
}

TEST(Policy, RowsAreCodesWhereItSaysSo) {
  RowCodes fixed;
  fixed.kind = RowCodes::Kind::kStatic, fixed.scale = 0.25f, fixed.zero = -3;
  const RowCodes none;
  EXPECT_EQ(policy_of(Precision::kW8A8).rows_of("w", none).kind, RowCodes::Kind::kDynamic);
  EXPECT_EQ(policy_of(Precision::kInt8).rows_of("w", fixed), none);
  EXPECT_EQ(policy_of(Precision::kCheckpoint).rows_of("w", fixed), fixed);
  EXPECT_EQ(policy_of(Precision::kCheckpoint).rows_of("w", none), none);
  const auto p = parse_policy("weights i8\nproducts i8\n*.fc1.weight i8 i8:0.25:-3\n*.fc2.weight i4g32 f32\n", "p");
  ASSERT_TRUE(p.ok()) << p.error().message;
  EXPECT_EQ(p->rows_of("0.fc1.weight", none), fixed);
  EXPECT_EQ(p->rows_of("0.fc2.weight", none), none);
  EXPECT_EQ(p->rows_of("head.weight", none).kind, RowCodes::Kind::kDynamic);
}

TEST(Policy, WrongLinesAreNamed) {
  for (const char* text : {"weights", "weights i9", "activations i8", "checkpoint maybe", "a b c", "products f64",
                           "attention i4", "attention i8 i8", "weights bf16", "a i8 u8", "a i8 i8:0", "a i8 i8:0.1:200",
                           "a i8 i8:0.1:3x", "a f32 i8", "a i8 i8 i8", "weights i8 i8"}) {
    const auto p = parse_policy(std::string("weights f32\n") + text, "mine.txt");
    ASSERT_FALSE(p.ok()) << text;
    EXPECT_NE(p.error().message.find("'mine.txt', line 2"), std::string::npos) << p.error().message;
  }
}

ConstantPtr codes(int64_t rows, int64_t cols, Grid grid, int first = -8) {
  std::vector<int8_t> q, zeros;
  std::vector<float> scales;
  for (int64_t i = 0; i < rows * cols; ++i) q.push_back(int8_t(first + int(i) % (grid.bits < 4 ? 1 << grid.bits : 16)));
  for (int64_t i = 0; i < rows * grid.groups(cols); ++i) {
    scales.push_back(0.25f * float(i + 1));
    if (grid.zero_points) zeros.push_back(int8_t(i % 5 - 2));
  }
  return coded_constant(rows, cols, grid, std::move(q), std::move(scales), std::move(zeros));
}

Grid grid_of(const char* name) {
  Format f;
  EXPECT_TRUE(parse_format(name, &f));
  return f.grid;
}

/// What the codes of a constant stand for, and what it reads as.
void expect_decodes(const Constant& c) {
  ASSERT_TRUE(c.grid().coded());
  std::vector<float> out(size_t(c.rows() * c.cols()));
  read_decoded(c, 0, c.rows(), out.data());
  EXPECT_EQ(out, c.read_all());
}

TEST(Constant, StackingAndScalingRowsKeepsCodes) {
  const ConstantPtr a = codes(2, 8, grid_of("i8")), b = codes(3, 8, grid_of("i4"), -8);
  const ConstantPtr s = stack_rows({a, b});
  EXPECT_EQ(to_string(Format{DType::kI8, s->grid()}), "i8");
  expect_decodes(*s);
  std::vector<int8_t> q(40);
  std::vector<float> scales(5);
  s->read_codes(0, 5, q.data(), scales.data(), nullptr);
  EXPECT_EQ(scales, (std::vector<float>{.25f, .5f, .25f, .5f, .75f}));
  EXPECT_EQ(q[0], -8);
  EXPECT_EQ(q[16], -8);

  const ConstantPtr half = scale_constant(s, 0.5f);
  expect_decodes(*half);
  half->read_codes(1, 1, q.data(), scales.data(), nullptr);
  EXPECT_EQ(scales[0], .25f);
  const ConstantPtr gained = scale_rows(codes(2, 8, grid_of("u4g4")), make_constant(1, 2, {2.f, -1.f}));
  expect_decodes(*gained);
  expect_decodes(*pad_kernel(codes(2, 8, grid_of("i8")), 2, 2, 2, 1, 1));

  EXPECT_FALSE(stack_rows({a, make_constant(1, 8, std::vector<float>(8, 1.f))})->grid().coded());
  EXPECT_FALSE(stack_rows({a, codes(1, 8, grid_of("i8g4"))})->grid().coded());
  EXPECT_FALSE(scale_columns(a, make_constant(1, 8, std::vector<float>(8, 2.f)))->grid().coded());
  EXPECT_FALSE(pad_kernel(codes(2, 8, grid_of("u8")), 2, 2, 2, 1, 1)->grid().coded());
}

/// A linear of that weight behind a LayerNorm, planned for the CPU.
Planned linear_of(ConstantPtr weight, const PlanOptions& options) {
  GraphBuilder b("g");
  const int64_t k = weight->cols();
  const ValueId x = b.input("x", {DType::kF32, Shape{{1, 1, 20, k}}});
  const ValueId n =
      b.add(OpKind::kLayerNorm, "norm",
            {x, b.constant("gamma", fill_constant(1, k, 1.5f)), b.constant("beta", fill_constant(1, k, .1f))});
  b.output(b.add(OpKind::kLinear, "y", {n, b.constant("w", std::move(weight))}));
  Result<Graph> g = b.finish();
  EXPECT_TRUE(g.ok());
  DeviceCaps caps;
  caps.kind = DeviceKind::kCpu;
  caps.simd = simd::best().name;
  caps.threads = 1;
  Result<Planned> p = make_plan(std::move(*g), caps, options);
  EXPECT_TRUE(p.ok()) << (p.ok() ? "" : p.error().message);
  return std::move(*p);
}

const PlanConst& weight_of(const Plan& plan) {
  for (const PlanConst& c : plan.consts)
    if (c.name == "w") return c;
  ADD_FAILURE() << "the plan has no weight";
  return plan.consts.at(0);
}

TEST(Pack, TheCheckpointsCodesArriveUnchanged) {
  for (const char* name : {"i8", "i8tensor", "i4g4", "u4g4", "u8", "i3"}) {
    Grid grid = grid_of(name);
    const ConstantPtr w = codes(37, 12, grid, grid.bits < 8 ? -(1 << (grid.bits - 1)) : -128);
    PlanOptions o;
    o.precision = Precision::kCheckpoint;
    const Planned p = linear_of(w, o);
    const PlanConst& c = weight_of(p.plan);
    ASSERT_TRUE(c.pack.grid.coded()) << name << "\n" << dump(p.plan);
    AlignedBuffer bytes(c.pack.bytes);
    ASSERT_TRUE(pack_constant(p.plan, p.graph, size_t(&c - p.plan.consts.data()), bytes.as<uint8_t>()).ok());
    std::vector<int8_t> q(37 * 12), zeros(37 * 12);
    std::vector<float> scales(37 * 12);
    w->read_codes(0, 37, q.data(), scales.data(), zeros.data());
    for (int64_t r = 0; r < 37; ++r)
      for (int64_t i = 0; i < 12; ++i) {
        const int64_t panel = r / 32 * 32 * 12, in = r % 32;
        int got;
        if (c.pack.nibbles()) {
          const int byte = bytes.as<uint8_t>()[(panel + i * 32) / 2 + in % 16];
          got = in < 16 ? int(int8_t(byte << 4)) >> 4 : int(int8_t(byte)) >> 4;
        } else {
          got = bytes.as<int8_t>()[panel + i * 32 + in];
        }
        ASSERT_EQ(got, int(q[size_t(r * 12 + i)])) << name << " " << r << " " << i;
        const float* stored = reinterpret_cast<const float*>(bytes.as<uint8_t>() + c.pack.scales_offset);
        const int64_t groups = grid.groups(12), g = grid.scope == Scope::kGroup ? i / grid.group : 0;
        const float want = scales[size_t(r * groups + g)];
        if (c.pack.by_group()) {
          ASSERT_EQ(stored[g * 64 + r], want) << name;
          const float offset = grid.zero_points ? stored[(groups + g) * 64 + r] : 0.f;
          ASSERT_EQ(offset, grid.zero_points ? -float(zeros[size_t(r * groups + g)]) * want : 0.f) << name;
        } else {
          ASSERT_EQ(stored[r], want) << name;
        }
      }
  }
}

TEST(Plan, SaysHowEveryConstantIsStored) {
  PlanOptions o;
  o.precision = Precision::kCheckpoint;
  const std::string text = dump(linear_of(codes(8, 12, grid_of("u4g4"), -8), o).plan);
  EXPECT_NE(text.find("constant w u4g4 cpu panels"), std::string::npos) << text;
  EXPECT_NE(text.find("stored as u4g4"), std::string::npos) << text;
  EXPECT_NE(text.find("constant gamma f32"), std::string::npos) << text;  // not folded into codes
  o.precision = Precision::kFp32;
  EXPECT_NE(dump(linear_of(codes(8, 12, grid_of("u4g4"), -8), o).plan).find("constant w f32"), std::string::npos);
  const auto policy = parse_policy("weights i4g4\n", "p");
  ASSERT_TRUE(policy.ok());
  o.policy = *policy;
  EXPECT_NE(dump(linear_of(random_constant(8, 12, 3, 1.f), o).plan).find("constant w i4g4"), std::string::npos);
  o.policy.reset();
  o.precision = Precision::kW8A8;
  EXPECT_NE(dump(linear_of(random_constant(8, 12, 3, 1.f), o).plan).find("integer panels"), std::string::npos);
}

TEST(Quantise, GroupsAsPublished) {
  // By hand: 4 bits, symmetric: scale = 7.5 / 7.5 = 1, ties to even, -8 is a code.
  const float w[] = {7.5f, -7.5f, 0.5f, 1.5f, -2.5f, 0.f};
  int8_t q[6], zero = 9;
  EXPECT_EQ(quantise_group(w, 6, 4, false, q, &zero), 1.0f);
  const int8_t want[] = {7, -8, 0, 2, -2, 0};
  EXPECT_EQ(0, std::memcmp(q, want, 6));
  EXPECT_EQ(zero, 0);
  // With a zero point: the range [0, 15] in 15 steps of 1, zero = -8.
  const float u[] = {15.f, 3.f, 0.4f};
  EXPECT_EQ(quantise_group(u, 3, 4, true, q, &zero), 1.0f);
  EXPECT_EQ(zero, -8);
  EXPECT_EQ(q[0], 7);
  EXPECT_EQ(q[1], -5);
  EXPECT_EQ(q[2], -8);
  const float none[] = {0.f, 0.f};
  EXPECT_EQ(quantise_group(none, 2, 8, false, q, &zero), 1.0f);
  EXPECT_EQ(q[0], 0);
}

}  // namespace
}  // namespace vireo
