#include "shader/count.h"

#include <algorithm>

#include "base/error.h"
#include "shader/interpreter.h"

namespace vireo::shader {
namespace {

using namespace spirv;
using Instruction = Program::Instruction;
using Type = Program::Type;

constexpr const char* kNames[kCounts] = {"fma",          "float",       "half",         "integer",      "shift",
                                         "multiply",     "convert",     "special",      "shared_load",  "shared_store",
                                         "shared_words", "global_load", "global_store", "global_words", "global_bytes",
                                         "texel",        "shuffle",     "barrier",      "branch"};

/// Positions along an axis with how many stand for each: the first of the middle ones, and the last.
std::vector<std::pair<uint32_t, double>> samples(uint32_t n) {
  if (n == 1) return {{0, 1}};
  return {{n / 2 - (n > 2 ? 0 : 1), double(n - 1)}, {n - 1, 1}};
}

/// Subgroups of a workgroup with how many stand for each. At the far edge some may have nothing to do: there each is
/// looked at, or one of four.
std::vector<std::pair<uint32_t, double>> subgroup_samples(uint32_t n, bool edge) {
  std::vector<std::pair<uint32_t, double>> all;
  if (edge || n <= 3) {
    const uint32_t step = n > 16 ? 4 : 1;
    for (uint32_t i = 0; i < n; i += step) all.push_back({i, double(std::min(step, n - i))});
  } else {
    all = {{0, 1}, {n / 2, double(n - 2)}, {n - 1, 1}};
  }
  return all;
}

/// The share of a subgroup's lanes that access different places, over the first accesses: lane 0 beside the lanes that
/// differ from it in one bit.
Result<double> distinct_lanes(const Program& p, const std::vector<uint32_t>& push, Where at) {
  const auto& size = p.local_size;
  const uint32_t lanes = size[0] * size[1] * size[2];
  const auto addresses = [&](uint32_t lane) -> Result<std::vector<uint64_t>> {
    at.local = {lane % size[0], lane / size[0] % size[1], lane / size[0] / size[1]};
    Invocation i(p, push, at);
    if (Result<Mix> done = i.run(); !done) return std::move(done.error());
    return i.addresses();
  };
  VIREO_ASSIGN(const std::vector<uint64_t> first, addresses(0));
  if (first.empty()) return 1.0;
  std::vector<double> distinct(first.size(), 1);
  double all = 1;
  for (uint32_t bit = 1; bit < at.subgroup && bit < lanes; bit *= 2, all *= 2) {
    VIREO_ASSIGN(const std::vector<uint64_t> other, addresses(bit));
    for (size_t i = 0; i < first.size(); ++i)
      if (i >= other.size() || other[i] != first[i]) distinct[i] *= 2;
  }
  double sum = 0;
  for (double d : distinct) sum += d;
  return sum / (all * double(first.size()));
}

}  // namespace

const char* to_string(Count c) { return kNames[size_t(c)]; }

double Mix::issued() const {
  double sum = 0;
  for (size_t i = 0; i < kCounts; ++i)
    if (Count(i) != Count::kSharedWords && Count(i) != Count::kGlobalWords && Count(i) != Count::kGlobalBytes)
      sum += n[i];
  return sum;
}

Result<Mix> count(const Launch& launch, uint32_t subgroup) {
  if (!launch.module || !launch.spec || !launch.push || subgroup == 0)
    return fail(ErrorCode::kInternal, "counting instructions: got no module, constants or subgroup");
  VIREO_ASSIGN(const Program program, Program::decode(*launch.module, *launch.spec));
  const auto& size = program.local_size;
  const uint32_t lanes = size[0] * size[1] * size[2], subgroups = std::max(1u, (lanes + subgroup - 1) / subgroup);
  Mix total;
  for (const auto& x : samples(std::max(1u, launch.groups[0])))
    for (const auto& y : samples(std::max(1u, launch.groups[1])))
      for (const auto& s : subgroup_samples(subgroups, x.first + 1 == launch.groups[0])) {
        const uint32_t lane = std::min(s.first * subgroup, lanes ? lanes - 1 : 0);
        Where at;
        at.group = {x.first, y.first, launch.groups[2] / 2};
        at.groups = launch.groups;
        at.local = {lane % size[0], lane / size[0] % size[1], lane / size[0] / size[1]};
        at.subgroup = subgroup;
        VIREO_ASSIGN(const Mix one, Invocation(program, *launch.push, at).run());
        total.add(one, x.second * y.second * s.second * std::max(1u, launch.groups[2]));
      }
  Where middle;
  middle.group = {launch.groups[0] / 2, launch.groups[1] / 2, launch.groups[2] / 2};
  middle.groups = launch.groups;
  middle.subgroup = subgroup;
  VIREO_ASSIGN(const double share, distinct_lanes(program, *launch.push, middle));
  total[Count::kGlobalBytes] = total[Count::kGlobalWords] * 4 * subgroup * share;
  return total;
}

Result<uint64_t> function_bytes(const Module& module, const std::vector<uint32_t>& spec) {
  VIREO_ASSIGN(const Program p, Program::decode(module, spec));
  uint64_t bytes = 0;
  for (const Program::Variable& v : p.variables) {
    if (!v.type || (v.storage != kFunctionMemory && v.storage != kPrivate)) continue;
    // The interpreter gives every number four bytes; halves take two.
    const Type* t = p.type(v.type);
    while (t->op == kTypeArray || t->op == kTypeVector) t = p.type(t->element);
    bytes += p.type(v.type)->bytes / (t->op == kTypeFloat && t->width == 16 ? 2 : 1);
  }
  return bytes;
}

Result<Mix> count_static(const Module& module) {
  VIREO_ASSIGN(const Program p, Program::decode(module, {}));
  const auto pointee = [&](uint32_t id) -> const Program::Variable* {  // the variable behind a pointer
    for (int depth = 0; depth < 4; ++depth) {
      if (id < p.bound && p.variables[id].type) return &p.variables[id];
      const Instruction* chain = nullptr;
      for (const Instruction& i : p.code)
        if ((i.op == kAccessChain || i.op == kInBoundsAccessChain) && i.count > 2 && i.words[1] == id) chain = &i;
      if (!chain) return nullptr;
      id = chain->words[2];
    }
    return nullptr;
  };
  Mix m;
  for (const Instruction& i : p.code) {
    const Type* t = i.count ? p.type(i.words[0]) : nullptr;
    const double n = t && t->op == kTypeVector ? t->length : 1;
    const Type* scalar = t && t->op == kTypeVector ? p.type(t->element) : t;
    const bool half = scalar && scalar->op == kTypeFloat && scalar->width == 16;
    switch (i.op) {
      case kLoad:
      case kStore: {
        const Program::Variable* v = pointee(i.op == kLoad && i.count > 2 ? i.words[2] : i.words[0]);
        if (!v) break;
        if (v->storage == kWorkgroup) m[i.op == kLoad ? Count::kSharedLoad : Count::kSharedStore] += 1;
        if (v->storage == kStorageBuffer) m[i.op == kLoad ? Count::kGlobalLoad : Count::kGlobalStore] += 1;
        break;
      }
      case kExtInst:
        if (i.count < 4) break;
        if (i.words[3] == kFma) m[half ? Count::kHalf : Count::kFma] += half ? n / 2 : n;
        else if (i.words[3] == kPackHalf2x16 || i.words[3] == kUnpackHalf2x16) m[Count::kConvert] += 2;
        else if (i.words[3] >= kExp && i.words[3] <= kInverseSqrt) m[Count::kSpecial] += n;
        else m[Count::kShift] += n;
        break;
      case kFAdd:
      case kFSub:
      case kFMul:
      case kVectorTimesScalar:
      case kFDiv: m[half ? Count::kHalf : Count::kFloat] += half ? n / 2 : n; break;
      case kDot: m[Count::kFma] += 4; break;
      case kSDot: m[Count::kFma] += 1; break;
      case kIAdd:
      case kISub:
      case kBitwiseAnd:
      case kBitwiseOr:
      case kBitwiseXor:
      case kSelect: m[Count::kInteger] += n; break;
      case kIMul: m[Count::kMultiply] += n; break;
      case kUDiv:
      case kUMod:
      case kSDiv:
      case kSRem:
      case kSMod: m[Count::kMultiply] += n; break;
      case kShiftLeftLogical:
      case kShiftRightLogical:
      case kShiftRightArithmetic: m[Count::kShift] += n; break;
      case kConvertFToU:
      case kConvertFToS:
      case kConvertSToF:
      case kConvertUToF:
      case kFConvert:
      case kUConvert:
      case kSConvert: m[Count::kConvert] += n; break;
      case kImageFetch: m[Count::kTexel] += 1; break;
      case kGroupNonUniformShuffle: m[Count::kShuffle] += n; break;
      case kControlBarrier: m[Count::kBarrier] += 1; break;
      case kBranchConditional:
      case kSwitch: m[Count::kBranch] += 1; break;
      default:
        if (i.op >= kIEqual && i.op <= kFUnordGreaterThanEqual) m[Count::kShift] += n;
    }
  }
  return m;
}

}  // namespace vireo::shader
