// A plan of 16 bits with steps on the CPU, which computes on fp32 rows: what converts between them are steps with bytes
// of their own, as few as there can be, and do what half.h says.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/aligned.h"
#include "base/half.h"
#include "cpu/step_runner.h"
#include "graph/graph.h"
#include "plan/plan.h"
#include "simd/kernels.h"

#include <vireo/predict.hpp>

namespace vireo {
namespace {

constexpr int64_t kRows = 5, kCols = 13;  // no whole group of 4

/// a -> t -> s -> b, and r of t: a, r and b are linears, t and s tanh and silu.
Graph chain(bool reads_t) {
  GraphBuilder g("chain");
  const auto linear = [&](const char* name, ValueId from) {
    return g.add(OpKind::kLinear, name,
                 {from, g.constant(std::string(name) + ".w", random_constant(kCols, kCols, 7, 0.2f))});
  };
  const ValueId a = linear("a", g.input("x", {DType::kF32, Shape{{1, 1, kRows, kCols}}}));
  const ValueId t = g.add(OpKind::kTanh, "t", {a}), s = g.add(OpKind::kSilu, "s", {t});
  if (reads_t) g.output(linear("r", t));
  g.output(linear("b", s));
  auto graph = g.finish();
  EXPECT_TRUE(graph.ok()) << graph.error().message;
  return std::move(*graph);
}

Planned plan_of(Graph graph, std::vector<std::string> cpu_ops, Precision precision, bool half_outputs = false) {
  PlanOptions o;
  o.precision = precision, o.cpu_ops = std::move(cpu_ops), o.fuse = false, o.half_outputs = half_outputs;
  auto caps = caps_from_text(*machine_caps("jetson-nano"), "nano");
  EXPECT_TRUE(caps.ok()) << caps.error().message;
  auto planned = make_plan(std::move(graph), *caps, o);
  EXPECT_TRUE(planned.ok()) << planned.error().message;
  return std::move(*planned);
}

/// "a(f16) t.f32 ..": each step's output, with its type where it is no conversion.
std::string steps_of(const Plan& plan) {
  std::string all;
  for (const Step& s : plan.steps) {
    const PlanValue& out = plan.values[size_t(s.output)];
    all += (all.empty() ? "" : " ") + s.name;
    if (op_def(s.op).conversion) EXPECT_EQ(out.name, s.name);
    else all += "(" + to_string(Format{out.desc.dtype, {}}) + ")";
  }
  return all;
}

/// Partners and lists are numbers of tokens, of which fp16 counts 2048: they are fp32 whoever makes and reads them.
TEST(ConvertSteps, NumbersOfTokensAreNeverHalves) {
  const auto graph = [] {
    GraphBuilder g("merging");
    const ValueId rows = g.input("x", {DType::kF32, Shape{{1, 1, 9, 12}}});
    const ValueId qkv = g.add(OpKind::kLinear, "qkv", {rows, g.constant("w", random_constant(12, 12, 7, 0.2f))});
    const ValueId match = g.add(OpKind::kTokenMatch, "match", {qkv}, {{"heads", 1}, {"prefix", 1}});
    const ValueId route = g.add(OpKind::kTokenRoute, "route", {match}, {{"tokens", 9}, {"count", 2}});
    g.output(g.add(OpKind::kTokenMerge, "merge", {qkv, route, kNoValue}, {{"rows", 7}}));
    auto all = g.finish();
    EXPECT_TRUE(all.ok()) << all.error().message;
    return std::move(*all);
  };
  const auto fp16 = [&](std::vector<std::string> ops) {
    return steps_of(plan_of(graph(), std::move(ops), Precision::kFp16).plan);
  };
  EXPECT_EQ(fp16({}), "qkv(f16) match(f32) route(f32) merge(f32)");
  EXPECT_EQ(fp16({"token_match"}), "qkv(f16) qkv.f32 match(f32) route(f32) merge(f32)");
  EXPECT_EQ(fp16({"token_route"}), "qkv(f16) match(f32) route(f32) merge(f32)");
}

TEST(ConvertSteps, StandBesideTheStepsThatNeedThem) {
  const auto fp16 = [](bool reads_t, std::vector<std::string> ops) {
    return steps_of(plan_of(chain(reads_t), std::move(ops), Precision::kFp16).plan);
  };
  EXPECT_EQ(fp16(false, {}), "a(f16) t(f16) s(f16) b(f32)");
  EXPECT_EQ(fp16(false, {"tanh"}), "a(f16) a.f32 t(f32) t.f16 s(f16) b(f32)");
  // Between two steps of the CPU nothing is rounded.
  EXPECT_EQ(fp16(false, {"tanh", "silu"}), "a(f16) a.f32 t(f32) s(f32) s.f16 b(f32)");
  // What a later step of the GPU reads is converted where the GPU waits anyway.
  EXPECT_EQ(fp16(true, {"tanh", "silu"}), "a(f16) a.f32 t(f32) t.f16 s(f32) s.f16 r(f32) b(f32)");
  EXPECT_EQ(fp16(true, {"silu"}), "a(f16) t(f16) t.f32 s(f32) s.f16 r(f32) b(f32)");
  // One conversion serves all that read it on the CPU; outputs leave as fp32.
  EXPECT_EQ(fp16(true, {"silu", "linear"}), "a(f32) a.f16 t(f16) t.f32 s(f32) r(f32) b(f32)");
  EXPECT_EQ(fp16(true, {"linear", "tanh", "silu"}), "a(f32) t(f32) s(f32) r(f32) b(f32)");
  for (const Precision p : {Precision::kFp32, Precision::kInt8})
    EXPECT_EQ(steps_of(plan_of(chain(true), {"tanh", "silu"}, p).plan), "a(f32) t(f32) s(f32) r(f32) b(f32)");
}

TEST(ConvertSteps, AnOutputOf16BitsIsConverted) {
  const Plan plan = plan_of(chain(false), {"linear"}, Precision::kFp16, true).plan;
  EXPECT_EQ(steps_of(plan), "a(f32) a.f16 t(f16) s(f16) s.f32 b(f32) b.f16");
  const PlanValue& out = plan.values[size_t(plan.outputs[0])];
  EXPECT_EQ(out.name, "b.f16");
  EXPECT_EQ(out.where.region, Region::kOutput);
}

TEST(ConvertSteps, TheArenaHoldsWhatTheyMake) {
  const Plan plan = plan_of(chain(false), {"tanh"}, Precision::kFp16).plan;
  const uint64_t row = 16;  // 13 columns in whole groups of 4
  for (const PlanValue& v : plan.values) {
    if (v.name != "a.f32" && v.name != "t.f16") continue;
    EXPECT_EQ(v.where.region, Region::kArena);
    EXPECT_EQ(v.where.bytes, kRows * row * (v.name == "a.f32" ? 4 : 2));
  }
  // While tanh runs, its operand and its result are there.
  EXPECT_GE(plan.arena_bytes, 2 * kRows * row * 4);
}

TEST(ConvertSteps, TheVerifierFindsAStepOfTheCpuThatIsGivenHalves) {
  for (const char* changed : {"a.f32", "t"}) {
    Plan plan = plan_of(chain(false), {"tanh"}, Precision::kFp16).plan;
    for (PlanValue& v : plan.values)
      if (v.name == changed) v.desc.dtype = DType::kF16, v.where.bytes = v.desc.bytes();
    const auto verdict = verify(plan);
    ASSERT_FALSE(verdict.ok()) << changed;
    EXPECT_NE(verdict.error().message.find("step 't' on the CPU has to do with '" + std::string(changed) + "'"),
              std::string::npos)
        << verdict.error().message;
  }
}

/// Numbers of every kind: both signs, ties between halves, those that are subnormal as halves, beyond their range.
float number(int64_t i) {
  const float some[] = {0.f,      -0.f,     1.f,     -2.5f,     1.00048828125f, 1.00146484375f,
                        6e-8f,    -2.9e-8f, 65504.f, 65519.99f, 65520.f,        -INFINITY,
                        INFINITY, NAN,      1e-30f};
  return i < 15 ? some[i] : std::ldexp(float(i * 7919 % 997) / 331.f - 1.5f, int(i % 40) - 26);
}

TEST(ConvertSteps, DoWhatHalfPrecisionSays) {
  const Plan plan = plan_of(chain(false), {"tanh"}, Precision::kFp16).plan;
  AlignedBuffer arena(plan.arena_bytes);
  cpu::Memory memory;
  memory.base[size_t(Region::kArena)] = arena.as<uint8_t>();
  ThreadPool pool(2);
  const int64_t stride = round_up(kCols, 4);
  for (int target = 0; simd::supported(target) != nullptr; ++target)
    for (const Step& s : plan.steps) {
      if (!op_def(s.op).conversion) continue;
      const bool to_half = s.name == "t.f16";
      std::memset(arena.as<uint8_t>(), 0xa5, plan.arena_bytes);
      uint8_t* const from = memory.at(plan.values[size_t(s.inputs[0])].where);
      uint8_t* const to = memory.at(plan.values[size_t(s.output)].where);
      for (int64_t i = 0; i < kRows * kCols; ++i) {
        const int64_t at = i / kCols * stride + i % kCols;
        if (to_half) reinterpret_cast<float*>(from)[at] = number(i);
        else reinterpret_cast<uint16_t*>(from)[at] = float_to_half(number(i));
      }
      cpu::StepRunner(plan, s, memory, *simd::supported(target)).run(pool);
      for (int64_t r = 0; r < kRows; ++r)
        for (int64_t c = 0; c < stride; ++c) {
          const float x = c < kCols ? number(r * kCols + c) : 0.f;
          const uint16_t half = float_to_half(x);
          const float got = to_half ? half_to_float(reinterpret_cast<uint16_t*>(to)[r * stride + c])
                                    : reinterpret_cast<float*>(to)[r * stride + c];
          if (std::isnan(x)) EXPECT_TRUE(std::isnan(got)) << s.name;
          else EXPECT_EQ(got, half_to_float(half)) << s.name << " of " << x << ", " << simd::supported(target)->name;
        }
    }
}

}  // namespace
}  // namespace vireo
