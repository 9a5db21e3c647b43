// Runs a graph in double with the operators' own references: the truth that plans and rewrites are compared with.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "graph/graph.h"

namespace vireo::test {

/// Every value of the graph, dense, channels last; `inputs` in the order of graph.inputs. Constants pass through
/// `storage` first (the rounding a precision applies), if given.
std::vector<std::vector<double>> run_reference(
    const Graph& graph, const std::vector<std::vector<double>>& inputs,
    const std::function<void(const Node&, size_t operand, std::vector<double>&, int64_t cols)>& storage = {});

/// Deterministic numbers in [-scale, scale].
std::vector<double> noise(size_t n, uint64_t seed, double scale);

}  // namespace vireo::test
