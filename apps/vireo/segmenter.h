// A session that segments pictures, for `segment` and `eval --segmentation`.
#pragma once

#include "classmap.h"
#include "cli.h"
#include "governed.h"
#include "image.h"

namespace cli {

/// How the model's answer becomes a map of the picture's size.
enum class MapResize {
  kBilinear,  ///< its scores are brought to that size, then the largest taken: Transformers'
              ///< post_process_semantic_segmentation
  kNearest,   ///< its classes of the input's pixels are, by the nearest pixel
};
/// Adds --map-resize.
CLI::Option* add_map_resize(CLI::App& verb, MapResize& resize);

class Segmenter {
 public:
  /// Opens the model and its session. Throws Failure; one that says so when the model does not segment.
  explicit Segmenter(Common& common, MapResize resize = MapResize::kBilinear, const Governing& governing = {});

  const vireo::Model& model() const { return model_; }
  /// Of the last picture; of the model's own size before the first.
  vireo::Session& session() { return levels_.sessions().last(); }
  GovernedSessions& levels() { return levels_; }
  int classes() const { return model_.classes(); }
  std::vector<std::string> labels() const;

  /// The size of the map to ask a session for, for a picture of that size.
  vireo::MapSize map_size(int width, int height) const {
    return resize_ == MapResize::kNearest ? vireo::MapSize{} : vireo::MapSize{height, width};
  }
  /// The answer's map, of the picture's size.
  vireo::Result<void> read(const vireo::Output& out, int width, int height, ClassMap* map);
  /// A picture to a map of that size. `ms` receives the time from start to end.
  vireo::Result<void> segment(const vireo::Image& picture, int width, int height, ClassMap* map, double* ms);

 private:
  vireo::Model model_;
  GovernedSessions levels_;
  const MapResize resize_;
  ClassMap small_;  // kNearest: of the model's input
};

}  // namespace cli
