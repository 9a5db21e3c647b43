// MobileViT and Swin from a folder to a graph: what is folded and expanded at load, names of two libraries, window
// rules, and what is said of bad configurations and weights. (UPerNet: test_upernet.cpp.)
#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "base/input_file.h"
#include "model/model.h"
#include "model/safetensors.h"
#include "model/swin.h"
#include "test_model_family.h"
#include "test_model_files.h"

namespace vireo {
namespace {

using namespace family_test;
using test::expect_error;

// ---- constants

TEST(FoldedConstants, ScaleRowsAndPadKernel) {
  const ConstantPtr m = make_constant(2, 4, {1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_EQ(scale_rows(m, make_constant(1, 2, {2, -1}))->read_all(), (std::vector<float>{2, 4, 6, 8, -5, -6, -7, -8}));
  // Two channels of 1 x 2 taps become 2 x 3: a row above, a column to the left.
  const ConstantPtr padded = pad_kernel(m, 2, 1, 2, 1, 1);
  EXPECT_EQ(padded->cols(), 12);
  EXPECT_EQ(padded->read_all(),
            (std::vector<float>{0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 3, 4, 0, 0, 0, 0, 5, 6, 0, 0, 0, 0, 7, 8}));
  std::vector<float> second(12);
  padded->read(1, 1, second.data());
  EXPECT_EQ(second[4], 5);
}

TEST(FoldedConstants, RelativeBiasFollowsTheDistance) {
  // A window of 2 has 9 distances; two heads.
  std::vector<float> table;
  for (int i = 0; i < 9; ++i) table.insert(table.end(), {float(i), float(100 + i)});
  const ConstantPtr bias = relative_bias(make_constant(9, 2, table), 2);
  ASSERT_EQ(bias->rows(), 8);
  ASSERT_EQ(bias->cols(), 4);
  const std::vector<float> v = bias->read_all();
  for (int h = 0; h < 2; ++h)
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) {
        const int dy = i / 2 - j / 2, dx = i % 2 - j % 2;
        EXPECT_EQ(v[size_t((h * 4 + i) * 4 + j)], float(100 * h + (dy + 1) * 3 + dx + 1));
      }
  std::vector<float> row(4);
  bias->read(5, 1, row.data());
  EXPECT_TRUE(std::equal(row.begin(), row.end(), v.begin() + 20));
}

TEST(FoldedConstants, ContinuousTable) {
  // One hidden unit relu(y + 2 x + 1), one head of factor 3: written out for a window of 2, pre-trained with one of 5.
  const ConstantPtr t =
      continuous_table(make_constant(1, 2, {1, 2}), make_constant(1, 1, {1}), make_constant(1, 1, {3}), 2, 5);
  ASSERT_EQ(t->rows(), 9);
  const std::vector<float> v = t->read_all();
  for (int i = 0; i < 9; ++i) {
    const double dy = (i / 3 - 1) * 8 / 4.0, dx = (i % 3 - 1) * 8 / 4.0;
    const auto log = [](double d) { return std::copysign(std::log2(1 + std::fabs(d)) / std::log2(8.0), d); };
    const double hidden = std::max(0.0, log(dy) + 2 * log(dx) + 1);
    EXPECT_NEAR(v[size_t(i)], 16 / (1 + std::exp(-3 * hidden)), 1e-5) << i;
  }
}

TEST(Families, CheckpointsOpenWithoutAWarning) {
  // Counters, index tables, auxiliary heads and the like are in the files and nobody's business.
  for (const char* name : {"hf-mobilevit", "hf-swin", "hf-swinv2", "tv-swin", "tv-swinv2", "hf-upernet-mobilevit",
                           "hf-upernet-swin", "hf-upernet-swinv2", "hf-upernet-vit", "hf-upernet-dinov2",
                           "paper-upernet-mobilevit", "paper-upernet-swinv2"}) {
    const auto model = LoadedModel::open(kCases + name);
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_TRUE(model->warnings().empty()) << name << ": " << model->warnings()[0];
    EXPECT_EQ(model->task(),
              std::string(name).find("upernet") == std::string::npos ? Task::kClassification : Task::kSegmentation);
  }
}

// ---- MobileViT

const char* const kMobile =
    R"({"model_type":"mobilevit","architectures":["MobileViTForImageClassification"],"image_size":64,
    "hidden_sizes":[8,12,16],"neck_hidden_sizes":[4,6,8,9,10,12,20],"num_attention_heads":2,"num_labels":5,"output_stride":32})";

TEST(MobileVit, Graph) {
  TempDir dir;
  const auto model = configured(dir, kMobile);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->classes(), 5);
  EXPECT_EQ(model->task(), Task::kClassification);
  EXPECT_TRUE(model->preprocess().bgr);
  EXPECT_FALSE(model->preprocess().normalize);
  EXPECT_EQ(model->preprocess().shortest, 72);
  const auto g = model->build(Head::kLogits, 2, 128, 64);
  ASSERT_TRUE(g) << g.error().message;
  EXPECT_EQ(output_shape(*g), (Shape{{2, 1, 1, 5}}));
  EXPECT_EQ(count(*g, OpKind::kAttention), 9);
  EXPECT_EQ(count(*g, OpKind::kResize), 0);
  const Node* attention = find_node(*g, "stages.3.layers.0.attn");
  ASSERT_NE(attention, nullptr);
  EXPECT_EQ(g->value(attention->output).desc.shape,
            (Shape{{2, 16, 8, 8}}));  // on the map as it lies: the patches are a step
  EXPECT_EQ(attribute(*attention, "step_h"), 2);
  EXPECT_EQ(find_node(*g, "stages.1.0.add"), nullptr);  // 4 to 6 channels: no shortcut
  EXPECT_NE(find_node(*g, "stages.2.1.add"), nullptr);
  const auto tokens = model->build(Head::kTokens, 1, 128, 64);
  ASSERT_TRUE(tokens) << tokens.error().message;
  EXPECT_EQ(output_shape(*tokens), (Shape{{1, 4, 2, 20}}));
  const auto features = model->build(Head::kFeatures, 1, 128, 64);
  ASSERT_TRUE(features) << features.error().message;
  EXPECT_EQ(output_shape(*features), (Shape{{1, 1, 1, 20}}));
  // 96 / 32 = 3 pixels: no multiple of the patch.
  const auto odd = model->build(Head::kLogits, 1, 96, 64);
  ASSERT_TRUE(odd) << odd.error().message;
  EXPECT_EQ(count(*odd, OpKind::kResize), 2);
  expect_error(model->build(Head::kClassMap, 1), ErrorCode::kUnsupported,
               {"MobileViTForImageClassification", "one class per picture", "UPerNet"});
  expect_error(model->build(Head::kLogits, 0), ErrorCode::kInvalidArgument, {"batch of 0"});
}

