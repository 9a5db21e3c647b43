// Models whose blocks are smaller: every family builds what its configuration says, and the smaller tensors answer as
// the whole ones do with zeros in them.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/json.h"
#include "compress/partial.h"
#include "compress/replace.h"
#include "compress/sensitivity.h"
#include "compress/structure.h"
#include "runtime/model_impl.h"
#include "test_model_family.h"

#include <vireo/compress.hpp>

namespace vireo {
namespace {

using namespace compress;
using test::TempDir;
const std::string kCases = std::string(VIREO_TEST_DATA) + "/cases/";

Model open_case(const std::string& name) {
  auto m = Model::open(kCases + name);
  EXPECT_TRUE(m.ok()) << m.error().message;
  return *m;
}

Graph graph_of(const LoadedModel& m) {
  const Head head = m.task() == Task::kSegmentation || m.has_classes() ? Head::kLogits : Head::kFeatures;
  auto g = m.build(head, 1);
  EXPECT_TRUE(g.ok()) << g.error().message;
  return *g;
}

std::vector<std::vector<float>> noise(const Graph& g, int pictures) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> all;
  const Shape& s = g.value(g.inputs[0]).desc.shape;
  for (int p = 0; p < pictures; ++p) {
    all.emplace_back();
    for (int64_t i = 0; i < s.elements(); ++i) all.back().push_back(normal(random));
  }
  return all;
}

std::vector<float> answer_of(const LoadedModel& m, const std::vector<float>& picture, const Device::Impl& device,
                             ThreadPool& pool) {
  auto runner = Runner::create(graph_of(m), device, pool, false);
  EXPECT_TRUE(runner.ok()) << runner.error().message;
  const float* const out = (*runner)->run(picture);
  return std::vector<float>(out, out + (*runner)->output_rows() * (*runner)->output_stride());
}

/// Two ways to one answer: the whole network with zeros where channels go (what measures a level), and the smaller
/// tensors that are written.
TEST(StructureModels, SmallerTensorsAnswerAsTheWholeWithZeros) {
  ThreadPool pool(2);
  const auto device = make_cpu_device(2, "");
  for (const char* name :
       {"hf-vit", "hf-vit-nonsquare-nobias-f16", "hf-deit-distilled", "hf-dinov2-interpolated", "timm-vit",
        "timm-registers-avgpool", "timm-intern300m", "hf-swin", "timm-swin", "tv-swin", "hf-swinv2", "hf-mobilevit",
        "hf-upernet-vit", "hf-upernet-swin", "hf-upernet-mobilevit", "hf-upernet-dinov2"}) {
    const Model model = open_case(name);
    const LoadedModel& whole = model.impl().loaded;
    const Graph graph = graph_of(whole);
    const std::vector<Block> blocks = find_blocks(whole, graph);
    ASSERT_FALSE(blocks.empty()) << name;
    const auto pictures = noise(graph, 3);
    auto runner = Runner::create(graph, *device, pool, true);
    ASSERT_TRUE(runner.ok()) << runner.error().message;
    const auto weight = [&](const std::string& value) {
      for (const Node& n : graph.nodes)
        if (graph.value(n.output).name == value) return graph.value(n.inputs[1]).constant->read_all();
      return std::vector<float>();
    };
    size_t tried = 0;
    for (const size_t i : {size_t(0), blocks.size() - 1}) {
      const Block& b = blocks[i];
      BlockMoments m;
      if (b.has(Part::kV)) m.mixed = std::make_unique<Moments>(b.whole.heads * b.whole.v, std::vector<int64_t>());
      if (b.has(Part::kMlp)) m.hidden = std::make_unique<Moments>(b.whole.mlp, std::vector<int64_t>());
      for (const auto& picture : pictures) {
        (*runner)->run(picture);
        if (m.mixed) {
          m.add_qkv(*(*runner)->value(b.qkv_value), b.whole, pool);
          ASSERT_TRUE(m.mixed->add(*(*runner)->value(b.mixed_value), *device->kernels, pool));
        }
        if (m.hidden) {
          ASSERT_TRUE(m.hidden->add(*(*runner)->value(b.act_value), *device->kernels, pool));
        }
      }
      std::vector<int64_t> heads;
      for (int64_t h = 0; h < b.whole.heads; ++h) heads.push_back(h);
      for (const Part p : {Part::kQk, Part::kV, Part::kMlp}) {
        if (!b.has(p) || b.width(p) < 2) continue;
        const std::vector<float> behind =
            p == Part::kQk ? std::vector<float>() : weight(p == Part::kV ? b.proj_value : b.fc2_value);
        const int64_t width = b.width(p) - std::max<int64_t>(1, b.width(p) / 3);
        auto narrowed = narrower_of(p).run(b, m, behind, heads, {width}, pool);
        ASSERT_TRUE(narrowed.ok()) << narrowed.error().message;
        narrowed->block = i;
        std::vector<Narrowed> parts;
        parts.push_back(std::move(*narrowed));
        Partial partial(*device, pool, false);
        const auto measured =
            partial.measure(**runner, {&pictures[0]}, blocks, {behind}, &parts, [] { return Result<void>(); });
        ASSERT_TRUE(measured.ok()) << measured.error().message;
        Chosen c;
        c.block = &b, c.sizes = b.whole, c.heads = heads;
        (p == Part::kQk ? c.sizes.qk : p == Part::kV ? c.sizes.v : c.sizes.mlp) = width;
        c.parts[size_t(p)] = &parts[0], c.levels[size_t(p)] = &parts[0].levels[0], c.whole[size_t(p)] = behind;
        Narrowing narrowing;
        ASSERT_TRUE(narrow_tensors(whole, {c}, &narrowing).ok());
        const auto smaller = with_tensors(whole, narrowing.config, std::move(narrowing.tensors));
        ASSERT_TRUE(smaller.ok()) << name << " " << b.name << " " << to_string(p) << ": " << smaller.error().message;
        const Graph is = graph_of(**smaller);
        EXPECT_LT(find_layers(**smaller, is).macs, find_layers(whole, graph).macs) << name;
        const std::vector<float> before = answer_of(whole, pictures[0], *device, pool),
                                 after = answer_of(**smaller, pictures[0], *device, pool);
        const double kl = answer_difference(false, before.data(), after.data(), (*runner)->output_rows(),
                                            (*runner)->outputs(), (*runner)->output_stride());
        const double expected = parts[0].levels[0].kl;
        EXPECT_GT(expected, 0) << name << " " << b.name << " " << to_string(p);
        const double tolerance = std::string(name).find("f16") == std::string::npos ? 2e-3 : 0.1;
        EXPECT_NEAR(kl, expected, tolerance * expected + 1e-9) << name << " " << b.name << " " << to_string(p);
        ++tried;
      }
    }
    EXPECT_GE(tried, 2u) << name;
  }
}

/// Pictures of smooth shapes, all different.
struct Picture {
  int width = 50, height = 50;
  std::vector<uint8_t> rgb;
  explicit Picture(int number) {
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x)
        for (int c = 0; c < 3; ++c)
          rgb.push_back(uint8_t(127.5 + 100 * std::sin(0.1 * (x * (1 + number % 3) + y * (c + 1)) + number)));
  }
  Image image() const { return {rgb.data(), width, height, 0}; }
};

