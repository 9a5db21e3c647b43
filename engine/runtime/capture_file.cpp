#include "runtime/capture_file.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/checksum.h"
#include "base/input_file.h"
#include "base/names.h"
#include "base/write_file.h"
#include "model/json.h"

namespace vireo {
namespace {

constexpr const char* kFormat = "vireo-capture";
constexpr const char* kVersion = "1";
constexpr const char* kWeightsPrefix = "weights/";
constexpr int64_t kMostElements = int64_t(1) << 40;

using Metadata = std::map<std::string, std::string>;

/// As it will be read again: bytes that are not UTF-8 (a driver's name, a note) are replaced.
std::string utf8(const std::string& text) { return read_sorted_json(write_json(Json(text))).get<std::string>(); }

std::string value_tensor(size_t i) { return fmt::format("value/{}", i); }

/// Hands all bytes of a tensor to take(bytes, count), which gives a Result<void>, block by block.
template <typename Take>
Result<void> each_block(const TensorView& t, Take&& take) {
  if (t.data != nullptr) return take(t.data, t.bytes);
  std::vector<uint8_t> block(std::min(kTensorBlock, t.bytes));
  for (size_t first = 0; first < t.bytes; first += block.size()) {
    const size_t count = std::min(block.size(), t.bytes - first);
    VIREO_TRY(t.read(first, count, block.data()));
    VIREO_TRY(take(block.data(), count));
  }
  return {};
}

/// Over everything but itself.
Result<std::string> file_checksum(const Metadata& metadata, const std::vector<TensorView>& tensors) {
  uint64_t sum = 0xcbf29ce484222325ull;
  const auto add = [&sum](const std::string& text) {
    const uint64_t size = text.size();
    sum = checksum(text.data(), text.size(), checksum(&size, sizeof size, sum));
  };
  for (const auto& [key, text] : metadata)
    if (key != "checksum") add(key), add(text);
  for (const TensorView& t : tensors) {
    add(t.name + " " + t.dtype + " " + shape_text(t.shape));
    static_assert(kTensorBlock % sizeof(uint64_t) == 0, "whole words but for the last one");
    VIREO_TRY(each_block(t, [&sum](const uint8_t* bytes, size_t count) -> Result<void> {
      sum = checksum(bytes, count, sum);
      return {};
    }));
  }
  return fmt::format("{:016x}", sum);
}

std::string session_json(const CaptureInfo& i) {
  const SessionOptions& o = i.options;
  return write_json(Json{{"precision", to_string(o.precision)},
                         {"policy", o.policy},
                         {"head", to_string(o.head)},
                         {"batch", o.batch},
                         {"height", o.height},
                         {"width", o.width},
                         {"keep_all", o.keep_all},
                         {"cpu_ops", o.cpu_ops},
                         {"fuse", i.fused}});
}

Result<void> read_session(const std::string& text, const std::string& source, CaptureInfo* info) {
  VIREO_ASSIGN(const Json json, parse_json_object(text, source));
  Fields fields(json, source);
  std::string precision, head;
  int64_t batch = 0, height = 0, width = 0;
  fields.string("precision", &precision);
  fields.string("head", &head);
  fields.integer("batch", &batch, 1, 4096);
  fields.integer("height", &height, 1, 16384);
  fields.integer("width", &width, 1, 16384);
  SessionOptions& o = info->options;
  fields.boolean("keep_all", &o.keep_all);
  fields.string("policy", &o.policy);
  fields.boolean("fuse", &info->fused);
  if (!parse_precision(precision, &o.precision) || (o.precision == Precision::kAuto && o.policy.empty()))
    fields.reject("precision", precision, "fp32, fp16, int8, w8a8 or checkpoint");
  bool known = false;
  for (Head h : {Head::kLogits, Head::kFeatures, Head::kTokens, Head::kClassMap})
    if (head == to_string(h)) o.head = h, known = true;
  if (!known) fields.reject("head", head, "logits, features, tokens or class_map");
  if (const Json* ops = fields.find("cpu_ops")) {
    if (!ops->is_array()) fields.reject("cpu_ops", *ops, "a list of operators");
    else
      for (const Json& op : *ops) {
        if (op.is_string()) o.cpu_ops.push_back(op.get<std::string>());
        else fields.reject("cpu_ops", op, "an operator's name");
      }
  }
  if (!batch || !height || !width)
    fields.set_error(fail(ErrorCode::kCorrupt, "'{}': batch, height or width is missing", source));
  VIREO_TRY(fields.status());
  o.batch = int(batch), o.height = int(height), o.width = int(width);
  return {};
}

Result<void> read_device(const std::string& text, const std::string& source, CaptureInfo* info) {
  VIREO_ASSIGN(const Json json, parse_json_object(text, source));
  Fields fields(json, source);
  fields.string("kind", &info->device_kind);
  fields.string("name", &info->device_name);
  fields.string("reason", &info->device_reason);
  return fields.status();
}

std::string values_json(const std::vector<CapturedValue>& values) {
  Json list = Json::array();
  for (const CapturedValue& v : values)
    list.push_back(
        {{"name", v.name}, {"shape", v.shape}, {"checksum", fmt::format("{:016x}", v.sum)}, {"scale", v.scale}});
  return write_json(list);
}

/// A tensor's floats, copied: the file's data need not be aligned.
Result<std::vector<float>> floats(const TensorView& t) {
  std::vector<float> v(t.bytes / sizeof(float));
  VIREO_TRY(t.read(0, v.size() * sizeof(float), v.data()));
  return v;
}

class Reader {
 public:
  Reader(const Metadata& metadata, const std::vector<TensorView>& tensors, const std::string& source)
      : metadata_(metadata), tensors_(tensors), source_(source) {}

