// The Vision Transformer family: ViT, DeiT (also distilled), DINOv2 with and without registers, in Hugging Face's and
// timm's names.
#pragma once

#include "model/config.h"
#include "model/family.h"

namespace vireo {

extern const Family kVitFamily;

/// The graph of plain operators of a configured model. source.weights may be null (random weights).
Result<Graph> build_vit(const VitConfig& config, const ModelSource& source, Head head, int64_t batch, int64_t h,
                        int64_t w);

}  // namespace vireo
