// Runs a pipeline and prints what buffers carry when they come to its fakesinks: of `sink` a line for each buffer,
// `meta:` with the region, the answer and `as posted` where a message on the bus has the same structure, or `none`; of
// `other` the same behind `other: `, and `shared` where `sink` gets the same memory. read_meta PIPELINE
#include <gst/gst.h>
#include <gst/video/gstvideometa.h>

#include <cstdio>
#include <set>
#include <string>
#include <vector>

namespace {

struct Seen {
  GMutex lock;
  std::vector<std::string> lines, other;     // texts without what only the bus knows
  std::vector<std::string> answers;          // of `lines`; empty: none
  std::vector<GstMemory*> held, held_other;  // kept until the end, so that no address comes twice
};

std::string text_of(const GstStructure* s) {
  gchar* text = gst_structure_to_string(s);
  std::string r = text;
  g_free(text);
  return r;
}

GstPadProbeReturn look(Seen* seen, GstPadProbeInfo* info, bool other) {
  GstBuffer* buffer = GST_PAD_PROBE_INFO_BUFFER(info);
  std::string line = "none", answer;
  gpointer state = nullptr;
  while (GstMeta* meta = gst_buffer_iterate_meta(buffer, &state)) {
    if (meta->info->api != GST_VIDEO_REGION_OF_INTEREST_META_API_TYPE) continue;
    auto* roi = reinterpret_cast<GstVideoRegionOfInterestMeta*>(meta);
    if (std::string(g_quark_to_string(roi->roi_type)) != "vireo") continue;
    const GstStructure* s = gst_video_region_of_interest_meta_get_param(roi, "vireo");
    if (s == nullptr) continue;
    answer = text_of(s);
    line = "meta: " + std::to_string(roi->x) + "," + std::to_string(roi->y) + " " + std::to_string(roi->w) + "x" +
           std::to_string(roi->h) + " " + answer;
  }
  g_mutex_lock(&seen->lock);
  (other ? seen->other : seen->lines).push_back(line);
  if (!other) seen->answers.push_back(answer);
  (other ? seen->held_other : seen->held).push_back(gst_buffer_get_memory(buffer, 0));
  g_mutex_unlock(&seen->lock);
  return GST_PAD_PROBE_OK;
}

GstPadProbeReturn look_at_sink(GstPad*, GstPadProbeInfo* info, gpointer seen) {
  return look(static_cast<Seen*>(seen), info, false);
}
GstPadProbeReturn look_at_other(GstPad*, GstPadProbeInfo* info, gpointer seen) {
  return look(static_cast<Seen*>(seen), info, true);
}

bool probe(GstElement* pipeline, const char* name, GstPadProbeCallback call, Seen* seen) {
  GstElement* sink = gst_bin_get_by_name(GST_BIN(pipeline), name);
  if (sink == nullptr) return false;
  GstPad* pad = gst_element_get_static_pad(sink, "sink");
  gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, call, seen, nullptr);
  gst_object_unref(pad);
  gst_object_unref(sink);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  gst_init(&argc, &argv);
  if (argc != 2) return 2;
  GError* error = nullptr;
  GstElement* pipeline = gst_parse_launch(argv[1], &error);
  if (pipeline == nullptr || error != nullptr) {
    std::fprintf(stderr, "read_meta: %s\n", error != nullptr ? error->message : "no pipeline");
    return 1;
  }
  Seen seen;
  g_mutex_init(&seen.lock);
  if (!probe(pipeline, "sink", look_at_sink, &seen)) return 2;
  probe(pipeline, "other", look_at_other, &seen);
  gst_element_set_state(pipeline, GST_STATE_PLAYING);
  std::set<std::string> posted;
  GstBus* bus = gst_element_get_bus(pipeline);
  int code = -1;
  while (code < 0) {
    GstMessage* m = gst_bus_timed_pop_filtered(
        bus, GST_CLOCK_TIME_NONE, GstMessageType(GST_MESSAGE_EOS | GST_MESSAGE_ERROR | GST_MESSAGE_ELEMENT));
    if (GST_MESSAGE_TYPE(m) == GST_MESSAGE_ELEMENT) posted.insert(text_of(gst_message_get_structure(m)));
    else code = GST_MESSAGE_TYPE(m) == GST_MESSAGE_EOS ? 0 : 1;
    gst_message_unref(m);
  }
  gst_element_set_state(pipeline, GST_STATE_NULL);
  for (size_t i = 0; i < seen.lines.size(); ++i)
    std::printf("%s%s\n", seen.lines[i].c_str(), posted.count(seen.answers[i]) ? " as posted" : "");
  for (size_t i = 0; i < seen.other.size(); ++i)
    std::printf("other: %s%s\n", seen.other[i].c_str(),
                i < seen.held.size() && seen.held[i] == seen.held_other[i] ? " shared" : "");
  for (const auto* held : {&seen.held, &seen.held_other})
    for (GstMemory* m : *held) gst_memory_unref(m);
  gst_object_unref(bus);
  gst_object_unref(pipeline);
  return code;
}
