// The tensors and the configuration of a model with narrower blocks.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "compress/extend.h"
#include "compress/replace.h"
#include "compress/structure.h"

namespace vireo::compress {
namespace {

/// A matrix and its bias as numbers. No bias: empty.
struct Linear {
  std::vector<float> weight, bias;
  int64_t rows = 0, cols = 0;
};

class Shrinker {
 public:
  explicit Shrinker(const LoadedModel& model) : model_(model) {
    for (const auto& [name, view] : model.source().weights->tensors()) views_[view.name] = &view;
  }

  Result<void> shrink(const Chosen& c) {
    const Block& b = *c.block;
    if (c.sizes.heads == 0 && b.whole.heads > 0)
      for (const std::string& t : b.attention_tensors) drop(t);
    else if (c.sizes.heads != b.whole.heads || c.sizes.qk != b.whole.qk || c.sizes.v != b.whole.v)
      VIREO_TRY(attention(c));
    if (c.sizes.mlp == 0 && b.whole.mlp > 0)
      for (const std::string& t : b.mlp_tensors) drop(t);
    else if (c.sizes.mlp != b.whole.mlp) VIREO_TRY(mlp(c));
    return {};
  }

  Replaced take() { return std::move(replaced_); }

 private:
  void drop(const std::string& tensor) { replaced_[tensor] = StoredTensor{tensor, "", {}, {}}; }

  Result<Linear> read(const std::string& module) const {
    Linear l;
    VIREO_ASSIGN(l.weight, tensor_values(model_, module + ".weight"));
    VIREO_ASSIGN(l.bias, tensor_values(model_, module + ".bias"));
    l.rows = views_.at(module + ".weight")->shape[0];
    l.cols = int64_t(l.weight.size()) / std::max<int64_t>(l.rows, 1);
    return l;
  }

  void store(const std::string& tensor, std::vector<int64_t> shape, const std::vector<float>& values) {
    replaced_[tensor] = as_floats(tensor, views_.at(tensor)->dtype, std::move(shape), values);
  }

  void store(const std::string& module, const Linear& l) {
    store(module + ".weight", {l.rows, l.cols}, l.weight);
    if (!l.bias.empty()) store(module + ".bias", {l.rows}, l.bias);
  }

  static Linear rows_of(const Linear& l, const std::vector<int64_t>& rows) {
    Linear out;
    out.rows = int64_t(rows.size()), out.cols = l.cols;
    for (const int64_t r : rows) {
      out.weight.insert(out.weight.end(), l.weight.begin() + r * l.cols, l.weight.begin() + (r + 1) * l.cols);
      if (!l.bias.empty()) out.bias.push_back(l.bias[size_t(r)]);
    }
    return out;
  }

  /// The columns of `refit` that stay, in the file's units: the graph may multiply the tensor by a factor.
  static Linear columns_of(const Linear& l, const std::vector<float>& whole, const std::vector<float>& refit,
                           const std::vector<int64_t>& kept) {
    size_t largest = 0;
    for (size_t i = 0; i < whole.size(); ++i)
      if (std::fabs(whole[i]) > std::fabs(whole[largest])) largest = i;
    const float factor = whole[largest] != 0 ? l.weight[largest] / whole[largest] : 1.f;
    Linear out;
    out.rows = l.rows, out.cols = int64_t(kept.size()), out.bias = l.bias;
    for (int64_t r = 0; r < l.rows; ++r)
      for (const int64_t k : kept) out.weight.push_back(refit[size_t(r * l.cols + k)] * factor);
    return out;
  }

  /// q or k, whose head h becomes the first `width` rows of t[h] times its rows.
  static Linear project(const Linear& l, const std::vector<std::vector<double>>& t, const std::vector<int64_t>& heads,
                        int64_t dim, int64_t width, bool with_bias) {
    Linear out;
    out.rows = int64_t(heads.size()) * width, out.cols = l.cols;
    out.weight.resize(size_t(out.rows * out.cols));
    if (!l.bias.empty()) out.bias.assign(size_t(out.rows), 0.f);
    std::vector<double> sum(size_t(l.cols));
    for (size_t i = 0; i < heads.size(); ++i)
      for (int64_t r = 0; r < width; ++r) {
        std::fill(sum.begin(), sum.end(), 0.0);
        double bias = 0;
        for (int64_t c = 0; c < dim; ++c) {
          const double f = t[size_t(heads[i])][size_t(r * dim + c)];
          const float* const row = l.weight.data() + (heads[i] * dim + c) * l.cols;
          for (int64_t k = 0; k < l.cols; ++k) sum[size_t(k)] += f * double(row[k]);
          if (!l.bias.empty()) bias += f * double(l.bias[size_t(heads[i] * dim + c)]);
        }
        const int64_t at = int64_t(i) * width + r;
        for (int64_t k = 0; k < l.cols; ++k) out.weight[size_t(at * l.cols + k)] = float(sum[size_t(k)]);
        if (!l.bias.empty() && with_bias) out.bias[size_t(at)] = float(bias);
      }
    return out;
  }

