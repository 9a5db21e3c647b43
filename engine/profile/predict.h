// From what a plan's dispatches have to do and what a machine can do to time. Pure.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "profile/features.h"
#include "profile/machine.h"

namespace vireo {

/// Why a dispatch takes longer than its roofline, in the order in which they are taken off.
enum class Cause : uint8_t {
  kPadding,   ///< multiply-adds beyond the edges and in idle lanes
  kIssue,     ///< issue slots of other instructions
  kConvert,   ///< conversions, special functions and integer products beyond that
  kShared,    ///< shared memory and load slots beyond that
  kMemory,    ///< bandwidth beyond that
  kLatency,   ///< too few subgroups to hide waiting, and cores without work
  kCompiler,  ///< what compilers and schedulers are known to lose of such a bound
  kDispatch,  ///< between dispatches, and per inference
  kNumber
};
constexpr size_t kCauses = size_t(Cause::kNumber);
const char* to_string(Cause c);

struct DispatchPrediction {
  double us = 0, low_us = 0, high_us = 0;
  double roof_us = 0;   // the larger of FLOPs over the multiply-add peak and bytes over the bandwidth; 0 without rates
  double bound_us = 0;  // what the counted instructions take to issue, unhindered; 0 without rates
  std::array<double, kCauses>
      lost{};  // sums up to us - roof_us; the compiler's part is negative where measurements are below the bound
};

struct PlanPrediction {
  std::vector<DispatchPrediction> dispatches;  // as plan_work's
  DispatchPrediction total;                    // with what comes once per inference
  std::vector<std::string> notes;
};

/// Errors: kUnsupported (a machine by cores for a CPU plan), kInvalidArgument (a description of another number of
/// threads).
Result<PlanPrediction> predict(const Plan& plan, const std::vector<DispatchWork>& work, const Machine& machine);

/// A machine's time for one dispatch, without what comes once per inference.
double dispatch_us(const DispatchWork& w, const Machine& machine);
/// A fitted machine's.
double fitted_us(const DispatchWork& w, const Machine& machine);

/// Measured dispatches of one model.
struct FitSample {
  std::string model;
  std::vector<DispatchWork> work;
  std::vector<double> us;  // of each, alone
  double wall_us = 0;      // of an inference
};
/// Costs of 0 or more per feature that explain the samples best (least squares, errors weighed by 1 / time), a factor
/// per kernel, and the errors of models that were left out of the fit in turns (with every precision of theirs).
/// Errors: kInvalidArgument (fewer than two models).
Result<Machine> fit(const std::vector<FitSample>& samples);

/// A description by cores brought to measurements: its efficiency, a factor per shader, and what an inference costs
/// beside its dispatches. Shaders that were not measured keep the common factor, and what a dispatch costs beside its
/// work stays as described. Errors: kInvalidArgument (no samples, a fitted base).
Result<Machine> adapt(const Machine& base, const std::vector<FitSample>& samples);

}  // namespace vireo
