// What rounding would cost that no device computes yet: a model with weights, rows and attention's probabilities on any
// grid of 2 to 8 bits, run in fp32 on the CPU.
//
//   auto s = vireo::Simulator::create(*model, policy_text, options);
//   for (const vireo::Image& picture : pictures) s->calibrate(picture);
//   auto answer = s->run(picture);
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <vireo/compress.hpp>

namespace vireo {

/// The grids that a policy may name.
VIREO_API std::vector<CompressEntry> simulate_grids();
/// The functions that a policy's line `integer` may name.
VIREO_API std::vector<CompressEntry> simulate_functions();

/// What the original and the simulated model answer: scores of a picture, or of pixels of a map row by row.
struct SimulatedAnswer {
  std::vector<float> before, after;
  int cols = 0;
};

class VIREO_API Simulator {
 public:
  /// `policy`: lines `weights FORMAT [METHOD]`, `others FORMAT`, `wide PERCENT`, `rows`, `gelu`, `operands`, `softmax`
  /// or `layernorm` with `GRID BITS [token|tensor]`, `integer softmax|gelu|layernorm BITS [token|tensor]`, `fold on`,
  /// `answer-rows TIMES TIMES`; `source` is its name in messages. threads: 0 = all cores. Errors: kInvalidArgument (the
  /// policy, with the line), kUnsupported (a model without weights, or one that is compressed already).
  static Result<Simulator> create(const Model& model, const std::string& policy, const std::string& source,
                                  int threads = 0);
  Simulator(Simulator&&) noexcept;
  Simulator& operator=(Simulator&&) noexcept;
  ~Simulator();

  /// Whether the policy looks at pictures before it runs.
  bool needs_pictures() const;
  /// Calibrates with this picture too. Counts before the first run().
  Result<void> calibrate(const Image& picture);
  /// The first one rounds the weights. Errors: kInvalidArgument (no pictures where they are needed), kCorrupt (an
  /// answer that is not finite), kUnsupported (attention in windows, whose probabilities are not simulated).
  Result<SimulatedAnswer> run(const Image& picture);

 private:
  struct Impl;
  explicit Simulator(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vireo
