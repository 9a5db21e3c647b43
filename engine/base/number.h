// Numbers of files and variables, whatever the program's locale is.
#pragma once

#include <cmath>
#include <locale>
#include <sstream>
#include <string>

namespace vireo {

/// True if the whole text is one finite number ("921.6", "1e3").
inline bool parse_number(const std::string& text, double* out) {
  std::istringstream in(text);
  in.imbue(std::locale::classic());
  in >> std::noskipws >> *out;
  return !text.empty() && in && in.peek() == std::istringstream::traits_type::eof() && std::isfinite(*out);
}

}  // namespace vireo
