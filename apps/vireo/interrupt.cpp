#include "interrupt.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>

#include "cli.h"
#include "frames.h"

namespace cli {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM};

// What a handler may touch: atomics without a lock.
std::atomic<int> came{0}, handling{0};
std::atomic<Wake*> waiting{nullptr};
std::atomic<FrameSource*> to_stop{nullptr};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<Wake*>::is_always_lock_free,
              "a signal handler must not wait for a lock");

struct sigaction before[2];

void handle(int signal) {
  const int error = errno;
  ++handling;
  came = signal;
  for (int s : kSignals) {  // the next one ends the program
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    sigaction(s, &action, nullptr);
  }
  if (Wake* wake = waiting) wake->stop();
  if (FrameSource* source = to_stop) source->stop();
  --handling;
  errno = error;
}

}  // namespace

Wake::Wake() {
  if (pipe2(ends_, O_CLOEXEC | O_NONBLOCK) != 0)
    throw Failure(std::string("cannot make a pipe: ") + std::strerror(errno));
}

Wake::~Wake() {
  close(ends_[0]);
  close(ends_[1]);
}

void Wake::stop() {
  stopped_ = true;
  const char byte = 0;
  const ssize_t ignored = write(ends_[1], &byte, 1);  // full: then it is awake already
  (void)ignored;
}

bool Wake::wait_readable(int file, double seconds, bool* late) const {
  const int64_t end = seconds > 0 ? monotonic_ns() + int64_t(seconds * 1e9) : 0;
  while (!stopped_) {
    pollfd files[2] = {{file, POLLIN, 0}, {ends_[0], POLLIN, 0}};
    int64_t ms = -1;
    if (end > 0) {
      const int64_t left = end - monotonic_ns();
      ms = std::min<int64_t>(std::max<int64_t>((left + 999999) / 1000000, 0), 1000000000);
    }
    const int ready = poll(files, 2, int(ms));
    if (ready < 0 && errno != EINTR) return !stopped_;  // reading will say what is wrong
    if (ready == 0 && ms == 0) {
      if (late != nullptr) *late = true;
      return false;
    }
    if (ready <= 0) continue;
    if (files[0].revents != 0) return !stopped_;
  }
  return false;
}

bool Wake::sleep(double seconds) const {
  wait_readable(-1, seconds);  // poll() takes no notice of that file
  return !stopped_;
}

Interruptible::Interruptible(FrameSource* source) {
  if (waiting == nullptr) waiting = new Wake;  // for the program's life
  to_stop = source;
  for (size_t i = 0; i < 2; ++i) {
    sigaction(kSignals[i], nullptr, &before[i]);
    if (before[i].sa_handler == SIG_IGN) continue;
    struct sigaction action {};
    action.sa_handler = handle;
    action.sa_flags = SA_RESTART;  // what is being written goes on; poll() ends in any case
    sigaction(kSignals[i], &action, nullptr);
  }
}

Interruptible::~Interruptible() {
  for (size_t i = 0; i < 2; ++i) sigaction(kSignals[i], &before[i], nullptr);
  while (handling != 0) sched_yield();  // in another thread, and with the source
  to_stop = nullptr;
}

bool interrupted() { return came != 0; }

int interrupted_code() { return 128 + came; }

bool wait_readable(int file) {
  const Wake* wake = waiting;
  return wake == nullptr || wake->wait_readable(file);
}

}  // namespace cli
