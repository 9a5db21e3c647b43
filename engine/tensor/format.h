// Number formats: what stands in memory for a number. One table of element types, and the grids that codes lie on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace vireo {

enum class DType : uint8_t { kF32, kF16, kBF16, kI8, kU8, kI32 };

/// One row per element type.
struct DTypeInfo {
  const char* name;  ///< in plans, policies and messages
  uint8_t bytes;     ///< of one element
  int8_t shader;     ///< its number in shaders/types.glsl; -1: no shader reads or writes it
  bool real;         ///< an element is the number itself; else it is an integer
};
const DTypeInfo& dtype_info(DType t);

inline size_t dtype_size(DType t) { return dtype_info(t).bytes; }
inline const char* dtype_name(DType t) { return dtype_info(t).name; }

/// What shares one scale (and one zero point) of a coded matrix.
enum class Scope : uint8_t {
  kTensor,
  kRow,    ///< an output channel of a weight, a token of an activation
  kGroup,  ///< `group` neighbouring columns of a row
};

/// The uniform grid of integer codes: value = (code - zero) * scale, with `bits` a code and the zero points all 0 where
/// there are none. bits == 0: no codes, the elements are the numbers themselves.
struct Grid {
  uint8_t bits = 0;
  Scope scope = Scope::kRow;
  bool zero_points = false;
  bool lowest = false;  ///< the code -2^(bits - 1) may occur; without it codes are symmetric around 0
  int32_t group = 0;    ///< columns that share a scale (Scope::kGroup only)
  int32_t wide = 0;     ///< so many rows have codes of 8 bits beside the others' `bits`, which are at most 4

  bool coded() const { return bits != 0; }
  /// Scales of a row of `cols` columns.
  int64_t groups(int64_t cols) const { return scope == Scope::kGroup ? (cols + group - 1) / group : 1; }
  bool operator==(const Grid& o) const {
    return bits == o.bits && scope == o.scope && zero_points == o.zero_points && lowest == o.lowest &&
           group == o.group && wide == o.wide;
  }
  bool operator!=(const Grid& o) const { return !(*this == o); }
};

/// How the numbers of a matrix are stored: floats of a type, or codes on a grid, one in a byte (kI8) once read.
struct Format {
  DType dtype = DType::kF32;
  Grid grid;

  bool operator==(const Format& o) const { return dtype == o.dtype && grid == o.grid; }
  bool operator!=(const Format& o) const { return !(*this == o); }
};

/// How the rows that a coded matrix multiplies become codes of 8 bits themselves, so that integers are multiplied.
/// Where a device has no such products the rows stay floats, and a plan says so.
struct RowCodes {
  enum class Kind : uint8_t {
    kNone,     ///< floats
    kDynamic,  ///< scale = max|x| / 127.5, found in every row; no zero point (compressed-tensors: dynamic, token)
    kStatic,   ///< one scale and zero point for all, known beforehand
  };
  Kind kind = Kind::kNone;
  float scale = 0;   ///< kStatic
  int32_t zero = 0;  ///< kStatic

  bool coded() const { return kind != Kind::kNone; }
  bool operator==(const RowCodes& o) const { return kind == o.kind && scale == o.scale && zero == o.zero; }
};

/// "f32", "f16", "bf16"; "i8" (a scale per row), "i8tensor", "i4g32" (a scale per 32 columns), "u4g128" (with zero
/// points); "i4g32+24xi8" where 24 rows have 8 bits.
std::string to_string(const Format& f);
/// The other way round; false where the text is no format. Codes of "iN" and "uN" may be the lowest ones.
bool parse_format(const std::string& text, Format* f);

/// A code of 8 bits as two of 4: its lower part plus 8 lies among the codes of 4 bits that other rows have,
/// code = low_part + 16 * high_part - 120, with -8 <= low_part <= 7 and 0 <= high_part <= 15.
inline int8_t low_part(int8_t code) { return int8_t((code & 15) - 8); }
inline uint8_t high_part(int8_t code) { return uint8_t((code >> 4) + 8); }

/// The number that a code stands for, in fp32 as a loader of the published formats computes it.
inline float decode(int code, int zero, float scale) { return float(code - zero) * scale; }

}  // namespace vireo
