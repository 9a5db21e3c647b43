#include "shader/reflect.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/error.h"
#include "tensor/tensor.h"

namespace vireo::shader {
namespace {

// The numbers of SPIR-V 1.3 (unified1 specification, sections 3.32 and following) that matter here.
enum Op : uint16_t {
  kName = 5,
  kMemberName = 6,
  kEntryPoint = 15,
  kExecutionMode = 16,
  kCapability = 17,
  kTypeBool = 20,
  kTypeInt = 21,
  kTypeFloat = 22,
  kTypeVector = 23,
  kTypeMatrix = 24,
  kTypeImage = 25,
  kTypeSampledImage = 27,
  kTypeArray = 28,
  kTypeRuntimeArray = 29,
  kTypeStruct = 30,
  kTypePointer = 32,
  kConstantTrue = 41,
  kConstantFalse = 42,
  kConstant = 43,
  kSpecConstantTrue = 48,
  kSpecConstantFalse = 49,
  kSpecConstant = 50,
  kSpecConstantComposite = 51,
  kSpecConstantOp = 52,
  kFunction = 54,
  kVariable = 59,
  kDecorate = 71,
  kMemberDecorate = 72,
};
enum Decoration : uint32_t {
  kSpecId = 1,
  kArrayStride = 6,
  kBuiltIn = 11,
  kNonWritable = 24,
  kNonReadable = 25,
  kBindingNumber = 33,
  kDescriptorSet = 34,
  kOffset = 35,
};
constexpr uint32_t kMagic = 0x07230203, kExecutionGlCompute = 5, kLocalSizeMode = 17, kBuiltInWorkgroupSize = 25,
                   kDimBuffer = 5;
constexpr uint32_t kClassUniformConstant = 0, kClassUniform = 2, kClassWorkgroup = 4, kClassPushConstant = 9,
                   kClassStorageBuffer = 12;
constexpr uint32_t kMaxBound = 1u << 20;  // far above any shader of ours; bounds the tables built from a damaged header
constexpr uint32_t kMaxMembers = 256;     // no block of ours is that long; only names and offsets of real ones are used
constexpr int kMaxDepth = 64;             // of nested types and constant expressions: a cycle is damage

struct Instruction {
  uint16_t op = 0;
  const uint32_t* words = nullptr;  // operands
  uint32_t count = 0;
};

/// Per id: where it was defined and how it was decorated.
struct Id {
  Instruction def;
  int64_t spec_id = -1, set = -1, binding = -1;
  bool workgroup_size = false, non_writable = false, non_readable = false;
  uint32_t array_stride = 0;
  Instruction name;
  std::vector<uint32_t> member_offsets;
  std::vector<Instruction> member_names;
  uint32_t members_non_writable = 0, members_non_readable = 0;
};

class Parser {
 public:
  Parser(const Module& m, const std::vector<uint32_t>& spec) : module_(m), spec_(spec) {}

  Result<void> parse() {
    const uint32_t* w = module_.words;
    const size_t n = module_.word_count;
    if (!w || n < 5 || w[0] != kMagic) return damaged("it has no SPIR-V header");
    if (w[3] == 0 || w[3] > kMaxBound) return damaged("the id bound is out of range");
    ids_.resize(w[3]);
    for (size_t at = 5; at < n;) {
      const uint32_t length = w[at] >> 16;
      const Instruction i{uint16_t(w[at] & 0xffff), w + at + 1, length ? length - 1 : 0};
      if (length == 0 || length > n - at) return damaged("an instruction reaches beyond its end");
      if (i.op == kFunction) break;  // declarations end here
      if (!declare(i)) return damaged(fmt::format("instruction {} at word {} is malformed", i.op, at));
      at += length;
    }
    if (entry_points_ != 1) return damaged("it does not have exactly one compute entry point");
    return {};
  }