TEST(MobileVit, OutputStrides) {
  TempDir dir;
  for (const auto& [stride, side, dilation] : {std::tuple{32, 2, 1}, std::tuple{16, 4, 1}, std::tuple{8, 8, 2}}) {
    const auto model =
        configured(dir, with(kMobile, "\"output_stride\":32", "\"output_stride\":" + std::to_string(stride)));
    ASSERT_TRUE(model) << model.error().message;
    const auto g = model->build(Head::kTokens, 1, 64, 64);
    ASSERT_TRUE(g) << g.error().message;
    EXPECT_EQ(output_shape(*g).h(), side);
    EXPECT_EQ(attribute(*find_node(*g, "stages.5.down.depthwise"), "dilation_h"), dilation);
  }
}

TEST(MobileVit, ConfigurationsThatCannotRun) {
  TempDir dir;
  const auto bad = [&](const char* from, const char* to, ErrorCode code, std::initializer_list<const char*> parts) {
    SCOPED_TRACE(to);
    expect_error(configured(dir, with(kMobile, from, to)), code, parts);
  };
  bad("\"output_stride\":32", "\"output_stride\":4", ErrorCode::kUnsupported,
      {"config.json", "output_stride is 4", "8, 16 or 32"});
  bad("\"num_labels\":5", "\"conv_kernel_size\":2", ErrorCode::kUnsupported, {"conv_kernel_size is 2", "odd"});
  bad("\"num_labels\":5", "\"hidden_act\":\"quick_gelu\"", ErrorCode::kUnsupported, {"quick_gelu", "MobileViT"});
  bad("\"num_labels\":5", "\"hidden_act\":\"mish\"", ErrorCode::kUnsupported, {"'mish'", "hidden_act"});
  bad("\"num_attention_heads\":2", "\"num_attention_heads\":5", ErrorCode::kCorrupt,
      {"width 8", "5 attention heads", "hidden_sizes"});
  bad("\"num_labels\":5", "\"mlp_ratio\":0.01", ErrorCode::kCorrupt, {"mlp_ratio 0.01", "width 8"});
  bad("[8,12,16]", "[8,12]", ErrorCode::kCorrupt, {"'hidden_sizes'", "3 widths"});
  bad("[8,12,16]", "[8,12,-1]", ErrorCode::kCorrupt, {"'hidden_sizes'"});
  bad("ForImageClassification", "ForSemanticSegmentation", ErrorCode::kUnsupported, {"DeepLabV3", "UPerNet"});
  bad("\"num_labels\":5", "\"quantization_config\":{\"quant_method\":\"gptq\"}", ErrorCode::kUnsupported,
      {"quant_method is 'gptq'", "expected compressed-tensors", "--precision int8"});
  expect_error(configured(dir, R"({"architecture":"mobilevit_l"})"), ErrorCode::kUnsupported,
               {"'mobilevit_l'", "mobilevit_xxs"});
  expect_error(configured(dir, R"({"architecture":"mobilevit_s","model_args":{"act_layer":"relu"}})"),
               ErrorCode::kUnsupported, {"model_args"});
}

