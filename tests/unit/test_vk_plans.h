// Plans made by hand over shipped shaders, small enough to check against arithmetic written out in the tests.
#pragma once

#include <cstring>
#include <utility>
#include <vector>

#include "plan/plan.h"

namespace vireo::vk {

struct TinyPlan {
  Graph graph;
  Plan plan;
  std::vector<float> bias;
};

constexpr int64_t kRows = 5, kCols = 6, kStride = 8;
constexpr uint64_t kRowBytes = uint64_t(kRows * kStride * 4);  // of every activation here

inline TensorDesc rows_desc(int64_t rows, int64_t cols) { return {DType::kF32, {{1, 1, rows, cols}}, Layout::kRows}; }

inline int32_t add_value(Plan& p, const char* name, TensorDesc desc, Region region, uint64_t offset = 0) {
  PlanValue v;
  v.name = name;
  v.desc = desc;
  v.where = {region, offset, desc.bytes()};
  p.values.push_back(std::move(v));
  return int32_t(p.values.size()) - 1;
}

inline Binding bound(const Plan& p, int32_t value, bool writes = false, BindKind kind = BindKind::kStorage) {
  Binding b;
  b.where = p.values[size_t(value)].where;
  b.kind = kind;
  b.reads = !writes;
  b.writes = writes;
  return b;
}

/// elementwise: out = act(x + bias) + y, each part optional.
inline Step elementwise_step(const Plan& p, const char* name, int32_t x, const Binding* bias, uint32_t act, int32_t y,
                             int32_t out) {
  Step s;
  s.name = name;
  s.inputs = {x};
  if (y >= 0) s.inputs.push_back(y);
  s.output = out;
  PlanDispatch d;
  d.shader = "elementwise";
  d.spec = {32, 0, 0, 0, 0, act, bias ? 1u : 0u, 0, y >= 0 ? 1u : 0u, 0, 0};
  d.push = {uint32_t(kRows),       uint32_t(kStride / 4), uint32_t(kRows),
            uint32_t(kStride / 4), uint32_t(kStride / 4), uint32_t(kStride / 4)};
  d.groups = {1, 1, 1};
  d.bindings = {bound(p, x), bias ? *bias : Binding{}, Binding{}, y >= 0 ? bound(p, y) : Binding{},
                bound(p, out, true)};
  s.dispatches.push_back(std::move(d));
  return s;
}

/// out = relu(x + bias) + x in two steps; with `cpu`, a host step doubles the middle value in between.
inline TinyPlan tiny_plan(const DeviceCaps& caps, bool cpu = false) {
  TinyPlan t;
  for (int64_t i = 0; i < kCols; ++i) t.bias.push_back(0.25f * float(i) - 0.5f);
  Value w;
  w.name = "bias";
  w.desc = rows_desc(1, kCols);
  w.constant = make_constant(1, kCols, t.bias);
  t.graph.values.push_back(w);

  Plan& p = t.plan;
  p.model = "tiny";
  p.caps = caps;
  p.values.reserve(4);
  const int32_t x = add_value(p, "x", rows_desc(kRows, kCols), Region::kInput);
  const int32_t a = add_value(p, "block.a", rows_desc(kRows, kCols), Region::kArena, 256);
  const int32_t b = add_value(p, "block.b", rows_desc(kRows, kCols), Region::kArena, 768);
  const int32_t out = add_value(p, "block.out", rows_desc(kRows, kCols), Region::kOutput);
  p.inputs = {x};
  p.outputs = {out};
  p.arena_bytes = 1024;
  p.input_bytes = p.output_bytes = kRowBytes;
  p.weights_bytes = 512;
  PackedConst pack;
  pack.pack = Pack::kVector;
  pack.bytes = 32;
  p.consts.push_back({0, "bias", pack, 256});
  Binding bias;
  bias.where = {Region::kWeights, 256, 32};
  p.steps.push_back(elementwise_step(p, "block.a", x, &bias, 4, -1, a));
  if (cpu) {
    Step s;
    s.name = "block.b";
    s.device = DeviceKind::kCpu;
    s.reason = "test";
    s.inputs = {a};
    s.consts = {0};
    s.output = b;
    p.steps.push_back(std::move(s));
  }
  p.steps.push_back(elementwise_step(p, "block.out", cpu ? b : a, nullptr, 0, x, out));
  p.barriers.push_back({int32_t(p.steps.size()) - 1, "RAW block.a"});
  return t;
}

inline std::vector<float> tiny_input(float seed) {
  std::vector<float> x(size_t(kRows * kStride), 0.f);
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t c = 0; c < kCols; ++c) x[size_t(r * kStride + c)] = float((r * 7 + c * 3) % 11) * 0.5f - 2.f + seed;
  return x;
}

