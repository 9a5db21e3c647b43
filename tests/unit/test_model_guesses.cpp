// Checkpoints without a config.json: what is told by tensors, what is taken for granted and said, and what is asked
// for. And names of timm's against the numbers that timm gives them.
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "model/config.h"
#include "model/model.h"
#include "test_model_files.h"

namespace vireo {
namespace {

using test::expect_error;
using test::noise;
using test::TempDir;
using test::TestTensor;

std::shared_ptr<Checkpoint> checkpoint(const std::vector<TestTensor>& tensors, std::string* storage) {
  *storage = test::safetensors(tensors);
  auto w = Checkpoint::from_memory(reinterpret_cast<const uint8_t*>(storage->data()), storage->size(), "m.safetensors");
  EXPECT_TRUE(w) << w.error().message;
  return w ? *w : nullptr;
}

Result<VitConfig> inferred(const std::vector<TestTensor>& tensors) {
  std::string storage;
  return infer_vit_config(*checkpoint(tensors, &storage));
}

/// What timm's layout of a ViT may have.
struct Layout {
  int64_t hidden = 192, blocks = 12, mlp = 768, patch = 4, side = 2, classes = 5, registers = 0;
  bool cls = true, dist = false, embed_prefix = true, scale = false, qkv_bias = true, norm_pre = false, fc_norm = false,
       norm = true;
  bool swiglu = false;
};

/// Half precision zeros: as small as a checkpoint of this size can be.
TestTensor zeros(const std::string& name, const std::vector<int64_t>& shape) {
  size_t n = 1;
  for (int64_t d : shape) n *= size_t(d);
  return {name, "F16", shape, std::string(2 * n, '\0')};
}

std::vector<TestTensor> timm(const Layout& l) {
  const int64_t d = l.hidden, prefix = (l.cls ? 1 : 0) + (l.dist ? 1 : 0) + l.registers;
  std::vector<TestTensor> t = {zeros("patch_embed.proj.weight", {d, 3, l.patch, l.patch}),
                               zeros("pos_embed", {1, l.side * l.side + (l.embed_prefix ? prefix : 0), d})};
  const auto pair = [&](const std::string& name, const std::vector<int64_t>& shape, bool bias = true) {
    t.push_back(zeros(name + ".weight", shape));
    if (bias) t.push_back(zeros(name + ".bias", {shape[0]}));
  };
  if (!l.norm_pre) t.push_back(zeros("patch_embed.proj.bias", {d}));
  if (l.cls) t.push_back(zeros("cls_token", {1, 1, d}));
  if (l.dist) t.push_back(zeros("dist_token", {1, 1, d}));
  if (l.registers > 0) t.push_back(zeros("reg_token", {1, l.registers, d}));
  if (l.norm_pre) pair("norm_pre", {d});
  for (int64_t i = 0; i < l.blocks; ++i) {
    const std::string b = "blocks." + std::to_string(i) + ".";
    pair(b + "norm1", {d});
    pair(b + "norm2", {d});
    pair(b + "attn.qkv", {3 * d, d}, l.qkv_bias);
    pair(b + "attn.proj", {d, d});
    pair(b + "mlp.fc1", {l.swiglu ? 2 * l.mlp : l.mlp, d});
    pair(b + "mlp.fc2", {d, l.mlp});
    if (l.scale) t.push_back(zeros(b + "ls1.gamma", {d}));
    if (l.scale) t.push_back(zeros(b + "ls2.gamma", {d}));
  }
  if (l.norm) pair(l.fc_norm ? "fc_norm" : "norm", {d});
  if (l.classes > 0) pair("head", {l.classes, d});
  if (l.dist && l.classes > 0) pair("head_dist", {l.classes, d});
  return t;
}

Layout layout(int64_t hidden, int64_t blocks, int64_t mlp) {
  Layout l;
  l.hidden = hidden;
  l.blocks = blocks;
  l.mlp = mlp;
  return l;
}

TEST(Guess, APublishedNetworkIsToldAndSaid) {
  TempDir dir;
  dir.write("model.safetensors", test::safetensors(timm(Layout())));
  const auto model = LoadedModel::open(dir / "model.safetensors");
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->architecture(), "vit_tiny_patch4_8");
  EXPECT_EQ(model->classes(), 5);
  ASSERT_EQ(model->warnings().size(), 2u);
  for (const char* part : {"no config.json", "vit_tiny_patch4_8", "3 heads of 64", "GELU", "eps 1e-06", "class token",
                           "--config", "--architecture"}) {
    EXPECT_NE(model->warnings()[0].find(part), std::string::npos) << model->warnings()[0];
  }
  EXPECT_NE(model->warnings()[1].find("mean 0.5 and std 0.5"), std::string::npos) << model->warnings()[1];
}

TEST(Guess, WidthsWhoseHeadsAreNot64) {
  struct Case {
    Layout layout;
    const char* name;
    int64_t heads;
  };
  std::vector<Case> cases;
  Layout l = layout(1280, 32, 5120);
  cases.push_back({l, "vit_huge_patch4_8", 16});
  l = layout(1408, 40, 6144);
  cases.push_back({l, "vit_giant_patch4_8", 16});
  l = layout(256, 14, 1280);
  l.cls = l.embed_prefix = false, l.registers = 1, l.scale = l.fc_norm = true;
  cases.push_back({l, "vit_wee_patch4_reg1_gap_8", 4});
  l = layout(832, 21, 2176);
  l.cls = l.qkv_bias = false, l.registers = 1, l.scale = l.fc_norm = true;
  cases.push_back({l, "vit_so150m2_patch4_reg1_gap_8", 13});
  l = layout(896, 18, 2304);
  l.cls = false, l.registers = 4;
  cases.push_back({l, "vit_so150m_patch4_reg4_gap_8", 14});
  l = layout(384, 12, 1536);
  l.patch = 14, l.scale = true, l.classes = 0;
  cases.push_back({l, "vit_small_patch14_dinov2_28", 6});
  l.registers = 4, l.embed_prefix = false;
  cases.push_back({l, "vit_small_patch14_reg4_dinov2_28", 6});
  l = layout(384, 12, 1536);
  l.scale = true, l.embed_prefix = false;
  cases.push_back({l, "deit3_small_patch4_8", 6});
  l = layout(192, 12, 768);
  l.dist = true;
  cases.push_back({l, "deit_tiny_distilled_patch4_8", 3});
  for (const Case& c : cases) {
    // Names and shapes suffice: the blocks' bulk is left out, all but the first.
    std::vector<TestTensor> t = timm([&] {
      Layout one = c.layout;
      one.blocks = 1;
      return one;
    }());
    for (int64_t i = 1; i < c.layout.blocks; ++i)
      t.push_back(zeros("blocks." + std::to_string(i) + ".norm1.weight", {c.layout.hidden}));
    const auto got = inferred(t);
    ASSERT_TRUE(got) << c.name << ": " << got.error().message;
    EXPECT_EQ(got->architecture, c.name);
    EXPECT_EQ(got->heads, c.heads) << c.name;
    EXPECT_EQ(got->pool == Pool::kMean, !c.layout.cls) << c.name;
    EXPECT_NE(got->assumed.find(c.name), std::string::npos) << got->assumed;
  }
}

TEST(Guess, ShapesThatDoNotTellAsk) {
  const auto asks = [](const std::vector<TestTensor>& t, const char* what) {
    SCOPED_TRACE(what);
    expect_error(inferred(t), ErrorCode::kInvalidArgument,
                 {"m.safetensors", "no config.json", "attention heads", "--config FILE", "--architecture NAME"});
  };
  Layout l;
  l.blocks = 2;
  asks(timm(l), "a ViT of a size that nobody published: any activation, any heads");
  l = layout(144, 2, 576);
  asks(timm(l), "heads that are not 64 wide");
  l = Layout();
  l.norm_pre = true;
  asks(timm(l), "CLIP: gelu or quick_gelu");
  l = Layout();
  l.fc_norm = true;
  asks(timm(l), "a norm behind pooling: mean, or mean and maximum");
  l = layout(768, 12, 3072);
  l.blocks = 1, l.cls = false;
  asks(timm(l), "no class token: 12 heads or 16");
  l = Layout();
  l.registers = 2;
  asks(timm(l), "registers that no published one has");
  l = Layout();
  l.norm = false;
  asks(timm(l), "no last norm");
  asks(test::tiny_vit(), "Hugging Face's names");
}

TEST(Guess, TensorsOfAnotherNetworkAreNamed) {
  const auto refused = [](const std::vector<TestTensor>& extra, const char* named) {
    SCOPED_TRACE(named);
    std::vector<TestTensor> t = timm(Layout());
    t.insert(t.end(), extra.begin(), extra.end());
    TempDir dir;
    dir.write("model.safetensors", test::safetensors(t));
    const auto model = LoadedModel::open(dir / "model.safetensors");
    expect_error(model, ErrorCode::kUnsupported, {"no config.json", named, "--config FILE", "--architecture NAME"});
    // With a configuration too: what lies within the network must be read.
    dir.write("config.json",
              R"({"architecture":"vit_tiny_patch16_224","num_classes":5,"model_args":{"patch_size":4,"img_size":8}})");
    expect_error(LoadedModel::open(dir.path()), ErrorCode::kCorrupt, {named, "do not belong together", "config.json"});
  };
  refused({zeros("blocks.0.attn.q_bias", {192}), zeros("blocks.0.attn.v_bias", {192})},
          "'blocks.0.attn.q_bias'");                                                       // EVA, BEiT
  refused({zeros("blocks.0.attn.q_norm.weight", {64})}, "'blocks.0.attn.q_norm.weight'");  // qk_norm
  refused({zeros("blocks.3.attn.rel_pos.relative_position_bias_table", {9, 3})},
          "'blocks.3.attn.rel_pos");  // vit_relpos
  refused({zeros("blocks.0.attn.proj_l.weight", {3, 3}), zeros("blocks.0.attn.proj_w.weight", {3, 3})},
          "attn.proj_l");                                                                  // CaiT
  refused({zeros("blocks.11.mlp.norm.weight", {768})}, "'blocks.11.mlp.norm.weight'");     // EVA-02
  refused({zeros("rope.periods", {16})}, "'rope.periods'");                                // DINOv3
  refused({zeros("rel_pos_bias.relative_position_bias_table", {9, 3})}, "'rel_pos_bias");  // shared
  refused({zeros("attn_pool.latent", {1, 1, 192})}, "'attn_pool.latent'");                 // SigLIP
  refused({zeros("blocks.13.norm1.weight", {192})}, "'blocks.13.norm1.weight'");           // a gap
}

TEST(Guess, WhatNobodyReadsIsAnErrorWithoutAConfigurationAndANoteWithOne) {
  std::vector<TestTensor> t = timm(Layout());
  t.push_back(zeros("mask_token", {1, 1, 192}));  // pre-training's, harmless
  t.push_back(zeros("decoder_blocks.0.norm1.weight", {8}));
  TempDir dir;
  dir.write("model.safetensors", test::safetensors(t));
  auto model = LoadedModel::open(dir.path());
  ASSERT_TRUE(model) << model.error().message;
  t.push_back(zeros("projector.0.weight", {8, 8}));
  dir.write("model.safetensors", test::safetensors(t));
  expect_error(LoadedModel::open(dir.path()), ErrorCode::kUnsupported,
               {"vit_tiny_patch4_8", "1 tensor ", "'projector.0.weight'", "--config FILE"});
  dir.write("config.json",
            R"({"architecture":"vit_tiny_patch16_224","num_classes":5,"model_args":{"patch_size":4,"img_size":8}})");
  model = LoadedModel::open(dir.path());
  ASSERT_TRUE(model) << model.error().message;
  ASSERT_EQ(model->warnings().size(), 1u);
  EXPECT_NE(model->warnings()[0].find("'projector.0.weight'"), std::string::npos);
}

TEST(Guess, AConfigurationOrANameMayBeGiven) {
  Layout l = layout(144, 2, 576);
  TempDir dir;
  dir.write("w.safetensors", test::safetensors(timm(l)));
  const std::string file = dir / "w.safetensors";
  const std::string text =
      R"({"architecture":"vit_tiny_patch16_224","num_classes":5,"model_args":{"patch_size":4,"img_size":8,"embed_dim":144,
                              "depth":2,"num_heads":3}})";
  dir.folder("other");
  const std::string config = dir.write("other/config.json", text);
  for (const std::string& where : {config, dir / "other"}) {
    const auto model = LoadedModel::open(file, {where, ""});
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_TRUE(model->warnings().empty()) << model->warnings()[0];
    EXPECT_EQ(model->input_h(), 8);
  }
  expect_error(LoadedModel::open(file, {dir / "gone.json", ""}), ErrorCode::kNotFound, {"gone.json"});
  expect_error(LoadedModel::open(file, {config, "vit_tiny_patch16_224"}), ErrorCode::kInvalidArgument,
               {"both", "vit_tiny_patch16_224"});
  expect_error(LoadedModel::open(file, {"", "vit_tiny_patch16_224"}), ErrorCode::kCorrupt,
               {"'patch_embed.proj.weight'", "--architecture vit_tiny_patch16_224"});
  expect_error(LoadedModel::open(file, {"", "resnet50"}), ErrorCode::kUnsupported, {"resnet50"});

  // The name counts, whatever the folder's own configuration says.
  l = Layout();
  l.patch = 16, l.side = 14, l.classes = 1000, l.fc_norm = true;
  dir.write("w.safetensors", test::safetensors(timm(l)));
  dir.write("config.json", R"({"architecture":"vit_small_patch16_224"})");
  expect_error(LoadedModel::open(file, {"", "vit_tiny_patch16_224"}), ErrorCode::kNotFound, {"'norm.weight'"});
  l.fc_norm = false;
  dir.write("w.safetensors", test::safetensors(timm(l)));
  const auto model = LoadedModel::open(file, {"", "vit_tiny_patch16_224"});
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->input_h(), 224);
}

