// vireo kernels: which kernel does which operator in which number formats on a device, and why not.
#include <cstdio>
#include <memory>
#include <vireo/kernels.hpp>

#include "cli.h"
#include "machines.h"

namespace cli {
namespace {

struct KernelsArgs {
  Common common;
  std::string caps;
};

void run(const KernelsArgs& args) {
  const std::string caps =
      args.caps.empty() ? open_device(args.common.device, args.common.threads).caps_text() : caps_argument(args.caps);
  vireo::Result<std::string> text = vireo::kernel_matrix(caps, args.common.json);
  if (!text && !args.caps.empty()) throw Failure("'" + args.caps + "': " + text.error().message);
  std::fputs(need(std::move(text)).c_str(), stdout);
}

}  // namespace

void add_kernels(CLI::App& app) {
  auto args = std::make_shared<KernelsArgs>();
  CLI::App* verb = app.add_subcommand("kernels", "print which kernels do which operators in which number formats");
  add_common(*verb, args->common, kDevice | kJson);
  verb->add_option("--caps", args->caps,
                   "of the device of this file (vireo devices --caps), or a built-in one (jetson-nano), instead of "
                   "--device; needs no Vulkan")
      ->type_name("FILE|NAME");
  add_examples(*verb, {"vireo kernels --device cpu", "vireo kernels --caps jetson-nano --json"});
  verb->callback([args] { run(*args); });
}

}  // namespace cli
