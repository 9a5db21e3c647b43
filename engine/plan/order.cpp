// order: finds hazards on byte ranges after placement, so reuse of arena bytes is covered, and puts one global memory
// barrier before a step that has any. A CPU plan runs step after step and needs none; a CPU step inside a Vulkan plan
// is a full synchronisation of its own.
#include "plan/plan.h"

namespace vireo {
namespace {

struct Touch {
  const PlanValue* value;
  bool writes;
};

bool ranges_overlap(const BufferRef& a, const BufferRef& b) {
  return a.region == b.region && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

/// True for two parts of one concatenation in columns of their own: they share no byte, though their ranges overlap.
bool side_by_side(const PlanValue& a, const PlanValue& b) {
  const auto end = [](const PlanValue& v) {
    return v.view_offset + uint64_t(round_up(v.desc.shape.c(), 4)) * dtype_size(v.desc.dtype);
  };
  const bool parts = a.view_of >= 0 && a.view_of == b.view_of && a.desc.gap != 0 && b.desc.gap != 0;
  return parts && (end(a) <= b.view_offset || end(b) <= a.view_offset);
}

/// Why `mine` must wait for `pending`: the bytes that both touch, reads first; empty if it need not. Parts of a
/// concatenation, written among each other's columns, do not wait for one another; but one that is read beside another
/// that is written does, which costs little there: synchronisation validation judges reads by ranges, in programs that
/// embed Vireo too.
std::string hazard(const std::vector<Touch>& mine, const std::vector<Touch>& pending) {
  std::string reason, beside;
  for (const Touch& t : mine)
    for (const Touch& p : pending) {
      if (!(t.writes || p.writes) || !ranges_overlap(t.value->where, p.value->where)) continue;
      if (side_by_side(*t.value, *p.value)) {
        if (!(t.writes && p.writes)) beside = fmt::format("range of {} and {}", t.value->name, p.value->name);
        continue;
      }
      if (!t.writes) return fmt::format("RAW {}", t.value->name);
      reason = p.writes ? fmt::format("WAW {}", t.value->name) : fmt::format("WAR {}", p.value->name);
    }
  return reason.empty() ? beside : reason;
}

}  // namespace

void order(Plan& plan) {
  plan.barriers.clear();
  if (plan.device == DeviceKind::kCpu) return;
  std::vector<Touch> pending;  // since the last barrier
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const Step& step = plan.steps[i];
    if (step.device == DeviceKind::kCpu) {
      pending.clear();
      continue;
    }
    std::vector<Touch> mine;
    for (const PlanDispatch& d : step.dispatches)
      for (const Binding& b : d.bindings) {
        if (b.where.bytes == 0 || b.where.region == Region::kWeights) continue;  // weights are never written
        const PlanValue& v = plan.values[size_t(b.source.index)];
        if (b.reads) mine.push_back({&v, false});
        if (b.writes) mine.push_back({&v, true});
      }
    const std::string reason = hazard(mine, pending);
    if (!reason.empty()) {
      plan.barriers.push_back({int32_t(i), reason});
      pending.clear();
    }
    pending.insert(pending.end(), mine.begin(), mine.end());
  }
}

}  // namespace vireo