TEST(MobileVit, ProblemsOfWeightsAreNamed) {
  TempDir dir;
  const std::vector<TestTensor> good = tensors_of("hf-mobilevit");
  const std::string config = read_file(kCases + "hf-mobilevit/config.json");
  const std::string var = "mobilevit.conv_stem.normalization.running_var",
                    conv = "mobilevit.encoder.layer.2.fusion.convolution.weight";
  std::vector<TestTensor> t = good;
  drop(t, var);
  expect_error(open(dir, t, config), ErrorCode::kNotFound, {var.c_str(), "is missing", "[6]", "config.json"});
  t = good;
  named(t, conv) = test::noise(conv, {12, 12, 3, 3});
  expect_error(open(dir, t, config), ErrorCode::kCorrupt,
               {conv.c_str(), "has shape [12, 12, 3, 3]", "expected [12, 24, 3, 3]"});
  t = good;
  named(t, var) = test::f32(var, {6}, {1, 1, -0.5f, 1, 1, 1});
  expect_error(open(dir, t, config), ErrorCode::kCorrupt, {var.c_str(), "-0.5 at [2]", "variances"});
  t = good;
  t.push_back(test::noise("segmentation_head.weight", {2}));
  const auto unused = open(dir, t, config);
  ASSERT_TRUE(unused) << unused.error().message;
  ASSERT_EQ(unused->warnings().size(), 1u);
  EXPECT_NE(unused->warnings()[0].find("1 tensor that the model does not use: 'segmentation_head.weight'"),
            std::string::npos);
}

TEST(MobileVit, BatchNormIsFolded) {
  TempDir dir;
  std::vector<TestTensor> t = tensors_of("hf-mobilevit");
  const std::string at = "mobilevit.conv_stem.";
  named(t, at + "normalization.weight") = test::f32(at + "normalization.weight", {6}, {1, 2, 3, 4, 5, 6});
  named(t, at + "normalization.bias") = test::f32(at + "normalization.bias", {6}, {1, 1, 1, 1, 1, 1});
  named(t, at + "normalization.running_mean") = test::f32(at + "normalization.running_mean", {6}, {0, 0, 2, 0, 0, 0});
  named(t, at + "normalization.running_var") = test::f32(at + "normalization.running_var", {6}, {4, 4, 4, 4, 4, 0});
  const auto model = open(dir, t, read_file(kCases + "hf-mobilevit/config.json"));
  ASSERT_TRUE(model) << model.error().message;
  const auto g = model->build(Head::kLogits, 1);
  ASSERT_TRUE(g) << g.error().message;
  const Node* stem = find_node(*g, "stem");
  ASSERT_NE(stem, nullptr);
  std::vector<float> raw(6 * 27);
  std::memcpy(raw.data(), named(t, at + "convolution.weight").bytes.data(), raw.size() * 4);
  const std::vector<float> w = g->value(stem->inputs[1]).constant->read_all(),
                           b = g->value(stem->inputs[2]).constant->read_all();
  const auto gain = [](double gamma, double variance) { return gamma / std::sqrt(variance + 1e-5); };
  EXPECT_NEAR(w[27 + 5], double(raw[27 + 5]) * gain(2, 4), 1e-6);
  EXPECT_NEAR(w[5 * 27 + 3], double(raw[5 * 27 + 3]) * gain(6, 0), 1e-4 * std::fabs(w[5 * 27 + 3]));
  EXPECT_NEAR(b[1], 1, 1e-6);
  EXPECT_NEAR(b[2], 1 - 2 * gain(3, 4), 1e-6);
}

