// Several operators in a row on every target, answers that are no class, and that no operator or driver is missing.
// (Single operators: ops_conformance.cpp.)
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>

#include "ops_conformance.h"
#include "support/reference.h"

namespace vireo {
namespace {

using namespace conformance;

/// A convolutional toy (3x3 stride 2, ReLU, max pool, mean, linear) through fuse, lower, place, order, verify and run.
Result<Graph> toy_network() {
  GraphBuilder b("toy");
  const ValueId x = b.input("pixels", {DType::kF32, Shape{{2, 33, 30, 3}}, Layout::kPlanar});
  const ValueId conv =
      b.add(OpKind::kConv2d, "stem",
            {x, b.constant("w", random_constant(16, 27, 1, 0.2f)), b.constant("b", fill_constant(1, 16, 0.1f))},
            {{"kernel_h", 3}, {"kernel_w", 3}, {"stride_h", 2}, {"stride_w", 2}, {"pad_h", 1}, {"pad_w", 1}});
  const ValueId pooled = b.add(OpKind::kPool, "pool", {b.add(OpKind::kRelu, "relu", {conv})},
                               {{"mode", 1}, {"kernel", 3}, {"stride", 2}, {"pad", 1}});
  const ValueId second =
      b.add(OpKind::kConv2d, "second", {pooled, b.constant("w2", random_constant(10, 144, 3, 0.1f))},
            {{"kernel_h", 3}, {"kernel_w", 3}, {"stride_h", 2}, {"stride_w", 2}, {"pad_h", 1}, {"pad_w", 1}});
  b.output(b.add(OpKind::kLinear, "head",
                 {b.add(OpKind::kMean, "mean", {second}), b.constant("hw", random_constant(7, 10, 2, 0.2f))}));
  return b.finish();
}

TEST(Networks, ConvolutionalToyRunsOnEveryTarget) {
  Result<Graph> graph = toy_network();
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  Prepared p;
  p.graph = *graph;
  p.inputs = {test::noise(2 * 33 * 30 * 3, 5, 1.0)};
  p.expected = test::run_reference(p.graph, p.inputs)[size_t(p.graph.outputs[0])];
  p.bound = 1e-5;  // four sums of at most 144 terms around 1, well within rounding_bound's 2.4e-6 each
  for (const Target& t : targets()) {
    Result<Planned> planned = make_plan(p.graph, t.caps, {});
    ASSERT_TRUE(planned.ok()) << planned.error().message;
    EXPECT_LT(planned->plan.steps.size(), p.graph.nodes.size()) << "relu is the convolution's epilogue";
    ThreadPool pool(2);
    const PlanValue& out = planned->plan.values[size_t(planned->plan.outputs[0])];
    const float* got = nullptr;
    std::unique_ptr<cpu::Executable> on_cpu;
    std::unique_ptr<vk::Executable> on_gpu;
    if (t.kernels) {
      auto e = cpu::Executable::create(planned->plan, planned->graph, pool, *t.kernels, 1);
      ASSERT_TRUE(e.ok());
      on_cpu = std::move(*e);
      fill_input(planned->plan, p, reinterpret_cast<uint8_t*>(on_cpu->input(0)));
      on_cpu->run(0, pool);
      got = on_cpu->output(0);
    } else {
      auto e = vk::Executable::create(t.gpu, planned->plan, planned->graph, pool, {});
      ASSERT_TRUE(e.ok()) << e.error().message;
      on_gpu = std::move(*e);
      fill_input(planned->plan, p, reinterpret_cast<uint8_t*>(on_gpu->input(0)));
      ASSERT_TRUE(on_gpu->submit(0).ok() && on_gpu->wait(0).ok());
      got = on_gpu->output(0);
    }
    for (int64_t r = 0; r < 2; ++r)
      for (int64_t c = 0; c < 7; ++c)
        EXPECT_NEAR(got[r * out.desc.row_stride() + c], p.expected[size_t(r * 7 + c)], p.bound) << t.label;
  }
  EXPECT_EQ(vulkan().messages, "");
}

// No class is right where a score is infinite or no number: a map must not say "class 0" there.
TEST(Argmax, ScoresThatAreNoNumbersAreNoClass) {
  const Shape in{{1, 2, 3, 5}};
  std::vector<float> scores = {};
  for (int i = 0; i < 30; ++i) scores.push_back(float((i * 7) % 11));
  scores[1 * 5 + 2] = INFINITY, scores[3 * 5 + 0] = NAN, scores[4 * 5 + 4] = -INFINITY;
  for (const Target& t : targets())
    for (const bool resized : {false, true}) {
      GraphBuilder b("argmax");
      std::vector<std::pair<const char*, double>> attrs;
      if (resized) attrs = {{"out_h", 4}, {"out_w", 6}};
      b.output(b.add(OpKind::kArgmax, "map", {b.input("x", {DType::kF32, in})}, attrs));
      Result<Graph> g = b.finish();
      ASSERT_TRUE(g.ok()) << g.error().message;
      PlanOptions options;
      options.tuning = t.tuning;
      Result<Planned> planned = make_plan(*g, t.caps, options);
      ASSERT_TRUE(planned.ok()) << planned.error().message;
      Prepared p;
      p.inputs = {std::vector<double>(scores.begin(), scores.end())};
      ThreadPool pool(2);
      std::unique_ptr<cpu::Executable> on_cpu;
      std::unique_ptr<vk::Executable> on_gpu;
      const float* got = nullptr;
      if (t.kernels) {
        auto e = cpu::Executable::create(planned->plan, planned->graph, pool, *t.kernels, 1);
        ASSERT_TRUE(e.ok());
        on_cpu = std::move(*e);
        fill_input(planned->plan, p, reinterpret_cast<uint8_t*>(on_cpu->input(0)));
        on_cpu->run(0, pool);
        got = on_cpu->output(0);
      } else {
        auto e = vk::Executable::create(t.gpu, planned->plan, planned->graph, pool, {});
        ASSERT_TRUE(e.ok()) << e.error().message;
        on_gpu = std::move(*e);
        fill_input(planned->plan, p, reinterpret_cast<uint8_t*>(on_gpu->input(0)));
        ASSERT_TRUE(on_gpu->submit(0).ok() && on_gpu->wait(0).ok());
        got = on_gpu->output(0);
      }
      const int64_t stride = planned->plan.values[size_t(planned->plan.outputs[0])].desc.row_stride();
      int none = 0;
      for (int i = 0; i < (resized ? 24 : 6); ++i) {
        const float c = got[i * stride];
        none += c == -1;
        if (resized) continue;
        const bool bad = i == 1 || i == 3 || i == 4;
        EXPECT_EQ(c == -1, bad) << t.label << " pixel " << i << ": " << c;
        if (!bad) {
          EXPECT_TRUE(c >= 0 && c < 5) << t.label << " pixel " << i << ": " << c;
        }
      }
      EXPECT_GE(none, resized ? 12 : 3) << t.label;  // every pixel that a bad one has a part in
    }
}

TEST(Registry, NoFieldIsMissing) {
  for (OpKind k : all_ops()) {
    const OpDef& d = op_def(k);
    EXPECT_TRUE(d.name && d.attrs && d.infer && d.reference && d.cost && d.tolerance && d.cases);
    for (DeviceKind device : {DeviceKind::kVulkan, DeviceKind::kCpu})
      EXPECT_TRUE(std::any_of(all_kernels().begin(), all_kernels().end(), [&](const KernelDef* kernel) {
        return kernel->op == k && kernel->device == device;
      })) << d.name;
  }
  std::set<std::string> names, words;
  for (const KernelDef* k : all_kernels()) {
    EXPECT_TRUE(k->lower && (k->run != nullptr) == (k->device == DeviceKind::kCpu)) << k->name;
    EXPECT_TRUE(names.insert(k->name).second) << k->name;
    EXPECT_EQ(find_kernel(k->name), k);
    EXPECT_EQ(std::string(k->name).rfind(op_def(k->op).name, 0), 0u) << k->name << " begins with its operator";
    if (!k->constants) continue;
    EXPECT_TRUE(words.insert(k->constants->word).second) << k->constants->word;
    EXPECT_TRUE(k->constants->legal && k->constants->defaults) << k->name;
    // Sums of fp16 are further off than the operator's tolerance, and a kernel of them has to say how far.
    EXPECT_FALSE(k->self_test && !k->error && k->rate == Rate::kHalf) << k->name;
  }
}

TEST(Targets, VulkanIsThere) {
  if (!vulkan().instance) GTEST_SKIP() << vulkan().why_not;
  if (std::getenv("VIREO_TEST_TARGETS")) GTEST_SKIP() << "VIREO_TEST_TARGETS leaves targets out";
  std::set<std::string> drivers;
  for (const Target& t : targets())
    if (t.gpu) drivers.insert(t.caps.name);
  // Two drivers with different subgroup sizes where Debian's chromium is installed: one must not go missing unnoticed.
  EXPECT_GE(drivers.size(), std::ifstream(kSwiftShader).good() ? 2u : 1u) << vulkan().instance->list_devices();
  for (const Target& t : targets())
    if (t.gpu) std::printf("[   INFO   ] %s: %s\n", t.label.c_str(), t.caps.name.c_str());
}

}  // namespace
}  // namespace vireo
