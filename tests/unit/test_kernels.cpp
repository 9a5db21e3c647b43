// The list of kernels: the cheapest that accepts is taken, reasons are collected, and the matrix of kernels and formats
// says what the planner does.
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>
#include "ops/kernel.h"
#include "ops/tuned.h"
#include "plan/policy.h"

#include <vireo/kernels.hpp>
#include <vireo/predict.hpp>

namespace vireo {
namespace {

DeviceCaps nano() {
  const Result<DeviceCaps> caps = caps_from_text(*machine_caps("jetson-nano"), "jetson-nano");
  EXPECT_TRUE(caps.ok());
  return *caps;
}

DeviceCaps cpu() {
  DeviceCaps caps;
  caps.kind = DeviceKind::kCpu, caps.simd = simd::best().name, caps.threads = 1, caps.name = "a cpu";
  return caps;
}

/// A linear of m rows.
struct Linear {
  explicit Linear(int64_t m, DType rows = DType::kF32, Format weights = {}, bool row_codes = false) {
    if (row_codes) w.rows.kind = RowCodes::Kind::kDynamic;
    x.shape = Shape{{1, 1, m, 192}}, x.dtype = rows;
    w.shape = Shape{{1, 1, 576, 192}}, w.dtype = weights.dtype, w.grid = weights.grid;
    call.name = "fc", call.attrs = &attrs, call.in = {&x, &w, nullptr, nullptr, nullptr};
    call.out.shape = Shape{{1, 1, m, 576}}, call.out.dtype = rows;
  }
  Attrs attrs{};
  TensorDesc x, w;
  OpCall call;
};

std::string taken(const Linear& l, const DeviceCaps& caps, const Tuning& tuning, Products products = Products::kF32) {
  const Result<Lowering> r = lower_op(OpKind::kLinear, caps.kind, l.call, {&caps, &tuning, products});
  return r ? r->by->name : r.error().message;
}

TEST(Kernels, TheCheapestThatAcceptsIsTaken) {
  const DeviceCaps caps = nano();
  const Tuning tuning = tuning_for(caps);
  const KernelDef &tile = *find_kernel("linear.tile"), &half = *find_kernel("linear.half");
  for (int64_t m : {5, 8, 50, 197, 1000}) {
    const Linear l(m, DType::kF16, {DType::kF16, {}});
    const LowerContext ctx{&caps, &tuning};
    ASSERT_TRUE(tile.accepts(l.call, ctx) && half.accepts(l.call, ctx));
    const bool halves = half.cost(l.call, ctx) < tile.cost(l.call, ctx);
    EXPECT_EQ(taken(l, caps, tuning), halves ? "linear.half" : "linear.tile") << m;
  }
  for (int64_t m : {1, 4}) EXPECT_EQ(taken(Linear(m), caps, tuning), "linear.row") << m;
  EXPECT_EQ(taken(Linear(197), caps, tuning), "linear.tile") << "fp32 rows are not multiplied as halves";
}

TEST(Kernels, AKernelWithoutConstantsIsNotTaken) {
  const DeviceCaps caps = nano();
  Tuning tuning = tuning_for(caps);
  const Linear l(1000, DType::kF16, {DType::kF16, {}});
  ASSERT_EQ(taken(l, caps, tuning), "linear.half");
  tuning.constants.erase("linear.half");
  EXPECT_EQ(taken(l, caps, tuning), "linear.tile");
  only_kernel(*find_kernel("linear.half"), &tuning);
  const std::string why = taken(l, caps, tuning);
  for (const char* part : {"linear.texel: devices of this class read storage buffers", "linear.tile: no tile",
                           "linear.half: devices of this class multiply fp32 no slower"})
    EXPECT_NE(why.find(part), std::string::npos) << why;
}

TEST(Kernels, OnTheCpuByWhatThePolicyAllows) {
  const DeviceCaps caps = cpu();
  const Tuning tuning = tuning_for(caps);
  const Format i8{DType::kI8, {8, Scope::kRow}}, f16{DType::kF16, {}};
  EXPECT_EQ(taken(Linear(197), caps, tuning), "linear.gemm");
  EXPECT_EQ(taken(Linear(197, DType::kF32, i8), caps, tuning), "linear.gemm");
  EXPECT_EQ(taken(Linear(197, DType::kF32, i8, true), caps, tuning, Products::kI8), "linear.int8");
  const auto grouped = [](int32_t group) { return Format{DType::kI8, {8, Scope::kGroup, false, true, group}}; };
  EXPECT_EQ(taken(Linear(197, DType::kF32, grouped(96), true), caps, tuning, Products::kI8), "linear.int8");
  EXPECT_EQ(taken(Linear(197, DType::kF32, grouped(50), true), caps, tuning, Products::kI8), "linear.gemm")
      << "no whole groups in 192 columns";
  const std::string rounded = simd::best().gemm_bf16.run ? "linear.bf16" : "linear.gemm";
  EXPECT_EQ(taken(Linear(197, DType::kF32, f16), caps, tuning, Products::kBf16), rounded);
  EXPECT_EQ(taken(Linear(1, DType::kF32, f16), caps, tuning, Products::kBf16), "linear.gemm") << "it waits for memory";
  EXPECT_EQ(taken(Linear(197), caps, tuning, Products::kBf16), "linear.gemm") << "fp32 weights stay exact";
}

TEST(Kernels, TheMatrixSaysWhatThePlannerDoes) {
  for (const std::string& text : {*machine_caps("jetson-nano"), *machine_caps("lavapipe"), to_text(cpu()),
                                  *machine_caps("jetson-nano") + "integer_dot: 1\ninteger_dot_fast: 1\n"}) {
    const DeviceCaps caps = *caps_from_text(text, "caps");
    const Result<std::string> printed = kernel_matrix(text, true);
    ASSERT_TRUE(printed.ok()) << printed.error().message;
    const nlohmann::json j = nlohmann::json::parse(*printed);
    EXPECT_EQ(j["kind"], to_string(caps.kind));
    std::set<std::string> kernels, operators;
    std::map<std::string, bool> done;  // by operator, rows and weights: some kernel is chosen
    for (const nlohmann::json& cell : j["cells"]) {
      const std::string name = cell["kernel"];
      kernels.insert(name);
      operators.insert(cell["operator"].get<std::string>());
      EXPECT_NE(cell.contains("reason"), cell.contains("chosen")) << cell;
      if (cell.contains("reason")) {
        EXPECT_NE(cell["reason"], "") << name;
      }
      const KernelDef* k = find_kernel(name);
      ASSERT_NE(k, nullptr) << name;
      EXPECT_EQ(cell.contains("weights"), op_def(k->op).matrix >= 0) << name;
      done[cell["operator"].get<std::string>() + cell["rows"].get<std::string>() +
           (cell.contains("weights") ? cell["weights"].get<std::string>() : "")] |=
          cell.value("chosen", false) ||
          cell.value("reason", "").find("computed on the CPU alone") != std::string::npos;
    }
    for (const KernelDef* k : all_kernels())
      EXPECT_EQ(kernels.count(k->name), size_t(k->device == caps.kind)) << k->name;
    EXPECT_EQ(operators.size(), all_ops().size()) << "every operator has a kernel on " << caps.name;
    for (const auto& [what, chosen] : done) EXPECT_TRUE(chosen) << what << " on " << caps.name;
  }
}

TEST(Kernels, TheTextHasAReasonForEachNumber) {
  const Result<std::string> printed = kernel_matrix(*machine_caps("jetson-nano"), false);
  ASSERT_TRUE(printed.ok()) << printed.error().message;
  const std::string& s = *printed;
  EXPECT_NE(s.find("linear.tile            f32       f32*"), std::string::npos) << s;
  EXPECT_NE(s.find("linear.half            f32        ("), std::string::npos) << s;
  for (int i = 1; s.find(fmt::format("({})", i)) != std::string::npos; ++i)
    EXPECT_NE(s.find(fmt::format("\n({}) ", i)), std::string::npos) << i << s;
  EXPECT_FALSE(kernel_matrix("not caps", false).ok());
}

}  // namespace
}  // namespace vireo