  Result<CaptureFile> run(std::shared_ptr<const void> owner) {
    CaptureFile f;
    CaptureInfo& i = f.info;
    i.vireo = text("vireo"), i.note = text("note"), i.model = text("model"), i.architecture = text("architecture");
    i.caps = text("caps"), i.plan = text("plan"), i.tuning = text("tuning");
    f.config = text("config"), f.preprocessor = text("preprocessor");
    for (const char* key : {"vireo", "model", "caps", "plan", "session", "device", "weights", "values"})
      if (!metadata_.count(key)) return damaged(fmt::format("'{}' is missing", key));
    VIREO_TRY(read_session(text("session"), source_ + ": session", &i));
    VIREO_TRY(read_device(text("device"), source_ + ": device", &i));
    VIREO_ASSIGN(f.caps, caps_from_text(i.caps, source_ + ": caps"));
    if (i.device_kind != to_string(f.caps.kind))
      return damaged(
          fmt::format("the device is '{}', its capabilities are of '{}'", i.device_kind, to_string(f.caps.kind)));
    i.threads = int(std::min<uint32_t>(f.caps.threads, 1u << 20));
    if (!i.tuning.empty()) {
      VIREO_ASSIGN(f.tuned, parse_tuning(i.tuning, {}));
    }
    VIREO_TRY(read_data(&f));
    VIREO_TRY(read_values(&f));
    VIREO_TRY(read_weights(std::move(owner), &f));
    return f;
  }

 private:
  std::string text(const char* key) const {
    const auto it = metadata_.find(key);
    return it == metadata_.end() ? std::string() : it->second;
  }
  const TensorView* find(const std::string& name) const {
    for (const TensorView& t : tensors_)
      if (t.name == name) return &t;
    return nullptr;
  }
  Error damaged(const std::string& what) const {
    return fail(ErrorCode::kCorrupt, "capture '{}' is damaged: {}; capture anew", source_, what);
  }

  Result<void> read_data(CaptureFile* f) const {
    const SessionOptions& o = f->info.options;
    const TensorView *in = find("input"), *out = find("output");
    if (!in || !out) return damaged(fmt::format("tensor '{}' is missing", in ? "output" : "input"));
    const std::vector<int64_t>&x = in->shape, &y = out->shape;
    if (in->dtype != "F32" || x.size() != 4 || x[0] != o.batch || x[1] < 1 || x[1] > 1024 || x[2] != o.height ||
        x[3] != o.width)
      return damaged(fmt::format("tensor 'input' is {} {}, expected F32 [{}, channels, {}, {}]", in->dtype,
                                 shape_text(x), o.batch, o.height, o.width));
    if (out->dtype != "F32" || y.size() != 3 || y[0] != o.batch || y[1] < 1 || y[2] < 1 || y[1] > INT32_MAX ||
        y[2] > INT32_MAX)
      return damaged(fmt::format("tensor 'output' is {} {}, expected F32 [{}, rows, columns]", out->dtype,
                                 shape_text(y), o.batch));
    for (size_t d = 0; d < 4; ++d) f->info.input_shape[d] = int(x[d]);
    for (size_t d = 0; d < 3; ++d) f->info.output_shape[d] = int(y[d]);
    VIREO_ASSIGN(f->input, floats(*in));
    VIREO_ASSIGN(f->output, floats(*out));
    return {};
  }

