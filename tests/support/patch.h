// Checkpoints of tests/golden with a few numbers or configuration keys changed: what large activations and other heads
// do.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace vireo::test {

struct Patch {
  std::string tensor;  // of fp32
  size_t index = 0;
  float value = 0;
};

inline std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// Copies a model folder to the existing folder `to`, its weights with `patches` and its config.json with the keys of
/// `config`.
inline void patch_model(const std::string& from, const std::string& to, const std::vector<Patch>& patches,
                        const nlohmann::json& config = {}) {
  std::string weights = bytes_of(from + "/model.safetensors");
  uint64_t size = 0;
  std::memcpy(&size, weights.data(), sizeof size);
  const nlohmann::json header = nlohmann::json::parse(weights.substr(8, size));
  for (const Patch& p : patches) {
    ASSERT_TRUE(header.contains(p.tensor)) << p.tensor;
    ASSERT_EQ(header[p.tensor]["dtype"], "F32") << p.tensor;
    const size_t begin = header[p.tensor]["data_offsets"][0], end = header[p.tensor]["data_offsets"][1];
    ASSERT_LT(p.index, (end - begin) / 4);
    std::memcpy(&weights[8 + size + begin + 4 * p.index], &p.value, sizeof p.value);
  }
  std::ofstream(to + "/model.safetensors", std::ios::binary) << weights;
  nlohmann::json text = nlohmann::json::parse(bytes_of(from + "/config.json"));
  if (config.is_object()) text.update(config);
  std::ofstream(to + "/config.json") << text.dump(1);
  std::ofstream(to + "/preprocessor_config.json") << bytes_of(from + "/preprocessor_config.json");
}

}  // namespace vireo::test
