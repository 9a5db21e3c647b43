// Shared parts of the command line: see cli.h.
#include "cli.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "base/names.h"
#include "image.h"
#include "interrupt.h"
#include "write_file.h"

namespace cli {
namespace {

const std::string kDeviceHelp = vireo::kDeviceNames;

bool digits(const std::string& text) {
  return !text.empty() && text.size() <= 6 && text.find_first_not_of("0123456789") == std::string::npos;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin) parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

}  // namespace

bool parse_pair(const std::string& text, int* first, int* second) {
  const size_t x = text.find('x');
  if (x == std::string::npos || !digits(text.substr(0, x)) || !digits(text.substr(x + 1))) return false;
  *first = std::stoi(text.substr(0, x));
  *second = std::stoi(text.substr(x + 1));
  return *first > 0 && *second > 0;
}

std::string check_device(const std::string& text) {
  vireo::DeviceName name;
  if (vireo::parse_device(text, &name)) return {};
  const std::string near = text == "gpu" ? "vulkan" : vireo::nearest_name(text, {"auto", "cpu", "vulkan"});
  return "'" + text + "' is no device" + (near.empty() ? "; expected " : "; did you mean '" + near + "'? Expected ") +
         kDeviceHelp;
}

CLI::Validator one_of(const std::string& kind, const std::vector<std::string>& names) {
  return CLI::Validator(
      [kind, names](const std::string& text) {
        if (std::find(names.begin(), names.end(), text) != names.end()) return std::string();
        return "'" + text + "' is no " + kind + vireo::known_names(text, names);
      },
      "");
}

namespace {

struct FormatName {
  const char* name;
  vireo::PixelFormat format;
};
/// Ours, then ffmpeg's where they differ.
const FormatName kFormatNames[] = {
    {"rgb", vireo::PixelFormat::kRgb},         {"bgr", vireo::PixelFormat::kBgr},
    {"rgba", vireo::PixelFormat::kRgba},       {"bgra", vireo::PixelFormat::kBgra},
    {"grey", vireo::PixelFormat::kGrey},       {"grey16", vireo::PixelFormat::kGrey16},
    {"nv12", vireo::PixelFormat::kNv12},       {"nv21", vireo::PixelFormat::kNv21},
    {"i420", vireo::PixelFormat::kI420},       {"i422", vireo::PixelFormat::kI422},
    {"i444", vireo::PixelFormat::kI444},       {"yuyv", vireo::PixelFormat::kYuyv},
    {"uyvy", vireo::PixelFormat::kUyvy},       {"rgb24", vireo::PixelFormat::kRgb},
    {"bgr24", vireo::PixelFormat::kBgr},       {"gray", vireo::PixelFormat::kGrey},
    {"gray16le", vireo::PixelFormat::kGrey16}, {"yuv420p", vireo::PixelFormat::kI420},
    {"yuv422p", vireo::PixelFormat::kI422},    {"yuv444p", vireo::PixelFormat::kI444},
    {"yuyv422", vireo::PixelFormat::kYuyv},    {"uyvy422", vireo::PixelFormat::kUyvy},
};

std::vector<std::string> format_names() {
  std::vector<std::string> names;
  for (const FormatName& f : kFormatNames) names.push_back(f.name);
  return names;
}

}  // namespace

bool parse_pixel_format(const std::string& text, vireo::PixelFormat* format) {
  for (const FormatName& f : kFormatNames)
    if (text == f.name) return *format = f.format, true;
  return false;
}

void add_examples(CLI::App& verb, const std::vector<std::string>& lines) {
  std::string text = lines.size() == 1 ? "Example:" : "Examples:";
  for (const std::string& line : lines) text += "\n  " + line;
  verb.footer(text);
}

CLI::Option* find_option(CLI::App& verb, const std::string& name) {
  for (CLI::Option* o : verb.get_options())
    for (const std::string& known : o->get_lnames())
      if ("--" + known == name) return o;
  return nullptr;
}

void add_common(CLI::App& verb, Common& common, unsigned which) {
  if (which & kModel) {
    CLI::Option* model =
        verb.add_option("--model", common.model, "checkpoint: a Hugging Face or timm folder, or a .safetensors file");
    model->type_name("DIR");
    verb.add_option("--weights", common.weights,
                    "which network, where a checkpoint holds several: the prefix of its tensors, such as teacher.")
        ->type_name("PREFIX")
        ->needs(model);
    CLI::Option* config =
        verb.add_option("--config", common.config,
                        which & kRandom ? "a model of this config.json with random weights"
                                        : "the model's config.json, where its folder has none or another one");
    config->type_name("FILE");
    verb.add_option("--architecture", common.architecture,
                    "instead of a config.json, timm's name of the model (vit_tiny_patch16_224)")
        ->type_name("NAME")
        ->excludes(config)
        ->needs(model);
    if (which & kRandom) {
      verb.add_option_function<uint64_t>(
              "--random-weights",
              [&common](const uint64_t& seed) {
                common.random = true;
                common.seed = seed;
              },
              "seed of the random weights; with --model, its config.json is used")
          ->type_name("SEED");
      model->excludes(config);
    } else {
      model->required();
    }
  }
  if (which & kDevice) {
    verb.add_option("--device", common.device, kDeviceHelp + " (auto: a GPU, else the CPU, and says why)")
        ->type_name("NAME")
        ->check(check_device)
        ->capture_default_str();
    verb.add_option("--threads", common.threads, "CPU threads; 0 = all cores")
        ->type_name("N")
        ->check(CLI::Range(0, 1024))
        ->capture_default_str();
  }
  if (which & kSession) {
    verb.add_option_function<std::string>(
            "--precision",
            [&common](const std::string& text) {
              common.precision_given = true;
              if (vireo::parse_precision(text, &common.precision)) {
                common.policy.clear(), common.policy_file.clear();
                return;
              }
              struct stat file {};
              if (stat(text.c_str(), &file) != 0 || S_ISDIR(file.st_mode))
                throw CLI::ValidationError("--precision", "'" + text + "' is no precision and no policy file" +
                                                              vireo::known_names(text, vireo::precision_names()));
              common.policy = read_text(text, "a format policy");
              common.policy_file = text;
              if (common.policy.empty()) throw CLI::ValidationError("--precision", "'" + text + "' is empty");
            },
            "fp32, fp16, int8 (weights), w8a8, checkpoint, auto (the fastest of the first three that is right), or a "
            "policy file [as the checkpoint has its weights]")
        ->type_name("P|FILE");
    verb.add_option_function<std::string>(
            "--size",
            [&common](const std::string& text) {
              if (!parse_pair(text, &common.height, &common.width))
                throw CLI::ValidationError("--size", "'" + text + "' is no size; expected HxW, for example 224x224");
            },
            "input size in pixels instead of the model's own, height first")
        ->type_name("HxW");
    verb.add_option_function<std::string>(
            "--cpu-ops", [&common](const std::string& text) { common.cpu_ops = split(text); },
            "operators to place on the CPU in a Vulkan plan, separated by commas")
        ->type_name("LIST");
    verb.add_option_function<std::string>(
            "--preprocess",
            [&common](const std::string& text) {
              for (const auto p : {vireo::Preprocess::kAuto, vireo::Preprocess::kCpu, vireo::Preprocess::kGpu})
                if (text == vireo::to_string(p)) common.preprocess = p;
            },
            "where pictures become the network's input, the same one to the bit: cpu, gpu (compute shaders; only the "
            "picture's bytes go to the device), auto (gpu, beside a software driver cpu) [auto]")
        ->type_name("WHERE")
        ->check(one_of("way to prepare pictures", {"auto", "cpu", "gpu"}));
  }
  if (which & kPictures)
    verb.add_flag("--ignore-exif", common.ignore_exif,
                  "leave pictures as they are stored instead of turning them as their EXIF says");
  if (which & (kFrames | kShape)) {
    verb.add_option_function<std::string>(
            "--frame",
            [&common](const std::string& text) {
              if (!parse_pair(text, &common.frame_width, &common.frame_height))
                throw CLI::ValidationError("--frame", "'" + text + "' is no size; expected WxH, for example 640x480");
              if (int64_t(common.frame_width) * common.frame_height > kMaxImagePixels)
                throw CLI::ValidationError("--frame", "'" + text + "' has too many pixels; expected at most " +
                                                          std::to_string(kMaxImagePixels));
            },
            which & kShape ? "the steps that make the network's input of pictures of this size are told as well, width "
                             "first"
                           : "a pipe (- is standard input) brings raw frames of this size, width first as in ffmpeg's "
                             "-s; a camera is asked for it")
        ->type_name("WxH");
    verb.add_option("--format", common.frame_format,
                    "how raw frames lie: rgb, bgr, rgba, bgra, grey, grey16, nv12, nv21, i420, i422, i444, yuyv, uyvy, "
                    "or ffmpeg's name; a camera is asked for it [rgb; a camera's own]")
        ->type_name("NAME")
        ->check(one_of("pixel format", format_names()));
    verb.add_option_function<std::string>(
            "--range",
            [&common](const std::string& text) {
              common.frame_range = text == "full" ? vireo::YuvRange::kFull : vireo::YuvRange::kLimited;
              common.frame_range_given = true;
            },
            "numbers of luma in frames: limited (16 to 235) or full (0 to 255) [limited, or as Y4M says]")
        ->type_name("R")
        ->check(one_of("range", {"limited", "full"}));
    verb.add_option_function<std::string>(
            "--matrix",
            [&common](const std::string& text) {
              common.frame_matrix = text == "bt709" ? vireo::YuvMatrix::kBt709 : vireo::YuvMatrix::kBt601;
              common.frame_matrix_given = true;
            },
            "what makes luma of colours in frames: bt601 or bt709 (high definition) [bt601]")
        ->type_name("M")
        ->check(one_of("matrix", {"bt601", "bt709"}));
    verb.add_option_function<std::string>(
            "--rotate",
            [&common](const std::string& text) {
              common.frame_rotation = std::stoi(text);
              common.frame_rotation_given = true;
            },
            "degrees clockwise that turn frames upright: 0, 90, 180 or 270 [0]")
        ->type_name("DEG")
        ->check(one_of("rotation", {"0", "90", "180", "270"}));
  }
  if (which & kFrames)
    verb.add_option("--stall", common.frame_stall,
                    "a camera without a frame, or a pipe without a byte, for S seconds ends the stream with an error "
                    "[10 for a camera, never for a pipe]")
        ->type_name("S")
        ->check(CLI::Range(0.01, 86400.0));
  if (which & kFrames)
    verb.add_option("--frames", common.frame_limit, "stop after N frames of a pipe or camera [all]")
        ->type_name("N")
        ->check(CLI::Range(1, 1000000000));
  CLI::Option* json = which & kJson ? verb.add_flag("--json", common.json, "print JSON") : nullptr;
  if (which & kLines) {
    CLI::Option* lines =
        verb.add_flag("--jsonl", common.json_lines, "print a line of JSON for each picture or frame, at once");
    if (json != nullptr) lines->excludes(json);
    verb.add_flag("--drop", common.frame_drop,
                  "frames of a pipe that come too fast: drop the oldest that wait; else the sender waits");
    verb.add_option("--deadline", common.frame_deadline,
                    "report frames whose answer comes later than so many milliseconds after them")
        ->type_name("MS")
        ->check(CLI::Range(1e-6, 1e9));
  }
}

namespace {
vireo::Model open_any(const Common& common);
}

std::string precision_text(const Common& common) {
  if (!common.policy_file.empty()) return common.policy_file;
  return common.chosen->precision.empty() ? vireo::to_string(common.precision) : common.chosen->precision;
}

void print_precision_reason(const Common& common) {
  if (!common.chosen->reason.empty()) std::printf("precision: %s\n", common.chosen->reason.c_str());
}

void add_precision_reason(Json& json, const Common& common) {
  if (!common.chosen->reason.empty()) json["precision_reason"] = common.chosen->reason;
}

vireo::Model open_model(Common& common) {
  vireo::Model model = open_any(common);
  if (common.precision == vireo::Precision::kCheckpoint) common.precision = model.precision();
  return model;
}

namespace {
vireo::Model open_any(const Common& common) {
  if (common.model.empty() && common.config.empty())
    throw UsageError("--model DIR is required (or --config FILE for random weights)");
  if (common.model.empty()) return need(vireo::Model::random(common.config, common.seed));
  if (!common.random) {
    vireo::ModelOptions options;
    options.config = common.config;
    options.architecture = common.architecture;
    options.weights = common.weights;
    return need(vireo::Model::open(common.model, options));
  }
  if (!common.architecture.empty())
    throw UsageError(
        "--random-weights takes its configuration from --config or --model's folder, not from --architecture");
  struct stat own {};  // a folder of the Hugging Face cache has its config.json in a snapshot, which the library finds
  const bool cache = stat((common.model + "/config.json").c_str(), &own) != 0 &&
                     stat((common.model + "/snapshots").c_str(), &own) == 0;
  return need(vireo::Model::random(cache ? common.model : common.model + "/config.json", common.seed));
}
}  // namespace

static vireo::Device find_device(const std::string& text, int threads) {
  vireo::DeviceName name;  // one: check_device saw to it
  (void)vireo::parse_device(text, &name);
  switch (name.kind) {
    case vireo::DeviceName::kAuto: return vireo::Device::best(threads);
    case vireo::DeviceName::kCpu: return vireo::Device::cpu(threads);
    case vireo::DeviceName::kVulkan: break;
  }
  return need(name.index < 0 ? vireo::Device::best_vulkan(threads) : vireo::Device::vulkan(name.index, threads));
}

static std::atomic<bool> at_work{false};

bool device_at_work() { return at_work; }

vireo::Device open_device(const std::string& name, int threads) {
  vireo::Device device = find_device(name, threads);
  device.on_log([](const std::string& line) {
    at_work = true;
    std::fprintf(stderr, "vireo: %s\n", line.c_str());
  });
  return device;
}

void say_what_compiles(const vireo::Compilation& c) {
  const std::string kept = c.kept_in.empty() ? "kept for this run only, as there is no cache folder (VIREO_CACHE_DIR)"
                                             : "kept in " + c.kept_in + " for the next run";
  std::fprintf(stderr, "compiling %d pipeline%s for %s; %s\n", c.pipelines, c.pipelines == 1 ? "" : "s",
               c.device.c_str(), kept.c_str());
}

vireo::SessionOptions session_options(const Common& common, const std::string& device) {
  vireo::SessionOptions options;
  options.precision = common.precision;
  options.policy = common.policy;
  options.height = common.height;
  options.width = common.width;
  options.cpu_ops = common.cpu_ops;
  options.preprocess = common.preprocess;
  options.fallback = device == "auto";
  // On a terminal somebody waits meanwhile.
  if (isatty(STDERR_FILENO) != 0) options.on_compile = &say_what_compiles;
  return options;
}

vireo::Head default_head(const vireo::Model& model) {
  if (model.task() == vireo::Task::kSegmentation) return vireo::Head::kClassMap;
  return model.classes() > 0 ? vireo::Head::kLogits : vireo::Head::kFeatures;
}

vireo::Session open_session(const vireo::Model& model, const Common& common, vireo::Head head, int batch,
                            std::string* caps) {
  vireo::SessionOptions options = session_options(common, common.device);
  options.head = head;
  options.batch = batch;
  // A verb says where it runs when it begins; a device that fails later must not go unnoticed.
  const auto opened = std::make_shared<std::string>();
  options.on_inference = [opened, said = false](const vireo::Inference& i) mutable {
    if (said || !i.fell_back || *opened == i.device.reason) return;
    said = true;
    std::fprintf(stderr, "vireo: the device failed, %s goes on: %s\n", i.device.name, i.device.reason);
  };
  const bool again = common.together && common.together->device;
  const vireo::Device device = again ? *common.together->device : open_device(common.device, common.threads);
  if (common.together) common.together->device = device, options.shared_weights = common.together->weights;
  vireo::Session session = need(vireo::Session::create(model, device, options));
  *opened = session.device().reason;
  if (!session.precision_reason().empty())
    *common.chosen = {vireo::to_string(session.precision()), session.precision_reason()};
  if (caps) {
    const bool fell_back = std::string(session.device().kind) != device.kind();
    *caps = (fell_back ? vireo::Device::cpu(common.threads) : device).caps_text();
  }
  for (const std::string& text : session.warnings()) std::fprintf(stderr, "note: %s\n", text.c_str());
  return session;
}

Json device_json(const vireo::DeviceUsed& used) {
  return Json{{"kind", used.kind}, {"name", used.name}, {"reason", used.reason}};
}

std::string device_line(const vireo::DeviceUsed& used) {
  std::string line = std::string(used.kind) + ": " + used.name;
  if (*used.reason) line += std::string("\nreason: ") + used.reason;
  return line;
}

std::string read_text(const std::string& path, const std::string& should) {
  const auto refuse = [&](const std::string& why) {
    throw Failure("cannot read '" + path + "'" + why + "; it should be " + should);
  };
  struct stat s {};
  if (stat(path.c_str(), &s) == 0 && S_ISDIR(s.st_mode)) refuse(": it is a folder");
  std::ifstream in(path, std::ios::binary);
  if (!in) refuse(std::string(": ") + std::strerror(errno));
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (in.bad()) refuse("");
  return text;
}

void print_json(const Json& json) {
  // File names and labels need not be UTF-8: bytes that are not are replaced rather than refused.
  const std::string text = vireo::write_json(json, 2);
  std::printf("%s\n", text.c_str());
}

void print_json_line(const Json& json) {
  std::printf("%s\n", vireo::write_json(json).c_str());
  flush_output();
}

void flush_output() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
    throw Failure(std::string("standard output took no more results: ") + std::strerror(errno));
}