TEST(ShapesOnly, TellAHuggingFaceModel) {
  expect_error(inferred(test::tiny_vit()), ErrorCode::kInvalidArgument,
               {"m.safetensors", "attention heads", "width 8", "config.json"});

  const std::string b = "encoder.layer.0.";
  std::vector<TestTensor> t = {zeros("embeddings.patch_embeddings.projection.weight", {1536, 1, 2, 3}),
                               zeros("embeddings.patch_embeddings.projection.bias", {1536}),
                               zeros("embeddings.position_embeddings", {1, 26, 1536}),
                               zeros("embeddings.register_tokens", {1, 4, 1536}),
                               zeros(b + "layer_scale1.lambda1", {1536}),
                               zeros(b + "attention.attention.query.bias", {1536}),
                               zeros(b + "mlp.weights_out.weight", {1536, 4096}),
                               zeros("classifier.weight", {5, 3072})};
  for (int i = 0; i < 40; ++i)
    t.push_back(zeros("encoder.layer." + std::to_string(i) + ".attention.attention.query.weight", {1, 1}));
  const auto c = inferred(t);
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_EQ(c->model_type, "dinov2_with_registers");
  EXPECT_EQ(c->heads, 24);
  EXPECT_EQ(c->channels, 1);
  EXPECT_EQ(c->image_h, 10);
  EXPECT_EQ(c->image_w, 15);
  EXPECT_EQ(c->registers, 4);
  EXPECT_TRUE(c->swiglu);
  EXPECT_EQ(c->mlp, 4096);
  EXPECT_EQ(c->head, HeadKind::kTokenAndMean);
  EXPECT_EQ(c->classes, 5);

  t[2] = zeros("embeddings.position_embeddings", {1, 27, 1536});
  expect_error(inferred(t), ErrorCode::kInvalidArgument, {"position_embeddings", "27 rows"});
  expect_error(inferred({noise("conv1.weight", {2, 2})}), ErrorCode::kUnsupported,
               {"no tensor named like", "patch_embed.proj.weight"});
}

