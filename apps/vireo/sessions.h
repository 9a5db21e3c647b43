// Sessions for pictures one after the other: one, or one per input size where the model's image processor keeps
// proportions.
#pragma once

#include <list>

#include "cli.h"
#include "image.h"

namespace cli {

class Sessions {
 public:
  Sessions(const vireo::Model& model, const Common& common, vireo::Head head);

  /// The session for a picture of width x height, opened where there is none; valid until the next call. Throws
  /// Failure.
  vireo::Session& for_picture(int width, int height);
  /// Whether one session takes every picture.
  bool one_for_all() const { return !model_.keeps_proportions() || common_.height > 0; }
  /// The session of the last call; of the model's own size before the first. Throws Failure.
  vireo::Session& last();

 private:
  vireo::Session& of_size(int height, int width);

  struct Entry {
    int height, width;  // 0 x 0: the model's own
    vireo::Session session;
  };
  const vireo::Model& model_;
  const Common common_;
  vireo::Head head_;
  std::list<Entry> entries_;  // the last used first
};

/// One picture through the session of its size; an error also where there can be none.
vireo::Result<vireo::Output> run_one(Sessions& sessions, const vireo::Image& picture, Reasons& reasons);
vireo::Result<vireo::Output> run_one(Sessions& sessions, const Rgb8& picture, Reasons& reasons);

}  // namespace cli
