// The C ABI of include/vireo/vireo.h over the C++ API. Nothing is decided here: arguments are checked and passed on.
#include <vireo/vireo.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <vector>
#include <vireo/governor.hpp>
#include <vireo/profile.hpp>
#include <vireo/vireo.hpp>

#include "base/error.h"
#include "base/names.h"

struct vireo_session {
  vireo::Model model;
  vireo::Session session;
  std::vector<std::string> labels;  // so that vireo_label can hand out pointers
};

struct vireo_shared_weights {
  std::shared_ptr<const vireo::SharedWeights> weights = std::make_shared<vireo::SharedWeights>();
  /// By name and threads: a GPU's memory is shared by sessions of one Device.
  mutable std::mutex mutex;
  mutable std::map<std::pair<std::string, int>, vireo::Device> devices;
};

struct vireo_governor {
  vireo::Governor governor;
};

namespace vireo {
namespace {

static_assert(sizeof(vireo_error) == 1024, "part of the ABI");
// What top_k computes came later, into four bytes that were padding: programs built before it go on working.
static_assert(sizeof(void*) != 8 || (offsetof(vireo_output, scores) == 20 &&
                                     offsetof(vireo_output, device_kind) == 24 && sizeof(vireo_output) == 64),
              "part of the ABI");
// It is filled in by programs, and struct_size tells only what a later version adds behind.
static_assert(sizeof(void*) != 8 || (offsetof(vireo_picture, format) == 8 && offsetof(vireo_picture, width) == 12 &&
                                     offsetof(vireo_picture, height) == 16 && offsetof(vireo_picture, plane) == 24 &&
                                     offsetof(vireo_picture, stride) == 48 && offsetof(vireo_picture, range) == 72 &&
                                     offsetof(vireo_picture, matrix) == 76 && offsetof(vireo_picture, crop_x) == 80 &&
                                     offsetof(vireo_picture, crop_height) == 92 &&
                                     offsetof(vireo_picture, rotation) == 96 && sizeof(vireo_picture) == 104),
              "part of the ABI");
constexpr size_t kFirstOptions =
    offsetof(vireo_options, cache_dir) + sizeof(char*);  // version 0.1.0: what every program has

vireo_status status_of(ErrorCode code) { return vireo_status(int(code) + 1); }
static_assert(int(ErrorCode::kInvalidArgument) + 1 == VIREO_INVALID_ARGUMENT, "the two lists agree");
static_assert(int(ErrorCode::kInternal) + 1 == VIREO_INTERNAL, "the two lists agree");

vireo_status report(vireo_error* error, vireo_status status, const char* message) {
  if (error == nullptr) return status;
  error->status = status;
  std::snprintf(error->message, sizeof error->message, "%s", message);
  // A cut must not leave half a UTF-8 sequence.
  size_t end = std::strlen(error->message);
  if (end + 1 < sizeof error->message) return status;
  size_t lead = end;
  while (lead > 0 && (static_cast<unsigned char>(error->message[lead - 1]) & 0xC0) == 0x80) --lead;
  if (lead > 0 && static_cast<unsigned char>(error->message[lead - 1]) >= 0xC0) error->message[lead - 1] = '\0';
  return status;
}

vireo_status report(vireo_error* error, const Error& e) { return report(error, status_of(e.code), e.message.c_str()); }

/// Runs `body` (returns Result<void>); no exception leaves, the caller's error is filled or emptied.
template <typename Body>
vireo_status guarded(vireo_error* error, const Body& body) noexcept {
  try {
    const Result<void> result = body();
    return result ? report(error, VIREO_OK, "") : report(error, result.error());
  } catch (const std::bad_alloc&) {
    return report(error, VIREO_OUT_OF_MEMORY, "out of host memory");
  } catch (const std::exception& e) {
    return report(error, VIREO_INTERNAL, e.what());
  } catch (...) {
    return report(error, VIREO_INTERNAL, "unknown exception");
  }
}

Result<Device> device_of(const std::string& name, int threads) {
  DeviceName wanted;
  if (!parse_device(name, &wanted))
    return fail(ErrorCode::kInvalidArgument, "device is '{}'; expected {}", name, kDeviceNames);
  switch (wanted.kind) {
    case DeviceName::kAuto: return Device::best(threads);
    case DeviceName::kCpu: return Device::cpu(threads);
    case DeviceName::kVulkan: break;
  }
  return wanted.index < 0 ? Device::best_vulkan(threads) : Device::vulkan(wanted.index, threads);
}

/// What C wrote into a field of an enumeration, which there may be any number; reading it as the enumeration is
/// undefined in C++ when no name has it.
template <class E>
int number_of(const E& field) {
  int number;
  static_assert(sizeof(number) == sizeof(field), "enumerations of C are of the size of int");
  std::memcpy(&number, &field, sizeof(number));
  return number;
}

/// Sessions that share weights are given one device.
Result<Device> device_of(const std::string& name, int threads, const vireo_shared_weights* shared) {
  if (shared == nullptr) return device_of(name, threads);
  const std::lock_guard<std::mutex> lock(shared->mutex);
  const auto known = shared->devices.find({name, threads});
  if (known != shared->devices.end()) return known->second;
  VIREO_ASSIGN(const Device made, device_of(name, threads));
  shared->devices.emplace(std::make_pair(name, threads), made);
  return made;
}

Result<vireo_session*> open(const char* path, const vireo_options& o) {
  if (path == nullptr) return fail(ErrorCode::kInvalidArgument, "vireo_open: model is NULL; expected a path");
  const int precision = number_of(o.precision), head = number_of(o.head);
  if (precision < 0 || precision > VIREO_AUTO || head < 0 || head > VIREO_CLASS_MAP)
    return fail(ErrorCode::kInvalidArgument, "vireo_open: precision {} or head {} is not one of the list", precision,
                head);
  const std::string device_name = o.device == nullptr ? "auto" : o.device;
  ModelOptions how;
  if (o.weights != nullptr) how.weights = o.weights;
  VIREO_ASSIGN(Model model, Model::open(path, how));
  VIREO_ASSIGN(const Device device, device_of(device_name, o.threads, o.shared_weights));
  SessionOptions options;
  options.precision = Precision(precision);
  options.head = Head(head);
  options.batch = o.batch;
  options.height = o.height;
  options.width = o.width;
  options.fallback = device_name == "auto";
  options.recompute = o.no_recompute == 0;
  if (o.shared_weights != nullptr) options.shared_weights = o.shared_weights->weights;
  if (o.cache_dir != nullptr) options.cache_dir = o.cache_dir;
  if (o.latency_window != 0) options.latency_window = o.latency_window;
  if (o.on_inference != nullptr)
    options.on_inference = [call = o.on_inference, user = o.user](const Inference& i) {
      const vireo_inference c{i.ticket,
                              i.number,
                              i.ms,
                              i.preprocess_ms,
                              i.device.kind,
                              i.device.name,
                              i.device.reason,
                              i.fell_back ? 1 : 0,
                              i.recomputed ? 1 : 0};
      call(&c, user);
    };
  if (o.on_log != nullptr)
    device.on_log([call = o.on_log, user = o.user](const std::string& line) { call(line.c_str(), user); });
  VIREO_ASSIGN(Session session, Session::create(model, device, options));
  std::vector<std::string> labels;
  for (int i = 0; i < model.classes(); ++i) labels.push_back(model.label(i));
  return new vireo_session{std::move(model), std::move(session), std::move(labels)};
}

/// Gives `mine` to a program that knows struct_size bytes of it; a newer program's fields, unknown here, are 0.
template <typename T>
void give_sized(const T& mine, T* to, size_t struct_size) {
  std::memset(static_cast<void*>(to), 0, struct_size);
  std::memcpy(static_cast<void*>(to), &mine, std::min(struct_size, sizeof mine));
}

Result<void> give(const Output& from, vireo_output* to) {
  *to = vireo_output{from.data,        from.batch,       from.rows,          from.cols, vireo_scores(int(from.scores)),
                     from.device.kind, from.device.name, from.device.reason, from.ms,   from.preprocess_ms};
  return {};
}

static_assert(int(PixelFormat::kUyvy) == VIREO_UYVY && int(PixelFormat::kNv12) == VIREO_NV12, "the two lists agree");
static_assert(int(YuvRange::kFull) == VIREO_FULL_RANGE && int(YuvMatrix::kBt709) == VIREO_BT709, "the lists agree");
constexpr size_t kFirstPicture = offsetof(vireo_picture, rotation) + sizeof(int);  // what every program has

/// Numbers past an enumeration's stay past it.
template <class E, class C>
E enumerator(const C& field) {
  return E(std::min(std::max(number_of(field), -1), 254) & 0xFF);
}

Image image_of(const vireo_picture& p) {
  Image image;
  image.format = enumerator<PixelFormat>(p.format);
  image.width = p.width, image.height = p.height;
  image.rgb = p.plane[0], image.stride = p.stride[0];
  for (int i = 0; i < 2; ++i) image.chroma[i] = p.plane[i + 1], image.chroma_stride[i] = p.stride[i + 1];
  image.range = enumerator<YuvRange>(p.range);
  image.matrix = enumerator<YuvMatrix>(p.matrix);
  image.crop = {p.crop_x, p.crop_y, p.crop_width, p.crop_height};
  image.rotation = p.rotation;
  return image;
}

Result<void> check_count(const char* call, const vireo_session* session, int count) {
  if (count == session->session.batch()) return {};
  return fail(ErrorCode::kInvalidArgument, "{}: got {} pictures, expected the session's batch of {}", call, count,
              session->session.batch());
}

/// `result`: what the call fills, named so in messages.
Result<void> check(const char* call, const vireo_session* session, const void* input, const void* result,
                   const char* result_name = "output") {
  const char* missing = session == nullptr  ? "session"
                        : input == nullptr  ? "the input"
                        : result == nullptr ? result_name
                                            : nullptr;
  if (missing != nullptr) return fail(ErrorCode::kInvalidArgument, "{}: {} is NULL", call, missing);
  return {};
}

/// `call` is the function of the C ABI, for messages.
Result<std::vector<Image>> images_of(const char* call, const vireo_session* session, const vireo_picture* pictures,
                                     int count) {
  VIREO_TRY(check_count(call, session, count));
  const size_t each = pictures->struct_size;
  std::vector<Image> list;
  for (int i = 0; i < count; ++i) {
    vireo_picture mine;
    vireo_picture_init(&mine);
    const char* at = reinterpret_cast<const char*>(pictures) + size_t(i) * each;
    size_t size = 0;
    std::memcpy(&size, at, sizeof size);
    if (size < kFirstPicture || size != each)
      return fail(ErrorCode::kInvalidArgument,
                  "{}: struct_size of picture {} is {}; expected at least {}, the same for all: call "
                  "vireo_picture_init first",
                  call, i, size, kFirstPicture);
    std::memcpy(static_cast<void*>(&mine), at, std::min(size, sizeof mine));
    list.push_back(image_of(mine));
  }
  return list;
}

/// Of an array of `size` bytes; longer text is cut at a character.
void copy_text(const std::string& from, char* to, size_t size) {
  size_t end = std::min(from.size(), size - 1);
  while (end > 0 && end < from.size() && (static_cast<unsigned char>(from[end]) & 0xC0) == 0x80) --end;
  std::memset(to, 0, size);
  std::memcpy(to, from.data(), end);
}

}  // namespace
}  // namespace vireo

