// The fusion table. A rule looks at one node; if it matches there, it rewrites the graph. Every rule carries an example
// graph on which the tests compare the reference before and after.
#pragma once

#include "graph/graph.h"
#include "plan/policy.h"

namespace vireo {

/// The graph under rewrite, with what rules ask about it.
class Rewriter {
 public:
  Rewriter(Graph& g, const FormatPolicy& policy, DeviceKind device) : graph_(g), policy_(policy), device_(device) {
    refresh();
  }

  Graph& graph() { return graph_; }
  /// Index of the node that writes v, or -1.
  int producer(ValueId v) const { return v == kNoValue ? -1 : producer_[size_t(v)]; }
  int uses(ValueId v) const { return v == kNoValue ? 0 : uses_[size_t(v)]; }
  bool is_output(ValueId v) const;
  /// The constant is codes, or the policy makes it codes: what they stand for must not change.
  bool is_coded(ValueId v) const { return format(v).grid.coded(); }
  /// Whether a shader makes codes of the rows that it multiplies.
  bool gpu_codes_rows(ValueId v) const {
    const Value& value = graph_.value(v);
    return policy_.gpu_integers && is_coded(v) && policy_.rows_of(value.name, value.constant->row_codes()).coded();
  }
  /// The format that the policy gives a constant.
  Format format(ValueId v) const;
  /// The rows that a weight of codes multiplies become codes on this device.
  bool codes_rows(ValueId v) const;
  DeviceKind device() const { return device_; }
  /// Adds a constant value and returns it.
  ValueId add_constant(std::string name, ConstantPtr c);
  /// Removes node `i` (its output must have no reader left) and refreshes the tables.
  void remove(int i);
  void refresh();

 private:
  Graph& graph_;
  const FormatPolicy& policy_;
  DeviceKind device_;
  std::vector<int> producer_, uses_;
};

struct FuseRule {
  const char* name;
  /// Tries the rule with node `i` as the pattern's last node. True if the graph changed.
  bool (*apply)(Rewriter& r, int i);
  /// A small graph on which the rule fires.
  Result<Graph> (*example)();
};

const std::vector<FuseRule>& fuse_rules();

}  // namespace vireo
