// Tensor names as trainers and libraries write them: every family gives the same bits under every wrapper and spelling,
// two networks in a file are asked about, and names that collide are refused.
#include "model/names.h"

#include <vireo/vireo.h>

#include "model/model.h"
#include "test_model_rewrite.h"

namespace vireo {
namespace {

using test::copy_renamed;
using test::cpu_answer;
using test::expect_error;
using test::golden_case;
using test::Rename;
using test::same_bits;
using test::TempDir;
using test::TestTensor;

std::string replace_all(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}
bool starts(const std::string& text, const std::string& start) { return text.rfind(start, 0) == 0; }
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

Rename prefixed(const std::string& prefix) {
  return [prefix](const std::string& name) { return prefix + name; };
}

void expect_same(const std::string& name, const std::string& what, const Rename& rename) {
  SCOPED_TRACE(name + ": " + what);
  const std::vector<float> plain = cpu_answer(golden_case(name));
  TempDir dir;
  copy_renamed(golden_case(name), dir, rename);
  EXPECT_TRUE(same_bits(cpu_answer(dir.path()), plain));
  // Nothing is noticed in the copy that is not noticed in the original.
  const auto before = Model::open(golden_case(name)), after = Model::open(dir.path());
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_EQ(before->warnings().size(), after->warnings().size())
      << (after->warnings().empty() ? "" : after->warnings()[0]);
}

class EveryCase : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryCase, AnswersUnderEveryWrapper) {
  for (const char* prefix :
       {"module.", "_orig_mod.", "model.", "net.", "timm_model.", "module._orig_mod.", "_orig_mod.module.",
        "model.net.timm_model.module.", "state_dict.", "student.", "encoder.model.", "0.", "my_network."}) {
    expect_same(GetParam(), prefix, prefixed(prefix));
  }
}

TEST_P(EveryCase, AnswersWhereOnlyPartsAreWrapped) {
  // torch.compile, FSDP and checkpointed activations wrap parts in the middle of names.
  expect_same(GetParam(), "compiled parts", [](const std::string& name) {
    std::string text = replace_all(name, ".layer.0.", ".layer.0._checkpoint_wrapped_module.");
    text = replace_all(text, "blocks.0.", "blocks.0._orig_mod.");
    return "_fsdp_wrapped_module." + replace_all(text, ".norm", "._fsdp_wrapped_module.norm");
  });
}

TEST_P(EveryCase, CanonicalNamesAreTheirOwn) {
  const std::vector<std::string> names = test::tensor_names(golden_case(GetParam()));
  ASSERT_FALSE(names.empty());
  const auto once = canonical_names(names, "", "file");
  ASSERT_TRUE(once.ok()) << once.error().message;
  EXPECT_EQ(once->file_name.size(), names.size());
  for (const auto& [canonical, own] : once->file_name)
    EXPECT_EQ(canonical, own);  // the golden files are in canonical names
  std::vector<std::string> wrapped;
  for (const std::string& name : names) wrapped.push_back("module.net." + name);
  const auto twice = canonical_names(wrapped, "", "file");
  ASSERT_TRUE(twice.ok()) << twice.error().message;
  EXPECT_EQ(twice->prefix, "module.net.");
  for (const auto& [canonical, own] : twice->file_name) EXPECT_EQ("module.net." + canonical, own);
}

INSTANTIATE_TEST_SUITE_P(Golden, EveryCase, ::testing::ValuesIn(test::golden_cases()),
                         [](const auto& info) { return replace_all(replace_all(info.param, "-", "_"), ".", "_"); });

// ---- spellings

/// Transformers v5's names, from the renaming tables that public code carries for loading v4's files.
std::string v5_name(const std::string& name, bool dino, bool swin) {
  std::string text = name;
  if (swin) {
    text = replace_all(text, "attention.self.relative_position_bias_table",
                       "attention.relative_position_bias.relative_position_bias_table");
    text = replace_all(text, "attention.self.query", "attention.q_proj");
    text = replace_all(text, "attention.self.key", "attention.k_proj");
    text = replace_all(text, "attention.self.value", "attention.v_proj");
  }
  text = replace_all(text, "attention.attention.query", "attention.q_proj");
  text = replace_all(text, "attention.attention.key", "attention.k_proj");
  text = replace_all(text, "attention.attention.value", "attention.v_proj");
  text = replace_all(text, "attention.output.dense", "attention.o_proj");
  if (!dino) {
    text = replace_all(text, "intermediate.dense", "mlp.fc1");
    text = replace_all(text, "output.dense", "mlp.fc2");
  }
  return text;
}

TEST(Spellings, TransformersV5) {
  int cases = 0;
  for (const std::string& name : test::golden_cases()) {
    if (!starts(name, "hf-")) continue;
    const bool dino = contains(name, "dinov2"), swin = contains(name, "swin");
    const Rename v5 = [&](const std::string& n) { return v5_name(n, dino, swin); };
    expect_same(name, "attention and MLP", v5);
    if (!swin && !contains(name, "mobilevit")) {
      const Rename layers = [&](const std::string& n) { return replace_all(v5(n), "encoder.layer.", "layers."); };
      expect_same(name, "layers", layers);
      expect_same(name, "encoder.layers",
                  [&](const std::string& n) { return replace_all(v5(n), "encoder.layer.", "encoder.layers."); });
      expect_same(name, "wrapped", [&](const std::string& n) { return "module." + layers(n); });
    }
    ++cases;
  }
  EXPECT_GE(cases, 15);
}

TEST(Spellings, BackbonesOfTransformersV5) {
  // SwinBackbone holds a SwinModel in v5: "backbone.swin.", its norms beside it.
  for (const std::string name : {"hf-upernet-swin", "hf-upernet-vit", "hf-upernet-dinov2"}) {
    const std::string word = name.substr(11);
    expect_same(name, "backbone." + word, [&](const std::string& n) {
      const std::string text = v5_name(n, word == "dinov2", word == "swin");
      return starts(text, "backbone.em") || starts(text, "backbone.encoder.") ? "backbone." + word + text.substr(8)
                                                                              : text;
    });
  }
}

TEST(Spellings, MixedInOneFileAreRefused) {
  std::vector<std::string> names = test::tensor_names(golden_case("hf-vit"));
  names.push_back("vit.layers.0.attention.q_proj.weight");
  expect_error(canonical_names(names, "", "a.safetensors"), ErrorCode::kCorrupt,
               {"a.safetensors", "'vit.layers.0.attention.q_proj.weight'",
                "'vit.encoder.layer.0.attention.attention.query.weight'", "two spellings"});
}

TEST(Spellings, Dinov2TrainsInChunks) {
  for (const char* name : {"timm-vit", "timm-registers-avgpool"}) {
    const Rename chunked = [](const std::string& n) {
      if (!starts(n, "blocks.")) return n;
      const int block = std::stoi(n.substr(7));
      return "blocks." + std::to_string(block / 2) + "." + n.substr(7);
    };
    expect_same(name, "chunks", chunked);
    expect_same(name, "chunks of a teacher", [&](const std::string& n) { return "teacher.backbone." + chunked(n); });
    expect_same(name, "torch.hub's classifier", [&](const std::string& n) { return "backbone." + chunked(n); });
  }
}

/// A golden DINOv2 under the names of facebookresearch/dinov2: queries, keys and values in one tensor, blocks in chunks
/// of four.
void write_authors(const std::string& name, const TempDir& dir, const Rename& finish) {
  copy_renamed(golden_case(name), dir, [](const std::string& n) { return n; });
  const std::string bytes = test::file_bytes(dir / "model.safetensors");
  const auto views = parse_safetensors(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), name);
  ASSERT_TRUE(views.ok());
  std::map<std::string, TestTensor> all;
  for (const TensorView& v : *views) {
    std::string text = v.name;
    const std::pair<const char*, const char*> table[] = {{"embeddings.patch_embeddings.projection", "patch_embed.proj"},
                                                         {"embeddings.position_embeddings", "pos_embed"},
                                                         {"embeddings.", ""},
                                                         {"attention.attention.query", "attn.qkv#0"},
                                                         {"attention.attention.key", "attn.qkv#1"},
                                                         {"attention.attention.value", "attn.qkv#2"},
                                                         {"attention.output.dense", "attn.proj"},
                                                         {"layer_scale1.lambda1", "ls1.gamma"},
                                                         {"layer_scale2.lambda1", "ls2.gamma"},
                                                         {"mlp.weights_in", "mlp.w12"},
                                                         {"mlp.weights_out", "mlp.w3"},
                                                         {"layernorm", "norm"}};
    for (const auto& [from, to] : table) text = replace_all(text, from, to);
    if (const size_t at = text.find("encoder.layer."); at != std::string::npos) {
      const int block = std::stoi(text.substr(at + 14));
      text = text.substr(0, at) + "blocks." + std::to_string(block / 4) + "." + text.substr(at + 14);
    }
    all[finish(text)] = {finish(text), v.dtype, v.shape, std::string(reinterpret_cast<const char*>(v.data), v.bytes)};
  }
  std::vector<TestTensor> tensors;
  for (auto& [text, t] : all) {
    const size_t at = text.find("#0");
    if (at == std::string::npos && contains(text, "#")) continue;
    if (at != std::string::npos) {
      for (const char* part : {"#1", "#2"}) t.bytes += all.at(replace_all(text, "#0", part)).bytes;
      t.name = replace_all(text, "#0", "");
      t.shape[0] *= 3;
    }
    tensors.push_back(t);
  }
  dir.write("model.safetensors", test::safetensors(tensors));
}

