// Overlays: see overlay.h.
#include "overlay.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <numeric>

#include <stb_easy_font.h>

namespace cli {
namespace {

constexpr Colour kPanel{{24, 24, 28}}, kText{{236, 236, 240}}, kFaint{{120, 120, 128}}, kRim{{170, 170, 178}};
constexpr size_t kLongestName = 24;  // characters of a label; longer ones end in ".."
constexpr int kFewestLines = 12;     // the canvas grows for so many

/// The picture's part of 256 in the blend; the rest is the class's colour.
constexpr int kPicturePart = 128;

void fill(Rgb8* picture, int x0, int y0, int x1, int y1, Colour colour) {
  x0 = std::max(x0, 0), y0 = std::max(y0, 0);
  x1 = std::min(x1, picture->width), y1 = std::min(y1, picture->height);
  for (int y = y0; y < y1; ++y) {
    uint8_t* at = &picture->rgb[(size_t(y) * size_t(picture->width) + size_t(x0)) * 3];
    for (int x = x0; x < x1; ++x, at += 3) std::copy(colour.begin(), colour.end(), at);
  }
}

std::string ascii(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if ((u & 0xC0) == 0x80) continue;  // further bytes of a UTF-8 character
    out += u >= 32 && u < 127 ? c : '?';
  }
  return out;
}

/// A label as the legend shows it: its first synonym, not too long.
std::string legend_name(const std::string& label) {
  std::string name = ascii(label.substr(0, label.find(',')));
  if (name.size() > kLongestName) name = name.substr(0, kLongestName - 2) + "..";
  return name;
}

std::string percent(uint64_t part, uint64_t all) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f%%", all > 0 ? 100.0 * double(part) / double(all) : 0.0);
  return text;
}

}  // namespace

int text_width(const std::string& text) {
  std::string line = ascii(text);
  return stb_easy_font_width(line.data());
}

void draw_text(Rgb8* picture, int x, int y, int scale, const std::string& text, Colour colour) {
  // The font comes as quads: four corners of 3 floats and a colour.
  struct Corner {
    float x, y, z;
    uint8_t colour[4];
  };
  std::string line = ascii(text);
  std::vector<Corner> corners(line.size() * 80 + 4);
  const int quads =
      stb_easy_font_print(0, 0, line.data(), nullptr, corners.data(), int(corners.size() * sizeof(Corner)));
  for (int q = 0; q < quads; ++q) {
    const Corner& a = corners[size_t(q) * 4];
    const Corner& b = corners[size_t(q) * 4 + 2];
    fill(picture, x + int(a.x) * scale, y + int(a.y) * scale, x + int(b.x) * scale, y + int(b.y) * scale, colour);
  }
}

Overlay::Overlay(const std::vector<std::string>& labels) {
  for (const std::string& label : labels) labels_.push_back(legend_name(label));
}

const Rgb8& Overlay::draw(const Rgb8& picture, const ClassMap& classes, const std::vector<uint64_t>& counts) {
  const int w = picture.width, h = picture.height;
  const int scale = std::max(1, std::min(h, w) / 360);
  const int line = (kTextHeight + 3) * scale, margin = 6 * scale, swatch = 9 * scale;
  int name_width = 0;
  for (const std::string& label : labels_) name_width = std::max(name_width, text_width(label));
  const int share_width = text_width("100.0%") * scale, name_at = margin + swatch + margin;
  const int panel = name_at + name_width * scale + 2 * margin + share_width + margin;
  const int total = int(labels_.size());
  const int lines = std::min(total, std::max((h - 2 * margin) / line, kFewestLines));
  const int height = std::max(h, lines * line + 2 * margin);
  canvas_.width = (w + panel + 1) / 2 * 2;
  canvas_.height = (height + 1) / 2 * 2;
  canvas_.rgb.resize(size_t(canvas_.width) * size_t(canvas_.height) * 3);
  fill(&canvas_, w, 0, canvas_.width, canvas_.height, kPanel);
  fill(&canvas_, 0, h, w, canvas_.height, kPanel);

  uint8_t colours[kMaxClasses][3];
  for (int c = 0; c < total; ++c) {
    const Colour colour = class_colour(c);
    std::copy(colour.begin(), colour.end(), colours[c]);
  }
  for (int y = 0; y < h; ++y) {
    const uint8_t* in = &picture.rgb[size_t(y) * size_t(w) * 3];
    const uint8_t* c = &classes.index[size_t(y) * size_t(w)];
    uint8_t* out = &canvas_.rgb[size_t(y) * size_t(canvas_.width) * 3];
    for (int x = 0; x < w; ++x, in += 3, out += 3) {
      const bool border = (x + 1 < w && c[x + 1] != c[x]) || (y + 1 < h && c[x + w] != c[x]);
      for (int k = 0; k < 3; ++k) {
        const int mixed = (in[k] * kPicturePart + colours[c[x]][k] * (256 - kPicturePart)) / 256;
        out[k] = uint8_t(border ? mixed / 3 : mixed);
      }
    }
  }

  std::vector<int> order(labels_.size());
  std::iota(order.begin(), order.end(), 0);
  if (lines < total) {  // not all fit: those that occur, the largest first
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return counts[size_t(a)] > counts[size_t(b)]; });
    while (!order.empty() && counts[size_t(order.back())] == 0) order.pop_back();
  }
  const int listed = int(order.size());
  for (int i = 0; i < std::min(lines, listed); ++i) {
    const int y = margin + i * line;
    if (i + 1 == lines && lines < listed) {
      uint64_t rest = 0;
      for (int k = i; k < listed; ++k) rest += counts[size_t(order[size_t(k)])];
      const std::string share = percent(rest, classes.index.size());
      draw_text(&canvas_, w + name_at, y + scale, scale, std::to_string(listed - i) + " more", kFaint);
      draw_text(&canvas_, w + panel - margin - text_width(share) * scale, y + scale, scale, share, kFaint);
      break;
    }
    const int c = order[size_t(i)];
    const uint64_t count = counts[size_t(c)];
    const Colour ink = count > 0 ? kText : kFaint;
    const std::string share = count > 0 ? percent(count, classes.index.size()) : "-";
    fill(&canvas_, w + margin, y, w + margin + swatch, y + swatch, kRim);
    fill(&canvas_, w + margin + scale, y + scale, w + margin + swatch - scale, y + swatch - scale, class_colour(c));
    draw_text(&canvas_, w + name_at, y + scale, scale, labels_[size_t(c)], ink);
    draw_text(&canvas_, w + panel - margin - text_width(share) * scale, y + scale, scale, share, ink);
  }
  return canvas_;
}

}  // namespace cli
