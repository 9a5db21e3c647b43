// Simulation whole: a small vision transformer written out in double precision, which rounds where a policy says,
// beside the library's run through its plan. Networks in which a number lies almost between two codes are passed over:
// there fp32 may decide otherwise, and nobody is wrong.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <random>

#include "base/half.h"
#include "compress/calibrate.h"
#include "compress/simulate.h"
#include "runtime/model_impl.h"
#include "test_model_family.h"

#include <vireo/compress.hpp>
#include <vireo/simulate.hpp>

namespace vireo::compress {
namespace {

using Vector = std::vector<double>;
using Matrix = std::vector<Vector>;
using test::TempDir;

constexpr int kDim = 8, kHeads = 2, kHead = 4, kMlp = 12, kBlocks = 2, kPatch = 4, kImage = 8, kClasses = 5;
constexpr int kPixels = 3 * kImage * kImage;
constexpr double kMargin = 4e-4;  // of a code, above what fp32 loses in one

const char* const kConfig = R"({"architectures": ["ViTForImageClassification"], "model_type": "vit", "hidden_size": 8,
  "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12, "image_size": 8, "patch_size": 4,
  "layer_norm_eps": 1e-6, "num_labels": 5, "id2label": {"0": "a", "1": "b", "2": "c", "3": "d", "4": "e"}})";

/// The least distance of anything that was rounded to the middle between two codes.
double margin = 1;
double nearest(double x) {
  margin = std::min(margin, std::fabs(x - std::floor(x) - 0.5));
  return std::nearbyint(x);
}
double within(double x, double least, double most) { return std::max(least, std::min(most, x)); }

// ---- grids, on numbers that share a scale

using Grids = std::function<void(Vector&)>;

Grids asymmetric(int bits) {
  return [bits](Vector& x) {
    const double top = std::pow(2, bits) - 1;
    const double least = std::min(0.0, *std::min_element(x.begin(), x.end())),
                 most = std::max(0.0, *std::max_element(x.begin(), x.end())), step = (most - least) / top;
    const double zero = nearest(-least / step);
    for (double& v : x) v = step * within(nearest(v / step), -zero, top - zero);
  };
}
Grids symmetric(int bits) {
  return [bits](Vector& x) {
    double most = 0;
    for (const double v : x) most = std::max(most, std::fabs(v));
    const double step = most / (std::pow(2, bits - 1) - 1);
    for (double& v : x) v = step * nearest(v / step);
  };
}
Grids row_log2(int bits) {
  return [bits](Vector& x) {
    const double most = *std::max_element(x.begin(), x.end()), last = std::pow(2, bits) - 1;
    double before = 0, after = 0;
    for (double& v : x) {
      before += v;
      const double code = nearest(std::log2(most / v));
      v = code >= last ? 0 : most * std::pow(2, -code);
      after += v;
    }
    for (double& v : x) v *= before / after;
  };
}
Grids shift_log(int bits) {
  return [bits](Vector& x) {
    constexpr double kShift = 0.16997124254703522;
    const double most = *std::max_element(x.begin(), x.end()) + kShift, last = std::pow(2, bits) - 1;
    for (double& v : x) {
      const double y = v + kShift, code = y > 0 ? nearest(2 * std::log2(most / y)) : last;
      v = (code >= last ? 0 : most * std::pow(2, -code / 2)) - kShift;
    }
  };
}

/// What the policy under test says.
struct Rounds {
  Grids rows, gelu, operands, softmax, layernorm;
  bool rows_tensor = false, softmax_tensor = false;
  bool fold = false, integers = false;
  int fold_bits = 8;
  bool weights = false;  // four bits by row, eight elsewhere
};

void round_each(const Grids& grid, Matrix& x, bool together = false) {
  if (!grid) return;
  if (!together) {
    for (Vector& row : x) grid(row);
    return;
  }
  Vector all;
  for (const Vector& row : x) all.insert(all.end(), row.begin(), row.end());
  grid(all);
  for (size_t r = 0; r < x.size(); ++r)
    for (size_t k = 0; k < x[r].size(); ++k) x[r][k] = all[r * x[r].size() + k];
}

