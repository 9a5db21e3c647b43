#include "shader/words.h"

#include <cstring>

#include "base/error.h"

namespace vireo::shader {
namespace {

const std::string& name_of(const SpecConstant& c) { return c.name; }
const std::string& name_of(const PushConstant& c) { return c.name; }
uint32_t place_of(const SpecConstant& c) { return c.id; }
uint32_t place_of(const PushConstant& c) { return c.offset / 4; }

template <typename Declared>
Result<std::vector<uint32_t>> placed(const std::string& module, const char* what, const std::vector<Declared>& declared,
                                     const Words& words) {
  const auto wrong = [&](const std::string& how) {
    std::string names;
    for (const Declared& d : declared) names += (names.empty() ? "" : ", ") + name_of(d);
    return fail(ErrorCode::kInternal, "shader '{}': {}; its {}s are {}", module, how, what,
                names.empty() ? "none" : names);
  };
  constexpr uint32_t kMost = 256;  // far above any shader of ours; bounds the table for a damaged module
  std::vector<uint32_t> bits(declared.empty() ? 0 : place_of(declared.back()) + 1, 0);  // sorted: the last is largest
  if (bits.size() > kMost)
    return wrong(fmt::format("its {}s take {} words, expected at most {}", what, bits.size(), kMost));
  std::vector<bool> given(bits.size(), false);
  size_t next = 0;  // most lowerings keep the module's order
  for (const Word& w : words) {
    size_t i = next;
    for (size_t tried = 0; tried <= declared.size(); ++tried, ++i) {
      if (tried == declared.size()) return wrong(fmt::format("it has no {} '{}'", what, w.name));
      if (i >= declared.size()) i = 0;
      if (name_of(declared[i]) == w.name) break;
    }
    const uint32_t place = place_of(declared[i]);
    if (given[place]) return wrong(fmt::format("{} '{}' is given twice", what, w.name));
    given[place] = true;
    bits[place] = w.bits;
    next = i + 1;
  }
  for (const Declared& d : declared)
    if (!given[place_of(d)]) return wrong(fmt::format("{} '{}' is not given", what, name_of(d)));
  return bits;
}

}  // namespace

Result<std::vector<uint32_t>> spec_by_id(const std::string& module, const Reflection& r, const Words& words) {
  return placed(module, "specialisation constant", r.spec_constants, words);
}

Result<std::vector<uint32_t>> push_by_word(const std::string& module, const Reflection& r, const Words& words) {
  return placed(module, "push constant", r.push_constants, words);
}

std::string spec_text(const Reflection& r, const std::vector<uint32_t>& spec) {
  std::string s;
  for (const SpecConstant& c : r.spec_constants)
    s += fmt::format("{}{}={}", s.empty() ? "" : " ", c.name, c.id < spec.size() ? spec[c.id] : c.value);
  return s;
}

std::string push_text(const Reflection& r, const std::vector<uint32_t>& push) {
  std::string s;
  for (const PushConstant& c : r.push_constants) {
    const uint32_t bits = c.offset / 4 < push.size() ? push[c.offset / 4] : 0;
    float real;
    std::memcpy(&real, &bits, 4);
    s += s.empty() ? "" : " ";
    s += c.is_float ? fmt::format("{}={}", c.name, real) : fmt::format("{}={}", c.name, bits);
  }
  return s;
}

}  // namespace vireo::shader