  Result<void> read_values(CaptureFile* f) const {
    const Json list = parse_json(text("values"));
    if (!list.is_array()) return damaged("'values' is no list");
    std::map<std::string, const TensorView*> by_name;  // thousands of values must not be searched for one by one
    for (const TensorView& t : tensors_) by_name[t.name] = &t;
    for (const Json& entry : list) {
      const size_t number = f->values.size();
      const std::string where = fmt::format("{}: values[{}]", source_, number);
      if (!entry.is_object())
        return damaged(fmt::format("values[{}] is {}, expected an object", number, json_text(entry)));
      Fields fields(entry, where);
      CapturedValue v;
      std::string sum;
      fields.string("name", &v.name);
      fields.string("checksum", &sum);
      fields.number("scale", &v.scale, 0, 3.5e38);
      VIREO_TRY(fields.status());
      const Json* shape = fields.find("shape");
      int64_t elements = 1;
      bool good = shape && shape->is_array() && shape->size() == 4 && sum.size() == 16 &&
                  sum.find_first_not_of("0123456789abcdef") == std::string::npos;
      for (size_t d = 0; good && d < 4; ++d) {
        const Json& extent = (*shape)[d];
        good = extent.is_number_unsigned() && extent.get<uint64_t>() >= 1 &&
               extent.get<uint64_t>() <= uint64_t(kMostElements / elements);
        if (good) elements *= v.shape[d] = int64_t(extent.get<uint64_t>());
      }
      if (!good)
        return damaged(fmt::format("values[{}] ('{}') has no shape of four extents or no checksum", number, v.name));
      v.sum = std::strtoull(sum.c_str(), nullptr, 16);
      const auto it = by_name.find(value_tensor(number));
      const TensorView* samples = it == by_name.end() ? nullptr : it->second;
      const int64_t expected = std::min<int64_t>(elements, int64_t(kSamples));
      if (!samples || samples->dtype != "F32" || samples->shape.size() != 1 ||
          (samples->shape[0] != expected && samples->shape[0] != elements))
        return damaged(fmt::format("tensor '{}' is missing or of another shape, expected F32 [{}]",
                                   value_tensor(number), expected));
      VIREO_ASSIGN(v.samples, floats(*samples));
      f->info.values.push_back(v.name);
      f->values.push_back(std::move(v));
    }
    return {};
  }

  Result<void> read_weights(std::shared_ptr<const void> owner, CaptureFile* f) const {
    CaptureInfo& i = f->info;
    const std::string how = text("weights");
    i.random_weights = how == "random";
    if (how != "stored" && how != "random")
      return damaged(fmt::format("'weights' is '{}', expected stored or random", how));
    if (i.random_weights) {
      const std::string seed = text("seed");
      if (seed.empty() || seed.size() > 20 || seed.find_first_not_of("0123456789") != std::string::npos)
        return damaged(fmt::format("'seed' is '{}', expected a number", seed));
      i.seed = std::strtoull(seed.c_str(), nullptr, 10);
      return {};
    }
    std::vector<TensorView> views;
    for (const TensorView& t : tensors_) {
      if (t.name.rfind(kWeightsPrefix, 0) != 0) continue;
      views.push_back(t);
      views.back().name.erase(0, std::strlen(kWeightsPrefix));
      i.weights_bytes += t.bytes;
    }
    i.weights = views.size();
    VIREO_ASSIGN(f->weights, Checkpoint::from_views(std::move(views), std::move(owner), source_));
    return {};
  }

