// Small checkpoints and folders made on the fly for the tests of engine/model.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vireo/result.hpp>

namespace vireo::test {

/// A new folder, removed with its files at the end.
class TempDir {
 public:
  TempDir() {
    std::string name = ::testing::TempDir() + "vireo-XXXXXX";
    path_ = ::mkdtemp(name.data()) != nullptr ? name : "";
  }
  ~TempDir() { remove(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  std::string write(const std::string& name, const std::string& bytes) const {
    const std::string file = path_ + "/" + name;
    if (std::FILE* f = std::fopen(file.c_str(), "wb")) {
      std::fwrite(bytes.data(), 1, bytes.size(), f);
      std::fclose(f);
    }
    return file;
  }
  std::string folder(const std::string& name) const {
    ::mkdir((path_ + "/" + name).c_str(), 0700);
    return path_ + "/" + name;
  }

 private:
  static void remove(const std::string& path) {
    if (DIR* dir = ::opendir(path.c_str())) {
      while (const dirent* e = ::readdir(dir)) {
        const std::string name = e->d_name;
        if (name == "." || name == "..") continue;
        const std::string inner = path + "/" + name;
        struct stat info {};
        if (::lstat(inner.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) remove(inner);
        else ::unlink(inner.c_str());
      }
      ::closedir(dir);
    }
    ::rmdir(path.c_str());
  }
  std::string path_;
};

/// Gives root's rights away until the end of a scope: root may read every file. Does nothing for other users.
class NotRoot {
 public:
  NotRoot() : was_root_(::geteuid() == 0 && ::seteuid(65534) == 0) {}
  ~NotRoot() {
    if (was_root_ && ::seteuid(0) != 0) std::abort();
  }
  NotRoot(const NotRoot&) = delete;
  NotRoot& operator=(const NotRoot&) = delete;

 private:
  bool was_root_;
};

/// A safetensors file of a header text and data.
inline std::string raw_safetensors(const std::string& header, const std::string& data) {
  std::string file;
  for (int i = 0; i < 8; ++i) file += char(uint64_t(header.size()) >> (8 * i) & 0xff);
  return file + header + data;
}

struct TestTensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

inline TestTensor f32(const std::string& name, const std::vector<int64_t>& shape, const std::vector<float>& values) {
  return {name, "F32", shape, std::string(reinterpret_cast<const char*>(values.data()), values.size() * 4)};
}

/// Values that differ from tensor to tensor and stay small.
inline TestTensor noise(const std::string& name, const std::vector<int64_t>& shape) {
  size_t n = 1;
  for (int64_t d : shape) n *= size_t(d);
  uint32_t state = 2166136261u;
  for (char c : name) state = (state ^ uint8_t(c)) * 16777619u;
  std::vector<float> values(n);
  for (float& v : values) {
    state = state * 1664525u + 1013904223u;
    v = float(int32_t(state) >> 16) / 65536.f;
  }
  return f32(name, shape, values);
}

inline std::string safetensors(const std::vector<TestTensor>& tensors) {
  std::string header = "{\"__metadata__\":{\"format\":\"pt\"}", data;
  for (const TestTensor& t : tensors) {
    header += ",\"" + t.name + "\":{\"dtype\":\"" + t.dtype + "\",\"shape\":[";
    for (size_t i = 0; i < t.shape.size(); ++i) header += (i ? "," : "") + std::to_string(t.shape[i]);
    header += "],\"data_offsets\":[" + std::to_string(data.size()) + "," +
              std::to_string(data.size() + t.bytes.size()) + "]}";
    data += t.bytes;
  }
  return raw_safetensors(header + "}", data);
}

/// A ViTForImageClassification of width 8, two heads, one layer, 8 x 8 pictures in patches of 4, three classes.
inline std::vector<TestTensor> tiny_vit() {
  const std::string b = "vit.encoder.layer.0.";
  std::vector<TestTensor> t = {
      noise("classifier.bias", {3}),
      noise("classifier.weight", {3, 8}),
      noise("vit.embeddings.cls_token", {1, 1, 8}),
      noise("vit.embeddings.patch_embeddings.projection.bias", {8}),
      noise("vit.embeddings.patch_embeddings.projection.weight", {8, 3, 4, 4}),
      noise("vit.embeddings.position_embeddings", {1, 5, 8}),
      noise("vit.layernorm.bias", {8}),
      noise("vit.layernorm.weight", {8}),
      noise(b + "intermediate.dense.bias", {16}),
      noise(b + "intermediate.dense.weight", {16, 8}),
      noise(b + "output.dense.bias", {8}),
      noise(b + "output.dense.weight", {8, 16}),
      noise(b + "attention.output.dense.bias", {8}),
      noise(b + "attention.output.dense.weight", {8, 8}),
  };
  for (const char* part : {"query", "key", "value"}) {
    t.push_back(noise(b + "attention.attention." + part + ".bias", {8}));
    t.push_back(noise(b + "attention.attention." + part + ".weight", {8, 8}));
  }
  for (const char* part : {"before", "after"}) {
    t.push_back(noise(b + "layernorm_" + part + ".bias", {8}));
    t.push_back(noise(b + "layernorm_" + part + ".weight", {8}));
  }
  return t;
}

inline const char* tiny_vit_config() {
  return R"({"architectures":["ViTForImageClassification"],"model_type":"vit","hidden_size":8,"num_hidden_layers":1,
             "num_attention_heads":2,"intermediate_size":16,"image_size":8,"patch_size":4,
             "id2label":{"0":"cat","1":"dog","2":"crow"}})";
}

/// The result failed with this code, and the message has all these parts.
template <typename R>
void expect_error(const R& result, ErrorCode code, std::initializer_list<const char*> parts) {
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(int(result.error().code), int(code)) << result.error().message;
  for (const char* part : parts) {
    EXPECT_NE(result.error().message.find(part), std::string::npos)
        << "'" << part << "' is not in: " << result.error().message;
  }
}

}  // namespace vireo::test
