#include "model/hub_cache.h"

#include <vector>

#include "base/input_file.h"
#include "model/diagnose.h"

namespace vireo {

Result<std::string> resolve_hub_cache(const std::string& path) {
  if (path_kind(path) != PathKind::kFolder) return path;
  const std::string snapshots = path + "/snapshots";
  if (path_kind(snapshots) != PathKind::kFolder) return path;
  for (const char* own : {"/config.json", "/model.safetensors", "/model.safetensors.index.json"}) {
    if (path_kind(path + own) != PathKind::kMissing) return path;  // a model's folder with something of that name in it
  }
  std::vector<std::string> known;
  for (const std::string& name : list_folder(snapshots)) {
    if (path_kind(snapshots + "/" + name) == PathKind::kFolder) known.push_back(name);
  }
  const std::string ref = path + "/refs/main";
  if (path_kind(ref) == PathKind::kFile) {
    VIREO_ASSIGN(std::string commit, read_text_file(ref, 4096));
    while (!commit.empty() && (commit.back() == '\n' || commit.back() == '\r' || commit.back() == ' '))
      commit.pop_back();
    if (commit.empty() || commit == "." || commit == ".." ||
        commit.find_first_of(std::string("/\\\0\n", 4)) != std::string::npos) {
      return fail(
          ErrorCode::kCorrupt,
          "'{}' is '{}', expected the name of a commit; download the model again, or name one of the folders in '{}'",
          ref, commit.substr(0, 60), snapshots);
    }
    if (path_kind(snapshots + "/" + commit) == PathKind::kFolder) return snapshots + "/" + commit;
    return fail(ErrorCode::kNotFound, "'{}' names the snapshot '{}', which is not in '{}'{}; download the model again",
                ref, commit, snapshots, known.empty() ? "" : ", but '" + known[0] + "' is: name that folder");
  }
  if (known.size() == 1) return snapshots + "/" + known[0];
  if (known.empty())
    return fail(ErrorCode::kNotFound, "'{}' is a model of the Hugging Face cache without a snapshot; download it again",
                path);
  return fail(ErrorCode::kNotFound,
              "'{}' holds {} snapshots and no refs/main that chooses; name one of them, for example '{}/{}'", path,
              known.size(), snapshots, known[0]);
}

std::string hub_file(const std::string& path) {
  constexpr const char* kBlobs = "../../blobs/";
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos || path_kind(path) != PathKind::kFile) return path;
  const Result<std::string> read = read_text_file(path, 256);
  if (!read || read->rfind(kBlobs, 0) != 0) return path;
  std::string target = *read;
  while (!target.empty() && (target.back() == '\n' || target.back() == '\r')) target.pop_back();
  if (target.find_first_not_of("0123456789abcdef", std::string(kBlobs).size()) != std::string::npos) return path;
  const std::string blob = path.substr(0, slash + 1) + target;
  return path_kind(blob) == PathKind::kFile ? blob : path;
}

}  // namespace vireo