// ---- I-ViT's functions, as codes in and numbers out

Vector codes_of(const Vector& x, int bits, double least_step, double* step) {
  double most = 0;
  for (const double v : x) most = std::max(most, std::fabs(v));
  *step = std::max(least_step, most / (std::pow(2, bits - 1) - 1));
  Vector codes;
  for (const double v : x) codes.push_back(nearest(v / *step));
  return codes;
}
double int_exp(double x, double x0, int n) {
  x = std::max(x + std::floor(x / 2) - std::floor(x / 16), n * x0);
  const double q = std::floor(x / x0);
  return std::floor(((x - x0 * q) / 2 - x0) * std::pow(2, n - q));
}
constexpr double kWhole = 2147483647;

void integer_softmax(Vector& x) {
  double step = 0, sum = 0;
  Vector e, codes = codes_of(x, 8, 1.0 / 32, &step);
  const double most = *std::max_element(codes.begin(), codes.end());
  for (const double c : codes) e.push_back(int_exp(c - most, std::floor(-1 / step), 15)), sum += e.back();
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = std::floor(e[i] * std::floor(kWhole / std::min(sum, kWhole)) / 65536) / 32768;
}
void integer_gelu(Vector& x) {
  double step = 0;
  const Vector codes = codes_of(x, 8, 1.0 / 128, &step);
  const double most = std::max(0.0, *std::max_element(codes.begin(), codes.end())),
               x0 = std::floor(-1 / (1.702 * step));
  for (size_t i = 0; i < x.size(); ++i) {
    const double e = int_exp(codes[i] - most, x0, 23), sum = e + int_exp(-most, x0, 23);
    x[i] = codes[i] * std::floor(e * std::floor(kWhole / std::min(sum, kWhole)) / 16777216) * step / 128;
  }
}
void integer_norm(Vector& x, const std::vector<float>& gain, const std::vector<float>& offset) {
  double step = 0, sum = 0, squares = 0, k = 65536;
  Vector codes = codes_of(x, 16, 0, &step);
  for (const double c : codes) sum += c;
  const double mean = std::nearbyint(sum / double(x.size()));
  for (const double c : codes) squares += (c - mean) * (c - mean);
  for (int i = 0; i < 10; ++i) k = std::floor((k + std::floor(squares / k)) / 2);
  const double unit = std::sqrt(double(x.size())) / 1073741824;
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = (std::floor((codes[i] - mean) * std::floor(kWhole / k) / 2) +
            std::floor(double(offset[i]) / double(gain[i]) / unit)) *
           unit * double(gain[i]);
}

// ---- the network

class Network {
 public:
  explicit Network(unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    const auto add = [&](const std::string& name, std::vector<int64_t> shape, float size, float middle = 0) {
      int64_t n = 1;
      for (const int64_t d : shape) n *= d;
      std::vector<float>& v = values_[name];
      for (int64_t i = 0; i < n; ++i) v.push_back(middle + size * normal(random));
      shapes_[name] = shape;
    };
    add("vit.embeddings.cls_token", {1, 1, kDim}, 1);
    add("vit.embeddings.position_embeddings", {1, 5, kDim}, 1);
    add("vit.embeddings.patch_embeddings.projection.weight", {kDim, 3, kPatch, kPatch}, 0.3f);
    add("vit.embeddings.patch_embeddings.projection.bias", {kDim}, 0.3f);
    for (int b = 0; b < kBlocks; ++b) {
      const std::string at = "vit.encoder.layer." + std::to_string(b) + ".";
      for (const char* norm : {"layernorm_before", "layernorm_after"})
        add(at + norm + ".weight", {kDim}, 0.2f, 1), add(at + norm + ".bias", {kDim}, 0.3f);
      for (const char* name : {"query", "key", "value"}) linear(at + "attention.attention." + name, kDim, kDim, add);
      linear(at + "attention.output.dense", kDim, kDim, add);
      linear(at + "intermediate.dense", kMlp, kDim, add), linear(at + "output.dense", kDim, kMlp, add);
    }
    add("vit.layernorm.weight", {kDim}, 0.2f, 1), add("vit.layernorm.bias", {kDim}, 0.3f);
    linear("classifier", kClasses, kDim, add);
  }

