// A session that segments pictures, for `segment` and `eval --segmentation`.
#pragma once

#include "classmap.h"
#include "cli.h"
#include "image.h"

namespace cli {

class Segmenter {
 public:
  /// Opens the model and its session. Throws Failure; one that says so when the model does not segment.
  explicit Segmenter(const Common& common);

  const vireo::Model& model() const { return model_; }
  vireo::Session& session() { return session_; }
  int classes() const { return model_.classes(); }
  std::vector<std::string> labels() const;

  /// How many pictures are worth having in flight: a CPU works while submit() runs, a GPU while the next is prepared.
  int depth() const;
  /// Preprocesses, uploads and starts; at most two may be in flight.
  vireo::Result<vireo::Ticket> submit(const Rgb8& picture);
  /// Waits and reads the class map, of the model's input size. `ms` receives the time from start to end.
  vireo::Result<void> wait(vireo::Ticket ticket, ClassMap* map, double* ms);

 private:
  vireo::Model model_;
  vireo::Session session_;
};

}  // namespace cli
