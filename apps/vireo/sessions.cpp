#include "sessions.h"

#include <cstdio>

namespace cli {
namespace {

constexpr size_t kKept = 3;  // each holds what it does not share: buffers, tables of its size

/// Several sizes of a picture are several sessions of the same weights.
Common with_others(const vireo::Model& model, Common common) {
  if (!common.together && model.keeps_proportions() && common.height == 0)
    common.together = std::make_shared<Common::Together>();
  return common;
}

}  // namespace

Sessions::Sessions(const vireo::Model& model, const Common& common, vireo::Head head)
    : model_(model), common_(with_others(model, common)), head_(head) {
  if (one_for_all()) of_size(0, 0);
}

vireo::Session& Sessions::for_picture(int width, int height) {
  if (one_for_all()) return last();
  int h = 0, w = 0;
  model_.input_size_for(width, height, &h, &w);
  return of_size(h, w);
}

vireo::Session& Sessions::last() { return entries_.empty() ? of_size(0, 0) : entries_.front().session; }

vireo::Session& Sessions::of_size(int height, int width) {
  for (auto it = entries_.begin(); it != entries_.end(); ++it) {
    if (it->height != height || it->width != width) continue;
    entries_.splice(entries_.begin(), entries_, it);
    return entries_.front().session;
  }
  Common sized = common_;
  if (height > 0) {
    sized.height = height;
    sized.width = width;
    std::fprintf(stderr, "note: the image processor keeps proportions; planning for pictures of %d x %d\n", height,
                 width);
  }
  if (entries_.size() >= kKept) entries_.pop_back();
  entries_.push_front({height, width, open_session(model_, sized, head_)});
  return entries_.front().session;
}

vireo::Result<vireo::Output> run_one(Sessions& sessions, const vireo::Image& picture, Reasons& reasons) try {
  vireo::Session& session = sessions.for_picture(picture.upright_width(), picture.upright_height());
  reasons.begin(session);
  return session.run(picture);
} catch (const Failure& failure) {  // no session for this picture's size
  return vireo::Error{vireo::ErrorCode::kInvalidArgument, failure.what()};
}

vireo::Result<vireo::Output> run_one(Sessions& sessions, const Rgb8& picture, Reasons& reasons) {
  return run_one(sessions, vireo::Image{picture.rgb.data(), picture.width, picture.height, 0}, reasons);
}

}  // namespace cli
