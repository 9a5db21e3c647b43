// Writing a file whole or not at all.
#pragma once

#include <string>

namespace vireo {

/// Writes a temporary file beside `dir`/`name` and renames it over the old one; makes `dir` and its parents. Returns why it
/// failed, or "".
std::string write_whole_file(const std::string& dir, const std::string& name, const void* bytes, size_t count);

}  // namespace vireo
