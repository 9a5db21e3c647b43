#include "new_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "base/text.h"
#include "base/write_file.h"
#include "cli.h"

namespace cli {
namespace {

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  if (DIR* dir = opendir(folder.c_str())) {
    while (const dirent* e = readdir(dir))
      if (std::strcmp(e->d_name, ".") != 0 && std::strcmp(e->d_name, "..") != 0) names.emplace_back(e->d_name);
    closedir(dir);
  }
  return names;
}

/// Removes the files in it and the folder; what is a folder inside stays, and the folder with it.
void remove_flat(const std::string& folder) {
  for (const std::string& name : names_in(folder)) unlink((folder + "/" + name).c_str());
  rmdir(folder.c_str());
}

/// Hidden folders of processes that were killed.
void remove_old(const std::string& parent) {
  for (const std::string& name : names_in(parent)) {
    const std::string path = parent + "/" + name;
    struct stat s {};
    if (vireo::is_temporary_name(name.c_str()) && lstat(path.c_str(), &s) == 0 && S_ISDIR(s.st_mode) &&
        s.st_uid == geteuid() && std::time(nullptr) - s.st_mtime > vireo::kOrphanSeconds)
      remove_flat(path);
  }
}

std::string without_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

void sync_folder(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  (void)fsync(fd);
  close(fd);
}

/// Swaps two names in one step; false where the kernel or the file system cannot. (The C library has no function for it
/// before 2.28.)
bool swap_names(const std::string& a, const std::string& b) {
#ifdef SYS_renameat2
  constexpr unsigned kExchange = 2;  // RENAME_EXCHANGE
  return syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), kExchange) == 0;
#else
  (void)a, (void)b;
  return false;
#endif
}

}  // namespace

NewFolder::NewFolder(const char* verb, const std::string& path, std::vector<std::string> files, bool replace)
    : path_(without_slashes(path)), files_(std::move(files)) {
  const std::string who = std::string(verb) + ": '" + path_ + "' ";
  struct stat s {};
  if (lstat(path_.c_str(), &s) == 0) {
    if (!S_ISDIR(s.st_mode)) throw UsageError(who + "is no folder; give --out a name that is free");
    if (!replace) throw UsageError(who + "exists; give --out another name, or --force to replace it");
    for (const std::string& name : names_in(path_))
      if (std::find(files_.begin(), files_.end(), name) == files_.end())
        throw UsageError(who + "holds '" + printable(name) +
                         "', which is not of this verb, so --force does not replace it");
    replaces_ = true;
  }
  const std::string parent = vireo::parent_folder(path_);
  remove_old(parent);
  for (int tries = 0; tries < 100; ++tries) {
    std::string name = (parent == "/" ? "" : parent) + "/" + vireo::temporary_name();
    made_.clear();
    for (const std::string& file : files_) made_.push_back(name + "/" + file);
    if (mkdir(name.c_str(), 0777) == 0) {
      temporary_ = std::move(name);
      return;
    }
    if (errno != EEXIST) break;
  }
  throw Failure("cannot make a folder in '" + parent + "': " + std::strerror(errno) +
                "; check the folder, its access rights and free space");
}

NewFolder::~NewFolder() {
  if (temporary_.empty()) return;
  for (const std::string& file : made_) (void)unlink(file.c_str());  // allocates nothing: perhaps there is nothing left
  (void)rmdir(temporary_.c_str());
}

void NewFolder::commit() {
  const auto failed = [&](const char* what) {
    return Failure(std::string(what) + " '" + path_ + "': " + std::strerror(errno));
  };
  sync_folder(temporary_);
  if (replaces_ && swap_names(temporary_, path_)) {  // at no moment is there nothing of that name
    sync_folder(vireo::parent_folder(path_));
    return;  // the old one has the hidden name and goes with this object
  }
  std::string old;
  if (replaces_) {  // a file system that cannot: killed now, the old one is kept under this name
    old = temporary_ + ".old";
    if (rename(path_.c_str(), old.c_str()) != 0) throw failed("cannot replace");
  }
  if (rename(temporary_.c_str(), path_.c_str()) != 0) {
    Failure why = failed("cannot name the folder");
    if (!old.empty()) (void)rename(old.c_str(), path_.c_str());
    throw Failure(std::move(why));
  }
  temporary_.clear();
  sync_folder(vireo::parent_folder(path_));
  if (!old.empty()) remove_flat(old);
}

}  // namespace cli
