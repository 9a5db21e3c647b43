// UPerNet from a folder to a graph: heads, taps of the backbone, and what is said of bad configurations and weights.
#include <gtest/gtest.h>

#include <algorithm>

#include "model/model.h"
#include "test_model_family.h"
#include "test_model_files.h"

namespace vireo {
namespace {

using namespace family_test;
using test::expect_error;

std::string upernet(const std::string& backbone, const std::string& more = "") {
  return R"({"model_type":"upernet","architectures":["UperNetForSemanticSegmentation"],"hidden_size":8,"num_labels":4,)" +
         more + "\"backbone_config\":" + backbone + "}";
}
const char* const kTrunk = R"({"model_type":"mobilevit","hidden_sizes":[8,12,16],"neck_hidden_sizes":[4,6,8,9,10,12,20],
    "num_attention_heads":2,"out_indices":[2,3,4,5]})";

TEST(UperNet, HeadsAndSizes) {
  TempDir dir;
  const auto model = configured(dir, upernet(kTrunk));
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->task(), Task::kSegmentation);
  EXPECT_EQ(model->classes(), 4);
  EXPECT_EQ(model->input_h(), 512);
  const auto logits = model->build(Head::kLogits, 2, 64, 96);
  ASSERT_TRUE(logits) << logits.error().message;
  EXPECT_EQ(output_shape(*logits), (Shape{{2, 64, 96, 4}}));
  const auto map = model->build(Head::kClassMap, 1, 64, 96);
  ASSERT_TRUE(map) << map.error().message;
  EXPECT_EQ(output_shape(*map), (Shape{{1, 64, 96, 1}}));
  EXPECT_EQ(find_node(*map, "logits"), nullptr);  // scores of full size are never stored
  EXPECT_EQ(count(*map, OpKind::kAdaptivePool), 4);
  expect_error(model->build(Head::kFeatures, 1), ErrorCode::kUnsupported,
               {"UperNetForSemanticSegmentation", "no pooled features", "class map"});
  expect_error(model->build(Head::kTokens, 1), ErrorCode::kUnsupported, {"no tokens"});
}

TEST(UperNet, Taps) {
  TempDir dir;
  const auto maps = [&](const std::string& taps) {
    const auto model = configured(dir, upernet(with(kTrunk, "\"out_indices\":[2,3,4,5]", taps)));
    EXPECT_TRUE(model) << model.error().message;
    const auto g = model->build(Head::kClassMap, 1, 64, 64);
    EXPECT_TRUE(g) << g.error().message;
    const Node* fuse = find_node(*g, "head.fuse");
    return std::make_pair(fuse->inputs.empty() ? 0 : g->value(fuse->inputs[0]).desc.shape.c() / 8,
                          g->value(fuse->output).desc.shape.h());
  };
  using P = std::pair<int64_t, int64_t>;
  EXPECT_EQ(maps("\"out_features\":[\"stem\",\"stage3\"]"), (P{2, 32}));
  EXPECT_EQ(maps("\"out_indices\":[-2,-1]"), (P{2, 4}));
  EXPECT_EQ(maps("\"image_size\":64"), (P{1, 2}));  // the last stage alone: nothing to join
  const auto bad = [&](const std::string& taps, std::initializer_list<const char*> parts) {
    SCOPED_TRACE(taps);
    expect_error(configured(dir, upernet(with(kTrunk, "\"out_indices\":[2,3,4,5]", taps))), ErrorCode::kCorrupt, parts);
  };
  bad("\"out_indices\":[2,6]", {"'out_indices'", "6", "0 (the stem) to 5"});
  bad("\"out_indices\":[3,2]", {"'out_indices'", "ascending"});
  bad("\"out_indices\":[\"stage2\"]", {"'out_indices'", "stage2"});
  bad("\"out_indices\":2", {"'out_indices'"});
  bad("\"out_features\":[\"layer1\"]", {"'out_features'", "layer1", "stage5"});
  bad("\"out_features\":[\"stage99999999999\"]", {"'out_features'"});
}

