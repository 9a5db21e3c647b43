// Where tuning files lie, and reading and writing them.
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/env.h"
#include "base/text.h"
#include "base/write_file.h"
#include "runtime/session_impl.h"

namespace vireo {

std::string tuning_path(const SessionOptions& o, const TuningId& id) {
  const std::string wanted = env::get("VIREO_TUNING");
  if (wanted == "-") return {};
  if (!wanted.empty()) return wanted;
  const std::string dir = cache_dir(o);
  return dir.empty() ? dir : dir + "/" + tuning_file_name(id);
}

Result<TunedSteps> load_tuning(const std::string& path, const TuningId& id) {
  constexpr off_t kMaxFile = 16 << 20;
  struct stat s;
  if (path.empty() || stat(path.c_str(), &s) != 0)
    return fail(ErrorCode::kNotFound, "there is no tuning file '{}'", path);
  const auto refused = [&path](const std::string& why) {
    return fail(ErrorCode::kCorrupt, "tuning file '{}' is not used: {}", path, why);
  };
  if (!S_ISREG(s.st_mode)) return refused("not a file");
  if (s.st_size > kMaxFile) return refused("too large");
  std::ifstream file(path, std::ios::binary);
  std::stringstream text(std::ios::in | std::ios::out);  // the one without a mode came with GCC 9
  if (!file || (s.st_size > 0 && !(text << file.rdbuf()))) return refused(std::strerror(errno));
  Result<TunedSteps> steps = parse_tuning(text.str(), id);
  if (!steps) return refused(steps.error().message);
  return steps;
}

std::string save_tuning(const std::string& path, const TuningId& id, const TunedSteps& steps) {
  const std::string text = tuning_text(id, steps);
  const std::string why = write_whole_file(parent_folder(path), file_name(path), text.data(), text.size());
  return why.empty() ? why : fmt::format("tuning file '{}' was not written: {}", path, why);
}

}  // namespace vireo
