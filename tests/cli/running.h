// A command line tool that is still running: what it prints is read meanwhile, so that a test can wait for what it has
// done, by nothing but that, and send it a signal.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cli/run_cli.h"

namespace cli_test {

class Running {
 public:
  struct Options {
    bool terminal = false;     ///< stderr is a terminal
    bool reads_stdout = true;  ///< else nobody does, until finish()
    bool ignores = false;      ///< SIGINT is ignored when it begins, as for a job in a shell's background
    std::string folder;        ///< its current folder; empty: the test's
  };
  Running(const std::vector<std::string>& arguments, const Options& options);
  explicit Running(const std::vector<std::string>& arguments) : Running(arguments, Options()) {}
  ~Running();
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  void signal(int number) const;
  /// Waits until a handler for SIGINT is there, or is not; false when the program has ended before.
  bool wait_for_handler(bool there = true) const;
  /// Waits until what came on stderr is as wanted; false when it ends without.
  bool wait_for_stderr(const std::function<bool(const std::string& so_far)>& wanted);
  /// Waits for the end.
  Answer finish();
  /// The signal that ended it, after finish(); 0 when it ended by itself.
  int killed_by() const { return killed_by_; }

 private:
  void read_into(int file, std::string* text);
  bool alive() const;

  pid_t process_ = -1;
  int out_ = -1, err_ = -1, killed_by_ = 0;
  bool finished_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  Answer answer_;
  bool err_ended_ = false;
  std::thread reads_out_, reads_err_;
};

}  // namespace cli_test
