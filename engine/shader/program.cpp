#include "shader/program.h"

#include <algorithm>

#include "base/error.h"
#include "shader/reflect.h"

namespace vireo::shader {
namespace {

using namespace spirv;

constexpr uint32_t kMagic = 0x07230203, kMaxBound = 1u << 20, kMaxBytes = 1u << 30;
constexpr uint32_t kMaxLanes = 65536;             // of a workgroup; Vulkan's devices take up to 2048
constexpr uint64_t kMaxFunctionBytes = 1u << 18;  // of an invocation's own variables: far above what registers hold
constexpr uint32_t kSpecId = 1, kArrayStride = 6, kBuiltInDecoration = 11, kOffset = 35;

/// Integer arithmetic of constant expressions; false if the operation is none of them.
bool fold(uint32_t op, const uint32_t* v, uint32_t* out) {
  const uint32_t a = v[0], b = v[1];
  switch (op) {
    case kIAdd: *out = a + b; return true;
    case kISub: *out = a - b; return true;
    case kIMul: *out = a * b; return true;
    case kUDiv: *out = b ? a / b : 0; return b != 0;
    case kUMod: *out = b ? a % b : 0; return b != 0;
    case kLogicalOr: *out = a || b; return true;
    case kLogicalAnd: *out = a && b; return true;
    case kLogicalNot: *out = !a; return true;
    case kSelect: *out = a ? b : v[2]; return true;
    case kIEqual: *out = a == b; return true;
    case kINotEqual: *out = a != b; return true;
    case kUGreaterThan: *out = a > b; return true;
    case kUGreaterThanEqual: *out = a >= b; return true;
    case kULessThan: *out = a < b; return true;
    case kULessThanEqual: *out = a <= b; return true;
    case kShiftRightLogical: *out = b < 32 ? a >> b : 0; return true;
    case kShiftLeftLogical: *out = b < 32 ? a << b : 0; return true;
    case kBitwiseOr: *out = a | b; return true;
    case kBitwiseAnd: *out = a & b; return true;
    case kBitwiseXor: *out = a ^ b; return true;
    default: return false;
  }
}

/// Operand words that an instruction of the function has at least; what is not listed is not known to the interpreter.
uint32_t least_operands(uint16_t op) {
  switch (op) {
    case kReturn:
    case kUnreachable:
    case kMemoryBarrier:
    case kControlBarrier: return 0;
    case kLabel:
    case kBranch: return 1;
    case kUndef:
    case kPhi:
    case kStore:
    case kSelectionMerge:
    case kSwitch:
    case kCompositeConstruct: return 2;
    case kVariable:
    case kLoad:
    case kAccessChain:
    case kInBoundsAccessChain:
    case kBranchConditional:
    case kLoopMerge:
    case kCopyObject:
    case kBitcast:
    case kFNegate:
    case kSNegate:
    case kNot:
    case kLogicalNot:
    case kConvertFToS:
    case kConvertFToU:
    case kConvertSToF:
    case kConvertUToF:
    case kFConvert:
    case kUConvert:
    case kSConvert:
    case kIsNan:
    case kIsInf:
    case kAny:
    case kAll:
    case kImage:
    case kReadClock: return 3;
    case kSelect:
    case kCompositeInsert:
    case kExtInst: return 5;
    default: return 4;
  }
}

class Decoder {
 public:
  Decoder(const Module& m, const std::vector<uint32_t>& spec) : module_(m), spec_(spec) { p_.name = m.name; }

