#include "model/diagnose.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/input_file.h"
#include "base/text.h"
#include "model/config_parts.h"
#include "model/json.h"

namespace vireo {
namespace {

constexpr size_t kEnd = 64 << 10;  // how much of each end of a file is looked at
constexpr const char* kExport =
    "export the model to safetensors with the library that made it (Hugging Face: model.save_pretrained(folder); "
    "timm: timm.models.save_for_hf)";

std::string lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
  return text;
}

/// Formats that are known by the end of a file's name. What their weights are is said by `what`.
struct NameRow {
  const char* end;
  const char* what;
};
constexpr NameRow kNames[] = {
    {".onnx", "an ONNX model"},
    {".onnx_data", "the weights of an ONNX model"},
    {".gguf", "a GGUF model (llama.cpp, ggml)"},
    {".ggml", "a ggml model"},
    {".tflite", "a TensorFlow Lite model"},
    {".litertlm", "a LiteRT model"},
    {".h5", "a Keras or TensorFlow model (HDF5)"},
    {".hdf5", "a Keras or TensorFlow model (HDF5)"},
    {".keras", "a Keras model"},
    {".pb", "a TensorFlow graph"},
    {".msgpack", "weights of Flax"},
    {".mlmodel", "a Core ML model"},
    {".mlpackage", "a Core ML model"},
    {".mlmodelc", "a compiled Core ML model"},
    {".engine", "a TensorRT engine, which runs on the GPU that it was built for alone"},
    {".plan", "a TensorRT engine, which runs on the GPU that it was built for alone"},
    {".trt", "a TensorRT engine, which runs on the GPU that it was built for alone"},
    {".param", "an ncnn model"},
    {".rknn", "a Rockchip NPU model"},
    {".pte", "an ExecuTorch program"},
    {".mnn", "an MNN model"},
    {".pdparams", "weights of PaddlePaddle"},
    {".pdmodel", "a PaddlePaddle model"},
};
constexpr const char* kPickles[] = {".bin", ".pth", ".pt", ".ckpt", ".pkl", ".tar", ".npz", ".npy"};

const char* known_by_name(const std::string& name) {
  const std::string small = lower(file_name(name));
  for (const NameRow& row : kNames) {
    if (ends_with(small, row.end)) return row.what;
  }
  return nullptr;
}

/// Files that PyTorch writes, as far as names tell.
bool is_pickle_name(const std::string& name) {
  const std::string small = lower(file_name(name));
  if (small == "training_args.bin" || small == "optimizer.pt" || small == "scheduler.pt" || small == "optimizer.bin")
    return false;  // beside a model
  return std::any_of(std::begin(kPickles), std::end(kPickles), [&](const char* end) { return ends_with(small, end); });
}

std::string foreign(const std::string& what) {
  return fmt::format("is {}, a format that Vireo does not read; {}", what, kExport);
}
std::string archive(const std::string& what, const std::string& command) {
  return fmt::format("is {}, not the model in it; unpack it ({}) and name the folder or the .safetensors file", what,
                     command);
}

/// The first and last bytes of a file, between which nothing is looked at.
struct Ends {
  const uint8_t* data;
  size_t size;

