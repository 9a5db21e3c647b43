// What one narrower part does to the answer: only what stands behind it runs again.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "compress/narrow.h"
#include "compress/runner.h"

namespace vireo::compress {

class Partial {
 public:
  Partial(const Device::Impl& device, ThreadPool& pool, bool classes)
      : device_(device), pool_(pool), classes_(classes) {}

  /// Fills Level::kl of all parts: the mean over `pictures` of KL(whole || this part alone at this width), of a model
  /// without classes the squared difference over the square. `weights`, by part: of the linear behind it. The parts of
  /// a block follow each other in the order of execution (qk, v, mlp), and so do blocks.
  Result<void> measure(Runner& runner, const std::vector<const std::vector<float>*>& pictures,
                       const std::vector<Block>& blocks, const std::vector<std::vector<float>>& weights,
                       std::vector<Narrowed>* parts, const std::function<Result<void>()>& step);

 private:
  Result<void> narrow_scores(Runner& runner, const Block& b, const Narrowed& n, const Level& level,
                             const std::vector<float>& rows);
  Result<void> narrow_product(Runner& runner, const Block& b, const Narrowed& n, const Level& level,
                              const std::vector<float>& weight, const std::vector<float>& before);

  const Device::Impl& device_;
  ThreadPool& pool_;
  bool classes_;
};

}  // namespace vireo::compress
