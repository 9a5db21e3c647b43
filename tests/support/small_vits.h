// Configurations of small networks of every kind of token sequence: 30 patches.
#pragma once

#include <string>

namespace vireo::test {

inline std::string small_vit(const std::string& rest) {
  return R"({"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48, "patch_size": 8,
             "image_size": [40, 48], "num_labels": 5, "id2label": {"0": "a", "1": "b", "2": "c", "3": "d", "4": "e"},)" +
         rest + "}";
}
inline const std::string kVit = small_vit(R"("architectures": ["ViTForImageClassification"], "model_type": "vit")");
inline const std::string kDistilled =
    small_vit(R"("architectures": ["DeiTForImageClassificationWithTeacher"], "model_type": "deit")");
inline const std::string kRegisters = small_vit(
    R"("architectures": ["Dinov2WithRegistersForImageClassification"], "model_type": "dinov2_with_registers",
       "num_register_tokens": 4, "mlp_ratio": 2, "use_swiglu_ffn": false, "layerscale_value": 0.7)");

}  // namespace vireo::test
