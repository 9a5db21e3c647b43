// The probes behind a roofline: their plans, and that they run and give rates of a plausible size.
#include <gtest/gtest.h>

#include "profile/probes.h"
#include "runtime/roofline.h"
#include "shader/modules.h"

namespace vireo {
namespace {

using probes::Probe;
using probes::probe_plan;

TEST(Roofline, WorkGrowsWithTheScale) {
  DeviceCaps caps;
  for (Probe p : {Probe::kFma, Probe::kHalfFma, Probe::kCopy, Probe::kShared, Probe::kDispatch}) {
    const probes::ProbePlan one = probe_plan(p, caps, 1), three = probe_plan(p, caps, 3);
    EXPECT_GT(one.work, 0);
    EXPECT_DOUBLE_EQ(three.work, 3 * one.work);
    for (const Step& s : three.plan.steps)
      for (const PlanDispatch& d : s.dispatches) EXPECT_NE(shader::find(d.shader), nullptr) << d.shader;
  }
}

#if VIREO_VULKAN
TEST(Roofline, MeasuredOnEveryDevice) {
  const Result<std::shared_ptr<vk::Instance>> instance = vk::Instance::open({});
  if (!instance) GTEST_SKIP() << instance.error().message;
  ThreadPool pool(2);
  int measured = 0;
  for (const vk::Physical& p : (*instance)->devices()) {
    if (!p.unusable.empty()) continue;
    const Result<std::shared_ptr<vk::Gpu>> gpu = vk::Gpu::open(*instance, p.index);
    ASSERT_TRUE(gpu) << gpu.error().message;
    const Result<MeasuredRoofs> m = measure_roofline(*gpu, pool, RoundWatch::real());
    ASSERT_TRUE(m) << m.error().message;
    EXPECT_GE(m->share, 0);
    EXPECT_LE(m->share, 1);
    const DeviceRoofs* const r = &m->roofs;
    EXPECT_GT(r->fma_gflops, 0.01);
    EXPECT_LT(r->fma_gflops, 1e6);
    EXPECT_GT(r->copy_gbs, 0.01);
    EXPECT_LT(r->copy_gbs, 1e5);
    EXPECT_GT(r->shared_gbs, 0.01);
    EXPECT_EQ(r->half_fma_gflops > 0, (*gpu)->caps().shader_float16);
    EXPECT_GT(r->submit_us, 0);
    EXPECT_GE(r->dispatch_us, 0);
    std::printf(
        "[   INFO   ] %s: fma %.1f GFLOP/s, fp16 %.1f, copy %.2f GB/s, shared %.1f GB/s, dispatch %.1f us, submit %.1f "
        "us\n",
        (*gpu)->caps().name.c_str(), r->fma_gflops, r->half_fma_gflops, r->copy_gbs, r->shared_gbs, r->dispatch_us,
        r->submit_us);
    ++measured;
  }
  if (!measured) GTEST_SKIP() << "no Vulkan device";
}
#endif

}  // namespace
}  // namespace vireo
