// From a picture's bytes to a network's input in one pass over bands of rows: conversion to RGB, Pillow's resize,
// normalisation. What no row of the band needs is not read, and nothing of the picture's size is written.
#pragma once

#include <cstddef>
#include <cstdint>

#include <vireo/image.hpp>

namespace vireo::simd {

/// A picture that was checked, as the kernels read it.
struct PictureSource {
  PixelFormat format = PixelFormat::kRgb;
  const uint8_t* plane[3] = {nullptr, nullptr, nullptr};
  int64_t stride[3] = {0, 0, 0};
  int64_t x = 0, y = 0, width = 0, height = 0;  // the part that counts, in stored pixels
  int rotation = 0;                             // 0, 90, 180, 270
  bool luma = false;                            // Pillow's grey of each pixel stands in all its channels
  // Luma and chroma to RGB, in 1/16384: r = y (Y - black) + rv V, and so on, with U and V around 0.
  int32_t black = 0, yy = 0, rv = 0, gu = 0, gv = 0, bu = 0;

  bool turned() const { return rotation == 90 || rotation == 270; }
  int64_t upright_width() const { return turned() ? height : width; }
  int64_t upright_height() const { return turned() ? width : height; }
};

/// Upright rows as RGB, or grey levels: an item is a block of kPictureBlock rows.
constexpr int64_t kPictureBlock = 64;
struct PictureRowsArgs {
  PictureSource source;
  int64_t first_row = 0, rows = 0;
  int64_t channels = 3;    // 3, or the first alone
  uint8_t* out = nullptr;  // rows * upright_width * channels bytes
};

/// The filter of one direction. Taps are 22-bit fixed point as Pillow's, split in two: weight = high * 4096 + low.
/// Horizontally an output has groups of 4 taps of 4 words (high of taps 0 and 1, of 2 and 3, low of both), vertically
/// pairs of taps of 2 words (high, low); a word holds the weights of two neighbouring taps. Products of bytes take the
/// same weights in three digits, weight = (a * 256 + b) * 256 + c of -128 to 127: in both directions groups of 4 taps
/// of 3 words (a, b, c).
struct PictureAxis {
  int64_t count = 0;                // outputs; horizontally rounded up to 4 with outputs of no taps
  const int32_t* begin = nullptr;   // [count]: the first source pixel
  const int32_t* length = nullptr;  // [count]: groups horizontally, taps vertically
  const int32_t* words = nullptr;
  int64_t words_each = 0;  // from one output to the next
  const int32_t* digits = nullptr;
  int64_t digits_each = 0;
  int64_t max_length = 0;  // the largest of `length`
};

/// What a level becomes, as arithmetic: v = level * high, exact in fp32, plus level * low; then (v - mean) / std, the
/// quotient by one step of Newton's from `inverse`, 1 / std rounded.
struct PictureScale {
  float high = 1, low = 0, mean = 0, std = 1, inverse = 1;
};

/// An item is a band of output rows.
struct PictureArgs {
  PictureSource source;
  int64_t first_column = 0, columns = 0;  // of the upright picture: what the horizontal filter reads
  PictureAxis horizontal, vertical;
  int64_t width = 0, bands = 1;                         // outputs in a row: horizontal.count without what fills it up
  int64_t channels = 3;                                 // 1 or 3 planes
  const float* table[3] = {nullptr, nullptr, nullptr};  // [256]: what a level becomes in each plane
  bool scaled = false;                                  // `scale` gives the numbers of `table`
  PictureScale scale[3];
  int from[3] = {0, 1, 2};                   // the channel of RGB that each plane is of
  float* out = nullptr;                      // the first plane's first number of the window
  int64_t row_stride = 0, plane_stride = 0;  // in numbers
};

}  // namespace vireo::simd
