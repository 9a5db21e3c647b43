#include "shader/interpreter.h"

#include <algorithm>

namespace vireo::shader {

using namespace spirv;
using Type = Program::Type;

namespace {

constexpr uint64_t kMaxSteps =
    4u * 1000 * 1000;                   // of one invocation: far above any shader of ours after loops are skipped
constexpr uint32_t kUnrollAtMost = 32;  // trips of a loop without a wish that compilers still unroll
constexpr uint32_t kAccessBytes = 16;   // of the widest access
constexpr size_t kAddresses = 4096;     // the first accesses show which lanes go together

}  // namespace

Invocation::Invocation(const Program& p, const std::vector<uint32_t>& push, const Where& at)
    : p_(p), push_(push), at_(at), values_(p.bound), memory_(p.bound), runtime_merges_(p.bound) {
  for (uint32_t id = 0; id < p.bound; ++id) {
    const std::vector<uint32_t>& c = p.constants[id];
    values_[id].type = p.constant_types[id];
    for (size_t i = 0; i < c.size() && i < 4; ++i) values_[id].s[i] = number(c[i]);
    const Program::Variable& v = p.variables[id];
    if (!v.type) continue;
    values_[id].variable = id;
    if (v.storage == kFunctionMemory || v.storage == kPrivate) memory_[id].assign((bytes(v.type) + 3) / 4, Scalar{});
  }
}

Result<Mix> Invocation::run() {
  uint32_t at = 0;
  uint64_t steps = 0;
  while (at < p_.code.size()) {
    const Instruction& i = p_.code[at];
    steps += 1 + i.count / 8 + (i.op == kLabel ? p_.blocks[i.words[0]].phis : 0);
    if (steps > kMaxSteps) return broken("it does not end");
    switch (i.op) {
      case kReturn:
      case kUnreachable: return mix_;
      case kLabel: at = enter(i.words[0], at); break;
      case kLoopMerge:
      case kSelectionMerge: merge_ = i.words[0] < p_.bound ? i.words[0] : 0, ++at; break;
      case kBranch: VIREO_TRY(jump(i.words[0], &at)); break;
      case kBranchConditional: VIREO_TRY(branch(i, &at)); break;
      case kSwitch: VIREO_TRY(choose(i, &at)); break;
      default:
        if (!execute(i))
          return broken(fmt::format("instruction {} is not known to the interpreter",
                                    i.op == kExtInst && i.count > 3 ? 100000 + i.words[3] : i.op));
        ++at;
    }
  }
  return broken("its function has no end");
}

// --- Control flow ---

/// At a label: phis take their values all at once. Returns the index behind them.
uint32_t Invocation::enter(uint32_t label, uint32_t at) {
  block_ = label;
  ++at;
  const Program::Block& block = p_.blocks[label];
  const bool joins = runtime_merges_[label];
  const uint32_t end = at + block.phis;
  Loop* loop = nullptr;
  bool again = false;
  if (block.loop) {
    loop = &loops_[label];
    again = loop->trips > 0 && from_ != loop->entered_from;
    if (!again) {
      *loop = Loop{};
      loop->entered_from = from_;
      loop->rolled = (block.control & 2) != 0;
    }
    ++loop->trips;
    if (!(block.control & 3) && loop->trips > kUnrollAtMost) loop->rolled = true;
  }
  incoming_.clear();
  for (uint32_t k = at; k < end; ++k) {
    const Instruction& phi = p_.code[k];
    Value v;
    for (uint32_t w = 2; w + 1 < phi.count; w += 2)
      if (phi.words[w + 1] == from_) v = value(phi.words[w]);
    v.type = phi.words[0];
    incoming_.push_back(v);
  }
  if (loop && loop->rolled && again) skip_ahead(loop);
  for (uint32_t k = at; k < end; ++k) {
    Value& v = incoming_[k - at];
    const uint32_t n = components(v.type);
    const bool f = is_float(v.type);
    for (uint32_t c = 0; c < n; ++c) {
      if (f) {
        if (loop && loop->rolled) v.s[c].symbol = kData;
      } else if (loop && loop->rolled) {
        if (again && !v.variable && (v.s[c].offset != 0 || v.s[c].known()))
          add(Count::kInteger);  // the increment that was free until now
        v.s[c] = number(v.s[c].bits, fresh());
      } else if (joins && v.s[c].known()) {
        v.s[c] = number(v.s[c].bits, symbol({kPhi, p_.code[k].words[1], c, int32_t(v.s[c].bits), 0}, Count::kInteger));
      }
    }
    value(p_.code[k].words[1]) = v;
  }
  return end;
}

/// In a loop whose trips all count the same and whose integers grow evenly, all but the last trips are added up instead
/// of run.
void Invocation::skip_ahead(Loop* loop) {
  std::vector<uint32_t> ints;
  for (const Value& v : incoming_)
    if (!is_float(v.type))
      for (uint32_t c = 0; c < components(v.type); ++c) ints.push_back(v.s[c].bits);
  Mix trip = mix_;
  trip.add(loop->at_header, -1);
  loop->steady = loop->trips > 2 && trip.n == loop->last.n ? loop->steady + 1 : 0;
  const bool even = loop->before.size() == ints.size() && loop->now.size() == ints.size() && [&] {
    for (size_t i = 0; i < ints.size(); ++i)
      if (ints[i] - loop->now[i] != loop->now[i] - loop->before[i]) return false;
    return true;
  }();
  if (loop->steady >= 2 && even && loop->has_exit) {
    // The comparison was a < b (or its like) with a growing by da each trip: it holds (b - a) / da times more.
    const int64_t a = loop->exit_a, b = loop->exit_b, da = int64_t(loop->exit_a) - loop->last_a,
                  db = int64_t(loop->exit_b) - loop->last_b;
    const bool less = loop->exit_op == kULessThan || loop->exit_op == kSLessThan || loop->exit_op == kULessThanEqual ||
                      loop->exit_op == kSLessThanEqual;
    const int64_t left = less && db == 0 && da > 0 && b > a ? (b - a) / da - 3 : 0;
    if (left > 0) {
      mix_.add(trip, double(left));
      for (size_t k = 0, at = 0; k < incoming_.size(); ++k) {
        Value& v = incoming_[k];
        if (is_float(v.type)) continue;
        for (uint32_t c = 0; c < components(v.type); ++c, ++at)
          v.s[c].bits = ints[at] += uint32_t(left) * (ints[at] - loop->now[at]);
      }
      loop->steady = 0;
      loop->before.clear(), loop->now.clear();
    }
  }
  loop->last = trip;
  loop->at_header = mix_;
  loop->before = std::move(loop->now);
  loop->now = std::move(ints);
}

Result<void> Invocation::jump(uint32_t label, uint32_t* at) {
  if (label >= p_.bound || !p_.blocks[label].exists) return broken("a branch leads nowhere");
  from_ = block_;
  *at = p_.blocks[label].at;
  return {};
}

Result<void> Invocation::branch(const Instruction& i, uint32_t* at) {
  if (i.count < 3) return broken("a branch is too short");
  const Scalar c = value(i.words[0]).s[0];
  const uint32_t header = i.words[2] < p_.bound ? p_.blocks[i.words[2]].ends : 0;
  if (header) {
    Loop& loop = loops_[header];
    loop.has_exit = compared_id_ == i.words[0];
    if (loop.has_exit) {
      loop.last_a = loop.exit_a, loop.last_b = loop.exit_b;
      loop.exit_op = compared_.op, loop.exit_a = compared_.a, loop.exit_b = compared_.b;
    }
    if (!c.known()) loop.rolled = true;  // nobody unrolls a loop whose end is not known
  } else if (!c.known()) {
    runtime_merges_[merge_] = true;
  } else {
    runtime_merges_[merge_] = false;
  }
  if (!c.known()) add(Count::kBranch);
  return jump(c.bits ? i.words[1] : i.words[2], at);
}

Result<void> Invocation::choose(const Instruction& i, uint32_t* at) {
  if (i.count < 2) return broken("a switch is too short");
  const Scalar s = value(i.words[0]).s[0];
  uint32_t target = i.words[1];
  for (uint32_t k = 2; k + 1 < i.count; k += 2)
    if (i.words[k] == s.bits) target = i.words[k + 1];
  if (!s.known()) add(Count::kBranch), add(Count::kShift), runtime_merges_[merge_] = true;
  return jump(target, at);
}

// --- Memory ---

bool Invocation::access_chain(const Instruction& i) {
  Value v = value(i.words[2]);
  const Type* pointer = p_.type(i.words[0]);
  if (!v.variable || !pointer) return false;
  // From the base's pointee on; a base that is itself a chain knows its own type.
  uint32_t type = v.type && p_.type(v.type) && p_.type(v.type)->op == kTypePointer ? p_.type(v.type)->element
                                                                                   : p_.variables[v.variable].type;
  for (uint32_t k = 3; k < i.count; ++k) {
    const Type* t = p_.type(type);
    if (!t) return false;
    const Scalar index = value(i.words[k]).s[0];
    if (t->op == kTypeStruct) {
      if (index.bits >= t->members.size()) return false;
      v.s[0].bits += t->offsets[index.bits];
      v.s[0].offset = int32_t(uint32_t(v.s[0].offset) + t->offsets[index.bits]);
      type = t->members[index.bits];
      continue;
    }
    const uint32_t stride = t->op == kTypeVector ? bytes(t->element) : t->stride;
    // Scaling an index is part of what an address costs, see access().
    Scalar scaled{index.bits * stride, index.symbol, int32_t(uint32_t(index.offset) * stride)};
    if (index.known()) scaled.offset = 0;
    v.s[0] = integer(kIAdd, v.s[0], scaled);
    type = t->element;
  }
  set(i, v);
  return true;
}

/// Counts a load or store of `size` bytes unless a neighbour's access brings it along.
void Invocation::access(const Value& pointer, uint32_t size, bool store, bool shared) {
  const Scalar& at = pointer.s[0];
  add(shared ? Count::kSharedWords : Count::kGlobalWords, size / 4.0);
  if (!shared && addresses_.size() < kAddresses) addresses_.push_back(uint64_t(pointer.variable) << 32 | at.bits);
  if (!at.known()) {
    // A byte address from an index: a shift, and for 64-bit addresses an addition with carry.
    const Expression address{100000u + pointer.variable, at.symbol, 0, 0, 0};
    if (!known_.count(address)) {
      if (!shared) add(Count::kInteger, 2);
      symbol(address, Count::kShift);
    }
  }
  auto& lines = store ? stored_ : loaded_;
  for (uint32_t line = at.bits / kAccessBytes; line <= (at.bits + size - 1) / kAccessBytes; ++line)
    if (lines.insert(uint64_t(pointer.variable) << 32 | line).second)
      add(shared  ? (store ? Count::kSharedStore : Count::kSharedLoad)
          : store ? Count::kGlobalStore
                  : Count::kGlobalLoad);
  if (store) loaded_.clear();
  else stored_.clear();
}

bool Invocation::load(const Instruction& i) {
  const Value pointer = value(i.words[2]);
  if (!pointer.variable) return false;
  const Program::Variable& v = p_.variables[pointer.variable];
  const Type* t = p_.type(i.words[0]);
  const uint32_t n = components(i.words[0]);
  Value out;
  switch (v.storage) {
    case kFunctionMemory:
    case kPrivate: {
      const std::vector<Scalar>& m = memory_[pointer.variable];
      const size_t from = pointer.s[0].bits / 4;
      for (uint32_t c = 0; c < n; ++c)
        if (from + c < m.size()) out.s[c] = m[from + c];
      break;
    }
    case kPushConstant:
      for (uint32_t c = 0; c < n; ++c) {
        const size_t word = pointer.s[0].bits / 4 + c;
        const uint32_t bits = word < push_.size() ? push_[word] : 0;
        // Known only when it runs, but an operand of any instruction.
        const uint32_t symbol = given({kPushConstant, uint32_t(word), 0, 0, 0});
        out.s[c] = is_float(i.words[0]) ? Scalar{bits, kData, 0} : number(bits, symbol);
      }
      break;
    case kInput: built_in(v, pointer, n, &out); break;
    case kUniformConstant: break;
    default:
      if (!t || t->bytes > 16) return false;
      access(pointer, n * 4, false, v.storage == kWorkgroup);
      // What was loaded from one place may be an address (a row's, a window's): another place gives another one, far
      // enough not to be its neighbour.
      for (uint32_t c = 0; c < n; ++c)
        out.s[c] = is_float(i.words[0]) ? number(0, kData) : number((pointer.s[0].bits + c) * 64, fresh(true));
  }
  set(i, out);
  return true;
}

void Invocation::built_in(const Program::Variable& v, const Value& pointer, uint32_t n, Value* out) {
  const uint32_t first = pointer.s[0].bits / 4;
  for (uint32_t c = 0; c < n; ++c) {
    const uint32_t axis = std::min(first + c, 2u);
    uint32_t bits = 0;
    const uint32_t lanes = p_.local_size[0] * p_.local_size[1] * p_.local_size[2];
    const uint32_t index = (at_.local[2] * p_.local_size[1] + at_.local[1]) * p_.local_size[0] + at_.local[0];
    switch (v.built_in) {
      case kNumWorkgroups: bits = at_.groups[axis]; break;
      case kWorkgroupId: bits = at_.group[axis]; break;
      case kLocalInvocationId: bits = at_.local[axis]; break;
      case kGlobalInvocationId: bits = at_.group[axis] * p_.local_size[axis] + at_.local[axis]; break;
      case kLocalInvocationIndex: bits = index; break;
      case kSubgroupSize: bits = at_.subgroup; break;
      case kNumSubgroups: bits = (lanes + at_.subgroup - 1) / at_.subgroup; break;
      case kSubgroupId: bits = index / at_.subgroup; break;
      case kSubgroupLocalInvocationId: bits = index % at_.subgroup; break;
      default: break;
    }
    // Sizes are constants to a compiler; so is an axis of one.
    const bool constant = v.built_in == kSubgroupSize || v.built_in == kNumSubgroups ||
                          (v.built_in == kLocalInvocationId && p_.local_size[axis] == 1);
    out->s[c] = number(bits, constant ? 0 : given({kInput, uint32_t(v.built_in), axis, 0, 0}));
  }
}

bool Invocation::store(const Instruction& i) {
  const Value pointer = value(i.words[0]), v = value(i.words[1]);
  if (!pointer.variable) return false;
  const Program::Variable& to = p_.variables[pointer.variable];
  const Type* t = p_.type(pointer.type);
  const uint32_t type = t && t->op == kTypePointer ? t->element : to.type;
  const uint32_t n = components(type);
  if (to.storage == kFunctionMemory || to.storage == kPrivate) {
    std::vector<Scalar>& m = memory_[pointer.variable];
    const size_t at = pointer.s[0].bits / 4;
    for (uint32_t c = 0; c < n; ++c)
      if (at + c < m.size()) m[at + c] = v.s[c];
    return true;
  }
  access(pointer, n * 4, true, to.storage == kWorkgroup);
  return true;
}

void Invocation::set(const Instruction& i, const Value& v) {
  Value& to = value(i.words[1]);
  to = v;
  to.type = i.words[0];
}

bool Invocation::execute(const Instruction& i) {
  const uint32_t* w = i.words;
  switch (i.op) {
    case kVariable: return true;
    case kAccessChain:
    case kInBoundsAccessChain: return access_chain(i);
    case kLoad: return load(i);
    case kStore: return store(i);
    case kExtInst: return extended(i);
    case kBitcast: {
      Value out = value(w[2]);
      const bool from = is_float(out.type), to = is_float(w[0]);
      for (uint32_t c = 0; c < 4; ++c)
        if (!out.s[c].known() && from != to) out.s[c] = number(out.s[c].bits, to ? kData : fresh());
      set(i, out);
      return true;
    }
    case kCopyObject: set(i, value(w[2])); return true;
    case kUndef: set(i, Value{}); return true;
    case kCompositeConstruct: {
      Value out;
      uint32_t n = 0;
      for (uint32_t k = 2; k < i.count; ++k) {
        const Value& part = value(w[k]);
        for (uint32_t c = 0; c < (part.type ? components(part.type) : 1) && n < 4; ++c) out.s[n++] = part.s[c];
      }
      set(i, out);
      return true;
    }
    case kCompositeExtract: {
      Value out;
      out.s[0] = value(w[2]).s[std::min(i.count > 3 ? w[3] : 0, 3u)];
      set(i, out);
      return true;
    }
    case kCompositeInsert: {
      Value out = value(w[3]);
      out.s[std::min(i.count > 4 ? w[4] : 0, 3u)] = value(w[2]).s[0];
      set(i, out);
      return true;
    }
    case kVectorShuffle: {
      const Value a = value(w[2]), b = value(w[3]);
      const uint32_t n = components(a.type);
      Value out;
      for (uint32_t k = 4; k < i.count && k < 8; ++k)
        if (w[k] != 0xFFFFFFFFu) out.s[k - 4] = w[k] < n ? a.s[w[k]] : b.s[(w[k] - n) % 4];
      set(i, out);
      return true;
    }
    case kVectorExtractDynamic: {
      const Value a = value(w[2]);
      const Scalar index = value(w[3]).s[0];
      Value out;
      out.s[0] = a.s[index.bits % 4];
      if (!index.known())
        add(Count::kInteger, components(a.type) - 1), out.s[0].symbol = is_float(w[0]) ? kData : fresh();
      set(i, out);
      return true;
    }
    case kImage: set(i, value(w[2])); return true;
    case kImageFetch: {
      add(Count::kTexel);
      Value out;
      for (uint32_t c = 0; c < components(w[0]); ++c) out.s[c] = number(0, is_float(w[0]) ? kData : fresh(true));
      set(i, out);
      return true;
    }
    case kGroupNonUniformShuffle: {
      Value out = value(w[3]);
      add(Count::kShuffle, components(w[0]));
      for (Scalar& s : out.s) s.symbol = is_float(w[0]) ? kData : fresh(true);
      set(i, out);
      return true;
    }
    case kControlBarrier: add(Count::kBarrier); [[fallthrough]];
    case kMemoryBarrier: loaded_.clear(), stored_.clear(); return true;
    default: return arithmetic(i);
  }
}

}  // namespace vireo::shader
