// libFuzzer target: the JSON files of a model folder from a stranger. What parses must also build and prepare a
// picture.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/family.h"
#include "model/preprocess.h"
#include "model/vit.h"

namespace {

using namespace vireo;

void prepare(const Result<PreprocessConfig>& config) {
  if (!config || config->input_h * config->input_w > 4096) return;
  Preprocessor p(*config);
  std::vector<uint8_t> picture(13 * 9 * 3, 100);
  std::vector<float> out(size_t(p.output_size()));
  (void)p.run(picture.data(), 13, 9, 39, out.data());
}

/// The other families: what opens must prepare pictures and build. Trunks of plain ViT are left out, see below for
/// those.
void open_families(const std::string& text) {
  ModelSource source;
  source.path = "fuzz";
  source.config = text;
  source.config_path = "config.json";
  for (const Family* family : model_families()) {
    if (family == &kVitFamily || !family->matches(source)) continue;
    const auto model = family->open(source);
    if (!model) {
      if (model.error().message.empty()) std::abort();
      continue;
    }
    prepare((*model)->preprocess("", ""));
    if (text.find("vit\"") != std::string::npos && text.find("mobilevit\"") == std::string::npos) continue;
    if (text.size() > 4096 || text.find("dino") != std::string::npos || text.find("deit") != std::string::npos)
      continue;
    const auto graph = (*model)->build(Head::kLogits, 1, 64, 64);
    if (!graph && graph.error().code == ErrorCode::kInternal) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  (void)is_vit_config(text);
  for (const Processor processor :
       {Processor::kVit, Processor::kDeit, Processor::kBit, Processor::kMobileVit, Processor::kSegformer}) {
    prepare(parse_preprocessor_config(text, "preprocessor_config.json", processor, 16, 16, 3));
  }
  prepare(parse_timm_preprocess(text, "config.json", PreprocessConfig{}, 16, 24));
  open_families(text);
  const auto config = parse_vit_config(text, "config.json", nullptr);
  if (!config) {
    if (config.error().message.empty()) std::abort();
    return 0;
  }
  if (!validate_vit_config(*config)) std::abort();
  // Small enough to build within a fuzzing step.
  if (config->layers > 4 || config->hidden * (config->grid_h() * config->grid_w() + config->prefix_tokens()) > 100000)
    return 0;
  ModelSource source;
  source.path = "fuzz";
  for (const Head head : {Head::kLogits, Head::kFeatures, Head::kTokens}) {
    const auto graph = build_vit(*config, source, head, 1, config->image_h, config->image_w);
    if (!graph && graph.error().code == ErrorCode::kInternal) std::abort();
  }
  return 0;
}
