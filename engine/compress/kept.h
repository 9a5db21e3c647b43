// What a run has worked out so far, in a folder: codes of layers and how far the answer moved. A later run with the
// same model, pictures and recipe takes them from there, so that one that was killed continues where it was, and the
// candidates of a search share what is the same in them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "compress/method.h"

namespace vireo::compress {

/// A sum over everything that a kept result depends on.
class Key {
 public:
  Key& add(const void* bytes, size_t count) {
    sum_ = checksum(&count, sizeof count, sum_);
    sum_ = checksum(bytes, count, sum_);
    return *this;
  }
  Key& add(const std::string& text) { return add(text.data(), text.size()); }
  Key& add(uint64_t number) { return add(&number, sizeof number); }
  uint64_t value() const { return sum_; }

 private:
  uint64_t sum_ = checksum("vireo-kept/3", 12);
};

/// A layer as Compressor codes it.
struct KeptLayer {
  Coded coded;
  int64_t rows = 0;
  double error = 0;
  bool has_range = false, outlier = false;  // of the rows that it multiplies, where those get one scale
  float least = 0, most = 0;
  std::vector<float> shift;  // what its bias is to be moved by, [rows]; empty: nothing
};

class Kept {
 public:
  /// "": nothing is kept and nothing found.
  explicit Kept(std::string folder) : folder_(std::move(folder)) {}
  bool on() const { return !folder_.empty(); }

  /// False where there is none, also where a file is damaged or of another shape: it is worked out again then.
  bool find(const Key& key, int64_t rows, int64_t cols, KeptLayer* layer) const;
  bool find(const Key& key, double* number) const;
  bool find(const Key& key, std::vector<uint8_t>* bytes) const;
  /// Errors: kIo, with what the system says.
  Result<void> keep(const Key& key, const KeptLayer& layer) const;
  Result<void> keep(const Key& key, double number) const;
  Result<void> keep(const Key& key, std::vector<uint8_t> bytes) const { return write(key, std::move(bytes)); }

 private:
  std::string name(const Key& key) const;
  bool read(const Key& key, size_t most, std::vector<uint8_t>* bytes) const;
  Result<void> write(const Key& key, std::vector<uint8_t> bytes) const;

  std::string folder_;
};

}  // namespace vireo::compress
