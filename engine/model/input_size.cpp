#include "model/input_size.h"

#include <algorithm>
#include <cmath>

namespace vireo {

PreprocessConfig preprocess_for(PreprocessConfig c, int64_t h, int64_t w) {
  if (h == c.input_h && w == c.input_w) return c;
  if (keeps_proportions(c)) {
    // A session for pictures that become h x w. With a longest_edge the rule stays as it is: the shorter side need not
    // be its number.
    if (c.longest == 0) c.shortest = std::min(h, w);
    c.input_h = h;
    c.input_w = w;
    return c;
  }
  const double ratio = std::max(double(h) / double(c.input_h), double(w) / double(c.input_w));
  c.resize_h = std::max<int64_t>(h, std::llround(double(c.resize_h) * double(h) / double(c.input_h)));
  c.resize_w = std::max<int64_t>(w, std::llround(double(c.resize_w) * double(w) / double(c.input_w)));
  c.shortest = std::llround(double(c.shortest) * ratio);
  c.longest = std::llround(double(c.longest) * ratio);
  c.crop_h = c.input_h = h;
  c.crop_w = c.input_w = w;
  return c;
}

}  // namespace vireo
