#include "device/tuned.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>

namespace vireo {
namespace {

constexpr const char* kFirstLine = "vireo-tuning 1";

/// Comma-separated positive numbers, at most `limit` each.
Result<std::vector<uint32_t>> numbers(const std::string& text, size_t count) {
  constexpr unsigned long kLimit = 65536;
  std::vector<uint32_t> all;
  const char* at = text.c_str();
  while (true) {
    char* end = nullptr;
    const unsigned long n = std::strtoul(at, &end, 10);
    if (end == at || *at < '0' || *at > '9' || n > kLimit || (*end && *end != ',')) break;
    all.push_back(uint32_t(n));
    if (!*end && all.size() != count)
      return fail(ErrorCode::kCorrupt, "got {} numbers, expected {}", all.size(), count);
    if (!*end) return all;
    at = end + 1;
  }
  return fail(ErrorCode::kCorrupt, "'{}' is no list of numbers up to {}", text, kLimit);
}

}  // namespace

TuningId tuning_id(const DeviceCaps& caps, uint64_t shader_hash) {
  return {caps.name, caps.vendor_id, caps.device_id, caps.driver_version, shader_hash};
}

std::string tuning_file_name(const TuningId& id) {
  return fmt::format("tuning-{:x}-{:x}.txt", id.vendor, id.device_id);
}

std::string tuning_text(const TuningId& id, const TunedSteps& steps) {
  std::string s = fmt::format(
      "{}\n# Written by `vireo tune`; read by every session on this device. Delete the file, or a step's lines, to go "
      "back to the "
      "defaults.\ndevice {}\ndriver {:x} shaders {:x}\n",
      kFirstLine, id.device, id.driver_version, id.shader_hash);
  for (const auto& [key, step] : steps)
    s += fmt::format("step {}\n  use {}\n  ms {:.4f} default {:.4f}\n", key, step.use, step.ms, step.default_ms);
  return s;
}

Result<TunedSteps> parse_tuning(const std::string& text, const TuningId& id) {
  TunedSteps steps;
  std::istringstream lines(text);
  std::string line, key;
  bool device = false, driver = false;
  for (int number = 1; std::getline(lines, line); ++number) {
    const auto broken = [number](const std::string& what) {
      return fail(ErrorCode::kCorrupt, "line {}: {}", number, what);
    };
    if (number == 1) {
      if (line != kFirstLine) return fail(ErrorCode::kCorrupt, "its first line is not '{}'", kFirstLine);
      continue;
    }
    line.erase(0, line.find_first_not_of(' '));
    if (line.empty() || line[0] == '#') continue;
    const size_t space = line.find(' ');
    const std::string word = line.substr(0, space), rest = space == std::string::npos ? "" : line.substr(space + 1);
    if (word == "device") {
      if (rest != id.device) return fail(ErrorCode::kCorrupt, "stale: of device '{}', this is '{}'", rest, id.device);
      device = true;
    } else if (word == "driver") {
      const std::string mine = fmt::format("{:x} shaders {:x}", id.driver_version, id.shader_hash);
      if (rest != mine) return fail(ErrorCode::kCorrupt, "stale: of driver {}, this is {}", rest, mine);
      driver = true;
    } else if (word == "step") {
      key = rest;
      if (key.empty() || steps.count(key))
        return broken(fmt::format("step '{}' is {}", key, key.empty() ? "nameless" : "there twice"));
      steps[key];
    } else if (word == "use") {
      if (key.empty()) return broken("'use' without a step");
      Tuning probe;
      if (Result<void> r = apply_tuning(rest, &probe); !r) return broken(r.error().message);
      steps[key].use = rest;
    } else if (word == "ms") {
      if (key.empty()) return broken("'ms' without a step");
      TunedStep& s = steps[key];
      std::istringstream values(rest);
      std::string label;
      if (!(values >> s.ms >> label >> s.default_ms) || label != "default")
        return broken(fmt::format("got '{}', expected 'ms A default B'", line));
    } else {
      return broken(fmt::format("'{}' is no word of this format", word));
    }
  }
  if (!device || !driver) return fail(ErrorCode::kCorrupt, "it does not say for which device and driver it is");
  for (const auto& [name, step] : steps)
    if (step.use.empty())
      return fail(ErrorCode::kCorrupt, "step '{}' says nothing to use; the file is truncated", name);
  return steps;
}

Result<void> apply_tuning(const std::string& use, Tuning* t) {
  std::istringstream words(use);
  for (std::string word; words >> word;) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals), value = equals == std::string::npos ? "" : word.substr(equals + 1);
    const auto read = [&](size_t count) { return numbers(value, count); };
    const auto wrong = [&word](const Error& e) { return fail(ErrorCode::kCorrupt, "'{}': {}", word, e.message); };
    // Which constants exist, and in which order their numbers stand.
    size_t count = 0;
    if (name == "texel" || name == "shuffle" || name == "skip_rows") count = 1;
    else if (name == "attention_texel" || name == "conv") count = 3;
    else if (name == "linear_tile" || name == "conv_tile") count = 5;
    else if (name == "linear_texel" || name == "attention_tile") count = 6;
    else return fail(ErrorCode::kCorrupt, "'{}' is no constant", name);
    Result<std::vector<uint32_t>> read_numbers = read(count);
    if (!read_numbers) return wrong(read_numbers.error());
    const std::vector<uint32_t>& n = *read_numbers;
    if (count > 1)
      for (uint32_t v : n)
        if (v == 0) return fail(ErrorCode::kCorrupt, "'{}': sizes are at least 1", word);
    if (name == "texel") t->texel = n[0] != 0;
    else if (name == "shuffle") t->shuffle = n[0] != 0;
    else if (name == "skip_rows") t->skip_rows = n[0] != 0;
    else if (name == "attention_texel") t->attention_texel = {n[0], n[1], n[2]};
    else if (name == "conv") {
      t->conv = {n[0], n[1], n[2]};
      t->conv_tiles.clear();  // this kernel and no tile
    } else if (name == "conv_tile") t->conv_tiles = {{n[0], n[1], n[2], n[3], n[4]}};
    else if (name == "linear_texel") t->linear_texel = {n[0], n[1], n[2], n[3], n[4], n[5]};
    else if (name == "linear_tile") {
      t->linear_tiles = {{n[0], n[1], n[2], n[3], n[4]}};
      t->half_tiles.clear();  // this tile and no other kernel's
    } else t->attention_tile = {n[0], n[1], n[2], n[3], n[4], n[5]};
  }
  return check_tuning(*t);
}