  const Metadata& metadata_;
  const std::vector<TensorView>& tensors_;
  const std::string& source_;
};

}  // namespace

size_t sample_position(size_t i, size_t count, size_t total) {
  return count < 2 || count == total ? i : size_t(uint64_t(i) * uint64_t(total - 1) / uint64_t(count - 1));
}

CapturedValue captured_value(const std::string& name, const int64_t shape[4], const std::vector<float>& data,
                             bool whole) {
  CapturedValue v;
  v.name = name;
  std::copy_n(shape, 4, v.shape.begin());
  v.sum = checksum(data.data(), data.size() * sizeof(float));
  for (float x : data)
    if (std::isfinite(x)) v.scale = std::max(v.scale, std::fabs(double(x)));
  v.samples.resize(whole ? data.size() : std::min(data.size(), kSamples));
  for (size_t i = 0; i < v.samples.size(); ++i) v.samples[i] = data[sample_position(i, v.samples.size(), data.size())];
  return v;
}

Result<uint64_t> write_capture(const std::string& path, const CaptureFile& f) {
  const CaptureInfo& i = f.info;
  const std::string device =
      write_json(Json{{"kind", i.device_kind}, {"name", i.device_name}, {"reason", i.device_reason}});
  Metadata metadata{{"format", kFormat},
                    {"version", kVersion},
                    {"vireo", i.vireo},
                    {"note", i.note},
                    {"model", i.model},
                    {"architecture", i.architecture},
                    {"weights", i.random_weights ? "random" : "stored"},
                    {"config", f.config},
                    {"preprocessor", f.preprocessor},
                    {"session", session_json(i)},
                    {"device", device},
                    {"caps", i.caps},
                    {"plan", i.plan},
                    {"tuning", i.tuning},
                    {"values", values_json(f.values)}};
  if (i.random_weights) metadata["seed"] = fmt::format("{}", i.seed);
  for (auto& [key, text] : metadata) text = utf8(text);

  std::vector<TensorView> tensors;
  const auto add = [&tensors](std::string name, std::vector<int64_t> shape, const std::vector<float>& data) {
    tensors.push_back({std::move(name), "F32", std::move(shape), reinterpret_cast<const uint8_t*>(data.data()),
                       data.size() * sizeof(float)});
  };
  add("input", {i.input_shape, i.input_shape + 4}, f.input);
  add("output", {i.output_shape, i.output_shape + 3}, f.output);
  for (size_t n = 0; n < f.values.size(); ++n)
    add(value_tensor(n), {int64_t(f.values[n].samples.size())}, f.values[n].samples);
  if (f.weights)
    for (const auto& [name, view] : f.weights->stored()) {
      tensors.push_back(view);
      tensors.back().name = kWeightsPrefix + name;
    }
  VIREO_ASSIGN(metadata["checksum"], file_checksum(metadata, tensors));

  const std::string header = safetensors_header(tensors, metadata);
  const auto broken = [&path](const std::string& why) {
    return fail(ErrorCode::kIo, "capture '{}' was not written: {}; check the folder and free space", path, why);
  };
  NewFile file;
  uint64_t bytes = header.size();
  if (std::string why = file.open(path, NewFile::kSpecial); !why.empty()) return broken(why);
  if (std::string why = file.write(header.data(), header.size()); !why.empty()) return broken(why);
  for (const TensorView& t : tensors) {
    VIREO_TRY(each_block(t, [&](const uint8_t* data, size_t count) -> Result<void> {
      if (std::string why = file.write(data, count); !why.empty()) return broken(why);
      return {};
    }));
    bytes += t.bytes;
  }
  if (std::string why = file.commit(); !why.empty()) return broken(why);
  return bytes;
}

Result<CaptureFile> captured_parts(const Metadata& metadata, const std::vector<TensorView>& tensors,
                                   std::shared_ptr<const void> owner, const std::string& source) {
  return Reader(metadata, tensors, source).run(std::move(owner));
}

namespace {

Result<CaptureFile> check_capture(Metadata& metadata, const std::vector<TensorView>& tensors,
                                  std::shared_ptr<const void> owner, const std::string& source) {
  if (metadata["format"] != kFormat)
    return fail(ErrorCode::kCorrupt,
                "'{}' is a safetensors file but no capture; expected one that `vireo capture` wrote", source);
  if (metadata["version"] != kVersion)
    return fail(ErrorCode::kUnsupported,
                "capture '{}' is of format version '{}' (written by Vireo {}), this Vireo {} reads version {}; replay "
                "it with the Vireo that wrote it",
                source, metadata["version"].substr(0, 20), metadata["vireo"].substr(0, 20), version(), kVersion);
  VIREO_ASSIGN(const std::string sum, file_checksum(metadata, tensors));
  if (metadata["checksum"] != sum)
    return fail(ErrorCode::kCorrupt, "capture '{}' is damaged: its checksum is {}, it says '{}'; copy it again", source,
                sum, metadata["checksum"].substr(0, 20));
  return captured_parts(metadata, tensors, std::move(owner), source);
}

}  // namespace

Result<CaptureFile> parse_capture(const uint8_t* data, size_t size, std::shared_ptr<const void> owner,
                                  const std::string& source) {
  Metadata metadata;
  VIREO_ASSIGN(const std::vector<TensorView> tensors, parse_safetensors(data, size, source, &metadata));
  VIREO_ASSIGN(CaptureFile f, check_capture(metadata, tensors, std::move(owner), source));
  f.info.file_bytes = size;
  return f;
}

Result<CaptureFile> load_capture(const std::string& path) {
  VIREO_ASSIGN(InputFile opened, InputFile::open(path));
  const auto file = std::make_shared<const InputFile>(std::move(opened));
  Metadata metadata;
  VIREO_ASSIGN(const std::vector<TensorView> tensors, parse_safetensors(file, path, &metadata));
  VIREO_ASSIGN(CaptureFile f, check_capture(metadata, tensors, nullptr, path));
  f.info.file_bytes = file->size();
  return f;
}

Result<LoadedModel> captured_model(const CaptureFile& f, const std::string& source) {
  ModelSource from;
  from.path = source;
  from.config = f.config;
  from.config_path = source + ": config.json";
  from.weights = f.weights;
  from.seed = f.info.seed;
  return LoadedModel::from_parts(std::move(from), f.preprocessor, source + ": preprocessor_config.json");
}

}  // namespace vireo
