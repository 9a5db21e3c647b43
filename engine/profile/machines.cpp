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
# Maxwell (assembler SGEMM 98 % of its bound, compiled GLSL less): the guess stands in the middle of that.
efficiency: 0.78
efficiency_low: 0.45
efficiency_high: 1
# Assumed: a dispatch behind a barrier, and one submission with its fence at 10 W.
dispatch_us: 8
# With efficiency_low this is the least, in steps of 0.05 and 10, that holds TensorRT's published times of EfficientViT-B1 to B3, which are up to 3.5 times the
# guess: networks of small layers, in which nobody outside can tell slow kernels from slow launches (tests/unit/test_published_nano.cpp).
dispatch_us_high: 220
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
efficiency_low: 0.45
efficiency_high: 1
dispatch_us: 12
dispatch_us_high: 330
# 0.68 to 0.78 ms per submission were measured on a board in this mode through another library.
inference_us: 730
)";

constexpr char kJetsonNanoCpu[] =
    R"(# Jetson Nano, 10 W mode, without its GPU: four Cortex-A57 at 1430 MHz, 5720 clocks a microsecond in all.
name: jetson-nano-cpu
device: ARM Cortex-A57
kind: counted
threads: 4
# Clocks of the inner loops as `bash bench/a57.sh` counts them with llvm-mca: 3.93 products of floats a clock, 7.63 of int8 (a flop is
# half a product), 2.97 in depthwise windows, 4.4 clocks for a score's power, 9.3 for a GELU (its loops over 8 and 4 values). Assumed: the
# other functions as GELU but for those of a clock or less, 2.5 clocks for a normalised value, every byte of an operand at LPDDR4's rate, a
# step's start and end on four threads; 2.5 clocks for an operation of grids and integer functions, which are scalar.
entries: 65
cost linear.gemm f32 flops: 2.224e-05
cost linear.gemm f16 flops: 2.224e-05
cost linear.gemm i8 flops: 2.224e-05
cost conv2d.gemm f32 flops: 2.224e-05
cost conv2d.gemm f16 flops: 2.224e-05
cost conv2d.gemm i8 flops: 2.224e-05
cost attention.simd flops: 2.224e-05
cost token_match.simd flops: 2.224e-05
cost conv2d.winograd flops: 9.886e-06
cost linear.int8 i8 flops: 1.146e-05
cost conv2d.int8 i8 flops: 1.146e-05
cost attention.int8 flops: 2.224e-05
cost conv2d.depthwise.simd flops: 2.943e-05
cost attention.simd scores: 0.0007727
cost attention.int8 scores: 0.0007727
cost act gelu_erf: 0.001626
cost act gelu_tanh: 0.001626
cost act silu: 0.001626
cost act tanh: 0.001626
cost act hardswish: 0.0001748
cost act relu: 8.741e-05
cost norm: 0.0004371
cost linear.gemm f32 bytes: 3.906e-05
cost linear.gemm f16 bytes: 3.906e-05
cost linear.gemm i8 bytes: 3.906e-05
cost linear.int8 i8 bytes: 3.906e-05
cost conv2d.gemm f32 bytes: 3.906e-05
cost conv2d.gemm f16 bytes: 3.906e-05
cost conv2d.gemm i8 bytes: 3.906e-05
cost conv2d.int8 i8 bytes: 3.906e-05
cost conv2d.winograd bytes: 3.906e-05
cost conv2d.depthwise.simd bytes: 3.906e-05
cost attention.simd bytes: 3.906e-05
cost attention.int8 bytes: 3.906e-05
cost layer_norm.simd bytes: 3.906e-05
cost tokens.simd bytes: 3.906e-05
cost slice.simd bytes: 3.906e-05
cost mean.simd bytes: 3.906e-05
cost pool.simd bytes: 3.906e-05
cost concat.simd bytes: 3.906e-05
cost add.simd bytes: 3.906e-05
cost scale.simd bytes: 3.906e-05
cost swiglu.simd bytes: 3.906e-05
cost gelu_erf.simd bytes: 3.906e-05
cost gelu_tanh.simd bytes: 3.906e-05
cost silu.simd bytes: 3.906e-05
cost relu.simd bytes: 3.906e-05
cost tanh.simd bytes: 3.906e-05
cost hardswish.simd bytes: 3.906e-05
cost resize.simd bytes: 3.906e-05
cost adaptive_pool.simd bytes: 3.906e-05
cost merge.simd bytes: 3.906e-05
cost head_norm.simd bytes: 3.906e-05
cost token_match.simd bytes: 3.906e-05
cost token_route.scalar bytes: 3.906e-05
cost token_merge.simd bytes: 3.906e-05
cost token_sizes.scalar bytes: 3.906e-05
cost convert.simd bytes: 3.906e-05
cost argmax.simd bytes: 3.906e-05
cost round.scalar flops: 0.0004371
cost rounded_attention.scalar flops: 0.0004371
cost integer_gelu.scalar flops: 0.0004371
cost integer_norm.scalar flops: 0.0004371
cost weights: 3.906e-05
cost steps: 5
ram_mib: 3956
# Loops are counted with all operands in the first cache. What the second (2 MiB, shared) takes, packing, edges and threads that wait are the
# range, which is assumed: nothing was measured on a board.
efficiency: 0.65
efficiency_low: 0.45
efficiency_high: 0.9
dispatch_us: 0
inference_us: 50
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
                                                  {"jetson-nano-cpu", kJetsonNanoCpu, "jetson-nano-cpu"},
                                                  {"lavapipe", kLavapipe, "lavapipe"}};
  return all;
}

}  // namespace vireo
