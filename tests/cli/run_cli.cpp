// Running the command line tool: see run_cli.h.
#include "cli/run_cli.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

namespace cli_test {
namespace {

void remove_all(const std::string& path) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) return;
  if (!S_ISDIR(info.st_mode)) {
    unlink(path.c_str());
    return;
  }
  chmod(path.c_str(), 0700);
  std::vector<std::string> names;
  if (DIR* dir = opendir(path.c_str())) {
    while (const dirent* entry = readdir(dir)) names.emplace_back(entry->d_name);
    closedir(dir);
  }
  for (const std::string& name : names)
    if (name != "." && name != "..") remove_all(path + "/" + name);
  rmdir(path.c_str());
}

/// Reads both pipes until they are closed.
void read_all(int out, int err, Answer& run) {
  pollfd pipes[2] = {{out, POLLIN, 0}, {err, POLLIN, 0}};
  std::string* texts[2] = {&run.out, &run.err};
  for (int open = 2; open > 0;) {
    if (poll(pipes, 2, -1) < 0 && errno != EINTR) return;
    for (int i = 0; i < 2; ++i) {
      if (pipes[i].fd < 0 || pipes[i].revents == 0) continue;
      char buffer[4096];
      const ssize_t n = read(pipes[i].fd, buffer, sizeof buffer);
      if (n > 0) {
        texts[i]->append(buffer, size_t(n));
      } else {
        pipes[i].fd = -1;
        --open;
      }
    }
  }
}

}  // namespace

bool Answer::fails_clearly(int expected_code) const {
  return code == expected_code && err.rfind("vireo: ", 0) == 0 && err.size() > 10 && err.back() == '\n' &&
         std::count(err.begin(), err.end(), '\n') == 1;
}

bool write_all(int pipe, const void* bytes, size_t count) {
  const char* at = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t n = write(pipe, at, count);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    count -= size_t(n);
  }
  return true;
}

Answer run_cli(const std::vector<std::string>& arguments, const Environment& environment,
               const std::string& stdout_path, const std::function<void(int pipe, pid_t process)>& feed) {
  std::vector<std::string> words{VIREO_CLI};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(&word[0]);
  argv.push_back(nullptr);

  Answer run;
  int in[2] = {-1, -1}, out[2], err[2];
  if (feed && pipe2(in, O_CLOEXEC) != 0) return run;
  if (pipe2(out, O_CLOEXEC) != 0) return run;
  if (pipe2(err, O_CLOEXEC) != 0) return run;
  const pid_t child = fork();
  if (child == 0) {
    const int file = stdout_path.empty() ? out[1] : open(stdout_path.c_str(), O_WRONLY);
    const int input = feed ? in[0] : open("/dev/null", O_RDONLY);
    dup2(input, 0);
    dup2(file, 1);
    dup2(err[1], 2);
    ::signal(SIGINT, SIG_DFL);  // a shell's background jobs ignore it
    ::signal(SIGTERM, SIG_DFL);
    setenv("VIREO_DEVICE", "vulkan", 1);  // where no --device is given: what a machine with a GPU does
    for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
    execv(argv[0], argv.data());
    _exit(126);
  }
  close(out[1]);
  close(err[1]);
  std::thread feeder;
  if (feed) {
    close(in[0]);
    feeder = std::thread([&] {
      sigset_t pipe_signal;  // a program that ends early must not end the test: write() fails instead
      sigemptyset(&pipe_signal);
      sigaddset(&pipe_signal, SIGPIPE);
      pthread_sigmask(SIG_BLOCK, &pipe_signal, nullptr);
      feed(in[1], child);
      close(in[1]);
    });
  }
  read_all(out[0], err[0], run);
  if (feeder.joinable()) feeder.join();
  close(out[0]);
  close(err[0]);
  int status = 0;
  if (child > 0 && waitpid(child, &status, 0) == child)
    run.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return run;
}

Answer feed(const Words& arguments, const std::string& bytes) {
  return run_cli(arguments, {}, "", [&](int pipe, pid_t) { (void)write_all(pipe, bytes.data(), bytes.size()); });
}

bool has_vulkan() {
  static const bool has = [] {
    const auto devices = run_cli({"devices", "--json"}).json()["devices"];
    return std::any_of(devices.begin(), devices.end(), [](const auto& d) { return d["kind"] == "vulkan"; });
  }();
  return has;
}

Scratch::Scratch() {
  const char* base = std::getenv("TMPDIR");
  std::string pattern = std::string(base != nullptr && *base != '\0' ? base : "/tmp") + "/vireo-test-XXXXXX";
  if (const char* made = mkdtemp(&pattern[0])) folder_ = made;
}

Scratch::~Scratch() {
  if (!folder_.empty()) remove_all(folder_);
}

std::string Scratch::write(const std::string& name, const std::string& bytes) const {
  std::ofstream(path(name), std::ios::binary) << bytes;
  return path(name);
}

std::string Scratch::make_folder(const std::string& name) const {
  mkdir(path(name).c_str(), 0777);
  return path(name);
}

std::vector<std::string> Scratch::names_in(const std::string& folder) {
  std::vector<std::string> names;
  if (DIR* dir = opendir(folder.c_str())) {
    while (const dirent* entry = readdir(dir))
      if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
    closedir(dir);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Array read_array(const std::string& path) {
  // Written on purpose without the tool's own reader: the format is numpy's, and numpy must be able to read it.
  Array array;
  const std::string bytes = read_file(path);
  if (bytes.size() < 10 || bytes.compare(0, 6, "\x93NUMPY") != 0 || bytes[6] != 1) return array;
  const size_t header =
      10 + size_t(static_cast<unsigned char>(bytes[8])) + 256 * size_t(static_cast<unsigned char>(bytes[9]));
  if (header % 64 != 0 || header > bytes.size()) return array;
  const std::string text = bytes.substr(10, header - 10);
  if (text.find("'descr': '<f4'") == std::string::npos || text.find("'fortran_order': False") == std::string::npos)
    return array;
  size_t at = text.find("'shape': (");
  if (at == std::string::npos) return array;
  std::istringstream numbers(text.substr(at + 10, text.find(')', at) - at - 10));
  int64_t size = 1;
  for (std::string number; std::getline(numbers, number, ',');) {
    if (number.find_first_of("0123456789") == std::string::npos) continue;
    array.shape.push_back(std::atoll(number.c_str()));
    size *= array.shape.back();
  }
  if (bytes.size() - header != size_t(size) * 4) return Array{};
  array.data.resize(size_t(size));
  std::memcpy(array.data.data(), bytes.data() + header, size_t(size) * 4);
  return array;
}

}  // namespace cli_test
