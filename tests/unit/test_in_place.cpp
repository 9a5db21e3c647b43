// Concatenations that are places and not copies: which are, on the CPU and on a GPU, that parts do not wait for each
// other, and that the verifier sees what goes wrong with them.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "model/model.h"
#include "plan/plan.h"

namespace vireo {
namespace {

DeviceCaps caps_of(const std::string& name) {
  const std::string path = std::string(VIREO_SOURCE_DIR) + "/engine/profile/caps/" + name + ".txt";
  std::ifstream f(path, std::ios::binary);
  std::stringstream text;
  text << f.rdbuf();
  Result<DeviceCaps> caps = caps_from_text(text.str(), path);
  EXPECT_TRUE(caps.ok()) << caps.error().message;
  return *caps;
}

DeviceCaps some_cpu() {
  DeviceCaps cpu;
  cpu.name = "some cpu";
  cpu.kind = DeviceKind::kCpu;
  return cpu;
}

Planned plan_of(const std::string& config, const DeviceCaps& caps, Precision precision, Head head, int64_t size,
                PlanOptions options = {}) {
  Result<LoadedModel> model =
      LoadedModel::open_config(std::string(VIREO_SOURCE_DIR) + "/models/configs/" + config + ".json", 1);
  EXPECT_TRUE(model.ok()) << model.error().message;
  Result<Graph> graph = model->build(head, 1, size, size);
  EXPECT_TRUE(graph.ok()) << graph.error().message;
  options.precision = precision;
  Result<Planned> planned = make_plan(std::move(*graph), caps, options);
  EXPECT_TRUE(planned.ok()) << planned.error().message;
  return std::move(*planned);
}

class InPlace : public ::testing::Test {
 protected:
  /// x -> a, b (linear, of these widths) -> [a | b] -> head. `also`: a second reader of a; none for relu.
  Planned two_parts(int64_t a, int64_t b, OpKind also = OpKind::kRelu, PlanOptions options = {},
                    const DeviceCaps& caps = some_cpu()) {
    GraphBuilder g("two parts");
    const ValueId x = g.input("x", {DType::kF32, Shape{{1, 4, 4, 8}}});
    const auto linear = [&](const char* name, ValueId from, int64_t k, int64_t n) {
      return g.add(OpKind::kLinear, name,
                   {from, g.constant(std::string(name) + ".w", random_constant(n, k, uint64_t(n), 0.2f))});
    };
    const ValueId one = linear("a", x, 8, a), two = linear("b", one, a, b);
    const ValueId both = g.add(OpKind::kConcat, "both", {one, two});
    if (also == OpKind::kConcat) {
      g.output(g.add(OpKind::kTanh, "again", {g.add(OpKind::kConcat, "twice", {one, two, both})}));
    } else if (also == OpKind::kSlice) {
      g.output(g.add(OpKind::kTanh, "again", {g.add(OpKind::kSlice, "some", {one}, {{"start", 4}, {"count", 4}})}));
    } else if (also != OpKind::kRelu) {
      g.output(g.add(also, "again", {one}));
    }
    g.output(linear("head", both, a + b, 4));
    Result<Planned> planned = make_plan(*g.finish(), caps, options);
    EXPECT_TRUE(planned.ok()) << planned.error().message;
    return std::move(*planned);
  }
  /// x -> a, b, c (linear, 8 channels each) -> [a | b | c] -> head, on a Jetson Nano.
  static Plan three_parts() {
    GraphBuilder g("three parts");
    const ValueId x = g.input("x", {DType::kF32, Shape{{1, 4, 4, 8}}});
    std::vector<ValueId> parts;
    for (const char* name : {"a", "b", "c"})
      parts.push_back(g.add(OpKind::kLinear, name,
                            {x, g.constant(std::string(name) + ".w", random_constant(8, 8, uint64_t(name[0]), 0.2f))}));
    const ValueId all = g.add(OpKind::kConcat, "all", parts);
    g.output(g.add(OpKind::kLinear, "head", {all, g.constant("head.w", random_constant(4, 24, 1, 0.2f))}));
    Result<Planned> planned = make_plan(*g.finish(), caps_of("jetson-nano"), {});
    EXPECT_TRUE(planned.ok()) << planned.error().message;
    return std::move(planned->plan);
  }
  /// Moves a value, with all that binds it.
  static void move(Plan& plan, const std::string& name, int64_t bytes) {
    PlanValue& v = value(plan, name);
    v.where.offset = uint64_t(int64_t(v.where.offset) + bytes);
    for (Step& s : plan.steps)
      for (PlanDispatch& d : s.dispatches)
        for (Binding& b : d.bindings)
          if ((b.source.what == Operand::What::kInput || b.source.what == Operand::What::kOutput) &&
              &plan.values[size_t(b.source.index)] == &v)
            b.where = v.where;
  }
  static int copies(const Plan& plan) {
    int n = 0;
    for (const Step& s : plan.steps) n += s.op == OpKind::kConcat;
    return n;
  }
  static PlanValue& value(Plan& plan, const std::string& name) {
    for (PlanValue& v : plan.values)
      if (v.name == name) return v;
    ADD_FAILURE() << "no value '" << name << "'";
    return plan.values[0];
  }
  static void expect_error(const Plan& plan, const char* part) {
    const Result<void> r = verify(plan);
    ASSERT_FALSE(r.ok()) << "not noticed: " << part;
    EXPECT_NE(r.error().message.find(part), std::string::npos) << r.error().message;
  }
};

TEST_F(InPlace, PartsShareTheRowsOfTheWhole) {
  Planned planned = two_parts(12, 6);
  Plan& plan = planned.plan;
  EXPECT_EQ(copies(plan), 0);
  const PlanValue &whole = value(plan, "both"), &a = value(plan, "a"), &b = value(plan, "b");
  EXPECT_EQ(whole.desc.row_stride(), 20);
  EXPECT_EQ(a.desc.row_stride(), 20);
  EXPECT_EQ(b.desc.row_stride(), 20);
  EXPECT_EQ(a.where.offset, whole.where.offset);
  EXPECT_EQ(b.where.offset, whole.where.offset + 48);
  EXPECT_EQ(b.where.offset + b.where.bytes, whole.where.offset + whole.where.bytes) << "no gap behind the last row";
  EXPECT_EQ(whole.first_step, 0) << "its bytes are taken when the first part is written";
  EXPECT_EQ(whole.last_step, 2);
  EXPECT_NE(dump(plan).find("view a of both"), std::string::npos) << dump(plan);
  EXPECT_NE(dump(plan).find("view b of both"), std::string::npos) << dump(plan);
}

TEST_F(InPlace, WhatStaysACopy) {
  EXPECT_EQ(copies(two_parts(10, 8).plan), 1)
      << "10 channels end within a group of 4: the next part would lie in their padding";
  EXPECT_EQ(copies(two_parts(12, 8, OpKind::kConcat).plan), 2) << "parts of two have no one place";
  EXPECT_EQ(copies(two_parts(12, 8, OpKind::kSlice).plan), 1) << "a view of a part would be a view of a view";
  PlanOptions keep;
  keep.keep_all = true;
  EXPECT_EQ(copies(two_parts(12, 8, OpKind::kRelu, keep).plan), 1) << "every value keeps bytes of its own";
  EXPECT_EQ(copies(two_parts(12, 8, OpKind::kMean).plan), 0) << "every operator of the CPU reads rows with gaps";
}

TEST_F(InPlace, WhatStaysACopyOnAGpu) {
  const DeviceCaps nano = caps_of("jetson-nano");  // binds at multiples of 32 bytes
  PlanOptions half, on_cpu, keep;
  keep.keep_all = true;
  half.precision = Precision::kFp16;
  EXPECT_EQ(copies(two_parts(8, 12, OpKind::kRelu, {}, nano).plan), 0);
  EXPECT_EQ(copies(two_parts(12, 8, OpKind::kRelu, {}, nano).plan), 1) << "b would begin at byte 48";
  EXPECT_EQ(copies(two_parts(8, 12, OpKind::kRelu, half, nano).plan), 1) << "b would begin at byte 16";
  EXPECT_EQ(copies(two_parts(16, 12, OpKind::kRelu, half, nano).plan), 0);
  EXPECT_EQ(copies(two_parts(8, 12, OpKind::kMean, {}, nano).plan), 1)
      << "mean.comp reads rows without gaps, and says nothing else";
  EXPECT_EQ(copies(two_parts(8, 12, OpKind::kSlice, {}, nano).plan), 1);
  EXPECT_EQ(copies(two_parts(8, 12, OpKind::kRelu, keep, nano).plan), 1);
  EXPECT_EQ(copies(two_parts(8, 12, OpKind::kConcat, {}, nano).plan), 2);
  for (const char* op : {"concat", "linear"}) {
    on_cpu.cpu_ops = {op};
    const Plan plan = two_parts(8, 12, OpKind::kRelu, on_cpu, nano).plan;
    EXPECT_EQ(copies(plan), 1) << op;
    for (const Step& s : plan.steps)
      EXPECT_EQ(s.device == DeviceKind::kCpu, op_def(s.op).name == std::string(op)) << s.name;
    for (const PlanValue& v : plan.values) EXPECT_EQ(v.desc.gap, 0) << op << " " << v.name;
  }
}

// The 512 bytes of a and the 1024 of b fit in what the device binds at once, but not the 1472 and 1504 from their first
// to their last as parts.
TEST_F(InPlace, NoStepLeavesTheGpuForAPlaceInAConcatenation) {
  DeviceCaps small = caps_of("jetson-nano");
  small.max_storage_range = 1400;
  const Plan plan = two_parts(8, 16, OpKind::kRelu, {}, small).plan;
  ASSERT_EQ(plan.steps.size(), 4u);
  for (int i : {0, 1}) EXPECT_EQ(plan.steps[size_t(i)].device, DeviceKind::kVulkan) << plan.steps[size_t(i)].reason;
  EXPECT_EQ(copies(plan), 1);
  EXPECT_EQ(plan.steps[3].device, DeviceKind::kCpu) << "it reads all 1536";
}

TEST_F(InPlace, HybridsCopyNothingOnTheCpu) {
  for (const char* config : {"mobilevit-s", "upernet-mobilevit-s"}) {
    const bool classes = config[0] == 'm';
    const Plan plan =
        plan_of(config, some_cpu(), Precision::kFp32, classes ? Head::kLogits : Head::kClassMap, classes ? 256 : 512)
            .plan;
    EXPECT_EQ(copies(plan), 0) << dump(plan);
  }
}

TEST_F(InPlace, HybridsCopyNothingOnTheNano) {
  PlanOptions copying;  // the copies of old, if on the CPU: the same values, each with bytes of its own
  copying.cpu_ops = {"concat"};
  for (const char* config : {"mobilevit-s", "upernet-mobilevit-s", "paper-upernet-mobilevit-s"})
    for (Precision p : {Precision::kFp32, Precision::kFp16, Precision::kInt8}) {
      const bool classes = config[0] == 'm';
      const Head head = classes ? Head::kLogits : Head::kClassMap;
      const Plan plan = plan_of(config, caps_of("jetson-nano"), p, head, classes ? 256 : 512).plan;
      const Plan before = plan_of(config, caps_of("jetson-nano"), p, head, classes ? 256 : 512, copying).plan;
      // Forty channels of halves of the paper's pyramid are 80 bytes: no place that the device binds.
      EXPECT_EQ(copies(plan), config[0] == 'p' && p != Precision::kFp32 ? 1 : 0) << config << " " << to_string(p);
      EXPECT_EQ(copies(before), classes ? 3 : 5);
      EXPECT_FALSE(plan.has_cpu_steps());
      EXPECT_LE(plan.arena_bytes, before.arena_bytes) << config << " " << to_string(p);
    }
}

TEST_F(InPlace, PartsDoNotWaitForEachOther) {
  const Plan plan = three_parts();
  ASSERT_EQ(plan.steps.size(), 4u) << dump(plan);
  ASSERT_EQ(plan.barriers.size(), 1u) << dump(plan);
  EXPECT_EQ(plan.barriers[0].before_step, 3);
  EXPECT_EQ(plan.barriers[0].reason, "RAW all");
  EXPECT_EQ(plan.arena_bytes, 16u * 24 * 4) << "the parts take no bytes beside the whole";
  const Plan chained = two_parts(8, 12, OpKind::kRelu, {}, caps_of("jetson-nano")).plan;  // b reads a
  ASSERT_EQ(chained.barriers.size(), 2u) << dump(chained);
  EXPECT_EQ(chained.barriers[0].reason, "RAW a");
  EXPECT_EQ(chained.barriers[1].reason, "RAW both");
}

// Not one byte of a is b's, but u and v read within a's range before and after b is written there.
TEST_F(InPlace, AReaderWaitsForAWriterBesideIt) {
  GraphBuilder g("beside");
  const ValueId x = g.input("x", {DType::kF32, Shape{{1, 4, 4, 8}}});
  const auto linear = [&](const char* name, ValueId from) {
    return g.add(OpKind::kLinear, name,
                 {from, g.constant(std::string(name) + ".w", random_constant(8, 8, uint64_t(name[0]), 0.2f))});
  };
  const ValueId a = linear("a", x);
  g.output(linear("u", a));
  const ValueId b = linear("b", x);
  g.output(linear("v", a));
  g.output(g.add(OpKind::kTanh, "t", {g.add(OpKind::kConcat, "all", {a, b})}));
  Result<Planned> planned = make_plan(*g.finish(), caps_of("jetson-nano"), {});
  ASSERT_TRUE(planned.ok()) << planned.error().message;
  Plan& plan = planned->plan;
  ASSERT_EQ(copies(plan), 0);
  ASSERT_EQ(plan.barriers.size(), 3u) << dump(plan);
  EXPECT_EQ(plan.barriers[0].reason, "RAW a");
  EXPECT_EQ(plan.barriers[1].reason, "range of b and a");
  EXPECT_EQ(plan.barriers[2].reason, "range of a and b");
  plan.barriers.pop_back();
  expect_error(plan, "steps 'b' and 't' race");  // it was also the barrier between these
  plan.barriers[1] = {4, "RAW all"};
  EXPECT_TRUE(verify(plan).ok()) << "the verifier counts bytes: " << verify(plan).error().message;
}

// Every barrier stands where without it something would race, and the verifier sees each that is missing.
TEST_F(InPlace, TheVerifierMissesEveryBarrier) {
  const Plan good = plan_of("upernet-mobilevit-s", caps_of("jetson-nano"), Precision::kFp32, Head::kClassMap, 256).plan;
  ASSERT_EQ(copies(good), 0);
  for (size_t i = 0; i < good.barriers.size(); ++i) {
    Plan plan = good;
    plan.barriers.erase(plan.barriers.begin() + int64_t(i));
    expect_error(plan, "without a barrier between them");
  }
}

TEST_F(InPlace, TheVerifierRefusesPartsThatOverlapOnAGpu) {
  Plan plan = three_parts();
  move(plan, "c", -32);  // onto b
  expect_error(plan, "step 'head' reads 'all' after its bytes were given to another value");
  plan = three_parts();
  move(plan, "b", 8);
  expect_error(plan, "not a multiple of the device's 32");
  plan = three_parts();
  value(plan, "b").desc.dtype = DType::kF16;
  expect_error(plan, "value 'b' has");
}

TEST_F(InPlace, TheVerifierRefusesGapsThatAShaderDoesNotKnow) {
  Plan plan = three_parts();
  plan.steps[3].op = OpKind::kMean;
  EXPECT_TRUE(verify(plan).ok()) << "the whole has no gaps: " << verify(plan).error().message;
  plan.steps[1].op = OpKind::kMean;
  expect_error(
      plan,
      "step 'b' writes 'b' (f32[1, 4, 4, 8]) with 24 from row to row; the shaders of mean do so without gaps only");
  plan = two_parts(8, 12, OpKind::kRelu, {}, caps_of("jetson-nano")).plan;
  plan.steps[1].op = OpKind::kMean;
  expect_error(plan, "step 'b' reads 'a' (f32[1, 4, 4, 8]) with 20 from row to row");
}

// A binding that names a value with other bytes would deceive whoever asks what its rows are.
TEST_F(InPlace, TheVerifierRefusesBindingsThatNameAnotherValue) {
  for (const bool writes : {false, true}) {
    Plan plan = three_parts();
    for (Binding& b : plan.steps[writes ? 1 : 3].dispatches[0].bindings)
      if (b.where.region != Region::kWeights && b.where.bytes && b.writes == writes) b.source.index = plan.inputs[0];
    expect_error(plan, writes ? "writes bytes that are not its output's" : "reads bytes that are none of its operands");
  }
}

TEST_F(InPlace, TheVerifierRefusesPartsThatOverlap) {
  const Plan good = two_parts(12, 8).plan;
  Plan plan = good;
  value(plan, "b").where.offset -= 16;  // four columns of a's
  expect_error(plan, "output of 'b' overlaps its operand 'a'");
  plan.steps[1].inputs[0] = plan.inputs[0];  // b no longer reads a: its columns are still a's
  expect_error(plan, "step 'head' reads 'both' after its bytes were given to another value");
  plan = good;
  value(plan, "b").where.offset += 16;
  plan.arena_bytes += 64;
  expect_error(plan, "'b' (f32[1, 4, 4, 8], 20 from row to row) does not lie within the rows of 'both'");
  plan = good;
  value(plan, "b").desc.gap += 4, value(plan, "b").where.bytes = value(plan, "b").desc.bytes();
  plan.arena_bytes += 4096;
  expect_error(plan, "does not lie within the rows of 'both'");
}

TEST_F(InPlace, TheVerifierRefusesAWholeWithoutItsParts) {
  Plan plan = two_parts(12, 8).plan;
  plan.steps.erase(plan.steps.begin() + 1);  // who writes b?
  expect_error(plan, "step 'head' reads 'both'");
}

TEST_F(InPlace, TheVerifierRefusesBytesTakenBetweenTheParts) {
  Plan plan = two_parts(12, 8).plan;
  plan.steps[1].scratch = value(plan, "both").where;  // b's scratch over a's rows
  expect_error(plan, "scratch of 'b' overlaps its operand 'a'");
  plan.steps[1].inputs[0] = plan.inputs[0];
  expect_error(plan, "scratch of 'b' overlaps its output");
}

}  // namespace
}  // namespace vireo
