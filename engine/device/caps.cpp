#include "device/caps.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <set>

#include "base/number.h"

namespace vireo {
namespace {

constexpr const char* kClassNames[] = {"maxwell", "nvidia", "amd",      "intel", "mali",
                                       "adreno",  "v3d",    "software", "other"};

// One list of fields serves printing and parsing, so neither can forget one.
template <typename Caps, typename Visitor>
void visit(Caps& c, Visitor&& v) {
  v.text("name", c.name);
  v.kind("kind", c.kind);
  v.klass("class", c.device_class);
  v.hex("vendor_id", c.vendor_id);
  v.hex("device_id", c.device_id);
  v.hex("driver_version", c.driver_version);
  v.hex("api_version", c.api_version);
  v.text("driver", c.driver);
  v.flag("integrated", c.integrated);
  v.number("max_workgroup_invocations", c.max_workgroup_invocations, 1);
  v.number("max_workgroup_size_x", c.max_workgroup_size[0], 1);
  v.number("max_workgroup_size_y", c.max_workgroup_size[1], 1);
  v.number("max_workgroup_size_z", c.max_workgroup_size[2], 1);
  v.number("max_workgroup_count_x", c.max_workgroup_count[0], 1);
  v.number("max_workgroup_count_y", c.max_workgroup_count[1], 1);
  v.number("max_workgroup_count_z", c.max_workgroup_count[2], 1);
  v.number("max_shared_bytes", c.max_shared_bytes, 0);
  v.number("max_push_constant_bytes", c.max_push_constant_bytes, 128);
  v.number("max_storage_range", c.max_storage_range, 65536);
  v.number("max_texel_elements", c.max_texel_elements, 0);
  v.number("storage_alignment", c.storage_alignment, 1);
  v.number("texel_alignment", c.texel_alignment, 1);
  v.number("max_stage_storage_buffers", c.max_stage_storage_buffers, 1);
  v.number("max_stage_sampled", c.max_stage_sampled, 0);
  v.number("subgroup_size", c.subgroup_size, 1);
  v.flag("subgroup_basic", c.subgroup_basic);
  v.flag("subgroup_vote", c.subgroup_vote);
  v.flag("subgroup_ballot", c.subgroup_ballot);
  v.flag("subgroup_shuffle", c.subgroup_shuffle);
  v.flag("subgroup_arithmetic", c.subgroup_arithmetic);
  v.flag("shader_float16", c.shader_float16);
  v.flag("storage_16bit", c.storage_16bit);
  v.flag("shader_int8", c.shader_int8);
  v.flag("storage_8bit", c.storage_8bit);
  v.flag("shader_clock", c.shader_clock);
  v.flag("integer_dot", c.integer_dot);
  v.flag("integer_dot_fast", c.integer_dot_fast);
  v.flag("timestamps", c.timestamps);
  v.real("timestamp_period_ns", c.timestamp_period_ns);
  v.text("simd", c.simd);
  v.number("threads", c.threads, 1);
  v.number("l1_bytes", c.caches.l1_bytes, 0);
  v.number("l2_bytes", c.caches.l2_bytes, 0);
  v.number("l2_cores", c.caches.l2_cores, 1);
  v.number("l3_bytes", c.caches.l3_bytes, 0);
  v.number("l3_cores", c.caches.l3_cores, 1);
}

struct Printer {
  std::string out;
  void line(const char* key, const std::string& value) { out += fmt::format("{}: {}\n", key, value); }
  void text(const char* k, const std::string& v) {
    if (!v.empty()) line(k, v);
  }
  void kind(const char* k, DeviceKind v) { line(k, to_string(v)); }
  void klass(const char* k, DeviceClass v) { line(k, to_string(v)); }
  void hex(const char* k, uint32_t v) { line(k, fmt::format("{:#x}", v)); }
  void flag(const char* k, bool v) { line(k, v ? "1" : "0"); }
  template <typename T>
  void number(const char* k, T v, uint64_t) {
    line(k, fmt::format("{}", v));
  }
  void real(const char* k, float v) { line(k, fmt::format("{}", v)); }
};

struct Parser {
  const std::string& key;
  const std::string& value;
  bool found = false;
  std::string problem;  // why the value is refused

