// Small types shared by the public headers and the engine.
#ifndef VIREO_TYPES_HPP
#define VIREO_TYPES_HPP

#include <cstdint>

#if defined(__GNUC__)
#define VIREO_API __attribute__((visibility("default")))
#else
#define VIREO_API
#endif

namespace vireo {

/// Storage of weights and activations; sums are always fp32.
enum class Precision : uint8_t {
  kFp32,  ///< both fp32
  kFp16,  ///< weights fp16; activations fp16 on Vulkan, fp32 on the CPU. A CPU that multiplies bfloat16 faster (AMX,
          ///< AMD's AVX-512) stores weights and the products' inputs as bfloat16; the plan's kernels say "bf16", and
          ///< VIREO_SIMD=avx512 turns it off
  kInt8,  ///< weights int8 per output channel, symmetric (s = max|w| / 127, q = round(w / s); rows behind a
          ///< LayerNorm are centred and patch kernels balanced first, engine/plan/quantise.h); activations fp32, or as
          ///< in kFp16 where a CPU multiplies bfloat16 or a GPU's kernels multiply codes by fp16 (plans say which)
  kCheckpoint,  ///< weights as the checkpoint holds them: its integer codes and scales multiply unchanged where a
                ///< kernel takes them, else the numbers that they stand for in fp32; what it holds as floats is fp32,
                ///< and activations are as in kInt8 on a GPU, fp32 on a CPU. kFp32 for a checkpoint without codes
  kW8A8,  ///< weights as in kInt8, and on the CPU and on GPUs with accelerated packed dot products the rows that they
          ///< multiply are int8 too, each with a scale found while running: exact 32-bit sums. On other GPUs as kInt8
  kAuto,  ///< the fastest of kFp32, kFp16 and kInt8 on the session's device whose answer to a test picture is that of
          ///< fp32 within default_tolerance(). Session::precision() says which, precision_reason() why
};
VIREO_API const char* to_string(Precision p);

/// How many of the digits of two answers of one model must agree, whatever computed them: the largest difference that
/// counts as rounding, as a part of the value's largest magnitude. 1e-3, and 2e-2 where devices round to 16 bits in
/// different places: fp16, and int8 because of CPUs that multiply bfloat16. What `vireo diff` and `vireo replay` hold
/// differences against unless told otherwise.
constexpr double default_tolerance(Precision p) { return p == Precision::kFp32 ? 1e-3 : 2e-2; }

/// Where pictures become the network's input.
enum class Preprocess : uint8_t {
  kAuto,  ///< on a GPU where it can, by the CPU beside a software driver
  kCpu,   ///< by the CPU's vector instructions; the device gets floats
  kGpu,   ///< in compute shaders: the device gets the picture's bytes. What they cannot do the CPU does, saying so
};
VIREO_API const char* to_string(Preprocess p);  ///< "auto", "cpu", "gpu"

/// What a session computes.
enum class Head : uint8_t {
  kLogits,    ///< class scores [batch, classes]; distilled DeiT: mean of both heads. Segmentation: [batch, height *
              ///< width, classes], brought to the size of the input (bilinear)
  kFeatures,  ///< the pooled vector [batch, width]: CLS after the final norm, or the model's own average pooling
  kTokens,    ///< every token after the final norm [batch, tokens, width]
  kClassMap,  ///< segmentation: the class of every input pixel [batch, height * width, 1], an index as a number; the
              ///< largest of kLogits, ties to the smaller index. Scores of full size are never stored. In an
              ///< application's own buffer, which nobody checks, -1 where a score is no finite number. Of a picture's
              ///< pixels instead with a MapSize (vireo.hpp)
};

/// What a model was made for.
enum class Task : uint8_t {
  kFeatures,        ///< a trunk without a head: Head::kFeatures and kTokens
  kClassification,  ///< one class per picture: Head::kLogits, kFeatures and kTokens
  kSegmentation,    ///< one class per pixel: Head::kLogits (of every input pixel) and kClassMap
};
/// What makes scores of a classifier's logits; the rule of Transformers' image classification pipeline.
enum class Scores : uint8_t {
  kSoftmax,  ///< exp(x) / sum over the classes: one class per picture
  kSigmoid,  ///< 1 / (1 + exp(-x)), each label by itself: "problem_type" is "multi_label_classification", or there is
             ///< one label alone
};
VIREO_API const char* to_string(Scores s);  ///< "softmax", "sigmoid"
VIREO_API const char* to_string(Task t);    ///< "features", "classification", "segmentation"

}  // namespace vireo

#endif  // VIREO_TYPES_HPP
