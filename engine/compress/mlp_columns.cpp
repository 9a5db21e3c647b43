// Channels of an MLP that go: columns of its second linear one after another by Optimal Brain Surgeon (obs.h), with the
// rows of the first that made them.
#include "compress/narrow.h"
#include "compress/obs.h"

namespace vireo::compress {
namespace {

Result<Narrowed> mlp_columns(const Block& b, const BlockMoments& m, const std::vector<float>& weight,
                             const std::vector<int64_t>&, const std::vector<int64_t>& widths, ThreadPool& pool) {
  const int64_t cols = b.whole.mlp, rows = int64_t(weight.size()) / cols;
  VIREO_ASSIGN(Elimination e, Elimination::create(weight, rows, m.hidden->hessian(b.last), kRidge, pool));
  Narrowed all;
  all.part = Part::kMlp;
  int64_t left = cols;
  for (const int64_t width : widths) {
    for (; left > width; --left) e.remove(e.least(0, cols), pool);
    all.levels.push_back(level_of(e, width));
  }
  return all;
}

}  // namespace

const Narrower kMlpColumns = {
    "mlp-columns", "channels of MLPs go one after another; the second linear makes good what it can",
    "Optimal Brain Surgeon (Hassibi and Stork 1993) with ridge towards the old weights", Part::kMlp, mlp_columns};

}  // namespace vireo::compress
