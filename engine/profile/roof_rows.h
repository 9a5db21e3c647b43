// The rows of a profile beside the roofs of its device.
#pragma once

#include <vector>

#include "ops/kernel.h"

#include <vireo/profile.hpp>

namespace vireo {

/// Sets roof_us and above_roof of every dispatch, which `kernels` did: one each, null where it is not known. `gpu`: the
/// roofs are a GPU's, under which steps on the CPU have no place. `disturbed`: the roofs were measured on a busy
/// machine.
void hold_against(const DeviceRoofs& roofs, bool gpu, bool disturbed, const std::vector<const KernelDef*>& kernels,
                  std::vector<DispatchProfile>* dispatches);

/// Whether these rows show that the device can do more than the roofs say, beyond what noise and caches explain: then
/// the roofs are to be measured anew.
bool roofs_are_beaten(const DeviceRoofs& roofs, bool gpu, const std::vector<const KernelDef*>& kernels,
                      const std::vector<DispatchProfile>& dispatches);

}  // namespace vireo
