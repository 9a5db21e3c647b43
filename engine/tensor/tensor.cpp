#include "tensor/tensor.h"

#include <fmt/format.h>

namespace vireo {

std::string to_string(const Shape& s) { return fmt::format("[{}, {}, {}, {}]", s.d[0], s.d[1], s.d[2], s.d[3]); }

std::string to_string(const TensorDesc& t) {
  return fmt::format("{}{}{}", to_string(t.format()), to_string(t.shape), t.layout == Layout::kPlanar ? " planar" : "");
}

}  // namespace vireo
