// `vireo eval --segmentation`: how well a model segments labelled pictures.
#pragma once

#include <cstdint>
#include <string>

#include "cli.h"
#include "segmenter.h"

namespace cli {

struct SegmentationEval {
  std::string folder, split;
  int ignore = 255;   // the label value of pixels that do not count
  int64_t limit = 0;  // 0: all pictures
  MapResize map_resize = MapResize::kBilinear;
};

/// Runs and prints; throws Failure.
void eval_segmentation(Common& common, const SegmentationEval& what);

}  // namespace cli