  Result<Program> run() {
    const uint32_t* w = module_.words;
    const size_t n = module_.word_count;
    if (!w || n < 5 || w[0] != kMagic || w[3] == 0 || w[3] > kMaxBound) return damaged("it has no SPIR-V header");
    p_.bound = w[3];
    p_.types.resize(p_.bound);
    p_.variables.resize(p_.bound);
    p_.constants.resize(p_.bound);
    p_.constant_types.assign(p_.bound, 0);
    p_.blocks.resize(p_.bound);
    spec_ids_.assign(p_.bound, -1);
    strides_.assign(p_.bound, 0);
    built_ins_.assign(p_.bound, -1);
    offsets_.resize(p_.bound);
    bool code = false;
    int functions = 0;
    uint32_t label = 0;
    for (size_t at = 5; at < n;) {
      const uint32_t length = w[at] >> 16;
      if (length == 0 || length > n - at) return damaged("an instruction reaches beyond its end");
      const Program::Instruction i{uint16_t(w[at] & 0xffff), length - 1, w + at + 1};
      at += length;
      if (i.op == kFunction) {
        code = true;
        ++functions;
        continue;
      }
      if (i.op == kFunctionEnd) continue;
      if (code) {
        if (i.count < least_operands(i.op)) return damaged(fmt::format("instruction {} is too short", i.op));
        if (i.op == kLabel) {
          if (i.words[0] >= p_.bound || p_.blocks[i.words[0]].exists) return damaged("a label has no id of its own");
          label = i.words[0];
          p_.blocks[label].exists = true;
          p_.blocks[label].at = uint32_t(p_.code.size());
        }
        if (i.op == kPhi && ++p_.blocks[label].phis + p_.blocks[label].at != p_.code.size())
          return damaged("a phi does not follow its label");
        if (i.op == kLoopMerge) {
          if (i.words[0] >= p_.bound) return damaged("a loop has no end");
          p_.blocks[label].loop = true;
          p_.blocks[label].control = i.words[2];
          p_.blocks[i.words[0]].ends = label;
        }
        if (i.op == kVariable && !variable(i)) return damaged("a variable of its function has no type");
        p_.code.push_back(i);
      } else if (!declare(i)) {
        return damaged(fmt::format("declaration {} is malformed or of a kind that is not known", i.op));
      }
    }
    if (functions != 1 || p_.code.empty() || p_.code[0].op != kLabel)
      return damaged("it does not have exactly one function");
    VIREO_ASSIGN(const Reflection reflection, reflect(module_));
    p_.local_size = local_size(reflection, spec_);
    uint64_t lanes = 1, own = 0;
    for (uint32_t axis : p_.local_size) lanes = axis && lanes <= kMaxLanes ? lanes * axis : kMaxLanes + uint64_t(1);
    if (lanes > kMaxLanes)
      return damaged(fmt::format("its workgroups of {} x {} x {} are none, or beyond any device", p_.local_size[0],
                                 p_.local_size[1], p_.local_size[2]));
    for (const Program::Variable& v : p_.variables)
      if (v.type && (v.storage == kFunctionMemory || v.storage == kPrivate)) own += p_.types[v.type].bytes;
    if (own > kMaxFunctionBytes) return damaged("the variables of an invocation are larger than any device keeps");
    return std::move(p_);
  }

 private:
  Error damaged(const std::string& why) const {
    return fail(ErrorCode::kCorrupt, "shader module '{}' cannot be interpreted: {}", module_.name, why);
  }

  bool variable(const Program::Instruction& i) {
    if (i.count < 3 || i.words[1] >= p_.bound) return false;
    const Program::Type* pointer = p_.type(i.words[0]);
    if (!pointer || pointer->op != kTypePointer) return false;
    p_.variables[i.words[1]] = {pointer->element, i.words[2], built_ins_[i.words[1]]};
    return true;
  }

  bool declare(const Program::Instruction& i) {
    const uint32_t* w = i.words;
    switch (i.op) {
      case kDecorate:
        if (i.count < 2 || w[0] >= p_.bound) return false;
        if (i.count >= 3 && w[1] == kSpecId) spec_ids_[w[0]] = w[2];
        if (i.count >= 3 && w[1] == kArrayStride) strides_[w[0]] = w[2];
        if (i.count >= 3 && w[1] == kBuiltInDecoration) built_ins_[w[0]] = w[2];
        return true;
      case kMemberDecorate:
        if (i.count < 3 || w[0] >= p_.bound) return false;
        if (i.count >= 4 && w[2] == kOffset && w[1] < 256) {
          std::vector<uint32_t>& o = offsets_[w[0]];
          if (o.size() <= w[1]) o.resize(w[1] + 1);
          o[w[1]] = w[3];
        }
        return true;
      case kTypeBool:
      case kTypeInt:
      case kTypeFloat:
      case kTypeVector:
      case kTypeImage:
      case kTypeSampledImage:
      case kTypeArray:
      case kTypeRuntimeArray:
      case kTypeStruct:
      case kTypePointer: return i.count >= 1 && w[0] < p_.bound && type(i);
      case kConstantTrue:
      case kConstantFalse:
      case kConstant:
      case kConstantComposite:
      case kConstantNull:
      case kSpecConstantTrue:
      case kSpecConstantFalse:
      case kSpecConstant:
      case kSpecConstantComposite:
      case kSpecConstantOp: return i.count >= 2 && w[1] < p_.bound && constant(i);
      case kUndef:
        if (i.count < 2 || w[1] >= p_.bound) return false;
        p_.constants[w[1]].assign(4, 0);
        p_.constant_types[w[1]] = w[0];
        return true;
      case kVariable: return variable(i);
      default: return true;
    }
  }