  Result<Reflection> reflection() {
    Reflection r;
    r.entry_point = entry_point_;
    r.default_local_size = local_size_;
    r.capabilities = capabilities_;
    std::sort(r.capabilities.begin(), r.capabilities.end());
    for (const Id& id : ids_) {
      if (id.spec_id >= 0 && id.def.words)
        r.spec_constants.push_back({uint32_t(id.spec_id), uint32_t(default_of(id)), text_of(id.name, 1)});
      if (id.workgroup_size && id.def.op == kSpecConstantComposite) VIREO_TRY(read_local_size(id, &r));
      if (id.def.op == kVariable) VIREO_TRY(read_variable(id, &r));
    }
    // One constant declared twice (a local size that is also a number) has one id, and a name from one of the two.
    const auto less = [](const SpecConstant& a, const SpecConstant& b) {
      return a.id != b.id ? a.id < b.id : a.name.empty() < b.name.empty();
    };
    const auto same = [](const SpecConstant& a, const SpecConstant& b) { return a.id == b.id; };
    std::stable_sort(r.spec_constants.begin(), r.spec_constants.end(), less);
    r.spec_constants.erase(std::unique(r.spec_constants.begin(), r.spec_constants.end(), same), r.spec_constants.end());
    for (SpecConstant& c : r.spec_constants)
      for (size_t axis = 0; axis < 3; ++axis)
        if (c.name.empty() && r.local_size_ids[axis] == int64_t(c.id)) c.name = std::string("L") + "XYZ"[axis];
    std::sort(r.bindings.begin(), r.bindings.end(), [](const Binding& a, const Binding& b) {
      return a.set != b.set ? a.set < b.set : a.binding < b.binding;
    });
    return r;
  }

  Result<uint64_t> shared_bytes() const {
    uint64_t total = 0;
    for (const Id& id : ids_) {
      if (id.def.op != kVariable || id.def.words[2] != kClassWorkgroup) continue;
      uint64_t bytes = 0;
      if (!size_of(pointee(id), 0, &bytes)) return damaged("a shared variable has no size");
      total += uint64_t(round_up(int64_t(bytes), 16));
    }
    return total;
  }

 private:
  Error damaged(const std::string& why) const {
    return fail(ErrorCode::kCorrupt, "shader module '{}' is not a usable SPIR-V compute module: {}", module_.name, why);
  }

  const Id* id(uint32_t i) const { return i < ids_.size() ? &ids_[i] : nullptr; }
  uint32_t pointee(const Id& variable) const {
    const Id* p = id(variable.def.words[0]);
    return p && p->def.op == kTypePointer ? p->def.words[2] : 0;
  }

  /// Records an instruction of the declaration part; false if it is too short or names an id out of bounds.
  bool declare(const Instruction& i) {
    struct Shape {
      uint16_t op;
      uint8_t min_words, result;
    };  // result: the operand that is the result id
    static constexpr Shape kShapes[] = {
        {kTypeBool, 1, 0},          {kTypeInt, 3, 0},      {kTypeFloat, 2, 0},
        {kTypeVector, 3, 0},        {kTypeMatrix, 3, 0},   {kTypeImage, 8, 0},
        {kTypeSampledImage, 2, 0},  {kTypeArray, 3, 0},    {kTypeRuntimeArray, 2, 0},
        {kTypeStruct, 1, 0},        {kTypePointer, 3, 0},  {kConstantTrue, 2, 1},
        {kConstantFalse, 2, 1},     {kConstant, 3, 1},     {kSpecConstantTrue, 2, 1},
        {kSpecConstantFalse, 2, 1}, {kSpecConstant, 3, 1}, {kSpecConstantComposite, 2, 1},
        {kSpecConstantOp, 4, 1},    {kVariable, 3, 1},
    };
    for (const Shape& s : kShapes)
      if (s.op == i.op) {
        if (i.count < s.min_words || i.words[s.result] >= ids_.size()) return false;
        ids_[i.words[s.result]].def = i;
        return true;
      }
    switch (i.op) {
      case kCapability:
        if (i.count < 1) return false;
        capabilities_.push_back(i.words[0]);
        return true;
      case kEntryPoint: return declare_entry_point(i);
      case kExecutionMode:
        if (i.count < 2) return false;
        if (i.words[1] == kLocalSizeMode) {
          if (i.count < 5) return false;
          std::copy(i.words + 2, i.words + 5, local_size_.begin());
        }
        return true;
      case kName:
        if (i.count < 2 || i.words[0] >= ids_.size()) return false;
        ids_[i.words[0]].name = i;
        return true;
      case kMemberName: {
        if (i.count < 3 || i.words[0] >= ids_.size()) return false;
        std::vector<Instruction>& names = ids_[i.words[0]].member_names;
        if (i.words[1] >= kMaxMembers) return true;
        if (names.size() <= i.words[1]) names.resize(i.words[1] + 1);
        names[i.words[1]] = i;
        return true;
      }
      case kDecorate: return i.count >= 2 && i.words[0] < ids_.size() && decorate(&ids_[i.words[0]], i);
      case kMemberDecorate: return i.count >= 3 && i.words[0] < ids_.size() && decorate_member(&ids_[i.words[0]], i);
      default: return true;
    }
  }

