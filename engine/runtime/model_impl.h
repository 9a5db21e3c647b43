// What stands behind vireo::Model, and helpers of the runtime that need it.
#pragma once

#include "graph/graph.h"
#include "model/model.h"
#include "plan/plan.h"

#include <vireo/vireo.hpp>

namespace vireo {

struct Model::Impl {
  LoadedModel loaded;
  std::string name;  // last part of the path

  static Model wrap(LoadedModel loaded, std::string name);
};

/// The graph of a model under a session's options; checks the options.
Result<Graph> build_graph(const Model& model, const SessionOptions& options);
/// default_tolerance() of what a session computes in; a policy may round as fp16 does.
inline double tolerance_of(const SessionOptions& o) {
  return default_tolerance(o.policy.empty() ? o.precision : Precision::kFp16);
}
/// Operators that options and environment place on the CPU, and whether nodes are fused.
std::vector<std::string> all_cpu_ops(const SessionOptions& options);
bool fuses();
/// What Precision::kAuto chooses from; of two that are equally fast the first.
constexpr Precision kAutoPrecisions[] = {Precision::kFp32, Precision::kFp16, Precision::kInt8};
/// Microseconds of an inference, the fastest first.
using PrecisionTimes = std::vector<std::pair<Precision, double>>;
/// As predict() has them. Errors: no description of the device.
Result<PrecisionTimes> predicted_times(const Model& model, const std::string& caps_text, const SessionOptions& options,
                                       const std::string& machine);
/// resolved(), and of Precision::kAuto what is predicted to be the fastest, which is noted.
Result<SessionOptions> with_precision(const Model& model, const std::string& caps_text, SessionOptions options,
                                      const std::string& machine, std::vector<std::string>* notes);
/// Precision::kCheckpoint of a checkpoint without codes is kFp32.
SessionOptions resolved(const Model& model, SessionOptions options);
/// Errors: a policy that is none.
Result<PlanOptions> plan_options(const SessionOptions& options);
/// make_plan() of build_graph()'s graph. `notes`: what of the policy changes nothing. Errors also: a rule of the policy
/// that names no weight of the model.
Result<Planned> plan_model(const Model& model, const SessionOptions& options, Graph graph, const DeviceCaps& caps,
                           const PlanOptions& how, std::vector<std::string>* notes = nullptr);
/// The plan of a model for a device given as text, with what was tuned for it on this machine; a tuning file that
/// cannot be used is noted. `machine`: whose predictions choose the precision where that is to be chosen.
Result<Planned> plan_for_caps(const Model& model, const std::string& caps_text, const SessionOptions& options,
                              std::vector<std::string>* notes, const std::string& machine = "");
/// A tensor in memory as dense floats, channels last.
std::vector<float> dense_floats(const TensorDesc& desc, const uint8_t* from, int64_t shape[4]);

}  // namespace vireo
