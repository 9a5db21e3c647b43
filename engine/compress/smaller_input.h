// A smaller input as a way to compress: fewer patches of the same picture.
#pragma once

#include "model/model.h"

namespace vireo::compress {

/// The model whose preparation of pictures gives it `percent` of each side, to a whole number of patches. Nothing but
/// preprocessor_config.json changes: positions are fitted to the patches when a model is opened. Errors: kUnsupported
/// (no ViT with an answer for the whole picture; a preparation that no preprocessor_config.json says),
/// kInvalidArgument (too few patches for that).
Result<LoadedModel> with_smaller_input(const LoadedModel& model, double percent);

}  // namespace vireo::compress
