// vireo diff: the same input on two devices, compared value by value in order of execution. The first that differs is
// where to look.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>

#include "cli.h"
#include "pictures.h"

namespace cli {
namespace {

struct DiffArgs {
  Common common;
  std::string image;
  std::string a = "cpu", b = "vulkan";
  uint64_t seed = 1;
  double tolerance = -1;  // not given: default_tolerance() of the precision
  bool all = false;
};

/// How far two versions of a value are apart.
struct Difference {
  std::string name;
  int64_t shape[4] = {0, 0, 0, 0};
  double largest = 0;   // max |a - b|; NaN or infinity in one only counts as infinite
  double scale = 0;     // max |a|
  size_t at = 0;        // where the largest is
  float a = 0, b = 0;   // the two there
  std::string problem;  // not comparable: why

  double relative() const { return largest == 0 ? 0 : scale > 0 ? largest / scale : INFINITY; }
};

Difference compare(const std::string& name, const vireo::Session& a, const vireo::Session& b) {
  Difference d;
  d.name = name;
  int64_t shape_b[4] = {0, 0, 0, 0};
  const std::vector<float> x = need(a.value(name, d.shape));
  const std::vector<float> y = need(b.value(name, shape_b));
  if (x.size() != y.size() || !std::equal(d.shape, d.shape + 4, shape_b)) {
    d.problem = "its shapes differ";
    return d;
  }
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isfinite(x[i])) d.scale = std::max(d.scale, std::fabs(double(x[i])));
    if (x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]))) continue;
    double far = std::fabs(double(x[i]) - double(y[i]));
    if (!std::isfinite(far)) far = INFINITY;
    if (far > d.largest) {
      d.largest = far;
      d.at = i;
      d.a = x[i];
      d.b = y[i];
    }
  }
  return d;
}

std::string index_text(const Difference& d) {
  size_t rest = d.at;
  int64_t index[4] = {0, 0, 0, 0};
  for (int i = 3; i >= 0; --i) {
    const size_t extent = size_t(std::max<int64_t>(d.shape[i], 1));
    index[i] = int64_t(rest % extent);
    rest /= extent;
  }
  std::string text;
  for (int i = 0; i < 4; ++i) text += (i ? ", " : "[") + std::to_string(index[i]);
  return text + "]";
}

std::string number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", v);
  return text;
}

Json difference_json(const Difference& d, bool differs) {
  Json json{{"name", d.name},           {"shape", {d.shape[0], d.shape[1], d.shape[2], d.shape[3]}},
            {"max_abs", d.largest},     {"max_value", d.scale},
            {"relative", d.relative()}, {"differs", differs}};
  if (!d.problem.empty()) json["problem"] = d.problem;
  if (d.largest > 0) json.update(Json{{"at", index_text(d)}, {"a", d.a}, {"b", d.b}});
  return json;
}

/// The device, without bfloat16: in fp16 and int8 a CPU that multiplies it keeps eight bits, which would hide what the
/// other side does.
vireo::Device open_exact(const DiffArgs& args, const std::string& name) {
  vireo::Device device = open_device(name, args.common.threads);
  const char* chosen = std::getenv("VIREO_SIMD");
  const bool rounds =
      device.name().find("bf16") != std::string::npos || device.name().find("(amx)") != std::string::npos;
  if ((args.common.precision == vireo::Precision::kFp32 && args.common.policy.empty()) || !rounds ||
      (chosen != nullptr && *chosen != 0))
    return device;
  setenv("VIREO_SIMD", "avx512", 1);
  std::fprintf(
      stderr,
      "note: %s multiplies bfloat16 in %s; its avx512 kernels, which do not, are compared (VIREO_SIMD chooses)\n",
      device.name().c_str(), precision_text(args.common).c_str());
  return open_device(name, args.common.threads);
}

vireo::Session open_side(const vireo::Model& model, const DiffArgs& args, const std::string& device) {
  vireo::SessionOptions options = session_options(args.common, device);
  options.keep_all = true;
  // A segmentation model's scores, not its classes: a class differs or does not.
  options.head = model.task() == vireo::Task::kSegmentation ? vireo::Head::kLogits : default_head(model);
  return need(vireo::Session::create(model, open_exact(args, device), options));
}

vireo::DeviceUsed run_side(vireo::Session& session, const vireo::Model& model, const DiffArgs& args,
                           const Rgb8& picture) {
  if (args.image.empty()) {
    const std::vector<float> pixels = random_pixels(pixel_count(model, session), args.seed);
    return need(session.run(pixels.data(), pixels.size())).device;
  }
  return need(session.run(vireo::Image{picture.rgb.data(), picture.width, picture.height, 0})).device;
}

/// What both sides keep, in a's order; the two plans may fuse differently.
std::vector<std::string> common_names(const vireo::Session& a, const vireo::Session& b) {
  const std::vector<std::string> names_b = b.value_names();
  const std::set<std::string> known(names_b.begin(), names_b.end());
  std::vector<std::string> names;
  for (const std::string& name : a.value_names())
    if (known.count(name) != 0) names.push_back(name);
  return names;
}

