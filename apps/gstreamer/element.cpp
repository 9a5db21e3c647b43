// The GStreamer element `vireo`: frames pass through, and each one (or every Nth) is run through a model. Answers are
// element messages on the pipeline's bus and metadata of the buffers; a segmentation's may be drawn over the frames.
//
//   gst-launch-1.0 -m v4l2src ! vireo model=models/fashion-vit ! fakesink
//   gst-launch-1.0 v4l2src ! vireo model=models/disaster-upernet overlay=true ! videoconvert ! autovideosink
#include <gst/gst.h>
#include <gst/video/gstvideofilter.h>
#include <gst/video/video.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>
#include <vireo/vireo.hpp>

#include "overlay.h"

namespace {

GST_DEBUG_CATEGORY_STATIC(debug);
#define GST_CAT_DEFAULT debug

/// What the caps of both pads say; in the order of PixelFormat.
constexpr const char* kCaps = GST_VIDEO_CAPS_MAKE(
    "{ NV12, NV21, I420, YV12, Y42B, Y444, YUY2, UYVY, RGB, BGR, RGBx, BGRx, RGBA, BGRA, GRAY8, "
    "GRAY16_LE }");

bool pixel_format(GstVideoFormat from, vireo::PixelFormat* to) {
  switch (from) {
    case GST_VIDEO_FORMAT_NV12: return *to = vireo::PixelFormat::kNv12, true;
    case GST_VIDEO_FORMAT_NV21: return *to = vireo::PixelFormat::kNv21, true;
    case GST_VIDEO_FORMAT_I420:
    case GST_VIDEO_FORMAT_YV12: return *to = vireo::PixelFormat::kI420, true;
    case GST_VIDEO_FORMAT_Y42B: return *to = vireo::PixelFormat::kI422, true;
    case GST_VIDEO_FORMAT_Y444: return *to = vireo::PixelFormat::kI444, true;
    case GST_VIDEO_FORMAT_YUY2: return *to = vireo::PixelFormat::kYuyv, true;
    case GST_VIDEO_FORMAT_UYVY: return *to = vireo::PixelFormat::kUyvy, true;
    case GST_VIDEO_FORMAT_RGB: return *to = vireo::PixelFormat::kRgb, true;
    case GST_VIDEO_FORMAT_BGR: return *to = vireo::PixelFormat::kBgr, true;
    case GST_VIDEO_FORMAT_RGBx:
    case GST_VIDEO_FORMAT_RGBA: return *to = vireo::PixelFormat::kRgba, true;
    case GST_VIDEO_FORMAT_BGRx:
    case GST_VIDEO_FORMAT_BGRA: return *to = vireo::PixelFormat::kBgra, true;
    case GST_VIDEO_FORMAT_GRAY8: return *to = vireo::PixelFormat::kGrey, true;
    case GST_VIDEO_FORMAT_GRAY16_LE: return *to = vireo::PixelFormat::kGrey16, true;
    default: return false;
  }
}

/// What is there while the element is not stopped.
struct State {
  vireo::Model model;
  vireo::Device device;
  vireo::SessionOptions options;
  std::unique_ptr<vireo::Session> session;
  guint64 frames = 0;
  std::vector<float> classes;  // of the last frame that was run, for the overlay of those that pass
  bool overlay = false;        // the property at the start, which decided whether frames may be written
};

struct Vireo {
  GstVideoFilter parent;
  gchar *model, *device, *precision, *weights, *task, *preprocess;
  guint interval, top, rotation;
  gboolean overlay, metadata;
  gint threads;
  State* state;
};
struct VireoClass {
  GstVideoFilterClass parent;
};

G_DEFINE_TYPE(Vireo, vireo_element, GST_TYPE_VIDEO_FILTER)

enum Property {
  kModel = 1,
  kDevice,
  kPrecision,
  kWeights,
  kInterval,
  kTop,
  kRotation,
  kThreads,
  kTask,
  kOverlay,
  kPreprocess,
  kMetadata
};

Vireo* self_of(gpointer object) { return reinterpret_cast<Vireo*>(object); }

// ---------------------------------------------------------------------------------------------------------- opening

void report(Vireo* self, const vireo::Error& error) {
  const char* text = error.message.c_str();
  switch (error.code) {
    case vireo::ErrorCode::kNotFound: GST_ELEMENT_ERROR(self, RESOURCE, NOT_FOUND, ("%s", text), (nullptr)); break;
    case vireo::ErrorCode::kIo: GST_ELEMENT_ERROR(self, RESOURCE, READ, ("%s", text), (nullptr)); break;
    case vireo::ErrorCode::kInvalidArgument: GST_ELEMENT_ERROR(self, LIBRARY, SETTINGS, ("%s", text), (nullptr)); break;
    case vireo::ErrorCode::kOutOfMemory:
      GST_ELEMENT_ERROR(self, RESOURCE, NO_SPACE_LEFT, ("%s", text), (nullptr));
      break;
    default: GST_ELEMENT_ERROR(self, LIBRARY, FAILED, ("%s", text), (nullptr)); break;
  }
}

vireo::Error wrong(const std::string& message) { return {vireo::ErrorCode::kInvalidArgument, message}; }

vireo::Result<vireo::Device> device_of(const std::string& name, int threads) {
  if (name == "auto") return vireo::Device::best(threads);
  if (name == "cpu") return vireo::Device::cpu(threads);
  if (name == "vulkan") return vireo::Device::best_vulkan(threads);
  const std::string numbered = "vulkan:";
  if (name.compare(0, numbered.size(), numbered) == 0 && name.size() > numbered.size() &&
      name.size() < numbered.size() + 4 && name.find_first_not_of("0123456789", numbered.size()) == std::string::npos)
    return vireo::Device::vulkan(std::stoi(name.substr(numbered.size())), threads);
  return wrong("device is '" + name + "'; expected auto, cpu, vulkan or vulkan:N");
}

vireo::Result<vireo::Precision> precision_of(const std::string& name) {
  for (const vireo::Precision p : {vireo::Precision::kFp32, vireo::Precision::kFp16, vireo::Precision::kInt8,
                                   vireo::Precision::kCheckpoint, vireo::Precision::kW8A8, vireo::Precision::kAuto})
    if (name == vireo::to_string(p)) return p;
  return wrong("precision is '" + name + "'; expected fp32, fp16, int8, w8a8, checkpoint or auto");
}

vireo::Result<vireo::Preprocess> preprocess_of(const std::string& name) {
  for (const vireo::Preprocess p : {vireo::Preprocess::kAuto, vireo::Preprocess::kCpu, vireo::Preprocess::kGpu})
    if (name == vireo::to_string(p)) return p;
  return wrong("preprocess is '" + name + "'; expected auto, cpu or gpu");
}

/// What is asked of the model.
vireo::Result<vireo::Head> head_of(const vireo::Model& model, const std::string& task) {
  const bool segments = model.task() == vireo::Task::kSegmentation;
  if (task == "auto")
    return segments ? vireo::Head::kClassMap : model.classes() > 0 ? vireo::Head::kLogits : vireo::Head::kFeatures;
  const auto cannot = [&](const char* what) {
    return wrong("task is '" + task + "', but the model '" + model.name() + "' " + what + "; expected auto");
  };
  if (task == "segment") return segments ? vireo::Result<vireo::Head>(vireo::Head::kClassMap) : cannot("has no map");
  if (task != "classify" && task != "embed")
    return wrong("task is '" + task + "'; expected auto, classify, segment or embed");
  if (segments) return cannot("segments");
  if (task == "embed") return vireo::Head::kFeatures;
  return model.classes() > 0 ? vireo::Result<vireo::Head>(vireo::Head::kLogits) : cannot("has no classes");
}

vireo::Result<void> open_session(State* state, int height, int width) {
  state->options.height = height, state->options.width = width;
  vireo::Result<vireo::Session> session = vireo::Session::create(state->model, state->device, state->options);
  if (!session) return session.error();
  state->session = std::make_unique<vireo::Session>(std::move(*session));
  return {};
}

vireo::Result<State*> open_state(const Vireo* self) {
  if (self->model == nullptr) return wrong("the property 'model' is not set; expected a checkpoint's folder or file");
  vireo::ModelOptions which;
  if (self->weights != nullptr) which.weights = self->weights;
  vireo::Result<vireo::Model> model = vireo::Model::open(self->model, which);
  if (!model) return model.error();
  vireo::Result<vireo::Device> device = device_of(self->device, self->threads);
  if (!device) return device.error();
  const vireo::Result<vireo::Precision> precision = precision_of(self->precision);
  if (!precision) return precision.error();
  auto state = std::make_unique<State>(State{std::move(*model), std::move(*device), {}, nullptr, 0, {}});
  state->options.precision = *precision;
  state->options.fallback = std::string(self->device) == "auto";
  const vireo::Result<vireo::Head> head = head_of(state->model, self->task);
  if (!head) return head.error();
  state->options.head = *head;
  const vireo::Result<vireo::Preprocess> preprocess = preprocess_of(self->preprocess);
  if (!preprocess) return preprocess.error();
  state->options.preprocess = *preprocess;
  if (self->overlay && *head != vireo::Head::kClassMap)
    return wrong("overlay draws the classes of pixels, and the model '" + state->model.name() + "' gives none");
  state->overlay = self->overlay;
  if (!state->model.keeps_proportions()) {  // else the caps say which size
    if (const vireo::Result<void> opened = open_session(state.get(), 0, 0); !opened) return opened.error();
  }
  return state.release();
}

gboolean start(GstBaseTransform* base) {
  Vireo* self = self_of(base);
  vireo::Result<State*> state = open_state(self);
  if (!state) return report(self, state.error()), FALSE;
  self->state = *state;
  // Frames that are only looked at are not changed: no copy of a buffer that others read too.
  gst_base_transform_set_passthrough(base, !self->state->overlay);
  return TRUE;
}

/// The buffer that leaves. One that others hold too takes no metadata; a copy that shares its memory does.
GstFlowReturn prepare_output_buffer(GstBaseTransform* base, GstBuffer* in, GstBuffer** out) {
  const Vireo* self = self_of(base);
  if (!gst_base_transform_is_passthrough(base) || !self->metadata || gst_buffer_is_writable(in))
    return GST_BASE_TRANSFORM_CLASS(vireo_element_parent_class)->prepare_output_buffer(base, in, out);
  *out = gst_buffer_copy(in);
  return *out != nullptr ? GST_FLOW_OK : GST_FLOW_ERROR;
}

gboolean stop(GstBaseTransform* base) {
  Vireo* self = self_of(base);
  delete self->state;
  self->state = nullptr;
  return TRUE;
}

gboolean set_info(GstVideoFilter* filter, GstCaps*, GstVideoInfo* info, GstCaps*, GstVideoInfo*) {
  Vireo* self = self_of(filter);
  if (self->state != nullptr) self->state->classes.clear();  // of frames of another size
  if (self->state == nullptr || !self->state->model.keeps_proportions()) return TRUE;
  const bool turned = self->rotation % 180 != 0;
  const int width = GST_VIDEO_INFO_WIDTH(info), height = GST_VIDEO_INFO_HEIGHT(info);
  int h = 0, w = 0;
  self->state->model.input_size_for(turned ? height : width, turned ? width : height, &h, &w);
  if (const vireo::Result<void> opened = open_session(self->state, h, w); !opened)
    return report(self, opened.error()), FALSE;
  return TRUE;
}

// ---------------------------------------------------------------------------------------------------------- answers

void append(GValue* list, GstStructure* entry) {
  GValue value = G_VALUE_INIT;
  g_value_init(&value, GST_TYPE_STRUCTURE);
  g_value_take_boxed(&value, entry);
  gst_value_array_append_and_take_value(list, &value);
}

/// The classes of an answer, the largest first: scores of a picture, or shares of its pixels.
void add_classes(const Vireo* self, const vireo::Output& out, GstStructure* to) {
  GValue list = G_VALUE_INIT;
  g_value_init(&list, GST_TYPE_ARRAY);
  const State& state = *self->state;
  const auto entry = [&](int index, const char* what, double value) {
    append(&list, gst_structure_new("class", "index", G_TYPE_INT, index, "label", G_TYPE_STRING,
                                    state.model.label(index).c_str(), what, G_TYPE_DOUBLE, value, nullptr));
  };
  if (state.options.head == vireo::Head::kLogits) {
    for (const vireo::Score& s : vireo::top_k(out, int(self->top))) entry(s.index, "score", double(s.value));
  } else {
    std::vector<std::pair<int, int>> counts;  // pixels, class
    for (int c = 0; c < state.model.classes(); ++c) counts.emplace_back(0, c);
    for (int i = 0; i < out.rows; ++i) {
      const int c = int(out.data[i]);
      if (c >= 0 && c < state.model.classes()) ++counts[size_t(c)].first;
    }
    std::stable_sort(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    for (size_t i = 0; i < counts.size() && i < self->top && counts[i].first > 0; ++i)
      entry(counts[i].second, "share", double(counts[i].first) / double(out.rows));
  }
  gst_structure_take_value(to, "classes", &list);
  if (out.height > 0)
    gst_structure_set(to, "map-width", G_TYPE_INT, out.width, "map-height", G_TYPE_INT, out.height, nullptr);
}

void add_features(const vireo::Output& out, GstStructure* to) {
  GValue list = G_VALUE_INIT;
  g_value_init(&list, GST_TYPE_ARRAY);
  for (int i = 0; i < out.cols; ++i) {
    GValue value = G_VALUE_INIT;
    g_value_init(&value, G_TYPE_DOUBLE);
    g_value_set_double(&value, double(out.data[i]));
    gst_value_array_append_and_take_value(&list, &value);
  }
  gst_structure_take_value(to, "features", &list);
}

/// The answer as a region of interest that is the whole frame: GStreamer's own kind of metadata, which programs read
/// without a header of ours.
void attach(GstVideoFrame* frame, const GstStructure* answer) {
  GstVideoRegionOfInterestMeta* meta = gst_buffer_add_video_region_of_interest_meta(
      frame->buffer, "vireo", 0, 0, guint(GST_VIDEO_FRAME_WIDTH(frame)), guint(GST_VIDEO_FRAME_HEIGHT(frame)));
  gst_video_region_of_interest_meta_add_param(meta, gst_structure_copy(answer));
}

vireo::Image image_of(const Vireo* self, GstVideoFrame* frame) {
  const auto data = [&](guint plane) { return static_cast<const uint8_t*>(GST_VIDEO_FRAME_PLANE_DATA(frame, plane)); };
  vireo::Image image;
  (void)pixel_format(GST_VIDEO_FRAME_FORMAT(frame), &image.format);  // the caps have no other
  image.rgb = data(0);
  image.width = GST_VIDEO_FRAME_WIDTH(frame), image.height = GST_VIDEO_FRAME_HEIGHT(frame);
  image.stride = GST_VIDEO_FRAME_PLANE_STRIDE(frame, 0);
  const guint planes = GST_VIDEO_FRAME_N_PLANES(frame);
  const bool swapped = GST_VIDEO_FRAME_FORMAT(frame) == GST_VIDEO_FORMAT_YV12;  // V before U
  for (guint p = 1; p < planes && p < 3; ++p) {
    const guint from = swapped ? 3 - p : p;
    image.chroma[p - 1] = data(from);
    image.chroma_stride[p - 1] = GST_VIDEO_FRAME_PLANE_STRIDE(frame, from);
  }
  const GstVideoColorimetry& colours = GST_VIDEO_INFO_COLORIMETRY(&frame->info);
  if (colours.range == GST_VIDEO_COLOR_RANGE_0_255) image.range = vireo::YuvRange::kFull;
  if (colours.matrix == GST_VIDEO_COLOR_MATRIX_BT709) image.matrix = vireo::YuvMatrix::kBt709;
  image.rotation = int(self->rotation);
  return image;
}

GstFlowReturn transform(GstVideoFilter* filter, GstVideoFrame* frame) {
  Vireo* self = self_of(filter);
  State& state = *self->state;
  const guint64 number = state.frames++;
  const auto draw = [&] {
    if (state.overlay && !state.classes.empty())
      vireo_gst::draw_classes(frame, state.classes.data(), int(self->rotation), state.model.classes());
  };
  if (number % self->interval != 0) return draw(), GST_FLOW_OK;
  const vireo::Image image = image_of(self, frame);
  // The map of the frame's own size where it is drawn, else the model's, which costs less.
  const vireo::MapSize size =
      state.overlay ? vireo::MapSize{image.upright_height(), image.upright_width()} : vireo::MapSize{};
  const vireo::Result<vireo::Output> out = state.session->run(&image, 1, size);
  if (!out) return report(self, out.error()), GST_FLOW_ERROR;
  GstStructure* answer =
      gst_structure_new("vireo", "frame", G_TYPE_UINT64, number, "timestamp", G_TYPE_UINT64,
                        GST_BUFFER_PTS(frame->buffer), "ms", G_TYPE_DOUBLE, out->ms, "preprocess-ms", G_TYPE_DOUBLE,
                        out->preprocess_ms, "device", G_TYPE_STRING, out->device.name, nullptr);
  if (*out->device.reason != '\0') gst_structure_set(answer, "reason", G_TYPE_STRING, out->device.reason, nullptr);
  if (state.options.head == vireo::Head::kFeatures) add_features(*out, answer);
  else add_classes(self, *out, answer);
  if (state.overlay) state.classes.assign(out->data, out->data + out->rows);
  draw();
  if (self->metadata && gst_buffer_is_writable(frame->buffer)) attach(frame, answer);
  gst_element_post_message(GST_ELEMENT(self), gst_message_new_element(GST_OBJECT(self), answer));
  return GST_FLOW_OK;
}

// ------------------------------------------------------------------------------------------------------- the element

void set_property(GObject* object, guint id, const GValue* value, GParamSpec* spec) {
  Vireo* self = self_of(object);
  // NULL is the default.
  const auto text = [&](gchar** to, const char* otherwise) {
    g_free(*to);
    *to = g_value_get_string(value) != nullptr ? g_value_dup_string(value) : g_strdup(otherwise);
  };
  switch (id) {
    case kModel: return text(&self->model, nullptr);
    case kDevice: return text(&self->device, "auto");
    case kPrecision: return text(&self->precision, "checkpoint");
    case kWeights: return text(&self->weights, nullptr);
    case kTask: return text(&self->task, "auto");
    case kPreprocess: return text(&self->preprocess, "auto");
    case kOverlay: self->overlay = g_value_get_boolean(value); return;
    case kMetadata: self->metadata = g_value_get_boolean(value); return;
    case kInterval: self->interval = g_value_get_uint(value); return;
    case kTop: self->top = g_value_get_uint(value); return;
    case kThreads: self->threads = g_value_get_int(value); return;
    case kRotation: self->rotation = g_value_get_uint(value); return;
    default: G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
  }
}

void get_property(GObject* object, guint id, GValue* value, GParamSpec* spec) {
  const Vireo* self = self_of(object);
  switch (id) {
    case kModel: return g_value_set_string(value, self->model);
    case kDevice: return g_value_set_string(value, self->device);
    case kPrecision: return g_value_set_string(value, self->precision);
    case kWeights: return g_value_set_string(value, self->weights);
    case kTask: return g_value_set_string(value, self->task);
    case kPreprocess: return g_value_set_string(value, self->preprocess);
    case kOverlay: return g_value_set_boolean(value, self->overlay);
    case kMetadata: return g_value_set_boolean(value, self->metadata);
    case kInterval: return g_value_set_uint(value, self->interval);
    case kTop: return g_value_set_uint(value, self->top);
    case kThreads: return g_value_set_int(value, self->threads);
    case kRotation: return g_value_set_uint(value, self->rotation);
    default: G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
  }
}

void finalize(GObject* object) {
  Vireo* self = self_of(object);
  for (gchar* text : {self->model, self->device, self->precision, self->weights, self->task, self->preprocess})
    g_free(text);
  delete self->state;
  G_OBJECT_CLASS(vireo_element_parent_class)->finalize(object);
}

void vireo_element_init(Vireo* self) {
  self->device = g_strdup("auto");
  self->precision = g_strdup("checkpoint");
  self->task = g_strdup("auto");
  self->preprocess = g_strdup("auto");
  self->interval = 1;
  self->top = 5;
  self->metadata = TRUE;
  gst_base_transform_set_passthrough(GST_BASE_TRANSFORM(self), TRUE);
}

void vireo_element_class_init(VireoClass* klass) {
  GObjectClass* object = G_OBJECT_CLASS(klass);
  object->set_property = set_property;
  object->get_property = get_property;
  object->finalize = finalize;
  const auto flags = GParamFlags(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS);
  const auto add = [&](guint id, GParamSpec* spec) { g_object_class_install_property(object, id, spec); };
  add(kModel, g_param_spec_string("model", "Model", "Checkpoint: a Hugging Face or timm folder, or a .safetensors file",
                                  nullptr, flags));
  add(kDevice,
      g_param_spec_string("device", "Device", "auto (a GPU, else the CPU), cpu, vulkan or vulkan:N", "auto", flags));
  add(kPrecision,
      g_param_spec_string("precision", "Precision", "fp32, fp16, int8, w8a8, checkpoint or auto", "checkpoint", flags));
  add(kWeights,
      g_param_spec_string("weights", "Weights",
                          "Which network where a checkpoint holds several: the prefix of its tensors", nullptr, flags));
  add(kInterval,
      g_param_spec_uint("interval", "Interval", "Run every Nth frame; the others pass", 1, G_MAXUINT, 1, flags));
  add(kTop, g_param_spec_uint("top", "Top", "How many classes a message has at most", 1, 1000000, 5, flags));
  add(kRotation, g_param_spec_uint("rotation", "Rotation",
                                   "Degrees clockwise that turn frames upright for the model: 0, 90, 180 or 270", 0,
                                   270, 0, flags));
  add(kThreads, g_param_spec_int("threads", "Threads", "CPU threads; 0 = all cores", 0, 1024, 0, flags));

  add(kTask, g_param_spec_string("task", "Task",
                                 "auto (what the model was made for), classify, segment or embed (feature vectors of a "
                                 "classifier or trunk)",
                                 "auto", flags));
  add(kOverlay, g_param_spec_boolean("overlay", "Overlay",
                                     "Draw the colours of a segmentation's classes over the frames, those of the last "
                                     "frame that was run over frames between",
                                     FALSE, flags));
  add(kPreprocess,
      g_param_spec_string("preprocess", "Preprocess",
                          "Where frames become the network's input, with the same numbers: auto, cpu or gpu", "auto",
                          flags));
  add(kMetadata, g_param_spec_boolean("metadata", "Metadata",
                                      "Attach the answer to the buffer: GstVideoRegionOfInterestMeta of type 'vireo', "
                                      "the whole frame, whose parameter 'vireo' is the message's structure",
                                      TRUE, flags));

  GstElementClass* element = GST_ELEMENT_CLASS(klass);
  gst_element_class_set_static_metadata(element, "Vision Transformers", "Filter/Analyzer/Video",
                                        "Runs frames through a Vision Transformer on Vulkan or the CPU, posts the "
                                        "answers as element messages 'vireo', attaches "
                                        "them to the buffers and draws those of segmentations",
                                        "Vireo");
  for (const auto& [name, direction] : {std::make_pair("sink", GST_PAD_SINK), std::make_pair("src", GST_PAD_SRC)}) {
    GstCaps* caps = gst_caps_from_string(kCaps);
    gst_element_class_add_pad_template(element, gst_pad_template_new(name, direction, GST_PAD_ALWAYS, caps));
    gst_caps_unref(caps);
  }
  GstBaseTransformClass* base = GST_BASE_TRANSFORM_CLASS(klass);
  base->start = start;
  base->stop = stop;
  base->prepare_output_buffer = prepare_output_buffer;
  base->transform_ip_on_passthrough = TRUE;
  GstVideoFilterClass* filter = GST_VIDEO_FILTER_CLASS(klass);
  filter->set_info = set_info;
  filter->transform_frame_ip = transform;
}

gboolean plugin_init(GstPlugin* plugin) {
  GST_DEBUG_CATEGORY_INIT(debug, "vireo", 0, "Vision Transformers");
  return gst_element_register(plugin, "vireo", GST_RANK_NONE, vireo_element_get_type());
}

}  // namespace

#define PACKAGE "vireo"
// Not the version of the headers at hand: GStreamer refuses plugins that ask for a newer one than it is.
GST_PLUGIN_DEFINE(1, 14, vireo, "Vision Transformers on Vulkan and the CPU", plugin_init, VIREO_VERSION, "MIT/X11",
                  "Vireo", "Vireo")
