// Tensors of a file whose bytes lie in memory.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/safetensors.h"

namespace vireo::compress {

struct StoredTensor {
  std::string name, dtype;
  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;

  TensorView view() const {
    TensorView v;
    v.name = name, v.dtype = dtype, v.shape = shape, v.data = bytes.data(), v.bytes = bytes.size();
    return v;
  }
};

/// What replaces tensors of a file, by its names; without bytes: the tensor goes.
using Replaced = std::map<std::string, StoredTensor>;

}  // namespace vireo::compress
