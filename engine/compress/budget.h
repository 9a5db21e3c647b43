// A budget and the candidates that may meet it: lists of recipes, the Pareto front, what binds. Nothing here runs a
// model.
#pragma once

#include <string>
#include <vector>

#include <vireo/budget.hpp>

namespace vireo::compress {

/// Every recipe for weights alone (those of few bits also for parts of the linears), with every recipe for rows alone
/// (also with every one for attention), with every recipe that says none of these. Recipes that are shorthands of
/// several of these are not looked at.
std::vector<Candidate> candidates(const std::vector<CompressEntry>& recipes);

/// Fewer than 8: what is worth giving to a part of the linears only. `format`: "i4g64", "i4g64+i8".
bool has_few_bits(const std::string& format);

/// The nodes of a model's linears that keep 8 bits when `share` percent of their weights get few bits: those whose few
/// bits move the answer most, for the bytes that they save. `layers`: of a run that gave all of them few bits and
/// measured what each costs.
std::vector<std::string> kept_at_8_bits(const std::vector<CompressedLayer>& layers, int share);

/// Of known candidates, by index: those that no other one is at least as good as in KL, ms and bytes, and better in
/// one. By rising KL.
std::vector<size_t> pareto_front(const std::vector<Candidate>& all);

/// Of a front as pareto_front() gives it the points that stand for it. Those whose answers are others (a KL above 0.1,
/// as often as there are three nearer ones) are not among them. `original`: for time and size.
std::vector<ChosenPoint> choose_points(const std::vector<Candidate>& all, const std::vector<size_t>& front,
                                       const Candidate& original);

/// How many times over the budget, in the worst of its limits; at most 1 where it is met. Of unknown numbers: infinite.
double excess(const Candidate& c, const Budget& b);

/// The least KL that meets the budget (with --max-kl alone the smallest file), and what stands in the way of a smaller
/// one. `all` holds a known one at least.
Verdict choose(const std::vector<Candidate>& all, const Budget& b);

}  // namespace vireo::compress
