#include "model/model.h"

#include <utility>

#include "base/input_file.h"
#include "base/text.h"
#include "model/config_parts.h"
#include "model/diagnose.h"
#include "model/hub_cache.h"
#include "model/json.h"
#include "model/number_grids.h"

namespace vireo {
namespace {

constexpr size_t kNamedInWarning = 5;

/// A configuration's text. One that is no JSON may be another file under its name.
Result<std::string> read_config(const std::string& path) {
  VIREO_ASSIGN(std::string text, read_text_file(hub_file(path), kMaxConfigBytes));
  if (text.compare(0, 3, "\xef\xbb\xbf") == 0) text.erase(0, 3);  // a byte order mark, as some editors write it
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos || (text[first] != '{' && text[first] != '[')) {
    const std::string what = describe_bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size(), path);
    if (!what.empty()) return fail(ErrorCode::kCorrupt, "'{}' {}", path, what);
  }
  return text;
}

/// Reads a configuration if it exists; no permission, a link to nothing and the like are errors, not absence.
Result<std::string> read_optional(const std::string& path) {
  if (const std::string link = dangling_link(path); !link.empty()) {
    return fail(ErrorCode::kNotFound, "'{}' is {}; download it again, or copy what it points to", path, link);
  }
  if (path_kind(path) == PathKind::kMissing) return std::string();
  return read_config(path);
}

/// How pictures are prepared: the text, its file, and what should be said of it.
struct PreprocessorFile {
  std::string text, path, note;
};

/// Transformers v5 writes image_processor into processor_config.json and reads it there first; older files are
/// preprocessor_config.json.
Result<PreprocessorFile> read_preprocessor(const std::string& folder) {
  PreprocessorFile file;
  file.path = folder + "/preprocessor_config.json";
  VIREO_ASSIGN(file.text, read_optional(file.path));
  const std::string outer = folder + "/processor_config.json";
  VIREO_ASSIGN(const std::string text, read_optional(outer));
  if (text.empty()) return file;
  VIREO_ASSIGN(const Json json, parse_json_object(text, outer));
  const Json* nested = find_member(json, "image_processor");
  if (nested == nullptr) return file;
  if (!nested->is_object()) {
    return fail(ErrorCode::kCorrupt,
                "'{}': key 'image_processor' is {}, expected an object with the keys of preprocessor_config.json",
                outer, json_text(*nested));
  }
  if (!file.text.empty() && parse_json(file.text) != *nested) {
    file.note = fmt::format(
        "'{}' and image_processor in processor_config.json differ; the latter counts, as in Transformers v5",
        file.path);
  }
  file.text = write_json(*nested);
  file.path = outer;
  return file;
}

/// Names of tensors for a message, the first few of them.
struct Unread {
  size_t count = 0;
  std::string names;

  void add(const std::string& name) {
    if (count < kNamedInWarning) names += (names.empty() ? "'" : ", '") + name + "'";
    if (count == kNamedInWarning) names += ", ...";
    ++count;
  }
  std::string number() const { return std::to_string(count) + (count == 1 ? " tensor" : " tensors"); }
};

Error no_family(const ModelSource& source) {
  std::string names;
  for (const Family* family : model_families()) names += (names.empty() ? "" : ", ") + std::string(family->name);
  if (source.weights != nullptr && source.weights->has("input") && source.weights->has("output")) {
    return fail(ErrorCode::kUnsupported,
                "'{}' is no model but looks like a capture, which `vireo replay` runs; expected a model's folder or "
                ".safetensors file",
                source.path);
  }
  if (source.config.empty()) {
    return fail(ErrorCode::kUnsupported,
                "'{}' has no config.json and its tensor names belong to no model family that Vireo "
                "knows ({}); {}",
                source.path, names, kNameTheModel);
  }
  const Result<Json> parsed = parse_json_object(source.config, source.config_path);
  if (!parsed) return parsed.error();
  const Json& json = *parsed;
  for (const char* key : {"model_type", "architecture", "architectures"}) {
    const Json* v = find_member(json, key);
    if (v == nullptr) continue;
    const Json& name = v->is_array() && !v->empty() ? (*v)[0] : *v;
    return fail(ErrorCode::kUnsupported,
                "'{}': {} {} is not supported; expected one of vit, deit, dinov2, "
                "dinov2_with_registers, mobilevit, swin, swinv2 and upernet, or timm's vit_*, deit_*, swin_*, swinv2_* "
                "and mobilevit_*",
                source.config_path, key, json_text(name));
  }
  return fail(ErrorCode::kCorrupt,
              "'{}' has neither 'model_type' (Hugging Face) nor 'architecture' (timm), so the kind of "
              "model is unknown; expected a model's config.json",
              source.config_path);
}