  std::vector<test::TestTensor> tensors() const {
    std::vector<test::TestTensor> all;
    for (const auto& [name, v] : values_)
      all.push_back({name, "F32", shapes_.at(name),
                     std::string(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(float))});
    return all;
  }

  /// Least and largest by column of what LayerNorms give, in fp32, by their names.
  void find_ranges(const std::vector<std::vector<float>>& pictures) {
    for (const auto& p : pictures) {
      gathering_ = true;
      (void)answer(p, Rounds());
      gathering_ = false;
    }
  }

  Vector answer(const std::vector<float>& pixels, const Rounds& rounds) {
    r_ = &rounds;
    Matrix x = embed(pixels);
    for (int b = 0; b < kBlocks; ++b) {
      const std::string at = "vit.encoder.layer." + std::to_string(b) + ".";
      Matrix h = norm(x, at + "layernorm_before");
      const std::string three = at + "attention.attention.";
      Matrix in = rounded_rows(h, at + "layernorm_before");
      const Matrix mixed = attend(multiply(in, three + "query", at + "layernorm_before"),
                                  multiply(in, three + "key", at + "layernorm_before"),
                                  multiply(in, three + "value", at + "layernorm_before"));
      add_to(x, multiply(rounded_rows(mixed, ""), at + "attention.output.dense", ""));
      h = norm(x, at + "layernorm_after");
      h = multiply(rounded_rows(h, at + "layernorm_after"), at + "intermediate.dense", at + "layernorm_after");
      for (Vector& row : h) {
        if (rounds.integers) integer_gelu(row);
        else
          for (double& v : row) v = 0.5 * v * (1 + std::erf(v / std::sqrt(2.0)));
      }
      if (rounds.gelu) round_each(rounds.gelu, h);
      else h = rounded_rows(h, "");
      add_to(x, multiply(h, at + "output.dense", ""));
    }
    const Matrix last = multiply({norm(x, "vit.layernorm")[0]}, "classifier", "");
    return last[0];
  }

 private:
  template <typename Add>
  static void linear(const std::string& name, int rows, int cols, const Add& add) {
    add(name + ".weight", {rows, cols}, 0.4f), add(name + ".bias", {rows}, 0.2f);
  }

  static void add_to(Matrix& x, const Matrix& y) {
    for (size_t r = 0; r < x.size(); ++r)
      for (size_t k = 0; k < x[r].size(); ++k) x[r][k] += y[r][k];
  }

  /// A row of a weight, to nearest by its largest, with a scale of 16 bits.
  static void round_weight(Vector& w, int bits) {
    double most = 0;
    for (const double v : w) most = std::max(most, std::fabs(v));
    const double top = std::pow(2, bits - 1) - 1, least = bits == 8 ? -top : -top - 1;
    const double scale = double(half_to_float(float_to_half(float(most / top))));
    for (double& v : w) v = scale * within(nearest(v / scale), least, top);
  }

  Matrix embed(const std::vector<float>& pixels) {
    const auto& w = values_.at("vit.embeddings.patch_embeddings.projection.weight");
    const auto& bias = values_.at("vit.embeddings.patch_embeddings.projection.bias");
    const auto &cls = values_.at("vit.embeddings.cls_token"), &at = values_.at("vit.embeddings.position_embeddings");
    Matrix x(5, Vector(kDim, 0.0));
    for (int c = 0; c < kDim; ++c) x[0][size_t(c)] = double(cls[size_t(c)]);
    for (int c = 0; c < kDim; ++c) {
      Vector kernel(w.begin() + c * 48, w.begin() + (c + 1) * 48);
      if (r_->weights) round_weight(kernel, 8);
      for (int p = 0; p < 4; ++p) {
        double sum = double(bias[size_t(c)]);
        for (int i = 0; i < 48; ++i) {
          const int channel = i / 16, y = p / 2 * kPatch + i % 16 / 4, column = p % 2 * kPatch + i % 4;
          sum += kernel[size_t(i)] * double(pixels[size_t((channel * kImage + y) * kImage + column)]);
        }
        x[size_t(p + 1)][size_t(c)] = sum;
      }
    }
    for (size_t t = 0; t < 5; ++t)
      for (size_t c = 0; c < kDim; ++c) x[t][c] += double(at[t * kDim + c]);
    return x;
  }