/// Every tensor of an XXS, in both libraries' names.
std::vector<std::pair<TestTensor, std::string>> xxs_tensors() {
  std::vector<std::pair<TestTensor, std::string>> all;
  const auto add = [&](const std::string& hf, const std::string& timm, std::vector<int64_t> shape) {
    TestTensor t = test::noise(hf, shape);
    if (hf.find("running_var") != std::string::npos)
      t = test::f32(hf, shape, std::vector<float>(size_t(shape[0]), 0.75f));
    all.emplace_back(std::move(t), timm);
  };
  const auto conv = [&](const std::string& hf, const std::string& timm, int64_t out, int64_t in, int64_t k) {
    add(hf + ".convolution.weight", timm + ".conv.weight", {out, in, k, k});
    for (const char* part : {"weight", "bias", "running_mean", "running_var"})
      add(hf + ".normalization." + part, timm + ".bn." + part, {out});
  };
  const auto residual = [&](const std::string& hf, const std::string& timm, int64_t in, int64_t out) {
    const int64_t inner = 2 * in;
    conv(hf + ".expand_1x1", timm + ".conv1_1x1", inner, in, 1);
    conv(hf + ".conv_3x3", timm + ".conv2_kxk", inner, 1, 3);
    conv(hf + ".reduce_1x1", timm + ".conv3_1x1", out, inner, 1);
  };
  const auto affine = [&](const std::string& hf, const std::string& timm, std::vector<int64_t> shape) {
    add(hf + ".weight", timm + ".weight", shape);
    add(hf + ".bias", timm + ".bias", {shape[0]});
  };
  const std::string e = "mobilevit.encoder.layer.";
  conv("mobilevit.conv_stem", "stem", 16, 3, 3);
  residual(e + "0.layer.0", "stages.0.0", 16, 16);
  for (int i = 0; i < 3; ++i)
    residual(e + "1.layer." + std::to_string(i), "stages.1." + std::to_string(i), i == 0 ? 16 : 24, 24);
  const int64_t neck[] = {24, 48, 64, 80}, hidden[] = {64, 80, 96}, layers[] = {2, 4, 3};
  for (int s = 0; s < 3; ++s) {
    const std::string hf = e + std::to_string(s + 2), timm = "stages." + std::to_string(s + 2);
    const int64_t out = neck[s + 1], d = hidden[s];
    residual(hf + ".downsampling_layer", timm + ".0", neck[s], out);
    conv(hf + ".conv_kxk", timm + ".1.conv_kxk", out, out, 3);
    add(hf + ".conv_1x1.convolution.weight", timm + ".1.conv_1x1.weight", {d, out, 1, 1});
    for (int64_t i = 0; i < layers[s]; ++i) {
      const std::string a = hf + ".transformer.layer." + std::to_string(i),
                        b = timm + ".1.transformer." + std::to_string(i);
      affine(a + ".layernorm_before", b + ".norm1", {d});
      affine(a + ".attention.attention.query", b + ".attn.q", {d, d});
      affine(a + ".attention.attention.key", b + ".attn.k", {d, d});
      affine(a + ".attention.attention.value", b + ".attn.v", {d, d});
      affine(a + ".attention.output.dense", b + ".attn.proj", {d, d});
      affine(a + ".layernorm_after", b + ".norm2", {d});
      affine(a + ".intermediate.dense", b + ".mlp.fc1", {2 * d, d});
      affine(a + ".output.dense", b + ".mlp.fc2", {d, 2 * d});
    }
    affine(hf + ".layernorm", timm + ".1.norm", {d});
    conv(hf + ".conv_projection", timm + ".1.conv_proj", out, d, 1);
    conv(hf + ".fusion", timm + ".1.conv_fusion", out, 2 * out, 3);
  }
  conv("mobilevit.conv_1x1_exp", "final_conv", 320, 80, 1);
  affine("classifier", "head.fc", {3, 320});
  return all;
}

