// Networks whose tokens are merged, against the definition of each of their operators in double precision.
#include <gtest/gtest.h>

#include <cmath>

#include "base/json.h"
#include "compress/runner.h"
#include "model/model.h"
#include "support/reference.h"
#include "support/small_vits.h"

namespace vireo {
namespace {

using compress::Runner;
using test::kDistilled, test::kRegisters, test::kVit;

Result<LoadedModel> open_with(const std::string& config, const std::vector<int64_t>& merge) {
  ModelSource source;
  source.path = "folder", source.config_path = "folder/config.json", source.seed = 3;
  OrderedJson j = OrderedJson::parse(config, nullptr, false);
  j["quantization_config"] = {{"quant_method", "vireo"}, {"vireo", {{"version", 1}}}};
  j["quantization_config"]["vireo"]["tokens"] = {{"method", "tome"}, {"merge", merge}};
  source.config = j.dump();
  return LoadedModel::from_parts(source, "", "");
}

struct Cpu {
  std::shared_ptr<const Device::Impl> device = make_cpu_device(2, "");
  ThreadPool pool{2};
};

/// What the CPU gives for a graph of one input, and the definition in double.
void compare(const Graph& g, const std::string& what) {
  Cpu cpu;
  const Shape& in = g.value(g.inputs[0]).desc.shape;
  const std::vector<double> pixels = test::noise(size_t(in.elements()), 7, 1.0);
  const auto expected = test::run_reference(g, {pixels})[size_t(g.outputs[0])];
  // The reference takes channels last, the network planar.
  std::vector<float> planar;
  for (int64_t n = 0; n < in.n(); ++n)
    for (int64_t c = 0; c < in.c(); ++c)
      for (int64_t p = 0; p < in.h() * in.w(); ++p)
        planar.push_back(float(pixels[size_t((n * in.h() * in.w() + p) * in.c() + c)]));
  auto runner = Runner::create(g, *cpu.device, cpu.pool, false);
  ASSERT_TRUE(runner.ok()) << runner.error().message;
  const float* got = (*runner)->run(planar);
  double largest = 0, off = 0;
  for (int64_t r = 0; r < (*runner)->output_rows(); ++r)
    for (int64_t c = 0; c < (*runner)->outputs(); ++c) {
      const double e = expected[size_t(r * (*runner)->outputs() + c)];
      largest = std::max(largest, std::fabs(e));
      off = std::max(off, std::fabs(double(got[r * (*runner)->output_stride() + c]) - e));
    }
  EXPECT_LE(off, 2e-5 * largest) << what;
}

TEST(TokenMergingNetworks, GiveWhatTheirDefinitionGives) {
  for (const std::string& config : {kVit, kDistilled, kRegisters})
    for (const std::vector<int64_t>& schedule : {std::vector<int64_t>{4, 0, 6}, {0, 9, 0}, {10, 5, 3}})
      for (const Head head : {Head::kLogits, Head::kFeatures}) {
        const auto model = open_with(config, schedule);
        ASSERT_TRUE(model.ok()) << model.error().message;
        const auto graph = model->build(head, 2);
        ASSERT_TRUE(graph.ok()) << graph.error().message;
        compare(*graph, fmt::format("{} {}, {}, {}", model->architecture(), schedule[0], schedule[1], schedule[2]));
      }
}

}  // namespace
}  // namespace vireo