void print_row(const Difference& d, bool differs) {
  std::printf("%-44s %10s %10s %10s%s\n", d.name.c_str(), number(d.largest).c_str(), number(d.scale).c_str(),
              number(d.relative()).c_str(), differs ? "  <- differs" : "");
}

void run(DiffArgs args) {
  const vireo::Model model = open_model(args.common);
  if (args.tolerance < 0)
    args.tolerance =
        vireo::default_tolerance(args.common.policy.empty() ? args.common.precision : vireo::Precision::kFp16);
  if (args.image.empty()) check_no_frame_options("diff", args.common);
  const Rgb8 picture =
      args.image.empty() ? Rgb8{} : one_picture("diff", args.image, args.common);  // once: it may be a pipe
  vireo::Session a = open_side(model, args, args.a);
  vireo::Session b = open_side(model, args, args.b);
  const vireo::DeviceUsed used_a = run_side(a, model, args, picture), used_b = run_side(b, model, args, picture);
  const std::vector<std::string> names = common_names(a, b);
  if (names.empty()) throw Failure("the two plans keep no value of the same name: nothing to compare");

  if (!args.common.json) {
    std::printf("a  %s\nb  %s\n", device_line(used_a).c_str(), device_line(used_b).c_str());
    print_notes(model);
    if (args.all) std::printf("%-44s %10s %10s %10s\n", "value", "max|a-b|", "max|a|", "relative");
  }
  Json table = Json::array();
  std::unique_ptr<Difference> first;
  Difference worst;
  size_t differing = 0;
  for (const std::string& name : names) {
    const Difference d = compare(name, a, b);
    const bool differs = !d.problem.empty() || !(d.relative() <= args.tolerance);
    if (differs && differing++ == 0) first = std::make_unique<Difference>(d);
    if (worst.name.empty() || d.relative() > worst.relative()) worst = d;
    if (args.common.json) table.push_back(difference_json(d, differs));
    if (!args.common.json && args.all) print_row(d, differs);
  }
  if (args.common.json) {
    Json json{{"a", device_json(used_a)},
              {"b", device_json(used_b)},
              {"precision", precision_text(args.common)},
              {"tolerance", args.tolerance},
              {"compared", names.size()},
              {"differing", differing},
              {"equal", differing == 0},
              {"first", first ? difference_json(*first, true) : Json()},
              {"worst", difference_json(worst, false)}};
    json["worst"]["differs"] = !worst.problem.empty() || !(worst.relative() <= args.tolerance);
    if (args.all) json["values"] = table;
    print_json(json);
  } else {
    std::printf("%zu values compared, %zu differ beyond %s of the largest; worst: %s, %s relative\n", names.size(),
                differing, number(args.tolerance).c_str(), worst.name.c_str(), number(worst.relative()).c_str());
  }
  if (!first) return;
  throw Failure("'" + first->name + "' is the first value that differs: " +
                (first->problem.empty() ? number(first->largest) + " at " + index_text(*first) + " (a " +
                                              number(first->a) + ", b " + number(first->b) + "), " +
                                              number(first->relative()) + " of the largest |a| " + number(first->scale)
                                        : first->problem));
}

}  // namespace

void add_diff(CLI::App& app) {
  auto args = std::make_shared<DiffArgs>();
  CLI::App* verb =
      app.add_subcommand("diff", "run the same input on two devices and report the first value that differs");
  verb->add_option("image", args->image, "a picture (- is standard input); by default seeded random pixels")
      ->type_name("[IMAGE]");
  add_common(*verb, args->common, kModel | kRandom | kSession | kJson | kPictures | kFrames);
  verb->add_option("--a", args->a, "first device, the reference")
      ->type_name("NAME")
      ->check(check_device)
      ->capture_default_str();
  verb->add_option("--b,--device", args->b, "second device")
      ->type_name("NAME")
      ->check(check_device)
      ->capture_default_str();
  verb->add_option("--threads", args->common.threads, "CPU threads; 0 = all cores")
      ->type_name("N")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  verb->add_option("--tolerance", args->tolerance,
                   "largest |a - b| allowed, as a part of the value's largest |a| [0.001; fp16 and int8: 0.02]")
      ->check(CLI::Validator(
          [](const std::string& text) {
            double t = 0;
            return CLI::detail::lexical_cast(text, t) && t >= 0 && t <= 1e30
                       ? std::string()
                       : "expected a number from 0, got '" + text + "'";
          },
          ""))
      ->type_name("T")
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--seed", args->seed, "of the random pixels")->type_name("SEED")->capture_default_str();
  verb->add_flag("--all", args->all, "print every value");
  add_examples(*verb, {"vireo diff --model models/fashion-vit --a cpu --b vulkan picture.jpg"});
  verb->callback([args] { run(*args); });
}

}  // namespace cli
