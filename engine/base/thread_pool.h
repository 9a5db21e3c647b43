// A small fork-join pool: the caller works too, every thread has a run of neighbouring chunks and then helps the
// others, idle workers spin, then sleep.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <type_traits>

namespace vireo {

class ThreadPool {
 public:
  /// f(context, begin, end, thread): items [begin, end); thread is 0 .. threads()-1, distinct among those running.
  using Fn = void (*)(void* context, int64_t begin, int64_t end, int thread);

  /// `threads` counts the caller. Fewer are started if the system refuses; threads() tells.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return started_ + 1; }

  /// f must not throw: there is nobody on a worker's stack to catch it (work that allocates goes through no_throw).
  /// Runs f over items [0, items) in chunks of at most `grain` and returns when all are done. No allocation. A thread
  /// goes upwards through neighbouring chunks, so that item i may prefetch for item i + 1. A call made while the pool
  /// is busy (nested, or from another thread) runs inline as thread 0: give it its own scratch.
  void run(int64_t items, int64_t grain, Fn fn, void* context);

  /// The same for a callable f(begin, end, thread).
  template <typename F>
  void parallel_for(int64_t items, int64_t grain, F&& f) {
    using Callable = std::remove_reference_t<F>;
    run(
        items, grain,
        [](void* c, int64_t begin, int64_t end, int thread) noexcept {
          (*static_cast<Callable*>(c))(begin, end, thread);
        },
        const_cast<void*>(static_cast<const void*>(&f)));
  }

 private:
  struct Worker;
  static void* start(void* worker);
  void work(Worker& self);
  void take_chunks(int thread);
  void do_chunk(int64_t chunk, int thread);

  /// The chunks a thread has still to do: next << 32 | end. Its owner takes from the front, the others from the back.
  struct alignas(64) Range {
    std::atomic<uint64_t> span{0};
  };

  // epoch << 32 | open << 31 | joined: one word, so that joining a job and closing it cannot cross.
  std::atomic<uint64_t> state_{0};
  // The job. Written while nobody has joined, read by those who have.
  Fn fn_ = nullptr;
  void* context_ = nullptr;
  int64_t items_ = 0;
  int64_t grain_ = 1;

  std::atomic<bool> busy_{false};
  std::atomic<bool> stop_{false};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> caller_waits_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  int started_ = 0;
  std::unique_ptr<Worker[]> workers_;
  Range caller_range_;  // thread 0's; the workers hold their own
};

}  // namespace vireo
