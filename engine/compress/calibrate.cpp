#include "compress/calibrate.h"

#include <algorithm>
#include <set>

#include "compress/tokens.h"

namespace vireo::compress {
namespace {

constexpr uint64_t kLeastMoments = 64ull << 20;

}  // namespace

/// Whether a layer that multiplies this value needs its second moments.
bool Calibration::has_products(const std::string& input) const {
  for (size_t i = 0; i < layers_.all.size(); ++i)
    if (layers_.all[i].input == input && needs_[i].products) return true;
  return false;
}

RangeStatistics::Looks Calibration::looks_of(const std::string& input) const {
  for (size_t i = 0; i < layers_.all.size(); ++i)
    if (layers_.all[i].input == input && needs_[i].range != nullptr) return needs_[i].range->looks;
  return {};
}

std::vector<std::vector<size_t>> groups_by_memory(const LoadedModel& model, const Layers& layers,
                                                  const std::function<bool(size_t)>& looks,
                                                  const std::function<uint64_t(size_t)>& bytes) {
  uint64_t stored = 0;
  for (const auto& [name, view] : model.source().weights->tensors()) stored += view.bytes;
  const uint64_t most = std::max(kLeastMoments, stored / 2);
  std::vector<std::vector<size_t>> all;
  std::set<std::string> inputs;  // of the last group
  uint64_t used = 0;
  for (size_t i = 0; i < layers.all.size(); ++i) {
    if (!looks(i)) continue;
    const std::string& input = layers.all[i].input;
    const bool more = inputs.count(input) == 0;
    if (all.empty() || (more && used + bytes(i) > most)) all.emplace_back(), inputs.clear(), used = 0;
    all.back().push_back(i);
    if (inputs.insert(input).second) used += bytes(i);
  }
  return all;
}

std::vector<std::vector<size_t>> Calibration::groups() const {
  return groups_by_memory(
      model_, layers_, [this](size_t i) { return needs_[i].looks; },
      [this](size_t i) {
        const Layer& l = layers_.all[i];
        return (has_products(l.input) ? Moments::bytes(l.cols) : 0) +
               RangeStatistics::bytes(l.cols, looks_of(l.input), pictures_.size());
      });
}

Result<SeenValues> Calibration::run(const std::vector<size_t>& group, const Progress& step) const {
  VIREO_ASSIGN(Graph g, model_.build(model_.has_classes() ? Head::kLogits : Head::kFeatures, 1));
  VIREO_ASSIGN(const std::unique_ptr<Runner> runner, Runner::create(std::move(g), device_, pool_, true));
  const bool merges = merges_tokens(model_);
  SeenValues seen;
  for (size_t p = 0; p < pictures_.size(); ++p) {
    runner->run(pictures_[p]);
    for (const size_t i : group) {
      const Layer& l = layers_.all[i];
      VIREO_ASSIGN(const Rows rows, runner->value(l.input));
      if (rows.cols != l.cols)
        return fail(ErrorCode::kInternal, "calibration: '{}' has {} columns, expected {}", l.input, rows.cols, l.cols);
      // Where tokens are merged, the last value has the fewest.
      const bool all =
          rows.rows == layers_.tokens || (merges && l.kind == LayerKind::kInner && rows.rows >= layers_.tokens);
      const auto tokens = all ? layers_.answer_tokens : std::vector<int64_t>();
      const auto found = seen.find(l.input);
      Seen& s = found != seen.end() ? found->second
                                    : seen.emplace(l.input, Seen{Moments(l.cols, tokens, has_products(l.input)),
                                                                 RangeStatistics(l.cols, looks_of(l.input))})
                                          .first->second;
      if (s.moments.pictures() > p) continue;  // several layers read this value
      if (!s.moments.add(rows, *device_.kernels, pool_))
        return fail(ErrorCode::kCorrupt,
                    "model '{}': the input of '{}' is not finite for picture {} of {}; nothing can be calibrated with "
                    "it. The model overflows in fp32: use another checkpoint or other pictures",
                    model_.source().path, l.node, p + 1, pictures_.size());
      s.range.add(rows);
    }
    VIREO_TRY(step(fmt::format("picture {} of {}", p + 1, pictures_.size()), kCalibrationWork));
  }
  return seen;
}

}  // namespace vireo::compress
