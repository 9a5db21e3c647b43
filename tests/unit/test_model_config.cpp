// config.json in Hugging Face's and timm's form, and none at all: what is read, what is refused and why.
#include "model/config.h"

#include "model/checkpoint.h"
#include "test_model_files.h"

namespace vireo {
namespace {

using test::expect_error;

Result<VitConfig> parse(const std::string& text) { return parse_vit_config(text, "config.json", nullptr); }
VitConfig parsed(const std::string& text) {
  auto c = parse(text);
  EXPECT_TRUE(c) << c.error().message;
  return c ? *c : VitConfig{};
}
void refused(const std::string& text, ErrorCode code, std::initializer_list<const char*> parts) {
  expect_error(parse(text), code, parts);
}

TEST(HfConfig, AbsentKeysTakeTheClassDefaults) {
  VitConfig c = parsed(R"({"model_type":"vit","architectures":["ViTForImageClassification"]})");
  EXPECT_EQ(c.hidden, 768);
  EXPECT_EQ(c.layers, 12);
  EXPECT_EQ(c.heads, 12);
  EXPECT_EQ(c.mlp, 3072);
  EXPECT_EQ(c.image_h, 224);
  EXPECT_EQ(c.patch_w, 16);
  EXPECT_EQ(c.eps, 1e-12);
  EXPECT_EQ(c.act, Activation::kGeluErf);
  EXPECT_TRUE(c.qkv_bias);
  EXPECT_EQ(c.classes, 2);
  EXPECT_EQ(c.prefix, "vit.");
  EXPECT_EQ(c.head, HeadKind::kLinear);
  EXPECT_EQ(c.resample, PosResample::kBicubic);
  c = parsed(R"({"model_type":"dinov2","architectures":["Dinov2Model"]})");
  EXPECT_EQ(c.eps, 1e-6);
  EXPECT_EQ(c.mlp, 3072);
  EXPECT_TRUE(c.layerscale);
  EXPECT_EQ(c.prefix, "");
  EXPECT_EQ(c.head, HeadKind::kNone);
  EXPECT_EQ(c.resample, PosResample::kBicubicOffset);
  c = parsed(R"({"model_type":"dinov2_with_registers"})");
  EXPECT_EQ(c.registers, 4);
  EXPECT_EQ(c.position_prefix, 1);
  EXPECT_EQ(c.resample, PosResample::kBicubicAntialias);
  c = parsed(R"({"model_type":"deit","architectures":["DeiTForImageClassificationWithTeacher"],"num_labels":7})");
  EXPECT_EQ(c.head, HeadKind::kDistilled);
  EXPECT_EQ(c.position_prefix, 2);
  EXPECT_EQ(c.classes, 7);
  // Old files without model_type.
  EXPECT_EQ(parsed(R"({"architectures":["DeiTModel"]})").model_type, "deit");
  EXPECT_EQ(parsed(R"({"model_type":null,"architectures":["ViTModel"]})").model_type, "vit");
}

TEST(HfConfig, ReadsSpellings) {
  VitConfig c = parsed(
      R"({"model_type":"vit","architectures":["ViTForImageClassification"],"image_size":[56,72],"patch_size":[8,4],
                           "hidden_size":80,"num_attention_heads":5.0,"hidden_act":"gelu_new","id2label":{"1":"b","0":"a"}})");
  EXPECT_EQ(c.grid_h(), 7);
  EXPECT_EQ(c.grid_w(), 18);
  EXPECT_EQ(c.heads, 5);
  EXPECT_EQ(c.act, Activation::kGeluTanh);
  EXPECT_EQ(c.labels, (std::vector<std::string>{"a", "b"}));
  const std::pair<const char*, Activation> acts[] = {
      {"gelu", Activation::kGeluErf},       {"gelu_pytorch_tanh", Activation::kGeluTanh},
      {"gelu_fast", Activation::kGeluTanh}, {"quick_gelu", Activation::kQuickGelu},
      {"silu", Activation::kSilu},          {"swish", Activation::kSilu},
      {"relu", Activation::kRelu}};
  for (const auto& [name, act] : acts) {
    EXPECT_EQ(parsed(std::string(R"({"model_type":"vit","hidden_act":")") + name + "\"}").act, act) << name;
  }
  // As Dinov2SwiGLUFFN rounds: int(int(1536 * 4) * 2 / 3) up to a multiple of 8.
  EXPECT_EQ(parsed(R"({"model_type":"dinov2","hidden_size":1536,"num_attention_heads":24,"use_swiglu_ffn":true})").mlp,
            4096);
  EXPECT_EQ(parsed(R"({"model_type":"dinov2","hidden_size":60,"num_attention_heads":5,"mlp_ratio":2.5})").mlp, 150);
  EXPECT_EQ(parsed(R"({"model_type":"vit","architectures":["ViTForImageClassification"],"num_labels":0})").head,
            HeadKind::kNone);
}

TEST(HfConfig, RefusesWhatItCannotBe) {
  refused("", ErrorCode::kCorrupt, {"config.json", "not valid JSON"});
  refused("[1]", ErrorCode::kCorrupt, {"config.json", "array", "JSON object"});
  refused("{}", ErrorCode::kCorrupt, {"neither 'model_type'", "'architecture'"});
  refused(R"({"model_type":"swin"})", ErrorCode::kUnsupported, {"model_type 'swin'", "expected vit, deit"});
  refused(R"({"model_type":5})", ErrorCode::kCorrupt, {"'model_type'", "5", "a string"});
  refused(R"({"model_type":"vit","hidden_size":100,"num_attention_heads":12})", ErrorCode::kCorrupt,
          {"width 100", "12 attention heads"});
  refused(R"({"model_type":"vit","hidden_size":-4})", ErrorCode::kCorrupt, {"'hidden_size'", "-4", "1 to"});
  refused(R"({"model_type":"vit","hidden_size":1e300})", ErrorCode::kCorrupt, {"'hidden_size'"});
  refused(R"({"model_type":"vit","hidden_size":7.5})", ErrorCode::kCorrupt, {"'hidden_size'", "7.5", "whole number"});
  refused(R"({"model_type":"vit","num_hidden_layers":99999999})", ErrorCode::kCorrupt, {"'num_hidden_layers'"});
  refused(R"({"model_type":"vit","num_attention_heads":0})", ErrorCode::kCorrupt, {"'num_attention_heads'"});
  refused(R"({"model_type":"vit","num_attention_heads":4})", ErrorCode::kUnsupported,
          {"head dimension of 192", "at most 128"});
  refused(R"({"model_type":"vit","patch_size":300})", ErrorCode::kCorrupt,
          {"patch (300 x 300)", "larger than the image (224 x 224)"});
  refused(R"({"model_type":"vit","patch_size":0})", ErrorCode::kCorrupt, {"'patch_size'"});
  refused(R"({"model_type":"vit","image_size":[224,224,3]})", ErrorCode::kCorrupt, {"'image_size'", "[height, width]"});
  refused(R"({"model_type":"vit","image_size":65536,"patch_size":1})", ErrorCode::kCorrupt, {"patches", "image_size"});
  refused(R"({"model_type":"vit","layer_norm_eps":"tiny"})", ErrorCode::kCorrupt, {"'layer_norm_eps'", "tiny"});
  refused(R"({"model_type":"vit","layer_norm_eps":-1})", ErrorCode::kCorrupt, {"'layer_norm_eps'"});
  refused(R"({"model_type":"vit","qkv_bias":1})", ErrorCode::kCorrupt, {"'qkv_bias'", "true or false"});
  refused(R"({"model_type":"vit","hidden_act":"mish"})", ErrorCode::kUnsupported, {"'mish'", "quick_gelu"});
  refused(R"({"model_type":"vit","id2label":{"0":"a","5":"b"},"architectures":["ViTForImageClassification"]})",
          ErrorCode::kCorrupt, {"2 entries", "'5'", "0 to 1"});
  refused(R"({"model_type":"vit","id2label":{"x":"a"}})", ErrorCode::kCorrupt, {"'x'"});
  refused(R"({"model_type":"vit","id2label":3})", ErrorCode::kCorrupt, {"'id2label'"});
}

TEST(TimmConfig, NamesStandForNumbers) {
  VitConfig c = parsed(R"({"architecture":"vit_small_patch16_224.augreg_in1k"})");
  EXPECT_EQ(c.hidden, 384);
  EXPECT_EQ(c.heads, 6);
  EXPECT_EQ(c.mlp, 1536);
  EXPECT_EQ(c.eps, 1e-6);
  EXPECT_EQ(c.classes, 1000);
  EXPECT_EQ(c.head, HeadKind::kLinear);
  EXPECT_EQ(c.position_prefix, 1);
  EXPECT_EQ(c.resample, PosResample::kBicubicAntialias);
  c = parsed(R"({"architecture":"deit_tiny_distilled_patch16_384"})");
  EXPECT_EQ(c.head, HeadKind::kDistilled);
  EXPECT_EQ(c.position_prefix, 2);
  EXPECT_EQ(c.image_h, 384);
  c = parsed(R"({"architecture":"vit_small_patch14_dinov2","num_classes":0})");
  EXPECT_EQ(c.image_h, 518);
  EXPECT_TRUE(c.layerscale);
  EXPECT_EQ(c.head, HeadKind::kNone);
  c = parsed(R"({"architecture":"vit_giant_patch14_reg4_dinov2","num_classes":0})");
  EXPECT_EQ(c.registers, 4);
  EXPECT_EQ(c.position_prefix, 0);
  EXPECT_TRUE(c.swiglu);
  EXPECT_EQ(c.mlp, 4096);
  EXPECT_EQ(c.heads, 24);
  c = parsed(R"({"architecture":"vit_medium_patch16_gap_256"})");
  EXPECT_FALSE(c.class_token || c.qkv_bias);
  EXPECT_EQ(c.pool, Pool::kMean);
  EXPECT_EQ(c.final_norm, FinalNorm::kBeforePool);
  c = parsed(R"({"architecture":"vit_base_patch32_clip_quickgelu_224"})");
  EXPECT_TRUE(c.pre_norm && !c.patch_bias);
  EXPECT_EQ(c.act, Activation::kQuickGelu);
  EXPECT_EQ(c.eps, 1e-5);
  c = parsed(R"({"architecture":"deit3_base_patch16_224"})");
  EXPECT_TRUE(c.layerscale);
  EXPECT_EQ(c.position_prefix, 0);
}

TEST(TimmConfig, ModelArgsOverride) {
  VitConfig c = parsed(R"({"architecture":"vit_small_patch16_224","num_classes":9,"global_pool":"avg",
      "model_args":{"img_size":[96,64],"patch_size":8,"embed_dim":72,"depth":2,"num_heads":3,"reg_tokens":2,"no_embed_class":true,
      "init_values":0.1,"qkv_bias":false,"mlp_ratio":2.5,"qk_norm":false,"drop_rate":0.1,"act_layer":"gelu_tanh"},
      "pretrained_cfg":{"input_size":[3,224,224],"num_classes":1000},"label_names":["a","b","c","d","e","f","g","h","i"]})");
  EXPECT_EQ(c.image_h, 96);
  EXPECT_EQ(c.image_w, 64);
  EXPECT_EQ(c.hidden, 72);
  EXPECT_EQ(c.mlp, 180);
  EXPECT_EQ(c.registers, 2);
  EXPECT_EQ(c.pool, Pool::kMean);
  EXPECT_EQ(c.final_norm, FinalNorm::kAfterPool);
  EXPECT_EQ(c.classes, 9);
  EXPECT_EQ(c.labels.size(), 9u);
  EXPECT_EQ(c.act, Activation::kGeluTanh);
  EXPECT_FALSE(c.qkv_bias);
  EXPECT_EQ(parsed(R"({"architecture":"vit_tiny_patch16_224","model_args":{"fc_norm":true}})").final_norm,
            FinalNorm::kAfterPool);
  EXPECT_FALSE(parsed(R"({"architecture":"vit_small_patch14_dinov2","model_args":{"init_values":null}})").layerscale);
  EXPECT_EQ(parsed(R"({"architecture":"vit_tiny_patch16_224","input_size":[1,48,64]})").channels,
            1);  // an old, flat file
}

