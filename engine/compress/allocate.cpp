// Which part of which block becomes how narrow, by what each alone does to the answer.
#include <algorithm>

#include "compress/structure.h"

namespace vireo::compress {
namespace {

struct Point {
  double saved, kl;
  int level;
};

/// One step along a part's hull.
struct Move {
  double slope;
  size_t part;
  int level;
  double saved;  // beside what was saved before it
};

}  // namespace

std::vector<int> allocate(const std::vector<Block>& blocks, const std::vector<Narrowed>& parts, double macs) {
  std::vector<Move> moves;
  for (size_t p = 0; p < parts.size(); ++p) {
    const Block& b = blocks[parts[p].block];
    std::vector<Point> hull = {{0, 0, -1}};
    for (size_t l = 0; l < parts[p].levels.size(); ++l) {
      const Level& level = parts[p].levels[l];
      if (!std::isfinite(level.kl)) continue;  // an answer that is no number is not free
      const Point next{double(b.width(parts[p].part) - level.width) * b.macs[size_t(parts[p].part)],
                       std::max(0.0, level.kl), int(l)};
      if (next.saved <= hull.back().saved) continue;
      // The last point is above the line from the one before it to this one: it is no corner.
      while (hull.size() > 1) {
        const Point &a = hull[hull.size() - 2], &m = hull.back();
        if ((m.kl - a.kl) * (next.saved - a.saved) < (next.kl - a.kl) * (m.saved - a.saved)) break;
        hull.pop_back();
      }
      hull.push_back(next);
    }
    for (size_t i = 1; i < hull.size(); ++i) {
      const double saved = hull[i].saved - hull[i - 1].saved;
      moves.push_back({(hull[i].kl - hull[i - 1].kl) / saved, p, hull[i].level, saved});
    }
  }
  std::stable_sort(moves.begin(), moves.end(), [](const Move& a, const Move& b) { return a.slope < b.slope; });
  std::vector<int> taken(parts.size(), -1);
  double saved = 0;
  for (const Move& m : moves) {
    if (saved >= macs) break;
    // A hull's slopes rise, so its steps come in their order; of equal slopes too, as the sort is stable.
    taken[m.part] = m.level;
    saved += m.saved;
  }
  return taken;
}

}  // namespace vireo::compress
