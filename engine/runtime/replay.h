// Comparing an inference with a captured one.
#pragma once

#include <vector>

#include "runtime/capture_file.h"

namespace vireo {

/// A value here against what was captured of it. `classes`: its numbers are classes, so what counts is how many are
/// others.
ReplayDifference difference(const CapturedValue& captured, const int64_t shape[4], const std::vector<float>& here,
                            bool classes, double tolerance);
/// The answer here against the captured one.
ReplayDifference answer_difference(const CaptureFile& f, const std::vector<float>& here, double tolerance);

}  // namespace vireo
