// A profile as JSON, CSV and Chrome's trace format.
#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "base/json.h"
#include "profile/text.h"

#include <vireo/profile.hpp>

namespace vireo {
namespace {

using Json = OrderedJson;

std::string text(const Json& j, int indent) {
  return write_json(j, indent);  // drivers choose their own names
}

/// null where nothing is known; a number that the driver does not give is null.
Json compiler(const CompilerStatistics& c) {
  if (!c.subgroup_size && c.values.empty()) return nullptr;
  const auto number = [](double x) { return x < 0 ? Json() : Json(x); };
  Json values = Json::object();
  for (const CompilerStatistics::Value& v : c.values) values[v.name] = std::isfinite(v.value) ? v.value : 0.0;
  return {{"subgroup_size", c.subgroup_size},
          {"registers", number(c.registers)},
          {"spills", number(c.spills)},
          {"instructions", number(c.instructions)},
          {"code_bytes", number(c.code_bytes)},
          {"local_bytes", number(c.local_bytes)},
          {"subgroups_per_core", number(c.subgroups_per_core)},
          {"statistics", values}};
}

Json phases(const PhaseProfile& p) {
  if (!p.workgroups) return nullptr;
  const auto part = [](const PhaseProfile::Part& x) {
    return Json{
        {"share", rounded(x.share)}, {"mean_ticks", rounded(x.mean_ticks)}, {"max_ticks", rounded(x.max_ticks)}};
  };
  return {{"workgroups", p.workgroups}, {"load", part(p.load)}, {"compute", part(p.compute)}, {"store", part(p.store)}};
}

/// null on the CPU.
Json instructions(const std::vector<std::pair<std::string, double>>& classes) {
  if (classes.empty()) return nullptr;
  Json j = Json::object();
  for (const auto& c : classes) j[c.first] = rounded(c.second);
  return j;
}

Json row(const Profile& p, const DispatchProfile& d) {
  const double us = d.serialised_us;
  return Json{{"step", d.step},
              {"part", d.part},
              {"name", d.name},
              {"label", d.label},
              {"op", d.op},
              {"kernel", d.kernel},
              {"shader", d.shader},
              {"spec", d.spec},
              {"groups", {d.groups[0], d.groups[1], d.groups[2]}},
              {"device", d.cpu ? "cpu" : p.device_kind},
              {"flops", d.flops},
              {"bytes", d.bytes},
              {"begin_us", rounded(d.begin_us)},
              {"scheduled_us", rounded(d.scheduled_us)},
              {"serialised_us", rounded(us)},
              {"share", p.serialised_us > 0 ? rounded(us / p.serialised_us) : 0.0},
              {"gflops", us > 0 ? rounded(d.flops / us * 1e-3) : 0.0},
              {"gbs", us > 0 ? rounded(d.bytes / us * 1e-3) : 0.0},
              {"roof_us", rounded(d.roof_us)},
              {"roof_share", us > 0 ? rounded(d.roof_us / us) : 0.0},
              {"above_roof", d.above_roof},
              {"compiler", compiler(d.compiler)},
              {"phases", phases(d.phases)},
              {"executed", instructions(d.executed)},
              {"spirv", instructions(d.spirv)}};
}

}  // namespace

std::string profile_json(const Profile& p) {
  Json j{{"schema", "vireo-profile/1"},
         {"model", p.model},
         {"device", {{"kind", p.device_kind}, {"name", p.device_name}, {"reason", p.device_reason}}},
         {"precision", p.precision},
         {"batch", p.batch},
         {"height", p.height},
         {"width", p.width},
         {"runs", p.runs},
         {"wall_us", rounded(p.wall_us)},
         {"profiled_us", rounded(p.profiled_us)},
         {"scheduled_us", rounded(p.scheduled_us)},
         {"overlap_us", rounded(p.overlap_us)},
         {"timestamp_us", rounded(p.timestamp_us)},
         {"timed_at_once", p.timed_at_once},
         {"serialised_us", rounded(p.serialised_us)},
         {"empty_us", rounded(p.empty_us)},
         {"clipped", p.clipped},
         {"noise_us", rounded(p.noise_us)},
         {"accounted_us", rounded(p.accounted_us)},
         {"host_us",
          {{"upload", rounded(p.host.upload)},
           {"submit", rounded(p.host.submit)},
           {"wait", rounded(p.host.wait)},
           {"download", rounded(p.host.download)},
           {"launch", rounded(p.host.launch)},
           {"preprocess", rounded(p.host.preprocess)}}},
         {"arena_bytes", p.arena_bytes},
         {"weights_bytes", p.weights_bytes},
         {"roofs",
          {{"fma_gflops", rounded(p.roofs.fma_gflops)},
           {"half_fma_gflops", rounded(p.roofs.half_fma_gflops)},
           {"copy_gbs", rounded(p.roofs.copy_gbs)},
           {"shared_gbs", rounded(p.roofs.shared_gbs)},
           {"dispatch_us", rounded(p.roofs.dispatch_us)},
           {"submit_us", rounded(p.roofs.submit_us)}}},
         {"notes", p.notes},
         {"no_compiler", p.no_compiler},
         {"no_phases", p.no_phases},
         {"dispatches", Json::array()}};
  for (const DispatchProfile& d : p.dispatches) j["dispatches"].push_back(row(p, d));
  if (!p.preprocessing.empty()) {
    j["preprocessing"] = Json::array();
    for (const DispatchProfile& d : p.preprocessing)
      j["preprocessing"].push_back({{"name", d.name},
                                    {"kernel", d.kernel},
                                    {"shader", d.shader},
                                    {"bytes", d.bytes},
                                    {"serialised_us", rounded(d.serialised_us)}});
  }
  return text(j, 1);
}

std::string profile_csv(const Profile& p) {
  std::string out =
      "step,part,name,label,op,kernel,shader,spec,groups_x,groups_y,groups_z,device,flops,bytes,begin_us,scheduled_us,"
      "serialised_us,share,gflops,gbs,roof_us,"
      "roof_share,compiler,subgroup_size,registers,spills,instructions,code_bytes,local_bytes,subgroups_per_core,"
      "workgroups,load_share,compute_share,"
      "store_share";
  // One dispatch with counts names the classes for all.
  const auto counted = std::find_if(p.dispatches.begin(), p.dispatches.end(),
                                    [](const DispatchProfile& d) { return !d.executed.empty(); });
  const bool counts = counted != p.dispatches.end();
  if (counts)
    for (const char* prefix : {"executed_", "spirv_"})
      for (const auto& c : counted->executed) out += std::string(",") + prefix + c.first;
  out += "\n";
  const auto number = [](double x) { return x < 0 ? std::string() : fmt::format("{:.0f}", x); };
  for (const DispatchProfile& d : p.dispatches) {
    const double us = d.serialised_us;
    out += fmt::format(
        "{},{},{},{},{},{},{},{},{},{},{},{},{:.0f},{:.0f},{:.3f},{:.3f},{:.3f},{:.4f},{:.3f},{:.3f},{:.3f},{:.4f}",
        d.step, d.part, quoted(d.name), quoted(d.label), quoted(d.op), quoted(d.kernel), quoted(d.shader),
        fmt::join(d.spec, " "), d.groups[0], d.groups[1], d.groups[2], d.cpu ? "cpu" : p.device_kind, d.flops, d.bytes,
        d.begin_us, d.scheduled_us, us, p.serialised_us > 0 ? us / p.serialised_us : 0,
        us > 0 ? d.flops / us * 1e-3 : 0, us > 0 ? d.bytes / us * 1e-3 : 0, d.roof_us, us > 0 ? d.roof_us / us : 0);
    const CompilerStatistics& c = d.compiler;
    out +=
        fmt::format(",{},{},{},{},{},{},{},{}", quoted(p.no_compiler),
                    c.subgroup_size ? std::to_string(c.subgroup_size) : "", number(c.registers), number(c.spills),
                    number(c.instructions), number(c.code_bytes), number(c.local_bytes), number(c.subgroups_per_core));
    const PhaseProfile& f = d.phases;
    out += f.workgroups
               ? fmt::format(",{},{:.4f},{:.4f},{:.4f}", f.workgroups, f.load.share, f.compute.share, f.store.share)
               : ",,,,";
    if (counts)
      for (const auto* classes : {&d.executed, &d.spirv})
        for (size_t i = 0; i < counted->executed.size(); ++i)
          out += i < classes->size() ? fmt::format(",{:.0f}", (*classes)[i].second) : ",";
    out += "\n";
  }
  return out;
}

std::string profile_trace(const Profile& p) {
  constexpr int kHost = 1, kDevice = 2;
  Json events = Json::array();
  const auto name = [&](int tid, const std::string& what) {
    events.push_back({{"ph", "M"}, {"pid", 1}, {"tid", tid}, {"name", "thread_name"}, {"args", {{"name", what}}}});
  };
  events.push_back({{"ph", "M"}, {"pid", 1}, {"name", "process_name"}, {"args", {{"name", "vireo " + p.model}}}});
  name(kHost, "host");
  if (p.device_kind != "cpu") name(kDevice, p.device_name);
  double at = 0;
  const auto host = [&](const char* what, double us) {
    events.push_back({{"ph", "X"},
                      {"pid", 1},
                      {"tid", kHost},
                      {"name", what},
                      {"cat", "host"},
                      {"ts", rounded(at)},
                      {"dur", rounded(us)}});
    at += us;
  };
  host("upload", p.host.upload);
  // The CPU's steps run where a GPU's host submits: they are drawn within.
  const bool cpu = p.device_kind == "cpu";
  const double steps_begin = at;
  host(cpu ? "run" : "submit", p.host.submit);
  const double device_begins = cpu ? steps_begin : at;
  host("wait", p.host.wait);
  host("download", p.host.download);
  for (const DispatchProfile& d : p.dispatches)
    events.push_back({{"ph", "X"},
                      {"pid", 1},
                      {"tid", d.cpu ? kHost : kDevice},
                      {"name", d.part ? fmt::format("{} ({})", d.label, d.part) : d.label},
                      {"cat", d.op},
                      {"ts", rounded(device_begins + d.begin_us)},
                      {"dur", rounded(d.scheduled_us)},
                      {"args", row(p, d)}});
  return text(Json{{"traceEvents", events}, {"displayTimeUnit", "ms"}, {"otherData", {{"schema", "vireo-trace/1"}}}},
              0);
}

}  // namespace vireo
