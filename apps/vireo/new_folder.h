// A result that is a folder: it appears whole or not at all.
#pragma once

#include <string>
#include <vector>

namespace cli {

/// Files are written into a hidden folder beside the wanted one, which gets its name in commit(); without it everything
/// is removed. A process that is killed leaves the hidden folder and nothing of the wanted name; the next one removes
/// what is older than a day.
class NewFolder {
 public:
  /// `files`: the names that will be written. An existing folder is refused unless `replace`, and then too where it
  /// holds anything but those. Throws UsageError or Failure.
  NewFolder(const char* verb, const std::string& path, std::vector<std::string> files, bool replace);
  ~NewFolder();
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  /// Where to write, until commit().
  const std::string& at() const { return temporary_; }
  /// Gives the folder its name, in the place of an old one. Throws Failure.
  void commit();

 private:
  std::string path_, temporary_;
  std::vector<std::string> files_, made_;  // names, and where they are written
  bool replaces_ = false;
};

}  // namespace cli
