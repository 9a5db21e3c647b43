#if VIREO_VULKAN
#include "runtime/half_check.h"

#include <cmath>

#include "base/half.h"
#include "ops/linear.h"
#include "plan/plan.h"
#include "runtime/device_impl.h"
#include "vk/executable.h"

namespace vireo {
namespace {

double half_round(float x) { return double(half_to_float(float_to_half(x))); }

/// One node, y = norm(x) W^T, with rows and columns beyond the edges of a tile.
Result<bool> holds(const LinearTile& tile, const std::shared_ptr<vk::Gpu>& gpu, const DeviceCaps& caps,
                   ThreadPool& pool) {
  const int64_t m = tile.bm + 5, n = tile.bn + 12, k = int64_t(tile.bk) * 4;
  GraphBuilder b("fp16 check");
  TensorDesc rows;
  rows.dtype = DType::kF16;
  rows.shape = Shape{{1, 1, m, k}};
  const ConstantPtr x = random_constant(m, k, 1, 1.f), w = random_constant(n, k, 2, 1.f);
  const ValueId in = b.input("x", rows);
  b.output(b.add(OpKind::kLinear, "product", {in, b.constant("w", w)}, {{"ln", 1}}));
  VIREO_ASSIGN(Graph graph, b.finish());

  PlanOptions options;
  options.precision = Precision::kFp16;
  options.fuse = false;
  options.tuning = tuning_for(caps);
  options.tuning->linear_tiles.clear();
  options.tuning->half_tiles = {tile};
  VIREO_ASSIGN(const Planned planned, make_plan(std::move(graph), caps, options));
  if (planned.plan.has_cpu_steps()) return true;  // no plan can contain this tile
  VIREO_ASSIGN(const auto run, vk::Executable::create(gpu, planned.plan, planned.graph, pool, {}));

  std::vector<float> x_values(size_t(m * k)), w_values(size_t(n * k));
  x->read(0, m, x_values.data());
  w->read(0, n, w_values.data());
  auto* staged = reinterpret_cast<uint16_t*>(run->input(0));
  for (size_t i = 0; i < x_values.size(); ++i) staged[i] = float_to_half(x_values[i]);
  VIREO_TRY(run->submit(0));
  VIREO_TRY(run->wait(0));

  std::vector<double> x_exact, w_exact, expected(size_t(m * n));
  for (float f : x_values) x_exact.push_back(half_round(f));
  for (float f : w_values) w_exact.push_back(half_round(f));
  const OpCall call = op_call(planned.plan, planned.plan.steps[0]);
  op_def(OpKind::kLinear).reference({&call, {&x_exact, &w_exact, nullptr, nullptr, nullptr}, &expected});

  double largest = 0, worst = 0;
  const int64_t stride = planned.plan.values[size_t(planned.plan.outputs[0])].desc.row_stride();
  for (int64_t r = 0; r < m; ++r)
    for (int64_t c = 0; c < n; ++c) {
      const double want = expected[size_t(r * n + c)], error = std::fabs(double(run->output(0)[r * stride + c]) - want);
      if (std::isnan(error)) return false;
      largest = std::max(largest, std::fabs(want));
      worst = std::max(worst, error);
    }
  return worst <= linear::half_error(tile.bk) * largest;
}

}  // namespace

bool packed_halves_hold(const std::shared_ptr<vk::Gpu>& gpu, const DeviceCaps& caps, ThreadPool& pool) {
  for (const LinearTile& tile : tuning_for(caps).half_tiles) {
    const Result<bool> ok = holds(tile, gpu, caps, pool);
    if (!ok || !*ok) return false;
  }
  return true;
}

bool Device::Impl::halves_hold(const std::shared_ptr<vk::Gpu>& opened, ThreadPool& pool) const {
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (halves) return *halves;
  }
  const bool hold = packed_halves_hold(opened, caps, pool);  // two sessions may both ask: the answer is the same
  if (!hold && opened->lost()) return false;                 // which says nothing of its products
  const std::lock_guard<std::mutex> lock(mutex);
  halves = hold;
  return hold;
}

}  // namespace vireo

#endif  // VIREO_VULKAN
