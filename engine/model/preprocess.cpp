#include "model/preprocess.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/thread_pool.h"
#include "model/picture.h"

namespace vireo {
namespace {

/// n / 2 with halves to the even neighbour: Python's round(n / 2.0).
int64_t half_to_even(int64_t n) { return n / 2 + (n % 2 != 0 && n / 2 % 2 != 0 ? 1 : 0); }

/// Where the crop begins; negative when the picture is smaller than the crop and is padded.
int64_t crop_offset(int64_t size, int64_t crop, PreprocessConfig::CropRounding rounding) {
  const int64_t margin = size - crop;
  if (rounding == PreprocessConfig::CropRounding::kHalfEven && margin >= 0) return half_to_even(margin);
  if (rounding != PreprocessConfig::CropRounding::kFloor && margin < 0) return -(-margin / 2);
  return margin >= 0 ? margin / 2 : -((-margin + 1) / 2);
}

/// Rows as the kernel makes them, in blocks where the picture is turned.
class KernelRows : public RowSource {
 public:
  KernelRows(const simd::Kernel<simd::PictureRowsArgs>& kernel, simd::PictureRowsArgs args, AlignedBuffer& scratch,
             std::vector<uint8_t>& block)
      : kernel_(kernel), args_(args), scratch_(scratch), block_(block) {
    args_.rows = 0;
    block_.resize(size_t(block_rows() * row_bytes()));
    args_.out = block_.data();
  }
  const uint8_t* row(int64_t y) override {
    if (y < args_.first_row || y >= args_.first_row + args_.rows) {
      args_.first_row = y;
      args_.rows = std::min(block_rows(), args_.source.upright_height() - y);
      kernel_.run(args_, 0, kernel_.items(args_), scratch_.data());
    }
    return block_.data() + (y - args_.first_row) * row_bytes();
  }

 private:
  int64_t block_rows() const { return args_.source.turned() ? simd::kPictureBlock : 1; }
  int64_t row_bytes() const { return args_.source.upright_width() * args_.channels; }

