#include "compress/kept.h"

#include <cmath>
#include <cstring>

#include "base/input_file.h"
#include "base/write_file.h"

namespace vireo::compress {
namespace {

/// A file is this, codes, scales, what biases move by and the rows of 8 bits, and the sum of all bytes before it. Read
/// where it was written, so the order of bytes is the machine's own.
struct Header {
  int64_t rows = 0, cols = 0, scales = 0, shifts = 0, wide = 0;
  double error = 0;
  float least = 0, most = 0;
  int32_t group = 0;
  uint8_t bits = 0, scope = 0, half = 0, flags = 0;
};

void append(std::vector<uint8_t>* bytes, const void* data, size_t count) {
  const size_t at = bytes->size();
  bytes->resize(at + count);
  if (count > 0) std::memcpy(bytes->data() + at, data, count);
}

}  // namespace

std::string Kept::name(const Key& key) const { return fmt::format("{:016x}.kept", key.value()); }

bool Kept::read(const Key& key, size_t most, std::vector<uint8_t>* bytes) const {
  if (!on()) return false;
  const Result<InputFile> file = InputFile::open(folder_ + "/" + name(key));
  uint64_t sum = 0;
  if (!file || file->size() < sizeof sum || file->size() > most + sizeof sum) return false;
  bytes->resize(size_t(file->size()));
  if (!file->read(0, bytes->size(), bytes->data())) return false;
  const size_t count = bytes->size() - sizeof sum;
  std::memcpy(&sum, bytes->data() + count, sizeof sum);
  bytes->resize(count);
  return sum == checksum(bytes->data(), count, key.value());
}

Result<void> Kept::write(const Key& key, std::vector<uint8_t> bytes) const {
  if (!on()) return {};
  const uint64_t sum = checksum(bytes.data(), bytes.size(), key.value());
  append(&bytes, &sum, sizeof sum);
  const std::string why = write_whole_file(folder_, name(key), bytes.data(), bytes.size());
  if (why.empty()) return {};
  return fail(ErrorCode::kIo,
              "cannot keep what was worked out in '{}': {}; check the folder, its access rights and "
              "free space",
              folder_, why);
}

bool Kept::find(const Key& key, int64_t rows, int64_t cols, KeptLayer* layer) const {
  std::vector<uint8_t> bytes;
  Header h;
  const size_t weights = size_t(rows * cols);
  if (!read(key, sizeof h + weights * (1 + sizeof(float)) + size_t(rows) * 2 * sizeof(float), &bytes) ||
      bytes.size() < sizeof h)
    return false;
  std::memcpy(&h, bytes.data(), sizeof h);
  if (h.rows != rows || h.cols != cols || h.scales < 0 || uint64_t(h.scales) > weights ||
      (h.shifts != 0 && h.shifts != rows) || h.wide < 0 || h.wide > rows ||
      bytes.size() != sizeof h + weights + size_t(h.scales + h.shifts + h.wide) * sizeof(float))
    return false;
  KeptLayer k;
  k.rows = rows;
  k.coded.grid.bits = h.bits, k.coded.grid.scope = Scope(h.scope), k.coded.grid.group = h.group;
  k.coded.grid.lowest = (h.flags & 4) != 0;
  k.coded.half_scales = h.half != 0;
  k.coded.codes.resize(weights);
  k.coded.scales.resize(size_t(h.scales));
  std::memcpy(k.coded.codes.data(), bytes.data() + sizeof h, weights);
  k.shift.resize(size_t(h.shifts));
  const uint8_t* const scales = bytes.data() + sizeof h + weights;
  if (h.scales > 0) std::memcpy(k.coded.scales.data(), scales, size_t(h.scales) * sizeof(float));
  if (h.shifts > 0)
    std::memcpy(k.shift.data(), scales + size_t(h.scales) * sizeof(float), size_t(h.shifts) * sizeof(float));
  k.coded.wide_rows.resize(size_t(h.wide));
  if (h.wide > 0)
    std::memcpy(k.coded.wide_rows.data(), scales + size_t(h.scales + h.shifts) * sizeof(float),
                size_t(h.wide) * sizeof(int32_t));
  k.coded.grid.wide = int32_t(h.wide);
  k.error = h.error, k.least = h.least, k.most = h.most;
  k.has_range = (h.flags & 1) != 0, k.outlier = (h.flags & 2) != 0;
  *layer = std::move(k);
  return true;
}

Result<void> Kept::keep(const Key& key, const KeptLayer& layer) const {
  Header h;
  const Grid& g = layer.coded.grid;
  h.scales = int64_t(layer.coded.scales.size()), h.shifts = int64_t(layer.shift.size());
  h.wide = int64_t(layer.coded.wide_rows.size());
  const int64_t weights = int64_t(layer.coded.codes.size());
  h.rows = layer.rows, h.cols = h.rows > 0 ? weights / h.rows : 0;
  h.error = layer.error, h.least = layer.least, h.most = layer.most;
  h.group = g.group, h.bits = g.bits, h.scope = uint8_t(g.scope), h.half = layer.coded.half_scales ? 1 : 0;
  h.flags = uint8_t((layer.has_range ? 1 : 0) | (layer.outlier ? 2 : 0) | (g.lowest ? 4 : 0));
  std::vector<uint8_t> bytes;
  append(&bytes, &h, sizeof h);
  append(&bytes, layer.coded.codes.data(), layer.coded.codes.size());
  append(&bytes, layer.coded.scales.data(), layer.coded.scales.size() * sizeof(float));
  append(&bytes, layer.shift.data(), layer.shift.size() * sizeof(float));
  append(&bytes, layer.coded.wide_rows.data(), layer.coded.wide_rows.size() * sizeof(int32_t));
  return write(key, std::move(bytes));
}

bool Kept::find(const Key& key, std::vector<uint8_t>* bytes) const { return read(key, SIZE_MAX / 2, bytes); }

bool Kept::find(const Key& key, double* number) const {
  std::vector<uint8_t> bytes;
  double found = 0;
  if (!read(key, sizeof found, &bytes) || bytes.size() != sizeof found) return false;
  std::memcpy(&found, bytes.data(), sizeof found);
  if (!std::isfinite(found)) return false;
  *number = found;
  return true;
}

Result<void> Kept::keep(const Key& key, double number) const {
  std::vector<uint8_t> bytes;
  append(&bytes, &number, sizeof number);
  return write(key, std::move(bytes));
}

}  // namespace vireo::compress
