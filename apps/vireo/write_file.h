// Writing result files.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <string>

#include <vireo/result.hpp>

namespace cli {

struct Bytes {
  const void* data;
  size_t count;
};

/// Writes the parts one after another. The file appears whole or not at all: it is written beside `path` and renamed (a pipe or
/// device is written directly: a rename would replace it). Errors: kIo.
vireo::Result<void> write_whole(const std::string& path, std::initializer_list<Bytes> parts);

}  // namespace cli
