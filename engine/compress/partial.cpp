#include "compress/partial.h"

#include <algorithm>

#include "base/aligned.h"
#include "compress/sensitivity.h"
#include "tensor/tensor.h"

namespace vireo::compress {
namespace {

const std::string& value_of(const Block& b, Part p) {
  return p == Part::kQk ? b.qkv_value : p == Part::kV ? b.proj_value : b.fc2_value;
}

}  // namespace

/// Of q^T T_q^T T_k k, which are the narrower head's scores, all but k goes to the queries: keys that are no rows of
/// this value, such as a padded map's, then count as they do in the narrower head.
Result<void> Partial::narrow_scores(Runner& runner, const Block& b, const Narrowed& n, const Level& level,
                                    const std::vector<float>& before) {
  VIREO_ASSIGN(const Rows x, runner.value(b.qkv_value));
  VIREO_ASSIGN(float* const to, runner.edit(b.qkv_value));
  const int64_t dim = b.whole.qk, heads = b.whole.heads;
  std::vector<std::vector<float>> turn(static_cast<size_t>(heads));  // by head: [from][to] of T_k^T T_q, transposed
  for (int64_t h = 0; h < heads; ++h) {
    const std::vector<double>&q = n.q[size_t(h)], &k = n.k[size_t(h)];
    std::vector<double> sum(size_t(dim * dim), 0.0);
    for (int64_t r = 0; r < level.width; ++r)
      for (int64_t c = 0; c < dim; ++c)
        for (int64_t d = 0; d < dim; ++d) sum[size_t(c * dim + d)] += q[size_t(r * dim + c)] * k[size_t(r * dim + d)];
    turn[size_t(h)].assign(sum.begin(), sum.end());
  }
  pool_.parallel_for(x.rows, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      std::copy_n(before.data() + r * x.stride, x.stride, to + r * x.stride);
      for (int64_t h = 0; h < heads; ++h) {
        const float* const from = before.data() + r * x.stride + h * dim;
        float* const row = to + r * x.stride + h * dim;
        std::fill_n(row, dim, 0.f);
        for (int64_t c = 0; c < dim; ++c) {
          const float* const t = turn[size_t(h)].data() + c * dim;
          for (int64_t d = 0; d < dim; ++d) row[d] += from[c] * t[d];
        }
      }
    }
  });
  return {};
}

/// What the linear gave plus what its weights' change makes of its input.
Result<void> Partial::narrow_product(Runner& runner, const Block& b, const Narrowed& n, const Level& level,
                                     const std::vector<float>& weight, const std::vector<float>& before) {
  const bool mlp = n.part == Part::kMlp;
  VIREO_ASSIGN(const Rows in, runner.value(mlp ? b.act_value : b.mixed_value));
  VIREO_ASSIGN(const Rows out, runner.value(value_of(b, n.part)));
  VIREO_ASSIGN(float* const to, runner.edit(value_of(b, n.part)));
  std::vector<float> change(weight.size());
  for (size_t i = 0; i < weight.size(); ++i) change[i] = level.weight[i] - weight[i];
  const int64_t cols = in.cols, rows = out.cols;
  AlignedBuffer packed(simd::packed_weight_bytes(rows, cols, DType::kF32));
  if (!packed) throw std::bad_alloc();
  simd::pack_weight(change.data(), 0, rows, rows, cols, DType::kF32, packed.data(), nullptr);
  simd::GemmArgs product;
  product.a = in.data, product.lda = in.stride;
  product.m = in.rows, product.n = rows, product.k = cols;
  product.b = packed.data();
  product.residual = before.data(), product.ldr = out.stride;
  product.out = to, product.ldo = out.stride;
  run_kernel(device_.kernels->gemm, product, pool_);
  return {};
}

Result<void> Partial::measure(Runner& runner, const std::vector<const std::vector<float>*>& pictures,
                              const std::vector<Block>& blocks, const std::vector<std::vector<float>>& weights,
                              std::vector<Narrowed>* parts, const std::function<Result<void>()>& step) {
  for (const std::vector<float>* picture : pictures) {
    const float* const first = runner.run(*picture);
    const std::vector<float> answer(first, first + runner.output_rows() * runner.output_stride());
    // From the last to the first: what stands before a part is as the whole model left it.
    for (size_t p = parts->size(); p-- > 0;) {
      Narrowed& n = (*parts)[p];
      const Block& b = blocks[n.block];
      const std::string& name = value_of(b, n.part);
      VIREO_ASSIGN(const Rows x, runner.value(name));
      const std::vector<float> before(x.data, x.data + x.rows * x.stride);
      for (Level& level : n.levels) {
        VIREO_TRY(n.part == Part::kQk ? narrow_scores(runner, b, n, level, before)
                                      : narrow_product(runner, b, n, level, weights[p], before));
        VIREO_ASSIGN(const float* const now, runner.run_behind(name));
        level.kl += answer_difference(classes_, answer.data(), now, runner.output_rows(), runner.outputs(),
                                      runner.output_stride()) /
                    double(pictures.size());
      }
    }
    VIREO_TRY(step());
  }
  return {};
}

}  // namespace vireo::compress
