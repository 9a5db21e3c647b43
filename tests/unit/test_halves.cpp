// attention.half and conv2d.half: when they are taken, what they compute beyond the results, and what their shaders
// need.
#include <gtest/gtest.h>

#include "ops/kernel.h"
#include "plan/plan.h"
#include "shader/modules.h"
#include "shader/reflect.h"
#if VIREO_VULKAN
#include "runtime/self_test.h"
#endif

#include <vireo/kernels.hpp>
#include <vireo/predict.hpp>

namespace vireo {
namespace {

DeviceCaps nano() {
  const Result<DeviceCaps> caps = caps_from_text(*machine_caps("jetson-nano"), "jetson-nano");
  EXPECT_TRUE(caps.ok());
  return *caps;
}

/// One operator on rows of the given type.
struct Call {
  Call(OpKind op, Shape in, Shape result, DType rows, Attrs values) : kind(op), attrs(values) {
    x.shape = in, x.dtype = rows;
    call.name = "step", call.attrs = &attrs, call.in = {&x};
    call.out.shape = result, call.out.dtype = rows;
  }
  Result<Lowering> lower(const DeviceCaps& caps, const Tuning& tuning) const {
    return lower_op(kind, caps.kind, call, {&caps, &tuning});
  }
  std::string taken(const DeviceCaps& caps) const {
    const Tuning tuning = tuning_for(caps);
    const Result<Lowering> l = lower(caps, tuning);
    return l ? l->by->name : l.error().message;
  }
  OpKind kind;
  Attrs attrs;
  TensorDesc x, w;
  OpCall call;
};

struct Heads : Call {
  Heads(int64_t tokens, int64_t heads, int64_t dim, DType rows = DType::kF16)
      : Call(OpKind::kAttention, Shape{{1, 1, tokens, 3 * heads * dim}}, Shape{{1, 1, tokens, heads * dim}}, rows,
             Attrs{double(heads), 0, 0, 1, 1}) {}
};

struct Conv : Call {
  Conv(int64_t size, int64_t cin, int64_t cout, int64_t kernel, DType rows = DType::kF16, DType weights = DType::kF16)
      : Call(OpKind::kConv2d, Shape{{1, size, size, cin}}, Shape{{1, size, size, cout}}, rows,
             Attrs{double(kernel), double(kernel), 1, 1, double(kernel / 2), double(kernel / 2), 0, 1, 1, 1}) {
    w.shape = Shape{{1, 1, cout, cin * kernel * kernel}}, w.dtype = weights;
    call.in = {&x, &w, nullptr};
  }
};

TEST(AttentionHalf, IsTakenForHalvesWhereTheDeviceMultipliesThem) {
  DeviceCaps caps = nano();
  for (int64_t dim : {16, 24, 32, 36, 48, 64, 72, 80, 96, 128})
    for (int64_t tokens : {197, 1024}) {
      EXPECT_EQ(Heads(tokens, 3, dim).taken(caps), "attention.half") << tokens << " tokens, " << dim;
      EXPECT_EQ(Heads(tokens, 3, dim, DType::kF32).taken(caps), "attention.tile") << tokens << " tokens, " << dim;
    }
  EXPECT_EQ(Heads(49, 3, 32).taken(caps), "attention.half") << "a window";
  Heads cosine(64, 3, 32);
  cosine.attrs[7] = 1;  // scale
  EXPECT_EQ(cosine.taken(caps), "attention.tile") << "its scores may be large";
  EXPECT_EQ(Heads(197, 3, 30).taken(caps), "attention.tile") << "no whole groups of 4";
  Tuning without = tuning_for(caps);
  without.constants.erase("attention.half");
  EXPECT_STREQ(Heads(197, 3, 64).lower(caps, without)->by->name, "attention.tile") << "it failed its check";
  caps.shader_float16 = false;
  EXPECT_EQ(Heads(197, 3, 64).taken(caps), "attention.tile");
}

TEST(AttentionHalf, NoInvocationIdlesAtTheWidthsOfModels) {
  const DeviceCaps caps = nano();
  const Tuning tuning = tuning_for(caps);
  // So many tokens that the last block of keys and the last workgroup are no matter.
  for (int64_t dim : {16, 24, 32, 36, 48, 64, 72, 80, 96, 128}) {
    const Result<Lowering> l = Heads(4608, 1, dim).lower(caps, tuning);
    ASSERT_TRUE(l.ok() && l->by->name == std::string("attention.half"));
    double flops = 0, issued = 0;
    for (const Dispatch& d : l->dispatches) flops += d.work.flops, issued += d.work.issued_flops;
    EXPECT_GE(flops, (dim == 72 ? 0.89 : 0.9) * issued) << dim << ": " << l->kernel;
    EXPECT_LE(flops, issued) << dim;
  }
}

TEST(AttentionHalf, SharedMemoryIsWhatTheShaderDeclares) {
  const DeviceCaps caps = nano();
  const Tuning tuning = tuning_for(caps);
  const auto number = [](const shader::Words& words, const char* name) {
    for (const auto& [n, v] : words)
      if (n == std::string(name)) return uint64_t(v);
    ADD_FAILURE() << name;
    return uint64_t(0);
  };
  for (int64_t dim : {16, 24, 36, 60, 64, 80, 128}) {
    const Result<Lowering> l = Heads(197, 2, dim).lower(caps, tuning);
    ASSERT_TRUE(l.ok());
    const Dispatch& d = l->dispatches[0];
    ASSERT_EQ(d.shader, "attention.half");
    const Result<PlanDispatch> resolved = resolve_words("step", d);
    ASSERT_TRUE(resolved.ok()) << resolved.error().message;
    const Result<uint64_t> bytes = shader::shared_bytes(*shader::find(d.shader), resolved->spec);
    ASSERT_TRUE(bytes.ok());
    // shaders/README.md, and up to 15 bytes behind each of its arrays.
    const uint64_t lx = number(d.spec, "LX"), tx = number(d.spec, "TX"), tn = number(d.spec, "TN"),
                   dc = number(d.spec, "DC"), vx = number(d.spec, "VX"), vn = number(d.spec, "VN");
    const uint64_t bq = lx / tx * 8, bkv = tx * tn, row = (vx * vn / 2 + 3) / 4 * 4;
    const uint64_t stage = std::max({dc * (bq / 2 + bkv / 2 + 2), tx * (bq + 4), 4 * tx * (bq / 2 + 1 + row)});
    const uint64_t stated = 4 * (stage + tx * (bq / 2 + 4) + 2 * bq + bkv);
    EXPECT_GE(*bytes, stated) << l->kernel;
    EXPECT_LT(*bytes, stated + 6 * 16) << l->kernel;
    EXPECT_LE(*bytes, caps.max_shared_bytes) << l->kernel;
    EXPECT_EQ(lx % (dc / 4), 0u) << "the shader's rule: " << l->kernel;
  }
}

TEST(ConvHalf, IsTakenForHalvesWhereTheDeviceMultipliesThem) {
  DeviceCaps caps = nano();
  // Of 3x3 kernels Winograd's costs less.
  for (int64_t cin : {96, 128, 192, 512}) EXPECT_EQ(Conv(64, cin, 96, 5).taken(caps), "conv2d.half") << cin;
  EXPECT_EQ(Conv(64, 128, 96, 5, DType::kF32, DType::kF32).taken(caps), "conv2d.tile");
  Conv planar(64, 3, 96, 3);
  planar.x.layout = Layout::kPlanar, planar.x.dtype = DType::kF32;
  EXPECT_EQ(planar.taken(caps), "conv2d.half") << "its floats are rounded while they are staged";
  planar.call.out.dtype = DType::kF32;
  EXPECT_EQ(planar.taken(caps), "conv2d.tile") << "a policy's activations are f32";
  planar.call.out.dtype = DType::kF16, planar.w.dtype = DType::kF32;
  EXPECT_EQ(planar.taken(caps), "conv2d.tile");
  caps.shader_float16 = false;
  EXPECT_EQ(Conv(64, 128, 96, 5).taken(caps), "conv2d.tile");
}

TEST(ConvDirect, SubgroupsAreFullWhateverTheChannels) {
  const DeviceCaps caps = nano();
  const Tuning tuning = tuning_for(caps);
  for (int64_t cout : {4, 12, 16, 64, 100}) {
    Conv stem(64, 3, cout, 17);  // more taps than conv2d.tile takes
    stem.x.layout = Layout::kPlanar, stem.x.dtype = DType::kF32;
    const Result<Lowering> l = stem.lower(caps, tuning);
    ASSERT_TRUE(l.ok());
    uint32_t invocations = 1;
    for (const auto& [name, value] : l->dispatches[0].spec)
      if (name == std::string("LX") || name == std::string("LY")) invocations *= value;
    EXPECT_GE(invocations, 56u) << cout;
    EXPECT_LE(invocations, 64u) << cout;
  }
}

#if VIREO_VULKAN
/// A session asks a device about what its plan has, each once.
TEST(SelfTests, AreThoseOfThePlan) {
  const DeviceCaps caps = nano();
  Plan plan;
  const KernelDef *attention = find_kernel("attention.half"), *linear = find_kernel("linear.half");
  const auto add = [&](const KernelDef* k, Constants constants, DeviceKind device = DeviceKind::kVulkan) {
    Step s;
    s.by = k, s.constants = std::move(constants), s.device = device;
    plan.steps.push_back(std::move(s));
  };
  EXPECT_TRUE(tested_kernels(plan).empty());
  add(find_kernel("attention.tile"), {128, 8, 4, 4, 16, 32});
  add(attention, {128, 8, 4, 8, 8});
  add(linear, {128, 64, 32, 8, 8});
  add(attention, {128, 8, 4, 8, 8});
  add(linear, {128, 128, 48, 8, 8});
  const std::vector<Tested> expected = {
      {attention, {128, 8, 4, 8, 8}}, {linear, {128, 64, 32, 8, 8}}, {linear, {128, 128, 48, 8, 8}}};
  EXPECT_EQ(tested_kernels(plan), expected);
  // A class's, for tuning: every kernel with a self-test, with all of its constants.
  const std::vector<Tested> all = tested_kernels(caps, DType::kF16);
  size_t constants = 0;
  for (const char* name : {"linear.half", "linear.half.codes", "linear.half.groups", "attention.half", "conv2d.half",
                           "conv2d.half.codes", "conv2d.depthwise.half", "conv2d.winograd.half"})
    constants += tuning_for(caps).of(name).size();
  EXPECT_EQ(all.size(), constants);
  EXPECT_EQ(tested_kernels(caps, DType::kF32).size(), tuning_for(caps).of("conv2d.winograd.tile").size());
}
#endif

}  // namespace
}  // namespace vireo