  bool begins(const std::string& magic, size_t at = 0) const {
    return size >= at + magic.size() && std::memcmp(data + at, magic.data(), magic.size()) == 0;
  }
  bool holds(const std::string& word) const {
    const size_t n = std::min(size, kEnd);
    const uint8_t *head = std::search(data, data + n, word.begin(), word.end()),
                  *tail = std::search(data + size - n, data + size, word.begin(), word.end());
    return head != data + n || tail != data + size;
  }
  /// The beginning in small letters without leading white space and a byte order mark.
  std::string text() const {
    size_t at = begins("\xef\xbb\xbf") ? 3 : 0;
    while (at < size && std::strchr(" \t\r\n", int(data[at])) != nullptr && data[at] != 0) ++at;
    return lower(std::string(reinterpret_cast<const char*>(data) + at, std::min<size_t>(size - at, 512)));
  }
};

std::string describe_zip(const Ends& e, const std::string& name) {
  if (e.holds("data.pkl")) {
    if (e.holds("constants.pkl") && e.holds("code/")) {
      return "is a TorchScript program (torch.jit.save), a format that Vireo does not read; take the weights from it "
             "with PyTorch: "
             "python3 -c \"import torch, safetensors.torch as s; m = torch.jit.load('" +
             file_name(name) +
             "', map_location='cpu'); "
             "s.save_file({k: v.contiguous().clone() for k, v in m.state_dict().items()}, 'model.safetensors')\"";
    }
    return "is a PyTorch checkpoint (pickle), which Vireo does not read because a pickle is a program; convert it to "
           "safetensors: " +
           convert_command(name);
  }
  if (e.holds("model.weights.h5")) return foreign("a Keras model");
  if (e.holds(".npy")) return foreign("a NumPy archive (.npz)");
  if (e.holds("com.apple.CoreML")) return foreign("a Core ML model");
  return archive("a zip archive", "unzip");
}

std::string describe_binary(const Ends& e, const std::string& name) {
  using std::string;
  if (e.begins("PK\x03\x04") || e.begins("PK\x05\x06")) return describe_zip(e, name);
  if (e.size > 2 && e.data[0] == 0x80 && e.data[1] >= 2 && e.data[1] <= 5) {
    return "is a Python pickle, as PyTorch before 1.6 wrote checkpoints; Vireo does not read it because a pickle is a "
           "program; convert it to safetensors: " +
           convert_command(name);
  }
  if (e.begins("\x89HDF\r\n\x1a\n")) return foreign("an HDF5 file (Keras or TensorFlow)");
  if (e.begins("GGUF") || e.begins("lmgg") || e.begins("tjgg") || e.begins("fmgg"))
    return foreign("a GGUF model (llama.cpp, ggml)");
  if (e.begins("TFL3", 4)) return foreign("a TensorFlow Lite model");
  if (e.begins("ftrt") || e.begins("ptrt"))
    return foreign("a TensorRT engine, which runs on the GPU that it was built for alone");
  if (e.begins("\x93NUMPY")) return foreign("a NumPy array (.npy)");
  if (e.begins("ET12", 4)) return foreign("an ExecuTorch program");
  if (e.begins("\x1f\x8b")) return archive("a gzip archive", "tar xzf, or gunzip");
  if (e.begins("BZh")) return archive("a bzip2 archive", "tar xjf");
  if (e.begins(string("\xfd"
                      "7zXZ\0",
                      6)))
    return archive("an xz archive", "tar xJf");
  if (e.begins("\x28\xb5\x2f\xfd")) return archive("a zstd archive", "tar --zstd -xf, or unzstd");
  if (e.begins("7z\xbc\xaf\x27\x1c")) return archive("a 7z archive", "7z x");
  if (e.begins("Rar!")) return archive("a rar archive", "unrar x");
  if (e.begins("ustar", 257)) return archive("a tar archive", "tar xf");
  const char* picture = e.begins("\x89PNG\r\n\x1a\n")                                          ? "PNG"
                        : e.begins("\xff\xd8\xff")                                             ? "JPEG"
                        : e.begins("GIF8")                                                     ? "GIF"
                        : e.begins("RIFF") && e.begins("WEBP", 8)                              ? "WebP"
                        : e.begins(string("II*\0", 4)) || e.begins(string("MM\0*", 4))         ? "TIFF"
                        : e.begins("BM") && e.size > 26 && e.data[14] >= 12 && e.data[15] == 0 ? "BMP"
                                                                                               : nullptr;
  if (picture != nullptr)
    return fmt::format(
        "is a {} picture, not a model; --model names a model's folder or .safetensors file, pictures are named after "
        "the options",
        picture);
  if (e.begins("\x7f"
               "ELF"))
    return "is a program or library, not a model; expected a model's folder or .safetensors file";
  if (e.size >= 4096 && std::all_of(e.data, e.data + 4096, [](uint8_t b) { return b == 0; })) {
    return "begins with nothing but zero bytes, as a download does that was cut short; download it again";
  }
  // ONNX is a protobuf message without a magic number: field 1 (ir_version), then the producer's name, its version or
  // the graph.
  const bool onnx = e.size > 16 && e.data[0] == 0x08 && e.data[1] >= 3 && e.data[1] <= 20 &&
                    ((e.data[2] == 0x12 && e.data[3] > 0 && e.data[3] < 64 && e.data[4] >= 0x20 && e.data[4] < 0x7f) ||
                     e.data[2] == 0x3a);
  if (onnx && known_by_name(name) == nullptr) return foreign("an ONNX model");
  return {};
}

std::string describe_text(const Ends& e) {
  const std::string text = e.text();
  const auto starts = [&](const char* word) { return text.rfind(word, 0) == 0; };
  if (starts("version https://git-lfs") || starts("version http://git-media")) {
    return "is a Git LFS pointer, not the file itself: the repository was cloned without git-lfs; run `git lfs install "
           "&& git lfs pull` in "
           "its folder, or download the file";
  }
  if (starts("<!doctype html") || starts("<html") || starts("<head") ||
      (starts("<!--") && text.find("<html") != std::string::npos)) {
    return "is an HTML page, as a server sends for a login, an error or a file's viewer; download the file itself "
           "(Hugging Face: its address has "
           "/resolve/, not /blob/, and a gated model needs a token)";
  }
  if (starts("<?xml") && text.find("<net") != std::string::npos) return foreign("an OpenVINO model (.xml and .bin)");
  if (starts("<?xml")) return "is an XML text, as a server sends for an error; download the file again";
  if (starts("7767517")) return foreign("an ncnn model (.param and .bin)");
  if (starts("../../blobs/")) {
    return "is the text of a link in a Hugging Face cache, whose target did not come along; copy the whole folder "
           "models--... with its blobs (cp -a), or "
           "download the model again";
  }
  if (starts("{") || starts("[")) {
    if (text.find("\"error\"") != std::string::npos || text.find("\"message\"") != std::string::npos) {
      return fmt::format("is a server's answer, not the file ({}); download it again", text.substr(0, 100));
    }
    return "is a JSON text, not weights; name the model's folder, which holds config.json and model.safetensors";
  }
  for (const char* word : {"access denied", "not found", "entry not found", "invalid username", "unauthorized",
                           "forbidden", "repository not found"}) {
    if (starts(word))
      return fmt::format("is a server's answer, not the file ('{}'); download it again", text.substr(0, 60));
  }
  return {};
}

bool exists(const std::string& path) { return path_kind(path) != PathKind::kMissing; }

std::string quoted(const std::vector<std::string>& names, size_t most = 4) {
  std::string list;
  for (size_t i = 0; i < std::min(names.size(), most); ++i) list += (i ? ", '" : "'") + names[i] + "'";
  return names.size() > most ? list + ", ..." : list;
}

/// A model's folder or a cache of one, as far as its files' names tell.
bool looks_like_model(const std::string& folder) {
  for (const char* name : {"model.safetensors", "model.safetensors.index.json", "snapshots"}) {
    if (exists(folder + "/" + name)) return true;
  }
  return false;
}

}  // namespace

