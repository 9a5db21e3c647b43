// Plans are data: their text for known models and devices is kept in tests/golden/plans and compared here, so that a
// change in the planner shows in review. VIREO_UPDATE_GOLDEN=1 writes them anew. The verifier is tested by breaking
// good plans.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>

#include "model/model.h"
#include "ops/linear.h"
#include "plan/plan.h"

namespace vireo {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream f(path, std::ios::binary);
  std::stringstream s;
  s << f.rdbuf();
  return s.str();
}

DeviceCaps caps_of(const std::string& name) {
  const std::string path = std::string(VIREO_SOURCE_DIR) + "/engine/profile/caps/" + name + ".txt";
  Result<DeviceCaps> caps = caps_from_text(read_file(path), path);
  EXPECT_TRUE(caps.ok()) << caps.error().message;
  return *caps;
}

Planned plan_of(const std::string& config, const DeviceCaps& caps, Precision precision, Head head = Head::kLogits,
                int64_t size = 224, PlanOptions options = {}) {
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

struct Golden {
  const char* config;
  const char* caps;
  Precision precision;
  Head head;
  int64_t size = 224;
};

class GoldenPlans : public ::testing::TestWithParam<Golden> {};

TEST_P(GoldenPlans, Match) {
  const Golden& g = GetParam();
  const std::string text = dump(plan_of(g.config, caps_of(g.caps), g.precision, g.head, g.size).plan);
  const std::string path =
      fmt::format("{}/plans/{}_{}.{}.txt", VIREO_TEST_DATA, g.config, to_string(g.precision), g.caps);
  if (std::getenv("VIREO_UPDATE_GOLDEN")) std::ofstream(path, std::ios::binary) << text;
  EXPECT_EQ(text, read_file(path)) << "the plan changed; look at the difference, then run with VIREO_UPDATE_GOLDEN=1";
}

INSTANTIATE_TEST_SUITE_P(
    All, GoldenPlans,
    ::testing::Values(Golden{"vit-ti", "jetson-nano", Precision::kFp32, Head::kLogits},
                      Golden{"vit-s", "jetson-nano", Precision::kFp16, Head::kLogits},
                      Golden{"vit-b", "jetson-nano", Precision::kFp32, Head::kLogits},
                      Golden{"vit-b", "jetson-nano", Precision::kInt8, Head::kLogits},
                      Golden{"dinov2-s", "jetson-nano", Precision::kFp16, Head::kFeatures},
                      Golden{"vit-ti", "lavapipe", Precision::kFp32, Head::kLogits},
                      Golden{"vit-s", "lavapipe", Precision::kFp32, Head::kLogits},
                      Golden{"vit-b", "lavapipe", Precision::kFp32, Head::kLogits},
                      Golden{"dinov2-s", "lavapipe", Precision::kFp32, Head::kFeatures},
                      Golden{"mobilevit-s", "jetson-nano", Precision::kFp32, Head::kLogits, 256},
                      Golden{"mobilevit-s", "lavapipe", Precision::kFp32, Head::kLogits, 256},
                      Golden{"swin-t", "jetson-nano", Precision::kFp32, Head::kLogits, 224},
                      Golden{"swin-t", "lavapipe", Precision::kFp32, Head::kLogits, 224},
                      Golden{"swinv2-t", "jetson-nano", Precision::kFp32, Head::kLogits, 256},
                      Golden{"swinv2-t", "lavapipe", Precision::kFp32, Head::kLogits, 256},
                      Golden{"upernet-mobilevit-s", "jetson-nano", Precision::kFp32, Head::kClassMap, 512},
                      Golden{"upernet-mobilevit-s", "jetson-nano", Precision::kFp16, Head::kClassMap, 512},
                      Golden{"paper-upernet-mobilevit-s", "jetson-nano", Precision::kFp32, Head::kClassMap, 512},
                      Golden{"upernet-mobilevit-s", "lavapipe", Precision::kFp32, Head::kClassMap, 512}),
    [](const auto& info) {
      std::string n = fmt::format("{}_{}_{}", info.param.config, info.param.caps, to_string(info.param.precision));
      for (char& c : n)
        if (c == '-') c = '_';
      return n;
    });

TEST(Plan, FiveDispatchesPerBlockAndAtMost65) {
  for (const char* caps : {"jetson-nano", "lavapipe"})
    for (const char* config : {"vit-ti", "vit-s", "vit-b"})
      for (Precision p : {Precision::kFp32, Precision::kFp16, Precision::kInt8}) {
        const Plan plan = plan_of(config, caps_of(caps), p).plan;
        EXPECT_LE(plan.dispatch_count(), 65) << config << " on " << caps;
        EXPECT_FALSE(plan.has_cpu_steps());
        int block = 0;
        for (const Step& s : plan.steps)
          if (s.name.compare(0, 9, "blocks.3.") == 0) block += int(s.dispatches.size());
        EXPECT_EQ(block, 5);
      }
}

TEST(Plan, DispatchesPerBlockOfMobileVitAndSwin) {
  struct Row {
    const char* config;
    int64_t size;
    const char* prefix;
    int dispatches;
  };
  // An inverted residual: expand, depthwise, reduce. A transformer layer and a Swin block: as ViT's five. Swin V2 adds
  // the heads' norm and a norm behind each half of the block.
  for (const Row& r : {Row{"mobilevit-s", 256, "stages.2.1.", 3}, Row{"mobilevit-s", 256, "stages.4.layers.1.", 5},
                       Row{"swin-t", 224, "stages.3.blocks.1.", 5}, Row{"swinv2-t", 256, "stages.3.blocks.1.", 8}})
    for (const char* caps : {"jetson-nano", "lavapipe"})
      for (Precision p : {Precision::kFp32, Precision::kFp16, Precision::kInt8}) {
        const Plan plan = plan_of(r.config, caps_of(caps), p, Head::kLogits, r.size).plan;
        EXPECT_FALSE(plan.has_cpu_steps()) << r.config << " on " << caps;
        int block = 0;
        for (const Step& s : plan.steps)
          if (s.name.compare(0, std::string(r.prefix).size(), r.prefix) == 0) block += int(s.dispatches.size());
        EXPECT_EQ(block, r.dispatches) << r.config << " on " << caps;
      }
}

TEST(Plan, SegmentationFitsTheNano) {
  // 120 MiB for weights and maps is what a UPerNet on MobileViT may take of the board's memory.
  for (const char* config : {"upernet-mobilevit-s", "paper-upernet-mobilevit-s"})
    for (Precision p : {Precision::kFp32, Precision::kFp16, Precision::kInt8}) {
      const Plan plan = plan_of(config, caps_of("jetson-nano"), p, Head::kClassMap, 512).plan;
      EXPECT_FALSE(plan.has_cpu_steps()) << config;
      EXPECT_LE(plan.arena_bytes + plan.weights_bytes, 120u << 20) << config << " " << to_string(p);
    }
}

// ---- the tile of a linear goes by its shape ----------------------------------------------------------------------

std::optional<LinearTile> choose(const char* kernel, const Tuning& tuning, const DeviceCaps& caps, int64_t m, int64_t n,
                                 int64_t k) {
  const Constants* c = linear::choose_tile(*find_kernel(kernel), tuning, caps, m, n, k);
  return c ? std::optional(linear::tile_of(*c)) : std::nullopt;
}

TEST(TileChoice, LittlePaddingOnTheNano) {
  const DeviceCaps caps = caps_of("jetson-nano");
  const Tuning tuning = tuning_for(caps);
  for (const int64_t d : {192, 384, 768})
    for (const auto& [n, k] : {std::pair{3 * d, d}, {d, d}, {4 * d, d}, {d, 4 * d}}) {
      const std::optional<LinearTile> tile = choose("linear.tile", tuning, caps, 197, n, k);
      ASSERT_TRUE(tile);
      const linear::TileWork work = linear::tile_work(*tile, false, tuning, caps, 197, n, k);
      const double waste = 1 - 2.0 * 197 * double(n) * double(k) / work.issued_flops;
      EXPECT_LE(waste, d == 192 ? 0.15 : 0.10) << n << " x " << k << ": " << tile->bm << " x " << tile->bn;
      EXPECT_GE(waste, 0) << "nothing is computed by half";
      EXPECT_EQ(k % tile->bk, 0) << "no bounds to check in the loop";
    }
}

TEST(TileChoice, SmallProductsTakeSmallTiles) {
  const DeviceCaps caps = caps_of("jetson-nano");
  const Tuning tuning = tuning_for(caps);
  const std::optional<LinearTile> head = choose("linear.tile", tuning, caps, 1, 1000, 768);
  ASSERT_TRUE(head);
  EXPECT_LE(head->bm, 32u) << "one row";
  const std::optional<LinearTile> narrow = choose("linear.tile", tuning, caps, 1000, 10, 768);
  ASSERT_TRUE(narrow);
  EXPECT_LE(narrow->bn, 64u) << "ten columns";
}

TEST(TileChoice, OnlyWhatTheDeviceTakes) {
  DeviceCaps caps = caps_of("jetson-nano");
  caps.max_workgroup_invocations = 128;
  caps.max_shared_bytes = 16384;  // the least that Vulkan guarantees
  for (const DeviceClass c : {DeviceClass::kMaxwell, DeviceClass::kMali, DeviceClass::kOther}) {
    caps.device_class = c;
    const Tuning tuning = tuning_for(caps);
    for (const char* kernel : {"linear.tile", "linear.half"}) {
      const bool half = kernel == std::string("linear.half");
      const std::optional<LinearTile> tile = choose(kernel, tuning, caps, 197, 768, 768);
      ASSERT_TRUE(tile || half) << "some tile of fp32 fits everywhere";
      if (!tile) continue;
      EXPECT_LE((tile->bm / tile->tm) * (tile->bn / tile->tn), 128u);
      EXPECT_TRUE(linear::tile_work(*tile, half, tuning, caps, 197, 768, 768).legal);
    }
  }
  caps.max_shared_bytes = 64;
  for (const char* kernel : {"linear.tile", "linear.half"})
    EXPECT_FALSE(choose(kernel, tuning_for(caps), caps, 197, 768, 768)) << "nothing fits";
}

TEST(TileChoice, PackedHalvesOnlyWhereTheDeviceHasThem) {
  DeviceCaps caps = caps_of("jetson-nano");
  const auto halves = [&](Precision p) {
    int n = 0;
    for (const Step& s : plan_of("vit-s", caps, p).plan.steps)
      for (const PlanDispatch& d : s.dispatches) n += d.shader == "linear.half";
    return n;
  };
  EXPECT_GE(halves(Precision::kFp16), 48);
  EXPECT_EQ(halves(Precision::kFp32), 0);
  EXPECT_GE(halves(Precision::kInt8), 48);
  caps.shader_float16 = false;
  EXPECT_EQ(halves(Precision::kFp16), 0);
  EXPECT_EQ(halves(Precision::kInt8), 0);
}

TEST(TileChoice, RulesOfTheShader) {
  for (const DeviceClass c : {DeviceClass::kMaxwell, DeviceClass::kMali, DeviceClass::kOther}) {
    DeviceCaps caps = caps_of("jetson-nano");
    caps.device_class = c;
    const Tuning tuning = tuning_for(caps);
    for (const Constants& constants : tuning.of("linear.tile")) {
      const LinearTile t = linear::tile_of(constants);
      const uint32_t lx = (t.bm / t.tm) * (t.bn / t.tn);
      EXPECT_EQ(t.bm % t.tm + t.bn % t.tn + t.tm % 4 + t.tn % 4 + t.bk % 4, 0u);
      EXPECT_GE(t.bk, 8u);
      EXPECT_EQ(lx % (t.bk / 4), 0u);
      EXPECT_LE(2 * t.bm * std::max(1u, lx / t.bm), t.bk * (t.bm + 5)) << "row statistics share A's bytes";
    }
    for (const char* kernel : {"linear.half", "linear.half.codes", "linear.half.groups"})
      for (const Constants& constants : tuning.of(kernel)) {
        const LinearTile t = linear::tile_of(constants);
        const uint32_t lx = (t.bm / t.tm) * (t.bn / t.tn);
        EXPECT_EQ(t.bm % t.tm + t.bn % t.tn + t.tm % 4 + t.bk % 4, 0u);
        EXPECT_EQ(t.tn, 8u);
        EXPECT_LE(2 * t.bm * std::max(1u, lx / t.bm), t.bk * (t.bm / 2 + 4)) << "row statistics share A's bytes";
      }
  }
}

// ---- long dispatches are cut --------------------------------------------------------------------------------------

TEST(Plan, LongDispatchesAreCutAlongTheRows) {
  PlanOptions o;
  o.tuning = tuning_for(caps_of("jetson-nano"));
  o.tuning->max_dispatch_flops = 1e8;
  for (const char* caps : {"jetson-nano", "lavapipe"}) {
    const Plan plan = plan_of("vit-b", caps_of(caps), Precision::kFp32, Head::kLogits, 224, o).plan;
    for (const Step& s : plan.steps) {
      double flops = 0;
      for (const PlanDispatch& d : s.dispatches) {
        flops += d.work.flops;
        EXPECT_GE(d.work.issued_flops, d.work.flops) << s.name;
      }
      if (s.op != OpKind::kLinear && s.op != OpKind::kConv2d && s.op != OpKind::kAttention) continue;
      EXPECT_EQ(flops > 1e8, s.dispatches.size() > 1) << s.name;
      if (s.op == OpKind::kConv2d) {
        EXPECT_NEAR(flops, s.cost.flops, 1) << s.name << ": the parts are the whole";
      }
    }
  }
}

TEST(Plan, AttentionNeverStoresScores) {
  // 64 x 64 patches: 4,097 tokens; their scores would be 12 heads x 4097 x 4097 floats = 806 MB.
  const Plan plan = plan_of("vit-b", caps_of("jetson-nano"), Precision::kFp32, Head::kLogits, 1024).plan;
  EXPECT_LT(plan.arena_bytes, 100u << 20);
  int parts = 0;
  for (const Step& s : plan.steps)
    if (s.op == OpKind::kAttention) parts = std::max(parts, int(s.dispatches.size()));
  EXPECT_GT(parts, 1) << "a dispatch of 50 GFLOP is split for a board that kills long ones";
}

TEST(Plan, ArenaIsReused) {
  uint64_t live = 0;
  const Plan plan = plan_of("vit-b", caps_of("jetson-nano"), Precision::kFp32).plan;
  for (const PlanValue& v : plan.values) live += v.where.region == Region::kArena && v.view_of < 0 ? v.where.bytes : 0;
  EXPECT_LT(plan.arena_bytes * 8, live);
}

TEST(Plan, NoKernelMeansAVisibleCpuStep) {
  PlanOptions o;
  o.cpu_ops = {"attention"};
  const Plan asked = plan_of("vit-ti", caps_of("lavapipe"), Precision::kFp32, Head::kLogits, 224, o).plan;
  EXPECT_TRUE(asked.has_cpu_steps());
  EXPECT_NE(dump(asked).find("on the cpu: asked for by cpu_ops"), std::string::npos);

  DeviceCaps small = caps_of("jetson-nano");
  small.max_shared_bytes = 3072;
  small.device_class = DeviceClass::kOther;
  const Plan forced = plan_of("vit-ti", small, Precision::kFp32).plan;
  EXPECT_NE(dump(forced).find("shared memory"), std::string::npos) << "the reason names what is missing";
}

TEST(Plan, WhatADeviceCannotTakeGoesToTheCpu) {
  const auto text = [](void (*limit)(DeviceCaps*)) {
    DeviceCaps caps = caps_of("jetson-nano");
    limit(&caps);
    return dump(plan_of("vit-b", caps, Precision::kFp32).plan);
  };
  EXPECT_NE(text([](DeviceCaps* c) { c->max_storage_range = 1 << 20; }).find("bytes at once, the device takes 1048576"),
            std::string::npos);
  EXPECT_NE(text([](DeviceCaps* c) {
              c->max_stage_storage_buffers = 4;
            }).find("storage and 0 texel buffers, the device takes 4"),
            std::string::npos);
}

TEST(Plan, AConstantIsNoActivation) {
  for (const bool swapped : {false, true}) {
    GraphBuilder b("roles");
    const ValueId x = b.input("x", {DType::kF32, Shape{{1, 1, 4, 8}}}),
                  c = b.constant("c", random_constant(4, 8, 1, 1.f));
    b.output(swapped ? b.add(OpKind::kLinear, "fc", {x, b.add(OpKind::kTanh, "t", {x})})
                     : b.add(OpKind::kAdd, "sum", {x, c}));
    Result<Graph> graph = b.finish();
    ASSERT_TRUE(graph.ok()) << graph.error().message;
    const Result<Planned> planned = make_plan(std::move(*graph), caps_of("jetson-nano"), {});
    ASSERT_FALSE(planned.ok());
    EXPECT_NE(planned.error().message.find(swapped ? "is an activation; linear expects a constant"
                                                   : "('c') is a constant; add expects an activation"),
              std::string::npos)
        << planned.error().message;
  }
}

TEST(Plan, ANormWhoseGainIsAnActivationIsNamed) {
  GraphBuilder b("roles");
  const ValueId x = b.input("x", {DType::kF32, Shape{{1, 1, 1, 8}}});
  const ValueId gain = b.add(OpKind::kTanh, "gain", {x});
  const ValueId n = b.add(OpKind::kLayerNorm, "norm", {x, gain, b.constant("beta", fill_constant(1, 8, 0.f))});
  b.output(b.add(OpKind::kLinear, "fc", {n, b.constant("w", random_constant(4, 8, 1, 1.f))}));
  Result<Graph> graph = b.finish();
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  const Result<Planned> planned = make_plan(std::move(*graph), caps_of("jetson-nano"), {});
  ASSERT_FALSE(planned.ok());
  EXPECT_NE(planned.error().message.find("('gain') is an activation; layer_norm expects a constant"), std::string::npos)
      << planned.error().message;
}

TEST(Plan, CpuPlanNeedsNoVulkan) {
  DeviceCaps cpu;
  cpu.name = "some cpu";
  cpu.kind = DeviceKind::kCpu;
  const Plan plan = plan_of("vit-b", cpu, Precision::kFp32).plan;
  EXPECT_TRUE(plan.barriers.empty());
  for (const Step& s : plan.steps) EXPECT_TRUE(s.dispatches.empty());
}

TEST(Plan, CachesSayHowMuchIsWorkedOnAtATime) {
  DeviceCaps cpu = caps_of("jetson-nano-cpu");
  const auto line = [](const std::string& text) {
    const size_t at = text.find("\ncaches ");
    return at == std::string::npos ? std::string() : text.substr(at + 1, text.find('\n', at + 1) - at - 1);
  };
  EXPECT_EQ(line(dump(plan_of("vit-ti", cpu, Precision::kFp32).plan)),
            "caches 32 KiB, then 512 KiB a thread: chunks of 128 columns, 128 keys, 341 KiB of rows, 128 KiB of tiles");
  cpu.threads = 1;
  EXPECT_NE(line(dump(plan_of("vit-ti", cpu, Precision::kFp32).plan)).find("then 2048 KiB a thread"),
            std::string::npos);
  cpu.caches = {};
  EXPECT_EQ(line(dump(plan_of("vit-ti", cpu, Precision::kFp32).plan)), "");
}

// ---- the verifier must notice what is broken on purpose
// ---------------------------------------------------------------

class Verifier : public ::testing::Test {
 protected:
  Plan plan = plan_of("vit-ti", caps_of("jetson-nano"), Precision::kFp32).plan;
  void expect_error(const char* part) {
    const Result<void> r = verify(plan);
    ASSERT_FALSE(r.ok()) << "not noticed: " << part;
    EXPECT_NE(r.error().message.find(part), std::string::npos) << r.error().message;
  }
};

TEST_F(Verifier, AcceptsTheGoodPlan) { EXPECT_TRUE(verify(plan).ok()); }

TEST_F(Verifier, BarriersOutOfOrder) {
  std::swap(plan.barriers[4], plan.barriers[5]);
  expect_error("barrier");
}

TEST_F(Verifier, MissingBarrier) {
  plan.barriers.erase(plan.barriers.begin() + 10);
  expect_error("race");
}

TEST_F(Verifier, OverlappingValues) {
  // A residual's operand is alive across the block: give its bytes to what is written meanwhile.
  for (Step& s : plan.steps)
    if (s.name == "blocks.2.attn.proj") {
      PlanValue& out = plan.values[size_t(s.output)];
      const PlanValue& residual = plan.values[size_t(s.inputs.back())];
      out.where.offset = residual.where.offset;
      for (PlanDispatch& d : s.dispatches)
        for (Binding& b : d.bindings)
          if (b.source.what == Operand::What::kOutput) b.where = out.where;
    }
  expect_error("overlaps its operand");
}

TEST_F(Verifier, ReadsWhatIsNoLongerThere) {
  // The attention's context is dead after proj: a later step that reads it finds another value's bytes.
  int32_t dead = -1;
  for (const Step& s : plan.steps)
    if (s.name == "blocks.0.attn") dead = s.output;
  ASSERT_GE(dead, 0) << dump(plan);
  for (Step& s : plan.steps)
    if (s.name == "blocks.4.attn.proj") {
      const int32_t old = s.inputs[0];
      s.inputs[0] = dead;
      for (PlanDispatch& d : s.dispatches)
        for (Binding& b : d.bindings)
          if (b.where.region == Region::kArena && !b.writes && b.where.offset == plan.values[size_t(old)].where.offset)
            b.where = plan.values[size_t(dead)].where;
    }
  expect_error("after its bytes were given to another value");
}

TEST_F(Verifier, ReadsBytesOfNoOperand) {
  for (Binding& b : plan.steps[5].dispatches[0].bindings)
    if (!b.writes && b.where.bytes && b.where.region == Region::kArena) {
      b.where.bytes -= 256;
      b.where.offset += 256;
      break;
    }
  expect_error("reads bytes that are none of its operands");
}

TEST_F(Verifier, BeyondTheArena) {
  plan.arena_bytes /= 2;
  expect_error("arena");
}

TEST_F(Verifier, GridBeyondTheDevice) {
  plan.caps.max_workgroup_count[0] = 2;
  expect_error("workgroups");
}

TEST_F(Verifier, WorkgroupBeyondTheDevice) {
  plan.caps.max_workgroup_invocations = 16;
  expect_error("invocations");
}

TEST_F(Verifier, MisalignedBinding) {
  plan.caps.storage_alignment = 1 << 20;
  expect_error("multiple");
}

TEST_F(Verifier, OverlappingConstants) {
  plan.consts[3].offset = plan.consts[2].offset;
  expect_error("overlap");
}

TEST_F(Verifier, WriteToForeignBytes) {
  for (Binding& b : plan.steps[5].dispatches[0].bindings)
    if (b.writes) b.where.offset += 4096;
  expect_error("writes bytes that are not its output's");
}

// ---- which convolutions the CPU does with fewer products
// -----------------------------------------------------------------

TEST(Winograd, WhereItPays) {
  const auto kernel = [](Precision precision, int64_t side, int64_t channels, double stride, double dilation,
                         double groups) {
    GraphBuilder g("conv");
    const ValueId x = g.input("x", {DType::kF32, Shape{{1, side, side, channels}}});
    g.output(g.add(OpKind::kConv2d, "conv",
                   {x, g.constant("w", random_constant(64, 9 * channels / int64_t(groups), 1, 0.2f))},
                   {{"kernel_h", 3},
                    {"kernel_w", 3},
                    {"stride_h", stride},
                    {"stride_w", stride},
                    {"pad_h", dilation},
                    {"pad_w", dilation},
                    {"dilation_h", dilation},
                    {"dilation_w", dilation},
                    {"groups", groups}}));
    PlanOptions o;
    o.precision = precision;
    DeviceCaps cpu;
    cpu.kind = DeviceKind::kCpu;
    cpu.simd = "portable";
    Result<Planned> planned = make_plan(*g.finish(), cpu, o);
    EXPECT_TRUE(planned.ok()) << planned.error().message;
    return planned->plan.steps[0].kernel;
  };
  EXPECT_EQ(kernel(Precision::kFp32, 8, 32, 1, 1, 1), "winograd");
  EXPECT_EQ(kernel(Precision::kInt8, 8, 32, 1, 1, 1), "im2col+gemm") << "a quantised weight is not transformed";
  EXPECT_EQ(kernel(Precision::kFp16, 8, 32, 1, 1, 1), "im2col+gemm");
  EXPECT_EQ(kernel(Precision::kFp32, 6, 32, 1, 1, 1), "im2col+gemm") << "nine tiles do not pay for the larger weights";
  EXPECT_EQ(kernel(Precision::kFp32, 8, 16, 1, 1, 1), "im2col+gemm")
      << "few channels: the transforms outweigh the products";
  EXPECT_EQ(kernel(Precision::kFp32, 16, 32, 2, 1, 1), "im2col+gemm");
  EXPECT_EQ(kernel(Precision::kFp32, 12, 32, 1, 2, 1), "im2col+gemm");
  EXPECT_EQ(kernel(Precision::kFp32, 8, 32, 1, 1, 2), "im2col+gemm");
}

// ---- a convolutional toy: hybrids go through the same stages
// -----------------------------------------------------------

TEST(Plan, ToyConvolutionNetwork) {
  GraphBuilder b("toy");
  const ValueId x = b.input("pixels", {DType::kF32, Shape{{1, 32, 32, 3}}, Layout::kPlanar});
  const ValueId conv =
      b.add(OpKind::kConv2d, "stem",
            {x, b.constant("w", random_constant(16, 27, 1, 0.2f)), b.constant("b", fill_constant(1, 16, 0.1f))},
            {{"kernel_h", 3}, {"kernel_w", 3}, {"stride_h", 2}, {"stride_w", 2}, {"pad_h", 1}, {"pad_w", 1}});
  const ValueId act = b.add(OpKind::kRelu, "relu", {conv});
  const ValueId pooled = b.add(OpKind::kPool, "pool", {act}, {{"mode", 1}, {"kernel", 3}, {"stride", 2}, {"pad", 1}});
  const ValueId mean = b.add(OpKind::kMean, "mean", {pooled});
  b.output(b.add(OpKind::kLinear, "head", {mean, b.constant("hw", random_constant(10, 16, 2, 0.2f))}));
  Result<Planned> planned = make_plan(*b.finish(), caps_of("jetson-nano"), {});
  ASSERT_TRUE(planned.ok()) << planned.error().message;
  EXPECT_EQ(planned->plan.steps.size(), 4u) << "relu is the convolution's epilogue";
  EXPECT_FALSE(planned->plan.has_cpu_steps());
}

// ---- caps files ----------------------------------------------------------------------------------------------------

TEST(Caps, TextRoundTrip) {
  const DeviceCaps caps = caps_of("jetson-nano");
  Result<DeviceCaps> again = caps_from_text(to_text(caps), "again");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(to_text(caps), to_text(*again));
  EXPECT_EQ(caps.device_class, DeviceClass::kMaxwell);
}

TEST(Caps, BadFilesAreNamed) {
  const auto error = [](const std::string& text) {
    Result<DeviceCaps> r = caps_from_text(text, "some.txt");
    return r ? std::string("accepted") : r.error().message;
  };
  const std::string good = "name: x\nkind: vulkan\n";
  EXPECT_NE(error("name x").find("line 1"), std::string::npos);
  EXPECT_NE(error(good + "colour: blue").find("unknown key 'colour'"), std::string::npos);
  EXPECT_NE(error(good + "max_shared_bytes: many").find("expected a non-negative integer"), std::string::npos);
  EXPECT_NE(error(good + "max_shared_bytes: -5").find("expected a non-negative integer"), std::string::npos);
  EXPECT_NE(error(good + "subgroup_size: 0").find("at least 1"), std::string::npos);
  EXPECT_NE(error(good + "integrated: maybe").find("0 or 1"), std::string::npos);
  EXPECT_NE(error(good + "subgroup_size: 8\nsubgroup_size: 8").find("twice"), std::string::npos);
  EXPECT_NE(error("kind: vulkan").find("'name' is missing"), std::string::npos);
}

}  // namespace
}  // namespace vireo
