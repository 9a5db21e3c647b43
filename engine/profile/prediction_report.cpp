// A prediction as JSON and CSV.
#include <fmt/format.h>

#include "base/json.h"
#include "profile/text.h"

#include <vireo/predict.hpp>

namespace vireo {
namespace {

using Json = OrderedJson;
using Named = std::vector<std::pair<std::string, double>>;

Json object(const Named& values) {
  Json j = Json::object();
  for (const auto& v : values) j[v.first] = rounded(v.second);
  return j;
}

Json row(const PredictedDispatch& d) {
  return {{"step", d.step},
          {"part", d.part},
          {"name", d.name},
          {"op", d.op},
          {"kernel", d.kernel},
          {"shader", d.shader},
          {"on_cpu", d.cpu},
          {"flops", d.flops},
          {"bytes", d.bytes},
          {"us", rounded(d.us)},
          {"low_us", rounded(d.low_us)},
          {"high_us", rounded(d.high_us)},
          {"roof_us", rounded(d.roof_us)},
          {"bound_us", rounded(d.bound_us)},
          {"instructions", object(d.instructions)},
          {"lost_us", object(d.lost)}};
}

}  // namespace

std::string prediction_json(const Prediction& p) {
  Json j{{"schema", "vireo-prediction/1"},
         {"model", p.model},
         {"machine", p.machine},
         {"device", p.device},
         {"precision", p.precision},
         {"batch", p.batch},
         {"height", p.height},
         {"width", p.width},
         {"us", rounded(p.us)},
         {"low_us", rounded(p.low_us)},
         {"high_us", rounded(p.high_us)},
         {"uncertainty", p.uncertainty},
         {"images_per_s", p.us > 0 ? rounded(p.batch / p.us * 1e6) : 0.0},
         {"roof_us", rounded(p.roof_us)},
         {"bound_us", rounded(p.bound_us)},
         {"lost_us", object(p.lost)},
         {"arena_bytes", p.arena_bytes},
         {"weights_bytes", p.weights_bytes},
         {"ram_bytes", p.ram_bytes},
         {"notes", p.notes},
         {"dispatches", Json::array()}};
  for (const PredictedDispatch& d : p.dispatches) j["dispatches"].push_back(row(d));
  if (!p.preprocessing.empty()) {
    Json rows = Json::array();
    for (const PredictedDispatch& d : p.preprocessing) rows.push_back(row(d));
    j["preprocessing"] = Json{{"us", rounded(p.preprocessing_us)},
                              {"low_us", rounded(p.preprocessing_low_us)},
                              {"high_us", rounded(p.preprocessing_high_us)},
                              {"dispatches", rows}};
  }
  return write_json(j, 1);
}

std::string prediction_csv(const Prediction& p) {
  std::string out = "step,part,name,op,kernel,shader,flops,bytes,us,low_us,high_us,roof_us,bound_us";
  for (const auto& l : p.lost) out += ",lost_" + l.first + "_us";
  out += "\n";
  for (const PredictedDispatch& d : p.dispatches) {
    out += fmt::format("{},{},{},{},{},{},{:.0f},{:.0f},{:.3f},{:.3f},{:.3f},{:.3f},{:.3f}", d.step, d.part,
                       quoted(d.name), quoted(d.op), quoted(d.kernel), quoted(d.shader), d.flops, d.bytes, d.us,
                       d.low_us, d.high_us, d.roof_us, d.bound_us);
    for (const auto& l : d.lost) out += fmt::format(",{:.3f}", l.second);
    out += "\n";
  }
  return out;
}

}  // namespace vireo
