// What the tests of model families share: checkpoints taken apart, changed, written anew, and the graphs made of them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "model/model.h"
#include "model/safetensors.h"
#include "test_model_files.h"

namespace vireo::family_test {

using test::TempDir;
using test::TestTensor;

const std::string kCases = std::string(VIREO_TEST_DATA) + "/cases/";

inline std::string read_file(const std::string& path) {
  std::ifstream f(path, std::ios::binary);
  std::stringstream s;
  s << f.rdbuf();
  return s.str();
}

inline std::vector<TestTensor> tensors_of(const std::string& name) {
  const std::string bytes = read_file(kCases + name + "/model.safetensors");
  std::vector<TestTensor> tensors;
  const auto views = parse_safetensors(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), name);
  EXPECT_TRUE(views) << name;
  if (!views) return tensors;
  for (const TensorView& v : *views) {
    tensors.push_back({v.name, v.dtype, v.shape, std::string(reinterpret_cast<const char*>(v.data), v.bytes)});
  }
  return tensors;
}
inline TestTensor& named(std::vector<TestTensor>& tensors, const std::string& name) {
  return *std::find_if(tensors.begin(), tensors.end(), [&](const TestTensor& t) { return t.name == name; });
}
inline void drop(std::vector<TestTensor>& tensors, const std::string& name) {
  tensors.erase(tensors.begin() + (&named(tensors, name) - tensors.data()));
}

/// `text` with the first `from` replaced.
inline std::string with(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

inline Result<LoadedModel> open(const TempDir& dir, const std::vector<TestTensor>& tensors, const std::string& config) {
  dir.write("model.safetensors", test::safetensors(tensors));
  dir.write("config.json", config);
  dir.write("preprocessor_config.json",
            R"({"image_processor_type":"ViTImageProcessor","size":{"height":64,"width":64}})");
  return LoadedModel::open(dir.path());
}
inline Result<LoadedModel> configured(const TempDir& dir, const std::string& config) {
  dir.write("config.json", config);
  return LoadedModel::open_config(dir.path(), 1);
}

inline const Node* find_node(const Graph& g, const std::string& name) {
  for (const Node& n : g.nodes) {
    if (n.name == name) return &n;
  }
  return nullptr;
}
inline Shape output_shape(const Graph& g) { return g.value(g.outputs[0]).desc.shape; }
inline double attribute(const Node& n, const std::string& name) {
  const OpDef& def = op_def(n.op);
  for (int i = 0; def.attrs[i].name != nullptr; ++i) {
    if (def.attrs[i].name == name) return n.attrs[size_t(i)];
  }
  return -1;
}
inline int count(const Graph& g, OpKind op) {
  return int(std::count_if(g.nodes.begin(), g.nodes.end(), [op](const Node& n) { return n.op == op; }));
}

}  // namespace vireo::family_test
