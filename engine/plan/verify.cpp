// verify: checks a finished plan from its dispatches and bytes alone. It shares no code with lower, place or order: it
// replays the plan over a map of "who wrote these bytes last" and compares every pair of dispatches for races.
#include <algorithm>
#include <map>

#include "plan/plan.h"
#include "shader/modules.h"
#include "shader/reflect.h"

namespace vireo {
namespace {

uint64_t region_size(const Plan& p, Region r) {
  switch (r) {
    case Region::kArena: return p.arena_bytes;
    case Region::kWeights: return p.weights_bytes;
    case Region::kInput: return p.input_bytes;
    case Region::kOutput: return p.output_bytes;
  }
  return 0;
}

/// Owner of each byte range of one region, as disjoint intervals [start, end) -> value index.
class Ownership {
 public:
  void write(uint64_t lo, uint64_t hi, int32_t owner) {
    split(lo);
    split(hi);
    map_.erase(map_.lower_bound(lo), map_.lower_bound(hi));
    map_[lo] = {hi, owner};
  }
  /// True if every byte of [lo, hi) was last written by `owner`.
  bool owns(uint64_t lo, uint64_t hi, int32_t owner) const {
    auto it = map_.upper_bound(lo);
    if (it == map_.begin()) return false;
    --it;
    for (uint64_t at = lo; at < hi; ++it) {
      if (it == map_.end() || it->first > at || it->second.end <= at || it->second.owner != owner) return false;
      at = it->second.end;
    }
    return true;
  }