TEST(MobileVit, TimmNamesAreTheSameNetwork) {
  std::vector<TestTensor> hf, timm;
  for (auto& [tensor, other] : xxs_tensors()) {
    hf.push_back(tensor);
    TestTensor t = tensor;
    t.name = other;
    if (other.find(".attn.q.") != std::string::npos) {
      t.name = with(other, ".q.", ".qkv.");
      t.shape[0] *= 3;
    } else if (other.find(".attn.k.") != std::string::npos || other.find(".attn.v.") != std::string::npos) {
      named(timm, with(other, other.find(".k.") != std::string::npos ? ".k." : ".v.", ".qkv.")).bytes += t.bytes;
      continue;
    }
    timm.push_back(std::move(t));
  }
  TempDir a, b;
  const auto first = open(
      a, hf, R"({"model_type":"mobilevit","architectures":["MobileViTForImageClassification"],"hidden_sizes":[64,80,96],
      "neck_hidden_sizes":[16,16,24,48,64,80,320],"expand_ratio":2.0,"num_labels":3})");
  b.write("model.safetensors", test::safetensors(timm));
  b.write("config.json",
          R"({"architecture":"mobilevit_xxs","num_classes":3,"pretrained_cfg":{"input_size":[3,256,256],"crop_pct":0.9,
      "mean":[0,0,0],"std":[1,1,1],"interpolation":"bicubic","label_names":["a","b","c"]}})");
  const auto second = LoadedModel::open(b.path());
  ASSERT_TRUE(first) << first.error().message;
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_TRUE(second->warnings().empty());
  EXPECT_EQ(second->label(2), "c");
  EXPECT_FALSE(second->preprocess().bgr);
  EXPECT_EQ(second->input_h(), 256);
  const auto g = first->build(Head::kLogits, 1, 64, 96), h = second->build(Head::kLogits, 1, 64, 96);
  ASSERT_TRUE(g && h);
  ASSERT_EQ(g->nodes.size(), h->nodes.size());
  for (size_t i = 0; i < g->nodes.size(); ++i) {
    const Node &m = g->nodes[i], &n = h->nodes[i];
    ASSERT_EQ(m.name, n.name);
    ASSERT_TRUE(m.op == n.op && m.attrs == n.attrs && m.inputs.size() == n.inputs.size()) << m.name;
    for (size_t k = 0; k < m.inputs.size(); ++k) {
      if (m.inputs[k] == kNoValue || g->value(m.inputs[k]).constant == nullptr) continue;
      ASSERT_EQ(g->value(m.inputs[k]).constant->read_all(), h->value(n.inputs[k]).constant->read_all())
          << m.name << " operand " << k;
    }
  }
}

// ---- Swin

const char* const kSwin =
    R"({"model_type":"swin","architectures":["SwinForImageClassification"],"image_size":64,"patch_size":4,
    "embed_dim":8,"depths":[2,2],"num_heads":[2,4],"window_size":4,"num_labels":5})";

