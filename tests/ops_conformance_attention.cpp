// attention.tile: any depth, and every block of scores of a class's list with probabilities that wait in registers.
#include <gtest/gtest.h>

#include "ops/tuned.h"
#include "ops_conformance.h"

namespace vireo {
namespace {

using namespace conformance;

/// What the planner makes of the case with that tuning; nothing where the device has too little shared memory for it.
std::string kernel_of(const Case& c, const Target& t) {
  PlanOptions options;
  options.tuning = t.tuning;
  const Result<Planned> planned = make_plan(prepare(c, false).graph, t.caps, options);
  return planned.ok() ? planned->plan.steps[0].kernel : std::string();
}

/// What check_tuning() allows: any multiple of 4 head dimensions at a time, whether it divides the head's or not.
TEST(Tiles, AttentionOfAnyDepth) {
  int runs = 0;
  for (Target t : targets()) {
    if (!t.gpu || t.tuning || t.gap || t.caps.device_class != DeviceClass::kMaxwell) continue;
    for (const uint32_t depth : {12, 20}) {
      t.tuning = tuning_with(t.caps, "attention.tile", {128, 8, 4, 4, depth, 32});
      ASSERT_TRUE(check_tuning(*t.tuning).ok()) << depth;
      t.label = fmt::format("depth {} on {}", depth, t.caps.name);
      for (const OpCase& spec : op_def(OpKind::kAttention).cases()) {
        if (spec.label != "dim 36" && spec.label != "dim 13") continue;
        const Case c{OpKind::kAttention, spec, Precision::kFp32};
        runs += kernel_of(c, t).find(fmt::format(" d{} ", depth)) != std::string::npos;
        run_case(c, t);
      }
    }
  }
  EXPECT_TRUE(runs > 0 || !vulkan().instance) << "the largest depth allowed is the cheapest somewhere";
  EXPECT_EQ(vulkan().messages, "") << "the validation layer must stay silent";
}

/// Where an invocation has 8 queries, a block's probabilities are in shared memory some keys at a time: ragged tails,
/// several blocks of keys, biases, masks and rows beyond the map, and heads that fill a tile and that do not.
TEST(Tiles, AttentionInParts) {
  int runs = 0, parts = 0;
  for (Target t : targets()) {
    if (!t.gpu || t.tuning || t.gap || t.caps.device_class != DeviceClass::kMaxwell) continue;
    const std::vector<Constants> all = tuning_for(t.caps).of("attention.tile");
    for (const Constants& constants : all) {
      if (constants[2] != 8 || constants[0] > t.caps.max_workgroup_invocations) continue;
      t.tuning = tuning_with(t.caps, "attention.tile", constants);
      t.label = fmt::format("{} on {}", fmt::join(constants, ","), t.caps.name);
      for (const OpCase& spec : op_def(OpKind::kAttention).cases()) {
        // Each is slow to compile on lavapipe: of one tile all ways, of the others one.
        const bool of_all = spec.label == "dim 36", of_one = spec.label == "key bias, several blocks, large" ||
                                                             spec.label == "swin-t shifted and padded" ||
                                                             spec.label == "grid of windows, padded, odd dim";
        if (!of_all && !(of_one && constants[1] == 9)) continue;
        for (const Precision precision : {Precision::kFp32, Precision::kFp16}) {
          if (precision == Precision::kFp16 && !(of_all && constants[1] == 9)) continue;
          const Case c{OpKind::kAttention, spec, precision};
          const std::string kernel = kernel_of(c, t);
          if (kernel.find("attention.tile") == std::string::npos) continue;
          parts += kernel.find(" p") != std::string::npos;
          run_case(c, t), ++runs;
        }
      }
    }
  }
  EXPECT_TRUE(runs > 0 || !vulkan().instance);
  EXPECT_TRUE(parts > 3 || runs == 0) << "probabilities in parts are the cheapest of heads that fill a tile";
  EXPECT_EQ(vulkan().messages, "") << "the validation layer must stay silent";
}

}  // namespace
}  // namespace vireo