 private:
  struct Span {
    uint64_t end;
    int32_t owner;
  };
  void split(uint64_t at) {
    auto it = map_.upper_bound(at);
    if (it == map_.begin()) return;
    --it;
    if (it->first < at && at < it->second.end) {
      map_[at] = it->second;
      it->second.end = at;
    }
  }
  std::map<uint64_t, Span> map_;
};

Result<void> check_range(const Plan& plan, const std::string& who, const BufferRef& r) {
  const uint64_t size = region_size(plan, r.region);
  if (r.offset > size || r.bytes > size - r.offset)
    return fail(ErrorCode::kInternal, "plan check: {} covers bytes {}..{} of {}, which has {}", who, r.offset,
                r.offset + r.bytes, to_string(r.region), size);
  return {};
}

Result<void> check_limits(const Plan& plan, const Step& step, const PlanDispatch& d) {
  const DeviceCaps& c = plan.caps;
  const shader::Module* module = shader::find(d.shader);
  if (!module)
    return fail(ErrorCode::kInternal, "plan check: step '{}' names unknown shader '{}'", step.name, d.shader);
  VIREO_ASSIGN(const shader::Reflection r, shader::reflect(*module));
  if (d.push.size() * 4 > c.max_push_constant_bytes || r.push_constant_bytes > d.push.size() * 4)
    return fail(ErrorCode::kInternal,
                "plan check: step '{}' gives {} bytes of push constants; shader '{}' reads {}, the device takes {}",
                step.name, d.push.size() * 4, d.shader, r.push_constant_bytes, c.max_push_constant_bytes);
  for (int i = 0; i < 3; ++i)
    if (d.groups[size_t(i)] == 0 || d.groups[size_t(i)] > c.max_workgroup_count[size_t(i)])
      return fail(ErrorCode::kUnsupported,
                  "plan check: step '{}' dispatches {} workgroups in dimension {}; the device takes 1 to {}", step.name,
                  d.groups[size_t(i)], i, c.max_workgroup_count[size_t(i)]);
  const auto local = shader::local_size(r, d.spec);
  uint64_t invocations = 1;
  for (int i = 0; i < 3; ++i) {
    invocations *= local[size_t(i)];
    if (local[size_t(i)] == 0 || local[size_t(i)] > c.max_workgroup_size[size_t(i)])
      return fail(ErrorCode::kUnsupported,
                  "plan check: step '{}' has a workgroup size of {} in dimension {}; the device takes 1 to {}",
                  step.name, local[size_t(i)], i, c.max_workgroup_size[size_t(i)]);
  }
  if (invocations > c.max_workgroup_invocations)
    return fail(ErrorCode::kUnsupported, "plan check: step '{}' has {} invocations per workgroup; the device takes {}",
                step.name, invocations, c.max_workgroup_invocations);
  VIREO_ASSIGN(const uint64_t shared, shader::shared_bytes(*module, d.spec));
  if (shared > c.max_shared_bytes)
    return fail(ErrorCode::kUnsupported, "plan check: step '{}' needs {} bytes of shared memory; the device has {}",
                step.name, shared, c.max_shared_bytes);
  uint32_t storage = 0, texel = 0;
  for (const Binding& b : d.bindings) {
    const bool is_storage = b.kind == BindKind::kStorage;
    (is_storage ? storage : texel) += 1;
    if (b.where.bytes == 0) continue;
    if (b.where.offset % (is_storage ? c.storage_alignment : c.texel_alignment))
      return fail(ErrorCode::kInternal,
                  "plan check: step '{}' binds offset {} of {}, not a multiple of the device's {}", step.name,
                  b.where.offset, to_string(b.where.region), is_storage ? c.storage_alignment : c.texel_alignment);
    const uint64_t texel_bytes = b.kind == BindKind::kTexelF32 ? 16 : b.kind == BindKind::kTexelF16 ? 8 : 4;
    if (is_storage ? b.where.bytes > c.max_storage_range : b.where.bytes / texel_bytes > c.max_texel_elements)
      return fail(ErrorCode::kUnsupported, "plan check: step '{}' binds {} bytes at once, more than the device takes",
                  step.name, b.where.bytes);
    if (!is_storage && b.writes)
      return fail(ErrorCode::kInternal, "plan check: step '{}' writes through a uniform texel buffer", step.name);
  }
  if (storage > c.max_stage_storage_buffers || texel > c.max_stage_sampled)
    return fail(ErrorCode::kUnsupported,
                "plan check: step '{}' binds {} storage and {} texel buffers; the device takes {} and {}", step.name,
                storage, texel, c.max_stage_storage_buffers, c.max_stage_sampled);
  return {};
}

bool same_bytes(const BufferRef& a, const BufferRef& b) {
  return a.region == b.region && a.offset == b.offset && a.bytes == b.bytes;
}

int32_t root_of(const Plan& plan, int32_t v) {
  while (plan.values[size_t(v)].view_of >= 0) v = plan.values[size_t(v)].view_of;
  return v;
}

bool ranges_meet(const BufferRef& a, const BufferRef& b) {
  return a.region == b.region && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

/// Who wrote which bytes last, values and scratch. A value put together from parts, which steps write among each
/// other's columns, is owned as one range and column by column within it.
class Written {
 public:
  explicit Written(const Plan& plan)
      : plan_(plan), parts_(plan.values.size()), columns_(plan.values.size()), is_part_(plan.values.size()) {
    for (const Step& s : plan.steps) {
      if (plan.values[size_t(s.output)].view_of < 0) continue;
      parts_[size_t(root_of(plan, s.output))].push_back(s.output);
      is_part_[size_t(s.output)] = true;
    }
  }

  /// A part has its whole's rows, and its columns lie within one of them.
  Result<void> check_parts() const {
    for (size_t root = 0; root < parts_.size(); ++root)
      for (int32_t v : parts_[root]) {
        const PlanValue &whole = plan_.values[root], &part = plan_.values[size_t(v)];
        const uint64_t row = uint64_t(whole.desc.row_stride()) * dtype_size(whole.desc.dtype);
        const bool alike = part.desc.dtype == whole.desc.dtype && part.desc.shape.rows() == whole.desc.shape.rows() &&
                           part.desc.row_stride() == whole.desc.row_stride() && part.where.region == whole.where.region;
        if (!alike || part.where.offset < whole.where.offset || part.where.offset - whole.where.offset >= row ||
            (part.where.offset - whole.where.offset) % dtype_size(whole.desc.dtype) ||
            column_of(v) + width_of(v) > whole.desc.row_stride())
          return fail(ErrorCode::kInternal,
                      "plan check: '{}' ({}, {} from row to row) does not lie within the rows of '{}' ({}, {})",
                      part.name, to_string(part.desc), part.desc.row_stride(), whole.name, to_string(whole.desc),
                      whole.desc.row_stride());
      }
    return {};
  }

  void write(int32_t v) {
    const int32_t root = root_of(plan_, v);
    if (!is_part_[size_t(v)]) return take(plan_.values[size_t(v)].where, v);
    std::vector<int32_t>& columns = columns_[size_t(root)];
    const BufferRef& whole = plan_.values[size_t(root)].where;
    if (!owns(whole, root)) {  // the first part
      take(whole, root);
      columns.assign(size_t(plan_.values[size_t(root)].desc.row_stride()), -1);
    }
    std::fill_n(columns.begin() + column_of(v), width_of(v), v);
  }

  /// True if every byte of v is what its step, or those of its parts, wrote.
  bool intact(int32_t v) const {
    const int32_t root = root_of(plan_, v);
    if (parts_[size_t(root)].empty()) return owns(plan_.values[size_t(v)].where, root);
    if (!owns(plan_.values[size_t(root)].where, root)) return false;
    const std::vector<int32_t>& columns = columns_[size_t(root)];
    int64_t held = 0;
    for (int32_t part : is_part_[size_t(v)] ? std::vector<int32_t>{v} : parts_[size_t(root)]) {
      const auto first = columns.begin() + column_of(part), last = first + width_of(part);
      if (std::count(first, last, part) != last - first) return false;
      held += last - first;
    }
    return is_part_[size_t(v)] || held == int64_t(columns.size());
  }

  /// True if two values share a byte: parts of one whole interleave without doing so.
  bool share(int32_t a, int32_t b) const {
    if (is_part_[size_t(a)] && is_part_[size_t(b)] && root_of(plan_, a) == root_of(plan_, b))
      return column_of(a) < column_of(b) + width_of(b) && column_of(b) < column_of(a) + width_of(a);
    return ranges_meet(plan_.values[size_t(a)].where, plan_.values[size_t(b)].where);
  }

  void take(const BufferRef& r, int32_t owner) { bytes_[int(r.region)].write(r.offset, r.offset + r.bytes, owner); }
  bool owns(const BufferRef& r, int32_t owner) const {
    return bytes_[int(r.region)].owns(r.offset, r.offset + r.bytes, owner);
  }

 private:
  int64_t column_of(int32_t part) const {
    const PlanValue& p = plan_.values[size_t(part)];
    return int64_t((p.where.offset - plan_.values[size_t(root_of(plan_, part))].where.offset) /
                   dtype_size(p.desc.dtype));
  }
  int64_t width_of(int32_t part) const { return round_up(plan_.values[size_t(part)].desc.shape.c(), 4); }

  const Plan& plan_;
  Ownership bytes_[4];
  std::vector<std::vector<int32_t>> parts_;    // by value: those written into it
  std::vector<std::vector<int32_t>> columns_;  // by value that has parts: which part wrote each of its columns, or -1
  std::vector<bool> is_part_;
};

/// Every operand a step reads must still be what its producer wrote.
Result<void> check_dataflow(const Plan& plan) {
  Written written(plan);
  VIREO_TRY(written.check_parts());
  for (int32_t i : plan.inputs) written.write(i);
  for (const Step& s : plan.steps) {
    for (int32_t v : s.inputs)
      if (v >= 0 && !written.intact(v))
        return fail(ErrorCode::kInternal,
                    "plan check: step '{}' reads '{}' after its bytes were given to another value", s.name,
                    plan.values[size_t(v)].name);
    const PlanValue& out = plan.values[size_t(s.output)];
    if (s.scratch.bytes) {
      VIREO_TRY(check_range(plan, "scratch of " + s.name, s.scratch));
      for (int32_t v : s.inputs)
        if (v >= 0 && ranges_meet(plan.values[size_t(v)].where, s.scratch))
          return fail(ErrorCode::kInternal, "plan check: scratch of '{}' overlaps its operand '{}'", s.name,
                      plan.values[size_t(v)].name);
      written.take(s.scratch, -2);
    }
    for (int32_t v : s.inputs)  // no operator here works in place: shaders read operands while others already write
      if (v >= 0 && written.share(v, s.output))
        return fail(ErrorCode::kInternal, "plan check: output of '{}' overlaps its operand '{}'", s.name,
                    plan.values[size_t(v)].name);
    written.write(s.output);
    if (s.scratch.bytes && !written.owns(s.scratch, -2))
      return fail(ErrorCode::kInternal, "plan check: scratch of '{}' overlaps its output", s.name);
    for (const PlanDispatch& d : s.dispatches)
      for (const Binding& b : d.bindings) {
        if (b.where.bytes == 0) continue;
        if (b.writes &&
            (!same_bytes(b.where, out.where) || b.source.what != Operand::What::kOutput || b.source.index != s.output))
          return fail(ErrorCode::kInternal, "plan check: step '{}' writes bytes that are not its output's", s.name);
        if (b.writes) continue;
        bool known = false;
        for (int32_t v : s.inputs)
          known = known || (v >= 0 && same_bytes(b.where, plan.values[size_t(v)].where) &&
                            b.source.what == Operand::What::kInput && b.source.index == v);
        for (int32_t i : s.consts) {
          const PlanConst& c = plan.consts[size_t(i)];
          const uint64_t matrix = c.pack.scales_offset ? c.pack.scales_offset : c.pack.bytes;
          known =
              known ||
              (b.source.what == Operand::What::kConst && same_bytes(b.where, {Region::kWeights, c.offset, matrix})) ||
              (b.source.what == Operand::What::kScales &&
               same_bytes(b.where, {Region::kWeights, c.offset + matrix, c.pack.bytes - matrix}));
        }
        if (!known)
          return fail(ErrorCode::kInternal, "plan check: step '{}' reads bytes that are none of its operands", s.name);
      }
  }
  for (int32_t v : plan.outputs)
    if (!written.intact(v))
      return fail(ErrorCode::kInternal, "plan check: output '{}' is overwritten or never written",
                  plan.values[size_t(v)].name);
  return {};
}

/// Shaders take rows with gaps only where their operator says so: others would run over the columns between.
Result<void> check_strides(const Plan& plan) {
  for (const Step& s : plan.steps) {
    if (s.device == DeviceKind::kCpu) continue;
    const OpDef& def = op_def(s.op);
    const auto broken = [&](const char* does, int32_t v) {
      const PlanValue& value = plan.values[size_t(v)];
      return fail(
          ErrorCode::kInternal,
          "plan check: step '{}' {} '{}' ({}) with {} from row to row; the shaders of {} do so without gaps only",
          s.name, does, value.name, to_string(value.desc), value.desc.row_stride(), def.name);
    };
    for (size_t i = 0; i < s.inputs.size(); ++i)
      if (s.inputs[i] >= 0 && plan.values[size_t(s.inputs[i])].desc.gap != 0 && !(def.strided.in >> i & 1))
        return broken("reads", s.inputs[i]);
    if (plan.values[size_t(s.output)].desc.gap != 0 && !def.strided.out) return broken("writes", s.output);
  }
  return {};
}

/// The CPU's kernels compute on fp32 rows; what makes others of them are steps of their own.
Result<void> check_types(const Plan& plan) {
  for (const Step& s : plan.steps) {
    if (s.device != DeviceKind::kCpu || op_def(s.op).conversion) continue;
    std::vector<int32_t> values = s.inputs;
    values.push_back(s.output);
    for (const int32_t v : values)
      if (v >= 0 && plan.values[size_t(v)].desc.dtype != DType::kF32)
        return fail(ErrorCode::kInternal,
                    "plan check: step '{}' on the CPU has to do with '{}' ({}), expected fp32 rows", s.name,
                    plan.values[size_t(v)].name, to_string(plan.values[size_t(v)].desc));
  }
  return {};
}

/// No two dispatches without a barrier between them may touch the same bytes if one of them writes. The data flow was
/// checked: a binding's source is what it says.
Result<void> check_races(const Plan& plan) {
  const Written written(plan);
  const auto is_value = [](const Binding& b) {
    return b.source.what == Operand::What::kInput || b.source.what == Operand::What::kOutput;
  };
  std::vector<int> epoch(plan.steps.size(), 0);
  for (size_t i = 0, barrier = 0; i < plan.steps.size(); ++i) {
    epoch[i] = i ? epoch[i - 1] : 0;
    for (; barrier < plan.barriers.size() && plan.barriers[barrier].before_step == int32_t(i); ++barrier) ++epoch[i];
    if (plan.steps[i].device == DeviceKind::kCpu || (i && plan.steps[i - 1].device == DeviceKind::kCpu)) ++epoch[i];
  }
  for (size_t i = 0; i < plan.steps.size(); ++i)
    for (size_t j = i + 1; j < plan.steps.size() && epoch[j] == epoch[i]; ++j)
      for (const PlanDispatch& a : plan.steps[i].dispatches)
        for (const PlanDispatch& b : plan.steps[j].dispatches)
          for (const Binding& x : a.bindings)
            for (const Binding& y : b.bindings) {
              if (!(x.writes || y.writes) || x.where.bytes == 0 || y.where.bytes == 0) continue;
              if (ranges_meet(x.where, y.where) &&
                  !(is_value(x) && is_value(y) && !written.share(x.source.index, y.source.index)))
                return fail(ErrorCode::kInternal,
                            "plan check: steps '{}' and '{}' race on {} bytes without a barrier between them",
                            plan.steps[i].name, plan.steps[j].name, to_string(x.where.region));
            }
  return {};
}

}  // namespace

Result<void> verify(const Plan& plan) {
  for (const PlanValue& v : plan.values) {
    VIREO_TRY(check_range(plan, "value '" + v.name + "'", v.where));
    if (v.where.bytes != v.bytes())
      return fail(ErrorCode::kInternal, "plan check: value '{}' has {} bytes, its description needs {}", v.name,
                  v.where.bytes, v.bytes());
  }
  for (const PlanConst& c : plan.consts)
    VIREO_TRY(check_range(plan, "constant '" + c.name + "'", {Region::kWeights, c.offset, c.pack.bytes}));
  for (size_t i = 0; i < plan.consts.size(); ++i)
    for (size_t j = i + 1; j < plan.consts.size(); ++j) {
      const PlanConst &a = plan.consts[i], &b = plan.consts[j];
      if (a.offset < b.offset + b.pack.bytes && b.offset < a.offset + a.pack.bytes)
        return fail(ErrorCode::kInternal, "plan check: constants '{}' and '{}' overlap", a.name, b.name);
    }
  for (const Step& s : plan.steps)
    for (const PlanDispatch& d : s.dispatches) {
      VIREO_TRY(check_limits(plan, s, d));
      for (const Binding& b : d.bindings) VIREO_TRY(check_range(plan, "a binding of '" + s.name + "'", b.where));
    }
  for (size_t i = 0; i < plan.barriers.size(); ++i)
    if (plan.barriers[i].before_step < (i ? plan.barriers[i - 1].before_step : 0) ||
        size_t(plan.barriers[i].before_step) >= plan.steps.size())
      return fail(ErrorCode::kInternal,
                  "plan check: barrier {} stands before step {}, out of order or beyond the last of {} steps", i,
                  plan.barriers[i].before_step, plan.steps.size());
  VIREO_TRY(check_dataflow(plan));
  VIREO_TRY(check_strides(plan));
  VIREO_TRY(check_types(plan));
  return plan.device == DeviceKind::kCpu ? Result<void>{} : check_races(plan);
}

}  // namespace vireo
