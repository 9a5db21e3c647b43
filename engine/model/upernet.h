// UPerNet (Xiao et al., arXiv 1807.10221), semantic segmentation on a backbone: as Hugging Face has it, and as the code
// of "Compressing Vision Transformers for Low-Resource Visual Learning" (arXiv 2309.02617) does.
#pragma once

#include "model/family.h"

namespace vireo {

extern const Family kUperNetFamily;

}  // namespace vireo
