// The device descriptions that ship, with where their numbers are from.
#include "profile/machine.h"

namespace vireo {
namespace {

constexpr char kJetsonNano[] =
    R"(# Jetson Nano, 10 W mode (nvpmodel -m 0, jetson_clocks): GM20B, one Maxwell SM at 921.6 MHz.
name: jetson-nano
device: NVIDIA Tegra X1
kind: cores
cores: 1
clock_mhz: 921.6
# Four schedulers; a second instruction in the same clock is rare in arithmetic code and not counted.
issue: 4
# Results per clock of compute capability 5.3 (CUDA C Programming Guide, arithmetic instructions). fp16: 256 results are 128 lanes of pairs.
fma_lanes: 128
half_lanes: 128
integer_lanes: 128
shift_lanes: 64
# A 32-bit multiply is three XMAD.
multiply_lanes: 42
convert_lanes: 32
special_lanes: 32
shuffle_lanes: 32
memory_lanes: 32
shared_bytes_per_clock: 128
registers: 65536
shared_bytes: 65536
max_subgroups: 64
max_workgroups: 32
cache_bytes: 262144
# Of Maxwell's global loads, as microbenchmarks of the desktop parts report them.
latency_clocks: 400
# 64-bit LPDDR4-3200, shared with the CPU.
bandwidth_gbs: 25.6
ram_mib: 3956
# No Vision Transformer kernel was measured on a board. Bounds from counted instructions were reached to 60 to 100 % by what is published of
# Maxwell (assembler SGEMM 98 % of its bound, compiled GLSL less): the guess stands in the middle and the range is the uncertainty.
efficiency: 0.78
efficiency_low: 0.6
efficiency_high: 1
# Assumed: a dispatch behind a barrier, and one submission with its fence at 10 W.
dispatch_us: 8
inference_us: 400
)";

constexpr char kJetsonNano5W[] =
    R"(# Jetson Nano, 5 W mode (nvpmodel -m 1): the GPU's clock is capped at 614.4 MHz, two CPU cores are on.
# Everything else as in the 10 W mode, waits shorter in clocks, dispatches longer (assumed).
name: jetson-nano-5w
device: NVIDIA Tegra X1
kind: cores
cores: 1
clock_mhz: 614.4
issue: 4
fma_lanes: 128
half_lanes: 128
integer_lanes: 128
shift_lanes: 64
multiply_lanes: 42
convert_lanes: 32
special_lanes: 32
shuffle_lanes: 32
memory_lanes: 32
shared_bytes_per_clock: 128
registers: 65536
shared_bytes: 65536
max_subgroups: 64
max_workgroups: 32
cache_bytes: 262144
latency_clocks: 300
bandwidth_gbs: 25.6
ram_mib: 3956
efficiency: 0.78
efficiency_low: 0.6
efficiency_high: 1
dispatch_us: 12
# 0.68 to 0.78 ms per submission were measured on a board in this mode through another library.
inference_us: 730
)";

constexpr char kLavapipe[] =
    R"(# Mesa 22.3.6's lavapipe on one thread (LP_NUM_THREADS=1) of a 2-core AMD EPYC (Zen 3) that others used as well, as
# `bash bench/predict.sh --device vulkan --fit-rounds 5` wrote it; probe_us is its probe's time. Another CPU wants its own.
name: lavapipe
device: llvmpipe
kind: fitted
error_median: 0.105034
error_worst: 0.200111
dispatch_us: 0
inference_us: 0
ram_mib: 0
probe_us: 26933.3
entries: 28
cost barrier: 0.0553473
cost convert: 0.00184977
cost float: 0.000273317
cost fma: 0.000379272
cost global_load: 0.201077
cost global_store: 0.174668
cost shared_load: 0.0333903
cost shared_words: 0.0442454
cost special: 0.000376837
cost steps: 66.5519
cost texel: 0.011915
scale adaptive_pool: 0.995962
scale argmax.TEXEL=1: 0.948163
scale attention.texel: 1.27973
scale attention.texel.PARTITION=1: 0.982335
scale conv2d: 1.049
scale conv2d.TEXEL=1: 1.04731
scale conv2d.depthwise.TEXEL=1: 0.805967
scale copy_rows: 0.990863
scale head_norm: 1.01922
scale layer_norm: 1.01697
scale linear.texel: 0.925326
scale linear.texel.SHUFFLE=1: 1.01391
scale mean: 0.985128
scale merge: 1.07959
scale resize.TEXEL=1: 0.985137
scale tokens: 0.923854
scale inference: 1.00179
)";

}  // namespace

const std::vector<BuiltInMachine>& built_in_machines() {
  static const std::vector<BuiltInMachine> all = {{"jetson-nano", kJetsonNano, "jetson-nano"},
                                                  {"jetson-nano-5w", kJetsonNano5W, "jetson-nano"},
                                                  {"lavapipe", kLavapipe, "lavapipe"}};
  return all;
}

}  // namespace vireo
