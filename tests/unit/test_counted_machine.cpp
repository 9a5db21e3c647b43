// The Jetson Nano's CPU as a built-in machine: costs worked out from counted inner loops, each kernel's, with a range.
#include <gtest/gtest.h>

#include <algorithm>

#include "model/model.h"
#include "ops/kernel.h"
#include "plan/plan.h"
#include "profile/predict.h"

namespace vireo {
namespace {

constexpr char kName[] = "jetson-nano-cpu";

Machine machine() {
  for (const BuiltInMachine& b : built_in_machines())
    if (b.name == std::string(kName)) return *machine_from_text(b.text, b.name);
  ADD_FAILURE() << "there is no machine " << kName;
  return {};
}
double cost(const Machine& m, const std::string& feature) {
  for (const UnitCost& c : m.costs)
    if (c.name == feature) return c.value;
  return 0;
}
Planned plan_of(const std::string& config, Precision precision) {
  const Result<LoadedModel> model =
      LoadedModel::open_config(std::string(VIREO_SOURCE_DIR) + "/models/configs/" + config + ".json", 1);
  EXPECT_TRUE(model.ok()) << model.error().message;
  Result<Graph> graph = model->build(model->task() == Task::kSegmentation ? Head::kClassMap : Head::kLogits, 1,
                                     model->input_h(), model->input_w());
  EXPECT_TRUE(graph.ok()) << graph.error().message;
  PlanOptions options;
  options.precision = precision;
  Result<Planned> planned =
      make_plan(std::move(*graph), *caps_from_text(embedded_caps(std::string(kName) + ".txt"), kName), options);
  EXPECT_TRUE(planned.ok()) << planned.error().message;
  return std::move(*planned);
}

TEST(CountedMachine, PricesEveryKernelThatACpuWithoutBf16Has) {
  const Machine m = machine();
  for (const KernelDef* k : all_kernels()) {
    const std::string name = k->name;
    if (k->device != DeviceKind::kCpu || name.find("bf16") != std::string::npos) continue;
    EXPECT_TRUE(std::any_of(m.costs.begin(), m.costs.end(),
                            [&](const UnitCost& c) { return c.name.rfind(name + " ", 0) == 0 && c.value > 0; }))
        << name << " has no cost: the machine's text in engine/profile/machines.cpp wants a line";
  }
}

TEST(CountedMachine, PlansAreTheSameOnEveryHost) {
  for (const Precision p : {Precision::kFp32, Precision::kFp16, Precision::kInt8})
    for (const char* config : {"vit-ti", "upernet-mobilevit-s"})
      for (const Step& s : plan_of(config, p).plan.steps)
        EXPECT_EQ(std::string(s.by->name).find("bf16"), std::string::npos) << s.name << ": an A57 has no bf16";
}

TEST(CountedMachine, TheRangeIsThatOfTheShareAssumed) {
  const Machine m = machine();
  const Planned planned = plan_of("vit-ti", Precision::kFp32);
  const Result<std::vector<DispatchWork>> work = plan_work(planned.plan);
  ASSERT_TRUE(work.ok()) << work.error().message;
  const Result<PlanPrediction> p = predict(planned.plan, *work, m);
  ASSERT_TRUE(p.ok()) << p.error().message;
  double bound = 0;
  for (const DispatchWork& w : *work)
    for (const Feature& f : w.features) bound += f.n * cost(m, f.name);
  EXPECT_NEAR(p->total.us, m.inference_us + bound / m.efficiency, 1e-6 * p->total.us);
  EXPECT_NEAR(p->total.low_us, m.inference_us + bound / m.efficiency_high, 1e-6 * p->total.us);
  EXPECT_NEAR(p->total.high_us, m.inference_us + bound / m.efficiency_low, 1e-6 * p->total.us);
  // 2.5 GFLOP take at least 54.9 ms at 45.8 GFLOP/s, one FMLA of 128 bits a clock on each of four cores.
  double flops = 0;
  for (const DispatchWork& w : *work) flops += w.flops;
  EXPECT_GT(bound, flops / (4 * 1430 * 8));
}

TEST(CountedMachine, WhatItHasNoCostOfIsAnErrorAndNoZero) {
  Machine m = machine();
  m.costs.erase(std::remove_if(m.costs.begin(), m.costs.end(),
                               [](const UnitCost& c) { return c.name.rfind("attention", 0) == 0; }),
                m.costs.end());
  const Planned planned = plan_of("vit-ti", Precision::kFp32);
  const Result<PlanPrediction> p = predict(planned.plan, *plan_work(planned.plan), m);
  ASSERT_FALSE(p.ok());
  EXPECT_EQ(p.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(p.error().message.find("attention.simd"), std::string::npos) << p.error().message;
}

TEST(CountedMachine, ItsTextSaysWhatShareIsReached) {
  const Result<Machine> m =
      machine_from_text("name: x\nkind: counted\nentries: 1\ncost steps: 1\ndispatch_us: 0\ninference_us: 0\n", "x");
  ASSERT_FALSE(m.ok());
  EXPECT_NE(m.error().message.find("efficiency, efficiency_low, efficiency_high"), std::string::npos)
      << m.error().message;
  const Result<Machine> none =
      machine_from_text("name: x\nkind: counted\nentries: 0\ndispatch_us: 0\ninference_us: 0\n", "x");
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.error().message.find("a counted description needs 'cost' lines"), std::string::npos);
}

}  // namespace
}  // namespace vireo