extern "C" {

const char* vireo_version(void) { return vireo::version(); }

void vireo_options_init_sized(vireo_options* options, size_t struct_size) {
  if (options == nullptr) return;
  vireo_options defaults{sizeof(vireo_options),
                         "auto",
                         VIREO_CHECKPOINT,
                         VIREO_LOGITS,
                         1,
                         0,
                         0,
                         0,
                         nullptr,
                         0,
                         nullptr,
                         nullptr,
                         nullptr,
                         nullptr,
                         0,
                         nullptr};
  defaults.struct_size = struct_size;
  vireo::give_sized(defaults, options, struct_size);
}

vireo_status vireo_open(const char* model, const vireo_options* options, vireo_session** session, vireo_error* error) {
  return vireo::guarded(error, [&]() -> vireo::Result<void> {
    if (session == nullptr) return vireo::fail(vireo::ErrorCode::kInvalidArgument, "vireo_open: session is NULL");
    *session = nullptr;
    vireo_options mine;
    vireo_options_init(&mine);
    if (options != nullptr) {
      if (options->struct_size < vireo::kFirstOptions)
        return vireo::fail(vireo::ErrorCode::kInvalidArgument,
                           "vireo_open: options.struct_size is {}; expected at least {}: call vireo_options_init first",
                           options->struct_size, vireo::kFirstOptions);
      std::memcpy(static_cast<void*>(&mine), options, std::min(options->struct_size, sizeof mine));
    }
    VIREO_ASSIGN(*session, vireo::open(model, mine));
    return {};
  });
}

void vireo_close(vireo_session* session) { delete session; }

vireo_status vireo_run_images(vireo_session* session, const vireo_image* images, int count, vireo_output* output,
                              vireo_error* error) {
  return vireo_run_images_map(session, images, count, 0, 0, output, error);
}

vireo_status vireo_run_images_map(vireo_session* session, const vireo_image* images, int count, int map_height,
                                  int map_width, vireo_output* output, vireo_error* error) {
  return vireo::guarded(error, [&]() -> vireo::Result<void> {
    VIREO_TRY(vireo::check("vireo_run_images", session, images, output));
    VIREO_TRY(vireo::check_count("vireo_run_images", session, count));  // before a single one of them is looked at
    std::vector<vireo::Image> list;
    for (int i = 0; i < count; ++i)
      list.push_back({images[i].rgb, images[i].width, images[i].height, images[i].stride});
    VIREO_ASSIGN(const vireo::Output out,
                 session->session.run(list.data(), count, vireo::MapSize{map_height, map_width}));
    return vireo::give(out, output);
  });
}

void vireo_picture_init_sized(vireo_picture* picture, size_t struct_size) {
  if (picture == nullptr) return;
  std::memset(static_cast<void*>(picture), 0, struct_size);  // every default is 0
  if (struct_size >= sizeof(size_t)) picture->struct_size = struct_size;
}

void vireo_picture_packed(vireo_picture* picture, vireo_pixel_format format, const uint8_t* bytes, int width,
                          int height) {
  if (picture == nullptr) return;
  const vireo::Image image = vireo::Image::packed(vireo::enumerator<vireo::PixelFormat>(format), bytes, width, height);
  picture->format = format;
  picture->width = width, picture->height = height;
  picture->plane[0] = bytes, picture->plane[1] = image.chroma[0], picture->plane[2] = image.chroma[1];
  picture->stride[0] = picture->stride[1] = picture->stride[2] = 0;
}

vireo_status vireo_run_pictures(vireo_session* session, const vireo_picture* pictures, int count, int map_height,
                                int map_width, vireo_output* output, vireo_error* error) {
  return vireo::guarded(error, [&]() -> vireo::Result<void> {
    VIREO_TRY(vireo::check("vireo_run_pictures", session, pictures, output));
    VIREO_ASSIGN(const std::vector<vireo::Image> list,
                 vireo::images_of("vireo_run_pictures", session, pictures, count));
    VIREO_ASSIGN(const vireo::Output out,
                 session->session.run(list.data(), count, vireo::MapSize{map_height, map_width}));
    return vireo::give(out, output);
  });
}

vireo_status vireo_run_rgb(vireo_session* session, const uint8_t* rgb, int width, int height, ptrdiff_t stride,
                           vireo_output* output, vireo_error* error) {
  return vireo::guarded(error, [&]() -> vireo::Result<void> {
    VIREO_TRY(vireo::check("vireo_run_rgb", session, rgb, output));
    VIREO_ASSIGN(const vireo::Output out, session->session.run(vireo::Image{rgb, width, height, stride}));
    return vireo::give(out, output);
  });
}

vireo_status vireo_run_pixels(vireo_session* session, const float* pixels, size_t count, vireo_output* output,
                              vireo_error* error) {
  return vireo::guarded(error, [&]() -> vireo::Result<void> {
    VIREO_TRY(vireo::check("vireo_run_pixels", session, pixels, output));
    VIREO_ASSIGN(const vireo::Output out, session->session.run(pixels, count));
    return vireo::give(out, output);
  });
}

vireo_status vireo_submit_pictures(vireo_session* session, const vireo_picture* pictures, int count, int map_height,
                                   int map_width, uint32_t* ticket, vireo_error* error) {
  return vireo::guarded(error, [&]() -> vireo::Result<void> {
    VIREO_TRY(vireo::check("vireo_submit_pictures", session, pictures, ticket, "ticket"));
    VIREO_ASSIGN(const std::vector<vireo::Image> list,
                 vireo::images_of("vireo_submit_pictures", session, pictures, count));
    VIREO_ASSIGN(const vireo::Ticket t,
                 session->session.submit(list.data(), count, vireo::MapSize{map_height, map_width}));
    *ticket = t.id;
    return {};
  });
}

vireo_status vireo_submit_pixels(vireo_session* session, const float* pixels, size_t count, uint32_t* ticket,
                                 vireo_error* error) {
  return vireo::guarded(error, [&]() -> vireo::Result<void> {
    VIREO_TRY(vireo::check("vireo_submit_pixels", session, pixels, ticket, "ticket"));
    VIREO_ASSIGN(const vireo::Ticket t, session->session.submit(pixels, count));
    *ticket = t.id;
    return {};
  });
}

vireo_status vireo_wait(vireo_session* session, uint32_t ticket, vireo_output* output, vireo_error* error) {
  return vireo::guarded(error, [&]() -> vireo::Result<void> {
    VIREO_TRY(vireo::check("vireo_wait", session, &ticket, output));
    VIREO_ASSIGN(const vireo::Output out, session->session.wait(vireo::Ticket{ticket}));
    return vireo::give(out, output);
  });
}

vireo_status vireo_profile_json(vireo_session* session, const float* pixels, size_t count, int runs, char** json,
                                vireo_error* error) {
  return vireo::guarded(error, [&]() -> vireo::Result<void> {
    if (json != nullptr) *json = nullptr;
    VIREO_TRY(vireo::check("vireo_profile_json", session, pixels, json, "json"));
    if (runs < 0)
      return vireo::fail(vireo::ErrorCode::kInvalidArgument,
                         "vireo_profile_json: runs is {}; expected 1 or more, or 0 for the default", runs);
    vireo::ProfileOptions options;
    if (runs > 0) options.runs = runs;
    VIREO_ASSIGN(const vireo::Profile profile, session->session.profile(pixels, count, options));
    const std::string text = vireo::profile_json(profile);
    char* const copy = static_cast<char*>(std::malloc(text.size() + 1));
    if (copy == nullptr) throw std::bad_alloc();
    std::memcpy(copy, text.c_str(), text.size() + 1);
    *json = copy;
    return {};
  });
}

void vireo_free_text(char* text) { std::free(text); }

int vireo_list_devices_sized(vireo_device* devices, int capacity, size_t struct_size) {
  int count = 0;
  vireo::guarded(nullptr, [&]() -> vireo::Result<void> {
    const std::vector<vireo::Device> all = vireo::Device::list();
    for (int i = 0; i < int(all.size()) && devices != nullptr && i < capacity; ++i) {
      const vireo::Device& d = all[size_t(i)];
      vireo_device mine{};
      const std::string kind = d.kind();
      vireo::copy_text(d.index() < 0 ? kind : kind + ":" + std::to_string(d.index()), mine.option, sizeof mine.option);
      vireo::copy_text(kind, mine.kind, sizeof mine.kind);
      vireo::copy_text(d.name(), mine.name, sizeof mine.name);
      mine.software = d.software() ? 1 : 0;
      char* const to = reinterpret_cast<char*>(devices) + size_t(i) * struct_size;
      std::memset(to, 0, struct_size);  // a newer program's fields that this library does not know
      std::memcpy(to, &mine, std::min(struct_size, sizeof mine));
    }
    count = int(all.size());
    return {};
  });
  return count;
}

vireo_status vireo_get_latency_sized(const vireo_session* session, vireo_latency* latency, size_t struct_size,
                                     vireo_error* error) {
  return vireo::guarded(error, [&]() -> vireo::Result<void> {
    if (session == nullptr || latency == nullptr)
      return vireo::fail(vireo::ErrorCode::kInvalidArgument, "vireo_get_latency: {} is NULL",
                         session == nullptr ? "session" : "latency");
    const vireo::Latency l = session->session.latency();
    const vireo_latency mine{l.count, l.window, l.last_ms, l.mean_ms, l.min_ms, l.p50_ms, l.p95_ms, l.p99_ms, l.max_ms};
    vireo::give_sized(mine, latency, struct_size);
    return {};
  });
}

vireo_shared_weights* vireo_shared_weights_open(void) {
  vireo_shared_weights* made = nullptr;
  vireo::guarded(nullptr, [&]() -> vireo::Result<void> {
    made = new vireo_shared_weights;
    return {};
  });
  return made;
}

void vireo_shared_weights_close(vireo_shared_weights* weights) { delete weights; }

vireo_status vireo_get_footprint_sized(const vireo_session* session, vireo_footprint* footprint, size_t struct_size,
                                       vireo_error* error) {
  return vireo::guarded(error, [&]() -> vireo::Result<void> {
    if (session == nullptr || footprint == nullptr)
      return vireo::fail(vireo::ErrorCode::kInvalidArgument, "vireo_get_footprint: {} is NULL",
                         session == nullptr ? "session" : "footprint");
    const vireo::Session::Footprint f = session->session.footprint();
    vireo::give_sized(vireo_footprint{f.arena_bytes, f.weights_bytes, f.shared_weights_bytes}, footprint, struct_size);
    return {};
  });
}

vireo_status vireo_governor_open(int levels, double fps, vireo_governor** governor, vireo_error* error) {
  return vireo::guarded(error, [&]() -> vireo::Result<void> {
    if (governor == nullptr)
      return vireo::fail(vireo::ErrorCode::kInvalidArgument, "vireo_governor_open: governor is NULL");
    *governor = nullptr;
    constexpr int kMost = 1000;
    if (levels < 1 || levels > kMost || !(fps > 0) || !std::isfinite(fps))
      return vireo::fail(vireo::ErrorCode::kInvalidArgument,
                         "vireo_governor_open: {} levels and {} frames a second; expected 1 to {} levels and a rate "
                         "above 0",
                         levels, fps, kMost);
    vireo::GovernorOptions options;
    options.fps = fps;
    *governor = new vireo_governor{vireo::Governor(levels, options)};
    return {};
  });
}

void vireo_governor_close(vireo_governor* governor) { delete governor; }

int vireo_governor_level(const vireo_governor* governor) {
  return governor == nullptr ? 0 : governor->governor.level();
}

int vireo_governor_frame(vireo_governor* governor, double ms, double now_s) {
  if (governor == nullptr) return 0;
  bool changed = false;
  vireo::guarded(nullptr, [&]() -> vireo::Result<void> {
    changed = governor->governor.frame(ms, now_s);
    return {};
  });
  return changed ? 1 : 0;
}

const char* vireo_governor_change(const vireo_governor* governor) {
  return governor == nullptr ? "" : governor->governor.last_change().sentence.c_str();
}

int vireo_governor_saturated(const vireo_governor* governor) {
  return governor != nullptr && governor->governor.saturated() ? 1 : 0;
}

int vireo_top_k(const vireo_output* logits, int item, int k, vireo_score* scores) {
  if (logits == nullptr || logits->data == nullptr || scores == nullptr || k <= 0 || item < 0 || item >= logits->batch)
    return 0;
  int count = 0;
  vireo::guarded(nullptr, [&]() -> vireo::Result<void> {
    vireo::Output out;
    out.data = logits->data;
    out.batch = logits->batch;
    out.rows = logits->rows;
    out.cols = logits->cols;
    if (logits->scores == VIREO_SIGMOID) out.scores = vireo::Scores::kSigmoid;
    for (const vireo::Score& s : vireo::top_k(out, k, item)) scores[count++] = vireo_score{s.index, s.value};
    return {};
  });
  return count;
}

const char* vireo_label(const vireo_session* session, int index) {
  if (session == nullptr || index < 0 || size_t(index) >= session->labels.size()) return "";
  return session->labels[size_t(index)].c_str();
}

int vireo_classes(const vireo_session* session) { return session == nullptr ? 0 : session->model.classes(); }
vireo_scores vireo_model_scores(const vireo_session* session) {
  return session == nullptr ? VIREO_SOFTMAX : vireo_scores(int(session->model.scores()));
}
vireo_task vireo_model_task(const vireo_session* session) {
  return session == nullptr ? VIREO_TASK_FEATURES : vireo_task(int(session->model.task()));
}
// A segmentation's answer has the size of its input.
int vireo_map_height(const vireo_session* session) {
  return vireo_model_task(session) == VIREO_TASK_SEGMENTATION ? session->session.input_height() : 0;
}
int vireo_map_width(const vireo_session* session) {
  return vireo_model_task(session) == VIREO_TASK_SEGMENTATION ? session->session.input_width() : 0;
}
int vireo_input_height(const vireo_session* session) {
  return session == nullptr ? 0 : session->session.input_height();
}
int vireo_input_width(const vireo_session* session) { return session == nullptr ? 0 : session->session.input_width(); }
int vireo_input_channels(const vireo_session* session) { return session == nullptr ? 0 : session->model.channels(); }
int vireo_batch(const vireo_session* session) { return session == nullptr ? 0 : session->session.batch(); }

}  // extern "C"
