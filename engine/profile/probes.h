// Plans of one shader each that measure what a device can do at most: the roofs of a roofline (Williams, Waterman and
// Patterson 2009). Pure data, like every plan; runtime/roofline.cpp runs them.
#pragma once

#include "plan/plan.h"

namespace vireo::probes {

enum class Probe : uint8_t {
  kFma,       ///< fp32 multiply-adds on registers
  kHalfFma,   ///< packed fp16 multiply-adds; needs shaderFloat16
  kCopy,      ///< a copy larger than any cache
  kShared,    ///< reads of shared memory
  kDispatch,  ///< dispatches that do nothing, behind barriers
};

/// `scale` multiplies the work: trips of the loop, passes over the memory, or dispatches. At least 1.
struct ProbePlan {
  Plan plan;
  double work = 0;  // FLOPs, bytes (read and written), or dispatches
};
ProbePlan probe_plan(Probe probe, const DeviceCaps& caps, uint32_t scale);

}  // namespace vireo::probes
