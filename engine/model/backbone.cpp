#include "model/backbone.h"

#include "model/json.h"

namespace vireo {
namespace {

/// "stem" is 0, "stage3" is 3; -1 for anything else.
int64_t stage_of(const std::string& name) {
  if (name == "stem") return 0;
  const std::string digits = name.rfind("stage", 0) == 0 ? name.substr(5) : "";
  if (digits.empty() || digits.size() > 4 || digits.find_first_not_of("0123456789") != std::string::npos) return -1;
  return std::stoll(digits);
}

}  // namespace

Result<std::unique_ptr<Backbone>> open_backbone(const BackboneSource& source) {
  std::string type, known;
  Fields fields(*source.json, source.source);
  fields.string("model_type", &type);
  VIREO_TRY(fields.status());
  for (const Family* family : model_families()) {
    if (family->backbones == nullptr) continue;
    for (const char* const* name = family->backbones; *name != nullptr; ++name) {
      if (type == *name) return family->open_backbone(source);
      known += (known.empty() ? "" : ", ") + std::string(*name);
    }
  }
  return fail(ErrorCode::kUnsupported,
              "'{}': backbone_config has model_type '{}', which Vireo does not know as a backbone; "
              "expected one of {}",
              source.source, type.substr(0, 60), known);
}

Result<std::vector<int64_t>> read_taps(Fields& fields, int64_t stages) {
  std::vector<int64_t> taps;
  const Json* indices = fields.find("out_indices");
  const Json* names = fields.find("out_features");
  const char* key = indices != nullptr ? "out_indices" : "out_features";
  const Json* list = indices != nullptr ? indices : names;
  if (list == nullptr) return std::vector<int64_t>{stages};
  const std::string expected =
      fmt::format("a list of stages in ascending order, {}",
                  indices != nullptr ? fmt::format("0 (the stem) to {}", stages)
                                     : fmt::format("\"stem\" or \"stage1\" to \"stage{}\"", stages));
  if (list->is_array()) {
    for (const Json& item : *list) {
      int64_t stage = -1;
      if (indices != nullptr && item.is_number_integer() &&
          !(item.is_number_unsigned() && item.get<uint64_t>() > uint64_t(stages))) {
        stage = item.get<int64_t>();
        if (stage < 0 && stage >= -stages - 1) stage += stages + 1;  // counted from the end, as in Python
      }
      if (indices == nullptr && item.is_string()) stage = stage_of(item.get<std::string>());
      if (stage < 0 || stage > stages || (!taps.empty() && stage <= taps.back())) {
        fields.reject(key, item, expected);
        return fields.status().error();
      }
      taps.push_back(stage);
    }
  }
  if (taps.empty()) {
    fields.reject(key, *list, expected);
    return fields.status().error();
  }
  return taps;
}

}  // namespace vireo