  Matrix norm(Matrix x, const std::string& name) {
    const auto &gain = values_.at(name + ".weight"), &offset = values_.at(name + ".bias");
    round_each(r_->layernorm, x);
    for (Vector& row : x) {
      if (r_->integers) {
        integer_norm(row, gain, offset);
        continue;
      }
      double mean = 0, variance = 0;
      for (const double v : row) mean += v / kDim;
      for (const double v : row) variance += (v - mean) * (v - mean) / kDim;
      for (size_t k = 0; k < kDim; ++k)
        row[k] = (row[k] - mean) / std::sqrt(variance + 1e-6) * double(gain[k]) + double(offset[k]);
    }
    if (gathering_) {
      auto& [least, most] = ranges_.try_emplace(name, Vector(kDim, 0.0), Vector(kDim, 0.0)).first->second;
      for (const Vector& row : x)
        for (size_t k = 0; k < kDim; ++k) least[k] = std::min(least[k], row[k]), most[k] = std::max(most[k], row[k]);
    }
    return x;
  }

  /// RepQ-ViT: y = x / r + s~ (z - z~).
  void fold_of(const std::string& name, Vector* by, Vector* shift) const {
    const auto& [least, most] = ranges_.at(name);
    Vector step, zero;
    double mean_step = 0, mean_zero = 0;
    for (size_t k = 0; k < kDim; ++k) {
      step.push_back((most[k] - least[k]) / (std::pow(2, r_->fold_bits) - 1));
      zero.push_back(nearest(-least[k] / step[k]));
      mean_step += step[k] / kDim, mean_zero += zero[k] / kDim;
    }
    for (size_t k = 0; k < kDim; ++k)
      by->push_back(step[k] / mean_step), shift->push_back(mean_step * (zero[k] - mean_zero));
  }

  Matrix rounded_rows(Matrix x, const std::string& behind) {
    Vector by, shift;
    const bool fold = r_->fold && !behind.empty();
    if (fold) fold_of(behind, &by, &shift);
    for (Vector& row : x)
      for (size_t k = 0; fold && k < row.size(); ++k) row[k] = row[k] / by[k] + shift[k];
    round_each(r_->rows, x, r_->rows_tensor);
    for (Vector& row : x)
      for (size_t k = 0; fold && k < row.size(); ++k) row[k] = (row[k] - shift[k]) * by[k];
    return x;
  }

  Matrix multiply(const Matrix& x, const std::string& name, const std::string& behind) {
    const auto &w = values_.at(name + ".weight"), &bias = values_.at(name + ".bias");
    const size_t cols = x[0].size(), rows = bias.size();
    Vector by, shift;
    const bool fold = r_->fold && !behind.empty();
    if (fold) fold_of(behind, &by, &shift);
    Matrix y(x.size(), Vector(rows, 0.0));
    for (size_t o = 0; o < rows; ++o) {
      Vector row(w.begin() + std::ptrdiff_t(o * cols), w.begin() + std::ptrdiff_t((o + 1) * cols));
      if (r_->weights) {
        for (size_t k = 0; fold && k < cols; ++k) row[k] *= by[k];
        round_weight(row, name == "classifier" ? 8 : 4);
        for (size_t k = 0; fold && k < cols; ++k) row[k] /= by[k];
      }
      for (size_t r = 0; r < x.size(); ++r) {
        y[r][o] = double(bias[o]);
        for (size_t k = 0; k < cols; ++k) y[r][o] += row[k] * x[r][k];
      }
    }
    return y;
  }

