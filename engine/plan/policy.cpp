#include "plan/policy.h"

#include <algorithm>
#include <cmath>
#include <locale>
#include <sstream>

#include "ops/kernel.h"
#include "plan/plan.h"

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

/// Takes "[FIRST:END]" from the end of a pattern; true where there is none.
bool take_range(std::string* pattern, int64_t* first, int64_t* end) {
  const size_t open = pattern->find('[');
  if (open == std::string::npos) return true;
  std::istringstream in(pattern->substr(open + 1));
  in.imbue(std::locale::classic());
  char colon = 0, close = 0;
  const auto digit = [&in] { return in.peek() >= '0' && in.peek() <= '9'; };  // no sign, nothing between
  if (!digit() || !(in >> *first) || !in.get(colon) || colon != ':' || !digit() || !(in >> *end) || !in.get(close))
    return false;
  pattern->resize(open);
  return close == ']' && in.peek() == std::char_traits<char>::eof() && *first < *end && open > 0;
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
    if (!r.some_rows() && matches(r.pattern, constant)) asked = &r.format;
  if (stored.coded() && (asked ? asked->grid.coded() : !decode || matrices.grid.coded())) return {DType::kI8, stored};
  return asked ? *asked : matrices;
}

Result<Format> FormatPolicy::of_rows(const std::string& constant, int64_t rows, std::vector<bool>* wide) const {
  wide->clear();
  const Format whole = of(constant, {});
  std::vector<const Format*> each;  // by row, once a rule of some rows counts
  for (const Rule& r : rules) {
    if (!matches(r.pattern, constant)) continue;
    if (!r.some_rows()) {
      each.clear();
      continue;
    }
    if (r.end_row > rows)
      return fail(ErrorCode::kInvalidArgument, "policy '{}', line {}: '{}' has {} rows, not the {} to {} of [{}:{}]",
                  name, r.line, constant, rows, r.first_row, r.end_row - 1, r.first_row, r.end_row);
    each.resize(size_t(rows), &whole);
    std::fill(each.begin() + r.first_row, each.begin() + r.end_row, &r.format);
  }
  if (each.empty()) return whole;
  Format all = whole;
  for (const Format* f : each) {
    if (*f == all) continue;
    const bool fewer = f->grid.bits < all.grid.bits;
    const Grid &few = fewer ? f->grid : all.grid, &many = fewer ? all.grid : f->grid;
    Grid alike = many;
    alike.bits = few.bits;
    if (!few.coded() || few.bits > 4 || many.bits != 8 || alike != few || few.scope == Scope::kTensor) {
      // Ranges that leave no row out say what a rule without a range would.
      if (std::all_of(each.begin(), each.end(), [&](const Format* e) { return *e == *each[0]; })) return *each[0];
      return fail(ErrorCode::kInvalidArgument,
                  "policy '{}': rows of '{}' are to be {} and {}; of one weight some rows can have 8 bits and all "
                  "others the same 2 to 4 with scales for as many columns, such as i4g64 and i8g64",
                  name, constant, to_string(all), to_string(*f));
    }
    all.grid = few;
  }
  if (all.grid.bits > 4) return all;
  for (const Format* f : each) wide->push_back(f->grid.bits == 8);
  all.grid.wide = int32_t(std::count(wide->begin(), wide->end(), true));
  if (all.grid.wide == 0) wide->clear();
  return all;
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
      r.half_beside_codes = true;
      break;
    case Precision::kW8A8:
      r.matrices = kInt8;
      r.products = Products::kI8;
      r.half_beside_codes = true;
      break;
    case Precision::kCheckpoint:
      r.decode = false;
      r.half_beside_codes = true;
      break;
    case Precision::kAuto: break;  // one of the others by then (Session::Impl::open_fastest, with_precision)
  }
  return r;
}

FormatPolicy settled(FormatPolicy policy, const DeviceCaps& caps, const Tuning& tuning) {
  if (policy.half_beside_codes && multiplies_codes_by_halves(caps, tuning)) policy.activations = DType::kF16;
  return policy;
}

FormatPolicy policy_for(const PlanOptions& options, const DeviceCaps& caps) {
  return settled(options.policy ? *options.policy : policy_of(options.precision), caps,
                 options.tuning ? *options.tuning : tuning_for(caps));
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
          "policy '{}', line {}: {}; expected 'activations f32', 'f16' or 'auto', 'products f32', 'bf16' or 'i8', "
          "'attention f32', 'bf16' or 'i8', 'weights FORMAT', "
          "'checkpoint keep' or 'decode', 'PATTERN FORMAT [ROWS]' with a format such as f32, f16, i8, i8g64, "
          "i4g32 or u4g128, and rows f32, i8 or i8:SCALE[:ZERO], or 'PATTERN[FIRST:END] FORMAT'",
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
    if (first == "activations" && second == "auto") {
      r.activations = DType::kF32, r.half_beside_codes = true;
      continue;
    }
    Format f;
    if (!parse_format(second, &f)) return bad(fmt::format("'{}' is no format", second));
    if (f.dtype == DType::kBF16) return bad("bf16 is chosen where the CPU multiplies it: write f16");
    if (first == "activations") {
      if (f.grid.coded()) return bad(fmt::format("no kernel takes activations as '{}' yet", second));
      r.activations = f.dtype, r.half_beside_codes = false;
    } else if (first == "weights") {
      r.matrices = f;
    } else {
      FormatPolicy::Rule rule{first, f, says_rows, {}, number};
      if (!take_range(&rule.pattern, &rule.first_row, &rule.end_row))
        return bad(
            fmt::format("'{}' is no name with rows such as [0:64], the first and the one behind the last", first));
      if (rule.some_rows() && says_rows)
        return bad(fmt::format("'{}' says what the weight multiplies, which all its rows do", rows));
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
