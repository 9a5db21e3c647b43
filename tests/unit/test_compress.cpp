// vireo::Compressor on the small networks of tests/golden/cases: what is written is what is read, to the bit.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/json.h"
#include "compress/encode.h"
#include "compress/sensitivity.h"
#include "runtime/model_impl.h"
#include "test_model_family.h"

#include <vireo/compress.hpp>

namespace vireo {
namespace {

using test::TempDir;

const std::string kCases = std::string(VIREO_TEST_DATA) + "/cases/";

Model open_case(const std::string& name) {
  auto m = Model::open(kCases + name);
  EXPECT_TRUE(m.ok()) << m.error().message;
  return *m;
}

/// Pictures of smooth shapes, all different.
struct Picture {
  int width = 50, height = 50;  // what the case takes that does not resize
  std::vector<uint8_t> rgb;
  explicit Picture(int number) {
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x)
        for (int c = 0; c < 3; ++c)
          rgb.push_back(uint8_t(127.5 + 100 * std::sin(0.1 * (x * (1 + number % 3) + y * (c + 1)) + number)));
  }
  Image image() const { return {rgb.data(), width, height, 0}; }
};

Result<CompressReport> compress_into(const std::string& folder, const Model& model, CompressOptions o, int pictures) {
  VIREO_ASSIGN(Compressor c, Compressor::create(model, o));
  for (int i = 0; i < pictures; ++i) VIREO_TRY(c.add(Picture(i).image()));
  return c.write(folder);
}

CompressOptions recipe(const std::string& name, bool sensitivity = false) {
  CompressOptions o;
  o.recipe = name, o.sensitivity = sensitivity, o.threads = 2;
  return o;
}

template <typename T>
void expect_says(const Result<T>& r, const std::string& what) {
  ASSERT_FALSE(r.ok()) << "expected: " << what;
  EXPECT_NE(r.error().message.find(what), std::string::npos) << r.error().message;
}

TEST(Compress, WhatIsEncodedIsReadToTheBit) {
  ThreadPool pool(1);
  for (const char* format : {"i8", "i8g16", "i7", "i6g32", "i5", "i4", "i4g32", "i4g16", "i3", "i3g32", "i2g16"})
    for (const std::vector<int64_t>& shape : {std::vector<int64_t>{6, 96}, std::vector<int64_t>{6, 3, 4, 8}}) {
      Format f;
      ASSERT_TRUE(parse_format(format, &f));
      compress::Layer l;
      l.tensor = "a.b.weight", l.module = "a.b", l.shape = shape, l.rows = 6, l.cols = 96;
      std::vector<float> w(6 * 96);
      for (size_t i = 0; i < w.size(); ++i) w[i] = float(std::sin(double(i * i)));
      auto coded = compress::kRtn.run({w.data(), 6, 96, nullptr}, f.grid, pool);
      ASSERT_TRUE(coded.ok());
      coded->codes[5] = int8_t(compress::least_code(f.grid));
      const auto stored = compress::encode(l, *coded);
      std::vector<TensorView> views;
      for (const auto& t : stored) views.push_back(t.view());
      const auto plain = Checkpoint::from_views(views, nullptr, "file");
      ASSERT_TRUE(plain.ok()) << plain.error().message;
      const std::string group = f.grid.scope == Scope::kGroup
                                    ? R"("strategy":"group","group_size":)" + std::to_string(f.grid.group)
                                    : R"("strategy":"channel")";
      const auto said = parse_compression(
          R"({"quantization_config":{"config_groups":{"g":{"targets":["a.b"],"weights":{"num_bits":)" +
              std::to_string(f.grid.bits) + "," + group + "}}}}}",
          "config.json");
      ASSERT_TRUE(said.ok()) << said.error().message;
      const auto weights = (*plain)->with_compression(*said);
      ASSERT_TRUE(weights.ok()) << weights.error().message;
      const auto c = (*weights)->constant("a.b.weight", shape, "a test", 0, 6, 96);
      ASSERT_TRUE(c.ok()) << format << ": " << c.error().message;
      const int64_t groups = (*c)->grid().groups(96);
      std::vector<int8_t> codes(6 * 96), zeros(size_t(6 * groups));
      std::vector<float> scales(size_t(6 * groups));
      (*c)->read_codes(0, 6, codes.data(), scales.data(), zeros.data());
      EXPECT_EQ(codes, coded->codes) << format;
      EXPECT_EQ(scales, coded->scales) << format;
    }
}

/// Fused qkv (timm), query, key and value apart (Hugging Face), parts of a tensor (Swin), convolutions, a dense head, a
/// model without classes.
TEST(Compress, EveryFamilyOpensAgain) {
  for (const char* name : {"hf-vit", "timm-vit", "hf-deit-distilled", "hf-swin", "timm-swinv2", "hf-mobilevit",
                           "hf-upernet-swin", "hf-vitmodel-embed", "hf-dinov2-interpolated", "tv-swin"})
    for (const char* which : {"w8", "w4g32", "w8a8", "w8a8static"}) {
      const TempDir out;
      const Model model = open_case(name);
      const auto report = compress_into(out.path(), model, recipe(which), 8);
      ASSERT_TRUE(report.ok()) << name << ": " << report.error().message;
      ASSERT_FALSE(report->layers.empty()) << name;
      EXPECT_LT(report->bytes_after, report->bytes_before) << name;
      const auto again = Model::open(out.path());
      ASSERT_TRUE(again.ok()) << name << " by " << which << ": " << again.error().message;
      EXPECT_EQ(again->precision(), Precision::kCheckpoint) << name;
      EXPECT_EQ(again->architecture(), model.architecture()) << name;
      EXPECT_EQ(again->classes(), model.classes()) << name;
      EXPECT_EQ(again->label(0), model.label(0)) << name;
      EXPECT_EQ(again->input_width(), model.input_width()) << name;
      // Every layer is there by the name that the input has for it, once.
      std::set<std::string> before, after;
      for (const auto& [canonical, view] : model.impl().loaded.source().weights->tensors()) before.insert(view.name);
      for (const auto& [canonical, view] : again->impl().loaded.source().weights->tensors()) after.insert(view.name);
      EXPECT_EQ(before, after) << name;
      std::set<std::string> layers;
      for (const CompressedLayer& l : report->layers) {
        EXPECT_TRUE(layers.insert(l.tensor).second) << l.tensor;
        EXPECT_EQ(before.count(l.tensor), 1u) << l.tensor;
        EXPECT_GE(l.error, 0) << l.tensor;
        EXPECT_LT(l.error, std::string(which) == "w4g32" ? 0.05 : 1e-3) << name << ": " << l.tensor;
      }
      SessionOptions o;
      o.head = model.classes() > 0 ? Head::kLogits : Head::kFeatures;
      const auto session = Session::create(*again, Device::cpu(1), o);
      EXPECT_TRUE(session.ok()) << name << ": " << session.error().message;
    }
}

TEST(Compress, TheSameAgainGivesTheSameBytes) {
  const TempDir a, b;
  CompressOptions one = recipe("w4g32"), other = recipe("w4g32");
  one.threads = 1, other.threads = 3;
  ASSERT_TRUE(compress_into(a.path(), open_case("hf-vit"), one, 9).ok());
  ASSERT_TRUE(compress_into(b.path(), open_case("hf-vit"), other, 9).ok());
  for (const char* file : {"/model.safetensors", "/config.json", "/preprocessor_config.json"}) {
    EXPECT_FALSE(family_test::read_file(a.path() + file).empty()) << file;
    EXPECT_EQ(family_test::read_file(a.path() + file), family_test::read_file(b.path() + file)) << file;
  }
}

TEST(Compress, SensitivityIsTheDivergenceOfThatLayerAlone) {
  const TempDir whole, only;
  const auto report = compress_into(whole.path(), open_case("hf-vit"), recipe("w4g32", true), 8);
  ASSERT_TRUE(report.ok()) << report.error().message;
  for (const CompressedLayer& l : report->layers) EXPECT_GE(l.kl, 0) << l.tensor;
  // The same layer alone, by a policy, held against the original by sessions.
  const CompressedLayer* worst = &report->layers[0];
  for (const CompressedLayer& l : report->layers)
    if (l.kl > worst->kl && l.node.find("qkv") == std::string::npos) worst = &l;
  CompressOptions o;
  o.policy = worst->tensor + " " + worst->format + "\n";
  o.sensitivity = false;
  const auto alone = compress_into(only.path(), open_case("hf-vit"), o, 8);
  ASSERT_TRUE(alone.ok()) << alone.error().message;
  ASSERT_EQ(alone->layers.size(), 1u);
  EXPECT_EQ(alone->layers[0].tensor, worst->tensor);
  const auto changed = Model::open(only.path());
  ASSERT_TRUE(changed.ok());
  SessionOptions fp32;
  fp32.precision = Precision::kFp32;
  auto first = Session::create(open_case("hf-vit"), Device::cpu(1), fp32);
  auto second = Session::create(*changed, Device::cpu(1), fp32);
  ASSERT_TRUE(first.ok() && second.ok());
  double kl = 0;
  for (int i = 0; i < 8; ++i) {
    const Picture p(i);
    const auto x = first->run(p.image()), y = second->run(p.image());
    ASSERT_TRUE(x.ok() && y.ok());
    double sx = 0, sy = 0;
    for (int k = 0; k < x->cols; ++k) sx += std::exp(double(x->data[k])), sy += std::exp(double(y->data[k]));
    for (int k = 0; k < x->cols; ++k) {
      const double q = std::exp(double(x->data[k])) / sx;
      kl += q * (std::log(q) - std::log(std::exp(double(y->data[k])) / sy)) / 8;
    }
  }
  EXPECT_NEAR(worst->kl, kl, 1e-3 * kl + 1e-9);
}

TEST(Compress, ConfigurationSaysWhatOtherReadersNeed) {
  const TempDir out;
  const auto report = compress_into(out.path(), open_case("hf-vit"), recipe("w4a8"), 8);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_TRUE(report->activations);
  const auto json = OrderedJson::parse(family_test::read_file(out.path() + "/config.json"), nullptr, false);
  ASSERT_TRUE(json.is_object());
  EXPECT_EQ(json["model_type"], "vit");
  const auto& q = json["quantization_config"];
  EXPECT_EQ(q["quant_method"], "compressed-tensors");
  EXPECT_EQ(q["quantization_status"], "compressed");
  EXPECT_EQ(q["format"], "mixed-precision");
  size_t modules = 0;
  for (const auto& [name, group] : q["config_groups"].items()) {
    modules += group["targets"].size();
    const bool four = group["weights"]["num_bits"] == 4;
    EXPECT_EQ(group["format"], four ? "pack-quantized" : "int-quantized") << name;
    EXPECT_EQ(group["weights"]["strategy"], four ? "group" : "channel") << name;
    EXPECT_EQ(group["weights"]["symmetric"], true) << name;
    // The patch embedding is a convolution: it has no rows of tokens to quantise.
    if (group["targets"][0].get<std::string>().find("patch_embeddings") != std::string::npos) {
      EXPECT_TRUE(group["input_activations"].is_null()) << name;
    } else {
      EXPECT_EQ(group["input_activations"]["dynamic"], true) << name;
      EXPECT_EQ(group["input_activations"]["strategy"], "token") << name;
      EXPECT_EQ(group["input_activations"]["num_bits"], 8) << name;
    }
  }
  EXPECT_EQ(modules, report->layers.size());
}

TEST(Compress, AMethodIsOfTheLinearsWithinTheNetwork) {
  const TempDir out;
  CompressOptions o = recipe("w4g32");
  o.method = "rtn";
  const auto plain = compress_into(out.path(), open_case("hf-vit"), o, 0);
  ASSERT_TRUE(plain.ok()) << plain.error().message;
  EXPECT_EQ(plain->pictures, 0u);
  for (const CompressedLayer& l : plain->layers) EXPECT_EQ(l.method, "rtn") << l.tensor;
  o.method = "search";
  const auto searched = compress_into(out.path(), open_case("hf-vit"), o, 8);
  ASSERT_TRUE(searched.ok()) << searched.error().message;
  for (const CompressedLayer& l : searched->layers)
    EXPECT_EQ(l.method, l.kind == "linear" ? "search" : "rtn") << l.tensor;
}

TEST(Compress, StaticRowsAreWhatThePicturesGave) {
  const TempDir out, mixed;
  const Model m = open_case("hf-vit");
  ASSERT_TRUE(compress_into(out.path(), m, recipe("w8a8static"), 8).ok());
  const std::string bytes = family_test::read_file(out.path() + "/model.safetensors");
  const auto views = parse_safetensors(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), "out");
  ASSERT_TRUE(views.ok());
  const auto number = [&](const std::string& name) {
    for (const TensorView& v : *views) {
      if (v.name != name) continue;
      if (v.dtype == "I8") return double(*reinterpret_cast<const int8_t*>(v.data));
      float x = 0;
      std::memcpy(&x, v.data, sizeof x);
      return double(x);
    }
    ADD_FAILURE() << "no tensor " << name;
    return 0.0;
  };
  // The range of what fc1 is given, from a session of the runtime.
  SessionOptions keep;
  keep.keep_all = true, keep.precision = Precision::kFp32;
  ::setenv("VIREO_NO_FUSE", "1", 1);
  auto session = Session::create(m, Device::cpu(1), keep);
  ::unsetenv("VIREO_NO_FUSE");
  ASSERT_TRUE(session.ok()) << session.error().message;
  float least = 0, most = 0;
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(session->run(Picture(i).image()).ok());
    int64_t shape[4];
    const auto x = session->value("blocks.0.norm2", shape);
    ASSERT_TRUE(x.ok()) << x.error().message;
    for (const float v : *x) least = std::min(least, v), most = std::max(most, v);
  }
  const std::string module = "vit.encoder.layer.0.intermediate.dense";
  const double scale = (double(most) - double(least)) / 255;
  EXPECT_NEAR(number(module + ".input_scale"), scale, 1e-6 * scale);
  EXPECT_EQ(number(module + ".input_zero_point"), std::nearbyint(-128 - double(least) / scale));
  const std::string attention = "vit.encoder.layer.1.attention.attention.";
  for (const char* q : {"key", "value"})
    EXPECT_EQ(number(attention + q + ".input_scale"), number(attention + "query.input_scale"));
  const auto groups = [](const TempDir& folder) {
    const auto json = OrderedJson::parse(family_test::read_file(folder.path() + "/config.json"), nullptr, false);
    return json["quantization_config"]["config_groups"];
  };
  int linears = 0;
  for (const auto& group : groups(out)) {
    const auto& rows = group["input_activations"];
    if (rows.is_null() || rows["dynamic"] == true) continue;
    linears += int(group["targets"].size());
    EXPECT_EQ(rows["strategy"], "tensor");
    EXPECT_EQ(rows["symmetric"], false);
  }
  EXPECT_GT(linears, 6);
  // Behind GELU rows have scales of their own where that is asked for.
  ASSERT_TRUE(compress_into(mixed.path(), m, recipe("w8a8mixed"), 8).ok());
  int dynamic = 0;
  for (const auto& group : groups(mixed)) {
    if (group["input_activations"].is_null() || group["input_activations"]["dynamic"] == false) continue;
    for (const auto& target : group["targets"]) {
      EXPECT_NE(target.get<std::string>().find(".output.dense"), std::string::npos) << target;
      EXPECT_EQ(target.get<std::string>().find("attention"), std::string::npos) << target;
      ++dynamic;
    }
  }
  EXPECT_GT(dynamic, 1);
}

