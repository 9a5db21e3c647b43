// The pages that the tool writes: one file each, without network, from the parts in apps/vireo/page/.
#pragma once

#include <string>

#include "cli.h"

namespace cli {

/// A page that shows `data`: page.css, common.js and the `script` of that name ("profile.js") around it. It follows the
/// reader's light or dark theme, any width from a telephone's on, and prints.
std::string html_page(const std::string& title, const std::string& script, const Json& data);

}  // namespace cli