TEST(Spellings, Dinov2AsItsAuthorsWriteIt) {
  const std::string name = "hf-dinov2-interpolated";
  const std::vector<float> plain = cpu_answer(golden_case(name));
  const Rename bare = [](const std::string& n) { return starts(n, "dinov2.") ? n.substr(7) : n; };
  for (const Rename& finish :
       {Rename([&](const std::string& n) { return replace_all(bare(n), "classifier.", "head."); }),
        Rename([&](const std::string& n) {
          return starts(n, "classifier.") ? replace_all(n, "classifier.", "linear_head.") : "backbone." + bare(n);
        }),
        Rename([&](const std::string& n) {
          return "teacher.backbone." + replace_all(bare(n), "classifier.", "head.");
        })}) {
    TempDir dir;
    write_authors(name, dir, finish);
    EXPECT_TRUE(same_bits(cpu_answer(dir.path()), plain));
    const auto model = Model::open(dir.path());
    ASSERT_TRUE(model.ok());
    EXPECT_TRUE(model->warnings().empty()) << model->warnings()[0];
  }
  TempDir dir;
  write_authors("hf-upernet-dinov2", dir, [](const std::string& n) { return n; });
  EXPECT_TRUE(same_bits(cpu_answer(dir.path()), cpu_answer(golden_case("hf-upernet-dinov2"))));
}

