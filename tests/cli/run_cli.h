// Runs the built command line tool as a user does: arguments in, exit code and both streams out.
#pragma once

#include <sys/types.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace cli_test {

struct Answer {
  int code = -1;  // exit code; 128 + signal when it was killed
  std::string out, err;
  /// stdout as JSON; discarded (is_discarded()) when it is none.
  nlohmann::json json() const { return nlohmann::json::parse(out, nullptr, false); }
  /// Everything, for failure messages.
  std::string text() const {
    return "exit code " + std::to_string(code) + "\n--- stdout\n" + out + "--- stderr\n" + err;
  }
  /// The contract of a failure: this code and exactly one line on stderr that starts with "vireo: ".
  bool fails_clearly(int expected_code) const;
};

/// Arguments.
using Words = std::vector<std::string>;
inline Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

using Environment = std::vector<std::pair<std::string, std::string>>;

/// Without --device the tool runs on Vulkan, as on a machine with a GPU; VIREO_DEVICE=auto in the environment is what
/// it does here. `stdout_path`: where to send stdout instead of reading it. `feed`: writes the standard input of the
/// process of that number into this pipe, which is closed afterwards; a thread of its own runs it.
Answer run_cli(const Words& arguments, const Environment& environment = {}, const std::string& stdout_path = "",
               const std::function<void(int pipe, pid_t process)>& feed = {});

/// Writes everything; false when the other end was closed before.
bool write_all(int pipe, const void* bytes, size_t count);

/// run_cli() with these bytes on its standard input.
Answer feed(const Words& arguments, const std::string& bytes);
/// Whether the tool finds a Vulkan device, a software driver included.
bool has_vulkan();

/// A folder of its own for a test, removed with everything in it at the end.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  std::string path(const std::string& name = "") const { return name.empty() ? folder_ : folder_ + "/" + name; }
  /// Writes a file and returns its path.
  std::string write(const std::string& name, const std::string& bytes) const;
  std::string make_folder(const std::string& name) const;
  /// Names in the folder, sorted.
  std::vector<std::string> list() const { return names_in(folder_); }
  static std::vector<std::string> names_in(const std::string& folder);

 private:
  std::string folder_;
};

std::string read_file(const std::string& path);

/// A small .npy file of float32: shape and values; shape empty when the file is none.
struct Array {
  std::vector<int64_t> shape;
  std::vector<float> data;
};
Array read_array(const std::string& path);

}  // namespace cli_test
