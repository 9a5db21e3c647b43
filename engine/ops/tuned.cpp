#include "ops/tuned.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "ops/kernel.h"

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
    const auto wrong = [&word](const Error& e) { return fail(ErrorCode::kCorrupt, "'{}': {}", word, e.message); };
    bool* const flag = name == "texel"       ? &t->texel
                       : name == "shuffle"   ? &t->shuffle
                       : name == "skip_rows" ? &t->skip_rows
                                             : nullptr;
    const KernelDef* kernel = nullptr;
    for (const KernelDef* k : all_kernels())
      if (k->constants && name == k->constants->word) kernel = k;
    if (!flag && !kernel) return fail(ErrorCode::kCorrupt, "'{}' is no constant", name);
    Result<std::vector<uint32_t>> read = numbers(value, kernel ? kernel->constants->count() : 1);
    if (!read) return wrong(read.error());
    if (flag) {
      *flag = (*read)[0] != 0;
      continue;
    }
    for (uint32_t v : *read)
      if (v == 0) return fail(ErrorCode::kCorrupt, "'{}': sizes are at least 1", word);
    only_kernel(*kernel, t);
    t->constants[kernel->name] = {std::move(*read)};
  }
  return check_tuning(*t);
}

void only_kernel(const KernelDef& kernel, Tuning* t) {
  for (const KernelDef* k : all_kernels())
    if (k != &kernel && k->op == kernel.op) t->constants.erase(k->name);
}

Result<void> check_tuning(const Tuning& t) {
  for (const KernelDef* k : all_kernels()) {
    if (!k->constants) continue;
    for (const Constants& c : t.of(k->name))
      if (c.size() != k->constants->count() || !k->constants->legal(c))
        return fail(ErrorCode::kCorrupt, "the constants of {} break the shader's rules", k->constants->word);
  }
  return {};
}

std::vector<std::string> tuning_candidates(OpKind op, const DeviceCaps& caps) {
  std::vector<std::string> all;
  for (const KernelDef* k : all_kernels()) {
    if (k->op != op || !k->constants || !k->constants->candidates) continue;
    k->constants->candidates(caps, [&all](std::string use) {
      Tuning probe;
      if (apply_tuning(use, &probe)) all.push_back(std::move(use));
    });
  }
  return all;
}

}  // namespace vireo
