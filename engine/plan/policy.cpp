#include "plan/policy.h"

#include <cmath>
#include <locale>
#include <sstream>

namespace vireo {
namespace {

// int8 as Vireo quantises it while loading: symmetric, a scale per output channel, -128 never.
constexpr Format kInt8{DType::kI8, {8, Scope::kRow, false, false, 0}};

/// Glob without backtracking over more than the last star.
bool matches(const std::string& pattern, const std::string& name) {
  size_t p = 0, n = 0, star = std::string::npos, mark = 0;
  while (n < name.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p, ++n;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++, mark = n;
    } else if (star != std::string::npos) {
      p = star + 1, n = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

/// "f32", "i8", "i8:0.05", "i8:0.05:-3".
bool parse_rows(const std::string& text, RowCodes* rows) {
  *rows = {};
  if (text == "f32") return true;
  rows->kind = RowCodes::Kind::kDynamic;
  if (text == "i8") return true;
  rows->kind = RowCodes::Kind::kStatic;
  if (text.compare(0, 3, "i8:") != 0) return false;
  std::istringstream in(text.substr(3));
  in.imbue(std::locale::classic());
  char colon = 0;
  if (!(in >> rows->scale) || !(rows->scale > 0) || !std::isfinite(rows->scale)) return false;
  if (!(in >> colon)) return in.eof();
  return colon == ':' && in >> rows->zero && rows->zero >= -128 && rows->zero <= 127 && !(in >> colon);
}

}  // namespace

Format FormatPolicy::of(const std::string& constant, const Grid& stored) const {
  const Format* asked = nullptr;
  for (const Rule& r : rules)
    if (matches(r.pattern, constant)) asked = &r.format;
  if (stored.coded() && (asked ? asked->grid.coded() : !decode || matrices.grid.coded())) return {DType::kI8, stored};
  return asked ? *asked : matrices;
}

RowCodes FormatPolicy::rows_of(const std::string& constant, const RowCodes& stored) const {
  const Rule* asked = nullptr;
  for (const Rule& r : rules)
    if (r.says_rows && matches(r.pattern, constant)) asked = &r;
  if (asked) return asked->rows;
  if (!decode && stored.coded()) return stored;
  RowCodes rows;
  if (products == Products::kI8) rows.kind = RowCodes::Kind::kDynamic;
  return rows;
}

FormatPolicy policy_of(Precision p) {
  FormatPolicy r;
  r.name = to_string(p);
  switch (p) {
    case Precision::kFp32: break;
    case Precision::kFp16:
      r.activations = DType::kF16;
      r.matrices = {DType::kF16, {}};
      r.products = Products::kBf16;
      break;
    case Precision::kInt8:
      r.matrices = kInt8;
      r.products = Products::kBf16;
      break;
    case Precision::kW8A8:
      r.matrices = kInt8;
      r.products = Products::kI8;
      break;
    case Precision::kCheckpoint: r.decode = false; break;
  }
  return r;
}

const FormatPolicy::Rule* unmatched(const FormatPolicy& policy, const std::vector<const Graph*>& graphs) {
  for (const FormatPolicy::Rule& r : policy.rules) {
    bool used = false;
    for (const Graph* g : graphs)
      for (const Node& n : g->nodes) {
        const int m = op_def(n.op).matrix;
        if (m < 0 || size_t(m) >= n.inputs.size() || n.inputs[size_t(m)] == kNoValue) continue;
        const Value& v = g->value(n.inputs[size_t(m)]);
        used = used || (v.constant && matches(r.pattern, v.name));
      }
    if (!used) return &r;
  }
  return nullptr;
}

Result<FormatPolicy> parse_policy(const std::string& text, const std::string& source) {
  FormatPolicy r;
  r.name = source;
  r.decode = false;
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream words(line.substr(0, line.find('#')));
    std::string first, second, more;
    if (!(words >> first)) continue;
    const auto bad = [&](const std::string& what) {
      return fail(
          ErrorCode::kInvalidArgument,
          "policy '{}', line {}: {}; expected 'activations f32' or 'f16', 'products f32', 'bf16' or 'i8', "
          "'attention f32', 'bf16' or 'i8', 'weights FORMAT', "
          "'checkpoint keep' or 'decode', or 'PATTERN FORMAT [ROWS]' with a format such as f32, f16, i8, i8g64, "
          "i4g32 or u4g128, and rows f32, i8 or i8:SCALE[:ZERO]",
          source, number, what);
    };
    if (!(words >> second)) return bad(fmt::format("'{}' has only one word", line));
    std::string rows;
    const bool says_rows = bool(words >> rows), whole = first == "checkpoint" || first == "products" ||
                                                        first == "attention" || first == "activations" ||
                                                        first == "weights";
    if (words >> more || (says_rows && whole)) return bad(fmt::format("'{}' has a word too many", line));
    if (first == "checkpoint") {
      if (second != "keep" && second != "decode") return bad(fmt::format("'{}' is neither keep nor decode", second));
      r.decode = second == "decode";
      continue;
    }
    if (first == "products" || first == "attention") {
      if (second != "f32" && second != "bf16" && second != "i8")
        return bad(fmt::format("'{}' is none of f32, bf16 and i8", second));
      const Products p = second == "bf16" ? Products::kBf16 : second == "i8" ? Products::kI8 : Products::kF32;
      if (first == "products") r.products = p;
      else r.attention = p;
      continue;
    }
    Format f;
    if (!parse_format(second, &f)) return bad(fmt::format("'{}' is no format", second));
    if (f.dtype == DType::kBF16) return bad("bf16 is chosen where the CPU multiplies it: write f16");
    if (first == "activations") {
      if (f.grid.coded()) return bad(fmt::format("no kernel takes activations as '{}' yet", second));
      r.activations = f.dtype;
    } else if (first == "weights") {
      r.matrices = f;
    } else {
      FormatPolicy::Rule rule{first, f, says_rows, {}, number};
      if (says_rows && !parse_rows(rows, &rule.rows))
        return bad(fmt::format("'{}' is neither f32, i8 nor i8:SCALE[:ZERO]", rows));
      if (rule.rows.coded() && !f.grid.coded())
        return bad(fmt::format("rows of codes beside a weight of {} are multiplied by nobody", second));
      r.rules.push_back(std::move(rule));
    }
  }
  return r;
}

}  // namespace vireo
