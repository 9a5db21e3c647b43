// lower: every node becomes a step for the device, with packed constants and dispatches; no addresses yet.
#include <algorithm>
#include <map>
#include <tuple>

#include "plan/plan.h"
#include "shader/modules.h"
#include "shader/reflect.h"

namespace vireo {

const char* to_string(Region r) {
  switch (r) {
    case Region::kArena: return "arena";
    case Region::kWeights: return "weights";
    case Region::kInput: return "input";
    case Region::kOutput: return "output";
  }
  return "?";
}

namespace {

/// Constants that several steps pack in the same way are packed once.
struct ConstKey {
  ValueId id;
  PackedConst pack;
  auto fields() const {
    const Grid& g = pack.grid;
    return std::tie(id, pack.pack, pack.dtype, g.bits, g.scope, g.zero_points, g.lowest, g.group, g.wide, pack.permute,
                    pack.pad_channels, pack.centre, pack.panel, pack.step, pack.groups, pack.taps, pack.bf16_rows,
                    pack.column_sums, pack.staged, pack.dots, pack.scale_rows, pack.bytes);
  }
  bool operator<(const ConstKey& o) const { return fields() < o.fields(); }
};

bool listed(const std::vector<std::string>& names, const char* name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Result<shader::Reflection> reflect(const std::string& step, const std::string& name) {
  const shader::Module* module = shader::find(name);
  if (!module) return fail(ErrorCode::kInternal, "step '{}': there is no shader module '{}'", step, name);
  return shader::reflect(*module);
}

/// Reads and writes of each binding, as the shipped SPIR-V declares them.
Result<void> set_access(const std::string& step, const shader::Reflection& reflection, PlanDispatch& d) {
  for (const shader::Binding& b : reflection.bindings) {
    if (b.binding >= d.bindings.size())
      return fail(ErrorCode::kInternal, "step '{}': shader '{}' declares binding {} but the lowering gives {}", step,
                  d.shader, b.binding, d.bindings.size());
    d.bindings[b.binding].reads = b.reads;
    d.bindings[b.binding].writes = b.writes;
  }
  return {};
}

/// The operator that gives rows another type.
OpKind conversion() {
  for (const OpKind k : all_ops())
    if (op_def(k).conversion) return k;
  return OpKind{};  // there is one: ops.def
}

class Lowerer {
 public:
  /// `copied`: by value, the concatenations that copy although their parts seem to have a place; run() may find more.
  Lowerer(const Graph& g, const DeviceCaps& caps, const PlanOptions& o, std::vector<bool>* copied)
      : graph_(g),
        options_(o),
        tuning_(o.tuning ? *o.tuning : tuning_for(caps)),
        policy_(policy_for(o, caps)),
        copied_(*copied) {
    plan_.model = g.name;
    plan_.caps = caps;
    plan_.caps_name = caps.name;
    plan_.device = caps.kind;
    plan_.precision = o.precision;
    plan_.policy = policy_.name;
    if (caps.kind == DeviceKind::kVulkan) plan_.activations = policy_.activations;
    plan_.half_beside_codes = policy_.half_beside_codes && plan_.activations == DType::kF16;
    value_index_.assign(g.values.size(), -1);
    floats_.assign(g.values.size(), -1);
    descs_.resize(g.values.size());
    parts_.resize(g.values.size());
    moments_.resize(g.values.size());
  }

  Result<Plan> run() {
    for (ValueId v : graph_.inputs) {
      const int32_t i = add_value(v, graph_.value(v).desc);
      plan_.values[size_t(i)].where.region = Region::kInput;
      plan_.inputs.push_back(i);
    }
    if (!graph_.inputs.empty()) plan_.batch = graph_.value(graph_.inputs[0]).desc.shape.n();
    find_parts();
    for (const Node& n : graph_.nodes) VIREO_TRY(lower_node(n));
    for (ValueId v : graph_.outputs) {
      VIREO_ASSIGN(const int32_t i, as_planned(v));
      plan_.values[size_t(i)].where.region = Region::kOutput;
      plan_.values[size_t(i)].last_step = int32_t(plan_.steps.size());
      plan_.outputs.push_back(i);
    }
    return std::move(plan_);
  }

  /// True if run() found a concatenation that must copy when its parts already were in place: its plan is of no use.
  bool again() const { return again_; }

 private:
  bool is_output(ValueId v) const {
    return std::find(graph_.outputs.begin(), graph_.outputs.end(), v) != graph_.outputs.end();
  }

  int32_t add_value(ValueId v, TensorDesc desc) {
    PlanValue p;
    p.id = v;
    p.name = graph_.value(v).name;
    p.desc = desc;
    plan_.values.push_back(std::move(p));
    descs_[size_t(v)] = desc;
    return value_index_[size_t(v)] = int32_t(plan_.values.size()) - 1;
  }

  // A CPU computes on fp32 rows. In a plan of 16 bits a value of which its steps and the GPU's have to do is there
  // twice, and what makes one of the other is a step beside the CPU's own.

  /// The value in the type that the plan has for it: index into Plan::values.
  Result<int32_t> as_planned(ValueId v) {
    if (value_index_[size_t(v)] < 0) {
      const int32_t from = floats_[size_t(v)];
      VIREO_ASSIGN(value_index_[size_t(v)],
                   convert(from, descs_[size_t(v)].dtype, plan_.values[size_t(from)].first_step + 1));
    }
    return value_index_[size_t(v)];
  }
  /// In fp32, for a step of the CPU that is about to be added.
  Result<int32_t> as_floats(ValueId v) {
    int32_t& floats = floats_[size_t(v)];
    if (floats < 0 && descs_[size_t(v)].dtype == DType::kF32) floats = value_index_[size_t(v)];
    if (floats < 0) {
      VIREO_ASSIGN(floats, convert(value_index_[size_t(v)], DType::kF32, int32_t(plan_.steps.size())));
    }
    return floats;
  }

  /// Adds step number `at`, those behind it move: value `from` in another type. Gives the new value.
  Result<int32_t> convert(int32_t from, DType to, int32_t at) {
    const PlanValue source = plan_.values[size_t(from)];
    PlanValue made;
    made.id = source.id, made.name = source.name + "." + to_string(Format{to, {}});
    made.desc.shape = source.desc.shape, made.desc.dtype = to;
    made.first_step = made.last_step = at;
    Step step;
    step.name = made.name;
    step.op = conversion();
    step.device = DeviceKind::kCpu;
    step.reason = "beside a step on the cpu";
    step.formats = policy_.name;
    step.inputs = {from}, step.operand_present = {true}, step.const_descs = {TensorDesc{}};
    step.output = int32_t(plan_.values.size());
    OpCall call{step.name.c_str(), &step.attrs, {&source.desc}, made.desc};
    VIREO_ASSIGN(const Lowering lowered, lower_op(step.op, DeviceKind::kCpu, call, {&plan_.caps, &tuning_}));
    step.by = lowered.by, step.kernel = lowered.kernel, step.scratch.bytes = lowered.scratch_bytes;
    step.cost = op_def(step.op).cost(call);
    for (PlanValue& v : plan_.values)
      for (int32_t* const s : {&v.first_step, &v.last_step})
        if (*s >= at) ++*s;
    plan_.steps.insert(plan_.steps.begin() + at, std::move(step));
    plan_.values.push_back(std::move(made));
    lives_until(from, at);
    return int32_t(plan_.values.size()) - 1;
  }

  /// Step number `step` reads the value.
  void lives_until(int32_t value, int32_t step) {
    PlanValue& v = plan_.values[size_t(value)];
    v.last_step = std::max(v.last_step, step);
    if (v.view_of < 0) return;
    PlanValue& root = plan_.values[size_t(v.view_of)];
    root.last_step = std::max(root.last_step, step);
  }

  int32_t add_const(ValueId v, const PackedConst& pack) {
    const ConstKey key{v, pack};
    const auto it = consts_.find(key);
    if (it != consts_.end()) return it->second;
    plan_.consts.push_back({v, graph_.value(v).name, pack, 0, graph_.value(v).constant->grid()});
    return consts_[key] = int32_t(plan_.consts.size()) - 1;
  }

  /// What a device takes at most: a step beyond it goes to the CPU, with this reason.
  Result<void> check_device(const OpCall& call, const Lowering& l) const {
    const DeviceCaps& c = plan_.caps;
    for (const Dispatch& d : l.dispatches) {
      uint32_t storage = 0, texel = 0;
      for (size_t i = 0; i < 3; ++i)
        if (d.groups[i] == 0 || d.groups[i] > c.max_workgroup_count[i])
          return fail(ErrorCode::kUnsupported, "{} needs {} workgroups in dimension {}, the device takes {}", call.name,
                      d.groups[i], i, c.max_workgroup_count[i]);
      for (const Operand& o : d.operands) {
        const bool is_storage = o.kind == BindKind::kStorage;
        (is_storage ? storage : texel) += 1;
        uint64_t bytes = 0;
        if (o.what == Operand::What::kInput) bytes = call.in[size_t(o.index)]->bytes();
        if (o.what == Operand::What::kOutput) bytes = call.out.bytes();
        if (o.what == Operand::What::kConst) bytes = l.consts[size_t(o.index)].bytes;
        if (is_storage && bytes > c.max_storage_range)
          return fail(ErrorCode::kUnsupported, "{} binds {} bytes at once, the device takes {}", call.name, bytes,
                      c.max_storage_range);
      }
      if (storage > c.max_stage_storage_buffers || texel > c.max_stage_sampled)
        return fail(ErrorCode::kUnsupported, "{} binds {} storage and {} texel buffers, the device takes {} and {}",
                    call.name, storage, texel, c.max_stage_storage_buffers, c.max_stage_sampled);
    }
    return {};
  }

  /// Constants are packed by the lowering; an activation where it wants one, or the other way round, has no bytes to
  /// read.
  Result<void> check_roles(const Node& n, const Lowering& l) const {
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      if (n.inputs[i] == kNoValue) continue;
      const bool constant = graph_.value(n.inputs[i]).constant != nullptr;
      bool packed = false;
      for (const PackedConst& c : l.consts) packed = packed || size_t(c.operand) == i;
      if (constant != packed)
        return fail(ErrorCode::kInternal, "graph '{}': node '{}': operand {} ('{}') is {}; {} expects {}", graph_.name,
                    n.name, i, graph_.value(n.inputs[i]).name, constant ? "a constant" : "an activation",
                    op_def(n.op).name, constant ? "an activation" : "a constant");
    }
    return {};
  }

  /// With the constants that were tuned for this step, if there are any that the device still takes; else with its
  /// class's.
  Result<Lowering> lower_gpu(OpKind op, const OpCall& call, const std::string& formats, const LowerContext& ctx) const {
    if (options_.tuned && !options_.tuned->empty()) {
      const auto found = options_.tuned->find(step_key(op, call, formats));
      Tuning tuning = tuning_;
      if (found != options_.tuned->end() && apply_tuning(found->second.use, &tuning)) {
        LowerContext with = ctx;
        with.tuning = &tuning;
        Result<Lowering> lowered = lower_op(op, DeviceKind::kVulkan, call, with);
        if (lowered && check_device(call, *lowered)) {
          lowered->kernel += ", tuned";
          return lowered;
        }
      }
    }
    return lower_op(op, DeviceKind::kVulkan, call, ctx);
  }

  /// A value that its step writes among the columns of another.
  struct Part {
    ValueId whole = kNoValue;
    int64_t column = 0;
  };

  bool writes_strided(OpKind op) const { return plan_.device == DeviceKind::kCpu || op_def(op).strided.out; }
  bool reads_strided(OpKind op, size_t operand) const {
    return plan_.device == DeviceKind::kCpu || (op_def(op).strided.in >> operand & 1);
  }

  /// Concatenations that are no steps: every part is written where the whole wants it, by an operator that writes rows
  /// any stride apart, and read by operators that read such rows. A part must be whole groups of 4 channels, because
  /// its step writes the padding (the last one's is the whole's), and have one place: not an input, not an output, not
  /// in several concatenations.
  void find_parts() {
    if (options_.keep_all) return;
    std::vector<const Node*> producer(graph_.values.size(), nullptr);
    std::vector<int> places(graph_.values.size(), 0);
    std::vector<bool> dense(graph_.values.size(), false);  // somebody reads it as rows without gaps, or a view of it
    for (const Node& n : graph_.nodes) {
      producer[size_t(n.output)] = &n;
      for (size_t i = 0; i < n.inputs.size(); ++i) {
        if (n.inputs[i] == kNoValue) continue;
        if (op_def(n.op).gather) ++places[size_t(n.inputs[i])];
        else if (op_def(n.op).view || !reads_strided(n.op, i)) dense[size_t(n.inputs[i])] = true;
      }
    }
    for (const Node& n : graph_.nodes) {
      if (!gathers(n.op) || is_output(n.output) || copied_[size_t(n.output)]) continue;
      const auto in_place = [&](ValueId v) {
        const Node* by = producer[size_t(v)];  // none: an input
        return by && !op_def(by->op).gather && !op_def(by->op).view && writes_strided(by->op) && !dense[size_t(v)] &&
               !is_output(v) && places[size_t(v)] == 1 &&
               (v == n.inputs.back() || graph_.value(v).desc.shape.c() % 4 == 0);
      };
      if (!std::all_of(n.inputs.begin(), n.inputs.end(), in_place)) continue;
      int64_t column = 0;
      for (ValueId v : n.inputs) {
        parts_[size_t(v)] = {n.output, column};
        column += graph_.value(v).desc.shape.c();
      }
    }
  }

  int32_t part_gap(const Node& n) const {
    return int32_t(graph_.value(parts_[size_t(n.output)].whole).desc.row_stride() -
                   round_up(graph_.value(n.output).desc.shape.c(), 4));
  }

  /// The parts of that concatenation need bytes of their own after all.
  void copy_after_all(ValueId whole) { copied_[size_t(whole)] = again_ = true; }

  /// The value of a concatenation whose parts are in place: it lives from the first part's step on. A part of another
  /// type, or one that begins where the device binds nothing, has no place in it.
  Result<void> assemble(const Node& n, const TensorDesc& desc) {
    const uint64_t alignment = std::max(plan_.caps.storage_alignment, plan_.caps.texel_alignment);
    for (ValueId v : n.inputs) VIREO_TRY(as_planned(v));
    const int32_t whole = add_value(n.output, desc);
    PlanValue& w = plan_.values[size_t(whole)];
    w.first_step = int32_t(plan_.steps.size());
    for (ValueId v : n.inputs) {
      PlanValue& part = plan_.values[size_t(value_index_[size_t(v)])];
      part.view_of = whole;
      part.view_offset = uint64_t(parts_[size_t(v)].column) * dtype_size(desc.dtype);
      if (part.desc.dtype != desc.dtype || (plan_.device == DeviceKind::kVulkan && part.view_offset % alignment))
        copy_after_all(n.output);
      w.first_step = std::min(w.first_step, part.first_step);
      w.last_step = std::max(w.last_step, part.last_step);
    }
    return {};
  }

  /// A concatenation that may be no step at all: not one that is asked to be a step of the CPU.
  bool gathers(OpKind op) const {
    return op_def(op).gather && !(plan_.device == DeviceKind::kVulkan && listed(options_.cpu_ops, op_def(op).name));
  }

  /// A cache line between the rows, where all readers suffer from rows that lie as these would without
  /// (OpDef::row_conflict). Only where these alone see it.
  int32_t row_gap(const Node& n, const TensorDesc& out) const {
    if (!op_def(n.op).row_gaps || is_output(n.output)) return 0;
    int64_t worst = 0;
    for (const Node& reader : graph_.nodes)
      for (size_t i = 0; i < reader.inputs.size(); ++i) {
        if (reader.inputs[i] != n.output) continue;
        const OpDef& def = op_def(reader.op);
        const int64_t conflict = i == 0 && def.row_conflict
                                     ? def.row_conflict(reader.attrs, graph_.value(reader.inputs[0]).desc.shape,
                                                        graph_.value(reader.output).desc.shape)
                                     : 0;
        if (conflict == 0) return 0;
        worst = worst == 0 ? conflict : std::min(worst, conflict);
      }
    if (worst == 0) return 0;
    return out.row_stride() * int64_t(dtype_size(out.dtype)) % worst == 0 ? int32_t(64 / dtype_size(out.dtype)) : 0;
  }

  /// Whether some reader normalises the value's rows, which lie where nobody else's are.
  bool is_normalised(ValueId v) const {
    if (is_output(v) || parts_[size_t(v)].whole != kNoValue) return false;
    return std::any_of(graph_.nodes.begin(), graph_.nodes.end(), [v](const Node& n) {
      const int norm = op_def(n.op).slots.norm;
      return norm >= 0 && n.attrs[size_t(norm)] != 0 && !n.inputs.empty() && n.inputs[0] == v;
    });
  }

  /// What a module declares, read from it once.
  Result<const shader::Reflection*> reflection_of(const std::string& step, const std::string& name) {
    const auto known = reflections_.find(name);
    if (known != reflections_.end()) return &known->second;
    VIREO_ASSIGN(shader::Reflection reflection, reflect(step, name));
    return &reflections_.emplace(name, std::move(reflection)).first->second;
  }

  Result<void> lower_node(const Node& n) {
    const OpDef& def = op_def(n.op);
    OpCall call;
    call.name = n.name.c_str();
    call.attrs = &n.attrs;
    Step step;
    step.name = n.name;
    step.op = n.op;
    step.attrs = n.attrs;
    std::vector<bool> is_row;  // by operand: an activation
    for (ValueId v : n.inputs) {
      const bool constant = v != kNoValue && graph_.value(v).constant;
      is_row.push_back(v != kNoValue && !constant);
      step.operand_present.push_back(v != kNoValue);
      step.const_descs.push_back(constant ? graph_.value(v).desc : TensorDesc{});
      call.in.push_back(v == kNoValue ? nullptr : constant ? &graph_.value(v).desc : &descs_[size_t(v)]);
    }
    VIREO_ASSIGN(call.out, def.infer(call));
    // fp16 halves what a GPU moves; an output leaves as fp32, and the CPU computes on fp32 rows.
    if (plan_.device == DeviceKind::kVulkan && (options_.half_outputs || !is_output(n.output)))
      call.out.dtype = policy_.activations;
    // The matrix as the policy wants it stored; what a kernel makes of that, its lowering says.
    OpCall wanted = call;
    step.formats = policy_.name;
    if (const size_t m = size_t(std::max(def.matrix, 0));
        def.matrix >= 0 && m < n.inputs.size() && n.inputs[m] != kNoValue && graph_.value(n.inputs[m]).constant) {
      const Value& v = graph_.value(n.inputs[m]);
      const Format f = policy_.of(v.name, v.constant->grid());
      step.const_descs[m].dtype = f.dtype, step.const_descs[m].grid = f.grid;
      if (f.grid.coded()) step.const_descs[m].rows = policy_.rows_of(v.name, v.constant->row_codes());
      wanted.in[m] = &step.const_descs[m];
    }

    if (def.gather && parts_[size_t(n.inputs[0])].whole == n.output) {
      return assemble(n, call.out);
    }
    if (parts_[size_t(n.output)].whole != kNoValue) call.out.gap = part_gap(n);
    else if (plan_.device == DeviceKind::kCpu) call.out.gap = row_gap(n, call.out);

    wanted.out = call.out;
    LowerContext ctx{&plan_.caps,
                     &tuning_,
                     policy_.products,
                     !is_output(n.output) && !options_.keep_all,
                     policy_.attention_of(graph_.attention),
                     policy_.attention || (!policy_.decode && graph_.attention != Products::kF32)};
    if (!n.inputs.empty() && n.inputs[0] != kNoValue) ctx.moments = moments_[size_t(n.inputs[0])];
    ctx.wants_moments = is_normalised(n.output);
    Result<Lowering> lowered = fail(ErrorCode::kUnsupported, "");
    step.device = plan_.device;
    if (plan_.device == DeviceKind::kVulkan) {
      if (listed(options_.cpu_ops, def.name)) lowered = fail(ErrorCode::kUnsupported, "asked for by cpu_ops");
      else lowered = lower_gpu(n.op, wanted, step.formats, ctx);
      if (lowered) {
        if (const Result<void> fits = check_device(call, *lowered); !fits) lowered = fits.error();
      }
      if (!lowered && lowered.error().code != ErrorCode::kUnsupported) return lowered.error();
      if (!lowered) {
        step.device = DeviceKind::kCpu;
        step.reason = lowered.error().message;
        // Perhaps only because the range of a part is longer than its bytes: with bytes of its own the device may take
        // it.
        for (ValueId v : n.inputs)
          if (v != kNoValue && parts_[size_t(v)].whole != kNoValue) copy_after_all(parts_[size_t(v)].whole);
        if (parts_[size_t(n.output)].whole != kNoValue) copy_after_all(parts_[size_t(n.output)].whole);
      }
    }
    const bool host = step.device == DeviceKind::kCpu && plan_.device != DeviceKind::kCpu;
    std::vector<TensorDesc> floats(host ? n.inputs.size() : 0);
    DType planned = call.out.dtype;
    if (host) {
      for (size_t i = 0; i < n.inputs.size(); ++i) {
        if (!is_row[i]) continue;
        floats[i] = *call.in[i];
        if (floats[i].dtype != DType::kF32) floats[i].dtype = DType::kF32, floats[i].gap = 0;
        call.in[i] = wanted.in[i] = &floats[i];
      }
      call.out.dtype = wanted.out.dtype = DType::kF32;
    }
    if (step.device == DeviceKind::kCpu) lowered = lower_op(n.op, DeviceKind::kCpu, wanted, ctx);
    if (!lowered) return lowered.error();

    VIREO_TRY(check_roles(n, *lowered));
    if (def.matrix >= 0 && size_t(def.matrix) < step.const_descs.size() &&
        step.const_descs[size_t(def.matrix)].rows.coded() &&
        std::none_of(lowered->consts.begin(), lowered->consts.end(),
                     [](const PackedConst& c) { return c.pack == Pack::kCpuInteger || c.dots; })) {
      lowered->kernel += ", rows stay floats";  // no such product here: said, as every fallback is
      for (const KernelDef* k : all_kernels())  // and why, where a shader could do it
        if (k->op == n.op && k->device == DeviceKind::kVulkan && step.device == k->device && k->rate == Rate::kInt8)
          if (const Result<void> no = k->accepts(wanted, ctx); !no) lowered->kernel += ": " + no.error().message;
    }
    if (lowered->out_f32) call.out.dtype = planned = DType::kF32;
    step.cost = def.cost(call);
    // Costs count a matrix as the floats of the graph; what is read is what was packed: codes with their scales,
    // halves.
    for (const PackedConst& c : lowered->consts)
      if (c.operand == def.matrix && c.dtype != DType::kF32)
        step.cost.read_bytes += double(c.bytes) - double(call.in[size_t(c.operand)]->bytes());
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      step.inputs.push_back(-1);
      if (!is_row[i]) continue;
      VIREO_ASSIGN(step.inputs[i], host ? as_floats(n.inputs[i]) : as_planned(n.inputs[i]));
    }
    const int32_t number = int32_t(plan_.steps.size());
    const int32_t out = add_value(n.output, call.out);
    if (planned != call.out.dtype && host) {  // until somebody wants it as planned
      floats_[size_t(n.output)] = out, value_index_[size_t(n.output)] = -1;
      descs_[size_t(n.output)].dtype = planned;
    }
    PlanValue& value = plan_.values[size_t(out)];
    value.first_step = value.last_step = number;
    value.moments = moments_[size_t(n.output)] = lowered->moments;
    if (lowered->view_of >= 0) {  // nothing to run: the output's lifetime begins with its source's
      value.view_of = step.inputs[size_t(lowered->view_of)];
      value.view_offset = lowered->view_offset;
      const PlanValue& source = plan_.values[size_t(value.view_of)];
      value.desc.gap = source.desc.gap;
      if (source.view_of >= 0) value.view_offset += source.view_offset, value.view_of = source.view_of;
      value.first_step = source.first_step;
      value.last_step = source.first_step;
      descs_[size_t(n.output)] = value.desc;
      return {};
    }
    for (int32_t i : step.inputs)
      if (i >= 0) lives_until(i, number);
    for (const PackedConst& c : lowered->consts) step.consts.push_back(add_const(n.inputs[size_t(c.operand)], c));
    step.output = out;
    step.by = lowered->by;
    step.constants = std::move(lowered->constants);
    step.kernel = lowered->kernel;
    step.scratch.bytes = lowered->scratch_bytes;
    for (Dispatch& d : lowered->dispatches) {
      VIREO_ASSIGN(const shader::Reflection* reflection, reflection_of(step.name, d.shader));
      VIREO_ASSIGN(PlanDispatch p, resolve_words(step.name, *reflection, d));
      if (p.work.flops == 0) p.work.flops = step.cost.flops / double(lowered->dispatches.size());
      p.work.issued_flops = std::max(p.work.issued_flops, p.work.flops * (step.by ? step.by->multiplied : 1));
      for (const Operand& o : d.operands) {
        Binding b;
        b.kind = o.kind;
        b.source = {o.what, o.what == Operand::What::kInput    ? step.inputs[size_t(o.index)]
                            : o.what == Operand::What::kOutput ? out
                            : o.what == Operand::What::kDummy  ? -1
                                                               : step.consts[size_t(o.index)]};
        p.bindings.push_back(b);
      }
      VIREO_TRY(set_access(step.name, *reflection, p));
      step.dispatches.push_back(std::move(p));
    }
    plan_.steps.push_back(std::move(step));
    return {};
  }

