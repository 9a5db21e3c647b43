// Copies of the golden models with other tensor names: what trainers and libraries make of the same weights.
#pragma once

#include <dirent.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <vireo/vireo.hpp>

#include "test_model_files.h"

namespace vireo::test {

inline std::string file_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

inline std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  if (DIR* dir = ::opendir(folder.c_str())) {
    while (const dirent* e = ::readdir(dir)) {
      if (e->d_name[0] != '.') names.push_back(e->d_name);
    }
    ::closedir(dir);
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// Folders of tests/golden/cases.
inline std::vector<std::string> golden_cases() { return names_in(std::string(VIREO_TEST_DATA) + "/cases"); }
inline std::string golden_case(const std::string& name) { return std::string(VIREO_TEST_DATA) + "/cases/" + name; }

using Rename = std::function<std::string(const std::string&)>;

/// A safetensors file with its tensors renamed; the data stay where they are.
inline std::string renamed_tensors(const std::string& bytes, const Rename& rename) {
  uint64_t size = 0;
  for (int i = 7; i >= 0; --i) size = size << 8 | uint8_t(bytes[size_t(i)]);
  const auto header = nlohmann::json::parse(bytes.substr(8, size));
  nlohmann::json out;
  for (const auto& [name, value] : header.items()) out[name == "__metadata__" ? name : rename(name)] = value;
  return raw_safetensors(out.dump(), bytes.substr(8 + size));
}

/// Copies a model's folder with its tensors renamed, shards and index as well.
inline void copy_renamed(const std::string& from, const TempDir& to, const Rename& rename) {
  for (const std::string& name : names_in(from)) {
    const std::string bytes = file_bytes(from + "/" + name);
    const auto ends = [&](const char* end) {
      return name.size() > std::strlen(end) &&
             name.compare(name.size() - std::strlen(end), std::string::npos, end) == 0;
    };
    if (ends(".safetensors")) {
      to.write(name, renamed_tensors(bytes, rename));
    } else if (ends(".index.json")) {
      auto index = nlohmann::json::parse(bytes);
      nlohmann::json map;
      for (const auto& [tensor, file] : index["weight_map"].items()) map[rename(tensor)] = file;
      index["weight_map"] = map;
      to.write(name, index.dump());
    } else if (ends(".json")) {
      to.write(name, bytes);
    }
  }
}

/// The names of all tensors of a model's folder.
inline std::vector<std::string> tensor_names(const std::string& folder) {
  std::vector<std::string> names;
  for (const std::string& file : names_in(folder)) {
    if (file.find(".safetensors") == std::string::npos || file.find(".json") != std::string::npos) continue;
    renamed_tensors(file_bytes(folder + "/" + file),
                    [&](const std::string& name) { return names.push_back(name), name; });
  }
  return names;
}

/// What a model answers to some pixels on the CPU; empty, and a failure, where it does not open.
inline std::vector<float> cpu_answer(const std::string& path, const ModelOptions& how = {}) {
  const Result<Model> model = Model::open(path, how);
  EXPECT_TRUE(model.ok()) << model.error().message;
  if (!model) return {};
  SessionOptions options;
  options.head = model->classes() > 0 ? Head::kLogits : Head::kFeatures;
  Result<Session> session = Session::create(*model, Device::cpu(1), options);
  EXPECT_TRUE(session.ok()) << session.error().message;
  if (!session) return {};
  std::vector<float> pixels(size_t(model->channels()) * size_t(session->input_height()) *
                            size_t(session->input_width()));
  uint32_t state = 1;
  for (float& p : pixels) state = state * 1664525u + 1013904223u, p = float(int32_t(state) >> 8) / float(1 << 23);
  const Result<Output> out = session->run(pixels.data(), pixels.size());
  EXPECT_TRUE(out.ok()) << out.error().message;
  return out ? std::vector<float>(out->data, out->data + size_t(out->rows) * size_t(out->cols)) : std::vector<float>();
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return !a.empty() && a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace vireo::test