  Matrix attend(const Matrix& q, const Matrix& k, const Matrix& v) const {
    Matrix out(q.size(), Vector(kDim, 0.0));
    for (int h = 0; h < kHeads; ++h) {
      Matrix three[3];
      for (int i = 0; i < 3; ++i)
        for (const Vector& row : i == 0 ? q : i == 1 ? k : v)
          three[i].emplace_back(row.begin() + h * kHead, row.begin() + (h + 1) * kHead);
      if (r_->operands) {
        round_each(r_->operands, three[0]), round_each(r_->operands, three[1]);
        for (size_t c = 0; c < kHead; ++c) {  // values by channel
          Vector column;
          for (const Vector& row : three[2]) column.push_back(row[c]);
          r_->operands(column);
          for (size_t t = 0; t < column.size(); ++t) three[2][t][c] = column[t];
        }
      }
      Matrix p(q.size(), Vector(q.size(), 0.0));
      for (size_t i = 0; i < q.size(); ++i) {
        for (size_t j = 0; j < q.size(); ++j) {
          for (size_t c = 0; c < kHead; ++c) p[i][j] += three[0][i][c] * three[1][j][c];
          p[i][j] /= std::sqrt(double(kHead));
        }
        if (r_->integers) {
          integer_softmax(p[i]);
          continue;
        }
        double sum = 0;
        for (double& s : p[i]) s = std::exp(s), sum += s;
        for (double& s : p[i]) s /= sum;
      }
      round_each(r_->softmax, p, r_->softmax_tensor);
      for (size_t i = 0; i < q.size(); ++i)
        for (size_t c = 0; c < kHead; ++c)
          for (size_t j = 0; j < q.size(); ++j) out[i][size_t(h * kHead) + c] += p[i][j] * three[2][j][c];
    }
    return out;
  }

  std::map<std::string, std::vector<float>> values_;
  std::map<std::string, std::vector<int64_t>> shapes_;
  std::map<std::string, std::pair<Vector, Vector>> ranges_;
  const Rounds* r_ = nullptr;
  bool gathering_ = false;
};

Result<LoadedModel> opened(const TempDir& dir, const Network& network) {
  dir.write("model.safetensors", test::safetensors(network.tensors()));
  dir.write("config.json", kConfig);
  dir.write("preprocessor_config.json",
            R"({"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}})");
  return LoadedModel::open(dir.path());
}

struct Case {
  const char* policy;
  Rounds rounds;
};

std::vector<Case> cases() {
  std::vector<Case> all = {{"weights f32\n", Rounds()}};  // nothing
  Rounds r;
  r.rows = asymmetric(6);
  all.push_back({"rows asymmetric 6\n", r});
  r.rows = symmetric(8), r.rows_tensor = true;
  all.push_back({"rows symmetric 8 tensor\n", r});
  r = Rounds(), r.operands = symmetric(6);
  all.push_back({"operands symmetric 6\n", r});
  r.operands = nullptr, r.softmax = row_log2(4);
  all.push_back({"softmax rowlog2 4\n", r});
  r.softmax = asymmetric(7), r.softmax_tensor = true;
  all.push_back({"softmax asymmetric 7 tensor\n", r});
  r = Rounds(), r.layernorm = asymmetric(6);
  all.push_back({"layernorm asymmetric 6\n", r});
  r = Rounds(), r.weights = true;
  all.push_back({"weights i4\nothers i8\n", r});
  r = Rounds(), r.fold = true, r.fold_bits = 5, r.rows = asymmetric(5);
  all.push_back({"rows asymmetric 5\nfold on\n", r});
  r.weights = true, r.gelu = shift_log(5), r.operands = asymmetric(5), r.softmax = row_log2(4);
  all.push_back(
      {"weights i4\nothers i8\nrows asymmetric 5\ngelu shiftlog 5\noperands asymmetric 5\nsoftmax rowlog2 4\n"
       "fold on\n",
       r});
  r = Rounds(), r.integers = true;
  all.push_back({"integer softmax 8\ninteger gelu 8\ninteger layernorm 16\n", r});
  return all;
}

