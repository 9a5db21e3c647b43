#include "made.h"

#include <ctime>

namespace cli {
namespace {

int g_argc = 0;
char** g_argv = nullptr;

/// The value of "key: value" in the text of a device's capabilities; empty when there is none.
std::string caps_line(const std::string& caps, const std::string& key) {
  const std::string lines = "\n" + caps, begin = "\n" + key + ": ";
  const size_t at = lines.find(begin);
  if (at == std::string::npos) return {};
  const size_t from = at + begin.size();
  return lines.substr(from, lines.find('\n', from) - from);
}

std::string driver_of(const std::string& caps) {
  const std::string named = caps_line(caps, "driver"), version = caps_line(caps, "driver_version");
  if (caps_line(caps, "kind") == "cpu" || (named.empty() && version.empty())) return {};
  return named.empty() ? "version " + version : named;
}

std::string date() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  char text[32] = "";
  if (gmtime_r(&now, &utc)) std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

}  // namespace

void set_command(int argc, char** argv) { g_argc = argc, g_argv = argv; }

std::string quoted_command(int argc, const char* const* argv) {
  static const char kPlain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%";
  std::string command;
  for (int i = 0; i < argc; ++i) {
    const std::string word = argv[i];
    if (i) command += ' ';
    if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) {
      command += word;
      continue;
    }
    command += '\'';
    for (char c : word) command += c == '\'' ? std::string("'\\''") : std::string(1, c);
    command += '\'';
  }
  return command;
}

Json made_of() {
  return Json{{"vireo", vireo::version()}, {"date", date()}, {"command", quoted_command(g_argc, g_argv)}};
}

Json made_on(const std::string& caps) {
  Json j = made_of();
  j["host"] = vireo::Device::cpu().name();
  if (const std::string driver = driver_of(caps); !driver.empty()) j["driver"] = driver;
  j["threads"] = std::atoi(caps_line(caps, "threads").c_str());
  return j;
}

Json made_for(const std::string& caps) {
  Json j = made_of();
  if (const std::string driver = driver_of(caps); !driver.empty()) j["driver"] = driver;
  return j;
}

Json with_made(const Json& report, const Json& made) {
  Json out = Json::object();
  for (const auto& [key, value] : report.items()) {
    if (out.empty() && key != "schema") out["made"] = made;
    out[key] = value;
    if (key == "schema") out["made"] = made;
  }
  return out;
}

}  // namespace cli
