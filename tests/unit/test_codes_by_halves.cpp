// Weights of codes by fp16 rows: when a plan has such rows, which kernel takes them, what memory they cost, and that
// int8 is no slower than fp16 on the device that it was made for.
#include <gtest/gtest.h>

#include "ops/kernel.h"
#include "plan/plan.h"

#include <vireo/kernels.hpp>
#include <vireo/predict.hpp>

namespace vireo {
namespace {

DeviceCaps caps_of(const char* machine) {
  const Result<DeviceCaps> caps = caps_from_text(*machine_caps(machine), machine);
  EXPECT_TRUE(caps.ok());
  return *caps;
}

/// A product of 197 rows with a matrix in that format.
struct Product {
  Product(const char* format, DType rows, int64_t k = 768) {
    x.shape = Shape{{1, 1, 197, k}}, x.dtype = rows;
    w.shape = Shape{{1, 1, 768, k}};
    Format f;
    EXPECT_TRUE(parse_format(format, &f)) << format;
    w.dtype = f.dtype, w.grid = f.grid;
    call.name = "fc", call.attrs = &attrs, call.in = {&x, &w};
    call.out.shape = Shape{{1, 1, 197, 768}}, call.out.dtype = rows;
  }
  Result<Lowering> lower(const DeviceCaps& caps, const Tuning& tuning) const {
    return lower_op(OpKind::kLinear, caps.kind, call, {&caps, &tuning});
  }
  std::string taken(const DeviceCaps& caps) const {
    const Tuning tuning = tuning_for(caps);
    const Result<Lowering> l = lower(caps, tuning);
    return l ? l->by->name : l.error().message;
  }
  TensorDesc x, w;
  Attrs attrs{};
  OpCall call;
};

TEST(CodesByHalves, AreMultipliedWhereTheDeviceHasTheArithmetic) {
  DeviceCaps nano = caps_of("jetson-nano");
  for (const char* format : {"i8", "i8tensor", "i6"})
    EXPECT_EQ(Product(format, DType::kF16).taken(nano), "linear.half.codes") << format;
  for (const char* format : {"i4", "i4g32", "i4g64", "i4g128", "i8g32", "i2g16", "i3g48"})
    EXPECT_EQ(Product(format, DType::kF16).taken(nano), "linear.half.groups") << format;
  // Zero points, groups that steps of K would straddle, and rows of fp32.
  for (const char* format : {"u4g32", "u8", "i4g24"})
    EXPECT_EQ(Product(format, DType::kF16).taken(nano), "linear.tile") << format;
  for (const char* format : {"i8", "i4g32"})
    EXPECT_EQ(Product(format, DType::kF32).taken(nano), "linear.tile") << format;
  nano.shader_float16 = false;
  EXPECT_EQ(Product("i8", DType::kF16).taken(nano), "linear.tile");
}

TEST(CodesByHalves, AGroupIsNeverStraddled) {
  const DeviceCaps nano = caps_of("jetson-nano");
  const Tuning tuning = tuning_for(nano);
  for (const int group : {16, 32, 48, 64, 96, 128}) {
    const Result<Lowering> l = Product(fmt::format("i4g{}", group).c_str(), DType::kF16).lower(nano, tuning);
    ASSERT_TRUE(l.ok() && l->by->name == std::string("linear.half.groups")) << group;
    EXPECT_EQ(uint32_t(group) % l->constants[2], 0u) << group;
  }
}

TEST(CodesByHalves, MemoryIsThatOfTheCodes) {
  const DeviceCaps nano = caps_of("jetson-nano");
  const Tuning tuning = tuning_for(nano);
  const auto bytes = [&](const char* format) {
    const Result<Lowering> l = Product(format, DType::kF16).lower(nano, tuning);
    EXPECT_TRUE(l.ok());
    return double(l->consts[0].bytes);
  };
  const double codes = 768.0 * 768;
  EXPECT_LT(bytes("i8"), 1.02 * codes + 4 * 768);
  EXPECT_LT(bytes("i4g32"), 1.02 * (codes / 2 + 4 * codes / 32) + 4096);
  EXPECT_GT(bytes("f16"), 2 * codes - 1);
}

TEST(DepthwiseHalf, IsTakenForHalvesInGroupsOf8) {
  DeviceCaps caps = caps_of("jetson-nano");
  DType weights = DType::kF16;
  const auto taken = [&](int64_t channels, int64_t kernel, DType rows, int64_t size = 64, std::string* how = nullptr) {
    TensorDesc x, w;
    x.shape = Shape{{1, size, size, channels}}, x.dtype = rows;
    w.shape = Shape{{1, 1, channels, kernel * kernel}}, w.dtype = weights;
    Attrs attrs{double(kernel),  double(kernel), 1, 1, double(kernel / 2), double(kernel / 2), 0, 1, 1,
                double(channels)};
    OpCall call;
    call.name = "conv", call.attrs = &attrs, call.in = {&x, &w, nullptr};
    call.out.shape = x.shape, call.out.dtype = rows;
    const Tuning tuning = tuning_for(caps);
    const Result<Lowering> l = lower_op(OpKind::kConv2d, caps.kind, call, {&caps, &tuning});
    if (l && how) *how = l->kernel;
    return l ? std::string(l->by->name) : l.error().message;
  };
  EXPECT_EQ(taken(128, 3, DType::kF16), "conv2d.depthwise.half");
  EXPECT_EQ(taken(24, 5, DType::kF16), "conv2d.depthwise.half");
  EXPECT_EQ(taken(128, 3, DType::kF32), "conv2d.depthwise");
  EXPECT_EQ(taken(12, 3, DType::kF16), "conv2d.depthwise");
  EXPECT_EQ(taken(128, 7, DType::kF16), "conv2d.depthwise") << "49 products";
  weights = DType::kF32;
  EXPECT_EQ(taken(128, 3, DType::kF16), "conv2d.depthwise") << "what a policy keeps as floats is not rounded";
  weights = DType::kF16;
  // Large blocks read less, on a small map they would leave the core without work.
  std::string large, small;
  taken(128, 3, DType::kF16, 64, &large), taken(128, 3, DType::kF16, 8, &small);
  EXPECT_EQ(large, "conv2d.depthwise.half p4x4");
  EXPECT_NE(small, large);
  caps.shader_float16 = false;
  EXPECT_EQ(taken(128, 3, DType::kF16), "conv2d.depthwise");
}

TEST(CodesByHalves, ThePolicyGivesThemHalves) {
  const DeviceCaps nano = caps_of("jetson-nano"), software = caps_of("lavapipe");
  const Tuning all = tuning_for(nano);
  for (const Precision p : {Precision::kInt8, Precision::kW8A8, Precision::kCheckpoint}) {
    EXPECT_EQ(settled(policy_of(p), nano, all).activations, DType::kF16) << to_string(p);
    EXPECT_EQ(settled(policy_of(p), software, tuning_for(software)).activations, DType::kF32) << to_string(p);
    DeviceCaps without = nano;
    without.shader_float16 = false;
    EXPECT_EQ(settled(policy_of(p), without, all).activations, DType::kF32) << to_string(p);
    Tuning failed = all;  // their accuracy checks
    for (const char* kernel : {"linear.half.codes", "linear.half.groups", "conv2d.half.codes"})
      failed.constants.erase(kernel);
    EXPECT_EQ(settled(policy_of(p), nano, failed).activations, DType::kF32) << to_string(p);
    DeviceCaps cpu;
    cpu.kind = DeviceKind::kCpu;
    cpu.shader_float16 = true;
    EXPECT_EQ(settled(policy_of(p), cpu, all).activations, DType::kF32) << to_string(p);
  }
  EXPECT_EQ(settled(policy_of(Precision::kFp32), nano, all).activations, DType::kF32);
  EXPECT_EQ(settled(policy_of(Precision::kFp16), software, tuning_for(software)).activations, DType::kF16);
  // A policy file says it, or leaves it to the device.
  const auto of_file = [&](const char* text, const DeviceCaps& caps) {
    const Result<FormatPolicy> p = parse_policy(text, "p");
    EXPECT_TRUE(p.ok()) << text;
    return settled(*p, caps, tuning_for(caps)).activations;
  };
  EXPECT_EQ(of_file("weights i8\n", nano), DType::kF32);
  EXPECT_EQ(of_file("weights i8\nactivations auto\n", nano), DType::kF16);
  EXPECT_EQ(of_file("weights i8\nactivations auto\n", software), DType::kF32);
  EXPECT_EQ(of_file("activations auto\nactivations f32\n", nano), DType::kF32) << "the last line counts";
}

TEST(CodesByHalves, ThePlanSaysSo) {
  const Result<Model> model = Model::random(std::string(VIREO_SOURCE_DIR) + "/models/configs/vit-ti.json", 1);
  ASSERT_TRUE(model.ok()) << model.error().message;
  const auto text = [&](const char* machine, Precision p) {
    SessionOptions o;
    o.precision = p;
    const Result<std::string> plan = plan_text(*model, *machine_caps(machine), o, false);
    EXPECT_TRUE(plan.ok()) << plan.error().message;
    return plan->substr(0, plan->find('\n'));
  };
  EXPECT_NE(text("jetson-nano", Precision::kInt8).find("int8 with fp16 activations, batch 1"), std::string::npos);
  EXPECT_NE(text("lavapipe", Precision::kInt8).find(" int8, batch 1"), std::string::npos);
  EXPECT_NE(text("jetson-nano", Precision::kFp16).find(" fp16, batch 1"), std::string::npos);
}

TEST(CodesByHalves, Int8IsNoSlowerThanFp16) {
  for (const char* name : {"vit-ti", "vit-b", "mobilevit-s", "paper-upernet-mobilevit-s"}) {
    const Result<Model> model = Model::random(std::string(VIREO_SOURCE_DIR) + "/models/configs/" + name + ".json", 1);
    ASSERT_TRUE(model.ok()) << model.error().message;
    const auto us = [&](Precision p) {
      PredictOptions o;
      o.session.precision = p;
      o.session.head = model->task() == Task::kSegmentation ? Head::kClassMap
                       : model->classes() > 0               ? Head::kLogits
                                                            : Head::kFeatures;
      o.machine = "jetson-nano";
      const Result<Prediction> made = predict(*model, *machine_caps("jetson-nano"), o);
      EXPECT_TRUE(made.ok()) << made.error().message;
      return made ? made->us : 0;
    };
    const double fp16 = us(Precision::kFp16);
    EXPECT_LE(us(Precision::kInt8), 1.08 * fp16) << name;
    EXPECT_LT(fp16, us(Precision::kFp32)) << name;
  }
}

}  // namespace
}  // namespace vireo
