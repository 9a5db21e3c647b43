// A trunk whose maps a dense head reads. Each family writes its trunk once, for its own classifier and as a backbone.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model/builder.h"
#include "model/fields.h"

namespace vireo {

class Backbone {
 public:
  virtual ~Backbone() = default;

  virtual int64_t channels() const = 0;
  /// The picture size that the trunk was made for; 0 x 0 where it is made for none.
  virtual int64_t image_h() const = 0;
  virtual int64_t image_w() const = 0;
  /// Adds the trunk to the graph of `b`. The tapped maps [n, h, w, c] in the configuration's order, finest first.
  virtual std::vector<ValueId> taps(ModelBuilder& b, ValueId pixels) const = 0;
  /// True for tensors that published trunks hold but no tap needs.
  virtual bool is_known_unused(const std::string& tensor) const = 0;
};

/// A backbone_config inside another model's configuration.
struct BackboneSource {
  const Json* json = nullptr;
  std::string source;  // its file, for messages
  const ModelSource* model = nullptr;
  std::string prefix;  // before its tensors' names: "backbone."
  bool plain = false;  // the trunk as its authors published it (torchvision), not as Hugging Face wraps it
};

/// Opens a backbone by the model_type of its configuration. Errors: kUnsupported, kCorrupt.
Result<std::unique_ptr<Backbone>> open_backbone(const BackboneSource& source);

/// Which stages are tapped, by out_indices or out_features: 0 is "stem", n is "stage<n>"; the last where neither is
/// given.
Result<std::vector<int64_t>> read_taps(Fields& fields, int64_t stages);

}  // namespace vireo
