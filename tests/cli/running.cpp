#include "cli/running.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>

namespace cli_test {
namespace {

/// A pipe, or a pseudoterminal where the tool sees a terminal: {to read, to write}.
bool open_pair(bool terminal, int ends[2]) {
  if (!terminal) return pipe2(ends, O_CLOEXEC) == 0;
  ends[0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (ends[0] < 0 || grantpt(ends[0]) != 0 || unlockpt(ends[0]) != 0) return false;
  char name[128];
  if (ptsname_r(ends[0], name, sizeof name) != 0) return false;
  ends[1] = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
  return ends[1] >= 0;
}

}  // namespace

Running::Running(const std::vector<std::string>& arguments, const Options& options) {
  std::vector<std::string> words{VIREO_CLI};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(&word[0]);
  argv.push_back(nullptr);
  int out[2], err[2];
  if (!open_pair(false, out) || !open_pair(options.terminal, err)) return;
  process_ = fork();
  if (process_ == 0) {
    dup2(open("/dev/null", O_RDONLY), 0);
    dup2(out[1], 1);
    dup2(err[1], 2);
    setenv("VIREO_DEVICE", "vulkan", 1);
    ::signal(SIGINT, options.ignores ? SIG_IGN : SIG_DFL);
    ::signal(SIGTERM, SIG_DFL);
    if (!options.folder.empty() && chdir(options.folder.c_str()) != 0) _exit(125);
    execv(argv[0], argv.data());
    _exit(126);
  }
  close(out[1]);
  close(err[1]);
  out_ = out[0];
  err_ = err[0];
  if (options.reads_stdout) reads_out_ = std::thread([this] { read_into(out_, &answer_.out); });
  reads_err_ = std::thread([this] {
    read_into(err_, &answer_.err);
    const std::lock_guard<std::mutex> lock(mutex_);
    err_ended_ = true;
    changed_.notify_all();
  });
}

Running::~Running() {
  if (!finished_) {
    signal(SIGKILL);
    finish();
  }
}

void Running::read_into(int file, std::string* text) {
  char buffer[4096];
  for (;;) {
    const ssize_t n = read(file, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // a terminal whose other end is closed is an error
    const std::lock_guard<std::mutex> lock(mutex_);
    text->append(buffer, size_t(n));
    changed_.notify_all();
  }
}

void Running::signal(int number) const {
  if (process_ > 0) kill(process_, number);
}

bool Running::alive() const {
  siginfo_t info{};
  return process_ > 0 && waitid(P_PID, id_t(process_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

bool Running::wait_for_handler(bool there) const {
  while (alive()) {
    std::ifstream status("/proc/" + std::to_string(process_) + "/status");
    for (std::string line; std::getline(status, line);)
      if (line.rfind("SigCgt:", 0) == 0 &&
          ((std::strtoull(line.c_str() + 7, nullptr, 16) >> (SIGINT - 1) & 1) != 0) == there)
        return true;
    usleep(1000);
  }
  return false;
}

bool Running::wait_for_stderr(const std::function<bool(const std::string& so_far)>& wanted) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return err_ended_ || wanted(answer_.err); });
  return wanted(answer_.err);
}

Answer Running::finish() {
  if (finished_) return answer_;
  finished_ = true;
  if (process_ < 0) return answer_;
  const bool read = reads_out_.joinable();  // else the program has to end without a reader
  if (read) reads_out_.join();
  if (read) reads_err_.join();
  int status = 0;
  waitpid(process_, &status, 0);
  answer_.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  killed_by_ = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  if (!read) reads_err_.join();
  if (!read) read_into(out_, &answer_.out);
  close(out_);
  close(err_);
  return answer_;
}

}  // namespace cli_test
