// Which kernel does which operator in which number formats on a device.
#pragma once

#include <string>

#include <vireo/vireo.hpp>

namespace vireo {

/// The matrix of kernels and formats, as `vireo kernels` prints it: how each kernel stores weights of each format, and
/// why where it does not take them. `caps`: the device in the text form of Device::caps_text(); it need not be here.
/// Errors: kCorrupt (damaged caps).
VIREO_API Result<std::string> kernel_matrix(const std::string& caps, bool json);

}  // namespace vireo
