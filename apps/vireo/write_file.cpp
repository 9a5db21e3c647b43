#include "write_file.h"

#include <mutex>
#include <set>

#include "base/write_file.h"

namespace cli {
namespace {

vireo::Error broken(const std::string& path, const std::string& why) {
  return {vireo::ErrorCode::kIo,
          "cannot write '" + path + "': " + why + "; check the folder, its access rights and free space"};
}

/// A folder is searched for orphans once: `segment` writes thousands of files into one.
unsigned options_for(const std::string& path) {
  static std::mutex mutex;
  static std::set<std::string> searched;
  const std::lock_guard<std::mutex> lock(mutex);
  const bool fresh = searched.insert(path.substr(0, path.find_last_of('/') + 1)).second;
  return vireo::NewFile::kSpecial | (fresh ? 0u : unsigned(vireo::NewFile::kKeepOrphans));
}

}  // namespace

vireo::Result<void> write_whole(const std::string& path, std::initializer_list<Bytes> parts) {
  vireo::NewFile file;
  std::string why = file.open(path, options_for(path));
  for (const Bytes& part : parts)
    if (why.empty()) why = file.write(part.data, part.count);
  if (why.empty()) why = file.commit();
  if (!why.empty()) return broken(path, why);
  return {};
}

vireo::Result<void> probe_write(const std::string& path) {
  vireo::NewFile file;
  const std::string why = file.open(path, options_for(path));
  if (!why.empty()) return broken(path, why);
  return {};
}

}  // namespace cli
