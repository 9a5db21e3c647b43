// conv2d.winograd.tile and conv2d.winograd.half on every Vulkan device: results are within what each says that its sums
// may be off, and a session's question comes out right.
#include <gtest/gtest.h>

#include "ops/tuned.h"
#include "ops_conformance.h"
#include "runtime/self_test.h"

namespace vireo {
namespace {

using namespace conformance;

/// 3x3 kernels of stride 1: odd maps, channels that are no multiples of anything, batches, padding of 0 to 2,
/// activations, with and without a bias.
std::vector<OpCase> cases() {
  std::vector<OpCase> all;
  for (const OpCase& spec : op_def(OpKind::kConv2d).cases())
    if (spec.label == "3x3 stride 1 rows" || spec.label.rfind("winograd, ", 0) == 0 ||
        spec.label == "mobilevit-s 3x3, rows of a 32x32 map")
      all.push_back(spec);
  EXPECT_EQ(all.size(), 5u);
  return all;
}

/// Runs the cases with each of the kernel's tiles, as parts of wider rows as well, and asks what a session asks.
int run_all(const char* name, Precision precision) {
  const KernelDef& kernel = *find_kernel(name);
  const bool few = precision == Precision::kInt8;  // the same shader: what differs is how weights are packed
  int runs = 0;
  for (Target t : targets()) {
    if (!t.gpu || t.tuning || t.caps.device_class != DeviceClass::kMaxwell) continue;
    if (kernel.rate == Rate::kHalf && !t.gpu->caps().shader_float16) continue;
    t.caps.shader_float16 = kernel.rate == Rate::kHalf;
    std::vector<Constants> tiles = tuning_for(t.caps).of(name);
    EXPECT_FALSE(tiles.empty());
    // What a tuning file may say beside them: 16 tiles of an invocation, and outputs that are no power of two.
    const size_t defaults = tiles.size();
    const uint32_t bk = tiles[0][2];
    tiles.push_back({32, 32, 8, 16});
    tiles.push_back({32, 24, bk, 8});
    for (size_t i = 0; i < tiles.size(); ++i) {
      const Constants& tile = tiles[i];
      if (t.gap && tile != tiles[0]) continue;  // tiles do not differ in that
      t.tuning = tuning_with(t.caps, name, tile);
      t.label = fmt::format("{} {} on {}{}", name, fmt::join(tile, ","), t.caps.name, t.gap ? ", wider rows" : "");
      EXPECT_TRUE(check_tuning(*t.tuning).ok()) << t.label;
      for (const OpCase& spec : cases()) {
        if ((few || i >= defaults) && spec.label != "winograd, odd map and channels, batch") continue;
        const Case c{OpKind::kConv2d, spec, precision};
        PlanOptions options;
        options.precision = precision;
        options.tuning = t.tuning;
        const Result<Planned> planned = make_plan(prepare(c, precision != Precision::kFp32).graph, t.caps, options);
        if (!planned.ok() || planned->plan.steps[0].by != &kernel) {
          ADD_FAILURE() << t.label << ": " << spec.label << ": "
                        << (planned.ok() ? planned->plan.steps[0].kernel : planned.error().message);
          continue;
        }
        run_case(c, t, kernel.error ? kernel.error(tile) : 0), ++runs;
      }
      if (t.gap || few) continue;
      ThreadPool pool(2);
      const Result<bool> right = holds(kernel, tile, t.gpu, t.caps, pool);
      EXPECT_TRUE(right.ok() && *right) << t.label << (right.ok() ? "" : ": " + right.error().message);
      KernelDef exact = kernel;
      exact.error = [](const Constants&) { return 1e-9; };
      const Result<bool> wrong = holds(exact, tile, t.gpu, t.caps, pool);
      EXPECT_TRUE(wrong.ok() && !*wrong) << t.label << ": nothing is that exact";
    }
  }
  return runs;
}

TEST(Tiles, Winograd) {
  const int runs = run_all("conv2d.winograd.tile", Precision::kFp32);
  EXPECT_TRUE(runs > 0 || !vulkan().instance);
  EXPECT_EQ(vulkan().messages, "") << "the validation layer must stay silent";
}

TEST(Tiles, WinogradInPackedHalves) {
  if (run_all("conv2d.winograd.half", Precision::kFp16) == 0) GTEST_SKIP() << "no device with shaderFloat16";
  EXPECT_GT(run_all("conv2d.winograd.half", Precision::kInt8), 0) << "the numbers of codes";
  EXPECT_EQ(vulkan().messages, "") << "the validation layer must stay silent";
}

}  // namespace
}  // namespace vireo
