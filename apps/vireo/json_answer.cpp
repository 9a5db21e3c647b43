#include "json_answer.h"

#include <cstdio>

namespace cli {

JsonAnswer::~JsonAnswer() {
  if (begun_ && !finished_) std::printf("\n  ]\n}\n");
}

void JsonAnswer::begin() {
  if (!begun_) std::printf("{\n  \"results\": [");
  begun_ = true;
}

void JsonAnswer::add(const Json& entry) {
  if (!at_once_) return kept_.push_back(entry);
  begin();
  const std::string text = vireo::write_json(entry);
  std::printf("%s\n    %s", printed_++ > 0 ? "," : "", text.c_str());
  flush_output();
}

void JsonAnswer::finish(const Json& rest) {
  if (!at_once_) {
    Json all = rest;
    all["results"] = std::move(kept_);
    return print_json(all);
  }
  begin();
  finished_ = true;
  const std::string text = vireo::write_json(rest, 2);
  std::printf("%s],%s\n", printed_ > 0 ? "\n  " : "", text.c_str() + 1);  // goes on in the object begun above
}

vireo::Image frame_shape(const Common& common) {
  vireo::Image frame;
  frame.width = common.frame_width, frame.height = common.frame_height;
  if (!common.frame_format.empty())
    (void)parse_pixel_format(common.frame_format, &frame.format);  // the check saw to it
  frame.range = common.frame_range, frame.matrix = common.frame_matrix;
  frame.rotation = common.frame_rotation;
  return frame;
}

void add_preprocessing(Json& json, const vireo::Session& session) {
  const vireo::DeviceUsed used = session.preprocessing();
  if (*used.kind != 0) json["preprocessing"] = Json{{"kind", used.kind}, {"reason", used.reason}};
}

void tell_preprocessing(const Common& common, const vireo::Session& session) {
  const vireo::DeviceUsed used = session.preprocessing();
  if (common.preprocess == vireo::Preprocess::kGpu && *used.reason != 0)
    std::fprintf(stderr, "note: pictures were prepared by the CPU: %s\n", used.reason);
}

}  // namespace cli
