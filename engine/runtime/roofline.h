// What a device can do at most, measured on it: the roofs that profiles and predictions are held against.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "runtime/device_impl.h"

#include <vireo/profile.hpp>

namespace vireo {

/// Of this CPU, all threads of the pool at once; the rates are the best of several runs. No dispatch, submission or
/// shared memory.
DeviceRoofs measure_cpu_roofline(ThreadPool& pool);

#if VIREO_VULKAN
/// Of a GPU, likewise. Takes about a second. Errors: whatever the device reports.
Result<DeviceRoofs> measure_roofline(const std::shared_ptr<vk::Gpu>& gpu, ThreadPool& pool);
#endif

/// The roofs of the device of `caps`: those kept in the folder `dir` (empty: none), or `measure`d and kept there. With
/// `anew` they are measured in any case; what is kept is the best seen. `notes` receives which were used, and why a
/// file was not. Errors: those of `measure`.
Result<DeviceRoofs> kept_roofs(const DeviceCaps& caps, const std::string& dir, bool anew,
                               const std::function<Result<DeviceRoofs>()>& measure, std::vector<std::string>* notes);

}  // namespace vireo
