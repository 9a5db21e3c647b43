// Colours of classes over a frame of any of the element's formats, in place.
#pragma once

#include <gst/video/video.h>

namespace vireo_gst {

/// Blends each pixel with the colour of its class, half and half. `classes`: of the upright picture, row by row, its
/// width and height being the frame's, or the other way round where `rotation` (degrees clockwise that turn the frame
/// upright) is 90 or 270; a value that is no class leaves its pixel as it is.
void draw_classes(GstVideoFrame* frame, const float* classes, int rotation, int count);

}  // namespace vireo_gst
