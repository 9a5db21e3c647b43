#include "profile_page.h"

#include "page.h"

namespace cli {

std::string profile_page(const Json& profiles, const Json& comparison) {
  return html_page("vireo profile", "profile.js", Json{{"profiles", profiles}, {"comparison", comparison}});
}

Json parse_profile(const std::string& text, const std::string& path) {
  constexpr int kDeepest = 32;  // a profile nests six deep; printing what nests much deeper would run out of stack
  bool deep = false;
  Json j = Json::parse(
      text, [&deep](int depth, Json::parse_event_t, Json&) { return depth <= kDeepest || !(deep = true); }, false);
  if (deep)
    throw Failure("'" + path + "' is no profile: it nests deeper than any; write it anew with `vireo profile --json`");
  std::string schema = j.is_object() ? "none" : "no JSON object";
  if (j.is_object() && j.contains("schema"))
    schema = j["schema"].is_string() ? j["schema"].get<std::string>() : vireo::write_json(j["schema"]).substr(0, 40);
  if (schema != "vireo-profile/1")
    throw Failure("'" + path + "' is no profile: its schema is '" + schema +
                  "', expected 'vireo-profile/1'; write it anew with `vireo profile --json`");
  const auto is = [&](const char* key, bool right) {
    if (!right)
      throw Failure("'" + path + "' is damaged: '" + key +
                    "' is missing or of another type; write it anew with `vireo profile --json`");
  };
  is("model", j.contains("model") && j["model"].is_string());
  is("device", j.contains("device") && j["device"].is_object() && j["device"].contains("name") &&
                   j["device"]["name"].is_string());
  for (const char* key : {"wall_us", "serialised_us", "scheduled_us", "overlap_us", "arena_bytes", "weights_bytes"})
    is(key, j.contains(key) && j[key].is_number());
  for (const char* key : {"host_us", "roofs"}) is(key, j.contains(key) && j[key].is_object());
  is("dispatches", j.contains("dispatches") && j["dispatches"].is_array());
  for (const Json& d : j["dispatches"]) {
    is("dispatches", d.is_object());
    for (const char* key : {"name", "op", "kernel", "device"}) is(key, d.contains(key) && d[key].is_string());
    for (const char* key : {"part", "flops", "bytes", "begin_us", "scheduled_us", "serialised_us", "roof_us"})
      is(key, d.contains(key) && d[key].is_number());
    is("groups", d.contains("groups") && d["groups"].is_array());
  }
  return j;
}

}  // namespace cli
