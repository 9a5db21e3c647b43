// AWQ and bias correction against their formulae in double precision, and whole: the network that is scaled answers as
// it did, and the folder that is written is the one that the formulae say.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/half.h"
#include "compress/awq.h"
#include "compress/bias_correction.h"
#include "runtime/model_impl.h"
#include "test_model_family.h"

#include <vireo/compress.hpp>

namespace vireo {
namespace {

using namespace compress;
using test::TempDir;

std::vector<float> normals(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  return x;
}

/// What rounding to nearest makes of a row's group, with the scale in 16 bits.
double nearest(const std::vector<double>& w, size_t at, size_t first, size_t count, int bits) {
  double most = 0;
  for (size_t k = first; k < first + count; ++k) most = std::max(most, std::fabs(w[k]));
  const double top = std::pow(2.0, bits - 1) - 1;
  const double scale = double(half_to_float(float_to_half(float(most / top))));
  return scale * std::min(top, std::max(-top - 1, std::nearbyint(w[at] / scale)));
}

TEST(CompressAwq, AlphaIsThatOfTheLeastErrorOfTheAnswers) {
  constexpr size_t kCols = 32, kSamples = 200;
  // Inputs of very different size, some of which belong together.
  std::vector<std::vector<double>> x;
  const std::vector<float> noise = normals(kSamples * (kCols + 1), 1);
  for (size_t n = 0; n < kSamples; ++n) {
    std::vector<double> row;
    for (size_t k = 0; k < kCols; ++k)
      row.push_back((double(noise[n * 33 + k]) + double(noise[n * 33 + 32])) *
                    (k % 9 == 4 ? 25.0 : 0.2 + 0.1 * double(k % 5)));
    x.push_back(row);
  }
  std::vector<double> magnitudes(kCols, 0.0), hessian(kCols * kCols, 0.0);
  for (const auto& row : x)
    for (size_t i = 0; i < kCols; ++i) {
      magnitudes[i] += std::fabs(row[i]) / double(kSamples);
      for (size_t j = 0; j < kCols; ++j) hessian[i * kCols + j] += row[i] * row[j] / double(kSamples);
    }
  const std::vector<float> first = normals(7 * kCols, 2), second = normals(5 * kCols, 3);
  Format four, three;
  ASSERT_TRUE(parse_format("i4g16", &four) && parse_format("i3", &three));
  // Mean over the samples of the squared difference of every answer.
  const auto error = [&](double alpha) {
    std::vector<double> s;
    double least = INFINITY, most = 0;
    for (const double m : magnitudes) {
      s.push_back(std::max(1e-4, std::pow(m, alpha)));
      least = std::min(least, s.back()), most = std::max(most, s.back());
    }
    for (double& v : s) v /= std::sqrt(least * most);
    double sum = 0;
    for (const auto& [w, bits, span] : {std::make_tuple(&first, 4, size_t(16)), std::make_tuple(&second, 3, kCols)})
      for (size_t r = 0; r < w->size() / kCols; ++r) {
        std::vector<double> scaled, off;
        for (size_t k = 0; k < kCols; ++k) scaled.push_back(double(float(double((*w)[r * kCols + k]) * s[k])));
        for (size_t k = 0; k < kCols; ++k)
          off.push_back((scaled[k] - nearest(scaled, k, k / span * span, span, bits)) / s[k]);
        for (const auto& row : x) {
          double answer = 0;
          for (size_t k = 0; k < kCols; ++k) answer += off[k] * row[k];
          sum += answer * answer / double(kSamples);
        }
      }
    return sum;
  };
  double best = INFINITY, alpha = 0;
  for (int i = 0; i < 20; ++i)
    if (const double e = error(0.05 * i); e < best) best = e, alpha = 0.05 * i;
  EXPECT_GT(alpha, 0) << "the sample gains nothing";
  ThreadPool pool(2);
  const auto c =
      search_awq({{first.data(), 7, four.grid}, {second.data(), 5, three.grid}}, magnitudes, hessian.data(), pool);
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_DOUBLE_EQ(c->alpha, alpha);
  EXPECT_NEAR(c->after, best, 1e-9 * best);
  EXPECT_NEAR(c->before, error(0), 1e-9 * c->before);
}

TEST(CompressBiasCorrection, TakesBackWhatRoundingDoesToTheMean) {
  constexpr int64_t kRows = 6, kCols = 24;
  const std::vector<float> w = normals(size_t(kRows * kCols), 4), x = normals(50 * kCols, 5);
  std::vector<double> means(kCols, 0.0);
  for (size_t i = 0; i < x.size(); ++i) means[i % kCols] += (double(x[i]) + double(i % 3)) / 50;
  Format f;
  ASSERT_TRUE(parse_format("i3g8", &f));
  ThreadPool pool(1);
  const auto coded = kRtn.run({w.data(), kRows, kCols, nullptr}, f.grid, pool);
  ASSERT_TRUE(coded.ok());
  const std::vector<float> shift = bias_shift({w.data(), kRows, kCols, nullptr}, *coded, means);
  for (int64_t r = 0; r < kRows; ++r) {
    // The mean of the answers, before and after.
    double before = 0, after = 0;
    for (size_t n = 0; n < 50; ++n)
      for (int64_t k = 0; k < kCols; ++k) {
        const size_t at = n * kCols + size_t(k);
        const double input = double(x[at]) + double(at % 3);
        before += double(w[size_t(r * kCols + k)]) * input / 50;
        after +=
            double(coded->codes[size_t(r * kCols + k)]) * double(coded->scales[size_t(r * 3 + k / 8)]) * input / 50;
      }
    EXPECT_NEAR(double(shift[size_t(r)]), before - after, 1e-6) << r;
    EXPECT_GT(std::fabs(double(shift[size_t(r)])), 1e-5) << "the sample has nothing to take back";
  }
}

struct Picture {
  std::vector<uint8_t> rgb;
  explicit Picture(int number) {
    for (int i = 0; i < 50 * 50 * 3; ++i)
      rgb.push_back(uint8_t(127.5 + 100 * std::sin(0.1 * (i % 150) * (1 + number % 3) + 0.02 * (i / 150) + number)));
  }
  Image image() const { return {rgb.data(), 50, 50, 0}; }
};

Model opened(const std::string& path) {
  auto m = Model::open(path);
  EXPECT_TRUE(m.ok()) << m.error().message;
  return *m;
}

Result<CompressReport> compress_into(const TempDir& out, const Model& model, const CompressOptions& o, int pictures) {
  VIREO_ASSIGN(Compressor c, Compressor::create(model, o));
  for (int i = 0; i < pictures; ++i) VIREO_TRY(c.add(Picture(i).image()));
  return c.write(out.path());
}

std::vector<float> answer(const LoadedModel& model, const std::vector<float>& pixels) {
  const auto device = make_cpu_device(1, "");
  ThreadPool pool(1);
  auto graph = model.build(model.has_classes() ? Head::kLogits : Head::kFeatures, 1);
  EXPECT_TRUE(graph.ok()) << graph.error().message;
  auto runner = Runner::create(std::move(*graph), *device, pool, false);
  EXPECT_TRUE(runner.ok()) << runner.error().message;
  const float* const y = (*runner)->run(pixels);
  return std::vector<float>(y, y + (*runner)->outputs());
}

/// LayerNorm before q, k and v that are one or three tensors, before fc1, and values before the projection.
TEST(CompressAwq, AScaledNetworkAnswersAsItDid) {
  for (const auto& [name, most] : {std::pair<const char*, size_t>{"hf-vit", 3},
                                   {"timm-vit", 3},
                                   {"hf-deit-distilled", 3},
                                   {"hf-dinov2-interpolated", 3},
                                   {"hf-swin", 3},
                                   {"hf-mobilevit", 3}}) {
    const Model model = opened(family_test::kCases + name);
    const LoadedModel& loaded = model.impl().loaded;
    const auto device = make_cpu_device(2, "");
    ThreadPool pool(2);
    const auto graph = loaded.build(loaded.has_classes() ? Head::kLogits : Head::kFeatures, 1);
    ASSERT_TRUE(graph.ok()) << graph.error().message;
    const Layers layers = find_layers(loaded, *graph);
    const auto choice = Choice::of_recipe("w4g32");
    ASSERT_TRUE(choice.ok());
    std::vector<std::string> notes;
    const auto schemes = choice->schemes(layers, &notes);
    ASSERT_TRUE(schemes.ok()) << schemes.error().message;
    std::vector<std::vector<float>> pictures;
    const size_t pixels = size_t(Preprocessor(loaded.preprocess()).output_size());
    for (unsigned i = 0; i < 8; ++i) pictures.push_back(normals(pixels, 10 + i));
    const auto scaled = scale_by_awq(
        loaded, layers, *schemes, pictures, *device, pool, [](const std::string&, double) { return Result<void>(); },
        Kept(""), Key());
    ASSERT_TRUE(scaled.ok()) << name << ": " << scaled.error().message;
    ASSERT_NE(scaled->model, nullptr) << name;
    EXPECT_GE(scaled->scaled, most) << name;
    const std::vector<float> x = normals(pixels, 99), before = answer(loaded, x), after = answer(*scaled->model, x);
    double size = 0;
    for (const float v : before) size = std::max(size, std::fabs(double(v)));
    for (size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(after[i], before[i], 2e-5 * size) << name;
    size_t changed = 0;
    for (const Layer& l : layers.all) changed += *weight_values(loaded, l) != *weight_values(*scaled->model, l) ? 1 : 0;
    EXPECT_GE(changed, scaled->scaled) << name;
  }
}

TEST(CompressExtras, AreWrittenIntoTheFolder) {
  const Model model = opened(family_test::kCases + std::string("hf-vit"));
  CompressOptions o;
  o.recipe = "w4g32", o.method = "rtn", o.sensitivity = false, o.threads = 2;
  const TempDir plain, awq, corrected;
  ASSERT_TRUE(compress_into(plain, model, o, 0).ok());
  o.awq = true;
  const auto scaled = compress_into(awq, model, o, 9);
  ASSERT_TRUE(scaled.ok()) << scaled.error().message;
  ASSERT_FALSE(scaled->notes.empty());
  bool said = false;
  for (const std::string& n : scaled->notes) said = said || n.find("awq: columns of") != std::string::npos;
  EXPECT_TRUE(said);
  o.awq = false, o.bias_correction = true;
  ASSERT_TRUE(compress_into(corrected, model, o, 9).ok());
  // Codes stay, biases move, and every tensor is there once.
  const auto values = [](const TempDir& dir, const std::string& tensor) {
    return *tensor_values(opened(dir.path()).impl().loaded, tensor);
  };
  const std::string module = "vit.encoder.layer.0.intermediate.dense";
  EXPECT_NE(values(plain, module + ".bias"), values(corrected, module + ".bias"));
  EXPECT_EQ(values(plain, "vit.encoder.layer.0.layernorm_before.bias"),
            values(corrected, "vit.encoder.layer.0.layernorm_before.bias"));
  EXPECT_NE(values(plain, "vit.encoder.layer.0.layernorm_before.weight"),
            values(awq, "vit.encoder.layer.0.layernorm_before.weight"));
  // The mean of what fc1 answers is what it was: with the codes of the plain folder and the bias of the other one.
  const auto device = make_cpu_device(1, "");
  ThreadPool pool(1);
  auto graph = model.impl().loaded.build(Head::kLogits, 1);
  ASSERT_TRUE(graph.ok());
  const Layers layers = find_layers(model.impl().loaded, *graph);
  const auto layer =
      std::find_if(layers.all.begin(), layers.all.end(), [&](const Layer& l) { return l.module == module; });
  ASSERT_NE(layer, layers.all.end());
  const auto runner = Runner::create(std::move(*graph), *device, pool, true);
  ASSERT_TRUE(runner.ok());
  std::vector<double> means(size_t(layer->cols), 0.0);
  int64_t rows = 0;
  Preprocessor preprocessor(model.impl().loaded.preprocess());
  for (int i = 0; i < 9; ++i) {
    std::vector<float> pixels(size_t(preprocessor.output_size()));
    ASSERT_TRUE(preprocessor.run(Picture(i).rgb.data(), 50, 50, 150, pixels.data()).ok());
    (*runner)->run(pixels);
    const Rows x = *(*runner)->value(layer->input);
    for (int64_t r = 0; r < x.rows; ++r, ++rows)
      for (int64_t k = 0; k < x.cols; ++k) means[size_t(k)] += double(x.data[r * x.stride + k]);
  }
  const std::vector<float> was = *weight_values(model.impl().loaded, *layer),
                           is = *tensor_values(opened(plain.path()).impl().loaded, layer->tensor),
                           bias = values(plain, module + ".bias"), moved = values(corrected, module + ".bias");
  ASSERT_EQ(is.size(), was.size());
  for (int64_t r = 0; r < layer->rows; ++r) {
    double lost = 0;
    for (int64_t k = 0; k < layer->cols; ++k) {
      const size_t at = size_t(r * layer->cols + k);
      lost += (double(was[at]) - double(is[at])) * means[size_t(k)] / double(rows);
    }
    EXPECT_NEAR(double(moved[size_t(r)]) - double(bias[size_t(r)]), lost, 1e-5) << r;
  }
}

TEST(CompressExtras, WhereTheyWouldChangeNothingThatIsSaid) {
  const Model model = opened(family_test::kCases + std::string("hf-vit"));
  const auto says = [&](const CompressOptions& o, const std::string& what) {
    const auto c = Compressor::create(model, o);
    ASSERT_FALSE(c.ok()) << what;
    EXPECT_NE(c.error().message.find(what), std::string::npos) << c.error().message;
  };
  CompressOptions o;
  o.recipe = "qkrank10", o.awq = true;
  says(o, "no weight is rounded, so awq would change nothing");
  o.awq = false, o.bias_correction = true;
  says(o, "no weight is rounded, so bias correction would change nothing");
  o.bias_correction = false, o.ranges = "mse";
  says(o, "no rows get one");
  o.recipe = "w8a8static", o.ranges = "mze";
  says(o, "there is no way 'mze' to find ranges");
  o.ranges = "percentile";
  EXPECT_TRUE(Compressor::create(model, o).ok());
  o.recipe = "w8", o.ranges = "", o.awq = true;
  const auto looks = Compressor::create(model, o);
  ASSERT_TRUE(looks.ok());
  EXPECT_GT(looks->least_pictures(), 0u);
}

}  // namespace
}  // namespace vireo
