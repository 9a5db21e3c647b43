// Token merging: what a configuration may ask for, ties and numbers that are none, and the schedules of recipes. The
// operators themselves and whole networks against their definition are for ops_conformance, networks against PyTorch
// for model_e2e (tome-*).
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <fstream>
#include <numeric>

#include "base/json.h"
#include "compress/runner.h"
#include "compress/tokens.h"
#include "model/model.h"
#include "support/small_vits.h"

namespace vireo {
namespace {

using compress::merge_tokens;
using compress::Runner;
using test::kDistilled, test::kRegisters, test::kVit;

std::string config_of(const std::string& name) {
  std::ifstream f(std::string(VIREO_SOURCE_DIR) + "/models/configs/" + name + ".json");
  return {std::istreambuf_iterator<char>(f), {}};
}

Result<LoadedModel> open_text(const std::string& config) {
  ModelSource source;
  source.path = "folder", source.config_path = "folder/config.json", source.seed = 3;
  source.config = config;
  return LoadedModel::from_parts(source, "", "");
}

std::string with_tokens(const std::string& config, const std::string& tokens) {
  OrderedJson j = OrderedJson::parse(config, nullptr, false);
  j["quantization_config"] = {{"quant_method", "vireo"}, {"vireo", {{"version", 1}}}};
  j["quantization_config"]["vireo"]["tokens"] = OrderedJson::parse(tokens, nullptr, false);
  return j.dump();
}

std::string merging(const std::string& schedule) { return R"({"method": "tome", "merge": [)" + schedule + "]}"; }

template <typename T>
void expect_says(const Result<T>& r, const std::string& what) {
  ASSERT_FALSE(r.ok()) << "expected: " << what;
  EXPECT_NE(r.error().message.find(what), std::string::npos) << r.error().message;
}

struct Cpu {
  std::shared_ptr<const Device::Impl> device = make_cpu_device(2, "");
  ThreadPool pool{2};
};

TEST(TokenMerging, RowsShrinkBehindTheAttentionOfTheirBlock) {
  const auto model = open_text(with_tokens(kVit, merging("4, 0, 6")));
  ASSERT_TRUE(model.ok()) << model.error().message;
  const auto graph = model->build(Head::kLogits, 1);
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  const auto tokens = [&](const std::string& name) -> int64_t {
    for (const Node& n : graph->nodes)
      if (n.name == name) return graph->value(n.output).desc.shape.w();
    return -1;
  };
  EXPECT_EQ(tokens("blocks.0.attn"), 31);
  EXPECT_EQ(tokens("blocks.0.mlp.fc1"), 27);
  EXPECT_EQ(tokens("blocks.1.mlp.fc1"), 27);
  EXPECT_EQ(tokens("blocks.2.attn"), 27);
  EXPECT_EQ(tokens("blocks.2.mlp.fc1"), 21);
  EXPECT_EQ(tokens("blocks.1.merge"), -1) << "nothing is merged there";
  EXPECT_EQ(tokens("blocks.2.merge.sizes"), -1) << "nobody reads them";
}

TEST(TokenMerging, NoneIsTheNetworkItself) {
  const auto with = open_text(with_tokens(kVit, merging("0, 0, 0"))), without = open_text(kVit);
  ASSERT_TRUE(with.ok() && without.ok());
  EXPECT_EQ(dump(*with->build(Head::kLogits, 1)), dump(*without->build(Head::kLogits, 1)));
}

TEST(TokenMerging, ConfigurationsThatCannotBe) {
  const struct {
    const char *tokens, *says;
  } bad[] = {
      {R"({"method": "tome"})", "merge is missing, expected a list"},
      {R"({"method": "tome", "merge": 3})", "merge is 3, expected a list"},
      {R"({"method": "tome", "merge": []})", "expected a list with a number of tokens"},
      {R"({"method": "tome", "merge": [1, -2, 0]})", "expected a list with a number of tokens"},
      {R"({"method": "tome", "merge": [1, 0.5, 0]})", "expected a list with a number of tokens"},
      {R"({"method": "pitome", "merge": [1, 0, 0]})", "has the method 'pitome'; this Vireo knows 'tome'"},
      {R"({"merge": [1, 0, 0]})", "has the method ''"},
      {R"({"method": "tome", "merge": [1, 0, 0], "keep": 2})", "has the key 'keep', which this Vireo does not know"},
      {R"([1, 0, 0])", "tokens is"},
  };
  for (const auto& b : bad) expect_says(open_text(with_tokens(kVit, b.tokens)), b.says);
}

/// Of opening and of building, whichever finds it.
Result<Graph> built(const std::string& config, Head head, int64_t side = 0) {
  VIREO_ASSIGN(const LoadedModel m, open_text(config));
  return m.build(head, 1, side, side);
}

TEST(TokenMerging, SchedulesThatDoNotFit) {
  expect_says(built(with_tokens(kVit, merging("4, 0")), Head::kLogits),
              "has 2 numbers, expected one for each of the 3");
  expect_says(built(with_tokens(kVit, merging("16, 0, 0")), Head::kLogits),
              "merges 16 tokens in blocks.0, which has 31 at this size of pictures; expected at most 15");
  EXPECT_TRUE(built(with_tokens(kVit, merging("15, 0, 0")), Head::kLogits).ok());
  expect_says(built(with_tokens(kVit, merging("15, 8, 0")), Head::kLogits), "blocks.1, which has 16 at this size");
  EXPECT_TRUE(built(with_tokens(kVit, merging("15, 7, 4")), Head::kLogits).ok());
  // 35 tokens, of which 18 are even and three of those stay.
  expect_says(built(with_tokens(kRegisters, merging("16, 0, 0")), Head::kLogits), "expected at most 15");
  EXPECT_TRUE(built(with_tokens(kRegisters, merging("15, 0, 0")), Head::kLogits).ok());
}

TEST(TokenMerging, UsesThatNeedEveryToken) {
  expect_says(built(with_tokens(kVit, merging("4, 0, 6")), Head::kTokens), "this use of the network gives every token");
  for (const char* name : {"swin-t", "mobilevit-s", "upernet-mobilevit-s"})
    expect_says(open_text(with_tokens(config_of(name), merging("4, 4"))).ok()
                    ? built(with_tokens(config_of(name), merging("4, 4")),
                            std::string(name).find("upernet") == 0 ? Head::kLogits : Head::kFeatures)
                    : Result<Graph>(open_text(with_tokens(config_of(name), merging("4, 4"))).error()),
                "merges tokens, which folder cannot");
}

/// What token_match and token_route make of qkv rows [1, 1, t, 3 * 4] with these keys.
std::vector<float> lists_of(const std::vector<std::array<float, 4>>& keys, int64_t count) {
  Cpu cpu;
  const int64_t t = int64_t(keys.size());
  GraphBuilder b("match");
  TensorDesc d;
  d.shape = Shape{{1, 1, t, 12}};
  const ValueId match = b.add(OpKind::kTokenMatch, "match", {b.input("pixels", d)}, {{"heads", 1}, {"prefix", 1}});
  b.output(b.add(OpKind::kTokenRoute, "route", {match}, {{"tokens", double(t)}, {"count", double(count)}}));
  auto g = b.finish();
  EXPECT_TRUE(g.ok()) << g.error().message;
  auto runner = Runner::create(std::move(*g), *cpu.device, cpu.pool, false);
  EXPECT_TRUE(runner.ok()) << runner.error().message;
  std::vector<float> rows;
  for (const auto& k : keys) {
    rows.insert(rows.end(), 4, 0.5f);
    rows.insert(rows.end(), k.begin(), k.end());
    rows.insert(rows.end(), 4, 0.25f);
  }
  const float* got = (*runner)->run(rows);
  std::vector<float> out;
  for (int64_t r = 0; r < 2; ++r)
    out.insert(out.end(), got + r * (*runner)->output_stride(), got + r * (*runner)->output_stride() + t);
  return out;
}

TEST(TokenMerging, OfEqualsTheFirst) {
  // All keys are one: tokens 2, 4 and 6 join token 1, the first that is no prefix.
  const std::vector<float> got = lists_of(std::vector<std::array<float, 4>>(9, {1, 2, 3, 4}), 3);
  EXPECT_EQ(got, (std::vector<float>{0, 1, 3, 5, 7, 8, -1, -1, -1,  //
                                     -1, 2, 4, -1, 6, -1, -1, -1, -1}));
}

TEST(TokenMerging, ARowsPlaceIsThatOfItsOddToken) {
  // Token 2 is token 5's twin, token 8 token 1's.
  std::vector<std::array<float, 4>> keys = {{1, 0, 0, 0}, {0, 1, 0, 0},  {0, 0, 1, 0}, {1, 1, 0, 0}, {0, 1, 1, 1},
                                            {0, 0, 1, 0}, {1, 0, 1, -1}, {1, 1, 1, 0}, {0, 1, 0, 0}};
  const std::vector<float> got = lists_of(keys, 2);
  EXPECT_EQ(got, (std::vector<float>{0, 1, 3, 4, 2, 6, 7, -1, -1,  //
                                     -1, 8, 5, -1, -1, -1, -1, -1, -1}));
}

TEST(TokenMerging, KeysThatAreNoNumbersStillGiveRows) {
  std::vector<std::array<float, 4>> keys(11, {1, 2, 3, 4});
  for (const size_t at : {2u, 3u, 8u}) keys[at] = {NAN, 1, INFINITY, 0};
  const std::vector<float> got = lists_of(keys, 4);
  std::vector<int> seen(11, 0);
  for (int row = 0; row < 7; ++row)
    for (float i = got[size_t(row)]; i >= 0; i = got[11 + size_t(i)]) ++seen[size_t(i)];
  EXPECT_EQ(seen, std::vector<int>(11, 1)) << "every token is in one row";
}

TEST(TokenMerging, SchedulesOfRecipes) {
  const auto vit = open_text(config_of("vit-ti"));
  ASSERT_TRUE(vit.ok()) << vit.error().message;
  const struct {
    double percent;
    std::vector<int64_t> schedule;
  } known[] = {
      {29, {0, 0, 0, 16, 16, 16, 16, 16, 16, 16, 16, 16}},
      {39, {0, 0, 0, 22, 22, 22, 22, 22, 22, 22, 21, 10}},
  };
  for (const auto& k : known) {
    const auto merged = merge_tokens(*vit, Head::kLogits, k.percent);
    ASSERT_TRUE(merged.ok()) << merged.error().message;
    EXPECT_EQ(merged->schedule, k.schedule) << k.percent;
    EXPECT_EQ(merged->model.source().extension->merge, k.schedule);
    EXPECT_TRUE(merged->model.build(Head::kLogits, 1).ok());
    expect_says(merge_tokens(merged->model, Head::kLogits, 25), "merges tokens already");
  }
  expect_says(merge_tokens(*vit, Head::kLogits, 90), "of the multiply-adds away and not 90 %");
  const auto dino = open_text(config_of("dinov2-s"));
  ASSERT_TRUE(dino.ok());
  const auto merged = merge_tokens(*dino, Head::kFeatures, 29);
  ASSERT_TRUE(merged.ok()) << merged.error().message;
  EXPECT_EQ(std::accumulate(merged->schedule.begin(), merged->schedule.begin() + 3, int64_t(0)), 0);
  EXPECT_GT(merged->schedule[3], 16) << "it has more tokens";
  for (const char* name : {"swin-t", "mobilevit-s"}) {
    const auto other = open_text(config_of(name));
    ASSERT_TRUE(other.ok());
    expect_says(merge_tokens(*other, Head::kFeatures, 29), "tokens cannot be merged in 'folder'");
  }
}

}  // namespace
}  // namespace vireo
