// The configuration of the model that is written, with a section of quantization_config.vireo (model/extension.h).
#pragma once

#include <string>

#include "base/json.h"
#include "model/model.h"

namespace vireo::compress {

/// The model's configuration, or that of its architecture's name where it has none.
Result<OrderedJson> configuration_of(const LoadedModel& model);
/// The section's place in it; null where it is not there yet.
OrderedJson& section_of(OrderedJson& config, const char* name);
std::string text_of(const OrderedJson& config);
/// The same network and weights under another configuration.
Result<LoadedModel> reconfigured(const LoadedModel& model, const OrderedJson& config);

/// A configuration with that section, a text of JSON, in place of any that it had.
std::string with_section(const std::string& config, const char* name, const std::string& section);

/// The model whose attention rounds the factors of its products: "i8".
Result<LoadedModel> attention_in(const LoadedModel& model, const std::string& format);

}  // namespace vireo::compress