  bool declare_entry_point(const Instruction& i) {
    if (i.count < 3) return false;
    if (i.words[0] != kExecutionGlCompute) return true;
    ++entry_points_;
    entry_point_ = text_of(i, 2);
    return entry_point_.size() < size_t(i.count - 2) * 4;
  }

  /// The text that begins with operand `first`, without what may lie behind its end.
  static std::string text_of(const Instruction& i, uint32_t first) {
    if (i.count <= first) return {};
    const char* text = reinterpret_cast<const char*>(i.words + first);
    return std::string(text, std::find(text, text + size_t(i.count - first) * 4, '\0'));
  }

  static bool decorate(Id* id, const Instruction& i) {
    const bool has_value = i.count >= 3;
    const uint32_t value = has_value ? i.words[2] : 0;
    switch (i.words[1]) {
      case kSpecId: id->spec_id = value; return has_value;
      case kDescriptorSet: id->set = value; return has_value;
      case kBindingNumber: id->binding = value; return has_value;
      case kArrayStride: id->array_stride = value; return has_value;
      case kBuiltIn: id->workgroup_size = value == kBuiltInWorkgroupSize; return has_value;
      case kNonWritable: id->non_writable = true; return true;
      case kNonReadable: id->non_readable = true; return true;
      default: return true;
    }
  }

  static bool decorate_member(Id* id, const Instruction& i) {
    const uint32_t member = i.words[1];
    if (member >= kMaxMembers) return true;
    switch (i.words[2]) {
      case kOffset:
        if (i.count < 4) return false;
        if (id->member_offsets.size() <= member) id->member_offsets.resize(member + 1);
        id->member_offsets[member] = i.words[3];
        return true;
      case kNonWritable: ++id->members_non_writable; return true;
      case kNonReadable: ++id->members_non_readable; return true;
      default: return true;
    }
  }

  static uint64_t default_of(const Id& id) {
    if (id.def.op == kSpecConstant || id.def.op == kConstant) return id.def.words[2];
    return id.def.op == kSpecConstantTrue || id.def.op == kConstantTrue;
  }

  Result<void> read_local_size(const Id& composite, Reflection* r) {
    if (composite.def.count < 5) return damaged("the workgroup size has less than three parts");
    for (uint32_t axis = 0; axis < 3; ++axis) {
      const Id* part = id(composite.def.words[2 + axis]);
      uint64_t value = 0;
      if (!part || !part->def.words || !evaluate(composite.def.words[2 + axis], 0, &value))
        return damaged("the workgroup size is not constant");
      r->local_size_ids[axis] = part->spec_id;
      r->default_local_size[axis] = uint32_t(default_of(*part));
    }
    return {};
  }

