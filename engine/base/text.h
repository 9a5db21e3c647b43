// Beginnings and ends of texts, and the parts of paths.
#pragma once

#include <string>

namespace vireo {

inline bool starts_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

inline bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// "a/b" of "a/b/c", "." of "c", "/" of "/c".
inline std::string parent_folder(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

/// "c" of "a/b/c" and of "c".
inline std::string file_name(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

}  // namespace vireo
