// Asks a device whether its kernels are as exact as they are taken for, before they are used: those of kernels.def that
// have a self-test (linear.half, whose sums are packed fp16).
#pragma once

#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "device/caps.h"
#include "ops/kernel.h"
#include "plan/plan.h"
#include "tensor/format.h"
#include "vk/gpu.h"

namespace vireo {

/// Whether the kernel's self-test comes out right with these constants. Errors: it could not be run.
Result<bool> holds(const KernelDef& kernel, const Constants& constants, const std::shared_ptr<vk::Gpu>& gpu,
                   const DeviceCaps& caps, ThreadPool& pool);

/// A kernel that has a self-test, with some of its constants.
using Tested = std::pair<const KernelDef*, Constants>;
/// What a plan has of them: a device is asked about no others, because each question compiles a pipeline.
std::vector<Tested> tested_kernels(const Plan& plan);
/// All that the class has for plans with activations of that type.
std::vector<Tested> tested_kernels(const DeviceCaps& caps, DType activations);

}  // namespace vireo