TEST(Compress, RecipesThatAreNoneOrDisagreeAreSaid) {
  const Model m = open_case("hf-vit");
  const auto says = [&](const std::string& name, const std::string& what) {
    expect_says(Compressor::create(m, recipe(name)), what);
  };
  says("w9", "there is no recipe 'w9'");
  says("w9", "w4g32");
  says("w8+w4g32", "'w8' and 'w4g32' both say how weights are stored");
  says("a8", "says nothing of weights");
  says("w8a8+a8static", "one scale of all rows");
  says("w8+", "there is no recipe ''");
  says("", "there is no recipe ''");
  EXPECT_TRUE(Compressor::create(m, recipe("w4g32+a8")).ok());
  EXPECT_TRUE(Compressor::create(m, recipe("w8+w8a8")).ok());
}

TEST(Compress, APolicyThatNamesNothingIsSaid) {
  const Model m = open_case("hf-vit");
  const auto says = [&](const std::string& policy, const std::string& what) {
    CompressOptions o;
    o.policy = policy;
    expect_says(Compressor::create(m, o), what);
  };
  says("blocks.77.* i8\n", "'blocks.77.*' names no weight of this model");
  says("products i8\n", "leaves every weight as it is");
  says("weights u4g128\n", "no method writes");
  says("weights f16\n", "write f32");
  says("weights\n", "line 1");
  says("weights i8\n*attention* i8 i8:0.25\n", "gives its rows a scale, which compress finds on pictures");
  CompressOptions o;
  o.policy = "weights i8\n*attention* i4g32\nhead* f32\n";
  EXPECT_TRUE(Compressor::create(m, o).ok());
}

