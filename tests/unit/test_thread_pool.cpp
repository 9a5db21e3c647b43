// ThreadPool: every item exactly once, distinct thread numbers, nesting, concurrent callers, sleeping and waking.
// Run under ThreadSanitizer too.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/aligned.h"
#include "base/thread_pool.h"

namespace vireo {
namespace {

TEST(ThreadPool, RunsEveryItemOnce) {
  for (int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int64_t items : {0, 1, 2, 5, 31, 1000}) {
      for (int64_t grain : {0, 1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> hits(static_cast<size_t>(items));
        pool.parallel_for(items, grain, [&](int64_t begin, int64_t end, int thread) {
          EXPECT_GE(thread, 0);
          EXPECT_LT(thread, threads);
          EXPECT_LT(begin, end);
          EXPECT_LE(end - begin, std::max<int64_t>(grain, 1));
          for (int64_t i = begin; i < end; ++i) hits[size_t(i)].fetch_add(1);
        });
        for (auto& h : hits) EXPECT_EQ(h.load(), 1);
      }
    }
  }
}

// Plain (not atomic) data per thread number and per item: a data race here is a bug in the pool.
TEST(ThreadPool, PublishesWritesAndKeepsThreadsApart) {
  ThreadPool pool(4);
  std::vector<int64_t> value(257);
  std::vector<int64_t> per_thread(4);
  for (int round = 0; round < 2000; ++round) {
    pool.parallel_for(int64_t(value.size()), 1, [&](int64_t begin, int64_t end, int thread) {
      for (int64_t i = begin; i < end; ++i) value[size_t(i)] += i;
      per_thread[size_t(thread)] += end - begin;
    });
  }
  int64_t total = 0;
  for (int64_t n : per_thread) total += n;
  EXPECT_EQ(total, 2000 * int64_t(value.size()));
  for (size_t i = 0; i < value.size(); ++i) EXPECT_EQ(value[i], 2000 * int64_t(i));
}

TEST(ThreadPool, NestedCallsRunInline) {
  ThreadPool pool(3);
  std::atomic<int> count{0};
  pool.parallel_for(8, 1, [&](int64_t, int64_t, int) {
    const auto self = std::this_thread::get_id();
    pool.parallel_for(10, 2, [&](int64_t begin, int64_t end, int thread) {
      EXPECT_EQ(std::this_thread::get_id(), self);
      EXPECT_EQ(thread, 0);
      count.fetch_add(int(end - begin));
    });
  });
  EXPECT_EQ(count.load(), 80);
}

TEST(ThreadPool, SeveralCallersAtOnce) {
  ThreadPool pool(2);
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 3; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 300; ++round) {
        pool.parallel_for(16, 1, [&](int64_t begin, int64_t end, int) { sum.fetch_add(end - begin); });
      }
    });
  }
  for (auto& t : callers) t.join();
  EXPECT_EQ(sum.load(), 3 * 300 * 16);
}

TEST(ThreadPool, WakesSleepersAndJoinsThem) {
  for (int round = 0; round < 20; ++round) {
    ThreadPool pool(3);
    std::atomic<int> n{0};
    const auto step = [&](int64_t, int64_t, int) {
      n.fetch_add(1);
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    };
    pool.parallel_for(6, 1, step);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // workers are asleep by now
    pool.parallel_for(6, 1, step);
    EXPECT_EQ(n.load(), 12);
  }
}

TEST(AlignedBuffer, AlignsOwnsAndFailsQuietly) {
  AlignedBuffer a = AlignedBuffer::zeroed(100);
  ASSERT_TRUE(a);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a.data()) % kAlignment, 0u);
  EXPECT_EQ(a.size(), 100u);
  EXPECT_EQ(a.as<char>()[99], 0);
  AlignedBuffer b = std::move(a);
  EXPECT_FALSE(a);  // NOLINT: moved-from is empty by contract
  EXPECT_TRUE(b);
  EXPECT_FALSE(AlignedBuffer());
  EXPECT_FALSE(AlignedBuffer(SIZE_MAX));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they abort on requests of this size
  EXPECT_FALSE(AlignedBuffer(size_t(1) << 60));
#endif
}

}  // namespace
}  // namespace vireo
