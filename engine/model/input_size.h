// The preparation of pictures for another input size than the checkpoint's own.
#pragma once

#include "model/preprocess.h"

namespace vireo {

/// The same part of the picture on h x w pixels, the margin around a crop in proportion.
PreprocessConfig preprocess_for(PreprocessConfig c, int64_t h, int64_t w);

}  // namespace vireo
