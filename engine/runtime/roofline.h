// What a device can do at most, measured on it: the roofs that profiles and predictions are held against.
#pragma once

#include "base/error.h"
#include "base/thread_pool.h"
#include "runtime/device_impl.h"

namespace vireo {

/// Rates are the best of several runs; 0 where the device does not offer what is measured.
struct Roofline {
  double fma_gflops = 0;        ///< fp32 multiply-adds on registers, counted as two operations each
  double half_fma_gflops = 0;   ///< packed fp16
  double copy_gbs = 0;          ///< copy larger than the caches, bytes read and written
  double shared_gbs = 0;        ///< reads of shared memory
  double dispatch_us = 0;       ///< an empty dispatch behind a barrier
  double submit_us = 0;         ///< from submit to the end of the wait, with one empty dispatch
};

/// The same of this CPU, all threads of the pool at once; no dispatch, submission or shared memory.
Roofline measure_cpu_roofline(ThreadPool& pool);

#if VIREO_VULKAN
/// Takes about a second. Errors: whatever the device reports.
Result<Roofline> measure_roofline(const std::shared_ptr<vk::Gpu>& gpu, ThreadPool& pool);
#endif

}  // namespace vireo
