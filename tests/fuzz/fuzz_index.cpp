// libFuzzer target: model.safetensors.index.json from a stranger. The files that it names lie beside it, or it is an
// Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "fuzz/small_model.h"
#include "model/checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vireo;
  const auto files =
      parse_shard_index(std::string(reinterpret_cast<const char*>(data), size), "model.safetensors.index.json");
  fuzz::check_refusal(files);
  if (!files) return 0;
  if (files->empty()) std::abort();
  for (const auto& [tensor, file] : *files)
    if (file.empty() || file == "." || file == ".." || file.find_first_of(std::string("/\\\0", 3)) != std::string::npos)
      std::abort();
  return 0;
}
