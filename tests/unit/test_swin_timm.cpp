// timm's Swin: names against the numbers that timm gives them, both ways of naming tensors, and pictures of other
// sizes. And tensors within a network that its configuration does not have.
#include "model/json.h"
#include "model/model.h"
#include "model/swin.h"
#include "test_model_files.h"

#include <fstream>
#include <sstream>

namespace vireo {
namespace {

using test::expect_error;
using test::TempDir;

const std::string kCases = std::string(VIREO_TEST_DATA) + "/cases/";

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

Result<SwinConfig> parsed(const std::string& text) {
  VIREO_ASSIGN(const Json json, parse_json_object(text, "config.json"));
  return parse_timm_swin_config(json, "config.json", nullptr);
}

using List = std::vector<int64_t>;

TEST(SwinTimm, NamesStandForNumbers) {
  struct Case {
    const char* name;
    int64_t embed;
    List depths;
    int64_t heads, window, side;
    List windows, pretrained;
  };
  const List none{0, 0, 0, 0}, from12{12, 12, 12, 6};
  // The entry points of swin_transformer.py and swin_transformer_v2.py of timm 1.0.29.
  for (const Case& c : std::vector<Case>{
           {"swin_tiny_patch4_window7_224", 96, {2, 2, 6, 2}, 3, 7, 224, {}, none},
           {"swin_small_patch4_window7_224.ms_in22k", 96, {2, 2, 18, 2}, 3, 7, 224, {}, none},
           {"swin_base_patch4_window7_224_in22k", 128, {2, 2, 18, 2}, 4, 7, 224, {}, none},
           {"swin_base_patch4_window12_384", 128, {2, 2, 18, 2}, 4, 12, 384, {}, none},
           {"swin_large_patch4_window12_384", 192, {2, 2, 18, 2}, 6, 12, 384, {}, none},
           {"swin_s3_tiny_224", 96, {2, 2, 6, 2}, 3, 7, 224, {7, 7, 14, 7}, none},
           {"swin_s3_small_224", 96, {2, 2, 18, 2}, 3, 7, 224, {14, 14, 14, 7}, none},
           {"swin_s3_base_224", 96, {2, 2, 30, 2}, 3, 7, 224, {7, 7, 14, 7}, none},
           {"swinv2_tiny_window8_256", 96, {2, 2, 6, 2}, 3, 8, 256, {}, none},
           {"swinv2_small_window16_256", 96, {2, 2, 18, 2}, 3, 16, 256, {}, none},
           {"swinv2_base_window12_192", 128, {2, 2, 18, 2}, 4, 12, 192, {}, none},
           {"swinv2_base_window12to16_192to256", 128, {2, 2, 18, 2}, 4, 16, 256, {}, from12},
           {"swinv2_base_window12to16_192to256_22kft1k", 128, {2, 2, 18, 2}, 4, 16, 256, {}, from12},
           {"swinv2_large_window12to24_192to384.ms_in22k_ft_in1k", 192, {2, 2, 18, 2}, 6, 24, 384, {}, from12}}) {
    SCOPED_TRACE(c.name);
    const auto got = parsed("{\"architecture\":\"" + std::string(c.name) + "\"}");
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_TRUE(validate_swin_config(*got).ok());
    EXPECT_EQ(got->v2, std::string(c.name).rfind("swinv2", 0) == 0);
    EXPECT_EQ(got->embed, c.embed);
    EXPECT_EQ(got->depths, c.depths);
    EXPECT_EQ(got->heads, (List{c.heads, 2 * c.heads, 4 * c.heads, 8 * c.heads}));
    EXPECT_EQ(got->image_h, c.side);
    if (c.windows.empty()) {
      EXPECT_EQ(got->window, c.window);
    }
    EXPECT_EQ(got->windows, c.windows);
    EXPECT_EQ(got->pretrained, c.pretrained);
    EXPECT_EQ(got->patch_h, 4);
    EXPECT_EQ(got->eps, 1e-5);
    EXPECT_EQ(got->classes, 1000);
  }
  const auto refused = [](const char* text, std::initializer_list<const char*> parts) {
    expect_error(parsed(text), ErrorCode::kUnsupported, parts);
  };
  refused(R"({"architecture":"swinv2_cr_tiny_224"})", {"swinv2_cr_tiny_224", "another network"});
  for (const char* name :
       {"swin_huge_patch4_window7_224", "swin_tiny_patch4_224", "swin_tiny_patch4_window7",
        "swinv2_tiny_patch4_window8_256", "swin_tiny_patch4_window7_224_extra", "swin_s3_large_224"}) {
    refused(("{\"architecture\":\"" + std::string(name) + "\"}").c_str(), {name, "expected a name like"});
  }
}

TEST(SwinTimm, ArgumentsOverrideAndUnknownOnesAreRefused) {
  const auto args = [](const std::string& text, const std::string& name = "swinv2_base_window12to16_192to256") {
    return parsed("{\"architecture\":\"" + name + "\",\"model_args\":" + text + "}");
  };
  auto c = args(R"({"img_size":128,"drop_path_rate":0.2})");
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_EQ(c->pretrained, (List{12, 12, 12, 6}));
  EXPECT_EQ(c->image_w, 128);
  c = args(
      R"({"window_size":[8,8],"depths":[1,2],"num_heads":[4,8],"pretrained_window_sizes":[5,6],"act_layer":"gelu_tanh"})");
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_EQ(c->window, 8);
  EXPECT_TRUE(c->windows.empty());
  EXPECT_EQ(c->pretrained, (List{5, 6}));
  for (const char* text :
       {R"({"always_partition":true})", R"({"head_dim":32})", R"({"norm_layer":"rmsnorm"})", R"({"window_ratio":8})"}) {
    expect_error(args(text), ErrorCode::kUnsupported, {"model_args", "Swin"});
  }
  expect_error(args(R"({"act_layer":"relu"})", "swin_tiny_patch4_window7_224"), ErrorCode::kUnsupported,
               {"'act_layer'"});
  expect_error(args(R"({"global_pool":""})"), ErrorCode::kUnsupported, {"global_pool"});
  expect_error(args(R"({"depths":"2"})"), ErrorCode::kCorrupt, {"'depths'"});
  expect_error(args(R"({"window_size":[8,7]})"), ErrorCode::kCorrupt, {"'window_size'", "square"});
}

TEST(SwinTimm, CheckpointsOpenWithoutAWarning) {
  for (const char* name : {"timm-swin", "timm-swin-authors", "timm-swinv2"}) {
    const auto model = LoadedModel::open(kCases + name);
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_TRUE(model->warnings().empty()) << model->warnings()[0];
    EXPECT_EQ(model->classes(), 5);
  }
}

TEST(WithinTheNetwork, UnreadTensorsAreAnErrorInEveryFamily) {
  struct Case {
    const char* name;
    const char* tensor;
  };
  for (const Case& c : {Case{"timm-swin", "layers.0.blocks.0.attn.logit_scale"},
                        {"hf-swin", "swin.encoder.layers.1.blocks.2.layernorm_before.weight"},
                        {"tv-swin", "features.5.7.norm1.weight"},
                        {"hf-mobilevit", "mobilevit.encoder.layer.4.transformer.layer.9.layernorm_before.weight"},
                        {"timm-vit", "blocks.0.attn.q_norm.weight"},
                        {"hf-vit", "vit.encoder.layer.9.layernorm_before.weight"}}) {
    SCOPED_TRACE(c.tensor);
    const std::string bytes = slurp(kCases + c.name + "/model.safetensors");
    const auto views = parse_safetensors(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), c.name);
    ASSERT_TRUE(views) << views.error().message;
    std::vector<test::TestTensor> tensors;
    for (const TensorView& v : *views)
      tensors.push_back({v.name, v.dtype, v.shape, std::string(reinterpret_cast<const char*>(v.data), v.bytes)});
    tensors.push_back(test::noise("teacher_head.weight", {2}));
    TempDir dir;
    for (const char* file : {"config.json", "preprocessor_config.json"}) {
      const std::string text = slurp(kCases + c.name + "/" + file);
      if (!text.empty()) dir.write(file, text);
    }
    dir.write("model.safetensors", test::safetensors(tensors));
    const auto noted = LoadedModel::open(dir.path());
    ASSERT_TRUE(noted) << noted.error().message;
    ASSERT_EQ(noted->warnings().size(), 1u);
    EXPECT_NE(noted->warnings()[0].find("'teacher_head.weight'"), std::string::npos) << noted->warnings()[0];
    tensors.push_back(test::noise(c.tensor, {2}));
    dir.write("model.safetensors", test::safetensors(tensors));
    expect_error(LoadedModel::open(dir.path()), ErrorCode::kCorrupt, {c.tensor, "1 tensor within", "config.json"});
  }
}

TEST(SwinTimm, SizesThatItsTablesDoNotFitAreRefused) {
  const auto model = LoadedModel::open(kCases + "timm-swin");
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(model->build(Head::kLogits, 1, 64, 128).ok());  // the same windows on more of them
  expect_error(model->build(Head::kLogits, 1, 32, 64), ErrorCode::kInvalidArgument,
               {"32 x 64", "not square", "64 x 64"});
  expect_error(model->build(Head::kLogits, 1, 32, 32), ErrorCode::kInvalidArgument,
               {"32 x 32", "window of 2", "is of 4"});
  expect_error(model->build(Head::kLogits, 1, 72, 72), ErrorCode::kInvalidArgument,
               {"72 x 72", "18 x 18", "shifted window of 4"});
  const auto v2 = LoadedModel::open(kCases + "timm-swinv2");
  ASSERT_TRUE(v2) << v2.error().message;
  EXPECT_TRUE(v2->build(Head::kLogits, 1, 32, 32).ok());  // V2 computes its tables
}

/// What infer_swin_config() looks at of a Swin of those numbers, without any data.
std::shared_ptr<Checkpoint> shapes_of(bool timm, bool v2, int64_t embed, int64_t third, int64_t heads, int64_t window,
                                      int64_t mlp = 4) {
  std::vector<TensorView> views;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    TensorView v;
    v.name = name, v.dtype = "F32", v.shape = std::move(shape);
    views.push_back(v);
  };
  add(timm ? "patch_embed.proj.weight" : "features.0.0.weight", {embed, 3, 4, 4});
  add(timm ? "head.fc.weight" : "head.weight", {1000, 8 * embed});
  const int64_t depths[] = {2, 2, third, 2};
  for (int64_t s = 0; s < 4; ++s)
    for (int64_t b = 0; b < depths[s]; ++b) {
      const std::string at =
          timm ? fmt::format("layers.{}.blocks.{}.", s, b) : fmt::format("features.{}.{}.", 2 * s + 1, b);
      add(at + "norm1.weight", {embed << s});
      add(at + (timm ? "mlp.fc1.weight" : "mlp.0.weight"), {mlp * (embed << s), embed << s});
      add(at + "attn.qkv.weight", {3 * (embed << s), embed << s});
      add(at + (timm && v2 ? "attn.q_bias" : "attn.qkv.bias"), {embed << s});
      if (v2) {
        add(at + "attn.logit_scale", {heads << s, 1, 1});
        add(at + "attn.cpb_mlp.0.weight", {512, 2});
        add(at + "attn.relative_position_index", {window * window, window * window});
      } else {
        add(at + "attn.relative_position_bias_table", {(2 * window - 1) * (2 * window - 1), heads << s});
      }
    }
  auto made = Checkpoint::from_views(std::move(views), nullptr, "swin.safetensors");
  EXPECT_TRUE(made) << made.error().message;
  return made ? *made : nullptr;
}

