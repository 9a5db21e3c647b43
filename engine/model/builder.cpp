#include "model/builder.h"

#include <algorithm>
#include <cmath>

#include "base/names.h"
#include "model/config_parts.h"

namespace vireo {
namespace {

constexpr int64_t kMaxMapFloats = 1 << 29;  // one value of one picture: 2 GiB
constexpr double kBatchNormEps = 1e-5;      // PyTorch's default, which all these networks keep

}  // namespace

OpKind activation_op(Activation act) {
  switch (act) {
    case Activation::kGeluErf: return OpKind::kGeluErf;
    case Activation::kGeluTanh: return OpKind::kGeluTanh;
    case Activation::kQuickGelu:
    case Activation::kSilu: return OpKind::kSilu;
    case Activation::kRelu: return OpKind::kRelu;
  }
  return OpKind::kGeluErf;
}

ValueId ModelBuilder::pixels(int64_t batch, int64_t h, int64_t w, int64_t channels) {
  if (batch < 1 || batch > 65536) {
    set_error(fail(ErrorCode::kInvalidArgument, "a batch of {} pictures is out of range; expected 1 to 65536", batch));
  }
  if (h < 1 || w < 1 || h > kMaxImageSide || w > kMaxImageSide) {
    set_error(fail(ErrorCode::kInvalidArgument,
                   "pictures of {} x {} are out of range; expected sides of 1 to {} pixels", h, w, kMaxImageSide));
  }
  if (!ok()) return kNoValue;
  return g_.input("pixels", TensorDesc{DType::kF32, Shape{{batch, h, w, channels}}, Layout::kPlanar});
}

Result<Graph> ModelBuilder::finish(ValueId v) {
  if (ok()) g_.output(v);
  if (ok() && source_.extension != nullptr)
    for (const auto& [block, sizes] : source_.extension->structure)
      if (blocks_.count(block) == 0)
        set_error(fail(ErrorCode::kCorrupt,
                       "'{}': quantization_config.vireo.structure names the block '{}', which {} does not have{}",
                       source_.config_path, block, source_.path,
                       known_names(block, std::vector<std::string>(blocks_.begin(), blocks_.end()))));
  if (ok() && source_.extension != nullptr && !source_.extension->merge.empty() && !asked_for_merging_)
    set_error(fail(ErrorCode::kUnsupported,
                   "'{}': quantization_config.vireo.tokens merges tokens, which {} cannot: its blocks work on maps of "
                   "them. A ViT, DeiT or DINOv2 with a class can",
                   source_.config_path, source_.path));
  VIREO_TRY(std::move(status_));
  return g_.finish();
}

BlockSizes ModelBuilder::sizes(const std::string& block, const BlockSizes& whole) {
  blocks_.insert(block);
  if (source_.extension == nullptr) return whole;
  const auto found = source_.extension->structure.find(block);
  if (found == source_.extension->structure.end()) return whole;
  BlockSizes s = whole;
  const auto take = [&](const char* what, int64_t given, int64_t most, int64_t* to) {
    if (given < 0) return;
    if (given > most)
      set_error(
          fail(ErrorCode::kCorrupt,
               "'{}': quantization_config.vireo.structure gives the block '{}' {} {}, expected at most the {} that "
               "the network has",
               source_.config_path, block, what, given, most));
    *to = std::min(given, most);
  };
  take("heads", found->second.heads, whole.heads, &s.heads);
  take("qk", found->second.qk, whole.qk, &s.qk);
  take("v", found->second.v, whole.v, &s.v);
  take("mlp", found->second.mlp, whole.mlp, &s.mlp);
  return s;
}

ConstantPtr ModelBuilder::take(Result<ConstantPtr> loaded) {
  if (loaded) return std::move(*loaded);
  set_error(std::move(loaded.error()));
  return nullptr;
}

ConstantPtr ModelBuilder::weight(const std::string& name, const std::vector<int64_t>& shape, int64_t rows, int64_t cols,
                                 WeightInit init) {
  return ok() ? take(load_weight(source_, name, shape, reason_, rows, cols, init)) : nullptr;
}

ConstantPtr ModelBuilder::part(const std::string& name, const std::vector<int64_t>& shape, int64_t first, int64_t rows,
                               int64_t cols, WeightInit init) {
  if (!ok()) return nullptr;
  if (source_.weights != nullptr) return take(source_.weights->constant(name, shape, reason_, first, rows, cols));
  return take(load_weight(source_, name + "#" + std::to_string(first), shape, reason_, rows, cols, init));
}

ValueId ModelBuilder::constant(const std::string& name, ConstantPtr value) {
  return value == nullptr ? kNoValue : g_.constant(name, std::move(value));
}

ValueId ModelBuilder::add(OpKind op, const std::string& name, std::vector<ValueId> inputs,
                          std::vector<std::pair<const char*, double>> attrs) {
  const ValueId out = ok() ? g_.add(op, name, std::move(inputs), std::move(attrs)) : kNoValue;
  const Shape& s = shape(out);
  if (out != kNoValue && s.elements() / s.n() > kMaxMapFloats) {
    set_error(fail(ErrorCode::kInvalidArgument,
                   "'{}' of model '{}' would have {} x {} pixels of {} values for one picture, more than "
                   "any machine should be asked for; choose a smaller input",
                   name, source_.path, s.h(), s.w(), s.c()));
    return kNoValue;
  }
  return out;
}

ValueId ModelBuilder::layer_norm(ValueId x, const std::string& tensor, double eps, const std::string& name) {
  const int64_t width = shape(x).c();
  ConstantPtr gamma = vector(tensor + ".weight", width, {1.f, 0.02f});
  ConstantPtr beta = bias(tensor, width);
  if (!ok()) return kNoValue;
  const ValueId g = constant(tensor + ".weight", std::move(gamma));
  return add(OpKind::kLayerNorm, name, {x, g, constant(tensor + ".bias", std::move(beta))}, {{"eps", eps}});
}

ValueId ModelBuilder::linear(ValueId x, const std::string& tensor, int64_t out, bool has_bias, const std::string& name,
                             float weight_factor, float bias_factor) {
  ConstantPtr w = matrix(tensor, out, shape(x).c());
  ConstantPtr b = has_bias ? bias(tensor, out) : nullptr;
  if (!ok()) return kNoValue;
  if (weight_factor != 1.f) w = scale_constant(w, weight_factor);
  if (b != nullptr && bias_factor != 1.f) b = scale_constant(b, bias_factor);
  const ValueId wv = constant(tensor + ".weight", std::move(w));
  return add(OpKind::kLinear, name, {x, wv, constant(tensor + ".bias", std::move(b))});
}

ValueId ModelBuilder::stacked_linear(ValueId x, std::vector<ConstantPtr> weights, std::vector<ConstantPtr> biases,
                                     const std::string& tensor, const std::string& name) {
  if (!ok()) return kNoValue;
  bool biased = false;
  for (const ConstantPtr& b : biases) biased = biased || b != nullptr;
  for (size_t i = 0; i < biases.size(); ++i) {
    if (biases[i] == nullptr) biases[i] = fill_constant(1, weights[i]->rows(), 0.f);
  }
  const ValueId w = constant(tensor + ".weight", stack_rows(std::move(weights)));
  return add(OpKind::kLinear, name,
             {x, w, biased ? constant(tensor + ".bias", stack_cols(std::move(biases))) : kNoValue});
}

ValueId ModelBuilder::conv(ValueId x, const ConvLayer& l, const std::string& name) {
  const int64_t fan_in = l.in / l.groups * l.kernel * l.kernel;
  // Random weights of the scale that keeps activations of the order of one (He et al. 2015): without LayerNorm in
  // between a smaller one would end in denormal numbers.
  const float sigma = std::sqrt(2.f / float(fan_in));
  ConstantPtr w = weight(l.conv + ".weight", {l.out, l.in / l.groups, l.kernel, l.kernel}, l.out, fan_in, {0.f, sigma});
  ConstantPtr b = l.bias ? bias(l.conv, l.out) : nullptr;
  if (!l.norm.empty()) {
    const ConstantPtr gamma = vector(l.norm + ".weight", l.out, {1.f, 0.02f}), beta = bias(l.norm, l.out);
    const ConstantPtr mean = vector(l.norm + ".running_mean", l.out, {0.f, 0.02f});
    const ConstantPtr var = vector(l.norm + ".running_var", l.out, {1.f, 0.f});
    if (!ok()) return kNoValue;
    const std::vector<float> g = gamma->read_all(), be = beta->read_all(), m = mean->read_all(), v = var->read_all();
    const std::vector<float> offset = b == nullptr ? std::vector<float>(size_t(l.out), 0.f) : b->read_all();
    std::vector<float> gain(size_t(l.out)), shift(size_t(l.out));
    for (size_t i = 0; i < gain.size(); ++i) {
      if (v[i] < 0) {
        set_error(fail(ErrorCode::kCorrupt,
                       "tensor '{}.running_var' holds {} at [{}], expected variances of 0 or more; the "
                       "weights are damaged, use another copy",
                       l.norm, v[i], i));
        return kNoValue;
      }
      const double factor = double(g[i]) / std::sqrt(double(v[i]) + kBatchNormEps);
      gain[i] = float(factor);
      shift[i] = float(double(be[i]) + (double(offset[i]) - double(m[i])) * factor);
    }
    w = scale_rows(std::move(w), make_constant(1, l.out, std::move(gain)));
    b = make_constant(1, l.out, std::move(shift));
  }
  if (!ok()) return kNoValue;
  const ValueId wv = constant(l.conv + ".weight", std::move(w));
  const ValueId bv = constant(l.conv + ".bias", std::move(b));
  if (l.kernel == 1 && l.stride == 1 && l.groups == 1) return add(OpKind::kLinear, name, {x, wv, bv});
  const double kernel = double(l.kernel), stride = double(l.stride), dilation = double(l.dilation);
  const double pad = double((l.kernel - 1) / 2 * l.dilation);
  return add(OpKind::kConv2d, name, {x, wv, bv},
             {{"kernel_h", kernel},
              {"kernel_w", kernel},
              {"stride_h", stride},
              {"stride_w", stride},
              {"pad_h", pad},
              {"pad_w", pad},
              {"dilation_h", dilation},
              {"dilation_w", dilation},
              {"groups", double(l.groups)}});
}

ValueId ModelBuilder::activation(ValueId x, Activation act, const std::string& name) {
  return add(activation_op(act), name, {x});
}

ValueId ModelBuilder::attention(ValueId x, const BlockSizes& s, int64_t dim, const std::string& name,
                                std::vector<ValueId> rest, std::vector<std::pair<const char*, double>> attrs) {
  rest.insert(rest.begin(), x);
  attrs.insert(attrs.begin(), {"heads", double(s.heads)});
  if (s.qk != dim || s.v != dim) {
    attrs.emplace_back("scale", 1.0 / std::sqrt(double(dim)));
    attrs.emplace_back("qk_dim", double(s.qk));
  }
  return add(OpKind::kAttention, name, std::move(rest), std::move(attrs));
}

ValueId ModelBuilder::resize(ValueId x, int64_t h, int64_t w, bool align_corners, const std::string& name) {
  if (shape(x).h() == h && shape(x).w() == w) return x;
  return add(OpKind::kResize, name, {x},
             {{"out_h", double(h)}, {"out_w", double(w)}, {"mode", 1.0}, {"align_corners", align_corners ? 1.0 : 0.0}});
}

}  // namespace vireo
