// Two profiles step by step.
#pragma once

#include <string>

#include "cli.h"

namespace cli {

/// What two files of `vireo profile --json` (checked by parse_profile) differ in, schema "vireo-comparison/1": both
/// totals, every step that both have with its times alone, the largest change first, and the steps that one alone has.
/// Steps are told by their names in the graph, and where a name comes again by which time it is; a step that runs as
/// several dispatches is their sum.
Json compare_profiles(const Json& a, const Json& b, const std::string& a_file, const std::string& b_file);
/// As a table; the twenty steps that changed most unless `all`.
void print_comparison(const Json& comparison, bool all);

}  // namespace cli