  const Graph& graph_;
  const PlanOptions& options_;
  const Tuning tuning_;
  const FormatPolicy policy_;
  Plan plan_;
  std::vector<int32_t> value_index_;  // by value: in the type that is planned for it; -1: not yet
  std::vector<int32_t> floats_;       // by value: in fp32, where a step of the CPU has to do with it
  std::vector<TensorDesc> descs_;     // by value: as planned
  std::vector<Part> parts_;           // by value
  std::vector<RowMoments> moments_;   // by value
  std::vector<bool>& copied_;
  bool again_ = false;
  std::map<ConstKey, int32_t> consts_;
  std::map<std::string, shader::Reflection> reflections_;  // by module
};

}  // namespace

Result<PlanDispatch> resolve_words(const std::string& step, const shader::Reflection& reflection, const Dispatch& d) {
  PlanDispatch p;
  p.shader = d.shader;
  p.groups = d.groups;
  p.work = d.work;
  Result<std::vector<uint32_t>> spec = shader::spec_by_id(d.shader, reflection, d.spec);
  if (!spec) return fail(spec.error().code, "step '{}': {}", step, spec.error().message);
  Result<std::vector<uint32_t>> push = shader::push_by_word(d.shader, reflection, d.push);
  if (!push) return fail(push.error().code, "step '{}': {}", step, push.error().message);
  p.spec = std::move(*spec);
  p.push = std::move(*push);
  return p;
}

Result<PlanDispatch> resolve_words(const std::string& step, const Dispatch& d) {
  VIREO_ASSIGN(const shader::Reflection reflection, reflect(step, d.shader));
  return resolve_words(step, reflection, d);
}

OpCall op_call(const Plan& plan, const Step& step) {
  OpCall c;
  c.name = step.name.c_str();
  c.attrs = &step.attrs;
  for (size_t i = 0; i < step.inputs.size(); ++i)
    c.in.push_back(step.inputs[i] >= 0       ? &plan.values[size_t(step.inputs[i])].desc
                   : step.operand_present[i] ? &step.const_descs[i]
                                             : nullptr);
  c.out = plan.values[size_t(step.output)].desc;
  return c;
}

Result<Plan> lower(const Graph& graph, const DeviceCaps& caps, const PlanOptions& options) {
  std::vector<bool> copied(graph.values.size(), false);
  for (;;) {  // ends: every turn but the last adds a concatenation to those that copy
    Lowerer lowerer(graph, caps, options, &copied);
    Result<Plan> plan = lowerer.run();
    if (!plan || !lowerer.again()) return plan;
  }
}

}  // namespace vireo
