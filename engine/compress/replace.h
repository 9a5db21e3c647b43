// A model some of whose tensors are others, before they are written to any file.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "compress/stored.h"
#include "model/model.h"

namespace vireo::compress {

/// Numbers in the floats that a tensor of this type had: fp16, bfloat16, else fp32.
StoredTensor as_floats(const std::string& name, const std::string& dtype, std::vector<int64_t> shape,
                       const std::vector<float>& values);

/// The tensor of the file by its own name; null where there is none.
const TensorView* find_tensor(const LoadedModel& model, const std::string& name);

/// The model with these tensors and this text of a config.json. It keeps what it needs of the other one alive. Errors:
/// those of LoadedModel.
Result<std::shared_ptr<const LoadedModel>> with_tensors(const LoadedModel& model, const std::string& config,
                                                        Replaced replaced);

}  // namespace vireo::compress
