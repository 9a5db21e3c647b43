#include "model/extension.h"

#include <algorithm>

#include "base/names.h"
#include "model/json.h"
#include "model/number_grids.h"

namespace vireo {
namespace {

constexpr int64_t kMostWidth = 1 << 20;
constexpr size_t kMostBlocks = 4096;

/// {"blocks.3": {"heads": 3, "qk": 32, "v": 64, "mlp": 690}}: only what differs from the rest of the configuration.
Result<void> parse_structure(const Json& section, const std::string& where, const std::string& source, Extension* out) {
  if (section.size() > kMostBlocks)
    return fail(ErrorCode::kUnsupported, "{} has {} blocks, expected at most {}", where, section.size(), kMostBlocks);
  for (const auto& [block, sizes] : section.items()) {
    if (!sizes.is_object())
      return fail(ErrorCode::kCorrupt, "{}.{} is {}, expected an object with heads, qk, v or mlp", where, block,
                  json_text(sizes));
    for (const auto& [key, value] : sizes.items())
      if (key != "heads" && key != "qk" && key != "v" && key != "mlp")
        return fail(
            ErrorCode::kUnsupported,
            "{}.{} has the key '{}', which this Vireo does not know; expected heads, qk, v and mlp. Use a newer "
            "Vireo",
            where, block, key);
    BlockSizes s;
    Fields f(sizes, source);
    f.integer("heads", &s.heads, 0, kMostWidth);
    f.integer("qk", &s.qk, 1, kMostWidth);
    f.integer("v", &s.v, 1, kMostWidth);
    f.integer("mlp", &s.mlp, 0, kMostWidth);
    VIREO_TRY(f.status());
    out->structure[block] = s;
  }
  return {};
}

/// {"method": "tome", "merge": [0, 0, 16]}: how many tokens each block makes one with another.
Result<void> parse_tokens(const Json& section, const std::string& where, const std::string& source, Extension* out) {
  for (const auto& [key, value] : section.items())
    if (key != "method" && key != "merge")
      return fail(ErrorCode::kUnsupported,
                  "{} has the key '{}', which this Vireo does not know; expected method and merge. Use a newer Vireo",
                  where, key);
  std::string method;
  Fields f(section, source);
  f.string("method", &method);
  VIREO_TRY(f.status());
  if (method != "tome")
    return fail(ErrorCode::kUnsupported, "{} has the method '{}'; this Vireo knows 'tome'. Use a newer Vireo", where,
                method);
  const Json* merge = find_member(section, "merge");
  const auto number = [](const Json& n) {
    return n.is_number_integer() && n.get<int64_t>() >= 0 && n.get<int64_t>() <= kMostWidth;
  };
  if (merge == nullptr || !merge->is_array() || merge->empty() || merge->size() > kMostBlocks ||
      !std::all_of(merge->begin(), merge->end(), number))
    return fail(ErrorCode::kCorrupt,
                "{}.merge is {}, expected a list with a number of tokens, 0 or more, for each block", where,
                merge == nullptr ? "missing" : json_text(*merge));
  for (const Json& n : *merge) out->merge.push_back(n.get<int64_t>());
  return {};
}

/// {"format": "i8"}: the factors of attention's two products are rounded while running.
Result<void> parse_attention(const Json& section, const std::string& where, const std::string& source, Extension* out) {
  for (const auto& [key, value] : section.items())
    if (key != "format")
      return fail(ErrorCode::kUnsupported,
                  "{} has the key '{}', which this Vireo does not know; expected format. Use a newer Vireo", where,
                  key);
  std::string format;
  Fields f(section, source);
  f.string("format", &format);
  VIREO_TRY(f.status());
  if (format != "i8")
    return fail(ErrorCode::kUnsupported, "{} has the format '{}'; this Vireo knows 'i8'. Use a newer Vireo", where,
                format);
  out->attention = Products::kI8;
  return {};
}

/// {"bits": 8}: a weight of 4 bits may say with a tensor weight_wide_rows which of its rows have 8 (compressed.h).
Result<void> parse_rows(const Json& section, const std::string& where, const std::string& source, Extension*) {
  for (const auto& [key, value] : section.items())
    if (key != "bits")
      return fail(ErrorCode::kUnsupported,
                  "{} has the key '{}', which this Vireo does not know; expected bits. Use a newer Vireo", where, key);
  int64_t bits = 0;
  Fields f(section, source);
  f.integer("bits", &bits, 0, 64);
  VIREO_TRY(f.status());
  if (bits != 8)
    return fail(ErrorCode::kUnsupported, "{} has {} bits; this Vireo knows rows of 8. Use a newer Vireo", where, bits);
  return {};
}

Result<void> parse_grids(const Json& section, const std::string& where, const std::string& source, Extension* out) {
  VIREO_ASSIGN(out->grids, parse_number_grids(section, where, source));
  return {};
}

struct Section {
  const char* name;
  Result<void> (*parse)(const Json& section, const std::string& where, const std::string& source, Extension* out);
};
constexpr Section kSections[] = {{"structure", parse_structure},
                                 {"tokens", parse_tokens},
                                 {"attention", parse_attention},
                                 {"rows", parse_rows},
                                 {"grids", parse_grids}};

}  // namespace

Result<std::shared_ptr<const Extension>> parse_extension(const std::string& config, const std::string& source) {
  const std::shared_ptr<const Extension> none;
  const Json json = config.empty() ? Json() : parse_json(config);
  const Json* q = json.is_object() ? find_member(json, "quantization_config") : nullptr;
  const Json* all = q != nullptr && q->is_object() ? find_member(*q, "vireo") : nullptr;
  if (all == nullptr) return none;
  const std::string where = fmt::format("'{}': quantization_config.vireo", source);
  if (!all->is_object()) return fail(ErrorCode::kCorrupt, "{} is {}, expected an object", where, json_text(*all));
  int64_t version = 0;
  Fields f(*all, source);
  f.integer("version", &version, 0, INT32_MAX);
  VIREO_TRY(f.status());
  if (version != kExtensionVersion)
    return fail(ErrorCode::kUnsupported, "{} has the version {}; this Vireo knows {}. Use a newer Vireo", where,
                version, kExtensionVersion);
  auto out = std::make_shared<Extension>();
  for (const auto& [key, value] : all->items()) {
    if (key == "version") continue;
    const Section* section = nullptr;
    std::vector<std::string> known;
    for (const Section& s : kSections) {
      known.push_back(s.name);
      if (key == s.name) section = &s;
    }
    if (section == nullptr)
      return fail(ErrorCode::kUnsupported,
                  "{} has the section '{}', which this Vireo does not know{}. Use a newer Vireo", where, key,
                  known_names(key, known));
    if (!value.is_object())
      return fail(ErrorCode::kCorrupt, "{}.{} is {}, expected an object", where, key, json_text(value));
    VIREO_TRY(section->parse(value, where + "." + key, source, out.get()));
  }
  return std::shared_ptr<const Extension>(std::move(out));
}

}  // namespace vireo
