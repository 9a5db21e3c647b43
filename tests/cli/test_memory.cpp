// What a model from a folder takes: the file it is read from must not count as memory of the process.
#include <gtest/gtest.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/run_cli.h"

namespace {

using cli_test::Answer;
using cli_test::run_cli;
using cli_test::Scratch;

struct Tensor {
  std::string name;
  std::vector<int64_t> shape;
};

/// A ViTForImageClassification of width 512 and four layers: 13.4 million weights.
std::string config() {
  return R"({"architectures":["ViTForImageClassification"],"model_type":"vit","hidden_size":512,"num_hidden_layers":4,
             "num_attention_heads":8,"intermediate_size":2048,"image_size":64,"patch_size":16,"id2label":{"0":"a","1":"b"}})";
}

std::vector<Tensor> tensors() {
  const int64_t d = 512, f = 2048;
  std::vector<Tensor> t{{"classifier.bias", {2}},
                        {"classifier.weight", {2, d}},
                        {"vit.embeddings.cls_token", {1, 1, d}},
                        {"vit.embeddings.patch_embeddings.projection.bias", {d}},
                        {"vit.embeddings.patch_embeddings.projection.weight", {d, 3, 16, 16}},
                        {"vit.embeddings.position_embeddings", {1, 17, d}},
                        {"vit.layernorm.bias", {d}},
                        {"vit.layernorm.weight", {d}}};
  for (int i = 0; i < 4; ++i) {
    const std::string at = "vit.encoder.layer." + std::to_string(i) + ".";
    const auto linear = [&](const std::string& name, int64_t out, int64_t in) {
      t.push_back({at + name + ".bias", {out}});
      t.push_back({at + name + ".weight", {out, in}});
    };
    linear("attention.attention.key", d, d), linear("attention.attention.query", d, d),
        linear("attention.attention.value", d, d);
    linear("attention.output.dense", d, d), linear("intermediate.dense", f, d), linear("output.dense", d, f);
    for (const char* norm : {"layernorm_after", "layernorm_before"})
      t.push_back({at + norm + ".bias", {d}}), t.push_back({at + norm + ".weight", {d}});
  }
  return t;
}

/// Weights of every `dtype` whose bits are small numbers; returns the size of the file.
size_t write_weights(const Scratch& to, const std::string& name, const std::string& dtype, size_t first, size_t last,
                     nlohmann::json* index) {
  const std::vector<Tensor> all = tensors();
  nlohmann::ordered_json header;
  size_t bytes = 0;
  for (size_t i = first; i < last; ++i) {
    size_t n = dtype == "F32" ? 4 : 2;
    for (const int64_t extent : all[i].shape) n *= size_t(extent);
    header[all[i].name] = {{"dtype", dtype}, {"shape", all[i].shape}, {"data_offsets", {bytes, bytes + n}}};
    bytes += n;
    (*index)[all[i].name] = name;
  }
  const std::string text = header.dump();
  std::string file(8, '\0');
  for (int i = 0; i < 8; ++i) file[size_t(i)] = char(text.size() >> 8 * i & 0xff);
  file += text;
  file.reserve(file.size() + bytes);
  const size_t element = dtype == "F32" ? 4 : 2;
  uint32_t state = uint32_t(first) + 1;
  for (size_t i = 0; i < bytes; ++i) {
    state = state * 1664525u + 1013904223u;
    // The last byte of an element holds the sign and most of the exponent: magnitudes of about 2^-7 for bf16 and fp32,
    // less for fp16.
    file += i % element == element - 1 ? char((state >> 24 & 0x80) | 0x3c) : char(state >> 24 & 0x7f);
  }
  to.write(name, file);
  return file.size();
}

struct Case {
  const char *dtype, *device, *precision;
  int shards;
};

class Memory : public testing::TestWithParam<Case> {};

/// The same model with weights that no file holds is what it should take.
TEST_P(Memory, AFolderTakesNoMoreThanRandomWeights) {
  const Case& c = GetParam();
  const Scratch folder;
  const std::string config_file = folder.write("config.json", config());
  nlohmann::json index = nlohmann::json::object();
  size_t bytes = 0;
  const size_t count = tensors().size();
  for (int s = 0; s < c.shards; ++s)
    bytes +=
        write_weights(folder, c.shards == 1 ? "model.safetensors" : "part-" + std::to_string(s) + ".safetensors",
                      c.dtype, count * size_t(s) / size_t(c.shards), count * size_t(s + 1) / size_t(c.shards), &index);
  if (c.shards > 1) folder.write("model.safetensors.index.json", nlohmann::json{{"weight_map", index}}.dump());
  ASSERT_GT(bytes, size_t(20) << 20);

  const auto bench = [&](std::vector<std::string> words) {
    words.insert(words.end(), {"--device", c.device, "--precision", c.precision, "--warmup", "1", "--iters", "1",
                               "--threads", "2", "--json"});
    words.insert(words.begin(), "bench");
    // Freed blocks that a sanitizer keeps to find late uses are none of the model's.
    return run_cli(words, {{"ASAN_OPTIONS", "quarantine_size_mb=1"}});
  };
  const auto run_twice = [&](const std::vector<std::string>& words) {
    (void)bench(words);  // a driver that compiles for the first time takes memory of its own
    return bench(words);
  };
  const Answer random = run_twice({"--config", config_file, "--random-weights", "1"}),
               file = run_twice({"--model", folder.path()});
  if (random.code != 0 && std::string(c.device) == "vulkan") GTEST_SKIP() << "no Vulkan device here: " << random.err;
  ASSERT_EQ(random.code, 0) << random.text();
  ASSERT_EQ(file.code, 0) << file.text();
  const double file_mib = double(bytes) / (1024 * 1024);
  for (const char* key : {"peak_rss_mib", "loaded_rss_mib"}) {
    const double expected = random.json()[key], got = file.json()[key];
    EXPECT_GT(got, 1) << key;
    EXPECT_LE(got, expected + file_mib / 4) << key << " of a file of " << file_mib << " MiB";
  }
}

INSTANTIATE_TEST_SUITE_P(Folders, Memory,
                         testing::Values(Case{"F32", "cpu", "fp32", 1}, Case{"F32", "cpu", "int8", 1},
                                         Case{"F32", "cpu", "fp16", 3}, Case{"BF16", "cpu", "int8", 1},
                                         Case{"F16", "cpu", "fp32", 1}, Case{"F32", "vulkan", "fp32", 1}),
                         [](const auto& info) {
                           return std::string(info.param.dtype) + "_" + info.param.device + "_" + info.param.precision +
                                  "_" + std::to_string(info.param.shards);
                         });

}  // namespace