  Result<void> read_variable(const Id& v, Reflection* r) {
    const uint32_t storage = v.def.words[2];
    if (storage == kClassPushConstant) {
      uint64_t bytes = 0;
      if (!size_of(pointee(v), 0, &bytes) || bytes > 65536) return damaged("the push constants have no size");
      r->push_constant_bytes = uint32_t(bytes);
      return read_push_constants(pointee(v), r);
    }
    if (storage != kClassStorageBuffer && storage != kClassUniformConstant && storage != kClassUniform) return {};
    const Id* type = id(pointee(v));
    Binding b;
    if (v.set < 0 || v.binding < 0 || !type) return damaged("a buffer has no set or binding");
    b.set = uint32_t(v.set);
    b.binding = uint32_t(v.binding);
    if (storage == kClassUniformConstant) {
      const Id* image = type->def.op == kTypeSampledImage ? id(type->def.words[1]) : type;
      if (!image || image->def.op != kTypeImage || image->def.words[2] != kDimBuffer || image->def.words[6] != 1)
        return damaged("it declares an image that is not a uniform texel buffer");
      b.kind = BindingKind::kTexel;
      b.reads = true;
    } else if (storage == kClassStorageBuffer && type->def.op == kTypeStruct) {
      const uint32_t members = type->def.count - 1;
      b.reads = !v.non_readable && type->members_non_readable < members;
      b.writes = !v.non_writable && type->members_non_writable < members;
    } else {
      return damaged("it declares a buffer that is neither a storage nor a uniform texel buffer");
    }
    for (Binding& known : r->bindings) {
      if (known.set != b.set || known.binding != b.binding) continue;
      if (known.kind != b.kind) return damaged("a binding is declared as two kinds of buffer");
      known.reads |= b.reads;
      known.writes |= b.writes;
      return {};
    }
    r->bindings.push_back(b);
    return {};
  }

  Result<void> read_push_constants(uint32_t type, Reflection* r) {
    const Id* block = id(type);
    if (!block || block->def.op != kTypeStruct) return {};
    for (uint32_t i = 0; i + 1 < block->def.count; ++i) {
      const Id* member = id(block->def.words[1 + i]);
      const bool scalar = member && (member->def.op == kTypeInt || member->def.op == kTypeFloat);
      if (!scalar || member->def.words[1] != 32 || i >= block->member_offsets.size()) continue;
      r->push_constants.push_back({i < block->member_names.size() ? text_of(block->member_names[i], 2) : "",
                                   block->member_offsets[i], member->def.op == kTypeFloat});
    }
    std::sort(r->push_constants.begin(), r->push_constants.end(),
              [](const PushConstant& a, const PushConstant& b) { return a.offset < b.offset; });
    return {};
  }

  /// The value of an integer or boolean constant under spec_.
  bool evaluate(uint32_t which, int depth, uint64_t* out) const {
    const Id* c = id(which);
    if (!c || !c->def.words || depth > kMaxDepth) return false;
    switch (c->def.op) {
      case kConstant:
      case kConstantTrue:
      case kConstantFalse:
      case kSpecConstant:
      case kSpecConstantTrue:
      case kSpecConstantFalse:
        *out = c->spec_id >= 0 && size_t(c->spec_id) < spec_.size() ? spec_[size_t(c->spec_id)] : default_of(*c);
        return true;
      case kSpecConstantOp: break;
      default: return false;
    }
    // Operands: type, result, opcode, then ids. 32-bit unsigned arithmetic is all that GLSL uint expressions need.
    uint64_t v[3] = {0, 0, 0};
    const uint32_t operands = c->def.count - 3;
    if (operands > 3) return false;
    for (uint32_t i = 0; i < operands; ++i)
      if (!evaluate(c->def.words[3 + i], depth + 1, &v[i])) return false;
    const uint32_t a = uint32_t(v[0]), b = uint32_t(v[1]);
    switch (c->def.words[2]) {
      case 128: *out = uint32_t(a + b); return true;                // IAdd
      case 130: *out = uint32_t(a - b); return true;                // ISub
      case 132: *out = uint32_t(a * b); return true;                // IMul
      case 134: *out = b ? a / b : 0; return b != 0;                // UDiv
      case 137: *out = b ? a % b : 0; return b != 0;                // UMod
      case 166: *out = a || b; return true;                         // LogicalOr
      case 167: *out = a && b; return true;                         // LogicalAnd
      case 168: *out = !a; return true;                             // LogicalNot
      case 169: *out = a ? v[1] : v[2]; return true;                // Select
      case 170: *out = a == b; return true;                         // IEqual
      case 171: *out = a != b; return true;                         // INotEqual
      case 172: *out = a > b; return true;                          // UGreaterThan
      case 174: *out = a >= b; return true;                         // UGreaterThanEqual
      case 176: *out = a < b; return true;                          // ULessThan
      case 178: *out = a <= b; return true;                         // ULessThanEqual
      case 194: *out = b < 32 ? a >> b : 0; return true;            // ShiftRightLogical
      case 196: *out = b < 32 ? uint32_t(a << b) : 0; return true;  // ShiftLeftLogical
      case 197: *out = a | b; return true;                          // BitwiseOr
      case 199: *out = a & b; return true;                          // BitwiseAnd
      default: return false;
    }
  }

