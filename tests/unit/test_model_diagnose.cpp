// Models as people have them: files of other formats under any name, folders that lack something, links to nothing, the
// hub's cache. Every answer says what is there and what to do.
#include "model/diagnose.h"

#include <sys/wait.h>

#include <cmath>
#include <limits>

#include "model/checkpoint.h"
#include "model/hub_cache.h"
#include "model/json.h"
#include "model/model.h"
#include "test_model_rewrite.h"

namespace vireo {
namespace {

using test::cpu_answer;
using test::expect_error;
using test::same_bits;
using test::TempDir;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string zip_of(const std::vector<std::string>& members) {
  std::string text;
  for (const std::string& m : members)
    text += "PK\x03\x04" + std::string(22, '\0') + char(m.size()) + std::string(3, '\0') + m + std::string(40, 'x');
  return text;
}
std::string tar_of(const std::string& member) {
  std::string block = member;
  block.resize(257, '\0');
  block += std::string(
      "ustar\0"
      "00",
      8);
  block.resize(1024, '\0');
  return block;
}

struct Foreign {
  const char* name;
  std::string bytes;
  std::vector<const char*> said;
};

std::vector<Foreign> foreign_files() {
  const std::string rest(200, '\x5a');
  return {
      {"model.safetensors",
       "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1667696\n",
       {"Git LFS pointer", "git lfs pull"}},
      {"model.safetensors", "<!DOCTYPE html>\n<html><head><title>Sign in</title>" + rest, {"HTML page", "/resolve/"}},
      {"model.safetensors", "\n\n  <html lang=\"en\">" + rest, {"HTML page"}},
      {"model.safetensors",
       "{\"error\":\"Repository not found\"}",
       {"server's answer", "repository not found", "download it again"}},
      {"model.safetensors", "Entry not found", {"server's answer", "download it again"}},
      {"model.safetensors", "Access denied. Please log in.", {"server's answer"}},
      {"config.json", "{\"model_type\": \"vit\", \"hidden_size\": 8}", {"JSON text", "model's folder"}},
      {"pytorch_model.bin",
       zip_of({"archive/data.pkl", "archive/data/0"}),
       {"PyTorch checkpoint", "torch.load('pytorch_model.bin'", "save_file", "weights_only=True"}},
      {"model.safetensors",
       zip_of({"archive/data.pkl", "archive/data/0"}),
       {"PyTorch checkpoint", "torch.load('model.safetensors'"}},
      {"net.pt",
       zip_of({"net/data.pkl", "net/code/__torch__.py", "net/constants.pkl"}),
       {"TorchScript", "torch.jit.load('net.pt'"}},
      {"best.pth", std::string("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9", 9) + rest, {"pickle", "torch.load('best.pth'"}},
      {"last.ckpt", "what is this?" + rest, {"no safetensors file", "torch.load('last.ckpt'"}},
      {"m.onnx", std::string("\x08\x07\x12\x07pytorch", 11) + rest, {"ONNX", "export"}},
      {"model.safetensors", std::string("\x08\x07\x12\x07pytorch", 11) + rest, {"ONNX"}},
      {"model.safetensors", "GGUF" + std::string("\3\0\0\0", 4) + rest, {"GGUF"}},
      {"m.gguf", "GGUF" + rest, {"GGUF"}},
      {"m.tflite", std::string("\x1c\0\0\0TFL3", 8) + rest, {"TensorFlow Lite"}},
      {"model.safetensors", std::string("\x1c\0\0\0TFL3", 8) + rest, {"TensorFlow Lite"}},
      {"m.h5", "\x89HDF\r\n\x1a\n" + rest, {"HDF5"}},
      {"m.keras", zip_of({"metadata.json", "model.weights.h5"}), {"Keras"}},
      {"w.npz", zip_of({"pos_embed.npy"}), {"NumPy archive"}},
      {"w.npy", "\x93NUMPY\1" + rest, {"NumPy array"}},
      {"m.engine", "ftrt" + rest, {"TensorRT"}},
      {"m.plan", rest, {"TensorRT"}},
      {"m.param", "7767517\n75 83\nInput data 0 1 data", {"ncnn"}},
      {"m.mlmodel", std::string("\x08\x04\x12\x90\x02", 5) + rest, {"Core ML"}},
      {"m.xml", "<?xml version=\"1.0\"?>\n<net name=\"vit\" version=\"11\">", {"OpenVINO"}},
      {"m.pb", rest, {"TensorFlow graph"}},
      {"flax_model.msgpack", "\xde\x00\x10" + rest, {"Flax"}},
      {"m.tar", tar_of("model.safetensors"), {"tar archive", "unpack"}},
      {"m.tar.gz", "\x1f\x8b\x08" + rest, {"gzip", "unpack"}},
      {"m.zip", zip_of({"vit/config.json", "vit/model.safetensors"}), {"zip archive", "unpack"}},
      {"m.zst", "\x28\xb5\x2f\xfd" + rest, {"zstd"}},
      {"m.7z", "7z\xbc\xaf\x27\x1c" + rest, {"7z"}},
      {"cat.png", "\x89PNG\r\n\x1a\n" + rest, {"PNG picture", "--model"}},
      {"cat.jpg", "\xff\xd8\xff\xe0" + rest, {"JPEG picture"}},
      {"cat.webp", "RIFF\x10\x20\x30\x40WEBP" + rest, {"WebP picture"}},
      {"model.safetensors", std::string(8192, '\0'), {"zero bytes", "download it again"}},
      {"vireo",
       "\x7f"
       "ELF" +
           rest,
       {"program"}},
  };
}

TEST(Diagnose, FilesThatAreNoSafetensors) {
  for (const Foreign& f : foreign_files()) {
    SCOPED_TRACE(std::string(f.name) + " " + f.bytes.substr(0, 12));
    TempDir dir;
    const std::string file = dir.write(f.name, f.bytes);
    for (const std::string& path : {file, dir.path()}) {
      if (path != file && std::string(f.name) != "model.safetensors") continue;
      const auto model = Model::open(path);
      ASSERT_FALSE(model.ok());
      for (const char* part : f.said)
        EXPECT_TRUE(contains(model.error().message, part)) << part << " is not in: " << model.error().message;
      EXPECT_TRUE(contains(model.error().message, f.name)) << model.error().message;
      EXPECT_FALSE(contains(model.error().message, "header claims")) << model.error().message;
    }
  }
}

TEST(Diagnose, DamagedSafetensorsStayThemselves) {
  // What is a safetensors file, only cut short or damaged, is not called anything else.
  const std::string whole = test::safetensors(test::tiny_vit());
  TempDir dir;
  for (const size_t size : {size_t(7), size_t(20), whole.size() / 4, whole.size() - 1}) {
    dir.write("model.safetensors", whole.substr(0, size));
    expect_error(Model::open(dir.path()), ErrorCode::kCorrupt, {"not a usable safetensors file"});
  }
  // Lengths of headers that look like a pickle's, a gzip archive's and a bitmap's magic number.
  for (const size_t length : {size_t(0x0280), size_t(0x8b1f), size_t(0x4d42)}) {
    const std::string header = "{\"a\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[0,9]}}";
    dir.write("model.safetensors", test::raw_safetensors(header + std::string(length - header.size(), ' '), "cut"));
    expect_error(Model::open(dir.path()), ErrorCode::kCorrupt, {"not a usable safetensors file", "'a'"});
  }
}

TEST(Diagnose, EveryBeginningIsSafe) {
  // Files of a few bytes: no magic is looked for behind the end.
  for (const Foreign& f : foreign_files()) {
    for (size_t n = 0; n <= std::min<size_t>(f.bytes.size(), 600); ++n) {
      const std::vector<uint8_t> exact(f.bytes.begin(),
                                       f.bytes.begin() + long(n));  // the sanitizers know where it ends
      (void)describe_bytes(exact.data(), exact.size(), f.name);
    }
  }
}

struct Folder {
  std::vector<std::pair<const char*, std::string>> files;
  std::vector<const char*> said;
};

TEST(Diagnose, FoldersWithoutWeights) {
  const std::string config = test::tiny_vit_config(), weights = test::safetensors(test::tiny_vit());
  const Folder folders[] = {
      {{}, {"model.safetensors", "empty"}},
      {{{"config.json", config}}, {"only a config.json", "download the weights", "--config"}},
      {{{"config.json", config}, {"pytorch_model.bin", "PK"}},
       {"'pytorch_model.bin'", "convert them to safetensors", "torch.load('pytorch_model.bin'"}},
      {{{"config.json", config}, {"best.pth", "x"}}, {"'best.pth'", "torch.load('best.pth'"}},
      {{{"config.json", config},
        {"pytorch_model-00001-of-00002.bin", "x"},
        {"pytorch_model-00002-of-00002.bin", "x"},
        {"pytorch_model.bin.index.json", "{}"}},
       {"'pytorch_model-00001-of-00002.bin'", "convert"}},
      {{{"config.json", config}, {"training_args.bin", "x"}}, {"only a config.json"}},
      {{{"config.json", config}, {"model.onnx", "x"}}, {"'model.onnx'", "ONNX"}},
      {{{"config.json", config}, {"tf_model.h5", "x"}}, {"'tf_model.h5'", "Keras or TensorFlow"}},
      {{{"config.json", config}, {"flax_model.msgpack", "x"}}, {"Flax"}},
      {{{"vit.param", "7767517"}, {"vit.bin", "x"}}, {"'vit.param'", "ncnn"}},
      {{{"config.json", config}, {"model.safetensors.incomplete", "x"}},
       {"'model.safetensors.incomplete'", "did not end"}},
      {{{"adapter_config.json", R"({"peft_type":"LORA"})"}, {"adapter_model.safetensors", weights}},
       {"adapter", "merge", "peft"}},
      {{{"config.json", config}, {"adapter_config.json", R"({"peft_type":"LORA"})"}}, {"adapter", "merge"}},
      {{{"model-00001-of-00002.safetensors", weights}, {"model-00002-of-00002.safetensors", weights}},
       {"2 .safetensors files", "index is missing"}},
      {{{"a.safetensors", weights}, {"b.safetensors", weights}}, {"2 .safetensors files", "name one of the files"}},
      {{{"model.safetensors.index.json",
         R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors","c":"3.safetensors"}})"},
        {"1.safetensors", weights}},
       {"2.safetensors", "missing", "1 more of its 3 shards"}},
      {{{"model.safetensors.index.json", "<!DOCTYPE html>"}}, {"index.json", "HTML page"}},
  };
  for (const Folder& folder : folders) {
    TempDir dir;
    std::string all;
    for (const auto& [name, bytes] : folder.files) dir.write(name, bytes), all += std::string(name) + " ";
    SCOPED_TRACE(all);
    const auto model = Model::open(dir.path());
    ASSERT_FALSE(model.ok());
    for (const char* part : folder.said)
      EXPECT_TRUE(contains(model.error().message, part)) << part << " is not in: " << model.error().message;
  }
}

TEST(Diagnose, ModelsInside) {
  TempDir dir;
  for (const std::string& path : {dir.folder("vit.mlpackage"), dir / "vit.mlpackage/"}) {
    expect_error(Model::open(path), ErrorCode::kUnsupported, {"vit.mlpackage'", "Core ML"});
  }
  ::rmdir((dir / "vit.mlpackage").c_str());
  dir.folder("vit-a");
  dir.folder("notes");
  dir.write("vit-a/model.safetensors", "x");
  expect_error(Model::open(dir.path()), ErrorCode::kNotFound, {"'vit-a' in it", "/vit-a'"});
}

TEST(Diagnose, NamesOfTheHub) {
  expect_error(Model::open("google/vit-base-patch16-224"), ErrorCode::kNotFound,
               {"does not exist", "hf download google/vit-base-patch16-224"});
  const auto other = Model::open("/nowhere/vit");
  ASSERT_FALSE(other.ok());
  EXPECT_FALSE(contains(other.error().message, "hf download")) << other.error().message;
}

TEST(Diagnose, LinksToNothing) {
  TempDir dir;
  ASSERT_EQ(::symlink("../../blobs/00ff", (dir / "model.safetensors").c_str()), 0);
  for (const std::string& path : {dir.path(), dir / "model.safetensors"}) {
    expect_error(Model::open(path), ErrorCode::kNotFound, {"a link to '../../blobs/00ff', which does not exist"});
  }
  ::unlink((dir / "model.safetensors").c_str());
  dir.write("model.safetensors", test::safetensors(test::tiny_vit()));
  for (const char* name : {"config.json", "preprocessor_config.json", "processor_config.json"}) {
    ASSERT_EQ(::symlink("gone", (dir / name).c_str()), 0);
    expect_error(Model::open(dir.path()), ErrorCode::kNotFound, {name, "a link to 'gone'"});
    ::unlink((dir / name).c_str());
    dir.write(name, std::string(name) == "config.json"             ? test::tiny_vit_config()
                    : std::string(name) == "processor_config.json" ? "{}"
                                                                   : R"({"size":8})");
  }
  EXPECT_TRUE(Model::open(dir.path()).ok());
  ::unlink((dir / "model.safetensors").c_str());
  dir.write("model.safetensors.index.json", R"({"weight_map":{"a":"1.safetensors"}})");
  ASSERT_EQ(::symlink("blob", (dir / "1.safetensors").c_str()), 0);
  expect_error(Model::open(dir.path()), ErrorCode::kNotFound, {"1.safetensors", "a link to 'blob'"});
}

TEST(Diagnose, ConfigurationsThatAreOtherFiles) {
  TempDir dir;
  dir.write("model.safetensors", test::safetensors(test::tiny_vit()));
  for (const char* name : {"config.json", "preprocessor_config.json", "processor_config.json"}) {
    dir.write("config.json", test::tiny_vit_config());
    dir.write(name, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    expect_error(Model::open(dir.path()), ErrorCode::kCorrupt, {name, "Git LFS pointer"});
    dir.write(name, "<html><body>404</body></html>");
    expect_error(Model::open(dir.path()), ErrorCode::kCorrupt, {name, "HTML page"});
    ::unlink((dir / name).c_str());
  }
}

TEST(Diagnose, UnmergedAdapters) {
  // peft's model saved as it is: the base's weights and the changes to them side by side.
  std::vector<test::TestTensor> t;
  for (test::TestTensor tensor : test::tiny_vit()) {
    tensor.name = "base_model.model." + tensor.name;
    t.push_back(std::move(tensor));
  }
  t.push_back(
      test::noise("base_model.model.vit.encoder.layer.0.attention.attention.query.lora_A.default.weight", {2, 8}));
  t.push_back(
      test::noise("base_model.model.vit.encoder.layer.0.attention.attention.query.lora_B.default.weight", {8, 2}));
  TempDir dir;
  dir.write("model.safetensors", test::safetensors(t));
  dir.write("config.json", test::tiny_vit_config());
  expect_error(Model::open(dir.path()), ErrorCode::kUnsupported, {"adapter", "merge"});
}

// ---- the hub's cache

class HubCache : public ::testing::Test {
 protected:
  HubCache() {
    for (const char* f : {"m", "m/snapshots", "m/refs", "m/blobs"}) dir_.folder(f);
    dir_.write("m/blobs/w", test::safetensors(test::tiny_vit()));
  }
  void snapshot(const std::string& name) {
    const std::string at = "m/snapshots/" + name;
    dir_.folder(at);
    dir_.write(at + "/config.json", test::tiny_vit_config());
    dir_.write(at + "/preprocessor_config.json", R"({"size":8})");
    EXPECT_EQ(::symlink("../../blobs/w", (dir_ / (at + "/model.safetensors")).c_str()), 0);
  }
  std::string root() const { return dir_ / "m"; }
  TempDir dir_;
};

TEST_F(HubCache, FollowsMain) {
  snapshot("0123");
  snapshot("4567");
  for (const char* ref : {"4567", "4567\n", "4567\r\n"}) {
    dir_.write("m/refs/main", ref);
    EXPECT_EQ(*resolve_hub_cache(root()), root() + "/snapshots/4567");
  }
  EXPECT_TRUE(same_bits(cpu_answer(root()), cpu_answer(root() + "/snapshots/4567")));
  EXPECT_TRUE(same_bits(cpu_answer(root() + "/"), cpu_answer(root())));
  EXPECT_TRUE(Model::random(root(), 1).ok());
  dir_.write("m/refs/main", "89ab");
  expect_error(Model::open(root()), ErrorCode::kNotFound, {"'89ab'", "'0123' is"});
  for (const char* ref : {"", "..", "../../x", "a/b", "."}) {
    dir_.write("m/refs/main", ref);
    EXPECT_FALSE(Model::open(root()).ok()) << ref;
  }
}

TEST_F(HubCache, WithoutMain) {
  expect_error(Model::open(root()), ErrorCode::kNotFound, {"without a snapshot"});
  snapshot("0123");
  EXPECT_EQ(*resolve_hub_cache(root()), root() + "/snapshots/0123");
  EXPECT_TRUE(Model::open(root()).ok());
  snapshot("4567");
  expect_error(Model::open(root()), ErrorCode::kNotFound, {"2 snapshots", "/snapshots/0123'"});
  expect_error(Model::open(root() + "/snapshots"), ErrorCode::kNotFound, {"'0123', '4567' in it"});
  expect_error(Model::open(dir_.path()), ErrorCode::kNotFound, {"'m' in it"});
}

TEST_F(HubCache, ABlobThatIsGone) {
  snapshot("0123");
  ::unlink((dir_ / "m/blobs/w").c_str());
  expect_error(Model::open(root()), ErrorCode::kNotFound,
               {"snapshots/0123/model.safetensors", "../../blobs/w", "does not exist"});
}

TEST_F(HubCache, LinksThatWereCopiedAsText) {
  snapshot("0123");
  const std::vector<float> answer = cpu_answer(root());
  const std::string at = "m/snapshots/0123/";
  for (const char* end : {"", "\n"}) {
    ::unlink((dir_ / (at + "model.safetensors")).c_str());
    dir_.write("m/blobs/00ff", test::safetensors(test::tiny_vit()));
    dir_.write("m/blobs/01ff", test::tiny_vit_config());
    dir_.write(at + "model.safetensors", std::string("../../blobs/00ff") + end);
    dir_.write(at + "config.json", std::string("../../blobs/01ff") + end);
    EXPECT_TRUE(same_bits(cpu_answer(root()), answer));
  }
  for (const char* name : {"model.safetensors", "config.json"}) {
    dir_.write(at + name, "../../blobs/77");
    const auto model = Model::open(root());
    ASSERT_FALSE(model.ok());
    EXPECT_TRUE(contains(model.error().message, name) && contains(model.error().message, "did not come along"))
        << model.error().message;
    dir_.write(at + name, name[0] == 'm' ? "../../blobs/00ff" : "../../blobs/01ff");
  }
  // Nothing but a blob is followed.
  dir_.write("m/secret", test::safetensors(test::tiny_vit()));
  dir_.write(at + "model.safetensors", "../../blobs/../secret");
  EXPECT_FALSE(Model::open(root()).ok());
}

TEST_F(HubCache, AModelsOwnFolderIsNone) {
  dir_.write("m/model.safetensors", test::safetensors(test::tiny_vit()));
  EXPECT_EQ(*resolve_hub_cache(root()), root());
}

// ---- processor_config.json

TEST(ProcessorConfig, HoldsThePreprocessor) {
  const std::string weights = test::safetensors(test::tiny_vit());
  const auto open = [&](const TempDir& dir) {
    dir.write("model.safetensors", weights);
    dir.write("config.json", test::tiny_vit_config());
    return LoadedModel::open(dir.path());
  };
  const std::string mine =
      R"({"image_processor_type":"ViTImageProcessor","size":{"height":8,"width":8},"image_mean":[0.1,0.2,0.3],"resample":3})";
  TempDir a, b, both, same, other;
  a.write("preprocessor_config.json", mine);
  b.write("processor_config.json", R"({"processor_class":"X","image_processor":)" + mine + "}");
  const auto plain = open(a), nested = open(b);
  ASSERT_TRUE(plain.ok() && nested.ok()) << nested.error().message;
  EXPECT_EQ(nested->preprocess().mean, (std::array<double, 3>{{0.1, 0.2, 0.3}}));
  EXPECT_EQ(nested->preprocess().mean, plain->preprocess().mean);
  EXPECT_EQ(int(nested->preprocess().filter), int(plain->preprocess().filter));
  EXPECT_TRUE(nested->warnings().empty());
  // Both: the nested one counts, as in Transformers v5, and a difference is said.
  both.write("preprocessor_config.json", R"({"size":8})");
  both.write("processor_config.json", R"({"image_processor":)" + mine + "}");
  const auto v5 = open(both);
  ASSERT_TRUE(v5.ok()) << v5.error().message;
  EXPECT_EQ(v5->preprocess().mean[0], 0.1);
  ASSERT_EQ(v5->warnings().size(), 1u);
  EXPECT_TRUE(contains(v5->warnings()[0], "processor_config.json differ")) << v5->warnings()[0];
  same.write("preprocessor_config.json", mine);
  same.write("processor_config.json", R"({"image_processor":)" + mine + "}");
  EXPECT_TRUE(open(same)->warnings().empty());
  // A processor without pictures leaves the other file alone.
  other.write("preprocessor_config.json", mine);
  other.write("processor_config.json", R"({"processor_class":"X"})");
  EXPECT_EQ(open(other)->preprocess().mean[0], 0.1);
  other.write("processor_config.json", R"({"image_processor":7})");
  expect_error(open(other), ErrorCode::kCorrupt, {"processor_config.json", "image_processor", "7"});
}

// ---- F64

TEST(F64, IsRoundedToFp32) {
  // Ties to even, the largest float, denormals: as PyTorch's .float() and a C cast give them.
  const std::vector<double> values = {0.1,
                                      -1.0 / 3,
                                      1 + std::ldexp(1.0, -24),
                                      1 + std::ldexp(3.0, -24),
                                      3.4028235677973362e38,
                                      -3.4028234663852886e38,
                                      1e-45,
                                      5e-324,
                                      -0.0,
                                      1e-40};
  const std::vector<float> rounded = {0.1f,          float(-1.0 / 3), 1.f,      1.f + std::ldexp(1.f, -22),
                                      3.4028235e38f, -3.4028235e38f,  1.4e-45f, 0.f,
                                      -0.f,          1e-40f};
  test::TestTensor t{"w", "F64", {2, 5}, std::string(reinterpret_cast<const char*>(values.data()), 80)};
  const std::string file = test::safetensors({{"odd", "U8", {3}, "abc"}, t});  // the doubles are not aligned
  const auto w = Checkpoint::from_memory(reinterpret_cast<const uint8_t*>(file.data()), file.size(), "t");
  ASSERT_TRUE(w.ok()) << w.error().message;
  const auto constant = (*w)->constant("w", {2, 5}, "test", 0, 2, 5);
  ASSERT_TRUE(constant.ok()) << constant.error().message;
  EXPECT_TRUE(same_bits((*constant)->read_all(), rounded));
  const auto row = (*w)->constant("w", {2, 5}, "test", 1, 1, 5);
  EXPECT_EQ((*row)->read_all()[0], rounded[5]);
}

TEST(F64, BeyondFp32IsRefused) {
  const auto holds = [](double value) {
    std::vector<double> values(2000, 0.5);
    values[1234] = value;
    const std::string file = test::safetensors(
        {{"w", "F64", {4, 500}, std::string(reinterpret_cast<const char*>(values.data()), values.size() * 8)}});
    const auto w = Checkpoint::from_memory(reinterpret_cast<const uint8_t*>(file.data()), file.size(), "t");
    return (*w)->constant("w", {4, 500}, "test", 0, 4, 500);
  };
  EXPECT_TRUE(holds(3.4028235677973362e38).ok());
  expect_error(holds(3.4028235677973366e38), ErrorCode::kCorrupt, {"'w'", "beyond what fp32 holds", "[2, 234]"});
  expect_error(holds(-1e300), ErrorCode::kCorrupt, {"-1e+300, beyond what fp32 holds"});
  expect_error(holds(NAN), ErrorCode::kCorrupt, {"NaN"});
  expect_error(holds(-INFINITY), ErrorCode::kCorrupt, {"an infinite value"});
}

TEST(F64, GivesTheSameAnswer) {
  // Every family's weights, widened: the same floats, so the same bits.
  for (const std::string& name : test::golden_cases()) {
    SCOPED_TRACE(name);
    TempDir dir;
    test::copy_renamed(test::golden_case(name), dir, [](const std::string& n) { return n; });
    for (const std::string& file : test::names_in(dir.path())) {
      if (contains(file, ".json") || !contains(file, ".safetensors")) continue;
      const std::string bytes = test::file_bytes(dir / file);
      std::vector<test::TestTensor> wide;
      const auto views = parse_safetensors(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), file);
      ASSERT_TRUE(views.ok()) << views.error().message;
      for (const TensorView& v : *views) {
        test::TestTensor t{v.name, v.dtype, v.shape, std::string(reinterpret_cast<const char*>(v.data), v.bytes)};
        if (is_weight_dtype(v.dtype)) {
          std::vector<double> values;
          const ConstantPtr all = tensor_constant(v, nullptr, 0, 1, v.elements());
          for (float f : all->read_all()) values.push_back(double(f));
          t.dtype = "F64";
          t.bytes.assign(reinterpret_cast<const char*>(values.data()), values.size() * 8);
        }
        wide.push_back(std::move(t));
      }
      dir.write(file, test::safetensors(wide));
    }
    EXPECT_TRUE(same_bits(cpu_answer(dir.path()), cpu_answer(test::golden_case(name))));
  }
}

// ---- what a text may cost

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define VIREO_SANITIZED 1
#elif defined(__clang__)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define VIREO_SANITIZED 1
#endif
#endif
#ifdef VIREO_SANITIZED
constexpr bool kSanitized = true;  // a sanitizer's memory is not ours
#else
constexpr bool kSanitized = false;
#endif

/// The most memory that f() adds to a process of its own, in MiB; -1 when it failed.
template <typename F>
long peak_mib(const F& f) {
  int ends[2];
  if (::pipe(ends) != 0) return -1;
  const pid_t child = ::fork();
  if (child == 0) {
    const auto peak = [] {
      std::ifstream in("/proc/self/status");
      for (std::string line; std::getline(in, line);) {
        if (line.rfind("VmHWM:", 0) == 0) return std::atol(line.c_str() + 6) / 1024;
      }
      return 0l;
    };
    std::ofstream("/proc/self/clear_refs") << "5";  // the peak starts from here
    const long before = peak();
    f();
    const long mib = peak() - before;
    (void)!::write(ends[1], &mib, sizeof mib);
    ::_exit(0);
  }
  ::close(ends[1]);
  long mib = -1;
  if (::read(ends[0], &mib, sizeof mib) != long(sizeof mib)) mib = -1;
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? mib : -1;
}

std::string repeated(const std::string& unit, size_t bytes) {
  std::string text;
  text.reserve(bytes + unit.size());
  while (text.size() < bytes) text += unit;
  return text;
}

TEST(JsonBounds, DepthAndNumber) {
  EXPECT_TRUE(parse_json("{\"a\":" + repeated("[", 60) + repeated("]", 60) + "}").is_object());
  for (const std::string& bomb :
       {repeated("[", 3'000'000), "{\"a\":" + repeated("[", 1'000'000) + repeated("]", 1'000'000) + "}",
        repeated("{\"a\":", 3'000'000)}) {
    expect_error(parse_json_object(bomb, "config.json"), ErrorCode::kCorrupt, {"config.json", "64 deep"});
  }
  expect_error(parse_json_object("{\"x\":[" + repeated("[],", 3'000'000) + "[]]}", "config.json"), ErrorCode::kCorrupt,
               {"config.json", "262,144 values"});
  expect_error(parse_json_object("{\"x\":", "config.json"), ErrorCode::kCorrupt, {"config.json", "not valid JSON"});
  // 21,841 labels in both directions, as ImageNet-21k has.
  std::string labels = "{\"id2label\":{", ids = "},\"label2id\":{";
  for (int i = 0; i < 21841; ++i) {
    labels += (i ? ",\"" : "\"") + std::to_string(i) + "\":\"some class of things, and another name " +
              std::to_string(i) + "\"";
    ids +=
        (i ? "," : "") + ("\"some class of things, and another name " + std::to_string(i)) + "\":" + std::to_string(i);
  }
  const std::string real = labels + ids + "}}";
  EXPECT_LT(real.size(), kMaxConfigBytes);
  EXPECT_TRUE(parse_json(real).is_object());
}

TEST(JsonBounds, AConfigurationCostsLittle) {
  TempDir dir;
  dir.write("model.safetensors", test::safetensors(test::tiny_vit()));
  const std::string config = test::tiny_vit_config(), open = config.substr(0, config.rfind('}')) + ",\"x\":[";
  dir.write("config.json", open + repeated("[],", 6 << 20) + "[]]}");
  expect_error(Model::open(dir.path()), ErrorCode::kCorrupt, {"config.json", "expected at most 4194304"});
  // The dearest texts that are let through.
  const std::string texts[] = {repeated("[],", 3 * 250'000) + "[]]}", repeated("{\"a\":0},", 8 * 120'000) + "{}]}",
                               repeated("\"01234567890123\",", 4'100'000) + "0]}"};
  for (const std::string& text : texts) {
    dir.write("config.json", open + text);
    ASSERT_TRUE(Model::open(dir.path()).ok());
    if (kSanitized) continue;
    const long mib = peak_mib([&] { (void)LoadedModel::open(dir.path()); });
    ASSERT_GE(mib, 0);
    EXPECT_LE(mib, 80) << text.substr(0, 20);
  }
}

TEST(JsonBounds, AHeaderCostsLittle) {
  // Many tensors, and much metadata that nobody asked for.
  std::string tensors = "{";
  for (int i = 0; i < 140'000; ++i)
    tensors += (i ? ",\"" : "\"") + std::to_string(i) + "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}";
  const std::string many = test::raw_safetensors(tensors + "}", "");
  expect_error(Checkpoint::from_memory(reinterpret_cast<const uint8_t*>(many.data()), many.size(), "m"),
               ErrorCode::kCorrupt, {"131,072 tensors"});
  std::string metadata = "{\"__metadata__\":{\"a\":\"\"";
  for (int i = 0; i < 2'000'000; ++i) metadata += ",\"" + std::to_string(i) + "\":\"\"";
  const std::string big = test::raw_safetensors(metadata + "}}", "");
  for (const std::string* file : {&many, &big}) {
    if (kSanitized) GTEST_SKIP() << "memory is not measured under a sanitizer";
    const long mib =
        peak_mib([&] { (void)parse_safetensors(reinterpret_cast<const uint8_t*>(file->data()), file->size(), "m"); });
    ASSERT_GE(mib, 0);
    EXPECT_LE(mib, file == &many ? 100 : 10);
  }
}

}  // namespace
}  // namespace vireo