TEST(SwinTimm, AStateDictTellsAPublishedNetwork) {
  struct Row {
    bool v2;
    int64_t embed, third, heads, window, image;
  };
  for (const bool timm : {true, false})
    for (const Row& r : {Row{false, 96, 6, 3, 7, 224}, Row{false, 128, 18, 4, 12, 384}, Row{true, 96, 18, 3, 16, 256},
                         Row{true, 192, 18, 6, 12, 192}}) {
      const auto c = infer_swin_config(*shapes_of(timm, r.v2, r.embed, r.third, r.heads, r.window));
      ASSERT_TRUE(c) << timm << " " << r.v2 << " " << r.embed << " " << r.window << ": " << c.error().message;
      EXPECT_EQ(c->image_h, r.image);
      EXPECT_EQ(c->window, r.window);
      EXPECT_NE(c->assumed.find(r.v2 ? "taken for swinv2_" : "taken for swin_"), std::string::npos) << c->assumed;
    }
  // Other widths, depths, heads, windows and MLPs, and windows that two networks share.
  for (const auto& w :
       {shapes_of(true, false, 64, 6, 3, 7), shapes_of(true, false, 96, 8, 3, 7), shapes_of(true, false, 96, 6, 4, 7),
        shapes_of(true, false, 96, 6, 3, 8), shapes_of(true, false, 96, 6, 3, 7, 3),
        shapes_of(true, true, 128, 18, 4, 16), shapes_of(true, true, 192, 18, 6, 24)})
    expect_error(infer_swin_config(*w), ErrorCode::kInvalidArgument,
                 {"swin.safetensors", "no published Swin", "--config FILE"});
}

TEST(SwinTimm, AStateDictOfNoPublishedSizeAsks) {
  for (const char* name : {"timm-swin", "timm-swin-authors"}) {
    TempDir dir;
    dir.write("w.safetensors", slurp(kCases + name + "/model.safetensors"));
    expect_error(LoadedModel::open(dir / "w.safetensors"), ErrorCode::kInvalidArgument,
                 {"no published Swin", "--config FILE"});
  }
  TempDir dir;
  dir.write("w.safetensors", slurp(kCases + "timm-swinv2/model.safetensors"));
  expect_error(LoadedModel::open(dir / "w.safetensors"), ErrorCode::kInvalidArgument,
               {"relative_position_index", "the window", "--config FILE"});
}

}  // namespace
}  // namespace vireo
