// MobileViT (Mehta and Rastegari, arXiv 2110.02178): XXS, XS and S in Hugging Face's and timm's names.
#pragma once

#include "model/family.h"

namespace vireo {

extern const Family kMobileVitFamily;

}  // namespace vireo
