// What the families build graphs with: weights by name (random ones where there is no checkpoint) and the layers that
// all networks have.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "model/config.h"
#include "model/family.h"

namespace vireo {

/// A convolution with its batch norm: tensors `conv`.weight [out, in / groups, kernel, kernel] and, where `bias`,
/// `conv`.bias; `norm`.weight, .bias, .running_mean and .running_var, or none if `norm` is empty.
struct ConvLayer {
  std::string conv, norm;
  int64_t in = 0, out = 0;
  int64_t kernel = 1, stride = 1, groups = 1, dilation = 1;
  bool bias = false;
};

/// Builds one graph. The first failure is kept and finish() returns it; until then null constants and kNoValue flow
/// harmlessly through every call.
class ModelBuilder {
 public:
  /// `reason` says in messages where the expected shapes come from: "from 'config.json'".
  ModelBuilder(const ModelSource& source, std::string graph_name, std::string reason)
      : source_(source), reason_(std::move(reason)), g_(std::move(graph_name)) {}

  bool ok() const { return status_.ok(); }
  void set_error(Error e) {
    if (ok()) status_ = std::move(e);
  }
  const ModelSource& source() const { return source_; }
  bool has(const std::string& tensor) const { return source_.weights != nullptr && source_.weights->has(tensor); }
  const Shape& shape(ValueId v) const { return g_.shape(v); }

  /// The picture, planar [batch, h, w, channels], named "pixels".
  ValueId pixels(int64_t batch, int64_t h, int64_t w, int64_t channels);
  /// `v` is the graph's one output.
  Result<Graph> finish(ValueId v);

  // ---- weights; a vector is [1, size]

  ConstantPtr weight(const std::string& name, const std::vector<int64_t>& shape, int64_t rows, int64_t cols,
                     WeightInit init);
  /// Rows [first, first + rows) of a tensor that has more.
  ConstantPtr part(const std::string& name, const std::vector<int64_t>& shape, int64_t first, int64_t rows,
                   int64_t cols, WeightInit init);
  ConstantPtr vector(const std::string& name, int64_t size, WeightInit init) {
    return weight(name, {size}, 1, size, init);
  }
  ConstantPtr bias(const std::string& name, int64_t size) { return vector(name + ".bias", size, {0.f, 0.02f}); }
  ConstantPtr matrix(const std::string& name, int64_t out, int64_t in) {
    return weight(name + ".weight", {out, in}, out, in, {0.f, 0.02f});
  }
  ValueId constant(const std::string& name, ConstantPtr value);

  /// The sizes of a transformer block, named as in plans: `whole`, or less where the configuration's extension says so.
  BlockSizes sizes(const std::string& block, const BlockSizes& whole);
  /// How many tokens each block merges, where the configuration's extension says so. A network that does not ask cannot
  /// merge, and finish() refuses it.
  std::vector<int64_t> merge_schedule() {
    asked_for_merging_ = true;
    return source_.extension != nullptr ? source_.extension->merge : std::vector<int64_t>();
  }

  // ---- operators; `name` is the node's

  ValueId add(OpKind op, const std::string& name, std::vector<ValueId> inputs,
              std::vector<std::pair<const char*, double>> attrs = {});
  /// Tensors `tensor`.weight and .bias; the width is x's.
  ValueId layer_norm(ValueId x, const std::string& tensor, double eps, const std::string& name);
  /// x * weight^T + bias, both multiplied by a factor at load; the input's width is x's.
  ValueId linear(ValueId x, const std::string& tensor, int64_t out, bool has_bias, const std::string& name,
                 float weight_factor = 1.f, float bias_factor = 1.f);
  /// A linear over tensors that are stacked: [q; k; v]. A null bias is zero; none at all if all are null.
  ValueId stacked_linear(ValueId x, std::vector<ConstantPtr> weights, std::vector<ConstantPtr> biases,
                         const std::string& tensor, const std::string& name);
  /// Zero padded to keep the size at stride 1 (an odd kernel). Batch norm is folded into weights and bias
  /// (W' = W gain, b' = beta + (b - mean) gain, gain = gamma / sqrt(var + 1e-5); Ioffe and Szegedy 2015); 1x1 becomes a
  /// linear.
  ValueId conv(ValueId x, const ConvLayer& layer, const std::string& name);
  ValueId activation(ValueId x, Activation act, const std::string& name);
  /// softmax(q k^T scale) v over the rows of x; `dim`: width of a whole head, from which the scale is. `rest`: further
  /// operands and attributes.
  ValueId attention(ValueId x, const BlockSizes& s, int64_t dim, const std::string& name,
                    std::vector<ValueId> rest = {}, std::vector<std::pair<const char*, double>> attrs = {});
  /// Bilinear, to h x w; x itself where it has that size.
  ValueId resize(ValueId x, int64_t h, int64_t w, bool align_corners, const std::string& name);
  ValueId mean(ValueId x, int64_t start, const std::string& name) {
    return add(OpKind::kMean, name, {x}, {{"start", double(start)}});
  }

 private:
  ConstantPtr take(Result<ConstantPtr> loaded);

  const ModelSource& source_;
  std::string reason_;
  GraphBuilder g_;
  Result<void> status_;
  std::set<std::string> blocks_;  // whose sizes were asked for
  bool asked_for_merging_ = false;
};

/// The operator of an activation; quick_gelu is SiLU here, its factors go into the weights around it.
OpKind activation_op(Activation act);

}  // namespace vireo
