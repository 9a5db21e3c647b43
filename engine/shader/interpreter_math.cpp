// Numbers of the interpreter: what is folded, what was computed before, and what everything else costs.
#include <algorithm>
#include <cmath>

#include "shader/interpreter.h"

namespace vireo::shader {

using namespace spirv;

namespace {
/// Offsets wrap around like the numbers they belong to.
int32_t plus(int32_t offset, uint32_t x) { return int32_t(uint32_t(offset) + x); }
}  // namespace

Scalar Invocation::integer(uint32_t op, Scalar a, Scalar b) {
  const uint32_t x = a.bits, y = b.bits;
  const int32_t sx = int32_t(x), sy = int32_t(y);
  uint32_t r = 0;
  Count cost = Count::kInteger;
  switch (op) {
    case kIAdd: r = x + y; break;
    case kISub: r = x - y; break;
    case kIMul: r = x * y, cost = Count::kMultiply; break;
    case kUDiv: r = y ? x / y : 0; break;
    case kUMod: r = y ? x % y : 0; break;
    case kSDiv: r = sy && !(sx == INT32_MIN && sy == -1) ? uint32_t(sx / sy) : 0; break;
    case kSRem:
    case kSMod: r = sy && !(sx == INT32_MIN && sy == -1) ? uint32_t(sx % sy) : 0; break;
    case kShiftRightLogical: r = y < 32 ? x >> y : 0, cost = Count::kShift; break;
    case kShiftRightArithmetic: r = uint32_t(sx >> std::min(y, 31u)), cost = Count::kShift; break;
    case kShiftLeftLogical: r = y < 32 ? x << y : 0, cost = Count::kShift; break;
    case kBitwiseOr:
    case kLogicalOr: r = x | y; break;
    case kBitwiseXor: r = x ^ y; break;
    case kBitwiseAnd:
    case kLogicalAnd: r = x & y; break;
    case kLogicalEqual: r = (x != 0) == (y != 0); break;
    case kLogicalNotEqual: r = (x != 0) != (y != 0); break;
    case kIEqual: r = x == y, cost = Count::kShift; break;
    case kINotEqual: r = x != y, cost = Count::kShift; break;
    case kUGreaterThan: r = x > y, cost = Count::kShift; break;
    case kUGreaterThanEqual: r = x >= y, cost = Count::kShift; break;
    case kULessThan: r = x < y, cost = Count::kShift; break;
    case kULessThanEqual: r = x <= y, cost = Count::kShift; break;
    case kSGreaterThan: r = sx > sy, cost = Count::kShift; break;
    case kSGreaterThanEqual: r = sx >= sy, cost = Count::kShift; break;
    case kSLessThan: r = sx < sy, cost = Count::kShift; break;
    case kSLessThanEqual: r = sx <= sy, cost = Count::kShift; break;
    default: break;
  }
  if (a.known() && b.known()) return number(r);
  // What depends on data is taken to hold: a branch that is there for something does it.
  if (op >= kIEqual && op <= kSLessThanEqual && (from_data(a.symbol) || from_data(b.symbol))) r = 1;
  if (op == kIAdd && b.known()) return {r, a.symbol, plus(a.offset, y)};
  if (op == kIAdd && a.known()) return {r, b.symbol, plus(b.offset, x)};
  if (op == kISub && b.known()) return {r, a.symbol, plus(a.offset, 0u - y)};
  if (op == kISub && a.symbol == b.symbol) return number(r);
  if (op == kIAdd) {
    if (a.symbol > b.symbol) std::swap(a, b);
    return {r, symbol({op, a.symbol, b.symbol, 0, 0}, cost), plus(a.offset, uint32_t(b.offset))};
  }
  const Expression own{op, a.symbol, b.symbol, a.known() ? int32_t(x) : a.offset, b.known() ? int32_t(y) : b.offset};
  const auto power = [](uint32_t v) { return v && !(v & (v - 1)); };
  if (op == kIMul && (a.known() || b.known())) {
    if (a.known()) std::swap(a, b);
    if (b.bits == 0) return number(0);
    if (b.bits == 1) return a;
    return {r, symbol({op, a.symbol, 0, int32_t(b.bits), 0}, power(b.bits) ? Count::kShift : cost),
            int32_t(uint32_t(a.offset) * b.bits)};
  }
  if (op == kUDiv || op == kUMod || op == kSDiv || op == kSRem || op == kSMod) {
    if (b.known() && b.bits == 1) return op == kUDiv || op == kSDiv ? a : number(0);
    if (b.known() && power(b.bits)) cost = op == kUDiv ? Count::kShift : Count::kInteger;
    else if (b.known())
      cost = Count::kMultiply,
      add_if_new(own,
                 {{Count::kShift, 1}, {Count::kInteger, op == kUMod ? 2 : 1}, {Count::kMultiply, op == kUMod ? 1 : 0}});
    else
      // By a float reciprocal and two corrections.
      add_if_new(own, {{Count::kSpecial, 1},
                       {Count::kConvert, 2},
                       {Count::kMultiply, 3},
                       {Count::kShift, 3},
                       {Count::kInteger, 6}});
  }
  return number(r, symbol(own, cost));
}

void Invocation::add_if_new(const Expression& e, std::initializer_list<std::pair<Count, int>> costs) {
  if (known_.count(e)) return;
  for (const auto& c : costs) add(c.first, c.second);
}

/// An operation on the components of one or two integer operands.
bool Invocation::integers(const Instruction& i) {
  const Value &a = value(i.words[2]), &b = value(i.count > 3 ? i.words[3] : 0);
  Value out;
  for (uint32_t c = 0; c < components(i.words[0]); ++c) out.s[c] = integer(i.op, a.s[c], b.s[c]);
  if (components(i.words[0]) == 1 && i.op >= kIEqual && i.op <= kSLessThanEqual)
    compared_ = {i.op, a.s[0].bits, b.s[0].bits}, compared_id_ = i.words[1];
  set(i, out);
  return true;
}

/// A float operation on components; known operands fold.
template <typename F>
bool Invocation::floats(const Instruction& i, std::initializer_list<uint32_t> operands, F&& f, Count cost, double each,
                        bool pairs) {
  Value out;
  const uint32_t n = components(i.words[0]);
  bool known = true;
  for (uint32_t c = 0; c < n; ++c) {
    float x[3] = {0, 0, 0};
    size_t k = 0;
    for (uint32_t id : operands) {
      const Value& v = value(id);
      const Scalar& s = v.s[components(v.type) == 1 && v.type ? 0 : c];
      known = known && s.known();
      x[k++] = s.f();
    }
    out.s[c] = real(f(x), kData);
  }
  if (known)
    for (uint32_t c = 0; c < n; ++c) out.s[c].symbol = 0;
  else if (pairs && is_half(i.words[0]))
    add(cost == Count::kFma || cost == Count::kFloat ? Count::kHalf : cost, each * std::ceil(n / 2.0));
  else add(cost, each * n);
  set(i, out);
  return true;
}

bool Invocation::compare_floats(const Instruction& i) {
  const Value &a = value(i.words[2]), &b = value(i.words[3]);
  Value out;
  for (uint32_t c = 0; c < components(i.words[0]); ++c) {
    const float x = a.s[c].f(), y = b.s[c].f();
    bool r = false;
    switch (i.op) {
      case kFOrdEqual:
      case kFUnordEqual: r = x == y; break;
      case kFOrdNotEqual:
      case kFUnordNotEqual: r = x != y; break;
      case kFOrdLessThan:
      case kFUnordLessThan: r = x < y; break;
      case kFOrdGreaterThan:
      case kFUnordGreaterThan: r = x > y; break;
      case kFOrdLessThanEqual:
      case kFUnordLessThanEqual: r = x <= y; break;
      default: r = x >= y; break;
    }
    const bool known = a.s[c].known() && b.s[c].known();
    if (!known) add(Count::kShift);
    out.s[c] = known ? number(r) : number(1, fresh(true));  // what depends on data is taken to hold
  }
  set(i, out);
  return true;
}

bool Invocation::select(const Instruction& i) {
  const Value c = value(i.words[2]), a = value(i.words[3]), b = value(i.words[4]);
  Value out = a;
  for (uint32_t k = 0; k < components(i.words[0]); ++k) {
    const Scalar& choice = c.s[components(c.type) == 1 ? 0 : k];
    const Scalar& taken = choice.bits ? a.s[k] : b.s[k];
    out.s[k] = taken;
    if (choice.known()) continue;
    if (is_float(i.words[0])) out.s[k].symbol = kData, add(Count::kInteger);
    else
      out.s[k] = number(taken.bits, symbol({kSelect, choice.symbol, choice.bits ? b.s[k].symbol : a.s[k].symbol,
                                            int32_t(taken.symbol), int32_t(taken.bits)},
                                           Count::kInteger));
  }
  set(i, out);
  return true;
}

bool Invocation::convert(const Instruction& i) {
  const Value& a = value(i.words[2]);
  Value out;
  for (uint32_t c = 0; c < components(i.words[0]); ++c) {
    const Scalar& s = a.s[c];
    const bool to_float = i.op == kConvertUToF || i.op == kConvertSToF || i.op == kFConvert;
    if (i.op == kConvertUToF) out.s[c] = real(float(s.bits), kData);
    else if (i.op == kConvertSToF) out.s[c] = real(float(int32_t(s.bits)), kData);
    else if (i.op == kFConvert) out.s[c] = s;
    else if (i.op == kConvertFToS)
      out.s[c] = number(uint32_t(int32_t(std::max(-2e9f, std::min(2e9f, s.f())))), fresh());
    else if (i.op == kConvertFToU) out.s[c] = number(uint32_t(std::max(0.f, std::min(4e9f, s.f()))), fresh());
    else out.s[c] = s;
    if (s.known()) out.s[c].symbol = 0;
    else add(Count::kConvert), out.s[c].symbol = to_float ? kData : out.s[c].symbol;
  }
  set(i, out);
  return true;
}

bool Invocation::extended(const Instruction& i) {
  if (i.count < 5) return false;
  const uint32_t* w = i.words;
  const auto pair = [&](uint32_t op, auto&& f) {
    Value out;
    for (uint32_t c = 0; c < components(w[0]); ++c) {
      const Scalar a = value(w[4]).s[c], b = value(w[5]).s[c];
      const uint32_t r = f(a.bits, b.bits);
      out.s[c] = a.known() && b.known()
                     ? number(r)
                     : number(r, symbol({200000 + op, a.symbol, b.symbol, a.known() ? int32_t(a.bits) : a.offset,
                                         b.known() ? int32_t(b.bits) : b.offset},
                                        Count::kShift));
    }
    set(i, out);
    return true;
  };
  const auto one = [&](float (*f)(const float*), Count c, double each) { return floats(i, {w[4]}, f, c, each); };
  switch (w[3]) {
    case kFma:
      return i.count >= 7 && floats(
                                 i, {w[4], w[5], w[6]}, [](const float* x) { return x[0] * x[1] + x[2]; }, Count::kFma);
    case kFAbs: return one([](const float* x) { return std::fabs(x[0]); }, Count::kFloat, 0);
    case kFSign: return one([](const float* x) { return float((x[0] > 0) - (x[0] < 0)); }, Count::kShift, 2);
    case kFloor: return one([](const float* x) { return std::floor(x[0]); }, Count::kConvert, 1);
    case kCeil: return one([](const float* x) { return std::ceil(x[0]); }, Count::kConvert, 1);
    case kRound:
    case kRoundEven: return one([](const float* x) { return std::nearbyint(x[0]); }, Count::kConvert, 1);
    case kTrunc: return one([](const float* x) { return std::trunc(x[0]); }, Count::kConvert, 1);
    case kFract: return one([](const float* x) { return x[0] - std::floor(x[0]); }, Count::kConvert, 2);
    case kExp2: return one([](const float* x) { return std::exp2(x[0]); }, Count::kSpecial, 1);
    case kLog2: return one([](const float* x) { return std::log2(x[0]); }, Count::kSpecial, 1);
    case kExp: return one([](const float* x) { return std::exp(x[0]); }, Count::kSpecial, 2);
    case kLog: return one([](const float* x) { return std::log(x[0]); }, Count::kSpecial, 2);
    case kSqrt: return one([](const float* x) { return std::sqrt(x[0]); }, Count::kSpecial, 2);
    case kInverseSqrt: return one([](const float* x) { return 1 / std::sqrt(x[0]); }, Count::kSpecial, 1);
    case kFMin:
      return i.count >= 6 && floats(
                                 i, {w[4], w[5]}, [](const float* x) { return std::min(x[0], x[1]); }, Count::kShift);
    case kFMax:
      return i.count >= 6 && floats(
                                 i, {w[4], w[5]}, [](const float* x) { return std::max(x[0], x[1]); }, Count::kShift);
    case kFClamp:
      return i.count >= 7 && floats(
                                 i, {w[4], w[5], w[6]},
                                 [](const float* x) { return std::min(std::max(x[0], x[1]), x[2]); }, Count::kShift, 2);
    case kFMix:
      return i.count >= 7 &&
             floats(
                 i, {w[4], w[5], w[6]}, [](const float* x) { return x[0] + (x[1] - x[0]) * x[2]; }, Count::kFma, 2);
    case kUMin: return i.count >= 6 && pair(w[3], [](uint32_t a, uint32_t b) { return std::min(a, b); });
    case kUMax: return i.count >= 6 && pair(w[3], [](uint32_t a, uint32_t b) { return std::max(a, b); });
    case kSMin:
      return i.count >= 6 &&
             pair(w[3], [](uint32_t a, uint32_t b) { return uint32_t(std::min(int32_t(a), int32_t(b))); });
    case kSMax:
      return i.count >= 6 &&
             pair(w[3], [](uint32_t a, uint32_t b) { return uint32_t(std::max(int32_t(a), int32_t(b))); });
    case kSClamp:
    case kUClamp: {
      if (i.count < 7) return false;
      Value out;
      for (uint32_t c = 0; c < components(w[0]); ++c) {
        const Scalar a = value(w[4]).s[c], lo = value(w[5]).s[c], hi = value(w[6]).s[c];
        const uint32_t r = w[3] == kSClamp
                               ? uint32_t(std::min(std::max(int32_t(a.bits), int32_t(lo.bits)), int32_t(hi.bits)))
                               : std::min(std::max(a.bits, lo.bits), hi.bits);
        const bool known = a.known() && lo.known() && hi.known();
        out.s[c] = known ? number(r)
                         : number(r, symbol({200000 + w[3], a.symbol, lo.symbol, a.offset, int32_t(hi.symbol)},
                                            Count::kShift, 2));
      }
      set(i, out);
      return true;
    }
    case kPackHalf2x16: {
      const Value& a = value(w[4]);
      const bool known = a.s[0].known() && a.s[1].known();
      if (!known) add(Count::kConvert, 2), add(Count::kInteger);
      Value out;
      out.s[0] = number(0, known ? 0 : fresh());
      set(i, out);
      return true;
    }
    case kUnpackHalf2x16: {
      const bool known = value(w[4]).s[0].known();
      if (!known) add(Count::kConvert, 2);
      Value out;
      for (uint32_t c = 0; c < 2; ++c) out.s[c] = real(0, known ? 0 : kData);
      set(i, out);
      return true;
    }
    default: return false;
  }
}

bool Invocation::arithmetic(const Instruction& i) {
  const uint32_t* w = i.words;
  switch (i.op) {
    case kIAdd:
    case kISub:
    case kIMul:
    case kUDiv:
    case kSDiv:
    case kUMod:
    case kSRem:
    case kSMod:
    case kShiftRightLogical:
    case kShiftRightArithmetic:
    case kShiftLeftLogical:
    case kBitwiseOr:
    case kBitwiseXor:
    case kBitwiseAnd:
    case kLogicalOr:
    case kLogicalAnd:
    case kLogicalEqual:
    case kLogicalNotEqual:
    case kIEqual:
    case kINotEqual:
    case kUGreaterThan:
    case kUGreaterThanEqual:
    case kULessThan:
    case kULessThanEqual:
    case kSGreaterThan:
    case kSGreaterThanEqual:
    case kSLessThan:
    case kSLessThanEqual: return integers(i);
    case kLogicalNot: {
      Value out = value(w[2]);
      for (Scalar& s : out.s) s.bits = !s.bits;  // a predicate's other sense
      set(i, out);
      return true;
    }
    case kSNegate:
    case kNot: {
      Value out = value(w[2]);
      for (uint32_t c = 0; c < components(w[0]); ++c) {
        const Scalar s = out.s[c];
        const uint32_t r = i.op == kNot ? ~s.bits : 0u - s.bits;
        out.s[c] = s.known() ? number(r) : number(r, symbol({i.op, s.symbol, 0, s.offset, 0}, Count::kInteger));
      }
      set(i, out);
      return true;
    }
    case kFAdd:
      return floats(
          i, {w[2], w[3]}, [](const float* x) { return x[0] + x[1]; }, Count::kFloat);
    case kFSub:
      return floats(
          i, {w[2], w[3]}, [](const float* x) { return x[0] - x[1]; }, Count::kFloat);
    case kFMul:
    case kVectorTimesScalar:
      return floats(
          i, {w[2], w[3]}, [](const float* x) { return x[0] * x[1]; }, Count::kFloat);
    case kFDiv: {
      // A reciprocal, a product and a step that makes it exact.
      const bool done = floats(
          i, {w[2], w[3]}, [](const float* x) { return x[1] != 0 ? x[0] / x[1] : 0; }, Count::kSpecial, 1, false);
      if (done && !value(w[1]).s[0].known()) add(Count::kFloat, 2.0 * components(w[0]));
      return done;
    }
    case kFNegate:
      return floats(
          i, {w[2]}, [](const float* x) { return -x[0]; }, Count::kFloat, 0);
    case kDot: {
      add(Count::kFma, components(value(w[2]).type));
      Value out;
      out.s[0] = real(0, kData);
      set(i, out);
      return true;
    }
    case kSDot: {
      add(Count::kFma);
      Value out;
      out.s[0] = number(0, fresh());
      set(i, out);
      return true;
    }
    case kFOrdEqual:
    case kFUnordEqual:
    case kFOrdNotEqual:
    case kFUnordNotEqual:
    case kFOrdLessThan:
    case kFUnordLessThan:
    case kFOrdGreaterThan:
    case kFUnordGreaterThan:
    case kFOrdLessThanEqual:
    case kFUnordLessThanEqual:
    case kFOrdGreaterThanEqual:
    case kFUnordGreaterThanEqual: return compare_floats(i);
    case kIsNan:
    case kIsInf: {
      Value out;
      for (uint32_t c = 0; c < components(w[0]); ++c) add(Count::kShift), out.s[c] = number(0, fresh());
      set(i, out);
      return true;
    }
    case kAny:
    case kAll: {
      const Value& a = value(w[2]);
      const uint32_t n = components(a.type);
      bool known = true, any = false, all = true;
      for (uint32_t c = 0; c < n; ++c)
        known = known && a.s[c].known(), any = any || a.s[c].bits, all = all && a.s[c].bits;
      if (!known) add(Count::kInteger, n - 1);
      Value out;
      out.s[0] = number(i.op == kAny ? any : all, known ? 0 : fresh());
      set(i, out);
      return true;
    }
    case kSelect: return select(i);
    case kConvertFToU:
    case kConvertFToS:
    case kConvertSToF:
    case kConvertUToF:
    case kUConvert:
    case kSConvert:
    case kFConvert: return convert(i);
    default: return false;
  }
}

}  // namespace vireo::shader
