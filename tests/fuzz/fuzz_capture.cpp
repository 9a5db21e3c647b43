// libFuzzer target: a capture from a stranger. What reads must give a model that opens and builds, or an Error; the
// checksum, which would stop nearly every mutation, is tried first and then left out.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "runtime/capture_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vireo;
  const auto whole = parse_capture(data, size, nullptr, "fuzz.vireo");
  if (!whole && whole.error().message.empty()) std::abort();
  std::map<std::string, std::string> metadata;
  const auto tensors = parse_safetensors(data, size, "fuzz.vireo", &metadata);
  if (!tensors) return 0;
  const auto parts = captured_parts(metadata, *tensors, nullptr, "fuzz.vireo");
  if (!parts) {
    if (parts.error().message.empty()) std::abort();
    return 0;
  }
  const SessionOptions& o = parts->info.options;
  if (parts->input.size() > 16384 || parts->config.size() > 4096 || o.height > 64 || o.width > 64) return 0;
  const auto model = captured_model(*parts, "fuzz.vireo");
  if (!model || model->vision().image_h() * model->vision().image_w() > 4096) return 0;
  const auto graph = model->build(o.head, o.batch, o.height, o.width);
  if (!graph && graph.error().code == ErrorCode::kInternal) std::abort();
  return 0;
}
