// libFuzzer target: preprocessor_config.json, and timm's part of config.json, from a stranger. What parses prepares
// pictures of any shape into numbers, or gives an Error.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "fuzz/small_model.h"
#include "model/preprocess.h"

namespace {

using namespace vireo;

void prepare(const Result<PreprocessConfig>& config) {
  fuzz::check_refusal(config);
  if (!config) return;
  if (!validate_preprocess(*config, "again")) std::abort();
  if (config->input_h * config->input_w > 4096) return;
  Preprocessor p(*config);
  std::vector<float> out(static_cast<size_t>(p.output_size()));
  // Wide, high, one pixel, and as large as the smallest network input: proportions decide which sizes are asked for.
  constexpr int64_t kSizes[][2] = {{13, 9}, {1, 1}, {40, 3}, {2, 33}};
  for (const auto& size : kSizes) {
    const std::vector<uint8_t> picture(size_t(size[0] * size[1] * 3), 100);
    fuzz::check_refusal(p.run(picture.data(), size[0], size[1], size[0] * 3, out.data()));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const Processor processor :
       {Processor::kVit, Processor::kDeit, Processor::kBit, Processor::kMobileVit, Processor::kSegformer}) {
    prepare(parse_preprocessor_config(text, "preprocessor_config.json", processor, 16, 16, 3));
  }
  prepare(parse_preprocessor_config(text, "preprocessor_config.json", Processor::kVit, 24, 16, 1));
  prepare(parse_timm_preprocess(text, "config.json", PreprocessConfig{}, 16, 24));
  return 0;
}