/// The rule of Transformers' image classification pipeline. A problem_type that does not exist (its configurations
/// refuse one) is noted.
Scores scores_of(const ModelSource& source, int64_t classes, std::vector<std::string>* notes) {
  if (classes == 1) return Scores::kSigmoid;  // before problem_type is asked
  const Json json = parse_json(source.config);
  const Json* v = json.is_object() ? find_member(json, "problem_type") : nullptr;
  if (v == nullptr || v->is_null()) return Scores::kSoftmax;
  const std::string type = v->is_string() ? v->get<std::string>() : json_text(*v);
  if (type == "multi_label_classification") return Scores::kSigmoid;
  if (type == "single_label_classification" || type == "regression") return Scores::kSoftmax;
  notes->push_back(
      fmt::format("'{}': problem_type is '{}', expected single_label_classification, multi_label_classification or "
                  "regression; scores are softmax",
                  source.config_path, type));
  return Scores::kSoftmax;
}

}  // namespace

Result<LoadedModel> LoadedModel::open(const std::string& given, const Named& named) {
  if (!named.config.empty() && !named.architecture.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "both a configuration ('{}') and an architecture ('{}') are named for '{}'; give one of them",
                named.config, named.architecture, given);
  }
  VIREO_ASSIGN(const std::string path, resolve_hub_cache(given));
  VIREO_ASSIGN(std::shared_ptr<Checkpoint> weights, Checkpoint::open(path, named.network));
  ModelSource source;
  source.path = path;
  const PathKind kind = path_kind(path);
  // Another folder's config.json, or none, would be another model.
  if (kind != PathKind::kFolder && kind != PathKind::kFile)
    return fail(ErrorCode::kIo, "model '{}' can no longer be examined", path);
  const std::string folder = kind == PathKind::kFolder ? path : parent_folder(path);
  source.config_path = folder + "/config.json";
  if (!named.config.empty()) {
    source.config_path = path_kind(named.config) == PathKind::kFolder ? named.config + "/config.json" : named.config;
    VIREO_ASSIGN(source.config, read_config(source.config_path));
  } else if (!named.architecture.empty()) {
    source.config_path = "--architecture " + named.architecture;
    source.config = write_json(Json{{"architecture", named.architecture}});
  } else {
    VIREO_ASSIGN(source.config, read_optional(source.config_path));
  }
  std::vector<std::string> notes;
  if (named.network.empty() && !weights->others().empty()) {
    const std::string& first = weights->others()[0];
    notes.push_back(fmt::format(
        "'{}' also holds tensors under '{}'{}, which are no complete network and are not read", path, first,
        weights->others().size() > 1 ? fmt::format(" and {} more prefixes", weights->others().size() - 1) : ""));
  }
  source.weights = std::move(weights);
  return configure(std::move(source), folder, std::move(notes));
}

Result<LoadedModel> LoadedModel::open_config(const std::string& given, uint64_t seed) {
  VIREO_ASSIGN(const std::string path, resolve_hub_cache(given));
  ModelSource source;
  source.seed = seed;
  const bool is_folder = path_kind(path) == PathKind::kFolder;
  source.config_path = is_folder ? path + "/config.json" : path;
  source.path = source.config_path;
  if (const std::string link = dangling_link(source.config_path); !link.empty()) {
    return fail(ErrorCode::kNotFound, "'{}' is {}; download it again, or copy what it points to", source.config_path,
                link);
  }
  VIREO_ASSIGN(source.config, read_config(source.config_path));
  return configure(std::move(source), is_folder ? path : parent_folder(path), {});
}

Result<LoadedModel> LoadedModel::configure(ModelSource source, const std::string& folder,
                                           std::vector<std::string> notes) {
  VIREO_ASSIGN(PreprocessorFile file, read_preprocessor(folder));
  if (!file.note.empty()) notes.push_back(std::move(file.note));
  VIREO_ASSIGN(LoadedModel model, from_parts(std::move(source), std::move(file.text), file.path));
  model.warnings_.insert(model.warnings_.end(), notes.begin(), notes.end());
  return model;
}