void outlive_readers() { std::signal(SIGPIPE, SIG_IGN); }

std::string Reasons::news(const std::string& reason) const {
  if (reason == known_) return {};
  const std::string before = known_ + "; ";
  return !known_.empty() && reason.compare(0, before.size(), before) == 0 ? reason.substr(before.size()) : reason;
}

std::string Reasons::add(const vireo::DeviceUsed& used) {
  const std::string text = news(used.reason);
  if (text.empty()) return {};
  for (auto& [reason, count] : counts_)
    if (reason == text) return ++count, text;
  counts_.emplace_back(text, 1);
  return text;
}

void Reasons::print(size_t total, const vireo::DeviceUsed& last) const {
  for (const auto& [reason, count] : counts_)
    if (reason != news(last.reason) || count != total)
      std::printf("note: %zu of %zu pictures: %s\n", count, total, reason.c_str());
}

void Reasons::add_to(Json& json) const {
  for (const auto& [reason, count] : counts_) json["reasons"].push_back(Json{{"pictures", count}, {"reason", reason}});
}

void print_notes(const vireo::Model& model) {
  for (const std::string& text : model.warnings()) std::printf("note: %s\n", text.c_str());
}

void add_notes(Json& json, const vireo::Model& model) {
  if (!model.warnings().empty()) json["warnings"] = model.warnings();
}

