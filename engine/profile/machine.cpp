#include "profile/machine.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

#include "base/number.h"

namespace vireo {
namespace {

constexpr const char* kKinds[] = {"cores", "fitted", "counted"};  // as Machine::Kind

/// One list of fields serves printing and parsing. v(key, member, least, most) for each kind of machine.
template <typename M, typename V>
void visit_cores(M& m, V&& v) {
  v("cores", m.cores, 1, 4096);
  v("clock_mhz", m.clock_mhz, 1, 10000);
  v("issue", m.issue, 0.1, 64);
  v("fma_lanes", m.fma_lanes, 1, 4096);
  v("half_lanes", m.half_lanes, 1, 4096);
  v("integer_lanes", m.integer_lanes, 1, 4096);
  v("shift_lanes", m.shift_lanes, 1, 4096);
  v("multiply_lanes", m.multiply_lanes, 1, 4096);
  v("convert_lanes", m.convert_lanes, 1, 4096);
  v("special_lanes", m.special_lanes, 1, 4096);
  v("shuffle_lanes", m.shuffle_lanes, 1, 4096);
  v("memory_lanes", m.memory_lanes, 1, 4096);
  v("shared_bytes_per_clock", m.shared_bytes_per_clock, 1, 4096);
  v("registers", m.registers, 256, 1e7);
  v("shared_bytes", m.shared_bytes, 1024, 1e8);
  v("max_subgroups", m.max_subgroups, 1, 1024);
  v("max_workgroups", m.max_workgroups, 1, 1024);
  v("cache_bytes", m.cache_bytes, 1024, 1e10);
  v("latency_clocks", m.latency_clocks, 1, 1e5);
  v("bandwidth_gbs", m.bandwidth_gbs, 0.01, 1e5);
}
template <typename M, typename V>
void visit_efficiency(M& m, V&& v) {
  v("efficiency", m.efficiency, 0.01, 1);
  v("efficiency_low", m.efficiency_low, 0.01, 1);
  v("efficiency_high", m.efficiency_high, 0.01, 1);
}
template <typename M, typename V>
void visit_all(M& m, V&& v) {
  v("error_median", m.error_median, 0, 100);
  v("error_worst", m.error_worst, 0, 100);
  v("dispatch_us", m.dispatch_us, 0, 1e6);
  v("dispatch_us_high", m.dispatch_us_high, 0, 1e6);
  v("inference_us", m.inference_us, 0, 1e7);
  v("ram_mib", m.ram_mib, 0, 1e8);
}

std::string trimmed(const std::string& s) {
  const size_t from = s.find_first_not_of(" \t\r"), to = s.find_last_not_of(" \t\r");
  return from == std::string::npos ? std::string() : s.substr(from, to - from + 1);
}

}  // namespace

std::string to_text(const Machine& m) {
  std::string s = fmt::format("name: {}\n", m.name);
  if (!m.device.empty()) s += fmt::format("device: {}\n", m.device);
  s += fmt::format("kind: {}\n", kKinds[size_t(m.kind)]);
  const auto print = [&](const char* key, double v, double, double) { s += fmt::format("{}: {:.6g}\n", key, v); };
  if (m.kind == Machine::Kind::kCores) visit_cores(m, print);
  if (m.kind != Machine::Kind::kFitted) visit_efficiency(m, print);
  visit_all(m, print);
  if (m.threads) s += fmt::format("threads: {}\n", m.threads);
  if (m.probe_us > 0) s += fmt::format("probe_us: {:.6g}\n", m.probe_us);
  if (m.kind != Machine::Kind::kCores || !m.scales.empty())
    s += fmt::format("entries: {}\n", m.costs.size() + m.scales.size());
  for (const UnitCost& c : m.costs) s += fmt::format("cost {}: {:.6g}\n", c.name, c.value);
  for (const UnitCost& c : m.scales) s += fmt::format("scale {}: {:.6g}\n", c.name, c.value);
  return s;
}

Result<Machine> machine_from_text(const std::string& text, const std::string& source) {
  Machine m;
  bool has_name = false, has_kind = false;
  double entries = -1;
  int line_number = 0;
  std::set<std::string> seen;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    at = end + 1;
    ++line_number;
    line = trimmed(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    // Of a cost the last colon: names of kernels may have one of their own. Elsewhere the first: so may devices.
    const bool list = line.rfind("cost ", 0) == 0 || line.rfind("scale ", 0) == 0;
    const size_t colon = list ? line.rfind(": ") : line.find(": ");
    const auto bad = [&](const std::string& why) {
      return fail(ErrorCode::kCorrupt, "{}, line {}: '{}': {}", source, line_number, line.substr(0, 80), why);
    };
    if (colon == std::string::npos) return bad("expected 'key: value'");
    std::string key = trimmed(line.substr(0, colon));
    const std::string value = trimmed(line.substr(colon + 1));
    if (list) {
      const std::string kind = line.substr(0, line.find(' ') + 1),
                        of = trimmed(key.substr(std::min(kind.size(), key.size())));
      if (of.empty()) return bad("expected a name between the word and the colon");
      key = kind + of;
    }
    if (!seen.insert(key).second) return bad("the key was given before");
    bool known = false;
    std::string problem;
    const auto take = [&](const char* name, double& member, double least, double most) {
      if (known || key != name) return;
      known = true;
      double v = 0;
      if (!parse_number(value, &v) || v < least || v > most)
        problem = fmt::format("expected a number from {:g} to {:g}", least, most);
      else member = v;
    };
    if (key == "name") m.name = value, known = has_name = !value.empty();
    else if (key == "device") m.device = value, known = true;
    else if (key == "kind") {
      known = has_kind = true;
      const auto found = std::find(std::begin(kKinds), std::end(kKinds), value);
      if (found != std::end(kKinds)) m.kind = Machine::Kind(found - std::begin(kKinds));
      else problem = "expected 'cores', 'fitted' or 'counted'";
    } else if (key.rfind("cost ", 0) == 0 || key.rfind("scale ", 0) == 0) {
      known = true;
      const bool cost = key[0] == 'c';
      double v = 0;
      if (!parse_number(value, &v) || v < 0 || v > 1e9)
        problem = "expected a number of microseconds, or a factor, of 0 or more";
      else (cost ? m.costs : m.scales).push_back({key.substr(cost ? 5 : 6), v});
    } else if (key == "entries") {
      known = true;
      if (!parse_number(value, &entries) || entries < 0) problem = "expected the number of cost and scale lines";
    } else if (key == "threads") {
      known = true;
      double v = 0;
      if (!parse_number(value, &v) || v < 0 || v > 4096 || v != std::floor(v))
        problem = "expected a whole number of threads";
      else m.threads = uint32_t(v);
    } else {
      take("probe_us", m.probe_us, 0, 1e9);
      visit_cores(m, take);
      visit_efficiency(m, take);
      visit_all(m, take);
    }
    if (!known) return bad("there is no such key in a device description");
    if (!problem.empty()) return bad(problem);
  }
  if (!has_name || !has_kind)
    return fail(ErrorCode::kCorrupt,
                "{}: it has no '{}'; a device description names the device and its kind (cores, fitted or counted)",
                source, has_name ? "kind" : "name");
  const size_t found = m.costs.size() + m.scales.size();
  const bool has_costs = m.kind != Machine::Kind::kCores;
  if ((entries >= 0 || has_costs || !m.scales.empty()) && entries != double(found))
    return fail(ErrorCode::kCorrupt,
                "{}: it has {} cost and scale lines and says 'entries: {}'; a part of it is missing. Write it anew "
                "with `vireo predict --fit`",
                source, found, entries < 0 ? "nothing" : fmt::format("{:.0f}", entries));
  if (has_costs && m.costs.empty())
    return fail(ErrorCode::kCorrupt, "{}: a {} description needs 'cost' lines; write one with `vireo predict --fit`",
                source, kKinds[size_t(m.kind)]);
  if (!(m.efficiency_low <= m.efficiency && m.efficiency <= m.efficiency_high))
    return fail(ErrorCode::kCorrupt,
                "{}: efficiency is {:g}, expected one between efficiency_low ({:g}) and efficiency_high ({:g})", source,
                m.efficiency, m.efficiency_low, m.efficiency_high);
  if (m.dispatch_us_high > 0 && m.dispatch_us_high < m.dispatch_us)
    return fail(ErrorCode::kCorrupt,
                "{}: dispatch_us_high is {:g}, expected at least dispatch_us ({:g}), or 0 for none", source,
                m.dispatch_us_high, m.dispatch_us);
  std::vector<std::string> missing;
  const auto need = [&](const char* key, double, double, double) {
    if (!seen.count(key)) missing.push_back(key);
  };
  if (m.kind == Machine::Kind::kCores) visit_cores(m, need);
  if (m.kind != Machine::Kind::kFitted) visit_efficiency(m, need);
  for (const char* key : {"dispatch_us", "inference_us"}) need(key, 0, 0, 0);
  if (!missing.empty())
    return fail(ErrorCode::kCorrupt,
                "{}: it does not say {}, without which a prediction means nothing; the built-in descriptions "
                "(engine/profile/machines.cpp) say everything",
                source, fmt::join(missing, ", "));
  return m;
}

const BuiltInMachine* machine_for(const DeviceCaps& caps) {
  for (const BuiltInMachine& b : built_in_machines()) {
    const Result<Machine> m = machine_from_text(b.text, b.name);
    if (m && !m->device.empty() && caps.name.rfind(m->device, 0) == 0) return &b;
  }
  return nullptr;
}

}  // namespace vireo
