// Weights of codes multiplied by fp16 rows in packed arithmetic, on every Vulkan device that has it: rows with a scale
// each, groups with theirs, two codes in a byte, and the device's own question about each.
#include <gtest/gtest.h>

#include <cmath>

#include "base/half.h"
#include "ops/conv2d.h"
#include "ops/linear.h"
#include "ops/tuned.h"
#include "ops_conformance.h"
#include "runtime/self_test.h"
#include "support/reference.h"

namespace vireo {
namespace {

using namespace conformance;

std::vector<Target> packed_targets() {
  std::vector<Target> all;
  for (Target t : targets()) {
    if (!t.gpu || t.tuning || t.gap || t.caps.device_class != DeviceClass::kMaxwell || !t.gpu->caps().shader_float16)
      continue;
    t.caps.shader_float16 = true;
    all.push_back(std::move(t));
  }
  return all;
}

std::vector<Constants> constants_of(const KernelDef& kernel, const Target& t) {
  const Tuning all = tuning_for(t.caps);
  return all.of(kernel.name);
}

/// The device's question comes out right, and would not if the kernel called its sums nearly exact.
void expect_holds(const KernelDef& kernel, const Constants& constants, const Target& t) {
  ThreadPool pool(2);
  KernelDef exact = kernel;
  exact.error = [](const Constants&) { return 1e-9; };
  for (const KernelDef* k : {&kernel, static_cast<const KernelDef*>(&exact)}) {
    const Result<bool> right = holds(*k, constants, t.gpu, t.caps, pool);
    ASSERT_TRUE(right.ok()) << right.error().message;
    EXPECT_EQ(*right, k == &kernel) << kernel.name << " on " << t.label;
  }
}

/// The case with its matrix rounded to `format` by the planner; the answer is that of the numbers that the codes stand
/// for.
void run_format(OpKind op, const OpCase& spec, const char* format, const Target& t, const KernelDef& kernel,
                double error) {
  SCOPED_TRACE(fmt::format("{} / {} / {} / {}", op_def(op).name, spec.label, format, t.label));
  GraphBuilder b("case");
  std::vector<ValueId> operands;
  std::vector<std::vector<double>> inputs;
  for (size_t i = 0; i < spec.in.size(); ++i) {
    const Shape& s = spec.in[i];
    std::vector<double> values = test::noise(size_t(s.elements()), 100 + i, spec.scale);
    if (s.c() == 0) {
      operands.push_back(kNoValue);
    } else if (spec.constant[i]) {
      operands.push_back(b.constant(fmt::format("const{}", i),
                                    make_constant(s.w(), s.c(), std::vector<float>(values.begin(), values.end()))));
    } else {
      for (double& v : values) v = double(half_to_float(float_to_half(float(v))));
      TensorDesc d;
      d.shape = s, d.dtype = DType::kF16;
      operands.push_back(b.input(fmt::format("in{}", i), d));
      inputs.push_back(std::move(values));
    }
  }
  std::vector<std::pair<const char*, double>> attrs;
  for (int a = 0; op_def(op).attrs[a].name; ++a) attrs.push_back({op_def(op).attrs[a].name, spec.attrs[size_t(a)]});
  b.output(b.add(op, "node", operands, attrs));
  Result<Graph> graph = b.finish();
  ASSERT_TRUE(graph.ok()) << graph.error().message;

  PlanOptions options;
  options.policy = policy_of(Precision::kFp16);
  ASSERT_TRUE(parse_format(format, &options.policy->matrices));
  options.fuse = false;
  options.tuning = t.tuning;
  const Result<Planned> planned = make_plan(std::move(*graph), t.caps, options);
  ASSERT_TRUE(planned.ok()) << planned.error().message;
  const Plan& plan = planned->plan;
  ASSERT_EQ(plan.steps[0].by, &kernel) << plan.steps[0].kernel;
  const std::vector<double> expected = test::run_reference(planned->graph, inputs)[size_t(planned->graph.outputs[0])];
  double largest = 1;
  for (double v : expected) largest = std::max(largest, std::fabs(v));
  const double bound = (op_def(op).tolerance(op_call(plan, plan.steps[0])) + error) * largest;

  ThreadPool pool(2);
  const auto run = vk::Executable::create(t.gpu, plan, planned->graph, pool, {});
  ASSERT_TRUE(run.ok()) << run.error().message;
  Prepared p;
  p.inputs = inputs;
  fill_input(plan, p, reinterpret_cast<uint8_t*>((*run)->input(0)));
  ASSERT_TRUE((*run)->submit(0).ok() && (*run)->wait(0).ok());
  const TensorDesc& d = plan.values[size_t(plan.outputs[0])].desc;
  double worst = 0;
  for (int64_t r = 0; r < d.shape.rows(); ++r)
    for (int64_t c = 0; c < d.shape.c(); ++c) {
      const double off =
          std::fabs(double((*run)->output(0)[r * d.row_stride() + c]) - expected[size_t(r * d.shape.c() + c)]);
      ASSERT_FALSE(std::isnan(off));
      if (!(off <= worst)) worst = off;
    }
  EXPECT_LE(worst, bound) << plan.steps[0].kernel;
}

/// A selection: each tile is slow to compile on lavapipe.
TEST(Tiles, CodesByHalves) {
  const KernelDef& kernel = *find_kernel("linear.half.codes");
  int runs = 0;
  for (Target t : packed_targets())
    for (const Constants& constants : constants_of(kernel, t)) {
      const LinearTile tile = linear::tile_of(constants);
      t.tuning = tuning_with(t.caps, kernel.name, constants);
      if (!linear::tile_work(tile, true, *t.tuning, t.caps, 1, 1, 1).legal) continue;
      t.label = fmt::format("codes {}x{}x{} on {}", tile.bm, tile.bn, tile.bk, t.caps.name);
      expect_holds(kernel, constants, t);
      for (const OpCase& spec : op_def(OpKind::kLinear).cases()) {
        const bool all = tile.bk == 32;
        if (spec.label != "one past the tile" &&
            !(all && (spec.label == "primes with a gain" || spec.label == "dinov2-s fc2" || spec.label == "odd width")))
          continue;
        // Vireo's own int8, rounded while it is packed; and codes that reach -128, as checkpoints have them.
        run_case({OpKind::kLinear, spec, Precision::kInt8}, t, kernel.error(constants)), ++runs;
        run_format(OpKind::kLinear, spec, "i8", t, kernel, kernel.error(constants));
        if (all) run_format(OpKind::kLinear, spec, "i6", t, kernel, kernel.error(constants));
      }
    }
  if (runs == 0) GTEST_SKIP() << "no device with shaderFloat16";
  EXPECT_EQ(vulkan().messages, "") << "the validation layer must stay silent";
}

TEST(Tiles, GroupsOfCodesByHalves) {
  const KernelDef& kernel = *find_kernel("linear.half.groups");
  int runs = 0;
  for (Target t : packed_targets())
    for (const Constants& constants : constants_of(kernel, t)) {
      const LinearTile tile = linear::tile_of(constants);
      t.tuning = tuning_with(t.caps, kernel.name, constants);
      if (!linear::tile_work(tile, true, *t.tuning, t.caps, 1, 1, 1).legal) continue;
      t.label = fmt::format("groups {}x{}x{} on {}", tile.bm, tile.bn, tile.bk, t.caps.name);
      expect_holds(kernel, constants, t);
      for (const OpCase& spec : op_def(OpKind::kLinear).cases()) {
        if (spec.label != "large values" && spec.label != "vit-ti fc1") continue;  // k 48 and 192
        const bool few = spec.label == "large values";
        for (const char* format : {"i4g32", "i4g64", "i8g32", "i4", "i2", "i3g16"}) {
          if (format == std::string("i3g16") && tile.bk != 16) continue;
          if (!few && format != std::string("i4g64")) continue;
          run_format(OpKind::kLinear, spec, format, t, kernel, kernel.error(constants)), ++runs;
        }
      }
    }
  if (runs == 0) GTEST_SKIP() << "no device with shaderFloat16";
  EXPECT_EQ(vulkan().messages, "") << "the validation layer must stay silent";
}

TEST(Tiles, ConvolutionsOfCodesByHalves) {
  const KernelDef& kernel = *find_kernel("conv2d.half.codes");
  int runs = 0;
  for (Target t : packed_targets()) {
    const std::vector<Constants> all = tuning_for(t.caps).of(kernel.name);
    for (size_t i = 0; i < all.size(); ++i) {
      const LinearTile tile = linear::tile_of(all[i]);
      t.tuning = tuning_with(t.caps, kernel.name, all[i]);
      if (!linear::tile_work(tile, true, *t.tuning, t.caps, 1, 1, 1).legal) continue;
      t.label = fmt::format("codes {}x{}x{} on {}", tile.bm, tile.bn, tile.bk, t.caps.name);
      if (i % 4 == 0) expect_holds(kernel, all[i], t);
      for (const OpCase& spec : op_def(OpKind::kConv2d).cases()) {
        const bool small = tile.bm == 64 && tile.bn == 64;
        if (spec.label != "dilated 3x3" && !(small && (spec.label == "3x3 stride 2 rows, odd channels" ||
                                                       spec.label == "1x1 rows" || spec.label == "2 groups of 8")))
          continue;
        run_case({OpKind::kConv2d, spec, Precision::kInt8}, t, kernel.error(all[i])), ++runs;
        if (small) run_format(OpKind::kConv2d, spec, "i8", t, kernel, kernel.error(all[i]));
      }
    }
  }
  if (runs == 0) GTEST_SKIP() << "no device with shaderFloat16";
  EXPECT_EQ(vulkan().messages, "") << "the validation layer must stay silent";
}

TEST(Tiles, DepthwiseHalves) {
  const KernelDef& kernel = *find_kernel("conv2d.depthwise.half");
  int runs = 0;
  for (Target t : packed_targets()) {
    for (const Constants& block : constants_of(kernel, t)) {
      t.tuning = tuning_with(t.caps, kernel.name, block);
      t.label = fmt::format("blocks of {}x{} on {}", block[1], block[0], t.caps.name);
      expect_holds(kernel, block, t);
      for (const OpCase& made : op_def(OpKind::kConv2d).cases()) {
        OpCase spec = made;
        if (!conv2d::is_depthwise(int64_t(spec.attrs[conv2d::kGroups]), spec.in[0].c(), spec.in[1].w()) ||
            spec.attrs[conv2d::kKernelH] > 5)
          continue;
        if (spec.in[0].c() > 64) {  // models' maps, with fewer channels: what differs between them is the same
          spec.in[0].d[3] = spec.in[1].d[2] = spec.in[2].d[3] = 16;
          spec.attrs[conv2d::kGroups] = 16;
        }
        const int64_t whole = spec.in[0].c() / 8 * 8 + (spec.in[0].c() % 8 ? 8 : 0);  // channels in groups of 8
        spec.in[0].d[3] = spec.in[1].d[2] = spec.in[2].d[3] = whole;
        spec.attrs[conv2d::kGroups] = double(whole);
        spec.label += ", groups of 8";
        const Case c{OpKind::kConv2d, spec, Precision::kFp16};
        PlanOptions options;
        options.precision = c.precision;
        options.tuning = t.tuning;
        const Result<Planned> planned = make_plan(prepare(c, true).graph, t.caps, options);
        ASSERT_TRUE(planned.ok()) << planned.error().message;
        if (planned->plan.steps[0].by != &kernel) continue;  // a block too large for such a kernel
        run_case(c, t, kernel.error(block)), ++runs;
      }
    }
  }
  if (runs == 0) GTEST_SKIP() << "no device with shaderFloat16";
  EXPECT_GT(runs, 12);
  EXPECT_EQ(vulkan().messages, "") << "the validation layer must stay silent";
}

/// Rows whose producer leaves their moments behind them: what normalises them gets the same as if it worked them out.
TEST(Tiles, MomentsOfRowsFromTheirProducer) {
  int runs = 0, wide = 0;
  for (Target t : packed_targets())
    // Columns of several workgroups, the last of them cut short; rows beyond a tile; large means.
    for (const int64_t width : {64, 200, 264, 456})
      for (const Precision precision : {Precision::kFp16, Precision::kInt8}) {
        const int64_t rows = 133, k = 48, n = 24;
        SCOPED_TRACE(fmt::format("{} columns, {} on {}", width, to_string(precision), t.label));
        GraphBuilder b("moments");
        TensorDesc x, r;
        x.shape = Shape{{1, 1, rows, k}}, x.dtype = DType::kF16;
        r.shape = Shape{{1, 1, rows, width}}, r.dtype = DType::kF16;
        const ValueId in = b.input("x", x), residual = b.input("r", r);
        const auto noise_of = [&](int64_t w, int64_t c, uint64_t seed) {
          const std::vector<double> v = test::noise(size_t(w * c), seed, 0.2);
          return make_constant(w, c, std::vector<float>(v.begin(), v.end()));
        };
        const ValueId mid = b.add(
            OpKind::kLinear, "proj",
            {in, b.constant("w0", noise_of(width, k, 1)), b.constant("b0", noise_of(1, width, 2)), kNoValue, residual});
        b.output(
            b.add(OpKind::kLinear, "fc", {mid, b.constant("w1", noise_of(n, width, 3))}, {{"ln", 1}, {"eps", 1e-6}}));
        Result<Graph> graph = b.finish();
        ASSERT_TRUE(graph.ok()) << graph.error().message;
        std::vector<std::vector<double>> inputs = {test::noise(size_t(rows * k), 4, 1),
                                                   test::noise(size_t(rows * width), 5, 1)};
        // Neighbouring columns have means of their own.
        for (size_t i = 0; i < inputs[1].size(); ++i)
          inputs[1][i] += 0.3 + 2 * std::sin(0.02 * double(int64_t(i) % width));
        for (auto& values : inputs)
          for (double& v : values) v = double(half_to_float(float_to_half(float(v))));
        // An output keeps its rows to itself: who normalises it works the moments out.
        std::vector<std::vector<float>> answers;
        for (const bool apart : {true, false}) {
          Graph g = *graph;
          if (!apart) g.outputs.push_back(mid);
          PlanOptions options;
          options.precision = precision;
          options.fuse = false;
          options.half_outputs = true;
          const Result<Planned> planned = make_plan(std::move(g), t.caps, options);
          ASSERT_TRUE(planned.ok()) << planned.error().message;
          const Plan& plan = planned->plan;
          EXPECT_EQ(dump(plan).find("OUT_MOMENTS=1") != std::string::npos, apart) << dump(plan);
          EXPECT_EQ(dump(plan).find("IN_COLUMNS=1 ", dump(plan).find(" fc ")) == std::string::npos, apart);
          wide += dump(plan).find("IN_COLUMNS=256 ") != std::string::npos;
          ThreadPool pool(2);
          const auto run = vk::Executable::create(t.gpu, plan, planned->graph, pool, {});
          ASSERT_TRUE(run.ok()) << run.error().message;
          Prepared p;
          p.inputs = inputs;
          fill_input(plan, p, const_cast<uint8_t*>((*run)->read({Region::kInput, 0, 1}, 0)));
          ASSERT_TRUE((*run)->submit(0).ok() && (*run)->wait(0).ok());
          const PlanValue& out = plan.values[size_t(plan.outputs[0])];
          const auto* at = reinterpret_cast<const uint16_t*>((*run)->read(out.where, 0));
          answers.emplace_back();
          for (int64_t i = 0; i < rows * n; ++i)
            answers.back().push_back(half_to_float(at[i / n * out.desc.row_stride() + i % n]));
        }
        double largest = 0, worst = 0;
        for (size_t i = 0; i < answers[0].size(); ++i) {
          largest = std::max(largest, std::fabs(double(answers[1][i])));
          const double off = std::fabs(double(answers[0][i]) - double(answers[1][i]));
          ASSERT_FALSE(std::isnan(off));
          if (!(off <= worst)) worst = off;
        }
        EXPECT_GT(largest, 1);
        // Moments of the sums before they are rounded to fp16, and of the rows: an ulp of the scale's half, and the
        // output's.
        EXPECT_LE(worst, std::ldexp(largest, -9));
        ++runs;
      }
  if (runs == 0) GTEST_SKIP() << "no device with shaderFloat16";
  EXPECT_GT(wide, 0) << "a tile of 256 columns adds them up where W was";
  EXPECT_EQ(vulkan().messages, "") << "the validation layer must stay silent";
}

/// Sums of products with the largest activation that a network is known to have, and beyond it: no fp16 sum overflows.
TEST(Tiles, CodesByLargeHalvesStayNumbers) {
  const KernelDef& kernel = *find_kernel("linear.half.codes");
  int runs = 0;
  for (Target t : packed_targets())
    for (const Constants& constants : constants_of(kernel, t)) {
      if (constants[2] != 48) continue;
      t.tuning = tuning_with(t.caps, kernel.name, constants);
      for (const float largest : {217.f, 1000.f}) {
        constexpr int64_t kK = 192, kN = 8;
        GraphBuilder b("large");
        TensorDesc rows;
        rows.shape = Shape{{1, 1, 8, kK}}, rows.dtype = DType::kF16;
        const ValueId x = b.input("x", rows);
        b.output(b.add(OpKind::kLinear, "fc", {x, b.constant("w", fill_constant(kN, kK, 0.5f))}));
        PlanOptions options;
        options.precision = Precision::kInt8;
        options.fuse = false;
        options.tuning = t.tuning;
        const Result<Planned> planned = make_plan(*b.finish(), t.caps, options);
        ASSERT_TRUE(planned.ok()) << planned.error().message;
        ASSERT_EQ(planned->plan.steps[0].by, &kernel);
        ThreadPool pool(2);
        const auto run = vk::Executable::create(t.gpu, planned->plan, planned->graph, pool, {});
        ASSERT_TRUE(run.ok()) << run.error().message;
        Prepared p;
        p.inputs = {std::vector<double>(8 * kK, largest)};
        fill_input(planned->plan, p, reinterpret_cast<uint8_t*>((*run)->input(0)));
        ASSERT_TRUE((*run)->submit(0).ok() && (*run)->wait(0).ok());
        // Equal products round alike: half a unit in the last place of partial sums that are half of the sum on
        // average.
        const double expected = 0.5 * kK * double(largest);
        EXPECT_NEAR(double((*run)->output(0)[0]), expected, std::ldexp(constants[2] / 2, -11) * expected) << t.label;
        ++runs;
      }
    }
  if (runs == 0) GTEST_SKIP() << "no device with shaderFloat16";
}

}  // namespace
}  // namespace vireo
