// What predictions know of a device beside its DeviceCaps: rates of its cores, or costs that were fitted on it. Text
// in, text out.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "device/caps.h"

namespace vireo {

/// What one of a thing costs in microseconds, or a kernel's factor.
struct UnitCost {
  std::string name;  // a Feature's; a kernel's
  double value = 0;
};

struct Machine {
  enum class Kind : uint8_t {
    kCores,   ///< a GPU by the rates of its cores: instructions and occupancy are worked out
    kFitted,  ///< costs per feature, fitted on measurements
    kCounted  ///< costs per feature that are worked out: bounds, of which a share is assumed to be reached
  };
  std::string name;
  std::string device;  // how the DeviceCaps::name of what it describes begins; empty: any
  Kind kind = Kind::kCores;

  // Cores. Rates are lanes per clock and core, as vendors publish instruction throughputs.
  double cores = 1, clock_mhz = 1000;
  double issue = 4;  // instructions of a whole subgroup per clock
  double fma_lanes = 128, half_lanes = 128 /* packed: two results each */, integer_lanes = 128, shift_lanes = 64,
         multiply_lanes = 32, convert_lanes = 32, special_lanes = 32, shuffle_lanes = 32, memory_lanes = 32;
  double shared_bytes_per_clock = 128;
  double registers = 65536, shared_bytes = 65536, max_subgroups = 64, max_workgroups = 32;  // of one core
  double cache_bytes = 262144;                                                              // shared by the cores
  double latency_clocks = 400;                                                              // of a load from memory
  double bandwidth_gbs = 10;
  double ram_mib = 0;  // of the board; 0: not known
  /// What a real compiler and scheduler reach of the bound that counting gives: best guess and its range. Cores and
  /// counted.
  double efficiency = 0.75, efficiency_low = 0.6, efficiency_high = 1;

  // Fitted and counted.
  std::vector<UnitCost> costs;  // per feature
  uint32_t threads = 0;         // of the measurements; 0: does not matter
  double probe_us = 0;          // what FitOptions::probe took when the costs were measured; 0: nobody asked

  // All.
  std::vector<UnitCost> scales;  // per kernel or shader that was measured: measured over worked out
  double error_median = 0,
         error_worst = 0;       // of models left out of the measurements, max(p / m, m / p) - 1; 0: unknown
  double dispatch_us = 10;      // between two dispatches, beyond their work
  double dispatch_us_high = 0;  // the upper end of its range; 0: it has none. Of descriptions by cores
  double inference_us = 0;      // submission and what the host does once per inference
};

/// "key: value" lines; `cost NAME: us` and `scale NAME: factor` for the lists, and `entries: N` for how many of them
/// there are.
std::string to_text(const Machine& m);
/// Parses to_text's format; '#' starts a comment. Errors: kCorrupt, naming source and line: a key that is unknown or
/// given twice, a value that is no number or beyond what any device has; a missing name.
Result<Machine> machine_from_text(const std::string& text, const std::string& source);

/// Descriptions that ship with the library, by name.
struct BuiltInMachine {
  const char* name;
  const char* text;
  const char* caps;  // the file of profile/caps/ that says what it can do, without its ending
};
const std::vector<BuiltInMachine>& built_in_machines();
/// The text of a file of profile/caps/, such as "jetson-nano.txt"; null if there is none. (Generated at build time.)
const char* embedded_caps(const std::string& file);
/// The built-in description for such a device; null if there is none.
const BuiltInMachine* machine_for(const DeviceCaps& caps);

}  // namespace vireo
