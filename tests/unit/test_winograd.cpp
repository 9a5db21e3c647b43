// Winograd's convolutions on a GPU: when they are taken, how their weights are packed, what their shaders need, and
// what predictions hold them against.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/half.h"
#include "ops/tuned.h"
#include "plan/plan.h"
#include "profile/predict.h"
#include "shader/modules.h"
#include "shader/reflect.h"

#include <vireo/predict.hpp>

namespace vireo {
namespace {

DeviceCaps nano() {
  const Result<DeviceCaps> caps = caps_from_text(*machine_caps("jetson-nano"), "jetson-nano");
  EXPECT_TRUE(caps.ok());
  return *caps;
}

struct Conv {
  explicit Conv(Shape in, int64_t outputs, double side = 3) : x(in), cout(outputs), kernel(side), pad(side / 2) {
    pad = double(int64_t(pad));
  }
  Shape x;
  int64_t cout;
  double kernel, pad, stride = 1, dilation = 1, groups = 1;
  ConstantPtr weight = nullptr;
  bool planar = false;

  Result<Planned> plan(const DeviceCaps& caps, Precision precision, std::optional<Tuning> tuning = {}) const {
    GraphBuilder g("conv");
    TensorDesc desc;
    desc.shape = x;
    if (planar) desc.layout = Layout::kPlanar;
    else if (precision != Precision::kFp32 && caps.shader_float16) desc.dtype = DType::kF16;
    const int64_t cols = x.c() / int64_t(groups) * int64_t(kernel * kernel);
    const ValueId w = g.constant("w", weight ? weight : random_constant(cout, cols, 1, 0.1f));
    g.output(g.add(OpKind::kConv2d, "conv", {g.input("x", desc), w},
                   {{"kernel_h", kernel},
                    {"kernel_w", kernel},
                    {"stride_h", stride},
                    {"stride_w", stride},
                    {"pad_h", pad},
                    {"pad_w", pad},
                    {"dilation_h", dilation},
                    {"dilation_w", dilation},
                    {"groups", groups}}));
    PlanOptions o;
    o.precision = precision;
    o.tuning = tuning;
    return make_plan(*g.finish(), caps, o);
  }
  std::string taken(const DeviceCaps& caps, Precision precision, std::optional<Tuning> tuning = {}) const {
    const Result<Planned> p = plan(caps, precision, std::move(tuning));
    if (!p.ok()) return p.error().message;
    for (const Step& s : p->plan.steps)
      if (s.op == OpKind::kConv2d) return s.by->name;
    return "none";
  }
};

TEST(WinogradVulkan, IsTakenWhereItCostsLess) {
  DeviceCaps caps = nano();
  for (const auto& [side, cin, cout] : std::vector<std::array<int64_t, 3>>{
           {64, 96, 96}, {64, 192, 96}, {32, 128, 128}, {16, 160, 160}, {128, 64, 64}, {128, 256, 64}, {128, 64, 14}}) {
    const Conv c(Shape{{1, side, side, cin}}, cout);
    EXPECT_EQ(c.taken(caps, Precision::kFp16), "conv2d.winograd.half") << side << " " << cin << " " << cout;
    EXPECT_EQ(c.taken(caps, Precision::kFp32), "conv2d.winograd.tile") << side << " " << cin << " " << cout;
  }
  const Shape map{{1, 64, 64, 128}};
  Conv c(map, 96);
  EXPECT_EQ(c.taken(caps, Precision::kInt8), "conv2d.winograd.half") << "the numbers of its codes";
  caps.shader_float16 = false;
  EXPECT_EQ(c.taken(caps, Precision::kInt8), "conv2d.tile") << "fp32 rows";
  caps = nano();
  EXPECT_EQ(Conv(map, 96, 5).taken(caps, Precision::kFp16), "conv2d.half");
  EXPECT_EQ(Conv(map, 96, 1).taken(caps, Precision::kFp32), "conv2d.tile");
  c.stride = 2;
  EXPECT_EQ(c.taken(caps, Precision::kFp16), "conv2d.half");
  c = Conv(map, 96), c.dilation = c.pad = 2;
  EXPECT_EQ(c.taken(caps, Precision::kFp32), "conv2d.tile");
  c = Conv(map, 96), c.groups = 4;
  EXPECT_EQ(c.taken(caps, Precision::kFp32), "conv2d.tile");
  c = Conv(Shape{{1, 64, 64, 3}}, 96), c.planar = true;
  EXPECT_EQ(c.taken(caps, Precision::kFp32), "conv2d.tile");
  // A map of one tile leaves most of a workgroup without one.
  EXPECT_EQ(Conv(Shape{{1, 2, 2, 128}}, 128).taken(caps, Precision::kFp32), "conv2d.tile");

  c = Conv(map, 96);
  Tuning failed = tuning_for(caps);
  failed.constants.erase("conv2d.winograd.half");
  EXPECT_NE(c.taken(caps, Precision::kFp16, failed), "conv2d.winograd.half") << "it failed its check";
  caps.shader_float16 = false;
  EXPECT_EQ(c.taken(caps, Precision::kFp16), "conv2d.tile") << "weights of halves would be rounded once more";
  caps.device_class = DeviceClass::kSoftware;
  EXPECT_EQ(c.taken(caps, Precision::kFp32), "conv2d.direct") << "lavapipe fetches texels faster";
}

TEST(WinogradVulkan, SharedMemoryIsWhatTheShaderDeclares) {
  const DeviceCaps caps = nano();
  const Tuning defaults = tuning_for(caps);
  for (const char* name : {"conv2d.winograd.tile", "conv2d.winograd.half"})
    for (const Constants& each : defaults.of(name)) {
      SCOPED_TRACE(fmt::format("{} {}", name, fmt::join(each, ",")));
      const bool half = find_kernel(name)->rate == Rate::kHalf;
      Tuning tuning = defaults;
      only_kernel(*find_kernel(name), &tuning);
      tuning.constants[name] = {each};
      const Result<Planned> p =
          Conv(Shape{{1, 16, 16, 68}}, 40).plan(caps, half ? Precision::kFp16 : Precision::kFp32, tuning);
      ASSERT_TRUE(p.ok()) << p.error().message;
      const PlanDispatch& d = p->plan.steps[0].dispatches[0];
      ASSERT_EQ(d.shader, name);
      const Result<uint64_t> bytes = shader::shared_bytes(*shader::find(d.shader), d.spec);
      ASSERT_TRUE(bytes.ok());
      EXPECT_EQ(*bytes, 16u * each[2] * (each[0] + each[1]) * (half ? 2 : 4));
      EXPECT_LE(*bytes, 32768u) << "two workgroups at a time";
    }
}

/// U = G g G^T, rounded to fp16 once: a + b + e is above the middle of two halves by less than a float can tell.
TEST(WinogradVulkan, WeightsAreRoundedOnce) {
  const float a = 1, b = std::ldexp(1.f, -11), e = std::ldexp(1.f, -40);
  std::vector<float> w(size_t(33 * 5 * 9));
  for (int64_t n = 0; n < 33; ++n)
    for (int64_t c = 0; c < 5; ++c) {
      float* const g = &w[size_t((n * 5 + c) * 9)];
      g[0] = a, g[1] = b, g[2] = e, g[8] = float(n * 8 + c);
    }
  Conv conv(Shape{{1, 16, 16, 5}}, 33);
  conv.weight = make_constant(33, 45, w);
  const DeviceCaps caps = nano();
  Tuning tuning = tuning_for(caps);
  only_kernel(*find_kernel("conv2d.winograd.half"), &tuning);
  tuning.constants["conv2d.winograd.half"] = {{32, 32, 16, 8}};
  const Result<Planned> p = conv.plan(caps, Precision::kFp16, tuning);
  ASSERT_TRUE(p.ok()) << p.error().message;
  const PackedConst& pack = p->plan.consts[0].pack;
  ASSERT_EQ(pack.pack, Pack::kGpuWinograd);
  ASSERT_EQ(pack.bytes, 2u * 16 * 16 * 32 * 2) << "two panels, a trip each";
  std::vector<uint16_t> packed(size_t(pack.bytes / 2), 0x7C00);
  ASSERT_TRUE(pack_constant(p->plan, p->graph, 0, reinterpret_cast<uint8_t*>(packed.data())).ok());
  const auto at = [&](int64_t n, int64_t c, int64_t plane) {
    return half_to_float(packed[size_t(((n / 32 * 16 + plane) * 16 + c) * 32 + n % 32)]);
  };
  for (int64_t n : {0, 7, 31, 32})
    for (int64_t c : {0, 3, 4}) {
      EXPECT_EQ(at(n, c, 0), 1.f);
      EXPECT_EQ(at(n, c, 1), 0.5f + std::ldexp(1.f, -11)) << "(a + b + e) / 2";
      EXPECT_EQ(at(n, c, 2), 0.5f - std::ldexp(1.f, -12)) << "(a - b + e) / 2";
      EXPECT_EQ(at(n, c, 15), float(n * 8 + c));
    }
  EXPECT_EQ(at(32, 5, 0), 0.f) << "no channel";
  EXPECT_EQ(at(33, 0, 0), 0.f) << "no output";
}

/// Two convolutions of one weight whose tiles differ in the channels of a trip alone: as many bytes, in another order.
TEST(WinogradVulkan, WeightsThatAreSharedArePackedForEachTile) {
  const DeviceCaps caps = nano();
  GraphBuilder g("shared");
  const ValueId w = g.constant("w", random_constant(256, 64 * 9, 1, 0.1f));
  const std::vector<std::pair<const char*, double>> attrs = {
      {"kernel_h", 3}, {"kernel_w", 3}, {"pad_h", 1}, {"pad_w", 1}};
  for (int64_t side : {64, 8}) {
    TensorDesc x{DType::kF16, Shape{{1, side, side, 64}}};
    g.output(g.add(OpKind::kConv2d, "conv", {g.input("x", x), w}, attrs));
  }
  PlanOptions o;
  o.precision = Precision::kFp16;
  o.tuning = tuning_for(caps);
  only_kernel(*find_kernel("conv2d.winograd.half"), &*o.tuning);
  o.tuning->constants["conv2d.winograd.half"] = {{32, 32, 16, 8}, {16, 32, 8, 8}};
  const Result<Planned> p = make_plan(*g.finish(), caps, o);
  ASSERT_TRUE(p.ok()) << p.error().message;
  std::vector<const Step*> convs;
  for (const Step& s : p->plan.steps)
    if (s.op == OpKind::kConv2d) convs.push_back(&s);
  ASSERT_EQ(convs.size(), 2u);
  ASSERT_NE(convs[0]->constants, convs[1]->constants) << "the test wants two tiles";
  for (const Step* s : convs)
    EXPECT_EQ(uint32_t(p->plan.consts[size_t(s->consts[0])].pack.step), s->constants[2]) << s->kernel;
}

TEST(WinogradVulkan, WeightsThatGrowBeyondHalvesAreToldOf) {
  Conv conv(Shape{{1, 16, 16, 16}}, 32);
  conv.weight = make_constant(32, 144, std::vector<float>(size_t(32 * 144), 40000.f));
  const DeviceCaps caps = nano();
  const Result<Planned> p = conv.plan(caps, Precision::kFp16);
  ASSERT_TRUE(p.ok()) << p.error().message;
  ASSERT_EQ(p->plan.consts[0].pack.pack, Pack::kGpuWinograd);
  std::vector<uint8_t> packed(size_t(p->plan.consts[0].pack.bytes));
  const Result<void> done = pack_constant(p->plan, p->graph, 0, packed.data());
  ASSERT_FALSE(done.ok());
  EXPECT_NE(done.error().message.find("beyond fp16"), std::string::npos) << done.error().message;
}

/// A prediction's roofline counts what is multiplied, not what the definition would, or it would lie above the time.
TEST(WinogradVulkan, PredictionsCountItsOwnProducts) {
  const DeviceCaps caps = nano();
  const Machine machine = *machine_from_text(*machine_text("jetson-nano"), "jetson-nano");
  for (Precision precision : {Precision::kFp32, Precision::kFp16}) {
    const Result<Planned> p = Conv(Shape{{1, 64, 64, 256}}, 128).plan(caps, precision);
    ASSERT_TRUE(p.ok()) << p.error().message;
    Result<std::vector<DispatchWork>> work = plan_work(p->plan);
    ASSERT_TRUE(work.ok()) << work.error().message;
    const DispatchWork& w = work->back();
    const Result<PlanPrediction> predicted = predict(p->plan, *work, machine);
    ASSERT_TRUE(predicted.ok()) << predicted.error().message;
    const DispatchPrediction& d = predicted->dispatches.back();
    EXPECT_EQ(w.multiplied, 16.0 / 36);
    const double definition_us = w.flops / ((precision == Precision::kFp16 ? 512 : 256) * machine.clock_mhz);
    EXPECT_NEAR(d.roof_us, definition_us * 16 / 36, 1e-6 * definition_us);
    EXPECT_GE(d.bound_us, d.roof_us);
    EXPECT_LT(d.bound_us, 0.75 * definition_us) << "fewer products pay";
  }
}

}  // namespace
}  // namespace vireo
