// vireo env: the environment variables that Vireo reads, and how they are set now.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "cli.h"

namespace cli {
namespace {

void run(const Common& common) {
  if (common.json) {
    Json list = Json::array();
    for (const vireo::EnvVar& v : vireo::env_table()) {
      const char* now = std::getenv(v.name);
      Json entry{{"name", v.name}, {"type", v.type}, {"default", v.initial}, {"text", v.sentence}};
      entry["value"] = now ? Json(now) : Json();
      list.push_back(entry);
    }
    print_json(Json{{"variables", list}});
    return;
  }
  size_t name = 0, type = 0, initial = 0;
  for (const vireo::EnvVar& v : vireo::env_table()) {
    name = std::max(name, std::strlen(v.name));
    type = std::max(type, std::strlen(v.type));
    initial = std::max(initial, std::strlen(v.initial));
  }
  for (const vireo::EnvVar& v : vireo::env_table()) {
    std::printf("%-*s  %-*s  %-*s  %s", int(name), v.name, int(type), v.type, int(initial), v.initial, v.sentence);
    if (const char* now = std::getenv(v.name)) std::printf(" [now: %s]", now);
    std::printf("\n");
  }
}

}  // namespace

void add_env(CLI::App& app) {
  auto common = std::make_shared<Common>();
  CLI::App* verb = app.add_subcommand("env", "list the environment variables that Vireo reads");
  add_common(*verb, *common, kJson);
  add_examples(*verb, {"vireo env --json"});
  verb->callback([common] { run(*common); });
}

}  // namespace cli