inline std::vector<float> tiny_expected(const TinyPlan& t, const std::vector<float>& x, float factor = 1.f) {
  std::vector<float> y(x.size(), 0.f);
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t c = 0; c < kCols; ++c) {
      const float v = x[size_t(r * kStride + c)];
      y[size_t(r * kStride + c)] = factor * std::max(v + t.bias[size_t(c)], 0.f) + v;
    }
  return y;
}

/// Y[3, 5] = A[3, 6] W[5, 6]^T through texel buffers; W in f32, f16 or i8.
inline TinyPlan texel_plan(const DeviceCaps& caps, DType type, const std::vector<float>& weight) {
  TinyPlan t;
  Value w;
  w.name = "weight";
  w.desc = rows_desc(5, 6);
  w.constant = make_constant(5, 6, weight);
  t.graph.values.push_back(w);
  Plan& p = t.plan;
  p.model = "texel";
  p.caps = caps;
  const int32_t a = add_value(p, "a", rows_desc(3, 6), Region::kInput);
  const int32_t out = add_value(p, "y", rows_desc(3, 5), Region::kOutput);
  p.inputs = {a};
  p.outputs = {out};
  p.input_bytes = p.output_bytes = 3 * kStride * 4;
  PackedConst pack;
  pack.pack = Pack::kGpuMatrix;
  pack.dtype = type;
  if (type == DType::kI8) pack.grid.bits = 8;
  const uint64_t matrix = 8 * 2 * 4 * dtype_size(type);  // k and n padded to 8
  pack.scales_offset = type == DType::kI8 ? 256 : 0;
  pack.bytes = type == DType::kI8 ? 256 + 32 : matrix;
  p.consts.push_back({0, "weight", pack, 0});
  p.weights_bytes = 512;
  Step s;
  s.name = "fc";
  s.inputs = {a, -1};
  s.consts = {0};
  s.output = out;
  PlanDispatch d;
  d.shader = "linear.texel";
  d.spec = {2, 0, type == DType::kF32 ? 0u : type == DType::kF16 ? 1u : 2u, 0, 0, 0, 0, 0, 0, 0, 2, 1};
  d.push = {3, 5, 6, 2, 2, 2, 0, 0, 0};
  d.groups = {2, 1, 1};
  Binding matrix_binding, scales;
  matrix_binding.where = {Region::kWeights, 0, matrix};
  matrix_binding.kind = type == DType::kF32   ? BindKind::kTexelF32
                        : type == DType::kF16 ? BindKind::kTexelF16
                                              : BindKind::kTexelSnorm8;
  if (type == DType::kI8) scales.where = {Region::kWeights, 256, 32};
  d.bindings = {bound(p, a, false, BindKind::kTexelF32),
                matrix_binding,
                scales,
                Binding{},
                Binding{},
                Binding{},
                Binding{},
                bound(p, out, true)};
  s.dispatches.push_back(std::move(d));
  p.steps.push_back(std::move(s));
  return t;
}

}  // namespace vireo::vk