TEST(Spellings, HeadBesideAWrappedTrunk) {
  expect_same("timm-vit", "Lightning",
              [](const std::string& n) { return starts(n, "head.") ? n : "model.backbone." + n; });
  expect_same("hf-vit", "classifier outside",
              [](const std::string& n) { return starts(n, "vit.") ? "module." + n : n; });
}

// ---- several networks

/// A file of copies of a network: each prefix with a factor for its weights.
std::string copies(const std::vector<TestTensor>& network, const std::vector<std::pair<std::string, float>>& prefixes,
                   const std::vector<TestTensor>& more = {}) {
  std::vector<TestTensor> all = more;
  for (const auto& [prefix, factor] : prefixes) {
    for (TestTensor t : network) {
      t.name = prefix + t.name;
      for (size_t i = 0; i < t.bytes.size(); i += 4) {
        float v;
        std::memcpy(&v, t.bytes.data() + i, 4);
        v *= factor;
        std::memcpy(&t.bytes[i], &v, 4);
      }
      all.push_back(std::move(t));
    }
  }
  return test::safetensors(all);
}

class Several : public ::testing::Test {
 protected:
  Result<Model> open(const std::string& file, const std::string& weights = "") {
    dir_.write("model.safetensors", file);
    dir_.write("config.json", test::tiny_vit_config());
    dir_.write("preprocessor_config.json", R"({"size":8})");
    ModelOptions how;
    how.weights = weights;
    return Model::open(dir_.path(), how);
  }
  std::vector<float> answer(const std::string& file, const std::string& weights = "") {
    const auto model = open(file, weights);
    EXPECT_TRUE(model.ok()) << model.error().message;
    ModelOptions how;
    how.weights = weights;
    return model ? cpu_answer(dir_.path(), how) : std::vector<float>();
  }
  std::vector<float> expected(float factor) { return answer(copies(test::tiny_vit(), {{"", factor}})); }

  TempDir dir_;
};

