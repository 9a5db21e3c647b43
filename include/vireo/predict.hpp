// How long a model would take on a device that need not be here: computed from its plan, what its shaders execute, and
// a description of the device.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <vireo/vireo.hpp>

namespace vireo {

/// One dispatch of the plan (on the CPU: one step). Times in microseconds.
struct PredictedDispatch {
  int step = 0, part = 0;
  std::string name, op, kernel, shader;  ///< as in DispatchProfile
  bool cpu = false;
  double flops = 0, bytes = 0;
  double us = 0, low_us = 0, high_us = 0;
  double roof_us = 0;   ///< FLOPs over the peak or bytes over the bandwidth, the larger; 0 for a fitted machine
  double bound_us = 0;  ///< what the counted instructions take at least; 0 for a fitted machine
  /// What subgroups issue for it, by class ("fma", "shared_load", "convert", ...). On the CPU what the cost is worked
  /// out from.
  std::vector<std::pair<std::string, double>> instructions;
  /// Where the time above the roofline goes: padding, issue, convert, shared, memory, latency, compiler, dispatch.
  /// Empty for a fitted machine.
  std::vector<std::pair<std::string, double>> lost;
};

struct Prediction {
  std::string model, machine, device, precision;
  int batch = 1, height = 0, width = 0;
  double us = 0, low_us = 0, high_us = 0;  ///< of an inference; the range is the stated uncertainty
  std::string uncertainty;                 ///< where the range comes from, one sentence
  double roof_us = 0, bound_us = 0;
  std::vector<std::pair<std::string, double>> lost;
  uint64_t arena_bytes = 0, weights_bytes = 0;
  uint64_t ram_bytes = 0;  ///< arena, weights, inputs and outputs of two inferences in flight
  std::vector<PredictedDispatch> dispatches;
  std::vector<std::string> notes;
};

/// What shaders were counted to execute, for predictions to come: dispatches that several plans share are counted once.
/// For one thread at a time.
struct ShaderCounts;
VIREO_API std::shared_ptr<ShaderCounts> shader_counts();

struct PredictOptions {
  SessionOptions session;  ///< precision, batch, input size, head
  /// A built-in description's name, or the text of one (as `fit_machine` returns); empty: the built-in one for the
  /// device.
  std::string machine;
  std::string caps_name = "caps";                  ///< the file of the capabilities, for messages
  std::shared_ptr<ShaderCounts> counts = nullptr;  ///< looked into, and added to; null: everything is counted
};

/// Names of the built-in device descriptions, and the text of one. Errors: kNotFound with the list.
VIREO_API std::vector<std::string> machine_names();
VIREO_API Result<std::string> machine_text(const std::string& name);
/// What the device of a built-in description can do, in the text form of Device::caps_text(): the `caps` of predict()
/// and plan_text() for a machine that is not here. Errors: kNotFound with the list.
VIREO_API Result<std::string> machine_caps(const std::string& name);

/// `caps`: the device in the text form of Device::caps_text(). Errors: kCorrupt (caps or description with a missing or
/// absurd value, named), kNotFound (no description for the device), kUnsupported (steps or kernels that the description
/// says nothing of), and those of planning.
VIREO_API Result<Prediction> predict(const Model& model, const std::string& caps, const PredictOptions& options);

struct FitOptions {
  SessionOptions session;  ///< of every model; precision is taken from `precisions`
  std::vector<Precision> precisions{Precision::kFp32, Precision::kFp16, Precision::kInt8};
  int rounds = 6;  ///< the models in turns; of each dispatch the median of the rounds counts
  int runs = 2;    ///< of each model in a round
  /// Run before and after each measurement, which is divided by how much longer than in the median it takes just then:
  /// machines are shared. Null: the first of the models. Always in fp32, one image of the model's own size; its median
  /// is the description's probe_us.
  const Model* probe = nullptr;
  std::string name = "fitted";
  /// A description by cores (a built-in name or a text) to bring to the measurements, which then may be one model;
  /// empty: costs are fitted anew.
  std::string base;
  std::function<void(const std::string& what, int done, int all)> progress;
  /// Asked before each measurement, in the thread that called fit_machine(); true ends them: the description is of the
  /// rounds done, or kInvalidArgument where not every model was measured once.
  std::function<bool()> stop;
};
/// Measures the models on `device` dispatch by dispatch, without a `base` the first also with twice the batch, and
/// returns a device description for `predict`. A model given twice counts as two. Errors: kInvalidArgument (fewer than
/// two models, with a `base` none), kUnsupported (a queue without timestamps), and what the device reports.
VIREO_API Result<std::string> fit_machine(const std::vector<Model>& models, const Device& device,
                                          const FitOptions& options);

/// Documented texts; schema "vireo-prediction/1".
VIREO_API std::string prediction_json(const Prediction& p);
VIREO_API std::string prediction_csv(const Prediction& p);

}  // namespace vireo