Result<CompressReport> compress_into(const std::string& folder, const Model& model, const std::string& recipe,
                                     const std::string& policy, int pictures = 10) {
  CompressOptions o;
  o.recipe = recipe, o.policy = policy, o.sensitivity = false, o.threads = 2;
  VIREO_ASSIGN(Compressor c, Compressor::create(model, o));
  for (int i = 0; i < pictures; ++i) VIREO_TRY(c.add(Picture(i).image()));
  return c.write(folder);
}

template <typename T>
void expect_says(const Result<T>& r, const std::string& what) {
  ASSERT_FALSE(r.ok()) << "expected: " << what;
  EXPECT_NE(r.error().message.find(what), std::string::npos) << r.error().message;
}

TEST(StructureModels, RecipesShrinkAndComposeWithNumbers) {
  const Model model = open_case("timm-vit");
  const TempDir alone, both, again;
  const auto first = compress_into(alone.path(), model, "prune15", "");
  ASSERT_TRUE(first.ok()) << first.error().message;
  EXPECT_LE(first->macs, 0.85 * first->macs_before);
  EXPECT_LT(first->parameters_after, first->parameters_before);
  EXPECT_LT(first->bytes_after, first->bytes_before);
  EXPECT_FALSE(first->blocks.empty());
  EXPECT_TRUE(first->layers.empty());
  for (const CompressedBlock& b : first->blocks) EXPECT_GE(b.kl, 0) << b.block;
  const auto opened = Model::open(alone.path());
  ASSERT_TRUE(opened.ok()) << opened.error().message;

  const auto second = compress_into(both.path(), model, "prune15+w8a8", "");
  ASSERT_TRUE(second.ok()) << second.error().message;
  EXPECT_EQ(second->blocks.size(), first->blocks.size());
  EXPECT_GT(second->layers.size(), 4u);
  EXPECT_LT(second->bytes_after, first->bytes_after / 3);
  const auto config = OrderedJson::parse(family_test::read_file(both.path() + "/config.json"), nullptr, false);
  EXPECT_EQ(config["quantization_config"]["quant_method"], "compressed-tensors");
  EXPECT_EQ(config["quantization_config"]["vireo"],
            OrderedJson::parse(family_test::read_file(alone.path() + "/config.json"), nullptr,
                               false)["quantization_config"]["vireo"]);
  ASSERT_TRUE(Model::open(both.path()).ok()) << Model::open(both.path()).error().message;

  // The same again gives the same bytes; and numbers after structure, one command after another, too.
  ASSERT_TRUE(compress_into(again.path(), model, "prune15+w8a8", "").ok());
  for (const char* file : {"/config.json", "/model.safetensors"})
    EXPECT_EQ(family_test::read_file(again.path() + file), family_test::read_file(both.path() + file)) << file;
  const TempDir later;
  const auto third = compress_into(later.path(), *opened, "w8a8", "");
  ASSERT_TRUE(third.ok()) << third.error().message;
  EXPECT_EQ(family_test::read_file(later.path() + "/model.safetensors"),
            family_test::read_file(both.path() + "/model.safetensors"));
}