TEST(Swin, Graph) {
  TempDir dir;
  const auto model = configured(dir, kSwin);
  ASSERT_TRUE(model) << model.error().message;
  const auto g = model->build(Head::kLogits, 2, 61, 64);  // 61 pixels: padded to 64
  ASSERT_TRUE(g) << g.error().message;
  EXPECT_EQ(output_shape(*g), (Shape{{2, 1, 1, 5}}));
  const Node* attention = find_node(*g, "stages.1.blocks.1.attn");
  ASSERT_NE(attention, nullptr);
  EXPECT_EQ(g->value(attention->output).desc.shape, (Shape{{2, 16, 16, 8}}));
  EXPECT_EQ(attribute(*attention, "shift_h"), 2);
  EXPECT_EQ(attribute(*attention, "group_w"), 4);
  EXPECT_EQ(attention->inputs[2], kNoValue);  // nothing is padded
  EXPECT_EQ(attribute(*find_node(*g, "stages.1.blocks.0.attn"), "shift_h"), 0);
  EXPECT_EQ(count(*g, OpKind::kMerge), 1);
  const auto tokens = model->build(Head::kTokens, 1, 64, 64);
  ASSERT_TRUE(tokens) << tokens.error().message;
  EXPECT_EQ(output_shape(*tokens), (Shape{{1, 8, 8, 16}}));
  const auto padded = model->build(Head::kLogits, 1, 64, 72);  // 18 columns: two are padding, rows of the qkv bias
  ASSERT_TRUE(padded) << padded.error().message;
  EXPECT_NE(find_node(*padded, "stages.1.blocks.0.attn")->inputs[2], kNoValue);
  // The second map is one window high: Transformers does not shift it then. A lower one has no table.
  const auto low = model->build(Head::kLogits, 1, 32, 64);
  ASSERT_TRUE(low) << low.error().message;
  EXPECT_EQ(attribute(*find_node(*low, "stages.1.blocks.1.attn"), "shift_w"), 2);
  EXPECT_EQ(attribute(*find_node(*low, "stages.2.blocks.1.attn"), "shift_w"), 0);
  expect_error(model->build(Head::kLogits, 1, 16, 64), ErrorCode::kInvalidArgument,
               {"2 x 8 in stage 2", "window of 4", "28 x 28"});
}

TEST(Swin, WindowsOfSwinV2FollowTheConfiguration) {
  TempDir dir;
  const std::string config = with(with(kSwin, "\"swin\"", "\"swinv2\""), "SwinFor", "Swinv2For");
  const auto model = configured(dir, with(config, "\"image_size\":64", "\"image_size\":24"));
  ASSERT_TRUE(model) << model.error().message;
  const auto g = model->build(Head::kLogits, 1, 64, 64);
  ASSERT_TRUE(g) << g.error().message;
  const Node *first = find_node(*g, "stages.1.blocks.1.attn"), *second = find_node(*g, "stages.2.blocks.1.attn");
  EXPECT_EQ(attribute(*first, "group_h"), 4);
  EXPECT_EQ(attribute(*first, "shift_h"), 2);
  EXPECT_EQ(attribute(*second, "group_h"), 3);
  EXPECT_EQ(attribute(*second, "shift_h"), 0);
  EXPECT_EQ(attribute(*first, "scale"), 1);
  EXPECT_EQ(count(*g, OpKind::kHeadNorm), 4);
  const auto tiny = configured(dir, with(config, "\"image_size\":64", "\"image_size\":4"));
  ASSERT_TRUE(tiny) << tiny.error().message;
  expect_error(tiny->build(Head::kLogits, 1, 64, 64), ErrorCode::kCorrupt, {"image_size 4", "stage 2"});
}

TEST(Swin, ConfigurationsThatCannotRun) {
  TempDir dir;
  const auto bad = [&](const char* from, const char* to, ErrorCode code, std::initializer_list<const char*> parts) {
    SCOPED_TRACE(to);
    expect_error(configured(dir, with(kSwin, from, to)), code, parts);
  };
  bad("\"num_labels\":5", "\"use_absolute_embeddings\":true", ErrorCode::kUnsupported,
      {"config.json", "use_absolute_embeddings", "false"});
  bad("[2,4]", "[2]", ErrorCode::kCorrupt, {"depths has 2 stages", "num_heads 1"});
  bad("[2,4]", "[3,4]", ErrorCode::kCorrupt, {"width 8 of stage 1", "3 attention heads"});
  bad("\"embed_dim\":8", "\"embed_dim\":512", ErrorCode::kUnsupported, {"head dimension of 256", "at most 128"});
  bad("\"window_size\":4", "\"window_size\":[4,8]", ErrorCode::kUnsupported, {"window_size is 4 x 8", "square"});
  bad("\"window_size\":4", "\"window_size\":65", ErrorCode::kUnsupported, {"window_size is 65"});
  bad("\"num_labels\":5", "\"hidden_act\":\"quick_gelu\"", ErrorCode::kUnsupported, {"quick_gelu"});
  bad("ForImageClassification", "ForMaskedImageModeling", ErrorCode::kUnsupported,
      {"pre-training", "SwinForImageClassification"});
  bad("\"num_labels\":5", "\"mlp_ratio\":0.01", ErrorCode::kCorrupt, {"mlp_ratio 0.01", "stage 1"});
  bad("\"depths\":[2,2]", "\"depths\":[]", ErrorCode::kCorrupt, {"'depths'"});
  bad("\"depths\":[2,2]", "\"depths\":[2,\"2\"]", ErrorCode::kCorrupt, {"'depths'"});
}

