// A file mapped read-only into memory: checkpoints are read in place, never copied whole. POSIX.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.h"

namespace vireo {

/// Owns one mapping; unmapped on destruction. The bytes stay valid after the file is renamed or removed.
class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  /// Errors: kNotFound (missing), kIo (a folder, no permission, cannot be mapped), kCorrupt (empty file).
  static Result<MappedFile> open(const std::string& path);

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

/// What a path names. kMissing is what the system says is not there; what cannot be examined for another reason (no memory, a broken
/// disk) is kOther: opening it says why, and a file that is there is never taken for one that is not.
enum class PathKind { kMissing, kFile, kFolder, kOther, kNoPermission };
PathKind path_kind(const std::string& path);

/// Reads a small text file (a config). Errors as MappedFile::open, and kCorrupt when it is larger than max_bytes.
Result<std::string> read_text_file(const std::string& path, size_t max_bytes);

}  // namespace vireo
