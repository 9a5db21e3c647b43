#include "tensor/format.h"

#include <fmt/format.h>

namespace vireo {
namespace {

// In the order of DType.
constexpr DTypeInfo kTypes[] = {
    {"f32", 4, 0, true}, {"f16", 2, 1, true},  {"bf16", 2, -1, true},
    {"i8", 1, 2, false}, {"u8", 1, -1, false}, {"i32", 4, -1, false},
};
constexpr int kLeastBits = 2, kMostBits = 8, kMostGroup = 1 << 20;

/// Digits from `at` on as a number of at most 7 of them; -1 where there is none.
int32_t number(const std::string& text, size_t* at) {
  int32_t n = 0;
  const size_t first = *at;
  while (*at < text.size() && *at < first + 7 && text[*at] >= '0' && text[*at] <= '9')
    n = n * 10 + (text[(*at)++] - '0');
  return *at == first ? -1 : n;
}

}  // namespace

const DTypeInfo& dtype_info(DType t) { return kTypes[size_t(t)]; }

std::string to_string(const Format& f) {
  if (!f.grid.coded()) return dtype_name(f.dtype);
  std::string s = fmt::format("{}{}", f.grid.zero_points ? 'u' : 'i', f.grid.bits);
  switch (f.grid.scope) {
    case Scope::kTensor: s += "tensor"; break;
    case Scope::kRow: break;
    case Scope::kGroup: s += fmt::format("g{}", f.grid.group); break;
  }
  if (f.grid.wide > 0) s += fmt::format("+{}xi8", f.grid.wide);
  return s;
}

bool parse_format(const std::string& text, Format* f) {
  for (const DType t : {DType::kF32, DType::kF16, DType::kBF16})
    if (text == dtype_name(t)) {
      *f = {t, {}};
      return true;
    }
  if (text.empty() || (text[0] != 'i' && text[0] != 'u')) return false;
  Format r{DType::kI8, {}};
  r.grid.zero_points = text[0] == 'u';
  r.grid.lowest = true;
  size_t at = 1;
  const int32_t bits = number(text, &at);
  if (bits < kLeastBits || bits > kMostBits) return false;
  r.grid.bits = uint8_t(bits);
  const std::string rest = text.substr(at);
  if (rest == "tensor") {
    r.grid.scope = Scope::kTensor;
  } else if (!rest.empty() && rest[0] == 'g') {
    size_t end = 1;
    r.grid.scope = Scope::kGroup;
    r.grid.group = number(rest, &end);
    if (r.grid.group < 1 || r.grid.group > kMostGroup || end != rest.size()) return false;
  } else if (!rest.empty()) {
    return false;
  }
  *f = r;
  return true;
}

}  // namespace vireo