// tests/golden/timm/vit-names.json: what the entry points of timm 1.0.29 (vision_transformer.py, deit.py) pass to their
// constructors, where it differs from the defaults; null for networks that are no plain ViT.
TEST(TimmConfig, EveryPublishedNameIsReadAsTimmReadsItOrRefused) {
  std::ifstream file(std::string(VIREO_TEST_DATA) + "/timm/vit-names.json");
  const nlohmann::json names = nlohmann::json::parse(file);
  ASSERT_GT(names.size(), 160u);
  for (const auto& [name, want] : names.items()) {
    SCOPED_TRACE(name);
    const std::string text = nlohmann::json{{"architecture", name}}.dump();
    const auto got = is_vit_config(text) ? parse_vit_config(text, "config.json", nullptr)
                                         : Result<VitConfig>(fail(ErrorCode::kUnsupported, "no ViT"));
    if (want.is_null()) {
      ASSERT_FALSE(got);
      EXPECT_EQ(int(got.error().code), int(ErrorCode::kUnsupported)) << got.error().message;
      continue;
    }
    ASSERT_TRUE(got) << got.error().message;
    const VitConfig& c = *got;
    EXPECT_EQ(c.hidden, want["hidden"]);
    EXPECT_EQ(c.layers, want["layers"]);
    EXPECT_EQ(c.heads, want["heads"]);
    EXPECT_EQ(c.mlp, want["mlp"]);
    EXPECT_EQ(c.patch_h, want.value("patch", 16));
    EXPECT_EQ(c.class_token, want.value("class_token", true));
    EXPECT_EQ(c.registers, want.value("registers", 0));
    EXPECT_EQ(c.distilled, want.value("distilled", false));
    EXPECT_EQ(c.position_prefix, want.value("embed_prefix", true) ? c.prefix_tokens() : 0);
    EXPECT_EQ(c.layerscale, want.contains("layerscale"));
    if (want.contains("layerscale")) {
      EXPECT_EQ(c.layerscale_value, double(want["layerscale"]));
    }
    EXPECT_EQ(c.qkv_bias, want.value("qkv_bias", true));
    EXPECT_EQ(c.pre_norm, want.value("pre_norm", false));
    EXPECT_EQ(c.swiglu, want.value("swiglu", false));
    EXPECT_EQ(c.pool == Pool::kMean, want.value("avg", false));
    const std::string norm = want.value("norm", "norm"), act = want.value("act", "gelu");
    EXPECT_EQ(int(c.final_norm), int(norm == "none"   ? FinalNorm::kNone
                                     : norm == "norm" ? FinalNorm::kBeforePool
                                                      : FinalNorm::kAfterPool));
    if (act != "swiglu") {
      EXPECT_EQ(int(c.act), int(act == "gelu"        ? Activation::kGeluErf
                                : act == "gelu_tanh" ? Activation::kGeluTanh
                                                     : Activation::kQuickGelu));
    }
    EXPECT_EQ(c.eps, want.value("eps", 1e-6));
  }
}

}  // namespace
}  // namespace vireo
