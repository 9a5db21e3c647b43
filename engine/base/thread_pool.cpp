// The fork-join protocol: open a job, let awake workers join, close it, wait for those who joined.
#include "base/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <new>

namespace vireo {
namespace {

constexpr uint64_t kOpen = uint64_t(1) << 31;
constexpr uint64_t kJoined = kOpen - 1;
constexpr int kSpinMicroseconds = 30;  // longer than the gap between two operators, far shorter than a frame

uint64_t epoch_of(uint64_t state) { return state >> 32; }

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  asm volatile("yield");
#endif
}

/// Spins until ready() or the time is over; the clock is read only now and then. True when ready.
template <typename Ready>
bool spin(Ready ready) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(kSpinMicroseconds);
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace

struct ThreadPool::Worker {
  ThreadPool* pool = nullptr;
  int index = 0;
  pthread_t handle{};
  Range range;
};

ThreadPool::ThreadPool(int threads) {
  const int wanted = std::max(threads, 1) - 1;
  if (wanted == 0) return;
  workers_.reset(new (std::nothrow) Worker[size_t(wanted)]);
  if (workers_ == nullptr) return;
  // pthread_create reports failure by value; std::thread would throw.
  for (int i = 0; i < wanted; ++i) {
    workers_[size_t(i)].pool = this;
    workers_[size_t(i)].index = i + 1;
    if (pthread_create(&workers_[size_t(i)].handle, nullptr, &ThreadPool::start, &workers_[size_t(i)]) != 0) break;
    ++started_;
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (int i = 0; i < started_; ++i) pthread_join(workers_[size_t(i)].handle, nullptr);
}

void* ThreadPool::start(void* worker) {
  Worker& w = *static_cast<Worker*>(worker);
  w.pool->work(w);
  return nullptr;
}

void ThreadPool::do_chunk(int64_t chunk, int thread) {
  fn_(context_, chunk * grain_, std::min((chunk + 1) * grain_, items_), thread);
}

void ThreadPool::take_chunks(int thread) {
  // Relaxed throughout: what the chunks read was published by state_, which every thread here has read.
  for (int i = 0; i <= started_; ++i) {
    const int owner = (thread + i) % (started_ + 1);
    std::atomic<uint64_t>& span = owner == 0 ? caller_range_.span : workers_[size_t(owner - 1)].range.span;
    uint64_t s = span.load(std::memory_order_relaxed);
    for (;;) {
      const uint64_t next = s >> 32, end = s & 0xffffffffu;
      if (next >= end) break;
      const uint64_t left = i == 0 ? (next + 1) << 32 | end : next << 32 | (end - 1);
      if (!span.compare_exchange_weak(s, left, std::memory_order_relaxed)) continue;
      do_chunk(int64_t(i == 0 ? next : end - 1), thread);
      s = span.load(std::memory_order_relaxed);
    }
  }
}

void ThreadPool::work(Worker& self) {
  uint64_t seen = 0;
  const auto ready = [&] {
    const uint64_t s = state_.load();
    return stop_.load() || ((s & kOpen) != 0 && epoch_of(s) != seen);
  };
  for (;;) {
    if (!spin(ready)) {
      std::unique_lock<std::mutex> lock(mutex_);
      // Sequentially consistent with run(): either it sees this sleeper, or the wait below sees its job.
      sleepers_.fetch_add(1);
      wake_.wait(lock, ready);
      sleepers_.fetch_sub(1);
    }
    if (stop_.load()) return;
    uint64_t s = state_.load();
    if ((s & kOpen) == 0 || epoch_of(s) == seen) continue;  // closed meanwhile
    if (!state_.compare_exchange_strong(s, s + 1)) continue;
    seen = epoch_of(s);
    take_chunks(self.index);
    // Sequentially consistent with run(): either it sees joined == 0, or this sees that it waits.
    const uint64_t before = state_.fetch_sub(1);
    if ((before & kJoined) == 1 && (before & kOpen) == 0 && caller_waits_.load()) {
      std::lock_guard<std::mutex> lock(mutex_);
      done_.notify_one();
    }
  }
}

void ThreadPool::run(int64_t items, int64_t grain, Fn fn, void* context) {
  if (items <= 0) return;
  grain = std::max<int64_t>({grain, 1, items / 0x7fffffff + 1});  // chunk numbers have 32 bits
  if (started_ == 0 || items <= grain || busy_.exchange(true, std::memory_order_acquire)) {
    for (int64_t i = 0; i < items; i += grain) fn(context, i, std::min(i + grain, items), 0);
    return;
  }
  fn_ = fn;
  context_ = context;
  items_ = items;
  grain_ = grain;
  const int64_t chunks = (items + grain - 1) / grain, threads = started_ + 1;
  for (int64_t i = 0; i < threads; ++i) {
    const uint64_t first = uint64_t(chunks * i / threads), end = uint64_t(chunks * (i + 1) / threads);
    (i == 0 ? caller_range_ : workers_[size_t(i - 1)].range).span.store(first << 32 | end, std::memory_order_relaxed);
  }
  const uint64_t epoch = (epoch_of(state_.load()) + 1) & 0xffffffffu;
  state_.store(epoch << 32 | kOpen);
  if (sleepers_.load() > 0) {
    // Passing through the mutex makes sure that a worker between its check and its wait is in the wait by now.
    { std::lock_guard<std::mutex> lock(mutex_); }
    if (chunks == 2) {
      wake_.notify_one();
    } else {
      wake_.notify_all();
    }
  }
  take_chunks(0);
  const uint64_t closed = state_.fetch_and(~kOpen);
  if ((closed & kJoined) != 0) {
    const auto finished = [&] { return (state_.load() & kJoined) == 0; };
    if (!spin(finished)) {
      std::unique_lock<std::mutex> lock(mutex_);
      caller_waits_.store(true);
      done_.wait(lock, finished);
      caller_waits_.store(false);
    }
  }
  busy_.store(false, std::memory_order_release);
}

}  // namespace vireo
