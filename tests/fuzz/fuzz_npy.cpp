// libFuzzer target: a NumPy file (eval --compare-logits) from a stranger. What reads has as many numbers as its shape
// says.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "npy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto array = cli::parse_npy(data, size, "fuzz.npy");
  if (!array) {
    if (array.error().message.find("fuzz.npy") == std::string::npos) std::abort();
    return 0;
  }
  size_t elements = 1;
  for (const int64_t extent : array->shape) {
    if (extent < 0) std::abort();
    elements *= size_t(extent);
  }
  if (elements != array->data.size() || array->data.size() > size) std::abort();
  return 0;
}
