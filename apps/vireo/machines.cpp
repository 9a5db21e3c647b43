#include "machines.h"

#include <sys/stat.h>

#include <algorithm>
#include <vireo/predict.hpp>

#include "base/names.h"
#include "cli.h"

namespace cli {

std::string machine_list() {
  std::string known;
  for (const std::string& n : vireo::machine_names()) known += (known.empty() ? "" : ", ") + n;
  return known;
}

std::string machine_argument(const std::string& given) {
  const std::vector<std::string> names = vireo::machine_names();
  if (given.empty() || std::find(names.begin(), names.end(), given) != names.end()) return given;
  struct stat there {};
  if (stat(given.c_str(), &there) != 0)
    throw Failure("there is no device description '" + given + "', neither a built-in one nor a file" +
                  vireo::known_names(given, names));
  const std::string text = read_text(given, "a device description of `vireo predict --fit`");
  return text + "\n";  // a text is told from a name by its lines
}

std::string caps_argument(const std::string& given) {
  if (vireo::Result<std::string> built_in = vireo::machine_caps(given)) return *built_in;
  return read_text(given, "what `vireo devices --caps` prints, or one of " + machine_list());
}

}  // namespace cli