TEST_F(Several, AskAndObey) {
  const std::vector<std::vector<std::pair<std::string, float>>> files = {
      {{"student.", 0.5f}, {"teacher.", 1.f}},
      {{"student.backbone.", 0.5f}, {"teacher.backbone.", 1.f}},
      {{"model.", 0.5f}, {"model_ema.", 1.f}},
      {{"model.", 0.5f}, {"model.ema.", 1.f}},
      {{"module.model.", 0.5f}, {"module.ema.module.", 1.f}},
      {{"online_model.", 0.5f}, {"ema_model.", 1.f}},
      {{"", 0.5f}, {"ema.", 1.f}},
      {{"ema.", 1.f}, {"net._orig_mod.", 0.5f}},
      {{"state_dict.", 0.5f}, {"state_dict_ema.", 1.f}},
      {{"a.", 0.25f}, {"b.", 0.5f}, {"teacher.", 1.f}},
  };
  const std::vector<float> whole = expected(1.f), half = expected(0.5f);
  ASSERT_FALSE(same_bits(whole, half));
  for (const auto& prefixes : files) {
    const std::string file = copies(test::tiny_vit(), prefixes);
    const auto silent = open(file);
    ASSERT_FALSE(silent.ok()) << prefixes[0].first;
    EXPECT_EQ(int(silent.error().code), int(ErrorCode::kInvalidArgument));
    for (const auto& [prefix, factor] : prefixes) {
      SCOPED_TRACE(prefix);
      const std::string shown = replace_all(prefix, "_orig_mod.", "");
      EXPECT_TRUE(contains(silent.error().message, prefix.empty() ? "'.'" : "'" + shown + "'"))
          << silent.error().message;
      if (factor != 0.25f) {
        EXPECT_TRUE(same_bits(answer(file, shown.empty() ? "." : shown), factor == 1.f ? whole : half));
      }
    }
    EXPECT_TRUE(contains(silent.error().message, "--weights")) << silent.error().message;
    expect_error(open(file, "nobody"), ErrorCode::kInvalidArgument, {"nobody", "--weights"});
  }
  // Without the last dot, and by the beginning that no other has.
  const std::string dino = copies(test::tiny_vit(), files[1]);
  for (const char* weights : {"teacher.backbone.", "teacher.backbone", "teacher.", "teacher"})
    EXPECT_TRUE(same_bits(answer(dino, weights), whole)) << weights;
  const std::string same = copies(test::tiny_vit(), {{"ema.a.", 1.f}, {"ema.b.", 0.5f}});
  expect_error(open(same, "ema"), ErrorCode::kInvalidArgument, {"'ema'", "'ema.a.'", "'ema.b.'"});
  EXPECT_TRUE(same_bits(answer(same, "ema.b"), half));
}

TEST_F(Several, ThroughC) {
  ASSERT_FALSE(open(copies(test::tiny_vit(), {{"student.", 0.5f}, {"teacher.", 1.f}})).ok());
  vireo_options options;
  vireo_options_init(&options);
  EXPECT_EQ(options.weights, nullptr);
  options.device = "cpu";
  vireo_session* session = nullptr;
  vireo_error error;
  EXPECT_EQ(vireo_open(dir_.path().c_str(), &options, &session, &error), VIREO_INVALID_ARGUMENT);
  EXPECT_TRUE(contains(error.message, "'teacher.'")) << error.message;
  options.weights = "teacher.";
  EXPECT_EQ(vireo_open(dir_.path().c_str(), &options, &session, &error), VIREO_OK);
  vireo_close(session);
}

TEST_F(Several, OneCompleteNetworkIsRead) {
  const std::vector<float> whole = expected(1.f);
  // An optimizer's moments have all names and are no network; a few tensors of a copy are none either.
  const std::string moments =
      copies(test::tiny_vit(), {{"model.", 1.f}, {"optimizer.exp_avg.", 0.5f}, {"optimizer.exp_avg_sq.", 0.25f}});
  EXPECT_TRUE(same_bits(answer(moments), whole));
  const auto model = open(moments);
  ASSERT_TRUE(model.ok());
  ASSERT_EQ(model->warnings().size(), 1u);
  EXPECT_TRUE(contains(model->warnings()[0], "optimizer.exp_avg.")) << model->warnings()[0];
  EXPECT_TRUE(
      same_bits(answer(copies(test::tiny_vit(), {{"model.", 1.f}},
                              {test::noise("ema.vit.embeddings.patch_embeddings.projection.weight", {8, 3, 4, 4})})),
                whole));
  // Counters and other things beside the network.
  const std::string counters =
      copies(test::tiny_vit(), {{"module.", 1.f}},
             {{"n_averaged", "I64", {}, std::string(8, '\1')}, {"ema.decay", "F32", {}, std::string(4, '\0')}});
  EXPECT_TRUE(same_bits(answer(counters), whole));
  // One network may be named too.
  EXPECT_TRUE(same_bits(answer(counters, "module"), whole));
  expect_error(open(counters, "teacher"), ErrorCode::kInvalidArgument, {"'teacher'", "'module.'"});
}

