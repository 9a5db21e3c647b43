// libFuzzer target: a checkpoint file from a stranger. Whatever the bytes, the answer is tensors inside them or an
// Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "model/checkpoint.h"
#include "model/config.h"
#include "model/diagnose.h"
#include "model/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vireo;
  (void)describe_bytes(data, size, "model.bin");
  (void)parse_shard_index(std::string(reinterpret_cast<const char*>(data), size), "index.json");
  const auto weights = Checkpoint::from_memory(data, size, "fuzz.safetensors");
  if (!weights) {
    if (weights.error().message.empty()) std::abort();
    return 0;
  }
  for (const auto& [name, view] : (*weights)->tensors()) {
    if (view.bytes > size || (view.bytes > 0 && (view.data < data || view.data + view.bytes > data + size)))
      std::abort();
    if (!is_weight_dtype(view.dtype)) continue;
    const auto constant = (*weights)->constant(name, view.shape, "fuzz", 0, 1, view.elements());
    if (constant) (void)(*constant)->read_all();
  }
  if (is_vit_checkpoint(**weights)) (void)infer_vit_config(**weights);
  return 0;
}