Result<void> check_tuning(const Tuning& t) {
  const auto broken = [](const char* what) {
    return fail(ErrorCode::kCorrupt, "the constants of {} break the shader's rules", what);
  };
  for (const auto& [name, tiles] : {std::pair{"linear_tile", &t.linear_tiles}, std::pair{"conv_tile", &t.conv_tiles}})
    for (const LinearTile& l : *tiles) {
      if (l.tm % 4 || l.tn % 4 || l.bk % 4 || l.bk < 8 || !l.tm || !l.tn || l.bm % l.tm || l.bn % l.tn)
        return broken(name);
      const uint32_t lx = (l.bm / l.tm) * (l.bn / l.tn);
      if (!lx || lx % (l.bk / 4) || 2 * l.bm * std::max(1u, lx / l.bm) > l.bk * (l.bm + 5)) return broken(name);
    }
  const auto& x = t.linear_texel;
  if (!x.lx || !x.r || x.r > 16 || !x.c || x.c > 4 || !x.rl || x.r % x.rl || !x.unroll || x.unroll > 8 || !x.panels ||
      x.panels > 64)
    return broken("linear_texel");
  const auto& a = t.attention_tile;
  if (!a.tx || a.lx % a.tx || !a.lx || a.tm % 4 || a.tn % 4 || !a.tm || !a.tn || a.dc < 4 || a.dc > 64 || a.dc % 4 ||
      a.vc < 4 || (a.tx * a.tn) % a.vc)
    return broken("attention_tile");
  const auto& q = t.attention_texel;
  if (!q.lx || !q.qi || q.qi > 4 || !q.kb || q.kb > 16) return broken("attention_texel");
  if (!t.conv.lx || !t.conv.ly || !t.conv.r || t.conv.r > 16) return broken("conv");
  return {};
}

std::vector<std::string> tuning_candidates(const std::string& op, const DeviceCaps& caps) {
  std::vector<std::string> all;
  const auto add = [&](std::string use) {
    Tuning probe;
    if (apply_tuning(use, &probe)) all.push_back(std::move(use));
  };
  const bool shuffle = caps.subgroup_basic && caps.subgroup_shuffle;
  if (op == "linear") {
    for (uint32_t lx : {8, 16, 32, 64, 128})
      for (uint32_t r : {4, 8, 16})
        for (uint32_t c : {1, 2})
          for (uint32_t panels : {1, 8}) {
            add(fmt::format("texel=1 shuffle=0 linear_texel={},{},{},1,1,{}", lx, r, c, panels));
            for (uint32_t rl : {4, 8})
              for (uint32_t unroll : {1, 2})
                if (shuffle && rl <= caps.subgroup_size)
                  add(fmt::format("texel=1 shuffle=1 linear_texel={},{},{},{},{},{}", lx, r, c, rl, unroll, panels));
          }
    for (uint32_t bm : {16, 32, 64, 104, 128})
      for (uint32_t bn : {32, 64, 128, 192})
        for (uint32_t bk : {8, 16, 24, 32})
          for (uint32_t tm : {4, 8})
            for (uint32_t tn : {4, 8}) {
              const uint32_t lx = bm / tm * (bn / tn);
              if (lx >= 32 && lx <= 512 && lx <= caps.max_workgroup_invocations)
                add(fmt::format("texel=0 linear_tile={},{},{},{},{}", bm, bn, bk, tm, tn));
            }
  } else if (op == "attention") {
    for (uint32_t lx : {8, 16, 32, 64})
      for (uint32_t qi : {1, 2, 3, 4})
        for (uint32_t kb : {2, 4, 8}) add(fmt::format("texel=1 attention_texel={},{},{}", lx, qi, kb));
    for (uint32_t lx : {64, 128, 256})
      for (uint32_t tx : {8, 16})
        for (uint32_t tn : {4, 8})
          for (uint32_t dc : {16, 32})
            for (uint32_t vc : {16, 32})
              add(fmt::format("texel=0 attention_tile={},{},4,{},{},{}", lx, tx, tn, dc, vc));
  } else if (op == "conv2d") {
    for (uint32_t texel : {0, 1})
      for (uint32_t lx : {4, 8, 16, 32})
        for (uint32_t ly : {1, 2, 4, 8})
          for (uint32_t r : {2, 4, 7, 8}) add(fmt::format("texel={} conv={},{},{}", texel, lx, ly, r));
    for (uint32_t bm : {32, 64, 104, 128})
      for (uint32_t bn : {32, 64, 96, 128})
        for (uint32_t tm : {4, 8}) {
          const uint32_t lx = bm / tm * (bn / 8);
          if (lx >= 32 && lx <= 512 && lx <= caps.max_workgroup_invocations)
            add(fmt::format("texel=0 conv_tile={},{},16,{},8", bm, bn, tm));
        }
  }
  return all;
}

}  // namespace vireo
