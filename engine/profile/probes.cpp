#include "profile/probes.h"

#include <algorithm>

namespace vireo::probes {
namespace {

constexpr uint32_t kGroups = 1024;                   // workgroups: several for every core there is
constexpr uint64_t kCopyBytes = uint64_t(32) << 20;  // beyond the caches of boards and of most CPUs

int32_t add_value(Plan& p, const char* name, Region region, uint64_t offset, uint64_t bytes) {
  PlanValue v;
  v.name = name;
  v.desc.shape = Shape{{1, 1, 1, int64_t(bytes / 4)}};
  v.where = {region, offset, bytes};
  p.values.push_back(std::move(v));
  return int32_t(p.values.size()) - 1;
}

Binding bind(const Plan& p, int32_t value, bool writes) {
  Binding b;
  b.where = p.values[size_t(value)].where;
  b.reads = !writes;
  b.writes = writes;
  return b;
}

}  // namespace

ProbePlan probe_plan(Probe probe, const DeviceCaps& caps, uint32_t scale) {
  ProbePlan made;
  Plan& p = made.plan;
  p.model = "probe";
  p.caps = caps;
  const uint32_t lx = std::min<uint32_t>(64, caps.max_workgroup_invocations);
  const uint32_t groups = probe == Probe::kDispatch ? 1 : std::min<uint32_t>(kGroups, caps.max_workgroup_count[0]);
  const uint64_t copy = std::min<uint64_t>(kCopyBytes, caps.max_storage_range / 2 / 256 * 256);
  const uint64_t out_bytes = probe == Probe::kCopy ? copy : uint64_t(groups) * lx * 16;
  const int32_t in = add_value(p, "from", Region::kInput, 0, 256);
  const int32_t source = probe == Probe::kCopy ? add_value(p, "source", Region::kArena, 0, copy) : in;
  const int32_t out = probe == Probe::kCopy ? add_value(p, "to", Region::kArena, copy, copy)
                                            : add_value(p, "to", Region::kArena, 0, out_bytes);
  const int32_t last = add_value(p, "end", Region::kOutput, 0, 256);
  p.inputs = {in};
  p.outputs = {last};
  p.arena_bytes = probe == Probe::kCopy ? 2 * copy : out_bytes;
  p.input_bytes = p.output_bytes = 256;

  PlanDispatch d;
  d.spec = {lx};
  d.groups = {groups, 1, 1};
  const double invocations = double(groups) * lx;
  switch (probe) {
    case Probe::kFma:
    case Probe::kHalfFma:
      d.shader = probe == Probe::kFma ? "probe.fma" : "probe.fma.HALF=1";
      d.push = {scale};
      made.work = invocations * scale * 2 * (probe == Probe::kFma ? 384 : 768);
      break;
    case Probe::kShared:
      d.shader = "probe.shared";
      d.push = {scale};
      made.work = invocations * scale * 8 * 16;
      break;
    case Probe::kCopy:
      d.shader = "probe.copy";
      d.push = {uint32_t(copy / 16)};
      made.work = 2.0 * double(copy) * scale;
      break;
    case Probe::kDispatch:
      d.shader = "probe.fma";
      d.push = {0};
      made.work = scale;
      break;
  }
  if (probe == Probe::kCopy) d.bindings = {bind(p, source, false), bind(p, out, true)};
  else d.bindings = {bind(p, out, true)};
  const uint32_t steps = probe == Probe::kCopy || probe == Probe::kDispatch ? scale : 1;
  for (uint32_t i = 0; i < steps; ++i) {
    Step s;
    s.name = "probe";
    s.inputs = {source};
    s.output = out;
    s.dispatches = {d};
    p.steps.push_back(std::move(s));
    if (i) p.barriers.push_back({int32_t(i), "WAW probe"});
  }
  return made;
}

}  // namespace vireo::probes
