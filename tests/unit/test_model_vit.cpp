// From a folder to a graph: shapes, names, the order of norm and pooling, position tables, and what is said of bad
// weights.
#include "model/model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "model/position.h"
#include "test_model_files.h"

namespace vireo {
namespace {

using test::expect_error;
using test::TempDir;
using test::TestTensor;

void expect_near(const std::vector<float>& got, const std::vector<float>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 2e-5 * std::max(1.f, std::fabs(want[i]))) << i;
}

TEST(Positions, EqualTorch) {
  // torch.nn.functional.interpolate of this table to 2 x 4, mode="bicubic".
  const std::vector<float> table = {0, 1, 4, 9, 16, 25, 36, 49, 64};
  expect_near(resample_positions(table, 3, 3, 2, 4, 1, PosResample::kBicubic),
              {0.9356346f, 2.008327f, 4.969212f, 7.684483f, 29.34854f, 36.25828f, 48.34427f, 56.89657f});
  // scale_factor=(2.1 / 3, 4.1 / 3)
  expect_near(resample_positions(table, 3, 3, 2, 4, 1, PosResample::kBicubicOffset),
              {0.8322458f, 1.758489f, 4.415601f, 7.100078f, 26.49923f, 32.81727f, 44.07222f, 52.53977f});
  // antialias=True
  expect_near(resample_positions(table, 3, 3, 2, 4, 1, PosResample::kBicubicAntialias),
              {1.916471f, 3.516654f, 6.938631f, 10.03712f, 26.33132f, 32.97417f, 43.74115f, 51.88231f});
  // Every column of a row is treated alike, and the same size changes nothing.
  std::vector<float> wide;
  for (float v : table) wide.insert(wide.end(), {v, -v});
  expect_near(resample_positions(wide, 3, 3, 3, 3, 2, PosResample::kBicubic), wide);
}

/// Writes a checkpoint with a configuration and opens it.
Result<LoadedModel> open(const TempDir& dir, const std::vector<TestTensor>& tensors, const std::string& config,
                         const std::string& preprocessor = R"({"size":8})") {
  dir.write("model.safetensors", test::safetensors(tensors));
  dir.write("config.json", config);
  dir.write("preprocessor_config.json", preprocessor);
  return LoadedModel::open(dir.path());
}

TestTensor& named(std::vector<TestTensor>& tensors, const std::string& name) {
  return *std::find_if(tensors.begin(), tensors.end(), [&](const TestTensor& t) { return t.name == name; });
}
void drop(std::vector<TestTensor>& tensors, const std::string& name) {
  tensors.erase(tensors.begin() + (&named(tensors, name) - tensors.data()));
}

std::vector<std::string> node_names(const Graph& g) {
  std::vector<std::string> names;
  for (const Node& n : g.nodes) names.push_back(n.name);
  return names;
}
const Node* find_node(const Graph& g, const std::string& name) {
  for (const Node& n : g.nodes) {
    if (n.name == name) return &n;
  }
  return nullptr;
}

TEST(VitGraph, IsThePlainBlock) {
  TempDir dir;
  const auto model = open(dir, test::tiny_vit(), test::tiny_vit_config());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(model->warnings().empty());
  EXPECT_EQ(model->architecture(), "ViTForImageClassification");
  EXPECT_EQ(model->classes(), 3);
  EXPECT_EQ(model->label(2), "crow");
  EXPECT_EQ(model->label(9), "LABEL_9");
  const auto g = model->build(Head::kLogits, 2);
  ASSERT_TRUE(g) << g.error().message;
  EXPECT_EQ(node_names(*g), (std::vector<std::string>{"patch_embed", "tokens", "blocks.0.norm1", "blocks.0.attn.qkv",
                                                      "blocks.0.attn", "blocks.0.attn.proj", "blocks.0.attn.add",
                                                      "blocks.0.norm2", "blocks.0.mlp.fc1", "blocks.0.mlp.act",
                                                      "blocks.0.mlp.fc2", "blocks.0.mlp.add", "pool", "norm", "head"}));
  const TensorDesc& in = g->value(g->inputs[0]).desc;
  EXPECT_EQ(in.shape, (Shape{{2, 8, 8, 3}}));
  EXPECT_EQ(in.layout, Layout::kPlanar);
  EXPECT_EQ(g->value(g->outputs[0]).desc.shape, (Shape{{2, 1, 1, 3}}));
  EXPECT_EQ(g->value(find_node(*g, "tokens")->output).desc.shape, (Shape{{2, 1, 5, 8}}));

  // The fused projection holds query, key and value in this order.
  const Node* qkv = find_node(*g, "blocks.0.attn.qkv");
  const std::vector<float> rows = g->value(qkv->inputs[1]).constant->read_all();
  const std::vector<float> bias = g->value(qkv->inputs[2]).constant->read_all();
  std::vector<TestTensor> t = test::tiny_vit();
  size_t at = 0;
  for (const char* part : {"query", "key", "value"}) {
    const std::string name = std::string("vit.encoder.layer.0.attention.attention.") + part;
    EXPECT_EQ(std::memcmp(rows.data() + at * 8, named(t, name + ".weight").bytes.data(), 256), 0) << part;
    EXPECT_EQ(std::memcmp(bias.data() + at, named(t, name + ".bias").bytes.data(), 32), 0) << part;
    at += 8;
  }
  // The class token carries the table's first row.
  const Node* tokens = find_node(*g, "tokens");
  const std::vector<float> cls = g->value(tokens->inputs[1]).constant->read_all();
  float token = 0, position = 0;
  std::memcpy(&token, named(t, "vit.embeddings.cls_token").bytes.data() + 12, 4);
  std::memcpy(&position, named(t, "vit.embeddings.position_embeddings").bytes.data() + 12, 4);
  EXPECT_EQ(cls[3], token + position);
}

TEST(VitGraph, HeadsAndSizes) {
  TempDir dir;
  const auto model = open(dir, test::tiny_vit(), test::tiny_vit_config());
  ASSERT_TRUE(model) << model.error().message;
  const auto features = model->build(Head::kFeatures, 3);
  ASSERT_TRUE(features);
  EXPECT_EQ(features->value(features->outputs[0]).desc.shape, (Shape{{3, 1, 1, 8}}));
  const auto tokens = model->build(Head::kTokens, 1, 12, 20);  // another size: 3 x 5 patches
  ASSERT_TRUE(tokens) << tokens.error().message;
  EXPECT_EQ(tokens->value(tokens->outputs[0]).desc.shape, (Shape{{1, 1, 16, 8}}));
  expect_error(model->build(Head::kLogits, 0), ErrorCode::kInvalidArgument, {"batch of 0"});
  expect_error(model->build(Head::kLogits, 1, 3, 8), ErrorCode::kInvalidArgument, {"3 x 8", "patch of 4 x 4"});
  expect_error(model->build(Head::kLogits, 1, 65536, 65536), ErrorCode::kInvalidArgument, {"65536 x 65536"});
}

TEST(VitGraph, BareModelsHaveNoLogits) {
  TempDir dir;
  std::vector<TestTensor> t;
  for (TestTensor tensor : test::tiny_vit()) {
    if (tensor.name.rfind("vit.", 0) != 0) continue;
    tensor.name = tensor.name.substr(4);
    t.push_back(tensor);
  }
  t.push_back(test::noise("pooler.dense.weight", {8, 8}));  // Transformers writes them; nobody needs them
  t.push_back(test::noise("pooler.dense.bias", {8}));
  t.push_back(test::noise("embeddings.mask_token", {1, 1, 8}));
  std::string config = test::tiny_vit_config();
  config.replace(config.find("ViTForImageClassification"), 25, "ViTModel");
  const auto model = open(dir, t, config);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(model->warnings().empty()) << model->warnings()[0];
  EXPECT_FALSE(model->has_classes());
  expect_error(model->build(Head::kLogits, 1), ErrorCode::kUnsupported, {"no classification head", "`embed`"});
  EXPECT_TRUE(model->build(Head::kFeatures, 1).ok());
}

TEST(VitGraph, PrefixAndNamesAreFoundWhereverTheyAre) {
  TempDir dir;
  std::vector<TestTensor> t = test::tiny_vit();
  for (TestTensor& tensor : t) {
    if (tensor.name.rfind("vit.", 0) == 0) tensor.name = "model." + tensor.name;
  }
  const auto model = open(dir, t, test::tiny_vit_config());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(model->warnings().empty());
}

TEST(VitWeights, ProblemsAreNamed) {
  TempDir dir;
  const std::vector<TestTensor> good = test::tiny_vit();
  const std::string config = test::tiny_vit_config(), fc1 = "vit.encoder.layer.0.intermediate.dense.weight";

  std::vector<TestTensor> t = good;
  drop(t, fc1);
  expect_error(open(dir, t, config), ErrorCode::kNotFound, {fc1.c_str(), "is missing", "[16, 8]", "config.json"});
  t = good;
  named(t, fc1) = test::noise(fc1, {16, 9});
  expect_error(open(dir, t, config), ErrorCode::kCorrupt,
               {fc1.c_str(), "has shape [16, 9]", "expected [16, 8]", "config.json"});
  t = good;
  named(t, fc1).dtype = "I32";
  expect_error(open(dir, t, config), ErrorCode::kUnsupported, {fc1.c_str(), "I32", "F32, F16, BF16 or F64"});
  t = good;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  named(t, fc1).bytes.replace(4 * (5 * 8 + 3), 4, std::string(reinterpret_cast<const char*>(&nan), 4));
  expect_error(open(dir, t, config), ErrorCode::kCorrupt, {fc1.c_str(), "NaN at [5, 3]"});
  t = good;
  t.push_back(test::noise("criterion.weight", {8}));
  t.push_back(test::noise("extra", {1}));
  const auto unused = open(dir, t, config);
  ASSERT_TRUE(unused) << unused.error().message;
  ASSERT_EQ(unused->warnings().size(), 1u);
  EXPECT_NE(unused->warnings()[0].find("2 tensors that the model does not use: 'criterion.weight', 'extra'"),
            std::string::npos)
      << unused->warnings()[0];
  t = good;
  named(t, "classifier.weight") = test::noise("classifier.weight", {4, 8});
  expect_error(open(dir, t, config), ErrorCode::kCorrupt, {"'classifier.weight'", "[4, 8]", "[3, 8]"});
}

TEST(VitWeights, OtherFilesOfTheFolder) {
  TempDir dir;
  const std::vector<TestTensor> t = test::tiny_vit();
  expect_error(open(dir, t, R"({"model_type":"bert"})"), ErrorCode::kUnsupported,
               {"config.json", "\"bert\"", "expected one of"});
  expect_error(open(dir, t, "{\"model_type\":"), ErrorCode::kCorrupt, {"config.json", "JSON"});
  expect_error(open(dir, t, test::tiny_vit_config(), "{"), ErrorCode::kCorrupt, {"preprocessor_config.json", "JSON"});
  ::unlink((dir / "preprocessor_config.json").c_str());
  const auto model = LoadedModel::open(dir / "model.safetensors");  // the file: its folder's configuration counts
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->input_h(), 8);
  ASSERT_EQ(model->warnings().size(), 1u);
  EXPECT_NE(model->warnings()[0].find("no preprocessor_config.json"), std::string::npos);
  ::unlink((dir / "config.json").c_str());
  expect_error(LoadedModel::open(dir.path()), ErrorCode::kInvalidArgument, {"attention heads", "config.json"});
  dir.write("model.safetensors", test::safetensors({test::noise("fc.weight", {2, 2})}));
  expect_error(LoadedModel::open(dir.path()), ErrorCode::kUnsupported, {"no config.json", "no model family"});
  expect_error(LoadedModel::open(dir / "gone"), ErrorCode::kNotFound, {"gone"});
}

