// Ctrl-C (SIGINT) and SIGTERM: a verb that works for long keeps what it has done. Exit code 128 + the signal, as shells
// have it: 130 after Ctrl-C.
#pragma once

#include <atomic>
#include <stdexcept>

namespace cli {

class FrameSource;

/// Waiting for input that any thread or signal handler can end.
class Wake {
 public:
  Wake();  // throws Failure where there is no pipe left
  ~Wake();
  Wake(const Wake&) = delete;
  Wake& operator=(const Wake&) = delete;

  void stop();
  bool stopped() const { return stopped_; }
  /// Waits until `file` can be read, has ended or is broken, which reading it then says; false once stopped, and after
  /// `seconds` (0: no limit) without, which sets *late.
  bool wait_readable(int file, double seconds = 0, bool* late = nullptr) const;
  /// Waits for `seconds`; false once stopped.
  bool sleep(double seconds) const;

 private:
  int ends_[2] = {-1, -1};  // a pipe: stop() writes into it
  std::atomic<bool> stopped_{false};
};

/// While one lives, the first of these signals is only noted: loops ask interrupted() and end, and waiting for input
/// ends at once. The second one ends the program as if nobody had cared. A signal that was ignored when the program
/// began (nohup, a shell's background jobs) stays ignored. One at a time.
class Interruptible {
 public:
  /// `source` is stopped by the signal.
  explicit Interruptible(FrameSource* source = nullptr);
  ~Interruptible();
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;
};

/// Whether such a signal came since the first Interruptible.
bool interrupted();
/// 128 + the signal that came.
int interrupted_code();
/// Wake::wait_readable() that the signal ends.
bool wait_readable(int file);

/// Ends the program with interrupted_code() and this one line on stderr: what was done and is kept.
struct Interrupted : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace cli
