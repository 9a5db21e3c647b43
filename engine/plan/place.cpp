// place: gives every value, scratch and constant its bytes. Arena bytes are reused by lifetime: largest first, into the
// smallest gap that fits (the order of XNNPACK's memory planner).
#include <algorithm>
#include <numeric>

#include "plan/plan.h"

namespace vireo {
namespace {

struct Block {
  uint64_t bytes = 0;
  int32_t first = 0, last = 0;  // steps, inclusive
  uint64_t offset = 0;
  BufferRef* target = nullptr;
};

uint64_t align_up(uint64_t x, uint64_t a) { return (x + a - 1) / a * a; }

uint64_t pack_blocks(std::vector<Block>& blocks, uint64_t alignment) {
  std::vector<size_t> by_size(blocks.size());
  std::iota(by_size.begin(), by_size.end(), size_t(0));
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](size_t a, size_t b) { return blocks[a].bytes > blocks[b].bytes; });
  std::vector<size_t> placed;  // kept sorted by offset
  uint64_t total = 0;
  for (size_t i : by_size) {
    Block& b = blocks[i];
    uint64_t best = ~0ull, best_gap = ~0ull, end = 0;
    for (size_t j : placed) {
      const Block& o = blocks[j];
      if (o.last < b.first || b.last < o.first) continue;  // never alive together
      if (o.offset >= end + b.bytes && o.offset - end < best_gap) best = end, best_gap = o.offset - end;
      end = std::max(end, align_up(o.offset + o.bytes, alignment));
    }
    b.offset = best != ~0ull ? best : end;
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](size_t a, size_t c) { return blocks[a].offset < blocks[c].offset; }),
                  i);
    total = std::max(total, b.offset + b.bytes);
  }
  for (const Block& b : blocks) b.target->offset = b.offset;
  return align_up(total, alignment);
}

void resolve(const Plan& plan, Binding& b) {
  using What = Operand::What;
  switch (b.source.what) {
    case What::kDummy: b.where = {}; break;
    case What::kInput:
    case What::kOutput: b.where = plan.values[size_t(b.source.index)].where; break;
    case What::kConst:
    case What::kScales: {
      const PlanConst& c = plan.consts[size_t(b.source.index)];
      const bool scales = b.source.what == What::kScales;
      const uint64_t matrix = c.pack.scales_offset ? c.pack.scales_offset : c.pack.bytes;
      b.where = scales
                    ? BufferRef{Region::kWeights, c.offset + c.pack.scales_offset, c.pack.bytes - c.pack.scales_offset}
                    : BufferRef{Region::kWeights, c.offset, matrix};
      break;
    }
  }
}

}  // namespace

void place(Plan& plan, bool keep_all) {
  // 64: a cache line for the CPU kernels, where the device asks for less.
  const uint64_t alignment = std::max<uint64_t>({64, plan.caps.storage_alignment, plan.caps.texel_alignment});
  std::vector<Block> arena;
  plan.input_bytes = plan.output_bytes = plan.weights_bytes = 0;
  for (PlanValue& v : plan.values) {
    v.where.bytes = v.bytes();
    if (v.view_of >= 0) continue;
    switch (v.where.region) {
      case Region::kInput:
        v.where.offset = plan.input_bytes;
        plan.input_bytes = align_up(plan.input_bytes + v.where.bytes, alignment);
        break;
      case Region::kOutput:
        v.where.offset = plan.output_bytes;
        plan.output_bytes = align_up(plan.output_bytes + v.where.bytes, alignment);
        break;
      default: {
        Block b{v.where.bytes, v.first_step, v.last_step, 0, &v.where};
        if (keep_all) b.first = 0, b.last = int32_t(plan.steps.size());
        arena.push_back(b);
      }
    }
  }
  for (size_t s = 0; s < plan.steps.size(); ++s)
    if (plan.steps[s].scratch.bytes) {
      plan.steps[s].scratch.region = Region::kArena;
      arena.push_back({plan.steps[s].scratch.bytes, int32_t(s), int32_t(s), 0, &plan.steps[s].scratch});
    }
  plan.arena_bytes = pack_blocks(arena, alignment);
  for (PlanValue& v : plan.values)
    if (v.view_of >= 0) {
      const PlanValue& root = plan.values[size_t(v.view_of)];
      v.where.region = root.where.region;
      v.where.offset = root.where.offset + v.view_offset;
    }
  for (PlanConst& c : plan.consts) {
    c.offset = plan.weights_bytes;
    plan.weights_bytes = align_up(plan.weights_bytes + c.pack.bytes, alignment);
  }
  for (Step& s : plan.steps)
    for (PlanDispatch& d : s.dispatches)
      for (Binding& b : d.bindings) resolve(plan, b);
}

}  // namespace vireo
