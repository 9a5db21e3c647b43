#include <cstdlib>
#include <sstream>

#include "base/names.h"
#include "compress/number_lines.h"
#include "compress/simulate.h"

namespace vireo::compress {
namespace {

std::vector<std::string> grid_names() {
  std::vector<std::string> names;
  for (const RowGrid* g : row_grids()) names.push_back(g->name);
  return names;
}

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const Method* m : methods()) names.push_back(m->name);
  return names;
}

Result<void> weights_of(const std::vector<std::string>& words, const std::string& where, Format* format,
                        const Method** method) {
  if (words.size() < 2 || !parse_format(words[1], format) ||
      (format->grid.coded() && (format->grid.zero_points || format->grid.scope == Scope::kTensor)) ||
      (!format->grid.coded() && format->dtype != DType::kF32))
    return fail(ErrorCode::kInvalidArgument,
                "{}: '{}' is no format of weights; expected f32, or i2 to i8 by itself or in groups as in i4g64", where,
                words.size() > 1 ? words[1] : "");
  if (words.size() > 2 && (method == nullptr || (*method = find_method(words[2])) == nullptr))
    return fail(ErrorCode::kInvalidArgument, "{}: there is no method '{}'{}", where, words[2],
                known_names(words[2], method_names()));
  return {};
}

/// Whether a scale is all rows' own: the word behind the bits.
Result<bool> is_tensor(const std::vector<std::string>& words, const std::string& where) {
  if (words.size() > 3 && words[3] != "token" && words[3] != "tensor")
    return fail(ErrorCode::kInvalidArgument, "{}: '{}' is neither token nor tensor: what has a scale of its own", where,
                words[3]);
  return words.size() > 3 && words[3] == "tensor";
}

Result<Rounding> rounding_of(const std::vector<std::string>& words, const std::string& where) {
  Rounding r;
  const std::string name = words.size() > 1 ? words[1] : "";
  r.grid = find_row_grid(name);
  if (r.grid == nullptr)
    return fail(ErrorCode::kInvalidArgument, "{}: there is no grid '{}'{}", where, name,
                known_names(name, grid_names()));
  const std::string bits = words.size() > 2 ? words[2] : "";
  if (bits.size() != 1 || bits[0] < '2' || bits[0] > '8')
    return fail(ErrorCode::kInvalidArgument, "{}: '{}' is no number of bits; expected 2 to 8", where, bits);
  r.bits = bits[0] - '0';
  VIREO_ASSIGN(r.tensor, is_tensor(words, where));
  if (r.grid->fitted() && words.size() > 3)
    return fail(ErrorCode::kInvalidArgument, "{}: '{}' is fitted to pictures and takes no '{}'", where, name, words[3]);
  if (r.grid->fitted() && words[0] == "operands")
    return fail(ErrorCode::kInvalidArgument,
                "{}: '{}' is fitted to pictures, which operands of attention are not; take another grid", where, name);
  return r;
}

Result<void> integer_of(const std::vector<std::string>& words, const std::string& where, NumberGrids* p) {
  const std::string name = words.size() > 1 ? words[1] : "", bits = words.size() > 2 ? words[2] : "";
  IntegerFunction* const f = name == "softmax"     ? &p->integer_softmax
                             : name == "gelu"      ? &p->integer_gelu
                             : name == "layernorm" ? &p->integer_layernorm
                                                   : nullptr;
  if (f == nullptr)
    return fail(ErrorCode::kInvalidArgument, "{}: '{}' has no form in integers{}", where, name,
                known_names(name, {"softmax", "gelu", "layernorm"}));
  const int most = name == "layernorm" ? 16 : 8;
  char* end = nullptr;
  const long number = std::strtol(bits.c_str(), &end, 10);
  if (bits.empty() || *end != '\0' || number < 2 || number > most)
    return fail(ErrorCode::kInvalidArgument, "{}: '{}' is no number of bits; {} takes codes of 2 to {}", where, bits,
                name, most);
  f->bits = int(number);
  VIREO_ASSIGN(f->tensor, is_tensor(words, where));
  return {};
}

}  // namespace

Result<bool> parse_numbers(const std::vector<std::string>& words, const std::string& where, NumberGrids* grids) {
  Rounding* const to = words[0] == "rows"        ? &grids->rows
                       : words[0] == "gelu"      ? &grids->gelu
                       : words[0] == "operands"  ? &grids->operands
                       : words[0] == "softmax"   ? &grids->softmax
                       : words[0] == "layernorm" ? &grids->layernorm
                                                 : nullptr;
  if (to != nullptr) {
    VIREO_ASSIGN(*to, rounding_of(words, where));
    return true;
  }
  if (words[0] != "integer") return false;
  VIREO_TRY(integer_of(words, where, grids));
  return true;
}

