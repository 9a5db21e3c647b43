// Shared by the files that read a VitConfig: config.cpp, config_hf.cpp, config_timm.cpp, config_shapes.cpp.
#pragma once

#include <string>

#include "base/text.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "model/fields.h"

namespace vireo {

// Bounds that no published model comes near; beyond them a configuration is a mistake or an attack.
constexpr int64_t kMaxWidth = 1 << 16;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxImageSide = 1 << 16;
constexpr int64_t kMaxTokens = 1 << 20;
constexpr int64_t kMaxTokenFloats = 1 << 27;  // all tokens of one picture: 512 MiB
constexpr int64_t kMaxClasses = 10'000'000;
constexpr int64_t kMaxHeadDim = 128;

/// What to do about a checkpoint whose network its tensors do not tell; ends a message.
constexpr const char* kNameTheModel =
    "put the model's config.json beside it or name one with --config FILE, or name a timm model with "
    "--architecture NAME";

Result<VitConfig> parse_hf_config(const Json& json, const std::string& source, const Checkpoint* weights);
Result<VitConfig> parse_timm_config(const Json& json, const std::string& source, const Checkpoint* weights);

/// input_size of timm's pretrained_cfg, [channels, height, width]; left alone where there is none.
Result<void> read_timm_input_size(const Json& pretrained, const std::string& source, int64_t size[3]);
/// label_names of timm's config.json or its pretrained_cfg, where they are as many as the classes.
std::vector<std::string> read_timm_labels(const Json& config, const Json& pretrained, int64_t classes);

/// "gelu", "gelu_new", ... in the spellings of Transformers and timm.
Result<Activation> parse_activation(const std::string& name, const std::string& source, const char* key);

/// The prefix p for which the checkpoint has the tensor p + suffix; false when there is none. Prefers `wish`.
bool find_prefix(const Checkpoint& weights, const std::string& suffix, const std::string& wish, std::string* prefix);

/// The first of `architectures`, or nothing.
std::string first_architecture(const Fields& fields);

/// id2label: names by class number.
Result<void> read_labels(const Json& map, const std::string& source, std::vector<std::string>* labels);

/// How many classes, and their names, as Transformers counts them; `head` names the tensor whose rows tell where the
/// file does not.
Result<void> read_classes(Fields& fields, const Checkpoint* weights, const std::string& head, int64_t* classes,
                          std::vector<std::string>* labels);

/// Side of a square grid with `count` cells, or 0.
int64_t square_side(int64_t count);

/// Rows of a tensor whose leading ones do not count, or 0 when it is absent: [1, 197, 768] -> 197.
int64_t tensor_rows(const Checkpoint& weights, const std::string& name);

}  // namespace vireo