  /// Bytes of a type: by its offsets and strides where it has them, packed where it has none (shared memory).
  bool size_of(uint32_t type, int depth, uint64_t* out) const {
    const Id* t = id(type);
    if (!t || !t->def.words || depth > kMaxDepth) return false;
    const uint32_t* w = t->def.words;
    uint64_t inner = 0, length = 0;
    switch (t->def.op) {
      case kTypeBool: *out = 4; return true;
      case kTypeInt:
      case kTypeFloat: *out = w[1] / 8; return true;
      case kTypeVector:
      case kTypeMatrix:
        if (!size_of(w[1], depth + 1, &inner)) return false;
        *out = inner * w[2];
        return *out <= UINT32_MAX;
      case kTypeArray:
        if (!size_of(w[1], depth + 1, &inner) || !evaluate(w[2], 0, &length) || length > UINT32_MAX) return false;
        *out = (t->array_stride ? t->array_stride : inner) * length;
        return *out <= UINT32_MAX;
      case kTypeStruct: {
        uint64_t end = 0;
        for (uint32_t i = 0; i + 1 < t->def.count; ++i) {
          if (!size_of(w[1 + i], depth + 1, &inner)) return false;
          end = (i < t->member_offsets.size() ? t->member_offsets[i] : end) + inner;
          if (end > UINT32_MAX) return false;
        }
        *out = end;
        return true;
      }
      default: return false;
    }
  }

  const Module& module_;
  const std::vector<uint32_t>& spec_;
  std::vector<Id> ids_;
  std::vector<uint32_t> capabilities_;
  std::string entry_point_;
  std::array<uint32_t, 3> local_size_{1, 1, 1};
  int entry_points_ = 0;
};

}  // namespace

bool Reflection::has_spec(uint32_t id) const {
  return std::any_of(spec_constants.begin(), spec_constants.end(), [id](const SpecConstant& c) { return c.id == id; });
}

bool Reflection::needs(uint32_t capability) const {
  return std::binary_search(capabilities.begin(), capabilities.end(), capability);
}

Result<Reflection> reflect(const Module& m) {
  const std::vector<uint32_t> defaults;
  Parser p(m, defaults);
  VIREO_TRY(p.parse());
  return p.reflection();
}

std::array<uint32_t, 3> local_size(const Reflection& r, const std::vector<uint32_t>& spec) {
  std::array<uint32_t, 3> size = r.default_local_size;
  for (size_t i = 0; i < 3; ++i)
    if (r.local_size_ids[i] >= 0 && size_t(r.local_size_ids[i]) < spec.size())
      size[i] = spec[size_t(r.local_size_ids[i])];
  return size;
}

Result<uint64_t> shared_bytes(const Module& m, const std::vector<uint32_t>& spec) {
  Parser p(m, spec);
  VIREO_TRY(p.parse());
  return p.shared_bytes();
}

}  // namespace vireo::shader
