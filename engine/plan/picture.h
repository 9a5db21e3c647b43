// Plans that end where a model's plan begins: from a picture's bytes, or from floats, to the network's input.
#pragma once

#include <cstdint>
#include <vector>

#include "model/preprocess.h"
#include "plan/plan.h"

namespace vireo {

/// Two steps on a GPU: conversion with the filter along the columns, then the filter along the rows with the table of
/// levels. Inputs of the plan: the packed part of the picture, and what picture_tables() has. Its answer is that of
/// Preprocessor::run to the bit. Errors: kUnsupported (a batch, a device or size that it cannot do), one sentence.
Result<Plan> plan_picture(const PictureInput& in, const DeviceCaps& caps);

/// The inputs of plan_picture's plan behind the first one, as words. They are of the pictures' shape, not of a picture.
std::vector<std::vector<int32_t>> picture_tables(const PictureInput& in);

/// One step: `floats` of them from the host's memory to the device's.
Result<Plan> plan_floats(int64_t floats, const DeviceCaps& caps);

}  // namespace vireo
