#include "profile/roof_rows.h"

#include <algorithm>

namespace vireo {
namespace {

constexpr double kNoise = 1.05;       // rows are medians and roofs the best of all times: less is no news
constexpr double kLongUs = 100;       // of shorter rows, timestamps are too large a part
constexpr double kCached = 64 << 20;  // bytes: more than caches hold, as much as the probe copies

/// The least time by arithmetic and by bytes, in microseconds; 0 without such a roof.
struct Least {
  double compute = 0, memory = 0;
};

Least least_of(const DispatchProfile& d, const KernelDef* kernel, const DeviceRoofs& r) {
  const bool halves = kernel && kernel->rate == Rate::kHalf;
  const double peak = halves && r.half_fma_gflops > 0 ? r.half_fma_gflops : r.fma_gflops;
  // FLOPs are those of the definition.
  const double multiplied = kernel ? d.flops * kernel->multiplied : d.flops;
  return {peak > 0 ? multiplied / peak * 1e-3 : 0, r.copy_gbs > 0 ? d.bytes / r.copy_gbs * 1e-3 : 0};
}

}  // namespace

void hold_against(const DeviceRoofs& roofs, bool gpu, bool disturbed, const std::vector<const KernelDef*>& kernels,
                  std::vector<DispatchProfile>* dispatches) {
  for (size_t i = 0; i < dispatches->size(); ++i) {
    DispatchProfile& d = (*dispatches)[i];
    d.roof_us = 0, d.above_roof.clear();
    if (d.cpu && gpu) continue;
    const Least least = least_of(d, kernels[i], roofs);
    d.roof_us = std::max(least.compute, least.memory);
    if (!(d.serialised_us > 0) || d.roof_us <= kNoise * d.serialised_us) continue;
    if (disturbed) d.above_roof = "roofs of a busy moment";
    else if (d.serialised_us < kLongUs) d.above_roof = "too short to tell";
    else
      d.above_roof = least.compute <= kNoise * d.serialised_us ? "bytes from caches" : "fewer operations than defined";
  }
}

bool roofs_are_beaten(const DeviceRoofs& roofs, bool gpu, const std::vector<const KernelDef*>& kernels,
                      const std::vector<DispatchProfile>& dispatches) {
  for (size_t i = 0; i < dispatches.size(); ++i) {
    const DispatchProfile& d = dispatches[i];
    if ((d.cpu && gpu) || d.serialised_us < kLongUs) continue;
    const Least least = least_of(d, kernels[i], roofs);
    if (least.compute > kNoise * d.serialised_us || (d.bytes >= kCached && least.memory > kNoise * d.serialised_us))
      return true;
  }
  return false;
}

}  // namespace vireo
