// Asks a device whether its packed fp16 arithmetic is as exact as linear.half takes it for.
#pragma once

#include "base/thread_pool.h"
#include "vk/gpu.h"

namespace vireo {

/// True if a small normalised product comes out right from every tile of linear.half that `caps`' class lists (or there
/// is none). False when it does not, or cannot be run.
bool packed_halves_hold(const std::shared_ptr<vk::Gpu>& gpu, const DeviceCaps& caps, ThreadPool& pool);

}  // namespace vireo
