// Writing a file whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace vireo {

/// A file that appears whole or not at all: its bytes go to a temporary name beside it, commit() renames that over the old
/// file, and without commit() nothing stays. Each call returns why it failed, or "".
class NewFile {
 public:
  NewFile() = default;
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile();

  /// What stands at `path` must be a regular file or nothing; its folder must exist.
  std::string open(const std::string& path);
  std::string write(const void* bytes, size_t count);
  std::string commit();

 private:
  std::string failed(const char* what);

  std::string path_, temporary_;
  int fd_ = -1;
};

/// The same for bytes in one piece; makes `dir` and its parents.
std::string write_whole_file(const std::string& dir, const std::string& name, const void* bytes, size_t count);

}  // namespace vireo
