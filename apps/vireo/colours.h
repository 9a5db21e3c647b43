// Colours of classes. The GStreamer element uses this file too: the standard library only.
#pragma once

#include <array>
#include <cstdint>

namespace cli {

using Colour = std::array<uint8_t, 3>;

/// The colour of a class, the same for every model. The first 16 differ for people with any kind of colour blindness as
/// well (they were chosen for the largest distance in CIELAB under simulated protanopia, deuteranopia and tritanopia);
/// those from 16 to 255 are only all different.
Colour class_colour(int index);

}  // namespace cli
