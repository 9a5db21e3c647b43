// Asks a device whether its kernels are as exact as they are taken for, before they are used: those of kernels.def that
// have a self-test (linear.half, whose sums are packed fp16).
#pragma once

#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "device/caps.h"
#include "tensor/format.h"
#include "vk/gpu.h"

namespace vireo {

/// Names of the kernels whose small products are wrong on this device, with any of the constants that `caps`' class
/// has for them, or cannot be run.
std::vector<std::string> failing_kernels(const std::shared_ptr<vk::Gpu>& gpu, const DeviceCaps& caps, ThreadPool& pool);

/// Whether the class has such kernels for plans with activations of that type.
bool has_self_tests(const DeviceCaps& caps, DType activations);

}  // namespace vireo