  bool mine(const char* k) { return !found && key == k ? (found = true) : false; }
  bool integer(uint64_t* out) {
    errno = 0;
    char* end = nullptr;
    const char* s = value.c_str();
    if (*s == '-' || *s == '\0') {
      problem = "a non-negative integer";
      return false;
    }
    *out = std::strtoull(s, &end, 0);
    if (errno || *end) {
      problem = "a non-negative integer";
      return false;
    }
    return true;
  }
  void text(const char* k, std::string& v) {
    if (mine(k)) v = value;
  }
  void kind(const char* k, DeviceKind& v) {
    if (!mine(k)) return;
    if (value == "cpu") v = DeviceKind::kCpu;
    else if (value == "vulkan") v = DeviceKind::kVulkan;
    else problem = "cpu or vulkan";
  }
  void klass(const char* k, DeviceClass& v) {
    if (!mine(k)) return;
    for (size_t i = 0; i < std::size(kClassNames); ++i)
      if (value == kClassNames[i]) {
        v = DeviceClass(i);
        return;
      }
    problem = "a device class (maxwell, nvidia, amd, intel, mali, adreno, v3d, software, other)";
  }
  void hex(const char* k, uint32_t& v) { number(k, v, 0); }
  void flag(const char* k, bool& v) {
    if (!mine(k)) return;
    if (value == "0" || value == "1") v = value == "1";
    else problem = "0 or 1";
  }
  template <typename T>
  void number(const char* k, T& v, uint64_t least) {
    if (!mine(k)) return;
    uint64_t n = 0;
    if (!integer(&n)) return;
    if (n < least || n > uint64_t(T(~T(0)))) {
      problem = fmt::format("an integer of at least {} that fits {} bits", least, sizeof(T) * 8);
      return;
    }
    v = T(n);
  }
  void real(const char* k, float& v) {
    if (!mine(k)) return;
    double f = 0;
    if (!parse_number(value, &f) || !(f >= 0) || f > 1e9) problem = "a number from 0 to 1e9";
    else v = float(f);
  }
};

std::string trim(const std::string& s) {
  const size_t a = s.find_first_not_of(" \t\r");
  if (a == std::string::npos) return {};
  return s.substr(a, s.find_last_not_of(" \t\r") - a + 1);
}

}  // namespace

const char* to_string(DeviceKind k) { return k == DeviceKind::kCpu ? "cpu" : "vulkan"; }
const char* to_string(DeviceClass c) { return kClassNames[size_t(c)]; }

std::string to_text(const DeviceCaps& caps) {
  Printer p;
  visit(caps, p);
  return p.out;
}

Result<DeviceCaps> caps_from_text(const std::string& text, const std::string& source, std::set<std::string>* keys) {
  DeviceCaps caps;
  std::set<std::string> seen;
  size_t pos = 0;
  for (int number = 1; pos < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', pos), text.size());
    std::string line = text.substr(pos, end - pos);
    pos = end + 1;
    line = trim(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    const size_t colon = line.find(':');
    if (colon == std::string::npos)
      return fail(ErrorCode::kCorrupt, "caps file '{}' line {}: got '{}', expected 'key: value'", source, number, line);
    const std::string key = trim(line.substr(0, colon)), value = trim(line.substr(colon + 1));
    Parser p{key, value, false, {}};
    visit(caps, p);
    if (!p.found)
      return fail(ErrorCode::kCorrupt,
                  "caps file '{}' line {}: unknown key '{}'; `vireo devices --caps` prints the known ones", source,
                  number, key);
    if (!p.problem.empty())
      return fail(ErrorCode::kCorrupt, "caps file '{}' line {}: {} is '{}', expected {}", source, number, key, value,
                  p.problem);
    if (!seen.insert(key).second)
      return fail(ErrorCode::kCorrupt, "caps file '{}' line {}: {} is given twice", source, number, key);
  }
  for (const char* key : {"name", "kind"})
    if (!seen.count(key)) return fail(ErrorCode::kCorrupt, "caps file '{}': the key '{}' is missing", source, key);
  if (caps.name.empty()) return fail(ErrorCode::kCorrupt, "caps file '{}': the device has no name", source);
  for (const auto& [key, value] : {std::pair<const char*, uint64_t>{"storage_alignment", caps.storage_alignment},
                                   {"texel_alignment", caps.texel_alignment}})
    if (value == 0 || value > 65536 || (value & (value - 1)))
      return fail(ErrorCode::kCorrupt,
                  "caps file '{}': {} is {}, expected a power of two up to 65536; write the file anew with `vireo "
                  "devices --caps`",
                  source, key, value);
  if (!seen.count("class")) caps.device_class = classify_device(caps);
  if (keys) *keys = std::move(seen);
  return caps;
}

DeviceClass classify_device(const DeviceCaps& caps) {
  const std::string& n = caps.name;
  const auto has = [&n](const char* s) { return n.find(s) != std::string::npos; };
  if (has("llvmpipe") || has("SwiftShader") || has("lavapipe")) return DeviceClass::kSoftware;
  switch (caps.vendor_id) {
    case 0x10de:
      return has("Tegra X1") || has("GM20") || has("GM10") || has("GTX 9") ? DeviceClass::kMaxwell
                                                                           : DeviceClass::kNvidia;
    case 0x1002: return DeviceClass::kAmd;
    case 0x8086: return DeviceClass::kIntel;
    case 0x13b5: return DeviceClass::kMali;
    case 0x5143: return DeviceClass::kAdreno;
    case 0x14e4: return DeviceClass::kV3d;
    case 0x10005: return DeviceClass::kSoftware;  // VK_VENDOR_ID_MESA: only its software drivers use it
    default: return DeviceClass::kOther;
  }
}

}  // namespace vireo
