#include "tensor/tensor.h"

#include <fmt/format.h>

namespace vireo {

size_t dtype_size(DType t) {
  switch (t) {
    case DType::kF32:
    case DType::kI32: return 4;
    case DType::kF16:
    case DType::kBF16: return 2;
    case DType::kI8:
    case DType::kU8: return 1;
  }
  return 0;
}

const char* dtype_name(DType t) {
  switch (t) {
    case DType::kF32: return "f32";
    case DType::kF16: return "f16";
    case DType::kBF16: return "bf16";
    case DType::kI8: return "i8";
    case DType::kU8: return "u8";
    case DType::kI32: return "i32";
  }
  return "?";
}

std::string to_string(const Shape& s) { return fmt::format("[{}, {}, {}, {}]", s.d[0], s.d[1], s.d[2], s.d[3]); }

std::string to_string(const TensorDesc& t) {
  return fmt::format("{}{}{}", dtype_name(t.dtype), to_string(t.shape), t.layout == Layout::kPlanar ? " planar" : "");
}

}  // namespace vireo