TEST(TimmConfig, RefusesWhatItDoesNotKnow) {
  refused(R"({"architecture":"resnet50"})", ErrorCode::kUnsupported, {"'resnet50'", "vit_small_patch16_224"});
  refused(R"({"architecture":7})", ErrorCode::kCorrupt, {"'architecture'"});
  refused(R"({"architecture":"vit_base_patch16_siglip_224"})", ErrorCode::kUnsupported, {"'siglip'"});
  refused(R"({"architecture":"vit_strange_patch16_224"})", ErrorCode::kUnsupported,
          {"size", "embed_dim, depth and num_heads"});
  refused(R"({"architecture":"vit_tiny_patch16_224","model_args":{"qk_norm":true}})", ErrorCode::kUnsupported,
          {"'qk_norm'", "true"});
  refused(R"({"architecture":"vit_tiny_patch16_224","model_args":{"block_fn":"Parallel"}})", ErrorCode::kUnsupported,
          {"'block_fn'"});
  refused(R"({"architecture":"vit_tiny_patch16_224","model_args":{"norm_layer":"rmsnorm"}})", ErrorCode::kCorrupt,
          {"'norm_layer'"});
  refused(R"({"architecture":"vit_tiny_patch16_224","model_args":[]})", ErrorCode::kCorrupt, {"'model_args'"});
  refused(R"({"architecture":"vit_tiny_patch16_224","model_args":{"embed_dim":"x"}})", ErrorCode::kCorrupt,
          {"'embed_dim'"});
  refused(R"({"architecture":"vit_tiny_patch16_224","pretrained_cfg":3})", ErrorCode::kCorrupt, {"'pretrained_cfg'"});
  refused(R"({"architecture":"vit_tiny_patch16_224","pretrained_cfg":{"input_size":[3,224]}})", ErrorCode::kCorrupt,
          {"'input_size'"});
  refused(R"({"architecture":"vit_tiny_patch16_224","global_pool":"map"})", ErrorCode::kUnsupported, {"'map'"});
  refused(R"({"architecture":"vit_tiny_patch16_224","model_args":{"class_token":false}})", ErrorCode::kCorrupt,
          {"class_token"});
  refused(R"({"architecture":"vit_tiny_patch16_224","model_args":{"num_heads":7}})", ErrorCode::kCorrupt,
          {"192", "7 attention heads"});
}

}  // namespace
}  // namespace vireo
