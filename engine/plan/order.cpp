// order: finds hazards on byte ranges after placement, so reuse of arena bytes is covered, and puts one global memory
// barrier before a step that has any. A CPU plan runs step after step and needs none; a CPU step inside a Vulkan plan is
// a full synchronisation of its own.
#include "plan/plan.h"

namespace vireo {
namespace {

struct Touch {
  BufferRef where;
  bool writes;
  std::string name;
};

bool overlap(const BufferRef& a, const BufferRef& b) {
  return a.region == b.region && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

std::string what(const Plan& plan, const Binding::Source& s) {
  switch (s.what) {
    case Operand::What::kInput:
    case Operand::What::kOutput: return plan.values[size_t(s.index)].name;
    case Operand::What::kConst:
    case Operand::What::kScales: return plan.consts[size_t(s.index)].name;
    default: return "nothing";
  }
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
        if (b.reads) mine.push_back({b.where, false, what(plan, b.source)});
        if (b.writes) mine.push_back({b.where, true, what(plan, b.source)});
      }
    std::string reason;
    for (const Touch& t : mine) {
      for (const Touch& p : pending) {
        if (!(t.writes || p.writes) || !overlap(t.where, p.where)) continue;
        reason = std::string(!t.writes ? "RAW " : p.writes ? "WAW " : "WAR ") + (t.writes && !p.writes ? p.name : t.name);
        if (!t.writes) break;
      }
      if (reason.compare(0, 3, "RAW") == 0) break;
    }
    if (!reason.empty()) {
      plan.barriers.push_back({int32_t(i), reason});
      pending.clear();
    }
    for (Touch& t : mine) pending.push_back(std::move(t));
  }
}

}  // namespace vireo