TEST(Compress, APolicySaysWhoseRowsAreCoded) {
  const Model m = open_case("hf-vit");
  const TempDir out;
  CompressOptions o;
  o.policy = "weights i8\n*attention* i8 i8\n*intermediate* i4g4 f32\n";
  const auto done = compress_into(out.path(), m, o, 8);
  ASSERT_TRUE(done.ok()) << done.error().message;
  const auto smaller = LoadedModel::open(out.path());
  ASSERT_TRUE(smaller.ok()) << smaller.error().message;
  const auto graph = smaller->build(Head::kLogits, 1);
  ASSERT_TRUE(graph.ok());
  int coded = 0, floats = 0;
  for (const Value& v : graph->values) {
    if (!v.constant || !v.constant->grid().coded()) continue;
    const bool dynamic = v.constant->row_codes().kind == RowCodes::Kind::kDynamic;
    EXPECT_EQ(dynamic, v.name.find("attention") != std::string::npos) << v.name;
    (dynamic ? coded : floats)++;
  }
  EXPECT_GT(coded, 0);
  EXPECT_GT(floats, 0);
}

TEST(Compress, WhatCannotBeCompressedIsSaid) {
  expect_says(Compressor::create(open_case("ct-swin-int8"), recipe("w8")), "is compressed already");
  const auto random = Model::random(kCases + "hf-vit/config.json", 1);
  ASSERT_TRUE(random.ok());
  expect_says(Compressor::create(*random, recipe("w8")), "random weights");
  const TempDir out;
  const Model m = open_case("hf-vit");
  expect_says(compress_into(out.path(), m, recipe("w4g32"), 0),
              "was given 0 pictures to calibrate with and needs at least 8");
  expect_says(compress_into(out.path(), m, recipe("w4g32"), 1), "was given 1 picture to");
  expect_says(compress_into(out.path() + "/nowhere/at/all", m, recipe("w8"), 0), "cannot write");
  const auto few = compress_into(out.path(), m, recipe("w4g32"), 8);
  ASSERT_TRUE(few.ok());
  ASSERT_FALSE(few->notes.empty());
  EXPECT_NE(few->notes.back().find("calibrated with 8 pictures"), std::string::npos);
}