  bool type(const Program::Instruction& i) {
    const uint32_t* w = i.words;
    Program::Type t;
    t.op = i.op;
    const auto element = [&](uint32_t at) { return i.count > at ? p_.type(w[at]) : nullptr; };
    uint64_t bytes = 4;  // of booleans, numbers of up to 32 bits, images and pointers
    switch (i.op) {
      case kTypeInt:
      case kTypeFloat:
        if (i.count < 2) return false;
        t.width = w[1];
        break;
      case kTypeVector:
      case kTypeArray:
        if (i.count < 3 || !element(1)) return false;
        t.element = w[1];
        t.length = w[2];
        if (i.op == kTypeArray) {
          if (w[2] >= p_.bound || p_.constants[w[2]].empty()) return false;
          t.length = p_.constants[w[2]][0];
        }
        t.stride = strides_[w[0]] ? strides_[w[0]] : element(1)->bytes;
        bytes = uint64_t(t.stride) * t.length;
        break;
      case kTypeRuntimeArray:
        if (!element(1)) return false;
        t.element = w[1];
        t.stride = strides_[w[0]] ? strides_[w[0]] : element(1)->bytes;
        break;
      case kTypeStruct:
        bytes = 0;
        for (uint32_t m = 1; m < i.count; ++m) {
          if (!element(m)) return false;
          t.members.push_back(w[m]);
          t.offsets.push_back(m - 1 < offsets_[w[0]].size() ? offsets_[w[0]][m - 1] : uint32_t(bytes));
          bytes = uint64_t(t.offsets.back()) + element(m)->bytes;
        }
        t.length = uint32_t(t.members.size());
        break;
      case kTypePointer:
        if (!element(2)) return false;
        t.storage = w[1];
        t.element = w[2];
        break;
      default: break;
    }
    if (bytes > kMaxBytes) return false;
    t.bytes = uint32_t(bytes);
    p_.types[w[0]] = std::move(t);
    return true;
  }

  bool constant(const Program::Instruction& i) {
    const uint32_t* w = i.words;
    std::vector<uint32_t> made;
    switch (i.op) {
      case kConstant:
      case kSpecConstant:
      case kConstantTrue:
      case kConstantFalse:
      case kSpecConstantTrue:
      case kSpecConstantFalse: {
        const bool number = i.op == kConstant || i.op == kSpecConstant;
        if (number && i.count < 3) return false;
        made = {number ? w[2] : uint32_t(i.op == kConstantTrue || i.op == kSpecConstantTrue)};
        const int64_t id = spec_ids_[w[1]];
        if (id >= 0 && size_t(id) < spec_.size()) made[0] = spec_[size_t(id)];
        break;
      }
      case kConstantNull: made.assign(4, 0); break;
      case kConstantComposite:
      case kSpecConstantComposite:
        for (uint32_t k = 2; k < i.count; ++k) {
          if (w[k] >= p_.bound || p_.constants[w[k]].empty()) return false;
          made.insert(made.end(), p_.constants[w[k]].begin(), p_.constants[w[k]].end());
          if (made.size() > 4) made.resize(4);  // nothing reads further
        }
        break;
      case kSpecConstantOp: {
        uint32_t v[3] = {0, 0, 0};
        if (i.count < 4 || i.count > 6) return false;
        for (uint32_t k = 3; k < i.count; ++k) {
          if (w[k] >= p_.bound || p_.constants[w[k]].empty()) return false;
          v[k - 3] = p_.constants[w[k]][0];
        }
        made.resize(1);
        if (!fold(w[2], v, &made[0])) return false;
        break;
      }
      default: return false;
    }
    if (made.empty()) return false;
    p_.constants[w[1]] = std::move(made);
    p_.constant_types[w[1]] = w[0];
    return true;
  }

  const Module& module_;
  const std::vector<uint32_t>& spec_;
  Program p_;
  std::vector<int64_t> spec_ids_, built_ins_;
  std::vector<uint32_t> strides_;
  std::vector<std::vector<uint32_t>> offsets_;
};

}  // namespace

Result<Program> Program::decode(const Module& m, const std::vector<uint32_t>& spec) { return Decoder(m, spec).run(); }

}  // namespace vireo::shader
