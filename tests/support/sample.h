// A part of many runs, chosen by counting: the same part each time, and every case and every target has a share in it.
#pragma once

#include <cstddef>
#include <cstdlib>

namespace vireo::test {

/// VIREO_CONFORMANCE_RUNS=N: about N of the runs at most; without it, all.
class Sample {
 public:
  explicit Sample(size_t runs) {
    const char* text = std::getenv("VIREO_CONFORMANCE_RUNS");
    const size_t most = text != nullptr ? std::strtoul(text, nullptr, 10) : 0;
    if (most != 0 && runs > most) stride_ = (runs + most - 1) / most;
  }
  /// Whether the k-th run of a case belongs to it. Cases begin one further each, so that those of a target alternate.
  bool takes(size_t a_case, size_t k) const { return (a_case + k) % stride_ == 0; }
  bool all() const { return stride_ == 1; }
  size_t stride() const { return stride_; }

 private:
  size_t stride_ = 1;
};

}  // namespace vireo::test
