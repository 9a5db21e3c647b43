// What is to become narrower, as recipes and policies say it.
#include <algorithm>
#include <cstdlib>
#include <locale>
#include <sstream>

#include "compress/structure.h"

namespace vireo::compress {

StructureChoice StructureChoice::of_recipe(const std::string& text) {
  StructureChoice c;
  std::istringstream in(text);
  in.imbue(std::locale::classic());
  std::string parts;
  double percent = 0;
  if (!(in >> parts >> percent)) return c;
  c.share = percent / 100;
  for (size_t at = 0; at <= parts.size();) {
    const size_t end = std::min(parts.find(',', at), parts.size());
    for (size_t p = 0; p < kParts; ++p)
      if (parts.substr(at, end - at) == to_string(Part(p))) c.parts.push_back(Part(p));
    at = end + 1;
  }
  return c;
}

std::string StructureChoice::text() const {
  std::string all = fmt::format("{} {}", share, columns);
  for (const Part p : parts) all += std::string(" ") + to_string(p);
  for (const Rule& r : rules)
    all += fmt::format("\nblock {} heads {} qk {} v {} mlp {}", r.pattern, r.sizes.heads, r.sizes.qk, r.sizes.v,
                       r.sizes.mlp);
  return all;
}

Result<StructureChoice> StructureChoice::of_policy(std::string* text) {
  StructureChoice c;
  std::istringstream lines(*text);
  std::string line, rest;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream in(line.substr(0, line.find('#')));
    in.imbue(std::locale::classic());
    std::string word;
    if (!(in >> word) || word != "block") {
      rest += line + "\n";
      continue;
    }
    rest += "\n";  // line numbers in messages stay right
    StructureChoice::Rule rule;
    const auto wrong = [&](const std::string& what) {
      return fail(ErrorCode::kInvalidArgument,
                  "policy: line {} {}; expected `block NAME` with one or more of `heads N`, `qk N`, `v N` and `mlp N`",
                  number, what);
    };
    if (!(in >> rule.pattern)) return wrong("names no block");
    while (in >> word) {
      int64_t* const to = word == "heads" ? &rule.sizes.heads
                          : word == "qk"  ? &rule.sizes.qk
                          : word == "v"   ? &rule.sizes.v
                          : word == "mlp" ? &rule.sizes.mlp
                                          : nullptr;
      if (to == nullptr) return wrong("says '" + word + "'");
      const bool may_go = word == "heads" || word == "mlp";
      if (!(in >> *to) || *to < (may_go ? 0 : 1) || *to > (1 << 20))
        return wrong("gives '" + word + "' no number" + (may_go ? "" : " above 0"));
    }
    if (rule.sizes == BlockSizes()) return wrong("gives block '" + rule.pattern + "' no size");
    c.rules.push_back(std::move(rule));
  }
  if (!c.rules.empty()) *text = rest;
  return c;
}

}  // namespace vireo::compress