std::vector<std::string> list_folder(const std::string& folder) {
  std::vector<std::string> names;
  if (DIR* dir = ::opendir(folder.c_str())) {
    while (const dirent* entry = ::readdir(dir)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    ::closedir(dir);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string convert_command(const std::string& file) {
  std::string name;
  for (char c : file_name(file))
    name +=
        c == '\'' || c == '"' || c == '\\' || c == '$' || c == '`' || static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  return "python3 -c \"import torch, safetensors.torch as s; d = torch.load('" + name +
         "', map_location='cpu', weights_only=True); "
         "d = d.get('state_dict', d.get('model', d)); s.save_file({k: v.contiguous().clone() for k, v in d.items() if "
         "torch.is_tensor(v)}, "
         "'model.safetensors')\" in its folder (where the tensors lie deeper than 'state_dict' or 'model', such as "
         "d['teacher'], name that key)";
}

std::string dangling_link(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0 || !S_ISLNK(info.st_mode) || ::stat(path.c_str(), &info) == 0) return {};
  char target[4096];
  const ssize_t n = ::readlink(path.c_str(), target, sizeof target);
  return fmt::format("a link to '{}', which does not exist", std::string(target, n > 0 ? size_t(n) : 0));
}

std::string describe_bytes(const uint8_t* data, size_t size, const std::string& name) {
  const Ends ends{data, size};
  if (std::string text = describe_text(ends); !text.empty()) return text;
  if (std::string text = describe_binary(ends, name); !text.empty()) return text;
  if (const char* what = known_by_name(name)) return foreign(what);
  return {};
}

Error diagnose_weights(const std::string& file, Error fallback) {
  const auto opened = InputFile::open(file);
  if (!opened) return fallback;
  // Its two ends are all that describe_bytes() looks at.
  const size_t head = size_t(std::min<uint64_t>(opened->size(), kEnd)),
               tail = size_t(std::min<uint64_t>(opened->size() - head, kEnd));
  std::vector<uint8_t> ends(head + tail);
  if (!opened->read(0, head, ends.data()) || !opened->read(opened->size() - tail, tail, ends.data() + head))
    return fallback;
  // A safetensors file that is damaged: the length of its header, less than 4 GiB, may look like another format's magic
  // number.
  if (head > 8 && ends[8] == '{' && std::all_of(ends.begin() + 4, ends.begin() + 8, [](uint8_t b) { return b == 0; }))
    return fallback;
  const std::string what = describe_bytes(ends.data(), ends.size(), file);
  if (!what.empty()) return fail(ErrorCode::kUnsupported, "'{}' {}", file, what);
  const std::string folder =
      file.find('/') == std::string::npos ? "." : file.substr(0, file.size() - file_name(file).size() - 1);
  if (ends_with(file, ".bin")) {
    for (const std::string& name : list_folder(folder)) {
      const char* other = ends_with(name, ".param") ? "an ncnn model (.param and .bin)"
                          : ends_with(name, ".xml") ? "an OpenVINO model (.xml and .bin)"
                                                    : nullptr;
      if (other != nullptr) return fail(ErrorCode::kUnsupported, "'{}' {}", file, foreign(other));
    }
  }
  if (ends_with(file, ".safetensors") || !is_pickle_name(file)) return fallback;
  return fail(ErrorCode::kUnsupported,
              "'{}' is no safetensors file; if it is a PyTorch checkpoint, convert it to safetensors: {}", file,
              convert_command(file));
}

Error diagnose_adapter(const std::string& what) {
  return fail(ErrorCode::kUnsupported,
              "'{}' is an adapter (LoRA), changes to a base model without the model itself; merge it into its base "
              "first, with the "
              "peft library: python3 -c \"from peft import PeftModel; from transformers import "
              "AutoModelForImageClassification as M; import json; "
              "b = json.load(open('adapter_config.json'))['base_model_name_or_path']; "
              "PeftModel.from_pretrained(M.from_pretrained(b), '.').merge_and_unload().save_pretrained('merged')\" in "
              "its folder, and name the folder "
              "'merged' as the model (give M.from_pretrained num_labels where the adapter's differ from the base's)",
              what);
}

Error diagnose_path(const std::string& path) {
  if (const std::string link = dangling_link(path); !link.empty()) {
    return fail(ErrorCode::kNotFound, "model '{}' is {}; download or copy what it points to", path, link);
  }
  // "google/vit-base-patch16-224" is a model's name on the Hugging Face Hub, not a path.
  const bool hub = std::count(path.begin(), path.end(), '/') == 1 && path[0] != '/' && path[0] != '.' &&
                   path.back() != '/' && !exists(path.substr(0, path.find('/')));
  return fail(ErrorCode::kNotFound, "model '{}' does not exist; check the path{}", path,
              hub ? ". Vireo downloads nothing: for a model of the Hugging Face Hub run `hf download " + path +
                        " --local-dir model` and name that folder"
                  : "");
}

Error diagnose_folder(const std::string& given) {
  const std::string folder = given.size() > 1 && given.back() == '/' ? given.substr(0, given.size() - 1) : given;
  if (const char* what = known_by_name(folder)) return fail(ErrorCode::kUnsupported, "'{}' {}", folder, foreign(what));
  const std::vector<std::string> names = list_folder(folder);
  std::vector<std::string> weights, models, unfinished, pickles, foreigners;
  const char* format = nullptr;
  for (const std::string& name : names) {
    const std::string path = folder + "/" + name, small = lower(name);
    if (ends_with(small, ".safetensors") && name.rfind("adapter_", 0) != 0) weights.push_back(name);
    if (ends_with(small, ".incomplete") || ends_with(small, ".part") || ends_with(small, ".crdownload") ||
        ends_with(small, ".aria2"))
      unfinished.push_back(name);
    if (const char* what = known_by_name(name)) {
      foreigners.push_back(name);
      if (format == nullptr) format = what;
    } else if (path_kind(path) == PathKind::kFile && is_pickle_name(name)) {
      pickles.push_back(name);
    } else if (path_kind(path) == PathKind::kFolder && looks_like_model(path)) {
      models.push_back(name);
    }
  }
  for (const std::string& name : names) {
    if (const std::string link = dangling_link(folder + "/" + name); !link.empty() && ends_with(name, ".safetensors")) {
      return fail(ErrorCode::kNotFound, "'{}/{}' is {}; download it again, or copy what it points to", folder, name,
                  link);
    }
  }
  if (weights.size() > 1) {
    const bool shards = std::all_of(weights.begin(), weights.end(),
                                    [](const std::string& n) { return n.find("-of-") != std::string::npos; });
    return fail(
        ErrorCode::kNotFound,
        "folder '{}' holds {} .safetensors files but no 'model.safetensors' or 'model.safetensors.index.json'; {}",
        folder, weights.size(),
        shards ? "they are shards of one model, whose index is missing: download model.safetensors.index.json too"
               : "name one of the files instead of the folder");
  }
  if (std::any_of(names.begin(), names.end(), [](const std::string& n) { return n.rfind("adapter_", 0) == 0; }))
    return diagnose_adapter(folder);
  const std::string none =
      fmt::format("folder '{}' holds no 'model.safetensors' or 'model.safetensors.index.json'", folder);
  if (!pickles.empty() && foreigners.empty()) {
    const std::string& first = pickles[0];
    return fail(
        ErrorCode::kNotFound,
        "{}; it has weights in another format ({}), which Vireo does not read: convert them to safetensors first: {}",
        none, quoted(pickles), convert_command(first));
  }
  if (!models.empty()) {
    return fail(ErrorCode::kNotFound, "{}, but {} in it {}; name one of them, for example '{}/{}'", none,
                quoted(models), models.size() == 1 ? "looks like a model's folder" : "look like models' folders",
                folder, models[0]);
  }
  if (!foreigners.empty()) return fail(ErrorCode::kNotFound, "{}; '{}' {}", none, foreigners[0], foreign(format));
  if (!unfinished.empty())
    return fail(ErrorCode::kNotFound, "{}; {} is a download that did not end, start it again", none,
                quoted(unfinished));
  if (std::find(names.begin(), names.end(), "config.json") != names.end()) {
    return fail(ErrorCode::kNotFound,
                "{}, only a config.json; download the weights too (expected a Hugging Face or timm model folder), or "
                "run its network with "
                "random weights (--config {}/config.json)",
                none, folder);
  }
  return fail(ErrorCode::kNotFound, "{}; expected a Hugging Face or timm model folder{}", none,
              names.empty() ? ", but it is empty" : "");
}

}  // namespace vireo