TEST_F(Several, DifferentDepthsAreTwoNetworks) {
  // A student of one block beside a teacher of two: neither is a part of the other.
  std::vector<TestTensor> deep = test::tiny_vit();
  for (TestTensor t : test::tiny_vit()) {
    if (!contains(t.name, "layer.0.")) continue;
    t.name = replace_all(t.name, "layer.0.", "layer.1.");
    deep.push_back(std::move(t));
  }
  std::vector<TestTensor> all;
  for (TestTensor t : deep) t.name = "teacher." + t.name, all.push_back(std::move(t));
  const std::string file = copies(test::tiny_vit(), {{"student.", 1.f}}, all);
  expect_error(open(file), ErrorCode::kInvalidArgument, {"'student.'", "'teacher.'"});
  EXPECT_TRUE(same_bits(answer(file, "student"), expected(1.f)));
}

TEST_F(Several, NamesThatCollide) {
  // A wrapped network and another classifier outside: which one is meant?
  const std::string file = copies(test::tiny_vit(), {{"module.", 1.f}},
                                  {test::noise("classifier.weight", {3, 8}), test::noise("classifier.bias", {3})});
  expect_error(open(file), ErrorCode::kCorrupt, {"'module.classifier.bias'", "'classifier.bias'", "--weights module."});
  EXPECT_TRUE(same_bits(answer(file, "module."), expected(1.f)));
}

TEST_F(Several, MessagesShowTheFilesOwnNames) {
  std::vector<TestTensor> t = test::tiny_vit();
  for (TestTensor& tensor : t) {
    tensor.name = "module." + replace_all(v5_name(tensor.name, false, false), "encoder.layer.", "layers.");
    if (contains(tensor.name, "q_proj.weight")) tensor = test::noise(tensor.name, {8, 9});
  }
  expect_error(open(test::safetensors(t)), ErrorCode::kCorrupt,
               {"'module.vit.layers.0.attention.q_proj.weight'", "[8, 9]"});
  for (TestTensor& tensor : t) {
    if (contains(tensor.name, "q_proj.weight"))
      tensor = test::f32(tensor.name, {8, 8}, std::vector<float>(64, std::numeric_limits<float>::infinity()));
  }
  expect_error(open(test::safetensors(t)), ErrorCode::kCorrupt,
               {"'module.vit.layers.0.attention.q_proj.weight'", "an infinite value"});
  t = test::tiny_vit();
  for (TestTensor& tensor : t) tensor.name = "module." + tensor.name;
  std::vector<TestTensor> few = t;
  few.erase(
      std::remove_if(few.begin(), few.end(), [](const TestTensor& x) { return contains(x.name, "query.weight"); }),
      few.end());
  expect_error(open(test::safetensors(few)), ErrorCode::kNotFound, {"query.weight' is missing", "'module.'"});
  t.push_back(test::noise("module.spare.weight", {3}));
  const auto model = open(test::safetensors(t));
  ASSERT_TRUE(model.ok()) << model.error().message;
  ASSERT_EQ(model->warnings().size(), 1u);
  EXPECT_TRUE(contains(model->warnings()[0], "'module.spare.weight'")) << model->warnings()[0];
}

TEST(Networks, ManyNamesTakeLittleTime) {
  // As many networks as tensors, each inside the one before: no pair is looked at for its own sake.
  std::vector<std::string> names;
  std::string prefix;
  for (int i = 0; i < 3000; ++i) names.push_back("n" + std::to_string(i) + ".patch_embed.proj.weight");
  for (int i = 0; i < 60; ++i) names.push_back((prefix += "x.") + "patch_embed.proj.weight");
  const auto result = canonical_names(names, "", "hostile");
  expect_error(result, ErrorCode::kInvalidArgument, {"networks", "more"});
  EXPECT_LT(result.error().message.size(), 1000u);
}

TEST(Networks, AConvolutionalStemIsAPart) {
  // timm's hybrids: a trunk in the patch embedding, which has an anchor of its own.
  std::vector<std::string> names = test::tensor_names(golden_case("timm-vit"));
  for (const char* name : {"patch_embed.backbone.stem.conv.weight", "patch_embed.backbone.stem.norm.weight",
                           "patch_embed.backbone.stages.0.conv.weight"})
    names.push_back(name);
  const auto result = canonical_names(names, "", "file");
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_TRUE(result->prefix.empty());
  EXPECT_EQ(result->file_name.count("patch_embed.backbone.stem.conv.weight"), 1u);
}

}  // namespace
}  // namespace vireo