TEST(UperNet, ConfigurationsThatCannotRun) {
  TempDir dir;
  expect_error(configured(dir, R"({"model_type":"upernet","num_labels":3})"), ErrorCode::kUnsupported,
               {"no backbone_config", "model_type"});
  expect_error(
      configured(dir, R"({"model_type":"upernet","num_labels":3,"backbone":"resnet50","use_timm_backbone":true})"),
      ErrorCode::kUnsupported, {"no backbone_config", "another library"});
  expect_error(configured(dir, R"({"model_type":"upernet","num_labels":3,"backbone_config":7})"), ErrorCode::kCorrupt,
               {"backbone_config"});
  expect_error(configured(dir, upernet(R"({"model_type":"convnext"})")), ErrorCode::kUnsupported,
               {"backbone_config", "'convnext'", "dinov2", "mobilevit", "swinv2"});
  expect_error(configured(dir, upernet(kTrunk, R"("pool_scales":[1,0],)")), ErrorCode::kCorrupt, {"'pool_scales'"});
  expect_error(configured(dir, upernet(kTrunk, R"("pool_scales":[1,2,3,4,5,6,7,8],)")), ErrorCode::kCorrupt,
               {"'pool_scales'", "1 to 7"});
  expect_error(
      configured(dir, upernet(R"({"model_type":"dinov2","hidden_size":12,"num_attention_heads":2,"num_hidden_layers":2,
      "image_size":56,"patch_size":14,"reshape_hidden_states":false})")),
      ErrorCode::kUnsupported, {"reshape_hidden_states"});
  const auto deep =
      configured(dir, upernet(R"({"model_type":"vit","hidden_size":12,"num_attention_heads":2,"num_hidden_layers":9,
      "intermediate_size":8,"image_size":64,"patch_size":16,"out_indices":[1,2,3,4,5,6,7,8,9]})"));
  ASSERT_TRUE(deep) << deep.error().message;
  expect_error(deep->build(Head::kLogits, 1, 64, 64), ErrorCode::kUnsupported, {"taps 9 stages", "at most 8"});
  const auto paper = configured(dir, with(upernet(kTrunk), "UperNetForSemanticSegmentation", "UperNet"));
  ASSERT_TRUE(paper) << paper.error().message;
  EXPECT_TRUE(paper->build(Head::kLogits, 1, 64, 64).ok());
  const auto wide = configured(dir, with(with(upernet(kTrunk), "UperNetForSemanticSegmentation", "UperNet"),
                                         "\"hidden_size\":8", "\"hidden_size\":16"));
  ASSERT_TRUE(wide) << wide.error().message;
  expect_error(wide->build(Head::kLogits, 1, 64, 64), ErrorCode::kCorrupt,
               {"hidden_size is 16", "first tap has 8 channels"});
}

TEST(UperNet, BackboneAndHeadThatDoNotBelongTogether) {
  TempDir dir;
  const std::vector<TestTensor> good = tensors_of("hf-upernet-mobilevit");
  const std::string config = read_file(kCases + "hf-upernet-mobilevit/config.json");
  // Taps that the head was not made for.
  std::string other = config;
  for (const char* key : {"\"out_indices\": [", "\"out_features\": ["}) {
    const size_t at = other.find(key), end = other.find(']', at);
    ASSERT_NE(at, std::string::npos);
    other.replace(
        at, end - at + 1,
        std::string(key).find("indices") != std::string::npos ? "\"out_indices\": [1, 3, 4, 5]" : "\"unused\": []");
  }
  expect_error(open(dir, good, other), ErrorCode::kCorrupt,
               {"decode_head.lateral_convs.0.conv.weight", "[12, 8, 1, 1]", "expected [12, 6, 1, 1]"});
  std::vector<TestTensor> t = good;
  const std::string fuse = "decode_head.fpn_bottleneck.conv.weight";
  drop(t, fuse);
  expect_error(open(dir, t, config), ErrorCode::kNotFound, {fuse.c_str(), "is missing", "[12, 48, 3, 3]"});
  // A backbone that ends early hands over no taps: its own error stands, whatever the head would say.
  std::vector<TestTensor> vit = tensors_of("hf-upernet-vit");
  const std::string vit_config = read_file(kCases + "hf-upernet-vit/config.json");
  expect_error(open(dir, good, vit_config), ErrorCode::kNotFound, {"backbone.", "is missing"});
  const std::string cls = "backbone.embeddings.cls_token";
  drop(vit, cls);
  expect_error(open(dir, vit, vit_config), ErrorCode::kNotFound, {cls.c_str(), "is missing"});
}

TEST(UperNet, ASharedLayerMayBeInTheFileOnce) {
  TempDir dir;
  std::vector<TestTensor> t = tensors_of("paper-upernet-mobilevit");
  for (const char* name :
       {"FPN.smooth_conv.1.weight", "FPN.smooth_conv.1.bias", "FPN.smooth_conv.2.weight", "FPN.smooth_conv.2.bias"})
    drop(t, name);
  const auto model = open(dir, t, read_file(kCases + "paper-upernet-mobilevit/config.json"));
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(model->warnings().empty());
}

}  // namespace
}  // namespace vireo