void check_writable(const std::string& path) {
  const auto refuse = [&path](const char* why) { throw Failure("cannot write '" + path + "': " + why); };
  if (path.empty()) refuse("the name is empty");
  struct stat info {};
  if (stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) refuse("it is a folder; give a file name");
    if (access(path.c_str(), W_OK) != 0) refuse(std::strerror(errno));
    if (!S_ISREG(info.st_mode)) return;
  }
  need(probe_write(path));
}

bool same_file(const std::string& a, const std::string& b) {
  struct stat x {
  }, y{};
  return a == b ||
         (stat(a.c_str(), &x) == 0 && stat(b.c_str(), &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

std::string printable(std::string text) {
  for (char& c : text)
    if (uint8_t(c) < 0x20 || c == 0x7f) c = '?';
  return text;
}

void check_outputs(const char* verb, const std::vector<std::string>& inputs, const std::vector<std::string>& outputs) {
  const auto nobody = [](const std::string& f) { return f.empty() || f == "-"; };
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (nobody(outputs[i])) continue;
    for (const std::string& input : inputs)
      if (!nobody(input) && same_file(outputs[i], input))
        throw UsageError(std::string(verb) + ": '" + outputs[i] + "' would replace '" + input +
                         "', which is read; choose another name");
    for (size_t j = 0; j < i; ++j)
      if (same_file(outputs[i], outputs[j]))
        throw UsageError(std::string(verb) + ": '" + outputs[i] + "' is asked for twice; choose a name for each");
  }
}

std::vector<std::string> model_files(const Common& common) {
  std::vector<std::string> files;
  if (!common.config.empty()) files.push_back(common.config);
  if (common.model.empty()) return files;
  files.push_back(common.model);
  // Everything in the folder: shards of weights have names of their own; in the Hugging Face cache they are in its
  // snapshots.
  const auto add = [&files](const std::string& path) {
    const size_t first = files.size();
    if (DIR* folder = opendir(path.c_str())) {
      while (const dirent* entry = readdir(folder)) {
        const std::string name =
            entry->d_name;  // scores and features of an earlier run may lie beside a model and are none of it
        if (name.size() < 4 || name.compare(name.size() - 4, 4, ".npy") != 0) files.push_back(path + "/" + name);
      }
      closedir(folder);
    }
    return first;
  };
  add(common.model);
  const size_t first = add(common.model + "/snapshots"), last = files.size();
  for (size_t i = first; i < last; ++i) add(std::string(files[i]));
  return files;
}

void write_file(const std::string& path, const void* bytes, size_t count) { need(write_whole(path, {{bytes, count}})); }

void ImageErrors::add(const std::string& image, const std::string& message) {
  if (count_++ > 0) return;
  // Messages of the decoder name the file themselves.
  first_ = message.find(image) == std::string::npos ? image + ": " + message : message;
}

std::string ImageErrors::sentence(size_t total) const {
  return std::to_string(count_) + " of " + std::to_string(total) + (total == 1 ? " image" : " images") + " failed" +
         (count_ == 1 ? ": " : ", first: ") + first_;
}

void ImageErrors::check(size_t total) const {
  if (any()) throw Failure(sentence(total));
}

void ImageErrors::check(size_t done, size_t total, const std::string& kept) const {
  if (interrupted() && done < total)
    throw Interrupted("interrupted after " + std::to_string(done) + " of " + std::to_string(total) + " pictures" +
                      (done > 0 ? "; " + kept : "") + (any() ? "; " + sentence(done) : ""));
  check(done);
}

std::vector<float> random_pixels(size_t count, uint64_t seed) {
  std::vector<float> pixels(count);
  uint64_t state = seed;
  for (float& p : pixels) {  // splitmix64, by Sebastiano Vigna (public domain)
    uint64_t z = (state += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    p = float(double((z ^ (z >> 31)) >> 11) * (4.0 / 9007199254740992.0) - 2.0);
  }
  return pixels;
}

size_t pixel_count(const vireo::Model& model, const vireo::Session& session) {
  return size_t(session.batch()) * size_t(model.channels()) * size_t(session.input_height()) *
         size_t(session.input_width());
}

}  // namespace cli
