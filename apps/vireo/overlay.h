// A picture with its classes in colour, and a legend beside it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "classmap.h"
#include "colours.h"
#include "image.h"

namespace cli {

/// Draws overlays of one model; keeps its memory.
class Overlay {
 public:
  explicit Overlay(const std::vector<std::string>& labels);

  /// The picture blended with the colours of `classes` (of its size), borders between classes drawn, and to the right
  /// of it a legend with every class and its share of `counts`; where not all classes fit, those that occur, the
  /// largest first. The size depends on the picture's size and the labels alone, and is even: frames of one size make a
  /// film.
  const Rgb8& draw(const Rgb8& picture, const ClassMap& classes, const std::vector<uint64_t>& counts);

 private:
  std::vector<std::string> labels_;
  Rgb8 canvas_;
};

/// Width in pixels of text at scale 1; lines are kTextHeight apart.
int text_width(const std::string& text);
constexpr int kTextHeight = 12;
/// Draws ASCII text; (x, y) is its top left. What is outside of the picture is cut off. Other characters become '?'.
void draw_text(Rgb8* picture, int x, int y, int scale, const std::string& text, Colour colour);

}  // namespace cli
