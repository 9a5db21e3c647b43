// NumPy's .npy files: float32 tensors in C order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <vireo/result.hpp>

namespace cli {

struct NpyArray {
  std::vector<int64_t> shape;
  std::vector<float> data;
};

/// Reads little-endian float32, or uint8 converted to float. Errors: kNotFound, kIo, kCorrupt, kUnsupported.
vireo::Result<NpyArray> read_npy(const std::string& path);
/// The same for a file already in memory; `name` is for messages.
vireo::Result<NpyArray> parse_npy(const uint8_t* data, size_t size, const std::string& name);
/// Writes version 1.0, "<f4", whole or not at all (write_file.h). Errors: kIo.
vireo::Result<void> write_npy(const std::string& path, const float* data, const std::vector<int64_t>& shape);

}  // namespace cli