  Result<void> attention(const Chosen& c) {
    const Block& b = *c.block;
    const int64_t heads = b.whole.heads, dim = b.whole.qk, vdim = b.whole.v;
    // q, k and v apart, whether the file holds them together or not.
    Linear three[3];
    const int64_t rows[3] = {heads * dim, heads * dim, heads * vdim};
    if (b.qkv.size() == 1) {
      VIREO_ASSIGN(const Linear all, read(b.qkv[0]));
      int64_t first = 0;
      for (int i = 0; i < 3; ++i) {
        std::vector<int64_t> some(static_cast<size_t>(rows[i]));
        for (int64_t r = 0; r < rows[i]; ++r) some[size_t(r)] = first + r;
        three[i] = rows_of(all, some);
        first += rows[i];
      }
    } else {
      for (size_t i = 0; i < 3; ++i) {
        VIREO_ASSIGN(three[i], read(b.qkv[i]));
      }
    }
    const size_t qk = size_t(Part::kQk), v = size_t(Part::kV);
    if (c.levels[qk] != nullptr) {
      three[0] = project(three[0], c.parts[qk]->q, c.heads, dim, c.sizes.qk, true);
      three[1] = project(three[1], c.parts[qk]->k, c.heads, dim, c.sizes.qk, false);
    } else if (int64_t(c.heads.size()) < heads) {
      std::vector<int64_t> kept;
      for (const int64_t h : c.heads)
        for (int64_t r = 0; r < dim; ++r) kept.push_back(h * dim + r);
      three[0] = rows_of(three[0], kept), three[1] = rows_of(three[1], kept);
    }
    if (c.levels[v] != nullptr) {
      three[2] = rows_of(three[2], c.levels[v]->kept);
      VIREO_ASSIGN(const Linear proj, read(b.proj));
      store(b.proj, columns_of(proj, c.whole[v], c.levels[v]->weight, c.levels[v]->kept));
    }
    if (b.qkv.size() == 3) {
      for (size_t i = 0; i < 3; ++i) store(b.qkv[i], three[i]);
      return {};
    }
    Linear all;
    all.cols = three[0].cols;
    for (const Linear& l : three) {
      all.rows += l.rows;
      all.weight.insert(all.weight.end(), l.weight.begin(), l.weight.end());
      all.bias.insert(all.bias.end(), l.bias.begin(), l.bias.end());
    }
    store(b.qkv[0], all);
    return {};
  }

  Result<void> mlp(const Chosen& c) {
    const Block& b = *c.block;
    const size_t at = size_t(Part::kMlp);
    const std::vector<int64_t>& kept = c.levels[at]->kept;
    VIREO_ASSIGN(const Linear first, read(b.fc1));
    VIREO_ASSIGN(const Linear second, read(b.fc2));
    std::vector<int64_t> rows = kept;
    if (b.gated)
      for (const int64_t k : kept) rows.push_back(b.whole.mlp + k);
    store(b.fc1, rows_of(first, rows));
    store(b.fc2, columns_of(second, c.whole[at], c.levels[at]->weight, kept));
    return {};
  }

  const LoadedModel& model_;
  std::map<std::string, const TensorView*> views_;
  Replaced replaced_;
};

/// config.json with what has changed of each block, beside what it said before.
Result<std::string> configuration(const LoadedModel& model, const std::vector<Chosen>& blocks) {
  VIREO_ASSIGN(OrderedJson config, configuration_of(model));
  OrderedJson& structure = section_of(config, "structure");
  if (!structure.is_object()) structure = OrderedJson::object();
  for (const Chosen& c : blocks) {
    const BlockSizes &was = c.block->whole, &is = c.sizes;
    if (is == was) continue;
    OrderedJson& b = structure[c.block->name];
    if (!b.is_object()) b = OrderedJson::object();
    if (is.heads != was.heads) b["heads"] = is.heads;
    if (is.heads > 0 && is.qk != was.qk) b["qk"] = is.qk;
    if (is.heads > 0 && is.v != was.v) b["v"] = is.v;
    if (is.mlp != was.mlp) b["mlp"] = is.mlp;
  }
  return text_of(config);
}

}  // namespace

Result<void> narrow_tensors(const LoadedModel& model, const std::vector<Chosen>& blocks, Narrowing* narrowing) {
  Shrinker shrinker(model);
  for (const Chosen& c : blocks) VIREO_TRY(shrinker.shrink(c));
  VIREO_ASSIGN(narrowing->config, configuration(model, blocks));
  narrowing->tensors = shrinker.take();
  return {};
}

}  // namespace vireo::compress
