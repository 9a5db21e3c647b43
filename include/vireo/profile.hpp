// Where the milliseconds go: per dispatch, per host phase, beside what the device can do at most.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <vireo/vireo.hpp>

namespace vireo {

/// The roofs of a device, measured on it (Williams, Waterman and Patterson 2009). 0 where the device does not offer it.
struct DeviceRoofs {
  double fma_gflops = 0;       ///< fp32 multiply-adds on registers, counted as two operations each
  double half_fma_gflops = 0;  ///< packed fp16; on a CPU, bfloat16 products
  double copy_gbs = 0;         ///< copy larger than the caches, bytes read and written
  double shared_gbs = 0;       ///< reads of shared memory
  double dispatch_us = 0;      ///< an empty dispatch behind a barrier
  double submit_us = 0;        ///< submit and wait with one empty dispatch
};

/// What the driver's compiler made of a pipeline (VK_KHR_pipeline_executable_properties). -1: the driver does not say.
struct CompilerStatistics {
  struct Value {
    std::string name;
    double value = 0;
  };
  int subgroup_size = 0;  ///< 0: nothing is known of this dispatch
  double registers = -1;  ///< of an invocation (AMD: vector registers)
  double spills = -1;     ///< registers that are kept in memory, or their stores, as the driver counts
  double instructions = -1;
  double code_bytes = -1;
  double local_bytes = -1;         ///< private memory of an invocation: spills and arrays indexed at run time
  double subgroups_per_core = -1;  ///< that fit at once, by registers
  std::vector<Value> values;       ///< everything, as the driver names it
};

/// Where the time inside a dispatch's workgroups goes, from the shader clock of the first invocation of each
/// (ProfileOptions::phases); medians over the runs.
struct PhaseProfile {
  struct Part {
    double share = 0;       ///< of the sum of the three parts
    double mean_ticks = 0;  ///< of a workgroup
    double max_ticks = 0;
  };
  uint32_t workgroups = 0;  ///< that were measured; 0: this kernel has no variant that tells
  Part load;                ///< until data are in registers or shared memory; with a LayerNorm, also its statistics
  Part compute;
  Part store;  ///< epilogue and results
};

/// One dispatch of the plan (on the CPU: one step). Times in microseconds: medians over the runs, as scheduled those of
/// the run whose span is the median. Where Profile::timed_at_once is fewer than all, each block of neighbours has such
/// a run of its own; the blocks stand one behind the other and are brought to Profile::scheduled_us.
struct DispatchProfile {
  int step = 0;      ///< of the plan
  int part = 0;      ///< of a step that was split into several dispatches
  std::string name;  ///< the graph's: "blocks.3.mlp.fc1"
  std::string
      label;       ///< with the norm, activation and residual that were fused into it: "LN + blocks.3.mlp.fc1 + GELU"
  std::string op;  ///< "linear"
  std::string kernel;          ///< "linear.tile 104x192x24, ..."
  std::string shader;          ///< module; empty on the CPU
  std::vector<uint32_t> spec;  ///< specialisation constants by id
  uint32_t groups[3] = {0, 0, 0};
  bool cpu = false;
  double flops = 0;          ///< of the result, from the cost model
  double bytes = 0;          ///< read and written, from the cost model
  double begin_us = 0;       ///< as scheduled, since the first dispatch began
  double scheduled_us = 0;   ///< as scheduled: where neighbours overlap, this is more than what the dispatch costs
  double serialised_us = 0;  ///< alone, behind a barrier, without Profile::empty_us
  double roof_us = 0;        ///< the least time on this device: max(flops / peak, bytes / bandwidth)
  std::string above_roof;    ///< why roof_us is more than serialised_us: "bytes from caches"; empty where it is not
  CompilerStatistics compiler;
  PhaseProfile phases;
  /// Instructions by class ("fma", "shared_load", "convert", "barrier", ...), counted from the SPIR-V that ships: what
  /// all subgroups together issue for this dispatch, and what stands in the module once. Empty on the CPU.
  std::vector<std::pair<std::string, double>> executed, spirv;
};

/// Host time of one inference in microseconds: means of the middle half of the runs.
struct HostProfile {
  double upload = 0;  ///< pixels into the input
  double submit = 0;
  double wait = 0;        ///< until the device is done
  double download = 0;    ///< output into dense rows
  double launch = 0;      ///< submit and wait of commands without a dispatch, as often as an inference submits
  double preprocess = 0;  ///< beside these: a batch of pictures of 640 x 480 resized, cropped and normalised as the
                          ///< checkpoint prescribes
};

struct Profile {
  std::string model;
  std::string device_kind, device_name, device_reason;
  std::string precision;
  int batch = 1, height = 0, width = 0, runs = 0;
  DeviceRoofs roofs;
  std::vector<DispatchProfile> dispatches;  ///< in the order of the plan
  /// The compute shaders that make the input of a picture of 640 x 480, each alone, where the session prepares pictures
  /// on the device; beside `dispatches`. Then HostProfile::preprocess is the copy of the picture's bytes.
  std::vector<DispatchProfile> preprocessing;
  HostProfile host;
  double wall_us = 0;       ///< one inference without any timestamp: the mean of the middle half of the runs
  double profiled_us = 0;   ///< the same with timestamps as scheduled
  double scheduled_us = 0;  ///< from the first dispatch's begin to the last one's end, within a run
  double overlap_us = 0;    ///< sum of scheduled times minus the span they lie in, where it is more: what overlapped
  double timestamp_us = 0;  ///< what a timestamp costs this driver, as far as the noise lets one see; 0: not asked
                            ///< (ProfileOptions::timed_at_once is given, or a CPU)
  int timed_at_once = 0;  ///< dispatches between timestamps in one run as scheduled: all, or as few as change the whole
                          ///< by 2 %, as far as runs of 5 s together allow
  double serialised_us = 0;  ///< sum over the dispatches, each alone
  double empty_us = 0;  ///< what the same timestamps and barrier take around nothing, measured between the dispatches
                        ///< of the same runs: taken off every row
  int clipped = 0;      ///< rows that took no longer than that, and are 0
  double noise_us = 0;  ///< by how much such a run takes longer than that, in the middle half of the runs: what
                        ///< disturbs single dispatches, which medians leave out
  double accounted_us = 0;  ///< serialised_us, noise_us and the host's upload, launch and download: beside wall_us
  uint64_t arena_bytes = 0, weights_bytes = 0;
  std::vector<std::string> notes;  ///< what could not be had: "no roofs: ..."
  std::string no_compiler;  ///< why no dispatch has compiler statistics: "not offered by this driver"; empty where they
                            ///< have, and on the CPU
  std::string no_phases;    ///< why none has phases; empty where they have
};

/// Of Session::profile(). Compiler statistics and phases come from pipelines of their own; what a device cannot tell is
/// left out, with the reason in the profile. Errors: kUnsupported (the device's queue takes no timestamps),
/// kInvalidArgument, and what the device reports.
struct ProfileOptions {
  int runs = 10;  ///< of each kind at least
  int warmup = 2;
  double least_seconds = 0.5;  ///< of plain inferences, in turns with those of dispatches alone: a short model has more
                               ///< than `runs` of both, up to 50 times as many; 0: no more
  double uncertainty = 0.025;  ///< of what the rows add up to, of an inference: on a busy machine up to 4 times as many
                               ///< of both follow until it is less, for 20 times `least_seconds`; 0: none. Nobody can
                               ///< tell of fewer than 8
  int timed_at_once = 0;  ///< neighbours with timestamps in one run as scheduled (a few more, up to a barrier); 0: all,
                          ///< or as many as change the whole little
  bool roofs = true;  ///< the device's roofs: those kept in the cache folder, else measured (about a second) and kept
  bool measure_roofs = false;  ///< measure them in any case; the best ever seen are kept
  bool compiler = true;        ///< compile the pipelines once more, where the driver tells what became of them
  bool phases = false;         ///< run shaders that take the time of loads, arithmetic and stores; compiles them first
  /// Asked between runs, in the thread that called profile(); true ends them: the profile is of the runs done, at least
  /// one of each kind (Profile::runs), and leaves out the compiler's statistics, phases and roofs.
  std::function<bool()> stop;
};

/// Documented texts of a profile; schema "vireo-profile/1".
VIREO_API std::string profile_json(const Profile& p);
VIREO_API std::string profile_csv(const Profile& p);
/// Chrome's trace format (Perfetto, chrome://tracing): a host track and a device track, both as scheduled.
VIREO_API std::string profile_trace(const Profile& p);

}  // namespace vireo