TEST(StructureModels, PoliciesSaySizesHeadsAndWholeBranches) {
  for (const char* name : {"hf-vit", "hf-dinov2-interpolated", "hf-mobilevit"}) {
    const Model model = open_case(name);
    const std::vector<Block> blocks = find_blocks(model.impl().loaded, graph_of(model.impl().loaded));
    ASSERT_GE(blocks.size(), 3u) << name;
    const Block &middle = blocks[1], &last = blocks.back();
    const TempDir dir;
    const auto report =
        compress_into(dir.path(), model, "",
                      "block " + last.name + " heads 1 v " + std::to_string(last.whole.v / 2) + "  # one head\nblock " +
                          middle.name + " heads 0\nblock " + last.name + " mlp 0\n");
    ASSERT_TRUE(report.ok()) << name << ": " << report.error().message;
    ASSERT_EQ(report->blocks.size(), 2u);
    EXPECT_EQ(report->blocks[0].after.heads, 0);
    EXPECT_EQ(report->blocks[0].after.mlp, middle.whole.mlp);
    EXPECT_EQ(report->blocks[1].after.heads, 1);
    EXPECT_EQ(report->blocks[1].after.v, last.whole.v / 2);
    EXPECT_EQ(report->blocks[1].after.qk, last.whole.qk);
    EXPECT_EQ(report->blocks[1].after.mlp, 0);
    const auto opened = Model::open(dir.path());
    ASSERT_TRUE(opened.ok()) << name << ": " << opened.error().message;
    const auto found = find_blocks(opened->impl().loaded, graph_of(opened->impl().loaded));
    EXPECT_EQ(found.size(), blocks.size()) << name;
  }
}

