#include "sessions.h"

#include <cstdio>

namespace cli {
namespace {

constexpr size_t kKept = 3;  // each holds the model's weights as its plan wants them

}  // namespace

Sessions::Sessions(const vireo::Model& model, const Common& common, vireo::Head head) : model_(model), common_(common), head_(head) {
  if (!model.keeps_proportions() || common.height > 0) of_size(0, 0);
}

vireo::Session& Sessions::for_picture(int width, int height) {
  if (!model_.keeps_proportions() || common_.height > 0) return last();
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
    std::fprintf(stderr, "note: the image processor keeps proportions; planning for pictures of %d x %d\n", height, width);
  }
  if (entries_.size() >= kKept) entries_.pop_back();
  entries_.push_front({height, width, open_session(model_, sized, head_)});
  return entries_.front().session;
}

}  // namespace cli
