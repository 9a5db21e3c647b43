// A checkpoint and a handful of pictures in, a smaller model out: weights become integer codes, and activations are
// said to be quantised while running. What comes out is a Hugging Face folder in the format of compressed-tensors.
//
//   auto c = vireo::Compressor::create(*model, options);          // options.recipe = "w4g64"
//   for (const vireo::Image& picture : pictures) c->add(picture);
//   auto report = c->write("models/smaller");
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <vireo/vireo.hpp>

namespace vireo {

/// A line of the table of recipes or of methods.
struct CompressEntry {
  std::string name;
  std::string what;    ///< what it does, one sentence
  std::string source;  ///< where it is from
  // Of a recipe, what it says; "" where it says nothing of that. One that says nothing of any is about the network
  // itself.
  std::string weights;         ///< the format of linears within the network: "i8", "i4g32"; "i4g64+i8" of both by rows
  std::string rows;            ///< "dynamic", "static", "mixed"
  std::string attention = {};  ///< what the factors of its products are rounded to: "i8"
  bool searches = false;       ///< of a recipe: for some time and on pictures; search_budget() does not look at it
};
/// What CompressOptions::recipe may name. Recipes compose: "w4g32+a8".
VIREO_API std::vector<CompressEntry> compress_recipes();
/// How weights are rounded; recipes choose.
VIREO_API std::vector<CompressEntry> compress_methods();
/// How one scale of all rows is found on the pictures: CompressOptions::ranges.
VIREO_API std::vector<CompressEntry> compress_ranges();
/// What may be done besides, off by default: a member of CompressOptions each.
VIREO_API std::vector<CompressEntry> compress_extras();

struct CompressOptions {
  std::string recipe;  ///< names of compress_recipes(), joined by '+'
  /// Text of a format policy instead: `weights FORMAT`, `PATTERN FORMAT [ROWS]`, `products i8`, with formats f32 and i2
  /// to i8, in groups (i4g32) or per output channel (i8), and rows f32 or i8; `attention i8`. Beside a recipe:
  /// `PATTERN FORMAT [ROWS]` for the weights that it names.
  std::string policy;
  std::string method;  ///< of compress_methods(), for linears within the network; empty: as the format suggests
  std::string ranges;  ///< of compress_ranges(), for rows that share one scale; empty: minmax
  /// Columns of a linear's weight are scaled up by what its inputs are like, and what stands before it down by the
  /// same, before weights are rounded (AWQ).
  bool awq = false;
  bool bias_correction = false;  ///< biases make good for what rounding does to the mean of a linear's answer
  /// For recipes that search under a latency model: as in BudgetOptions. Empty: jetson-nano.
  std::string machine, caps;
  int threads = 0;          ///< 0 = all cores
  bool sensitivity = true;  ///< also measure how far the answer moves when one layer alone is compressed
  /// A folder that exists, where what was worked out on pictures is kept and found again: a run with the same model,
  /// pictures and options continues one that was killed, and gives the same bytes. Empty: nothing is kept.
  std::string work;
  /// What is being done and the share of all work that is done, 0 to 1; called in the thread of write().
  std::function<void(const std::string& what, double done)> progress;
  /// Asked between steps; true ends write() with kInvalidArgument and leaves no file.
  std::function<bool()> stop;
};

/// One weight that was compressed.
struct CompressedLayer {
  std::string tensor;          ///< as the file names it
  std::string node;            ///< in plans: "blocks.3.mlp.fc1"
  std::string kind;            ///< "linear", "head", "embedding", "convolution"
  std::string format, method;  ///< "i4g32", "gptq"
  int64_t rows = 0, cols = 0;
  uint64_t bytes = 0;  ///< codes and scales
  double macs = 0;     ///< of a picture
  double error = 0;    ///< squared error of its output (without pictures: of the weight) over its square
  double kl = -1;      ///< mean KL(fp32 || this layer alone compressed), of the answer; -1: not measured
};

/// One transformer block that was made smaller.
struct CompressedBlock {
  struct Sizes {
    int64_t heads = 0;  ///< 0: no attention
    int64_t qk = 0;     ///< width of a head's queries and keys
    int64_t v = 0;      ///< of its values
    int64_t mlp = 0;    ///< between the two linears; 0: no MLP
  };
  std::string block;  ///< in plans: "blocks.3"
  Sizes before, after;
  double kl = -1;  ///< sum of what each narrower part alone costs on some of the pictures; -1: not measured
};

struct CompressReport {
  std::vector<CompressedLayer> layers;
  std::vector<CompressedBlock> blocks;                  ///< those whose tensors have shrunk
  double macs_before = 0;                               ///< of a picture
  int64_t parameters_before = 0, parameters_after = 0;  ///< where blocks shrink
  std::vector<std::string> kept;                        ///< matrices that stay floats
  bool activations = false;                             ///< rows are quantised too, while running
  std::string attention;                                ///< what the factors of its products become; "": floats
  size_t pictures = 0;                                  ///< calibrated with
  size_t passes = 0;                           ///< over the pictures: layers go in groups where memory is short
  size_t found = 0;                            ///< layers whose codes CompressOptions::work held already
  double macs = 0;                             ///< of a picture
  std::vector<int64_t> merged;                 ///< tokens that each block merges into others; empty: none
  int input_height = 0, input_width = 0;       ///< where the input is smaller than the model's own; else 0
  uint64_t bytes_before = 0, bytes_after = 0;  ///< of a file with all tensors
  std::vector<std::string> notes;
};

/// A picture to calibrate with where there are none: [height, width, 3] bytes RGB, dense. Things with outlines,
/// textures and shades before a ground, some out of focus; another one for each seed. Calibrates worse than pictures
/// like those that the model will see, and much better than noise. Empty where a side is not above 0.
VIREO_API std::vector<uint8_t> synthetic_picture(uint64_t seed, int width, int height);

/// Compresses one model. Uses the CPU.
class VIREO_API Compressor {
 public:
  /// Errors: kInvalidArgument (an unknown recipe, recipes that contradict each other, a policy that names nothing),
  /// kUnsupported (a model without weights or one that is compressed already).
  static Result<Compressor> create(const Model& model, const CompressOptions& options);
  Compressor(Compressor&&) noexcept;
  Compressor& operator=(Compressor&&) noexcept;
  ~Compressor();

  /// How many pictures write() needs at least: 0 where the recipe looks at none.
  size_t least_pictures() const;
  /// Calibrates with this picture too: preprocessed now, and kept as the model's input.
  Result<void> add(const Image& picture);

  /// Writes config.json, model.safetensors and preprocessor_config.json into a folder that exists, each whole or not at
  /// all. Errors: kInvalidArgument (too few pictures, `stop`), kCorrupt (activations that are not finite, with the
  /// layer), kIo (the disk).
  Result<CompressReport> write(const std::string& folder);

 private:
  struct Impl;
  explicit Compressor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vireo
