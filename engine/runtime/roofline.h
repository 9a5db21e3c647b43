// What a device can do at most, measured on it: the roofs that profiles and predictions are held against.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "profile/rounds.h"
#include "runtime/device_impl.h"

#include <vireo/profile.hpp>

namespace vireo {

/// Roofs with what the machine did meanwhile.
struct MeasuredRoofs {
  DeviceRoofs roofs;
  bool undisturbed = true;  // every number comes from a round that had the cores it asked for
  double share = 1;         // of the core time it asked for: what the most disturbed number's best round had
};

/// Of this CPU, all threads of the pool at once; the rates are the best of several rounds, of more where others have
/// the cores (profile/rounds.h). No dispatch, submission or shared memory; "half" are the bfloat16 products of
/// `kernels`, where they have such.
MeasuredRoofs measure_cpu_roofline(ThreadPool& pool, const simd::Kernels& kernels, const RoundWatch& watch);

#if VIREO_VULKAN
/// Of a GPU, likewise. Takes about a second, three on a busy machine. Errors: whatever the device reports.
Result<MeasuredRoofs> measure_roofline(const std::shared_ptr<vk::Gpu>& gpu, ThreadPool& pool, const RoundWatch& watch);
#endif

/// The roofs of the device of `caps`: those kept in the folder `dir` (empty: none), or `measure`d and kept there,
/// unless they were disturbed. With `anew` they are measured in any case; what counts is the best seen. `notes`
/// receives which were used, and why a file was not. Errors: those of `measure`.
struct UsedRoofs {
  DeviceRoofs roofs;
  bool measured = false;   // now, not at another time only
  bool disturbed = false;  // and nobody has ever measured them undisturbed
};
Result<UsedRoofs> kept_roofs(const DeviceCaps& caps, const std::string& dir, bool anew,
                             const std::function<Result<MeasuredRoofs>()>& measure, std::vector<std::string>* notes);

}  // namespace vireo
