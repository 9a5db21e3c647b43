// libFuzzer target: a SPIR-V module from a stranger. What decodes is counted for a small dispatch and ends, or gives an
// Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "shader/count.h"
#include "shader/reflect.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vireo;
  if (size > 65536) return 0;
  std::vector<uint32_t> words(size / 4);
  if (!words.empty()) std::memcpy(words.data(), data, words.size() * 4);
  const shader::Module module{"fuzz", words.data(), words.size()};
  const std::vector<uint32_t> spec{32}, push(16, 4);
  const auto counted = shader::count({&module, &spec, &push, {2, 1, 1}}, 32);
  if (!counted && counted.error().message.empty()) std::abort();
  const auto reflected = shader::reflect(module);
  if (!reflected && reflected.error().message.empty()) std::abort();
  (void)shader::count_static(module);
  (void)shader::function_bytes(module, spec);
  (void)shader::shared_bytes(module, spec);
  return 0;
}
