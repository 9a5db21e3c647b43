#include "compress/budget.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <tuple>

namespace vireo {

std::string Candidate::recipe() const {
  std::string all;
  for (const std::string* part : {&weights, &rows, &network})
    if (!part->empty()) all += (all.empty() ? "" : "+") + *part;
  return all;
}

std::string Candidate::name() const {
  std::string all = weights;
  if (share < 100) all += "/" + std::to_string(share) + "%";
  if (awq) all += "(awq)";
  if (!rows.empty()) all += (all.empty() ? "" : "+") + rows + (ranges.empty() ? "" : "(" + ranges + ")");
  if (!network.empty()) all += (all.empty() ? "" : "+") + network;
  return all;
}

}  // namespace vireo

namespace vireo::compress {
namespace {

constexpr int kShares[] = {75, 50, 25};
constexpr double kOtherAnswers = 0.1;  // of the KL: about one answer of ten is another

struct Limit {
  const char* name;
  double most;                     // of what `of` gives
  double (*of)(const Candidate&);  // smaller is better
};

double ms_of(const Candidate& c) { return c.ms; }
double mb_of(const Candidate& c) { return double(c.bytes) / 1e6; }
double kl_of(const Candidate& c) { return c.kl; }

std::vector<Limit> limits(const Budget& b) {
  std::vector<Limit> all;
  if (b.fps > 0) all.push_back({"target-fps", 1000 / b.fps, ms_of});
  if (b.mb > 0) all.push_back({"max-size", b.mb, mb_of});
  if (b.kl > 0) all.push_back({"max-kl", b.kl, kl_of});
  return all;
}

bool meets(const Candidate& c, const std::vector<Limit>& all, const char* but = "") {
  return c.known() && std::all_of(all.begin(), all.end(),
                                  [&](const Limit& l) { return std::string(but) == l.name || l.of(c) <= l.most; });
}

std::string text(const char* format, double x) {
  char out[64];
  std::snprintf(out, sizeof out, format, x);
  return out;
}

std::string figures(const Candidate& c, const Budget& b) {
  return "KL " + text("%.3g", c.kl) + ", " + text("%.3g", 1000 / c.ms) + " pictures/s on " + b.machine + ", " +
         text("%.3g", mb_of(c)) + " MB";
}

}  // namespace

bool has_few_bits(const std::string& format) { return format.size() > 1 && std::atoi(format.c_str() + 1) < 8; }

std::vector<Candidate> candidates(const std::vector<CompressEntry>& recipes) {
  std::vector<std::string> rows{""}, network{""}, attention;
  for (const CompressEntry& r : recipes) {
    if (!r.weights.empty() || r.searches) continue;
    if (!r.rows.empty()) rows.push_back(r.name);
    else (r.attention.empty() ? network : attention).push_back(r.name);
  }
  for (size_t i = 1, count = rows.size(); i < count; ++i)
    for (const std::string& a : attention) rows.push_back(rows[i] + "+" + a);
  std::vector<Candidate> all;
  for (const std::string& n : network) {
    for (const CompressEntry& w : recipes) {
      if (w.weights.empty() || !w.rows.empty()) continue;
      for (const std::string& r : rows) {
        Candidate c;
        c.weights = w.name, c.rows = r, c.network = n;
        all.push_back(c);
        // Where some rows have 8 bits anyway, linears of 8 bits would be a second way to the same end.
        if (!has_few_bits(w.weights) || w.weights.find('+') != std::string::npos) continue;
        for (const int share : kShares) c.share = share, all.push_back(c);
      }
    }
    if (n.empty()) continue;
    Candidate alone;
    alone.network = n;
    all.push_back(alone);
  }
  return all;
}

std::vector<std::string> kept_at_8_bits(const std::vector<CompressedLayer>& layers, int share) {
  struct Group {
    std::string node;
    double weights = 0, kl = 0;
  };
  std::vector<Group> nodes;  // query, key and value are one
  double all = 0;
  for (const CompressedLayer& l : layers) {
    if (l.kind != "linear" || !has_few_bits(l.format)) continue;
    const double n = double(l.rows) * double(l.cols);
    all += n;
    if (nodes.empty() || nodes.back().node != l.node)
      nodes.push_back({l.node, 0, std::isfinite(l.kl) ? std::max(0.0, l.kl) : INFINITY});
    nodes.back().weights += n;
  }
  std::stable_sort(nodes.begin(), nodes.end(), [](const Group& a, const Group& b) {
    return a.kl * b.weights > b.kl * a.weights;  // per weight
  });
  std::vector<std::string> kept;
  double few = all;
  for (const Group& g : nodes) {
    if (few <= all * share / 100) break;
    few -= g.weights;
    kept.push_back(g.node);
  }
  return kept;
}

std::vector<size_t> pareto_front(const std::vector<Candidate>& all) {
  const auto better = [&](size_t a, size_t b) {  // a is nowhere worse than b, and better somewhere or the earlier one
    const auto x = std::make_tuple(all[a].kl, all[a].ms, all[a].bytes);
    const auto y = std::make_tuple(all[b].kl, all[b].ms, all[b].bytes);
    return all[a].kl <= all[b].kl && all[a].ms <= all[b].ms && all[a].bytes <= all[b].bytes && (x != y || a < b);
  };
  std::vector<size_t> front;
  for (size_t i = 0; i < all.size(); ++i) {
    bool beaten = !all[i].known();
    for (size_t j = 0; j < all.size() && !beaten; ++j) beaten = j != i && all[j].known() && better(j, i);
    if (!beaten) front.push_back(i);
  }
  std::stable_sort(front.begin(), front.end(), [&](size_t a, size_t b) { return all[a].kl < all[b].kl; });
  return front;
}

std::vector<ChosenPoint> choose_points(const std::vector<Candidate>& all, const std::vector<size_t>& front,
                                       const Candidate& original) {
  std::vector<size_t> some;
  for (const size_t i : front)
    if (all[i].kl <= kOtherAnswers || some.size() < 3) some.push_back(i);
  if (some.empty()) return {};
  const double ms = std::max(original.ms, 1e-9), bytes = std::max(double(original.bytes), 1.0);
  const auto cost = [&](const Candidate& c) { return c.ms / ms + double(c.bytes) / bytes; };
  const auto log_kl = [](const Candidate& c) { return std::log(std::max(c.kl, 1e-9)); };
  std::vector<ChosenPoint> points{{"closest", some[0]}};
  const size_t cheapest =
      *std::min_element(some.begin(), some.end(), [&](size_t a, size_t b) { return cost(all[a]) < cost(all[b]); });
  // From nearest and dearest to furthest and cheapest, both as parts of the way.
  const double nearest = log_kl(all[some.front()]), furthest = log_kl(all[some.back()]);
  double dearest = 0;
  for (const size_t i : some) dearest = std::max(dearest, cost(all[i]));
  const auto part = [](double x, double from, double to) { return to > from ? (x - from) / (to - from) : 0; };
  const ChosenPoint* balanced = nullptr;
  ChosenPoint best{"balanced", 0};
  double least = std::numeric_limits<double>::infinity();
  for (const size_t i : some) {
    if (i == some[0] || i == cheapest) continue;
    const double off =
        std::hypot(part(log_kl(all[i]), nearest, furthest), part(cost(all[i]), cost(all[cheapest]), dearest));
    if (off < least) least = off, best.candidate = i, balanced = &best;
  }
  if (balanced != nullptr) points.push_back(*balanced);
  if (cheapest != some[0]) points.push_back({"cheapest", cheapest});
  return points;
}

double excess(const Candidate& c, const Budget& b) {
  if (!c.known()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (const Limit& l : limits(b)) worst = std::max(worst, l.of(c) / l.most);
  return worst;
}

Verdict choose(const std::vector<Candidate>& all, const Budget& b) {
  const std::vector<Limit> asked = limits(b);
  const bool smallest = b.kl > 0 && b.fps <= 0 && b.mb <= 0;
  const auto key = [&](const Candidate& c) {
    return smallest ? std::make_tuple(mb_of(c), c.ms, c.kl) : std::make_tuple(c.kl, c.ms, mb_of(c));
  };
  Verdict v;
  const Candidate* best = nullptr;
  for (const Candidate& c : all)
    if (meets(c, asked) && (best == nullptr || key(c) < key(*best))) best = &c;
  if (best != nullptr) {
    v.met = true, v.chosen = size_t(best - all.data());
    for (const Limit& l : asked)
      if (std::any_of(all.begin(), all.end(),
                      [&](const Candidate& c) { return meets(c, asked, l.name) && key(c) < key(*best); }))
        v.binds.push_back(l.name);
    std::string binds;
    for (const std::string& n : v.binds) binds += (binds.empty() ? "--" : " and --") + n;
    v.sentence = best->name() + " meets it (" + figures(*best, b) + "); " +
                 (binds.empty() ? "nothing stands in the way of a better one"
                                : binds + (v.binds.size() > 1 ? " bind" : " binds"));
    return v;
  }
  double least = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < all.size(); ++i)
    if (const double e = excess(all[i], b); e < least) least = e, v.chosen = i;
  // Limits that nothing meets, or else all of them, which can be met one by one only.
  std::string why;
  for (const Limit& l : asked) {
    const Candidate* nearest = nullptr;
    for (const Candidate& c : all)
      if (c.known() && (nearest == nullptr || l.of(c) < l.of(*nearest))) nearest = &c;
    if (nearest == nullptr || l.of(*nearest) <= l.most) continue;
    v.binds.push_back(l.name);
    why += (why.empty() ? "" : "; ") + std::string("nothing meets --") + l.name + ", nearest is " + nearest->name() +
           " with " + figures(*nearest, b);
  }
  if (v.binds.empty()) {
    for (const Limit& l : asked) v.binds.push_back(l.name);
    why = "each limit can be met, but not all of them by one model";
  }
  v.sentence = "the budget cannot be met: " + why + ". The closest is " + all[v.chosen].name() + " (" +
               figures(all[v.chosen], b) + ")";
  return v;
}

}  // namespace vireo::compress
