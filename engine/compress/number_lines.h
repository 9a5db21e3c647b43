// Lines of a policy about a network's values: `rows|gelu|operands|softmax|layernorm GRID BITS [token|tensor]` and
// `integer softmax|gelu|layernorm BITS [token|tensor]`, in simulation and in checkpoints.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "ops/rounded.h"

namespace vireo::compress {

/// False where the words are another kind of line. Errors: kInvalidArgument, `where` first.
Result<bool> parse_numbers(const std::vector<std::string>& words, const std::string& where, NumberGrids* grids);
/// Errors: kInvalidArgument (lines that contradict each other).
Result<void> check_numbers(const NumberGrids& grids, const std::string& source);
/// Takes such lines out of a policy's text. Errors: both of the above.
Result<NumberGrids> numbers_of_policy(std::string* text, const std::string& source);

}  // namespace vireo::compress
