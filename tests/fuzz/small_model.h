// What fuzz targets of descriptions work on: a small model without a checkpoint, and refusals that must say something.
#pragma once

#include <cstdlib>
#include <string>
#include <utility>

#include "runtime/model_impl.h"

namespace vireo::fuzz {

/// A ViT of one layer: every kind of step that a plan of transformers has.
inline const Model& small_model() {
  static const Model model = [] {
    (void)setenv("VIREO_TUNING", "-", 1);  // what was tuned on this machine is none of the input
    ModelSource source;
    source.path = source.config_path = "config.json";
    source.config =
        R"({"model_type":"vit","architectures":["ViTForImageClassification"],"hidden_size":32,"num_hidden_layers":1,"num_attention_heads":2,
                        "intermediate_size":64,"image_size":16,"patch_size":8,"id2label":{"0":"a","1":"b","2":"c"}})";
    Result<LoadedModel> loaded = LoadedModel::from_parts(std::move(source), "", "preprocessor_config.json");
    if (!loaded) std::abort();
    return Model::Impl::wrap(std::move(*loaded), "small");
  }();
  return model;
}

/// An Error that has a message and is nobody's bug.
template <typename R>
void check_refusal(const R& result) {
  if (!result && (result.error().message.empty() || result.error().code == ErrorCode::kInternal)) std::abort();
}

}  // namespace vireo::fuzz
