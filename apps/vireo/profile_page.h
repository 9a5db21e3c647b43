// One self-contained HTML page of one or two profiles (JSON of vireo::profile_json).
#pragma once

#include <string>

#include "cli.h"

namespace cli {

/// `profiles`: an array of one or two; `comparison`: what compare_profiles() says of two, or null.
std::string profile_page(const Json& profiles, const Json& comparison = nullptr);
/// What `vireo profile --json` wrote, checked for all that the page reads; `name` is for messages. Throws Failure.
Json parse_profile(const std::string& text, const std::string& name);

}  // namespace cli
