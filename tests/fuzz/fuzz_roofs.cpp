// libFuzzer target: a file of measured roofs (in the cache folder) from a stranger. What parses prints as it was read
// and holds rates of a device, or gives an Error. The device it names is taken for this one: a refusal as stale hides
// the rest.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "fuzz/small_model.h"
#include "profile/roofs_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vireo;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto line = [&text](const char* word) {
    const size_t at = text.find(word), from = at + std::string(word).size();
    return at == std::string::npos ? std::string("none") : text.substr(from, text.find('\n', from) - from);
  };
  const RoofsId id{"roofs-fuzz.txt", line("\ndevice "), line("\nfor ")};
  const auto kept = parse_roofs(text, id);
  fuzz::check_refusal(kept);
  if (!kept) return 0;
  if (!(kept->roofs.fma_gflops > 0) || !std::isfinite(kept->roofs.copy_gbs)) std::abort();
  const auto again = parse_roofs(roofs_text(id, *kept), id);
  if (!again || again->date != kept->date) std::abort();
  (void)best_of(kept->roofs, again->roofs);
  return 0;
}