TEST(StructureModels, WhatCannotBeIsSaid) {
  const TempDir dir;
  const Model vit = open_case("timm-vit");
  expect_says(compress_into(dir.path(), vit, "qkrank10+prune15", ""), "two recipes that say what becomes narrower");
  expect_says(compress_into(dir.path(), vit, "prune15+a8", ""), "says nothing of weights");
  expect_says(compress_into(dir.path(), vit, "prune15", "", 3), "was given 3 pictures");
  expect_says(compress_into(dir.path(), vit, "", "block blocks.77 mlp 4"), "'blocks.77' names no transformer block");
  expect_says(compress_into(dir.path(), vit, "", "block blocks.0 mlp 100000"), "it cannot keep 100000");
  expect_says(compress_into(dir.path(), vit, "", "block blocks.0 qk 0"), "gives 'qk' no number above 0");
  expect_says(compress_into(dir.path(), vit, "", "# a\nblock blocks.0 width 3"), "line 2 says 'width'");
  expect_says(compress_into(dir.path(), vit, "", "block blocks.0"), "no size");
  expect_says(compress_into(dir.path(), vit, "", "block"), "names no block");
  expect_says(compress_into(dir.path(), vit, "", "block blocks.0 heads 0"), "is the first");
  const Model swin = open_case("hf-swinv2");
  const std::vector<Block> blocks = find_blocks(swin.impl().loaded, graph_of(swin.impl().loaded));
  ASSERT_FALSE(blocks.empty());
  expect_says(compress_into(dir.path(), swin, "", "block " + blocks[0].name + " qk 2"), "cannot have 2 channels");
}

TEST(StructureModels, ConfigurationsThatAreNotUnderstoodAreRefusedByName) {
  const std::string config = family_test::read_file(kCases + "timm-vit/config.json");
  const auto with = [&](const std::string& text) {
    OrderedJson json = OrderedJson::parse(config, nullptr, false);
    json["quantization_config"] = OrderedJson::parse(text, nullptr, false);
    const TempDir dir;
    dir.write("config.json", json.dump());
    dir.write("model.safetensors", family_test::read_file(kCases + "timm-vit/model.safetensors"));
    return LoadedModel::open(dir.path());
  };
  const auto vireo = [&](const std::string& text) { return with(R"({"quant_method":"vireo","vireo":)" + text + "}"); };
  EXPECT_TRUE(vireo(R"({"version":1})").ok());
  expect_says(vireo(R"({"version":2})"), "has the version 2");
  expect_says(vireo(R"({})"), "has the version 0");
  expect_says(vireo(R"([])"), "expected an object");
  expect_says(vireo(R"({"version":1,"sparsity":{}})"), "has the section 'sparsity'");
  expect_says(vireo(R"({"version":1,"structure":[]})"), "expected an object");
  expect_says(vireo(R"({"version":1,"structure":{"blocks.0":3}})"), "expected an object with heads");
  expect_says(vireo(R"({"version":1,"structure":{"blocks.0":{"depth":3}}})"), "has the key 'depth'");
  expect_says(vireo(R"({"version":1,"structure":{"blocks.0":{"qk":0}}})"), "qk");
  expect_says(vireo(R"({"version":1,"structure":{"blocks.0":{"mlp":"many"}}})"), "mlp");
  expect_says(vireo(R"({"version":1,"structure":{"blocks.70":{"mlp":4}}})"), "the block 'blocks.70'");
  expect_says(vireo(R"({"version":1,"structure":{"blocks.0":{"heads":40}}})"), "at most the");
  // Tensors of other shapes than the configuration says.
  expect_says(vireo(R"({"version":1,"structure":{"blocks.0":{"mlp":4}}})"), "blocks.0.mlp.fc1");
  expect_says(vireo(R"({"version":1,"structure":{"blocks.0":{"mlp":0}}})"), "does not have");
}

}  // namespace
}  // namespace vireo
