#include "colours.h"

#include <algorithm>
#include <cmath>

namespace cli {
namespace {

constexpr Colour kPalette[] = {
    {0x5E, 0xA9, 0xFF}, {0x60, 0x05, 0x51}, {0xFC, 0xF1, 0x42}, {0x72, 0x87, 0x7B},
    {0xA6, 0x4C, 0x9A}, {0x00, 0x4F, 0x32}, {0xDC, 0x99, 0x0F}, {0xA1, 0x8D, 0x5A},
    {0x04, 0x4B, 0xD9}, {0xBD, 0x45, 0x03}, {0x52, 0xFF, 0xAA}, {0x39, 0x00, 0x82},
    {0xA3, 0xF2, 0x6E}, {0xEF, 0xB8, 0xF2}, {0x05, 0x04, 0x00}, {0xE9, 0xFB, 0xEB},
};
constexpr int kPaletteSize = int(sizeof kPalette / sizeof *kPalette);

}  // namespace

Colour class_colour(int index) {
  if (index >= 0 && index < kPaletteSize) return kPalette[index];
  // Hues a golden angle apart, lighter and darker in turns.
  const double hue = std::fmod(double(index) * 137.50776, 360.0) / 60;
  const double value = 1.0 - 0.2 * (index % 4), floor = value * (index % 3 == 0 ? 0.15 : 0.4);
  const auto channel = [&](double offset) {
    const double at = std::fmod(hue + offset, 6.0);
    const double part = std::min(std::max(std::fabs(at - 3) - 1, 0.0), 1.0);
    return uint8_t(std::lround(255 * (floor + (value - floor) * part)));
  };
  // The lowest bits are the index itself.
  const auto mark = [&](uint8_t value, int bits, int at) {
    const int mask = (1 << bits) - 1;
    return uint8_t((value & ~mask) | (index >> at & mask));
  };
  return Colour{{mark(channel(0), 3, 0), mark(channel(4), 3, 3), mark(channel(2), 2, 6)}};
}

}  // namespace cli
