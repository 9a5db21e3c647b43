// The devices that Vireo knows without a file, as the arguments of verbs.
#pragma once

#include <string>

namespace cli {

/// A built-in description's name, or the text of the file of that name, as PredictOptions::machine takes them. Throws
/// Failure.
std::string machine_argument(const std::string& given);
/// What a device can do: the built-in capabilities of that name, else those of the file. Throws Failure.
std::string caps_argument(const std::string& given);
/// "jetson-nano, jetson-nano-5w, ..."
std::string machine_list();

}  // namespace cli
