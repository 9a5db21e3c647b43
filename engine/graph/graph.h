// The graph of standard operators that a model is built into and that fusion rewrites. Pure data.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "graph/constant.h"
#include "ops/op.h"
#include "tensor/tensor.h"

namespace vireo {

using ValueId = int32_t;  // index into Graph::values; kNoValue for an absent optional operand
constexpr ValueId kNoValue = -1;

/// A named tensor: an activation (constant == null) or a weight.
struct Value {
  std::string name;
  TensorDesc desc;       // for a constant: shape [1, 1, rows, cols], dtype f32
  ConstantPtr constant;  // set for weights
};

struct Node {
  std::string name;  // the name of its output: "blocks.3.mlp.fc1"
  OpKind op{};
  Attrs attrs{};
  std::vector<ValueId>
      inputs;  // operands in the operator's order, activations and weights; trailing optional ones may be missing
  ValueId output = kNoValue;
};

/// Values and nodes; nodes are in execution order (an invariant that every builder and rewrite keeps).
struct Graph {
  std::string name;
  std::vector<Value> values;
  std::vector<Node> nodes;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  Products attention = Products::kF32;  // what the checkpoint says of attention's products, as of its codes: a policy
                                        // that keeps what is stored takes it

  const Value& value(ValueId v) const { return values[size_t(v)]; }
};

/// What a node's operator is told of it; `out` only where the node's value exists.
OpCall op_call(const Graph& g, const Node& n);

/// Builds a graph call by call; the first error sticks and is returned by finish().
class GraphBuilder {
 public:
  explicit GraphBuilder(std::string graph_name) { graph_.name = std::move(graph_name); }

  ValueId input(std::string name, TensorDesc desc);
  ValueId constant(std::string name, ConstantPtr c);

  /// Appends a node and infers its output. `attrs` names attributes of the operator: {{"heads", 12}}.
  ValueId add(OpKind op, std::string name, std::vector<ValueId> inputs,
              std::vector<std::pair<const char*, double>> attrs = {});
  void output(ValueId v) { graph_.outputs.push_back(v); }

  const Shape& shape(ValueId v) const;
  Result<Graph> finish();

 private:
  Graph graph_;
  Result<void> error_;
  Shape none_;
};

/// Checks every node again (operands exist, shapes agree, order is executable).
Result<void> validate(const Graph& g);
/// Stable text, one line per node.
std::string dump(const Graph& g);
/// For each value the number of nodes that read it, plus one if it is an output.
std::vector<int> use_counts(const Graph& g);

}  // namespace vireo
