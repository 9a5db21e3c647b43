// Compressed weights as a file holds them, in the format of compressed-tensors, and the file.
#pragma once

#include <string>
#include <vector>

#include "compress/layers.h"
#include "compress/method.h"
#include "compress/ranges.h"
#include "compress/recipe.h"
#include "compress/stored.h"

namespace vireo::compress {

/// 8 bits: `weight` I8 and `weight_scale`; fewer: `weight_packed` I32, `weight_scale` and `weight_shape`. With rows of
/// 8 bits among those of 4 `weight_wide_rows`, their numbers, and more rows in `weight_packed`, which is why readers
/// that do not know them refuse the file.
std::vector<StoredTensor> encode(const Layer& layer, const Coded& coded);

/// The grid of a linear's rows: `input_scale` and `input_zero_point`.
std::vector<StoredTensor> encode_rows(const Layer& layer, Range range);

/// config.json of the compressed model: that of the model with a quantization_config that names every layer which is
/// coded. `architecture`: of a model that has no config.json. Errors: kCorrupt.
Result<std::string> configuration(const LoadedModel& model, const Layers& layers, const std::vector<Scheme>& schemes);

/// Matrices of the file that are not coded: `ignore` of the configuration, by module.
std::vector<std::string> kept_modules(const LoadedModel& model, const Layers& layers,
                                      const std::vector<Scheme>& schemes);

/// The tensors of the file: those of the model, but for the layers that are coded. Names are the file's own.
std::vector<TensorView> all_views(const LoadedModel& model, const std::vector<std::vector<StoredTensor>>& coded,
                                  const Layers& layers);

/// Writes them as a safetensors file, whole or not at all. Errors: kIo.
Result<uint64_t> write_tensors(const std::string& folder, const std::string& name,
                               const std::vector<TensorView>& views);
Result<void> write_text(const std::string& folder, const std::string& name, const std::string& text);

}  // namespace vireo::compress
