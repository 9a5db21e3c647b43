// vireo plan: the plan of a model for a device that is here, or for one of which only the capabilities are known.
#include <dirent.h>
#include <sys/stat.h>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

#include "cli.h"
#include "machines.h"

namespace cli {
namespace {

struct PlanArgs {
  Common common;
  std::string caps;
  std::string shaders;
  int batch = 1;
  bool tokens = false;
};

/// An empty folder at `path`, made if there is none: files of an earlier plan beside new ones would be taken for its
/// own.
void open_folder(const std::string& path) {
  const auto refuse = [&path](const std::string& why) {
    throw Failure("cannot write shaders to '" + path + "': " + why);
  };
  if (path.empty()) refuse("the name is empty");
  if (mkdir(path.c_str(), 0777) == 0) return;
  if (errno != EEXIST) refuse(std::strerror(errno));
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(path.c_str()), closedir);
  if (!folder) refuse(std::strerror(errno));
  while (const dirent* entry = readdir(folder.get()))
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
      refuse("the folder is not empty; give a new or an empty one");
}

/// NN_name.spv and NN_name.json for every pipeline.
void write_shaders(const std::string& folder, const std::vector<vireo::PipelineDump>& pipelines) {
  if (pipelines.empty()) throw Failure("there are no shaders to write: every step of this plan runs on the CPU");
  open_folder(folder);
  int number = 0;
  for (const vireo::PipelineDump& p : pipelines) {
    char prefix[16];
    std::snprintf(prefix, sizeof prefix, "/%02d_", number++);
    const std::string path = folder + prefix + p.name;
    write_file(path + ".spv", p.spirv.data(), p.spirv.size() * sizeof(uint32_t));
    write_file(path + ".json", p.json.data(), p.json.size());
  }
}

void run(PlanArgs& args) {
  const vireo::Model model = open_model(args.common);
  vireo::SessionOptions options = session_options(args.common, args.common.device);
  options.batch = args.batch;
  options.frame = frame_shape(args.common);
  options.head = args.tokens ? vireo::Head::kTokens : default_head(model);
  const std::string caps =
      args.caps.empty() ? open_device(args.common.device, args.common.threads).caps_text() : caps_argument(args.caps);
  vireo::Result<std::string> planned = vireo::plan_text(model, caps, options, args.common.json);
  if (!planned && !args.caps.empty()) throw Failure("'" + args.caps + "': " + planned.error().message);
  const std::string text = need(std::move(planned));
  if (!args.shaders.empty()) write_shaders(args.shaders, need(vireo::plan_pipelines(model, caps, options)));
  std::fputs(text.c_str(), stdout);
  if (text.empty() || text.back() != '\n') std::fputc('\n', stdout);
}

}  // namespace

void add_plan(CLI::App& app) {
  auto args = std::make_shared<PlanArgs>();
  CLI::App* verb = app.add_subcommand("plan", "print how a model would run: steps, barriers, memory");
  add_common(*verb, args->common, kModel | kRandom | kDevice | kSession | kJson | kShape);
  verb->add_option(
          "--caps", args->caps,
          "plan for the device of this file (vireo devices --caps), or a built-in one (jetson-nano), instead of "
          "--device; needs no Vulkan")
      ->type_name("FILE|NAME");
  verb->add_option("--batch", args->batch, "images per inference")
      ->type_name("N")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  verb->add_option(
          "--dump-shaders", args->shaders,
          "also write each pipeline as NN_name.spv and NN_name.json (constants, workgroups, FLOPs) to this folder")
      ->type_name("FOLDER");
  verb->add_flag("--tokens", args->tokens, "plan for all tokens instead of classes or the pooled vector");
  add_examples(*verb, {"vireo plan --model models/fashion-vit --device cpu",
                       "vireo plan --model models/fashion-vit --caps caps.txt --precision fp16",
                       "vireo plan --model models/fashion-vit --caps jetson-nano --frame 1920x1080 --format nv12"});
  verb->callback([args] { run(*args); });
}

}  // namespace cli
