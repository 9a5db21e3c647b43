#include "compress/sensitivity.h"

#include <algorithm>

#include "base/divergence.h"

namespace vireo::compress {

Result<LoadedModel> open_coded(const LoadedModel& model, const std::string& config,
                               const std::vector<TensorView>& views) {
  ModelSource source = model.source();
  source.config = config;
  VIREO_ASSIGN(source.weights, Checkpoint::from_views(views, source.weights, source.path));
  const std::string path = source.path;
  return LoadedModel::from_parts(std::move(source), model.preprocessor_text(), path);
}

std::vector<std::vector<size_t>> layers_by_node(const Layers& layers, const std::vector<Scheme>& schemes) {
  std::vector<std::vector<size_t>> nodes;
  for (size_t i = 0; i < layers.all.size(); ++i) {
    if (!schemes[i].format.grid.coded()) continue;
    const bool same = !nodes.empty() && layers.all[nodes.back()[0]].node == layers.all[i].node;
    if (!same) nodes.emplace_back();
    nodes.back().push_back(i);
  }
  return nodes;
}

double mean_kl(const float* p, const float* q, int64_t rows, int64_t cols, int64_t stride) {
  double all = 0;
  for (int64_t r = 0; r < rows; ++r) all += kl_divergence(p + r * stride, q + r * stride, cols);
  return rows > 0 ? all / double(rows) : 0;
}

namespace {

double squared_difference(const float* p, const float* q, int64_t rows, int64_t cols, int64_t stride) {
  double difference = 0, square = 0;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < cols; ++i) {
      const double a = double(p[r * stride + i]), off = a - double(q[r * stride + i]);
      difference += off * off, square += a * a;
    }
  return square > 0 ? difference / square : 0;
}

}  // namespace

double answer_difference(bool classes, const float* before, const float* after, int64_t rows, int64_t cols,
                         int64_t stride) {
  return (classes ? mean_kl : squared_difference)(before, after, rows, cols, stride);
}

Result<void> Sensitivity::begin(const std::vector<std::vector<float>>& pictures, size_t count, Head head) {
  head_ = head;
  VIREO_ASSIGN(Graph g, model_.build(head, 1));
  VIREO_ASSIGN(const std::unique_ptr<Runner> runner, Runner::create(std::move(g), device_, pool_, false));
  const int64_t floats = runner->output_rows() * runner->output_stride();
  // Spread over all of them: neighbours in a folder are often alike.
  for (size_t i = 0; i < count; ++i) {
    pictures_.push_back(&pictures[i * pictures.size() / count]);
    const float* const answer = runner->run(*pictures_.back());
    answers_.emplace_back(answer, answer + floats);
  }
  return {};
}

Result<double> Sensitivity::of(const std::vector<size_t>& only) {
  std::vector<std::vector<StoredTensor>> some(coded_.size());
  for (const size_t i : only) some[i] = coded_[i];
  VIREO_ASSIGN(const LoadedModel changed, open_coded(model_, config_, all_views(model_, some, layers_)));
  VIREO_ASSIGN(Graph g, changed.build(head_, 1));
  VIREO_ASSIGN(const std::unique_ptr<Runner> runner, Runner::create(std::move(g), device_, pool_, false));
  double sum = 0;
  for (size_t i = 0; i < pictures_.size(); ++i) {
    const float* const answer = runner->run(*pictures_[i]);
    sum += answer_difference(model_.has_classes(), answers_[i].data(), answer, runner->output_rows(), runner->outputs(),
                             runner->output_stride());
  }
  return sum / double(std::max<size_t>(pictures_.size(), 1));
}

}  // namespace vireo::compress
