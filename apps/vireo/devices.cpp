// vireo devices: which devices there are, and the capabilities of one as text.
#include <cstdio>
#include <memory>

#include "cli.h"

namespace cli {
namespace {

struct DevicesArgs {
  Common common;
  bool caps = false;
  std::string caps_of;  // "", "cpu" or a Vulkan device number
};

void print_caps(const DevicesArgs& args) {
  const std::string& which = args.caps_of;
  const std::string name = which.empty() ? "auto" : which == "cpu" ? "cpu" : "vulkan:" + which;
  const std::string caps = open_device(name, args.common.threads).caps_text();
  if (args.common.json) return print_json(Json{{"caps", caps}});
  std::fputs(caps.c_str(), stdout);
}

void run(const DevicesArgs& args) {
  if (args.caps) return print_caps(args);
  std::string why_not;
  const std::vector<vireo::Device> devices = vireo::Device::list(&why_not);
  if (args.common.json) {
    Json list = Json::array();
    for (const vireo::Device& d : devices) {
      Json entry{{"kind", d.kind()}, {"name", d.name()}};
      if (d.index() >= 0) entry["index"] = d.index(), entry["software"] = d.software();
      if (!d.reason().empty()) entry["reason"] = d.reason();
      list.push_back(entry);
    }
    print_json(Json{{"devices", list}, {"reason", why_not}});
    return;
  }
  for (const vireo::Device& d : devices) {
    const std::string id = d.index() >= 0 ? "vulkan:" + std::to_string(d.index()) : "cpu";
    const std::string note = !d.reason().empty() ? " (" + d.reason() + ")"
                             : d.software()      ? " (a software driver: auto takes the CPU before it)"
                                                 : "";
    std::printf("%-10s %s%s\n", id.c_str(), d.name().c_str(), note.c_str());
  }
  if (!why_not.empty()) std::printf("no Vulkan device: %s\n", why_not.c_str());
}

}  // namespace

void add_devices(CLI::App& app) {
  auto args = std::make_shared<DevicesArgs>();
  CLI::App* verb = app.add_subcommand("devices", "list the Vulkan devices and the CPU");
  CLI::Option* caps =
      verb->add_option("--caps", args->caps_of,
                       "print what a device can do, as `vireo plan --caps` reads it; N is a Vulkan device "
                       "number or cpu, by default the device that auto takes");
  caps->expected(0, 1)->type_name("[N]")->check([](const std::string& text) {
    const bool number = !text.empty() && text.size() < 6 && text.find_first_not_of("0123456789") == std::string::npos;
    return number || text.empty() || text == "cpu" ? std::string() : "'" + text + "' is no device number";
  });
  verb->add_option("--threads", args->common.threads, "CPU threads; 0 = all cores")
      ->type_name("N")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  add_common(*verb, args->common, kJson);
  add_examples(*verb, {"vireo devices", "vireo devices --caps > caps.txt"});
  verb->callback([args, caps] {
    args->caps = caps->count() > 0;
    run(*args);
  });
}

}  // namespace cli