TEST(SimulateNetwork, AnswersAsTheNetworkWrittenOut) {
  const auto device = make_cpu_device(2, "");
  ThreadPool pool(2);
  const std::vector<Case> all = cases();
  for (const Case& c : all) {
    const auto policy = parse_simulated_policy(c.policy, "policy");
    ASSERT_TRUE(policy.ok()) << policy.error().message;
    int used = 0;
    double moved = 0;
    for (unsigned seed = 1; seed < 200 && used < 4; ++seed) {
      Network network(seed);
      std::mt19937 random(1000 + seed);
      std::normal_distribution<float> normal;
      std::vector<std::vector<float>> pictures(4);
      for (auto& p : pictures)
        for (int i = 0; i < kPixels; ++i) p.push_back(normal(random));
      const std::vector<float> judged = pictures.back();
      pictures.pop_back();
      network.find_ranges(pictures);
      const Vector plain = network.answer(judged, Rounds());
      margin = 1;
      const Vector wanted = network.answer(judged, c.rounds);
      if (margin < kMargin) continue;
      ++used;
      const TempDir dir;
      const auto model = opened(dir, network);
      ASSERT_TRUE(model.ok()) << model.error().message;
      const auto simulated = Simulated::create(*model, *policy, Head::kLogits, *device, pool, pictures);
      ASSERT_TRUE(simulated.ok()) << simulated.error().message;
      const float* const got = (*simulated)->run(judged);
      double size = 0;
      for (const double v : wanted) size = std::max(size, std::fabs(v));
      for (size_t i = 0; i < wanted.size(); ++i) {
        EXPECT_NEAR(double(got[i]), wanted[i], 2e-5 * size) << c.policy << "seed " << seed << ", class " << i;
        moved = std::max(moved, std::fabs(wanted[i] - plain[i]) / size);
      }
    }
    EXPECT_EQ(used, 4) << c.policy << "too few networks keep clear of the middle between codes";
    EXPECT_EQ(moved > 1e-3, &c != &all.front()) << c.policy << "moves the answer by " << moved;
  }
}

/// What a linear, a LayerNorm or attention reads is rounded for it alone, so the model can run on and run again.
TEST(SimulateNetwork, TheSamePictureGivesTheSameAnswer) {
  const auto device = make_cpu_device(1, "");
  ThreadPool pool(1);
  Network network(3);
  const TempDir dir;
  const auto model = opened(dir, network);
  ASSERT_TRUE(model.ok());
  const std::vector<float> a(kPixels, 0.3f), b(kPixels, -0.9f);
  const auto policy =
      parse_simulated_policy("layernorm ptf 6\nsoftmax adalog 4\ngelu shiftadalog 4\nrows asymmetric 6\n", "p");
  ASSERT_TRUE(policy.ok());
  const auto s = Simulated::create(*model, *policy, Head::kLogits, *device, pool, {a, b});
  ASSERT_TRUE(s.ok()) << s.error().message;
  const float* y = (*s)->run(a);
  const std::vector<float> first(y, y + kClasses);
  (void)(*s)->run(b);
  y = (*s)->run(a);
  EXPECT_EQ(std::vector<float>(y, y + kClasses), first);
}

TEST(SimulateNetwork, WhatIsNoNumberIsSaid) {
  const auto device = make_cpu_device(1, "");
  ThreadPool pool(1);
  Network network(3);
  const TempDir dir;
  const auto model = opened(dir, network);
  ASSERT_TRUE(model.ok());
  const std::vector<float> good(kPixels, 0.3f);
  for (const float bad : {NAN, INFINITY}) {
    std::vector<float> picture = good;
    picture[5] = bad;
    for (const char* text : {"weights i4 gptq\n", "layernorm ptf 6\n", "softmax adalog 4\n"}) {
      const auto policy = parse_simulated_policy(text, "p");
      ASSERT_TRUE(policy.ok());
      const auto s = Simulated::create(*model, *policy, Head::kLogits, *device, pool, {good, picture});
      ASSERT_FALSE(s.ok()) << text;
      EXPECT_NE(s.error().message.find("is not finite"), std::string::npos) << s.error().message;
    }
    // Functions in integers are given codes all the same, and end.
    const auto policy = parse_simulated_policy("integer softmax 8\ninteger gelu 8\ninteger layernorm 16\n", "p");
    const auto s = Simulated::create(*model, *policy, Head::kLogits, *device, pool, {});
    ASSERT_TRUE(s.ok()) << s.error().message;
    (void)(*s)->run(picture);
  }
}

