// Writing a file whole or not at all. The command line tool compiles this writer as well (apps/CMakeLists.txt), so it
// needs the standard library and POSIX only: nothing of the engine, and no function that came after glibc 2.27.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace vireo {

/// A file that appears whole or not at all: it is written without a name (O_TMPFILE) and gets its name in commit(), so
/// that a process that dies leaves nothing. Where that is impossible, or to replace an old file, it has a random hidden
/// name beside the old one for a moment; orphans of that name from processes that died then are removed by a later
/// open(). A file that replaces one keeps its permissions, a new one follows the umask. Each call returns why it
/// failed, or "".
///
/// A symbolic link of the wanted name is replaced, never followed, unless it leads to a pipe or device.
class NewFile {
 public:
  enum Options : unsigned {
    kPlain = 0,
    kSpecial = 1,      // pipes, devices and names of descriptors (/dev/stdout, /dev/fd/3) are written directly
    kKeepOrphans = 2,  // the folder is not searched for orphans: its caller has done so
  };

  NewFile() = default;
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile();

  /// Its folder must exist.
  std::string open(const std::string& path, unsigned options = kPlain);
  std::string write(const void* bytes, size_t count);
  /// Brings the bytes to the disk, then gives them their name. After an error an old file stands there as it was.
  std::string commit();

 private:
  std::string open_special(int descriptor, const std::string& path);
  std::string failed(const char* what);
  bool make_named();
  bool link_to(const std::string& name);
  bool name_bytes();
  void keep_access();
  void drop();

  std::string name_;       // within the folder
  std::string temporary_;  // empty while the file has no name
  int fd_ = -1, folder_ = -1;
  bool special_ = false, replaces_ = false;
};

/// The same for bytes in one piece; makes `dir` and its parents.
std::string write_whole_file(const std::string& dir, const std::string& name, const void* bytes, size_t count);

/// A name for what is on its way, hidden and unforeseeable: ".vireo-0123456789abcdef.tmp". It does not hold the wanted
/// name, which may be as long as names can be.
std::string temporary_name();
bool is_temporary_name(const char* name);
/// What has such a name and was last written so long ago is nobody's any more.
constexpr long kOrphanSeconds = 24 * 60 * 60;

/// Removes what a writer that was killed may have left in `folder`: regular files of the writer's name pattern that
/// belong to this user and were last written more than a day ago.
void remove_orphans(const std::string& folder);

}  // namespace vireo
