#include "faults/run.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

extern char** environ;

namespace fault_test {
namespace {

constexpr unsigned kHangSeconds = 300;  // runs take milliseconds

}  // namespace

std::string Ending::text() const {
  return (signal != 0 ? "signal " + std::to_string(signal) + (signal == SIGALRM ? " (it hung)" : "")
                      : "exit code " + std::to_string(code)) +
         "\n--- stdout\n" + out.substr(0, 2000) + "--- stderr\n" + err.substr(0, 2000);
}

bool Ending::fails_clearly() const {
  std::string rest = err;
  while (rest.rfind("note: ", 0) == 0)
    rest.erase(0, rest.find('\n') == std::string::npos ? rest.size() : rest.find('\n') + 1);
  return signal == 0 && code == 1 && rest.size() > 10 && rest.rfind("vireo: ", 0) == 0 &&
         std::count(rest.begin(), rest.end(), '\n') == 1 && rest.back() == '\n';
}

std::string slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void spill(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

std::vector<std::string> names(const std::string& folder) {
  std::vector<std::string> found;
  if (DIR* dir = opendir(folder.c_str())) {
    while (const dirent* entry = readdir(dir))
      if (const std::string name = entry->d_name; name != "." && name != "..") found.push_back(name);
    closedir(dir);
  }
  std::sort(found.begin(), found.end());
  return found;
}

Ending run_faulty(const std::vector<std::string>& argv, const std::string& fault, const std::string& folder,
                  const Environment& environment) {
  // All strings are made before fork(): several threads do this at once.
  std::vector<std::string> words = argv, variables;
  Environment own = environment;
  own.emplace_back("LD_PRELOAD", VIREO_FAULTS);
  own.emplace_back(fault.empty() ? "VIREO_FAULT_NONE" : "VIREO_FAULT", fault);
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string variable = *e;
    const auto overridden = [&](const auto& o) { return variable.compare(0, o.first.size() + 1, o.first + "=") == 0; };
    if (std::none_of(own.begin(), own.end(), overridden)) variables.push_back(variable);
  }
  for (const auto& [name, value] : own) variables.push_back(name + "=" + value);
  std::vector<char*> arguments, environment_block;
  for (std::string& w : words) arguments.push_back(&w[0]);
  for (std::string& v : variables) environment_block.push_back(&v[0]);
  arguments.push_back(nullptr);
  environment_block.push_back(nullptr);
  const std::string out = folder + "/stdout", err = folder + "/stderr";

  const pid_t child = fork();
  if (child == 0) {
    const int streams[3] = {open("/dev/null", O_RDONLY), open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600),
                            open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600)};
    for (int i = 0; i < 3; ++i) dup2(streams[i], i);
    for (int fd = 3; fd < 64; ++fd) close(fd);
    alarm(kHangSeconds);  // survives exec
    execve(arguments[0], arguments.data(), environment_block.data());
    _exit(126);
  }
  Ending ending;
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return ending;
  if (WIFSIGNALED(status)) ending.signal = WTERMSIG(status);
  if (WIFEXITED(status)) ending.code = WEXITSTATUS(status);
  ending.out = slurp(out);
  ending.err = slurp(err);
  return ending;
}

std::map<std::string, uint64_t> count_calls(const std::vector<std::string>& argv, const std::string& folder,
                                            const Environment& environment) {
  const std::string path = folder + "/counts";
  unlink(path.c_str());
  Environment counted = environment;
  counted.emplace_back("VIREO_FAULT_COUNTS", path);
  run_faulty(argv, "", folder, counted);
  std::map<std::string, uint64_t> counts;
  std::istringstream lines(slurp(path));
  std::string name;
  for (uint64_t n = 0; lines >> name >> n;) counts[name] += n;
  unlink(path.c_str());
  return counts;
}

}  // namespace fault_test
