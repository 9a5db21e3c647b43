// Who made a report, on what and when: the object "made" that every report has, as JSON and on its page.
#pragma once

#include <string>

#include "cli.h"

namespace cli {

/// What was typed, for made(); the arguments outlive the reports.
void set_command(int argc, char** argv);
/// The command line as one would type it again: words with anything unusual in them stand in single quotes.
std::string quoted_command(int argc, const char* const* argv);

/// {"vireo", "date", "command"}: of what neither was measured here nor computed for a device.
Json made_of();
/// {"vireo", "date", "command", "host", "driver", "threads"} of a measurement on a device. `caps`: Device::caps_text().
/// What ran on the CPU alone has no driver.
Json made_on(const std::string& caps);
/// {"vireo", "date", "command", "driver"} of what was computed for a device that need not be here.
Json made_for(const std::string& caps);
/// The report with `made` behind its schema, where a reader finds it before thousands of lines.
Json with_made(const Json& report, const Json& made);

}  // namespace cli
