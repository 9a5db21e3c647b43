// Every operator of the registry x its conformance cases x precision x {the CPU's kernels, every Vulkan device}, one
// node at a time, submission included. `--benchmark_filter=linear.*fp32/cpu` picks; `--benchmark_list_tests` names
// them. GFLOP/s and GB/s are the operator's own cost model over the time. Two builds are compared by
// bench/compare/revisions.sh.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "cpu/executable.h"
#include "graph/graph.h"
#include "ops/op.h"
#include "plan/plan.h"
#if VIREO_VULKAN
#include "vk/executable.h"
#endif

namespace vireo {
namespace {

struct Target {
  std::string label;
  DeviceCaps caps;
  const simd::Kernels* kernels = nullptr;  // a CPU target
#if VIREO_VULKAN
  std::shared_ptr<vk::Gpu> gpu;  // a Vulkan target
#endif
};

/// The graph of one node with zeros as activations: no kernel's time depends on values.
Result<Graph> one_node(OpKind kind, const OpCase& c, bool halves) {
  GraphBuilder b("case");
  std::vector<ValueId> operands;
  for (size_t i = 0; i < c.in.size(); ++i) {
    const Shape& s = c.in[i];
    if (s.c() == 0) {
      operands.push_back(kNoValue);
    } else if (c.constant[i]) {
      operands.push_back(b.constant(fmt::format("const{}", i), random_constant(s.w(), s.c(), i, 0.05f)));
    } else {
      TensorDesc d;
      d.shape = s;
      d.layout = i == 0 && c.planar ? Layout::kPlanar : Layout::kRows;
      if (halves && d.layout == Layout::kRows) d.dtype = DType::kF16;
      operands.push_back(b.input(fmt::format("in{}", i), d));
    }
  }
  std::vector<std::pair<const char*, double>> attrs;
  for (int a = 0; op_def(kind).attrs[a].name; ++a) attrs.push_back({op_def(kind).attrs[a].name, c.attrs[size_t(a)]});
  b.output(b.add(kind, "node", operands, attrs));
  return b.finish();
}

void count(benchmark::State& state, const Plan& plan) {
  double flops = 0, bytes = 0;
  for (const Step& s : plan.steps) flops += s.cost.flops, bytes += s.cost.read_bytes + s.cost.write_bytes;
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["GB/s"] = benchmark::Counter(bytes * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  if (!plan.steps.empty()) state.SetLabel(plan.steps[0].kernel);
}

void run(benchmark::State& state, OpKind kind, const OpCase& c, Precision precision, const Target& t) {
  const auto skip = [&](const Error& e) { state.SkipWithError(e.message.c_str()); };
  Result<Graph> graph = one_node(kind, c, precision == Precision::kFp16 && !t.kernels);
  if (!graph) return skip(graph.error());
  PlanOptions options;
  options.precision = precision;
  options.fuse = false;
  options.half_outputs = true;
  Result<Planned> planned = make_plan(*graph, t.caps, options);
  if (!planned) return skip(planned.error());
  ThreadPool pool(t.caps.threads);
  if (t.kernels) {
    auto e = cpu::Executable::create(planned->plan, planned->graph, pool, *t.kernels, 1);
    if (!e) return skip(e.error());
    std::memset((*e)->input(0), 0, planned->plan.input_bytes);
    for (auto _ : state) (*e)->run(0, pool);
  }
#if VIREO_VULKAN
  if (t.gpu) {
    if (planned->plan.has_cpu_steps()) return state.SkipWithError(planned->plan.steps[0].reason.c_str());
    auto e = vk::Executable::create(t.gpu, planned->plan, planned->graph, pool, {});
    if (!e) return skip(e.error());
    std::memset((*e)->host_memory(0).base[size_t(Region::kInput)], 0, planned->plan.input_bytes);
    for (auto _ : state)
      if (!(*e)->submit(0) || !(*e)->wait(0)) return state.SkipWithError("the device failed");
  }
#endif
  count(state, planned->plan);
}

std::vector<Target> targets() {
  std::vector<Target> all;
  Target cpu;
  cpu.kernels = &simd::best();
  cpu.label = "cpu";
  cpu.caps.kind = DeviceKind::kCpu;
  cpu.caps.simd = cpu.kernels->name;
  cpu.caps.threads = int(std::max(1u, std::thread::hardware_concurrency()));
  cpu.caps.storage_alignment = cpu.caps.texel_alignment = 64;
  all.push_back(cpu);
#if VIREO_VULKAN
  Result<std::shared_ptr<vk::Instance>> instance = vk::Instance::open({});
  if (!instance) return all;
  for (const vk::Physical& p : (*instance)->devices()) {
    if (!p.unusable.empty()) continue;
    Result<std::shared_ptr<vk::Gpu>> gpu = vk::Gpu::open(*instance, p.index);
    if (!gpu) continue;
    all.push_back({fmt::format("vulkan:{}", p.index), (*gpu)->caps(), nullptr, *gpu});
    all.back().caps.threads = cpu.caps.threads;
  }
#endif
  return all;
}

}  // namespace
}  // namespace vireo

int main(int argc, char** argv) {
  using namespace vireo;
  static const std::vector<Target> all = targets();
  for (OpKind kind : all_ops())
    for (const OpCase& c : op_def(kind).cases())
      for (Precision precision : {Precision::kFp32, Precision::kFp16, Precision::kInt8}) {
        if (precision == Precision::kInt8 && kind != OpKind::kLinear && kind != OpKind::kConv2d)
          continue;  // only they have such weights
        for (const Target& t : all)
          benchmark::RegisterBenchmark(
              fmt::format("{}/{}/{}/{}", op_def(kind).name, c.label, to_string(precision), t.label).c_str(),
              [kind, c, precision, &t](benchmark::State& s) { run(s, kind, c, precision, t); })
              ->Unit(benchmark::kMicrosecond)
              ->UseRealTime();
      }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
