#include "compress/extend.h"

#include "model/compressed.h"

namespace vireo::compress {

Result<OrderedJson> configuration_of(const LoadedModel& model) {
  OrderedJson config = OrderedJson::object();
  if (model.source().config.empty()) {
    config["architecture"] = model.architecture();
    return config;
  }
  config = read_ordered_json(model.source().config);
  if (!config.is_object()) return fail(ErrorCode::kCorrupt, "'{}' is no JSON object", model.source().config_path);
  return config;
}

OrderedJson& section_of(OrderedJson& config, const char* name) {
  OrderedJson& q = config["quantization_config"];
  if (!q.is_object()) q = OrderedJson{{"quant_method", kOwnMethod}};
  OrderedJson& all = q["vireo"];
  if (!all.is_object()) all = OrderedJson{{"version", kExtensionVersion}};
  return all[name];
}

std::string text_of(const OrderedJson& config) { return write_json(config, 2) + "\n"; }

Result<LoadedModel> reconfigured(const LoadedModel& model, const OrderedJson& config) {
  ModelSource source = model.source();
  source.config = text_of(config);
  return LoadedModel::from_parts(std::move(source), model.preprocessor_text(), model.source().path);
}

std::string with_section(const std::string& config, const char* name, const std::string& section) {
  OrderedJson json = read_ordered_json(config);
  section_of(json, name) = read_ordered_json(section);
  return text_of(json);
}

Result<LoadedModel> attention_in(const LoadedModel& model, const std::string& format) {
  VIREO_ASSIGN(OrderedJson config, configuration_of(model));
  section_of(config, "attention") = OrderedJson{{"format", format}};
  return reconfigured(model, config);
}

}  // namespace vireo::compress
