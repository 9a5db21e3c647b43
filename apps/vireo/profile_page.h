// One self-contained HTML page of one or two profiles (JSON of vireo::profile_json).
#pragma once

#include <string>

#include "cli.h"

namespace cli {

/// `profiles`: an array of one or two. The page needs no network, no other file, and follows the reader's light or dark
/// theme.
std::string profile_page(const Json& profiles);
/// What `vireo profile --json` wrote, checked for all that the page reads; `name` is for messages. Throws Failure.
Json parse_profile(const std::string& text, const std::string& name);

}  // namespace cli