Result<LoadedModel> LoadedModel::from_parts(ModelSource source, std::string preprocessor,
                                            const std::string& preprocessor_path) {
  // No configuration of codes is a random model's or that of floats.
  VIREO_ASSIGN(const auto compression, parse_compression(source.config, source.config_path));
  if (source.weights != nullptr && (compression || source.weights->coded())) {
    VIREO_ASSIGN(source.weights, source.weights->with_compression(compression));
  }
  VIREO_ASSIGN(source.extension, parse_extension(source.config, source.config_path));
  const Family* family = nullptr;
  for (const Family* candidate : model_families()) {
    if (family == nullptr && candidate->matches(source)) family = candidate;
  }
  if (family == nullptr) return no_family(source);
  LoadedModel model;
  VIREO_ASSIGN(std::unique_ptr<VisionModel> vision, family->open(source));
  model.vision_ = std::move(vision);
  if (compression && compression->rows_stay())
    model.warnings_.push_back(fmt::format(
        "'{}' asks for quantised activations (input_activations) that are neither int8 by token, found as they come "
        "and "
        "symmetric, nor int8 by tensor, known beforehand: they stay floats, and only weights are as it says",
        source.config_path));

  VIREO_ASSIGN(model.preprocess_, model.vision_->preprocess(preprocessor, preprocessor_path));
  if (!model.vision_->assumed().empty()) model.warnings_.push_back(model.vision_->assumed());
  for (const std::string& warning : model.preprocess_.warnings) model.warnings_.push_back(warning);
  if (model.task() == Task::kClassification) model.scores_ = scores_of(source, model.classes(), &model.warnings_);

  if (source.weights != nullptr) {
    // A trial build meets every tensor that the model has.
    const auto trial = model.build(model.has_classes() ? Head::kLogits : Head::kFeatures, 1);
    if (!trial) return trial.error();
    Unread unread, within;
    for (const std::string& name : source.weights->unused()) {
      if (model.vision_->is_known_unused(name)) continue;
      const std::string& own = source.weights->find(name)->name;  // as the file has it
      unread.add(own);
      if (model.vision_->is_within(name)) within.add(own);
    }
    if (unread.count > 0 && source.config.empty()) {
      return fail(ErrorCode::kUnsupported,
                  "'{}' has no config.json and was taken for {} by its tensors, but it holds {} that this network "
                  "does not have: {}; it is another one, {}",
                  source.path, model.architecture(), unread.number(), unread.names, kNameTheModel);
    }
    if (within.count > 0) {
      return fail(ErrorCode::kCorrupt,
                  "'{}' holds {} within the network that {} ('{}') does not have: {}; weights and configuration do not "
                  "belong together",
                  source.path, within.number(), model.architecture(), source.config_path, within.names);
    }
    if (unread.count > 0) {
      model.warnings_.push_back(
          fmt::format("'{}' holds {} that the model does not use: {}", source.path, unread.number(), unread.names));
    }
  }
  model.source_ = std::move(source);
  if (model.source_.extension != nullptr && model.source_.extension->grids.any()) {  // a trial of these too
    const auto trial = model.build(model.has_classes() ? Head::kLogits : Head::kFeatures, 1);
    if (!trial) return trial.error();
  }
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
    return fail(ErrorCode::kUnsupported,
                "model '{}' gives {}, not a class for every pixel; expected a segmentation model "
                "(UPerNet) for a class map",
                architecture(), task() == Task::kClassification ? "one class per picture" : "features");
  }
  if ((head == Head::kFeatures || head == Head::kTokens) && segments) {
    return fail(ErrorCode::kUnsupported,
                "model '{}' segments and has no {}; ask for its class map (Head::kClassMap, `vireo "
                "segment`) or its logits",
                architecture(), head == Head::kFeatures ? "pooled features" : "tokens");
  }
  VIREO_ASSIGN(Graph graph, vision_->build(head, batch, h > 0 ? h : input_h(), w > 0 ? w : input_w()));
  if (source_.extension != nullptr) {
    graph.attention = source_.extension->attention;
    if (source_.extension->grids.any()) VIREO_TRY(round_numbers(source_.extension->grids, source_.config_path, &graph));
  }
  return graph;
}

}  // namespace vireo
