// Environment variables: one table, read where a session or device is made, printed by `vireo env`.
#pragma once

#include <string>

namespace vireo::env {

/// Value of a variable of the table, or its default. Unknown names (a defect) give an empty string.
std::string get(const char* name);
bool flag(const char* name);  // "1", "true", "yes", "on"

}  // namespace vireo::env
