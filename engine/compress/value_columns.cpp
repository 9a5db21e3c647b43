// Channels of values that go, as many from every head: columns of the attention's output projection one after another
// by Optimal Brain Surgeon (obs.h), with the rows of v that made them. Whole heads go in the same way.
#include <algorithm>
#include <numeric>

#include "compress/narrow.h"
#include "compress/obs.h"

namespace vireo::compress {
namespace {

Result<Elimination> elimination_of(const Block& b, const BlockMoments& m, const std::vector<float>& proj,
                                   ThreadPool& pool) {
  const int64_t cols = b.whole.heads * b.whole.v;
  return Elimination::create(proj, int64_t(proj.size()) / cols, m.mixed->hessian(b.last), kRidge, pool);
}

Result<Narrowed> value_columns(const Block& b, const BlockMoments& m, const std::vector<float>& weight,
                               const std::vector<int64_t>& heads, const std::vector<int64_t>& widths,
                               ThreadPool& pool) {
  const int64_t dim = b.whole.v;
  VIREO_ASSIGN(Elimination e, elimination_of(b, m, weight, pool));
  for (int64_t h = 0; h < b.whole.heads; ++h)
    if (std::find(heads.begin(), heads.end(), h) == heads.end())
      for (int64_t k = h * dim; k < (h + 1) * dim; ++k) e.remove(k, pool);
  Narrowed all;
  all.part = Part::kV;
  int64_t left = dim;
  for (const int64_t width : widths) {
    for (; left > width; --left)
      for (const int64_t h : heads) e.remove(e.least(h * dim, dim), pool);
    all.levels.push_back(level_of(e, width));
  }
  return all;
}

}  // namespace

Result<std::vector<int64_t>> heads_to_keep(const Block& b, const BlockMoments& m, const std::vector<float>& proj,
                                           int64_t count, ThreadPool& pool) {
  std::vector<int64_t> heads(size_t(b.whole.heads));
  std::iota(heads.begin(), heads.end(), int64_t(0));
  if (count >= b.whole.heads) return heads;
  VIREO_ASSIGN(Elimination e, elimination_of(b, m, proj, pool));
  const auto columns = [&](int64_t head) {
    std::vector<int64_t> all(size_t(b.whole.v));
    std::iota(all.begin(), all.end(), head * b.whole.v);
    return all;
  };
  while (int64_t(heads.size()) > count) {
    size_t best = 0;
    double least = 0;
    for (size_t i = 0; i < heads.size(); ++i) {
      VIREO_ASSIGN(const double loss, e.loss(columns(heads[i])));
      if (i == 0 || loss < least) best = i, least = loss;
    }
    for (const int64_t k : columns(heads[best])) e.remove(k, pool);
    heads.erase(heads.begin() + int64_t(best));
  }
  return heads;
}

const Narrower kValueColumns = {"value-columns",
                                "channels of values go, as many from every head; the output projection makes good what "
                                "it can",
                                "Optimal Brain Surgeon (Hassibi and Stork 1993) with ridge towards the old weights",
                                Part::kV, value_columns};

}  // namespace vireo::compress
