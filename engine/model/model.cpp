#include "model/model.h"

#include <utility>

#include "base/mapped_file.h"
#include "model/json.h"

namespace vireo {
namespace {

constexpr size_t kNamedInWarning = 5;

std::string parent_folder(const std::string& file) {
  const size_t slash = file.find_last_of('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : file.substr(0, slash);
}

/// Reads folder/name if it exists; no permission and the like are errors, not absence.
Result<std::string> read_optional(const std::string& path) {
  if (path_kind(path) == PathKind::kMissing) return std::string();
  return read_text_file(path, kMaxConfigBytes);
}

Error no_family(const ModelSource& source) {
  std::string names;
  for (const Family* family : model_families()) names += (names.empty() ? "" : ", ") + std::string(family->name);
  if (source.config.empty()) {
    return fail(ErrorCode::kUnsupported, "'{}' has no config.json and its tensor names belong to no model family that Vireo "
                "knows ({}); put the model's config.json beside it", source.path, names);
  }
  const Json json = Json::parse(source.config, nullptr, false);
  if (!json.is_object()) {
    return fail(ErrorCode::kCorrupt, "'{}' is not a JSON object; download or export it again", source.config_path);
  }
  for (const char* key : {"model_type", "architecture", "architectures"}) {
    const Json* v = find_member(json, key);
    if (v == nullptr) continue;
    const Json& name = v->is_array() && !v->empty() ? (*v)[0] : *v;
    return fail(ErrorCode::kUnsupported, "'{}': {} {} is not supported; expected one of vit, deit, dinov2, "
                "dinov2_with_registers, mobilevit, swin, swinv2 and upernet, or timm's vit_*, deit_* and mobilevit_*", source.config_path, key, json_text(name));
  }
  return fail(ErrorCode::kCorrupt, "'{}' has neither 'model_type' (Hugging Face) nor 'architecture' (timm), so the kind of "
              "model is unknown; expected a model's config.json", source.config_path);
}

/// The rule of Transformers' image classification pipeline. A problem_type that does not exist (its configurations refuse one) is noted.
Scores scores_of(const ModelSource& source, int64_t classes, std::vector<std::string>* notes) {
  if (classes == 1) return Scores::kSigmoid;  // before problem_type is asked
  const Json json = Json::parse(source.config, nullptr, false);
  const Json* v = json.is_object() ? find_member(json, "problem_type") : nullptr;
  if (v == nullptr || v->is_null()) return Scores::kSoftmax;
  const std::string type = v->is_string() ? v->get<std::string>() : json_text(*v);
  if (type == "multi_label_classification") return Scores::kSigmoid;
  if (type == "single_label_classification" || type == "regression") return Scores::kSoftmax;
  notes->push_back(fmt::format("'{}': problem_type is '{}', expected single_label_classification, multi_label_classification or regression; scores are softmax",
                               source.config_path, type));
  return Scores::kSoftmax;
}

}  // namespace

Result<LoadedModel> LoadedModel::open(const std::string& path) {
  VIREO_ASSIGN(std::shared_ptr<Checkpoint> weights, Checkpoint::open(path));
  ModelSource source;
  source.path = path;
  const std::string folder = path_kind(path) == PathKind::kFolder ? path : parent_folder(path);
  source.config_path = folder + "/config.json";
  VIREO_ASSIGN(source.config, read_optional(source.config_path));
  source.weights = std::move(weights);
  return configure(std::move(source), folder);
}

Result<LoadedModel> LoadedModel::open_config(const std::string& path, uint64_t seed) {
  ModelSource source;
  source.seed = seed;
  const bool is_folder = path_kind(path) == PathKind::kFolder;
  source.config_path = is_folder ? path + "/config.json" : path;
  source.path = source.config_path;
  VIREO_ASSIGN(source.config, read_text_file(source.config_path, kMaxConfigBytes));
  return configure(std::move(source), is_folder ? path : parent_folder(path));
}

Result<LoadedModel> LoadedModel::configure(ModelSource source, const std::string& folder) {
  const std::string path = folder + "/preprocessor_config.json";
  VIREO_ASSIGN(std::string preprocessor, read_optional(path));
  return from_parts(std::move(source), std::move(preprocessor), path);
}

Result<LoadedModel> LoadedModel::from_parts(ModelSource source, std::string preprocessor, const std::string& preprocessor_path) {
  const Family* family = nullptr;
  for (const Family* candidate : model_families()) {
    if (family == nullptr && candidate->matches(source)) family = candidate;
  }
  if (family == nullptr) return no_family(source);
  LoadedModel model;
  VIREO_ASSIGN(std::unique_ptr<VisionModel> vision, family->open(source));
  model.vision_ = std::move(vision);

  VIREO_ASSIGN(model.preprocess_, model.vision_->preprocess(preprocessor, preprocessor_path));
  model.warnings_ = model.preprocess_.warnings;
  if (model.task() == Task::kClassification) model.scores_ = scores_of(source, model.classes(), &model.warnings_);

  if (source.weights != nullptr) {
    // A trial build meets every tensor that the model has.
    const auto trial = model.build(model.has_classes() ? Head::kLogits : Head::kFeatures, 1);
    if (!trial) return trial.error();
    std::string names;
    size_t count = 0;
    for (const std::string& name : source.weights->unused()) {
      if (model.vision_->is_known_unused(name)) continue;
      if (count++ < kNamedInWarning) names += (names.empty() ? "'" : ", '") + name + "'";
    }
    if (count > 0) {
      model.warnings_.push_back(fmt::format("'{}' holds {} tensor{} that the model does not use: {}{}", source.path, count,
                                            count == 1 ? "" : "s", names, count > kNamedInWarning ? ", ..." : ""));
    }
  }
  model.source_ = std::move(source);
  model.preprocessor_ = std::move(preprocessor);
  return model;
}

std::string LoadedModel::label(int64_t index) const {
  if (index >= 0 && size_t(index) < labels().size()) return labels()[size_t(index)];
  return fmt::format("LABEL_{}", index);
}

Result<Graph> LoadedModel::build(Head head, int64_t batch, int64_t h, int64_t w) const {
  const bool segments = task() == Task::kSegmentation;
  if (head == Head::kClassMap && !segments) {
    return fail(ErrorCode::kUnsupported, "model '{}' gives {}, not a class for every pixel; expected a segmentation model "
                "(UPerNet) for a class map", architecture(), task() == Task::kClassification ? "one class per picture" : "features");
  }
  if ((head == Head::kFeatures || head == Head::kTokens) && segments) {
    return fail(ErrorCode::kUnsupported, "model '{}' segments and has no {}; ask for its class map (Head::kClassMap, `vireo "
                "segment`) or its logits", architecture(), head == Head::kFeatures ? "pooled features" : "tokens");
  }
  return vision_->build(head, batch, h > 0 ? h : input_h(), w > 0 ? w : input_w());
}

}  // namespace vireo