TEST(VitWeights, RandomOnesDependOnTheSeedOnly) {
  TempDir dir;
  dir.write("config.json", test::tiny_vit_config());
  const auto weights = [&](uint64_t seed) {
    const auto model = LoadedModel::open_config(dir / "config.json", seed);
    EXPECT_TRUE(model) << model.error().message;
    const auto g = model->build(Head::kLogits, 1);
    EXPECT_TRUE(g) << g.error().message;
    return g->value(find_node(*g, "blocks.0.mlp.fc1")->inputs[1]).constant->read_all();
  };
  EXPECT_EQ(weights(5), weights(5));
  EXPECT_NE(weights(5), weights(6));
  EXPECT_TRUE(LoadedModel::open_config(dir.path(), 1).ok());
  expect_error(LoadedModel::open_config(dir / "gone.json", 1), ErrorCode::kNotFound, {"gone.json"});
}

TEST(VitGraph, EveryFamilyBuildsFromAConfigurationAlone) {
  TempDir dir;
  struct Case {
    const char* config;
    std::vector<const char*> nodes;  // some that must be there
    std::vector<const char*> absent;
  };
  const char* dino =
      R"({"model_type":"dinov2_with_registers","architectures":["Dinov2WithRegistersForImageClassification"],
      "hidden_size":24,"num_attention_heads":2,"num_hidden_layers":2,"image_size":56,"patch_size":14,"use_swiglu_ffn":true})";
  const char* teacher =
      R"({"model_type":"deit","architectures":["DeiTForImageClassificationWithTeacher"],"hidden_size":24,
      "num_attention_heads":2,"num_hidden_layers":1,"intermediate_size":30,"image_size":32})";
  const char* average =
      R"({"architecture":"vit_tiny_patch16_224","num_classes":5,"model_args":{"depth":1,"global_pool":"avg","img_size":32}})";
  const char* gap =
      R"({"architecture":"vit_medium_patch16_gap_256","num_classes":5,"model_args":{"depth":1,"img_size":32}})";
  const char* clip =
      R"({"architecture":"vit_base_patch32_clip_quickgelu_224","num_classes":0,"model_args":{"depth":1,"img_size":64}})";
  for (const Case& c :
       std::vector<Case>{{dino, {"blocks.1.attn.ls", "blocks.1.mlp.ls", "pool.cls", "pool.mean", "pool", "head"}, {}},
                         {teacher, {"norm.cls", "norm.dist", "head.cls", "head.dist", "head"}, {}},
                         {average, {"pool", "norm", "head"}, {"blocks.0.attn.ls"}},
                         {gap, {"blocks.0.attn.ls", "norm", "pool", "head"}, {}},
                         {clip, {"norm_pre", "pool", "norm"}, {"head"}}}) {
    SCOPED_TRACE(c.config);
    dir.write("config.json", c.config);
    const auto model = LoadedModel::open_config(dir.path(), 1);
    ASSERT_TRUE(model) << model.error().message;
    const int64_t side = model->vision().image_h();
    for (const Head head : {Head::kLogits, Head::kFeatures, Head::kTokens}) {
      const auto g = model->build(head, 2, side, side);
      if (head == Head::kLogits && !model->has_classes()) {
        EXPECT_FALSE(g);
        continue;
      }
      ASSERT_TRUE(g) << g.error().message;
      const auto names = node_names(*g);
      EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size()) << "node names repeat";
      if (head != (model->has_classes() ? Head::kLogits : Head::kFeatures)) continue;
      for (const char* name : c.nodes) EXPECT_NE(find_node(*g, name), nullptr) << name;
      for (const char* name : c.absent) EXPECT_EQ(find_node(*g, name), nullptr) << name;
    }
  }
  // fc_norm follows the mean, the gap model's norm precedes it.
  const auto order = [&](const char* config) {
    dir.write("config.json", config);
    const auto names = node_names(*LoadedModel::open_config(dir.path(), 1)->build(Head::kLogits, 1, 32, 32));
    return std::find(names.begin(), names.end(), "norm") < std::find(names.begin(), names.end(), "pool");
  };
  EXPECT_FALSE(order(average));
  EXPECT_TRUE(order(gap));
}

}  // namespace
}  // namespace vireo