TEST(Swin, ProblemsOfWeightsAreNamed) {
  TempDir dir;
  const std::vector<TestTensor> good = tensors_of("hf-swin");
  const std::string config = read_file(kCases + "hf-swin/config.json");
  const std::string table = "swin.encoder.layers.0.blocks.1.attention.self.relative_position_bias_table";
  std::vector<TestTensor> t = good;
  drop(t, table);
  expect_error(open(dir, t, config), ErrorCode::kNotFound, {table.c_str(), "is missing", "[49, 2]"});
  expect_error(open(dir, good, with(config, "\"window_size\": 4", "\"window_size\": 5")), ErrorCode::kCorrupt,
               {"relative_position_bias_table", "[49, 2]", "expected [81, 2]"});
}

TEST(Swin, AStateDictOfNoPublishedSizeAsks) {
  for (const char* name : {"tv-swin", "tv-swinv2"}) {
    TempDir dir;
    dir.write("swin_t.safetensors", read_file(kCases + name + "/model.safetensors"));
    expect_error(LoadedModel::open(dir / "swin_t.safetensors"), ErrorCode::kInvalidArgument,
                 {"no published Swin", "size of its pictures", "--config FILE"});
  }
  TempDir dir;
  std::vector<TestTensor> t = tensors_of("tv-swinv2");
  drop(t, "features.1.0.attn.relative_position_index");
  dir.write("model.safetensors", test::safetensors(t));
  expect_error(LoadedModel::open(dir.path()), ErrorCode::kInvalidArgument,
               {"relative_position_index", "the window", "config.json"});
}

// ---- pictures

TEST(MobileVit, PicturesAreBlueFirst) {
  const uint8_t rgb[] = {255, 0, 51, 0, 102, 0, 10, 20, 30, 40, 50, 60};  // 2 x 2
  const char* text = R"({"image_processor_type":"MobileViTImageProcessor","do_resize":false,"do_center_crop":false%s})";
  for (const auto& [more, bgr] : {std::pair{"", true}, std::pair{",\"do_flip_channel_order\":false", false},
                                  std::pair{",\"do_flip_channels\":false", false}}) {
    const auto c =
        parse_preprocessor_config(with(text, "%s", more), "preprocessor_config.json", Processor::kVit, 2, 2, 3);
    ASSERT_TRUE(c) << c.error().message;
    std::vector<float> out(12);
    Preprocessor p(*c);
    ASSERT_TRUE(p.run(rgb, 2, 2, 6, out.data()));
    EXPECT_FLOAT_EQ(out[0], bgr ? 0.2f : 1.f);
    EXPECT_FLOAT_EQ(out[8], bgr ? 1.f : 0.2f);
    EXPECT_FLOAT_EQ(out[5], 0.4f);
  }
  const auto old =
      parse_preprocessor_config(R"({"feature_extractor_type":"MobileViTFeatureExtractor","size":288,"crop_size":256})",
                                "preprocessor_config.json", Processor::kVit, 2, 2, 3);
  ASSERT_TRUE(old) << old.error().message;
  EXPECT_EQ(old->resize, PreprocessConfig::Resize::kShortestEdge);
  EXPECT_EQ(old->shortest, 288);
  EXPECT_EQ(old->input_h, 256);
  EXPECT_TRUE(old->bgr);
  expect_error(parse_preprocessor_config(R"({"image_processor_type":"ViTImageProcessor","do_flip_channel_order":true})",
                                         "preprocessor_config.json", Processor::kVit, 2, 2, 3),
               ErrorCode::kUnsupported, {"do_flip_channel_order"});
}

}  // namespace
}  // namespace vireo
