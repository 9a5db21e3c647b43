// What a model family (ViT, Swin, MobileViT, UPerNet, ...) provides, and the table of families.
// A new family is one .cpp that fills a Family, and one line in family.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "graph/graph.h"
#include "model/checkpoint.h"
#include "model/extension.h"
#include "model/preprocess.h"

#include <vireo/types.hpp>

namespace vireo {

/// What a model is opened from.
struct ModelSource {
  std::string path;                           // folder or file, for messages
  std::string config;                         // text of config.json; empty when there is none
  std::string config_path;                    // for messages
  std::shared_ptr<const Checkpoint> weights;  // null: random weights from `seed`
  uint64_t seed = 0;
  std::shared_ptr<const Extension> extension = nullptr;  // of `config`, read once; null: none
};

/// A configured model that can be built into graphs. Immutable; every method may be called from several threads.
class VisionModel {
 public:
  virtual ~VisionModel() = default;

  virtual const std::string& architecture() const = 0;
  virtual int64_t channels() const = 0;
  /// The picture size of the configuration.
  virtual int64_t image_h() const = 0;
  virtual int64_t image_w() const = 0;
  /// Of pictures or of pixels; 0 when there is no such head.
  virtual int64_t classes() const = 0;
  virtual Task task() const { return classes() > 0 ? Task::kClassification : Task::kFeatures; }
  /// Empty when the configuration names none.
  virtual const std::vector<std::string>& labels() const = 0;
  /// How pictures become this model's input. `text` is preprocessor_config.json, empty when there is none: then what
  /// the model's own configuration or its family says.
  virtual Result<PreprocessConfig> preprocess(const std::string& text, const std::string& source) const = 0;
  /// The graph for `batch` pictures of h x w; its input is "pixels", planar [batch, h, w, channels].
  virtual Result<Graph> build(Head head, int64_t batch, int64_t h, int64_t w) const = 0;
  /// True for tensors that published checkpoints hold but inference has no use for.
  virtual bool is_known_unused(const std::string& tensor) const = 0;
  /// True for tensors that lie within the network: where nothing reads one, the checkpoint is of another network.
  virtual bool is_within(const std::string& tensor) const {
    (void)tensor;
    return false;
  }
  /// A sentence on what was taken for granted for want of a configuration; empty when nothing was.
  virtual std::string assumed() const { return std::string(); }
};

class Backbone;
struct BackboneSource;

/// A VisionModel whose answers about itself stand in its configuration under the same names in every family.
template <typename Config>
class ConfiguredModel : public VisionModel {
 public:
  ConfiguredModel(Config config, ModelSource source) : config_(std::move(config)), source_(std::move(source)) {}

  const std::string& architecture() const override { return config_.architecture; }
  int64_t channels() const override { return config_.channels; }
  int64_t image_h() const override { return config_.image_h; }
  int64_t image_w() const override { return config_.image_w; }
  int64_t classes() const override { return config_.classes; }
  const std::vector<std::string>& labels() const override { return config_.labels; }

 protected:
  /// For a model without a classifier, asked for one.
  Error no_head() const {
    return fail(ErrorCode::kUnsupported, "model '{}' ({}) has no classification head; use `embed` to get its features",
                source_.path, config_.architecture);
  }

  Config config_;
  ModelSource source_;
};

struct Family {
  const char* name;
  bool (*matches)(const ModelSource& source);
  Result<std::unique_ptr<VisionModel>> (*open)(const ModelSource& source);
  /// The trunk alone, for a dense head (model/backbone.h): the model_types it is known by, ending with null, and how it
  /// is opened; null for a family that is no trunk.
  const char* const* backbones = nullptr;
  Result<std::unique_ptr<Backbone>> (*open_backbone)(const BackboneSource& source) = nullptr;
};

/// All families; the first that matches opens the model.
const std::vector<const Family*>& model_families();

/// One weight for a graph: from the checkpoint, or random when there is none.
struct WeightInit {
  float mean = 0.f;
  float sigma = 0.02f;
};
Result<ConstantPtr> load_weight(const ModelSource& source, const std::string& name, const std::vector<int64_t>& shape,
                                const std::string& reason, int64_t rows, int64_t cols, WeightInit init);

}  // namespace vireo