Result<void> check_numbers(const NumberGrids& grids, const std::string& source) {
  if (grids.layernorm.grid != nullptr && grids.integer_layernorm.bits > 0)
    return fail(ErrorCode::kInvalidArgument,
                "policy '{}': 'layernorm' and 'integer layernorm' both say what LayerNorms are given; keep one of them",
                source);
  return {};
}

Result<NumberGrids> numbers_of_policy(std::string* text, const std::string& source) {
  NumberGrids grids;
  std::istringstream lines(*text);
  std::string line, rest;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream in(line.substr(0, line.find('#')));
    std::vector<std::string> words;
    for (std::string w; in >> w;) words.push_back(w);
    bool taken = false;
    if (!words.empty()) {
      const std::string where = fmt::format("policy '{}', line {}", source, number);
      VIREO_ASSIGN(taken, parse_numbers(words, where, &grids));
      if (taken && words.size() > 4)
        return fail(ErrorCode::kInvalidArgument, "{}: '{}' is more than a line has", where, words[4]);
    }
    rest += taken ? "\n" : line + "\n";  // line numbers in messages stay right
  }
  VIREO_TRY(check_numbers(grids, source));
  if (grids.any()) *text = rest;
  return grids;
}

Result<SimulatedPolicy> parse_simulated_policy(const std::string& text, const std::string& source) {
  SimulatedPolicy p;
  std::istringstream lines(text);
  std::string line;
  size_t said = 0;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream in(line.substr(0, line.find('#')));
    std::vector<std::string> words;
    for (std::string w; in >> w;) words.push_back(w);
    if (words.empty()) continue;
    ++said;
    const std::string where = fmt::format("policy '{}', line {}", source, number);
    if (words.size() > 4) return fail(ErrorCode::kInvalidArgument, "{}: '{}' is more than a line has", where, words[4]);
    VIREO_ASSIGN(const bool numbers, parse_numbers(words, where, &p));
    if (numbers) continue;
    if (words[0] == "weights") {
      VIREO_TRY(weights_of(words, where, &p.weights, &p.method));
    } else if (words[0] == "others") {
      VIREO_TRY(weights_of(words, where, &p.others, nullptr));
    } else if (words[0] == "wide") {
      char* end = nullptr;
      p.wide = words.size() == 2 ? std::strtod(words[1].c_str(), &end) : 0;
      if (end == nullptr || *end != '\0' || !(p.wide > 0 && p.wide < 100))
        return fail(ErrorCode::kInvalidArgument, "{}: expected 'wide PERCENT', of a weight's rows, between 0 and 100",
                    where);
    } else if (words[0] == "fold") {
      if (words.size() != 2 || (words[1] != "on" && words[1] != "off"))
        return fail(ErrorCode::kInvalidArgument, "{}: expected 'fold on' or 'fold off'", where);
      p.fold = words[1] == "on";
    } else if (words[0] == "answer-rows") {
      char* end = nullptr;
      for (size_t i = 1; i < words.size() && i < 3; ++i) {
        double& times = i == 1 ? p.answer_rows : p.answer_rows_last;
        times = std::strtod(words[i].c_str(), &end);
        if (*end != '\0' || !(times >= 1 && times <= 1e6))
          return fail(ErrorCode::kInvalidArgument, "{}: '{}' is no number from 1 to 1000000", where, words[i]);
      }
      if (words.size() != 3)
        return fail(ErrorCode::kInvalidArgument, "{}: expected 'answer-rows TIMES TIMES', the second of the last block",
                    where);
    } else {
      return fail(ErrorCode::kInvalidArgument, "{}: unknown '{}'{}", where, words[0],
                  known_names(words[0], {"weights", "others", "wide", "rows", "gelu", "operands", "softmax",
                                         "layernorm", "integer", "fold", "answer-rows"}));
    }
  }
  if (said == 0)
    return fail(ErrorCode::kInvalidArgument,
                "policy '{}' says nothing; expected lines such as 'weights i6' and 'rows asymmetric 6'", source);
  if (p.wide > 0 && p.weights.grid.bits != 4)
    return fail(ErrorCode::kInvalidArgument, "policy '{}': 'wide' goes with weights of 4 bits, as in 'weights i4g64'",
                source);
  if (p.fold && p.rows.grid == nullptr)
    return fail(ErrorCode::kInvalidArgument, "policy '{}': 'fold on' goes with a line 'rows'", source);
  if (p.fold && p.rows.grid->fitted())
    return fail(
        ErrorCode::kInvalidArgument,
        "policy '{}': 'fold on' goes with a grid of 'rows' that is found on the values themselves; '{}' is fitted "
        "to pictures before they are folded",
        source, p.rows.grid->name);
  VIREO_TRY(check_numbers(p, source));
  return p;
}

}  // namespace vireo::compress