TEST(Compress, ActivationsThatAreNotFiniteAreNamed) {
  const TempDir in, out;
  auto tensors = family_test::tensors_of("hf-vit");
  auto& t = family_test::named(tensors, "vit.encoder.layer.1.layernorm_before.weight");
  for (size_t i = 0; i + 4 <= t.bytes.size(); i += 4) {
    const float huge = 3e38f;
    std::memcpy(&t.bytes[i], &huge, 4);
  }
  in.write("model.safetensors", test::safetensors(tensors));
  in.write("config.json", family_test::read_file(kCases + "hf-vit/config.json"));
  in.write("preprocessor_config.json", family_test::read_file(kCases + "hf-vit/preprocessor_config.json"));
  const auto m = Model::open(in.path());
  ASSERT_TRUE(m.ok()) << m.error().message;
  expect_says(compress_into(out.path(), *m, recipe("w4g32"), 8),
              "the input of 'blocks.1.attn.qkv' is not finite for picture 1 of 8");
}

TEST(Compress, StopEndsItWithoutAFile) {
  for (const int after : {1, 5, 12}) {
    const TempDir out;
    CompressOptions o = recipe("w4g32");
    int asked = 0;
    o.stop = [&] { return ++asked >= after; };
    double last = 0;
    o.progress = [&](const std::string& what, double done) {
      EXPECT_FALSE(what.empty());
      EXPECT_GE(done, last);
      EXPECT_LE(done, 1.0);
      last = done;
    };
    expect_says(compress_into(out.path(), open_case("hf-vit"), o, 8), "stopped before");
    EXPECT_EQ(asked, after);
    EXPECT_TRUE(family_test::read_file(out.path() + "/model.safetensors").empty());
    EXPECT_TRUE(family_test::read_file(out.path() + "/config.json").empty());
  }
}

TEST(Compress, EveryRecipeAndMethodSaysWhatItIs) {
  for (const auto& all : {compress_recipes(), compress_methods()}) {
    EXPECT_FALSE(all.empty());
    for (const CompressEntry& e : all) {
      EXPECT_FALSE(e.what.empty()) << e.name;
      EXPECT_FALSE(e.source.empty()) << e.name;
    }
  }
}

}  // namespace
}  // namespace vireo
