// Files that are read in pieces where they lie: checkpoints are never copied whole, nor mapped into memory. POSIX.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.h"

namespace vireo {

/// Owns an open file. It is not mapped: pages of a mapping count as memory of the process for as long as it lasts, and
/// a file that is cut short meanwhile ends the process (SIGBUS) where reading gives an error. The file may be renamed
/// or removed.
class InputFile {
 public:
  InputFile() = default;
  InputFile(InputFile&& other) noexcept { *this = std::move(other); }
  InputFile& operator=(InputFile&& other) noexcept;
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile();

  /// Errors: kNotFound (missing), kIo (a folder, no permission, cannot be opened), kCorrupt (empty file).
  static Result<InputFile> open(const std::string& path);

  const std::string& path() const { return path_; }
  /// As it was opened.
  uint64_t size() const { return size_; }

  /// Copies bytes [offset, offset + count) to `out`. Safe from any thread. Errors: kIo, also when the file's size or
  /// time of change is no longer that of the opening: what was read before and what is read now would not belong
  /// together.
  Result<void> read(uint64_t offset, size_t count, void* out) const;

 private:
  Error changed() const;

  std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;
  int64_t seconds_ = 0, nanoseconds_ = 0;  // time of change
};

/// What a path names. kMissing is what the system says is not there; what cannot be examined for another reason (no
/// memory, a broken disk) is kOther: opening it says why, and a file that is there is never taken for one that is not.
enum class PathKind { kMissing, kFile, kFolder, kOther, kNoPermission };
PathKind path_kind(const std::string& path);

/// Reads a small text file (a config). Errors as InputFile, and kCorrupt when it is larger than max_bytes.
Result<std::string> read_text_file(const std::string& path, size_t max_bytes);

}  // namespace vireo
