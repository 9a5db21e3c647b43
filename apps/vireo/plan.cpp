// vireo plan: the plan of a model for a device that is here, or for one of which only the capabilities are known.
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>

#include "cli.h"

namespace cli {
namespace {

struct Args {
  Common common;
  std::string caps;
  int batch = 1;
  bool tokens = false;
};

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || (file.peek() != std::ifstream::traits_type::eof() && !(text << file.rdbuf())))
    throw Failure("cannot read '" + path + "'; expected a text file of capabilities");
  return text.str();
}

void run(const Args& args) {
  const vireo::Model model = open_model(args.common);
  vireo::SessionOptions options = session_options(args.common, args.common.device);
  options.batch = args.batch;
  if (args.tokens) {
    options.head = vireo::Head::kTokens;
  } else if (model.classes() == 0) {
    options.head = vireo::Head::kFeatures;
  }
  const std::string caps =
      args.caps.empty() ? open_device(args.common.device, args.common.threads).caps_text() : read_text(args.caps);
  vireo::Result<std::string> planned = vireo::plan_text(model, caps, options, args.common.json);
  if (!planned && !args.caps.empty()) throw Failure("'" + args.caps + "': " + planned.error().message);
  const std::string text = need(std::move(planned));
  std::fputs(text.c_str(), stdout);
  if (text.empty() || text.back() != '\n') std::fputc('\n', stdout);
}

}  // namespace

void add_plan(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("plan", "print how a model would run: steps, barriers, memory");
  add_common(*verb, args->common, kModel | kRandom | kDevice | kSession | kJson);
  verb->add_option("--caps", args->caps,
                   "plan for the device of this file (vireo devices --caps) instead of --device; needs no Vulkan")
      ->type_name("FILE");
  verb->add_option("--batch", args->batch, "images per inference")
      ->type_name("N")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  verb->add_flag("--tokens", args->tokens, "plan for all tokens instead of classes or the pooled vector");
  verb->callback([args] { run(*args); });
}

}  // namespace cli
