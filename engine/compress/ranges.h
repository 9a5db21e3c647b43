// From where to where the codes of rows reach that all share one scale, found on pictures: as far as the values do, or
// less far where finer steps in the middle are worth more than a few values that are cut off.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "compress/runner.h"
#include "ops/row_grids.h"
#include "simd/kernels.h"

namespace vireo::compress {

/// Values from `least` to `most` have codes of their own; 0 is among them.
struct Range {
  float least = 0, most = 0;
};

/// The codes of a range, -128 to 127: value = (code - zero) * scale, both as a file holds them.
struct RangeCodes {
  explicit RangeCodes(Range r);
  float scale = 1, zero = 0;

  double rounded(double x) const;
};

/// How many values lie where. Bins are a power of 2 wide, so that what they hold when they must become wider is known,
/// and the counts do not depend on the order in which values came.
class Histogram {
 public:
  static constexpr int kHalf = 16384;  // bins on either side of 0

  void add(const float* x, int64_t n);

  double width() const { return width_; }
  uint64_t values() const { return values_; }
  /// Of [bin, bin + 1) * width; -kHalf to kHalf - 1.
  uint64_t count(int bin) const { return counts_[size_t(int64_t(bin) + kHalf)]; }

 private:
  void widen(float magnitude);

  double width_ = 0;  // 0: no value but 0 yet
  uint64_t values_ = 0;
  std::vector<uint64_t> counts_;
};

/// What the pictures gave of a value, as far as somebody looks at it.
class RangeStatistics {
 public:
  struct Looks {
    bool histogram = false, rows = false;
  };
  RangeStatistics(int64_t cols, Looks looks) : cols_(cols), looks_(looks) {}

  /// Rows of one picture, which are finite.
  void add(const Rows& x);

  Range whole() const { return whole_; }
  const Histogram& histogram() const { return histogram_; }
  /// Some rows of each add(), [rows, cols]: the first, where a class token is, and three that differ from time to time.
  const std::vector<float>& rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  operator GridSample() const { return {rows_, cols_, double(whole_.least), double(whole_.most)}; }

  static uint64_t bytes(int64_t cols, Looks looks, size_t pictures);

 private:
  int64_t cols_;
  Looks looks_;
  Range whole_;
  Histogram histogram_;
  std::vector<float> rows_;
  int64_t added_ = 0;
};

/// A weight that multiplies the rows.
struct RangeReader {
  const float* weight = nullptr;  // [rows, cols of the value]
  int64_t rows = 0;
};

struct RangeMethod {
  const char* name;
  const char* what;    // for --list
  const char* source;  // where it is from
  RangeStatistics::Looks looks;
  Range (*find)(const RangeStatistics& seen, const std::vector<RangeReader>& readers, const simd::Kernels& kernels,
                ThreadPool& pool);
};

#define RANGE(name) extern const RangeMethod name;
#include "compress/ranges.def"
#undef RANGE

/// All, in the order of ranges.def; null where there is none of that name.
const std::vector<const RangeMethod*>& range_methods();
const RangeMethod* find_range_method(const std::string& name);

}  // namespace vireo::compress