  const simd::Kernel<simd::PictureRowsArgs>& kernel_;
  simd::PictureRowsArgs args_;
  AlignedBuffer& scratch_;
  std::vector<uint8_t>& block_;
};

/// Scratch of at least so many bytes for each thread; false when memory ran out.
bool reserve(std::vector<AlignedBuffer>* scratch, size_t threads, size_t bytes) {
  if (scratch->size() < threads) scratch->resize(threads);
  for (AlignedBuffer& b : *scratch) {
    if (b.size() < bytes) b = AlignedBuffer(bytes);
    if (!b) return false;
  }
  return true;
}

}  // namespace

std::pair<int64_t, int64_t> resized_size(const PreprocessConfig& c, int64_t w, int64_t h) {
  switch (c.resize) {
    case PreprocessConfig::Resize::kNone: return {h, w};
    case PreprocessConfig::Resize::kExact: return {c.resize_h, c.resize_w};
    case PreprocessConfig::Resize::kShortestEdge: {
      int64_t near = c.shortest;
      int64_t far = int64_t(double(c.shortest * std::max(w, h)) / double(std::min(w, h)));
      if (c.longest > 0 && far > c.longest) {
        near = int64_t(double(c.longest * near) / double(far));
        far = c.longest;
      }
      near = std::max(near, int64_t(1));
      return w <= h ? std::make_pair(far, near) : std::make_pair(near, far);
    }
    case PreprocessConfig::Resize::kCover: {
      const double ratio = std::min(double(h) / double(c.resize_h), double(w) / double(c.resize_w));
      return {int64_t(std::nearbyint(double(h) / ratio)), int64_t(std::nearbyint(double(w) / ratio))};
    }
  }
  return {h, w};
}

Result<void> validate_preprocess(const PreprocessConfig& c, const std::string& source) {
  const auto side_ok = [](int64_t v) { return v >= 1 && v <= (1 << 16); };
  if (!side_ok(c.resize_h) || !side_ok(c.resize_w) || !side_ok(c.shortest) || c.longest < 0 || c.longest > kMaxSide ||
      !side_ok(c.crop_h) || !side_ok(c.crop_w) || !side_ok(c.input_h) || !side_ok(c.input_w)) {
    return fail(ErrorCode::kCorrupt, "'{}': a size is out of range; expected 1 to 65536 pixels", source);
  }
  for (size_t i = 0; i < 3; ++i) {
    if (c.normalize && (!std::isfinite(c.mean[i]) || !std::isfinite(c.std[i]) || float(c.std[i]) == 0.f)) {
      return fail(ErrorCode::kCorrupt,
                  "'{}': image_mean {} and image_std {} of channel {} cannot normalise a picture; "
                  "expected finite numbers and a std other than 0",
                  source, c.mean[i], c.std[i], i);
    }
  }
  return {};
}

namespace {

/// The arithmetic of channel c as the kernels can do it.
simd::PictureScale scale_of(const PreprocessConfig& config, size_t c) {
  simd::PictureScale s;
  const bool fused =
      config.arithmetic == PreprocessConfig::Arithmetic::kTorchFused && config.normalize && config.rescale;
  if (config.rescale && !fused) {
    const double factor = config.arithmetic == PreprocessConfig::Arithmetic::kTorch ? 1.0 / 255 : config.rescale_factor;
    // 16 bits of it, whose products with levels are exact, and what is left.
    uint32_t bits;
    s.high = float(factor);
    std::memcpy(&bits, &s.high, sizeof bits);
    bits &= 0xFFFFFF00u;
    std::memcpy(&s.high, &bits, sizeof bits);
    s.low = float(factor - double(s.high));
  }
  if (config.normalize) {
    const float back = fused ? float(1.0 / config.rescale_factor) : 1.f;
    s.mean = float(config.mean[c]) * back, s.std = float(config.std[c]) * back;
  }
  s.inverse = 1.f / s.std;
  return s;
}
/// What the kernels compute of a level.
float at_level(const simd::PictureScale& s, size_t level) {
  const float v = std::fma(float(level), s.low, float(level) * s.high) - s.mean, quotient = v * s.inverse;
  return std::fma(std::fma(-quotient, s.std, v), s.inverse, quotient);
}

}  // namespace

Preprocessor::Preprocessor(PreprocessConfig config, const simd::Kernels& kernels)
    : config_(std::move(config)), kernels_(kernels) {
  // 256 levels per channel: the arithmetic of the original library, done once for each.
  table_.resize(size_t(config_.channels) * 256);
  scales_.resize(size_t(config_.channels));
  in_scales_ = true;
  for (size_t c = 0; c < size_t(config_.channels); ++c) {
    scales_[c] = scale_of(config_, std::min(c, size_t(2)));
    for (size_t level = 0; level < 256; ++level) {
      float v = float(level);
      if (config_.arithmetic == PreprocessConfig::Arithmetic::kTorchFused) {
        const size_t at = std::min(c, size_t(2));
        const float back = float(1.0 / config_.rescale_factor);
        if (config_.normalize && config_.rescale)
          v = (v - float(config_.mean[at]) * back) / (float(config_.std[at]) * back);
        else if (config_.normalize) v = (v - float(config_.mean[at])) / float(config_.std[at]);
        else if (config_.rescale) v = v * float(config_.rescale_factor);
        table_[c * 256 + level] = v;
        continue;
      }
      if (config_.arithmetic == PreprocessConfig::Arithmetic::kTorch) {
        if (config_.rescale) v = v / 255.f;
      } else if (config_.rescale) {
        v = float(double(level) * config_.rescale_factor);
      }
      if (config_.normalize)
        v = (v - float(config_.mean[std::min(c, size_t(2))])) / float(config_.std[std::min(c, size_t(2))]);
      table_[c * 256 + level] = v;
    }
    for (size_t level = 0; level < 256; ++level)
      in_scales_ = in_scales_ && at_level(scales_[c], level) == table_[c * 256 + level];
  }
}

bool Preprocessor::Axis::changes(int64_t in_size, int64_t out_size, int64_t first_out, int64_t outputs, Filter kind) {
  if (in == in_size && out == out_size && first == first_out && count == outputs && filter == kind) return false;
  in = -1;  // until all of it is there: memory may run out on the way
  out = out_size, first = first_out, count = outputs, filter = kind;
  max_length = 0;
  return true;
}

simd::PictureAxis Preprocessor::Axis::view() const {
  simd::PictureAxis a;
  a.count = int64_t(begin.size());
  a.begin = begin.data();
  a.length = length.data();
  a.words = words.data();
  a.words_each = words_each;
  a.digits = digits.data();
  a.digits_each = digits_each;
  a.max_length = max_length;
  return a;
}

void Preprocessor::find_taps(int64_t in, int64_t out, int64_t first, int64_t count) {
  if (in != out && config_.filter != Filter::kNearest) return taps_.prepare(in, out, first, count, config_.filter);
  // One pixel each, as it is.
  taps_.in = -1;
  nearest_pixels(in, out, first, count, &taps_.begin);
  taps_.length.assign(size_t(count), 1);
  taps_.weights.assign(size_t(count), 1 << 22);
  taps_.taps = 1;
}

namespace {

/// The two parts of a weight (simd::PictureAxis), and two of them in a word.
int32_t high_part(int32_t w) { return w >> 12; }
int32_t low_part(int32_t w) { return w & 4095; }
int32_t word(int32_t first, int32_t second) { return int32_t((uint32_t(second) << 16) | (uint32_t(first) & 0xFFFFu)); }

}  // namespace

void Preprocessor::Axis::set_digits(const ResizeAxis& taps, size_t all) {
  digits_each = (taps.taps + 3) / 4 * 3;
  digits.assign(all * size_t(digits_each), 0);
  for (size_t i = 0; i < size_t(count); ++i) {
    uint8_t to[3][4] = {};
    for (int64_t k = 0; k < taps.length[i]; ++k) {
      int32_t rest = taps.weights[i * size_t(taps.taps) + size_t(k)];
      for (size_t digit = 2;; --digit) {
        const int8_t low = int8_t(uint8_t(rest & 0xFF));
        to[digit][k % 4] = uint8_t(low);
        if (digit == 0) break;
        rest = (rest - low) / 256;
      }
      if (k % 4 != 3 && k + 1 != taps.length[i]) continue;
      std::memcpy(&digits[i * size_t(digits_each) + size_t(k / 4 * 3)], to, sizeof to);
      std::memset(to, 0, sizeof to);
    }
  }
}

void Preprocessor::prepare_columns(int64_t in, int64_t out, int64_t first, int64_t count) {
  if (!columns_.changes(in, out, first, count, config_.filter)) return;
  find_taps(in, out, first, count);
  Axis& a = columns_;
  a.from = in, a.end = 0;
  for (size_t i = 0; i < size_t(count); ++i) {
    a.from = std::min(a.from, taps_.begin[i]);
    a.end = std::max(a.end, taps_.begin[i] + taps_.length[i]);
    a.max_length = std::max(a.max_length, (taps_.length[i] + 3) / 4);
  }
  const size_t all = size_t((count + 3) / 4 * 4);
  a.words_each = 4 * a.max_length;
  a.begin.assign(all, 0);
  a.length.assign(all, 0);
  a.words.assign(all * size_t(a.words_each), 0);
  for (size_t i = 0; i < size_t(count); ++i) {
    a.begin[i] = int32_t(taps_.begin[i] - a.from);
    a.length[i] = int32_t((taps_.length[i] + 3) / 4);
    const int32_t* w = &taps_.weights[i * size_t(taps_.taps)];
    const auto weight = [&](int64_t k) { return k < taps_.length[i] ? w[k] : 0; };
    int32_t* to = &a.words[i * size_t(a.words_each)];
    for (int64_t k = 0; k < taps_.length[i]; k += 4, to += 4) {
      to[0] = word(high_part(weight(k)), high_part(weight(k + 1)));
      to[1] = word(high_part(weight(k + 2)), high_part(weight(k + 3)));
      to[2] = word(low_part(weight(k)), low_part(weight(k + 1)));
      to[3] = word(low_part(weight(k + 2)), low_part(weight(k + 3)));
    }
  }
  a.set_digits(taps_, all);
  a.in = in;
}

void Preprocessor::prepare_rows(int64_t in, int64_t out, int64_t first, int64_t count) {
  if (!rows_.changes(in, out, first, count, config_.filter)) return;
  find_taps(in, out, first, count);
  Axis& a = rows_;
  a.max_length = *std::max_element(taps_.length.begin(), taps_.length.begin() + count);
  a.words_each = (a.max_length + 1) / 2 * 2;
  a.begin.assign(taps_.begin.begin(), taps_.begin.begin() + count);
  a.length.assign(taps_.length.begin(), taps_.length.begin() + count);
  a.words.assign(size_t(count * a.words_each), 0);
  for (size_t i = 0; i < size_t(count); ++i) {
    const int32_t* w = &taps_.weights[i * size_t(taps_.taps)];
    int32_t* to = &a.words[i * size_t(a.words_each)];
    for (int64_t k = 0; k < taps_.length[i]; k += 2, to += 2) {
      const int32_t second = k + 1 < taps_.length[i] ? w[k + 1] : 0;
      to[0] = word(high_part(w[k]), high_part(second));
      to[1] = word(low_part(w[k]), low_part(second));
    }
  }
  a.set_digits(taps_, size_t(count));
  a.in = in;
}

Result<void> Preprocessor::run(const uint8_t* rgb, int64_t width, int64_t height, int64_t stride, float* out) {
  const auto side = [](int64_t v) { return int(std::min<int64_t>(std::max<int64_t>(v, 0), INT32_MAX)); };
  return run(Image{rgb, side(width), side(height), ptrdiff_t(stride)}, out);
}

Result<Preprocessor::Placed> Preprocessor::place(const simd::PictureSource& source) const {
  if (config_.channels != 1 && config_.channels != 3) {
    return fail(ErrorCode::kUnsupported,
                "the model takes {} channels, but pictures give 3 (colour) or 1 (grey); run it on a "
                "tensor instead",
                config_.channels);
  }
  const int64_t width = source.upright_width(), height = source.upright_height();
  const auto [full_h, full_w] = resized_size(config_, width, height);
  const int64_t in_h = config_.input_h, in_w = config_.input_w;
  if (!config_.crop && (full_h != in_h || full_w != in_w)) {
    return fail(
        ErrorCode::kInvalidArgument,
        "a picture of {} x {} (width x height) {} {} x {}, but the model takes {} x {}; {}", width, height,
        config_.resize == PreprocessConfig::Resize::kNone ? "stays" : "becomes", full_w, full_h, in_w, in_h,
        config_.resize == PreprocessConfig::Resize::kNone
            ? "its preprocessor_config.json says do_resize false, so resize the picture first"
            : "its preprocessor_config.json keeps proportions and does not crop, so open a session of the picture's "
              "size (`classify` and `embed` do) or crop the picture first");
  }
  const int64_t top = config_.crop ? crop_offset(full_h, in_h, config_.rounding) : 0;
  const int64_t left = config_.crop ? crop_offset(full_w, in_w, config_.rounding) : 0;
  // The part of the crop that lies on the picture; the rest is black, as Transformers and torchvision pad.
  Placed placed;
  placed.full_w = full_w, placed.full_h = full_h;
  Window& window = placed.window;
  window.x = std::max(left, int64_t(0));
  window.y = std::max(top, int64_t(0));
  window.width = std::min(left + in_w, full_w) - window.x;
  window.height = std::min(top + in_h, full_h) - window.y;
  placed.x0 = window.x - left, placed.y0 = window.y - top;
  return placed;
}

namespace {

/// One channel, of colours: Pillow's grey of them.
bool wants_luma(int64_t channels, PixelFormat format) {
  return channels == 1 && format != PixelFormat::kGrey && format != PixelFormat::kGrey16;
}

}  // namespace

Result<void> Preprocessor::run(const Image& image, float* out, ThreadPool* pool) {
  VIREO_ASSIGN(simd::PictureSource source, check_image(image));
  VIREO_ASSIGN(const Placed placed, place(source));
  const int64_t in_h = config_.input_h, in_w = config_.input_w;
  const Window& window = placed.window;
  if (window.width < in_w || window.height < in_h)
    for (int64_t c = 0; c < config_.channels; ++c) std::fill_n(out + c * in_h * in_w, in_h * in_w, table(c)[0]);
  source.luma = wants_luma(config_.channels, image.format);
  float* first = out + placed.y0 * in_w + placed.x0;
  return in_floats() ? floating(image, source, placed.full_w, placed.full_h, window, first)
                     : fixed_point(source, placed.full_w, placed.full_h, window, first, pool);
}

StoredFilter Preprocessor::stored_filter(int64_t in, int64_t out, int64_t first, int64_t count, int64_t start,
                                         bool reversed) {
  find_taps(in, out, first, count);
  StoredFilter f;
  f.outputs = count;
  f.taps = *std::max_element(taps_.length.begin(), taps_.length.begin() + count);
  f.begin.resize(size_t(count));
  f.weights.assign(size_t(count * f.taps), 0);
  for (size_t i = 0; i < size_t(count); ++i) {
    const int64_t length = taps_.length[i];
    const int64_t at = reversed ? in - taps_.begin[i] - length : taps_.begin[i];
    // All of an output's taps lie inside the picture: those of no weight before the others where it ends.
    const int64_t begin = std::min(at, in - f.taps);
    f.begin[i] = int32_t(start + begin);
    for (int64_t k = 0; k < length; ++k)
      f.weights[i * size_t(f.taps) + size_t(at - begin + k)] =
          taps_.weights[i * size_t(taps_.taps) + size_t(reversed ? length - 1 - k : k)];
  }
  return f;
}

Result<PictureInput> Preprocessor::describe(const Image& image) {
  PictureInput p;
  VIREO_ASSIGN(p.source, check_shape(image));
  VIREO_ASSIGN(const Placed placed, place(p.source));
  if (in_floats())
    return fail(ErrorCode::kUnsupported, "this checkpoint's pictures are resized as torchvision resizes floats");
  p.source.luma = wants_luma(config_.channels, image.format);
  p.part = packed_part(p.source);
  const bool turned = p.source.turned();
  const int rotation = p.source.rotation;
  const Window& w = placed.window;
  p.columns = stored_filter(p.source.upright_width(), placed.full_w, w.x, w.width, turned ? p.part.y : p.part.x,
                            rotation == 180 || rotation == 90);
  p.rows = stored_filter(p.source.upright_height(), placed.full_h, w.y, w.height, turned ? p.part.x : p.part.y,
                         rotation == 180 || rotation == 270);
  p.window = {placed.x0, placed.y0, w.width, w.height};
  p.input_w = config_.input_w, p.input_h = config_.input_h, p.channels = config_.channels;
  p.flip = config_.bgr && config_.channels == 3;
  for (int64_t c = 0; c < config_.channels; ++c) p.levels.insert(p.levels.end(), table(c), table(c) + 256);
  return p;
}

Result<void> Preprocessor::fixed_point(const simd::PictureSource& source, int64_t full_w, int64_t full_h,
                                       const Window& window, float* out, ThreadPool* pool) {
  prepare_columns(source.upright_width(), full_w, window.x, window.width);
  prepare_rows(source.upright_height(), full_h, window.y, window.height);
  simd::PictureArgs a;
  a.source = source;
  a.first_column = columns_.from;
  a.columns = columns_.end - columns_.from;
  a.horizontal = columns_.view();
  a.vertical = rows_.view();
  a.width = window.width;
  a.channels = config_.channels;
  for (int c = 0; c < a.channels; ++c) {
    a.from[c] = config_.bgr && a.channels == 3 ? 2 - c : c;
    a.table[c] = table(c);
    a.scale[c] = scales_[size_t(channel_of(c))];
  }
  a.scaled = in_scales_;
  a.out = out;
  a.row_stride = config_.input_w;
  a.plane_stride = config_.input_h * config_.input_w;
  // Bands overlap by the filter's height: few, but enough that a thread that is held up does not hold up all.
  const int threads = pool != nullptr ? pool->threads() : 1;
  constexpr int64_t kLeastRows = 16;
  a.bands = threads == 1 ? 1 : std::max<int64_t>(std::min<int64_t>(4 * threads, window.height / kLeastRows), 1);
  const simd::Kernel<simd::PictureArgs>& kernel = kernels_.picture;
  if (!reserve(&scratch_, size_t(threads), kernel.scratch_bytes(a))) return out_of_memory();
  if (a.bands == 1) kernel.run(a, 0, 1, scratch_[0].data());
  else
    pool->parallel_for(a.bands, 1, [&](int64_t begin, int64_t end, int thread) {
      kernel.run(a, begin, end, scratch_[size_t(thread)].data());
    });
  return {};
}

Result<void> Preprocessor::floating(const Image& image, const simd::PictureSource& source, int64_t full_w,
                                    int64_t full_h, const Window& window, float* out) {
  const int64_t channels = config_.channels, width = source.upright_width(), height = source.upright_height();
  PictureView small;
  if (image.format == PixelFormat::kRgb && source.rotation == 0 && channels == 3) {
    const PictureView picture{source.plane[0] + source.y * source.stride[0] + 3 * source.x, width, height,
                              source.stride[0]};
    small = float_resizer_.resize(picture, channels, full_w, full_h, window, config_.filter);
  } else {
    simd::PictureRowsArgs args;
    args.source = source;
    args.channels = channels;
    if (!reserve(&scratch_, 1, kernels_.picture_rows.scratch_bytes(args))) return out_of_memory();
    KernelRows rows(kernels_.picture_rows, args, scratch_[0], block_);
    small = float_resizer_.resize(rows, width, height, channels, full_w, full_h, window, config_.filter);
  }
  for (int64_t c = 0; c < channels; ++c) {
    const int64_t from = config_.bgr && channels == 3 ? 2 - c : c;
    const float* levels = table(c);
    for (int64_t y = 0; y < window.height; ++y) {
      float* row = out + (c * config_.input_h + y) * config_.input_w;
      const uint8_t* in = small.pixels + y * small.stride + from;
      for (int64_t x = 0; x < window.width; ++x) row[x] = levels[in[x * channels]];
    }
  }
  return {};
}

}  // namespace vireo
