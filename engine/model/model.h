// Opening a model: a Hugging Face or timm folder, a single .safetensors file, or a config.json with random weights.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "graph/graph.h"
#include "model/family.h"
#include "model/preprocess.h"

namespace vireo {

/// An opened model. The checkpoint's files stay open, also for graphs built from it. Const methods may be
/// called from several threads.
class LoadedModel {
 public:
  /// `path`: a folder with config.json, preprocessor_config.json and safetensors (one file, or shards with an index),
  /// or a .safetensors file; the two configurations may be missing, and processor_config.json may hold the second.
  /// Every tensor is found, measured and scanned for NaN here, so that a damaged checkpoint fails now. Errors name
  /// file, key or tensor: kNotFound, kIo, kCorrupt, kUnsupported. A folder of the Hugging Face cache (models--a--b)
  /// stands for its snapshot.
  struct Named {
    std::string config = {}, architecture = {};  ///< a configuration instead of the folder's; timm's name of one, as if
                                                 ///< a config.json gave it alone
    std::string network = {};                    ///< see canonical_names (model/names.h)
  };
  static Result<LoadedModel> open(const std::string& path, const Named& named);
  static Result<LoadedModel> open(const std::string& path) { return open(path, Named()); }
  /// Random weights that depend on `seed` only, for benchmarks without a checkpoint. `path`: a config.json or its
  /// folder.
  static Result<LoadedModel> open_config(const std::string& path, uint64_t seed);
  /// From its parts, wherever they lay: `preprocessor` is the text of preprocessor_config.json (empty: there is none),
  /// `preprocessor_path` its name for messages.
  static Result<LoadedModel> from_parts(ModelSource source, std::string preprocessor,
                                        const std::string& preprocessor_path);

  /// "ViTForImageClassification", "vit_tiny_patch16_224", ...
  const std::string& architecture() const { return vision_->architecture(); }
  const VisionModel& vision() const { return *vision_; }
  /// What from_parts() would open it from again.
  const ModelSource& source() const { return source_; }
  const std::string& preprocessor_text() const { return preprocessor_; }
  const PreprocessConfig& preprocess() const { return preprocess_; }
  /// The input size that preprocessing brings pictures to.
  int64_t input_h() const { return preprocess_.input_h; }
  int64_t input_w() const { return preprocess_.input_w; }
  int64_t channels() const { return vision_->channels(); }
  int64_t classes() const { return vision_->classes(); }
  Task task() const { return vision_->task(); }
  Scores scores() const { return scores_; }
  bool has_classes() const { return vision_->classes() > 0; }
  /// One per class, or empty.
  const std::vector<std::string>& labels() const { return vision_->labels(); }
  /// The label of a class, or "LABEL_<index>" where the configuration has none.
  std::string label(int64_t index) const;
  /// Sentences for the user: tensors that nothing reads, defaults that were assumed.
  const std::vector<std::string>& warnings() const { return warnings_; }

  /// The graph for `batch` pictures; h and w of 0 mean input_h() and input_w(). The input is "pixels", planar
  /// [batch, h, w, channels]; there is one output. Errors: kUnsupported (a head that the model's task does not have),
  /// kInvalidArgument (size).
  Result<Graph> build(Head head, int64_t batch, int64_t h = 0, int64_t w = 0) const;

 private:
  static Result<LoadedModel> configure(ModelSource source, const std::string& folder, std::vector<std::string> notes);

  ModelSource source_;
  std::string preprocessor_;
  std::shared_ptr<const VisionModel> vision_;
  PreprocessConfig preprocess_;
  Scores scores_ = Scores::kSoftmax;
  std::vector<std::string> warnings_;
};

}  // namespace vireo