/// GPTQ in simulation is GPTQ in a file: the folder that compress writes, run in fp32, gives the simulated answer.
TEST(SimulateNetwork, WeightsAreThoseThatCompressWrites) {
  const auto model = Model::open(family_test::kCases + "hf-vit");
  ASSERT_TRUE(model.ok()) << model.error().message;
  std::vector<std::vector<uint8_t>> pictures;
  for (int n = 0; n < 10; ++n) {
    pictures.emplace_back();
    for (int i = 0; i < 112 * 112 * 3; ++i)
      pictures.back().push_back(uint8_t(127.5 + 100 * std::sin(0.01 * i * (1 + n % 3) + n)));
  }
  const auto image = [&](size_t n) { return Image{pictures[n].data(), 112, 112, 0}; };
  CompressOptions o;
  o.recipe = "w4g32", o.sensitivity = false, o.threads = 2;
  auto compressor = Compressor::create(*model, o);
  auto simulator = Simulator::create(*model, "weights i4g32 gptq\nothers i8\n", "p", 2);
  ASSERT_TRUE(compressor.ok() && simulator.ok());
  for (size_t n = 0; n < 9; ++n) ASSERT_TRUE(compressor->add(image(n)).ok() && simulator->calibrate(image(n)).ok());
  const TempDir out;
  ASSERT_TRUE(compressor->write(out.path()).ok());
  const auto written = Model::open(out.path());
  ASSERT_TRUE(written.ok()) << written.error().message;
  SessionOptions fp32;
  fp32.precision = Precision::kFp32;
  auto session = Session::create(*written, Device::cpu(2), fp32);
  ASSERT_TRUE(session.ok()) << session.error().message;
  const auto a = session->run(image(9));
  const auto b = simulator->run(image(9));
  ASSERT_TRUE(a.ok() && b.ok());
  ASSERT_EQ(size_t(a->cols), b->after.size());
  double size = 0, moved = 0;
  for (const float v : b->after) size = std::max(size, std::fabs(double(v)));
  for (int i = 0; i < a->cols; ++i) {
    EXPECT_NEAR(a->data[i], b->after[size_t(i)], 2e-5 * size) << i;
    moved = std::max(moved, std::fabs(double(b->after[size_t(i)]) - double(b->before[size_t(i)])));
  }
  EXPECT_GT(moved, 1e-3 * size);
}

TEST(SimulateNetwork, MomentsThatDoNotFitTogetherGoInGroups) {
  const auto model = Model::open(family_test::kCases + "hf-vit");
  ASSERT_TRUE(model.ok());
  const LoadedModel& loaded = model->impl().loaded;
  const auto graph = loaded.build(Head::kLogits, 1);
  ASSERT_TRUE(graph.ok());
  const Layers layers = find_layers(loaded, *graph);
  const auto inner = [&](size_t i) { return layers.all[i].kind == LayerKind::kInner; };
  for (const uint64_t bytes : {uint64_t(1), uint64_t(30) << 20, uint64_t(100) << 20}) {
    const auto groups = groups_by_memory(loaded, layers, inner, [&](size_t) { return bytes; });
    std::map<std::string, size_t> group_of;
    size_t found = 0;
    for (size_t g = 0; g < groups.size(); ++g) {
      std::map<std::string, int> values;
      for (const size_t i : groups[g]) {
        ++values[layers.all[i].input], ++found;
        EXPECT_EQ(group_of.emplace(layers.all[i].input, g).first->second, g) << "a value in two groups";
      }
      EXPECT_TRUE(values.size() == 1 || values.size() * bytes <= uint64_t(64) << 20);
    }
    size_t all = 0;
    for (size_t i = 0; i < layers.all.size(); ++i) all += inner(i) ? 1 : 0;
    EXPECT_EQ(found, all);
    EXPECT_EQ(groups.size(), bytes == 1 ? 1u : bytes >> 20 == 30 ? 6u : 12u);
  }
}

}  // namespace
}  // namespace vireo::compress
