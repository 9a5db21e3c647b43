#include "profile_compare.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

namespace cli {
namespace {

struct Step {
  std::string name, op, kernel;
  int occurrence = 0, dispatches = 0;
  double us = 0;
};

std::vector<Step> steps_of(const Json& profile) {
  std::vector<Step> steps;
  std::map<std::string, int> seen;
  std::map<std::string, size_t> last;  // where the parts of a step that was split belong
  for (const Json& d : profile["dispatches"]) {
    const std::string name = d["name"];
    if (double(d["part"]) == 0 || !last.count(name)) {
      last[name] = steps.size();
      steps.push_back({name, d["op"], d["kernel"], seen[name]++, 0, 0});
    }
    Step& s = steps[last[name]];
    ++s.dispatches, s.us += double(d["serialised_us"]);
  }
  for (Step& s : steps)
    if (s.dispatches > 1) s.kernel += " (" + std::to_string(s.dispatches) + " dispatches)";
  return steps;
}

double rounded(double x) { return std::isfinite(x) ? std::round(x * 1e3) / 1e3 : 0.0; }

Json ratio(double a, double b) { return a > 0 ? Json(std::round(b / a * 1e4) / 1e4) : Json(); }

/// A string, or the number as text: older files and those of other tools may lack either.
std::string said(const Json& j, const char* key) {
  if (!j.contains(key)) return "?";
  return j[key].is_string() ? j[key].get<std::string>() : j[key].is_number() ? vireo::write_json(j[key]) : "?";
}

Json side(const Json& p, const std::string& file) {
  Json s{{"file", file}};
  for (const char* key : {"model", "device", "precision", "batch", "height", "width", "runs", "made"})
    if (p.contains(key)) s[key] = p[key];
  for (const char* key : {"wall_us", "serialised_us", "scheduled_us", "overlap_us", "arena_bytes", "weights_bytes"})
    s[key] = p[key];
  return s;
}

std::string describe(const Json& s) {
  std::string text = said(s, "model") + ", " + said(s, "precision") + ", batch " + said(s, "batch") + ", " +
                     said(s, "height") + "x" + said(s, "width") + " on " + said(s["device"], "name");
  if (s.contains("made") && s["made"].is_object())
    text += "; vireo " + said(s["made"], "vireo") + ", " + said(s["made"], "date");
  return printable(text);
}

}  // namespace

Json compare_profiles(const Json& a, const Json& b, const std::string& a_file, const std::string& b_file) {
  Json c{{"schema", "vireo-comparison/1"},
         {"a", side(a, a_file)},
         {"b", side(b, b_file)},
         {"wall_ratio", ratio(double(a["wall_us"]), double(b["wall_us"]))},
         {"serialised_ratio", ratio(double(a["serialised_us"]), double(b["serialised_us"]))},
         {"notes", Json::array()},
         {"steps", Json::array()},
         {"only_a", Json::array()},
         {"only_b", Json::array()}};
  // A difference of anything but time explains many of time.
  for (const char* key : {"model", "precision", "batch", "height", "width"})
    if (const std::string x = said(a, key), y = said(b, key); x != y)
      c["notes"].push_back(std::string(key) + ": " + x + " in a, " + y + " in b");
  if (a["device"]["name"] != b["device"]["name"])
    c["notes"].push_back("device: " + said(a["device"], "name") + " in a, " + said(b["device"], "name") + " in b");

  const std::vector<Step> first = steps_of(a), second = steps_of(b);
  std::map<std::pair<std::string, int>, const Step*> unmatched;
  for (const Step& s : second) unmatched[{s.name, s.occurrence}] = &s;
  const auto alone = [](const Step& s) {
    return Json{{"name", s.name}, {"op", s.op}, {"kernel", s.kernel}, {"us", rounded(s.us)}};
  };
  std::vector<std::pair<const Step*, const Step*>> both;
  for (const Step& s : first) {
    const auto it = unmatched.find({s.name, s.occurrence});
    if (it == unmatched.end()) {
      c["only_a"].push_back(alone(s));
      continue;
    }
    both.emplace_back(&s, it->second);
    unmatched.erase(it);
  }
  for (const Step& s : second)
    if (unmatched.count({s.name, s.occurrence})) c["only_b"].push_back(alone(s));
  std::stable_sort(both.begin(), both.end(), [](const auto& x, const auto& y) {
    return std::fabs(x.second->us - x.first->us) > std::fabs(y.second->us - y.first->us);
  });
  for (const auto& [x, y] : both)
    c["steps"].push_back({{"name", x->name},
                          {"op", y->op},
                          {"a_us", rounded(x->us)},
                          {"b_us", rounded(y->us)},
                          {"difference_us", rounded(y->us - x->us)},
                          {"ratio", ratio(x->us, y->us)},
                          {"a_kernel", x->kernel},
                          {"b_kernel", y->kernel}});
  return c;
}

void print_comparison(const Json& c, bool all) {
  for (const char* side : {"a", "b"})
    std::printf("%s  %s: %s\n", side, c[side]["file"].get<std::string>().c_str(), describe(c[side]).c_str());
  for (const Json& n : c["notes"]) std::printf("note: %s\n", printable(n.get<std::string>()).c_str());
  const auto line = [](double a, double b, const Json& ratio, const std::string& name) {
    char times[24] = "-";
    if (ratio.is_number()) std::snprintf(times, sizeof times, "%.3f", double(ratio));
    std::printf("%10.3f %10.3f %+10.3f %7s  %s\n", a / 1000, b / 1000, (b - a) / 1000, times, printable(name).c_str());
  };
  std::printf("\n%10s %10s %10s %7s  %s\n", "a ms", "b ms", "difference", "b / a", "step, alone");
  double a_us = 0, b_us = 0;
  size_t shown = 0;
  for (const Json& s : c["steps"]) {
    a_us += double(s["a_us"]), b_us += double(s["b_us"]);
    if (all || shown < 20) line(s["a_us"], s["b_us"], s["ratio"], s["name"]), ++shown;
  }
  if (shown < c["steps"].size())
    std::printf("%10s of %zu steps, those that changed most; --all shows every one\n", "", c["steps"].size());
  std::printf("\n");
  line(a_us, b_us, ratio(a_us, b_us),
       std::to_string(c["steps"].size()) + (c["steps"].size() == 1 ? " step of both" : " steps of both"));
  for (const char* side : {"a", "b"}) {
    const Json& only = c[std::string("only_") + side];
    if (only.empty()) continue;
    double us = 0;
    std::string names;
    for (size_t i = 0; i < only.size(); ++i) {
      us += double(only[i]["us"]);
      if (all || i < 8) names += (i ? ", " : "") + only[i]["name"].get<std::string>();
      else if (i == 8) names += ", ...";
    }
    line(*side == 'a' ? us : 0, *side == 'b' ? us : 0, Json(),
         std::to_string(only.size()) + " only in " + side + ": " + names);
  }
  line(c["a"]["serialised_us"], c["b"]["serialised_us"], c["serialised_ratio"], "dispatches, each alone");
  line(c["a"]["wall_us"], c["b"]["wall_us"], c["wall_ratio"], "wall, without timestamps");
}

}  // namespace cli
