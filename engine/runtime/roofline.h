// What a device can do at most, measured on it: the roofs that profiles and predictions are held against.
#pragma once

#include "base/error.h"
#include "base/thread_pool.h"
#include "runtime/device_impl.h"

#include <vireo/profile.hpp>

namespace vireo {

/// Of this CPU, all threads of the pool at once; the rates are the best of several runs. No dispatch, submission or shared memory.
DeviceRoofs measure_cpu_roofline(ThreadPool& pool);

#if VIREO_VULKAN
/// Of a GPU, likewise. Takes about a second. Errors: whatever the device reports.
Result<DeviceRoofs> measure_roofline(const std::shared_ptr<vk::Gpu>& gpu, ThreadPool& pool);
#endif

}  // namespace vireo
