// Kernels that multiply in packed fp16 arithmetic, on every Vulkan device that has it: their results are within what
// each says that its sums may be off, and a session's question comes out right.
#include <gtest/gtest.h>

#include <cmath>

#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/tuned.h"
#include "ops_conformance.h"
#include "runtime/self_test.h"

namespace vireo {
namespace {

using namespace conformance;

/// What a session asks before it uses the kernel with these constants comes out right. `strict`: and would not, if the
/// kernel said that its sums are nearly exact.
void expect_holds(const KernelDef& kernel, const Constants& constants, const Target& t, bool strict) {
  ThreadPool pool(2);
  const Result<bool> right = holds(kernel, constants, t.gpu, t.caps, pool);
  ASSERT_TRUE(right.ok()) << right.error().message;
  EXPECT_TRUE(*right) << kernel.name << " on " << t.label;
  if (!strict) return;
  KernelDef exact = kernel;
  exact.error = [](const Constants&) { return 1e-9; };
  const Result<bool> wrong = holds(exact, constants, t.gpu, t.caps, pool);
  ASSERT_TRUE(wrong.ok()) << wrong.error().message;
  EXPECT_FALSE(*wrong) << kernel.name << " on " << t.label;
}

/// A selection of shapes: each is slow to compile on lavapipe.
TEST(Tiles, PackedHalves) {
  int runs = 0;
  for (Target t : targets()) {
    if (!t.gpu || t.tuning || t.caps.device_class != DeviceClass::kMaxwell || !t.gpu->caps().shader_float16) continue;
    t.caps.shader_float16 = true;
    const Tuning all = tuning_for(t.caps);
    for (const Constants& constants : all.of("linear.half")) {
      const LinearTile tile = linear::tile_of(constants);
      t.tuning = tuning_with(t.caps, "linear.half", constants);
      if (!linear::tile_work(tile, true, *t.tuning, t.caps, 1, 1, 1).legal) continue;
      t.label = fmt::format("half {}x{}x{} on {}", tile.bm, tile.bn, tile.bk, t.caps.name);
      expect_holds(*find_kernel("linear.half"), constants, t, runs == 0);
      for (const OpCase& spec : op_def(OpKind::kLinear).cases()) {
        if (spec.label == "one past the tile" ||
            (constants[2] >= 32 && constants[1] != 72 &&
             (spec.label == "vit-ti fc1" || spec.label == "dinov2-s fc2" || spec.label == "primes" ||
              spec.label == "odd width" || spec.label == "large values")))
          run_case({OpKind::kLinear, spec, Precision::kFp16}, t, linear::half_error(tile.bk)), ++runs;
        if (spec.label == "one past the tile") {  // its residual as well
          t.gap = 12;
          run_case({OpKind::kLinear, spec, Precision::kFp16}, t, linear::half_error(tile.bk));
          t.gap = 0;
        }
      }
    }
  }
  if (runs == 0) GTEST_SKIP() << "no device with shaderFloat16";
  EXPECT_EQ(vulkan().messages, "") << "the validation layer must stay silent";
}

/// Without the scores' part of kernel.error(), which is of the largest scores and of their keys alone.
double sums_error(const Constants& c) { return std::ldexp(3 + std::sqrt(c[1] * 4 / 6.0), -11); }

/// A selection again, in which each of the shader's ways and most of its tiles are taken.
TEST(Tiles, PackedHalvesOfAttention) {
  const KernelDef& kernel = *find_kernel("attention.half");
  int runs = 0;
  for (Target t : targets()) {
    if (!t.gpu || t.tuning || t.gap || t.caps.device_class != DeviceClass::kMaxwell || !t.gpu->caps().shader_float16)
      continue;
    t.caps.shader_float16 = true;
    const std::vector<Constants> all = tuning_for(t.caps).of(kernel.name);
    for (size_t i = 1; i < all.size(); i += 4) {
      t.label = fmt::format("tile {} on {}", i, t.caps.name);
      expect_holds(kernel, all[i], t, i == 1);
    }
    t.tuning = tuning_for(t.caps);
    only_kernel(kernel, &*t.tuning);
    t.label = fmt::format("half on {}", t.caps.name);
    for (const OpCase& spec : op_def(OpKind::kAttention).cases()) {
      bool wanted = false;
      for (const char* label :
           {"vit-ti", "one token", "batch", "dim 128", "peaked", "narrow v", "swin-t shifted and padded",
            "mobilevit-s at 512", "mobilevit-s, heads of 36, whole blocks of keys",
            "shift along x only, zeros beyond the edge", "key bias, several blocks, large"})
        wanted |= spec.label == label;
      if (!wanted) continue;
      const Case c{OpKind::kAttention, spec, Precision::kFp16};
      PlanOptions options;
      options.precision = c.precision;
      options.tuning = t.tuning;
      const Prepared p = prepare(c, true);
      const Result<Planned> planned = make_plan(p.graph, t.caps, options);
      ASSERT_TRUE(planned.ok()) << planned.error().message;
      ASSERT_EQ(planned->plan.steps[0].by, &kernel) << planned->plan.steps[0].kernel;
      // Errors of scores are relative to them, and error() is of numbers up to 1 and the usual scale.
      const OpCall call = op_call(planned->plan, planned->plan.steps[0]);
      const double dim = double(attention::sizes(call).dim);
      const double size = double(spec.scale) * double(spec.scale) * attention::scale_of(call) * std::sqrt(dim);
      run_case(c, t, std::max(1.0, size) * sums_error(planned->plan.steps[0].constants)), ++runs;
    }
  }
  if (runs == 0) GTEST_SKIP() << "no device with shaderFloat16";
  EXPECT_EQ(runs % 11, 0) << "every one of the cases is there";
  EXPECT_EQ(vulkan().messages, "") << "the validation layer must stay silent";
}

TEST(Tiles, PackedHalvesOfConvolutions) {
  const KernelDef& kernel = *find_kernel("conv2d.half");
  int runs = 0;
  for (Target t : targets()) {
    if (!t.gpu || t.tuning || t.gap || t.caps.device_class != DeviceClass::kMaxwell || !t.gpu->caps().shader_float16)
      continue;
    t.caps.shader_float16 = true;
    const std::vector<Constants> all = tuning_for(t.caps).of(kernel.name);
    for (size_t i = 0; i < all.size(); ++i) {
      const LinearTile tile = linear::tile_of(all[i]);
      t.tuning = tuning_with(t.caps, kernel.name, all[i]);
      if (!linear::tile_work(tile, true, *t.tuning, t.caps, 1, 1, 1).legal) continue;
      t.label = fmt::format("half {}x{}x{} on {}", tile.bm, tile.bn, tile.bk, t.caps.name);
      if (i % 4 == 0) expect_holds(kernel, all[i], t, i == 0);
      for (const OpCase& spec : op_def(OpKind::kConv2d).cases())
        if (spec.label == "dilated 3x3" ||
            (tile.bn == 64 && tile.bm == 64 &&
             (spec.label == "3x3 stride 2 rows, odd channels" || spec.label == "1x1 rows" ||
              spec.label == "2 groups of 8" || spec.label == "winograd, no padding, a single column of tiles")))
          run_case({OpKind::kConv2d, spec, Precision::kFp16}, t, kernel.error(all[i])), ++runs;
    }
  }
  if (runs == 0) GTEST_SKIP() << "no device with shaderFloat16";
  EXPECT_EQ(vulkan().messages, "") << "the validation layer must stay silent";
}

}  // namespace
}  // namespace vireo
