// quantization_config.vireo.grids: values of the network that are rounded to grids while it runs, and functions that
// are computed in integers, as operators of the graph. They run on the CPU; a plan for a GPU has these steps there.
#pragma once

#include <string>

#include "base/error.h"
#include "graph/graph.h"
#include "model/fields.h"
#include "ops/rounded.h"

namespace vireo {

/// {"layernorm": {"grid": "ptf", "bits": 8}, "integer": {"softmax": {"bits": 8, "scope": "tensor"}}, "fits": {...}}.
/// `where` and `source` for messages. Errors: kCorrupt, kUnsupported (a grid, key or scope that is not known).
Result<NumberGrids> parse_number_grids(const Json& section, const std::string& where, const std::string& source);
/// The section's text again.
std::string number_grids_text(const NumberGrids& grids);

/// Puts the operators between the graph's. Errors: kUnsupported (attention in windows or with a bias; a LayerNorm in
/// integers that adds to another value), kCorrupt (a fitted grid without numbers for a value, or with wrong ones).
Result<void> round_numbers(const NumberGrids& grids, const std::string& source, Graph* graph);

}  // namespace vireo
