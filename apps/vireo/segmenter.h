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

  /// How many pictures are worth having in flight: a CPU works while submit() runs, a GPU while the next is prepared.
  /// One, where each size of picture has a session of its own.
  int depth();
  /// Preprocesses, uploads and starts at the present level; at most two may be in flight. The map will have that size.
  vireo::Result<vireo::Ticket> submit(const vireo::Image& picture, int width, int height);
  /// Waits and reads the class map; level and size are submit()'s. `ms` receives the time from start to end.
  vireo::Result<void> wait(vireo::Ticket ticket, int level, int width, int height, ClassMap* map, double* ms);

 private:
  vireo::Model model_;
  GovernedSessions levels_;
  const MapResize resize_;
  ClassMap small_;  // kNearest: of the model's input
};

}  // namespace cli
