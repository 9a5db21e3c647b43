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

/// Writes the parts one after another. The file appears whole or not at all, as the library writes its own (NewFile in
/// engine/base/write_file.h says how); pipes, devices and /dev/stdout are written directly. Errors: kIo.
vireo::Result<void> write_whole(const std::string& path, std::initializer_list<Bytes> parts);

/// Whether a file can be made at `path`; leaves none. Not for pipes and devices: opening one is the first use of it.
vireo::Result<void> probe_write(const std::string& path);

}  // namespace cli
