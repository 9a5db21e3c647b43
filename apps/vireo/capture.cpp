// vireo capture: an inference in one file, to be replayed elsewhere: a bug report.
#include <vireo/capture.hpp>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "cli.h"
#include "pictures.h"

namespace cli {
namespace {

struct CaptureArgs {
  Common common;
  std::vector<std::string> images;
  std::string out;
  vireo::CaptureOptions options;
  bool no_weights = false, no_values = false, keep_all = false;
  int batch = 1;
  uint64_t seed = 1;
  std::string head;
};

constexpr vireo::Head kHeads[] = {vireo::Head::kLogits, vireo::Head::kFeatures, vireo::Head::kTokens,
                                  vireo::Head::kClassMap};

vireo::Head head_of(const CaptureArgs& args, const vireo::Model& model) {
  for (vireo::Head h : kHeads)
    if (args.head == vireo::to_string(h)) return h;
  return default_head(model);
}

vireo::CaptureReport take(const CaptureArgs& args, vireo::Session& session, const vireo::Model& model) {
  if (args.images.empty()) {
    const std::vector<float> pixels = random_pixels(pixel_count(model, session), args.seed);
    return need(vireo::capture(session, pixels.data(), pixels.size(), args.out, args.options));
  }
  std::vector<Rgb8> pictures;
  std::vector<vireo::Image> images;
  for (const std::string& path : args.images) pictures.push_back(one_picture("capture", path, args.common));
  for (const Rgb8& p : pictures) images.push_back({p.rgb.data(), p.width, p.height, 0});
  return need(vireo::capture(session, images.data(), int(images.size()), args.out, args.options));
}

void run(CaptureArgs args) {
  std::vector<std::string> inputs = model_files(args.common);
  inputs.insert(inputs.end(), args.images.begin(), args.images.end());
  check_outputs("capture", inputs, {args.out});
  if (std::count_if(args.images.begin(), args.images.end(), is_standard_input) > 1)
    throw UsageError("capture: standard input (-) is named twice; it can be read once");
  if (args.images.empty()) check_no_frame_options("capture", args.common);
  if (args.out == "-") throw UsageError("capture: --out is a file of tensors, give it a name");
  check_writable(args.out);
  if (args.no_weights) args.common.random = true;
  if (!args.images.empty()) args.batch = int(args.images.size());
  const vireo::Model model = open_model(args.common);
  vireo::SessionOptions options = session_options(args.common, args.common.device);
  options.head = head_of(args, model);
  options.batch = args.batch;
  options.keep_all = args.keep_all;
  vireo::Session session =
      need(vireo::Session::create(model, open_device(args.common.device, args.common.threads), options));
  args.options.values = !args.no_values;
  const vireo::CaptureReport report = take(args, session, model);
  if (args.common.json) {
    Json json{{"file", args.out},
              {"bytes", report.bytes},
              {"model", model.name()},
              {"device", device_json(session.device())},
              {"precision", precision_text(args.common)},
              {"batch", args.batch},
              {"values", report.values},
              {"notes", report.notes}};
    add_notes(json, model);
    print_json(json);
    return;
  }
  std::printf("%s\n%s\n", model.name().c_str(), device_line(session.device()).c_str());
  print_notes(model);
  for (const std::string& note : report.notes) std::printf("note: %s\n", note.c_str());
  std::printf("written to %s: %.2f MiB, %zu intermediate values; `vireo replay` runs it again\n", args.out.c_str(),
              double(report.bytes) / (1024 * 1024), report.values);
}

}  // namespace

void add_capture(CLI::App& app) {
  auto args = std::make_shared<CaptureArgs>();
  CLI::App* verb = app.add_subcommand(
      "capture", "write an inference with all that it needs to one file, for `vireo replay`: a bug report");
  CLI::Option* images =
      verb->add_option("images", args->images,
                       "pictures, as many as the batch (- is standard input); by default seeded random pixels")
          ->type_name("[IMAGE...]");
  add_common(*verb, args->common, kModel | kRandom | kDevice | kSession | kJson | kPictures | kFrames);
  verb->add_option("--out", args->out, "the file to write (safetensors)")->type_name("FILE")->required();
  verb->add_flag("--no-weights", args->no_weights,
                 "random weights of the model's config.json instead of its own: a small file that tells no secrets");
  verb->add_option("--head", args->head,
                   "what is computed: logits, features, tokens or class_map; by default what the model is for")
      ->type_name("NAME")
      ->check(one_of("head", [] {
        std::vector<std::string> names;
        for (vireo::Head h : kHeads) names.push_back(vireo::to_string(h));
        return names;
      }()));
  verb->add_option("--batch", args->batch, "images per inference, for random pixels")
      ->type_name("N")
      ->check(CLI::Range(1, 4096))
      ->excludes(images)
      ->capture_default_str();
  verb->add_option("--seed", args->seed, "of the random pixels")
      ->type_name("SEED")
      ->excludes(images)
      ->capture_default_str();
  CLI::Option* none = verb->add_flag("--no-values", args->no_values, "do not record intermediate values");
  verb->add_flag("--all-values", args->options.all_values, "record intermediate values whole, not samples of them")
      ->excludes(none);
  verb->add_flag("--keep-all", args->keep_all,
                 "capture a session that keeps every value, instead of one that uses memory again");
  verb->add_option("--note", args->options.note, "a sentence for whoever replays it")->type_name("TEXT");
  add_examples(*verb, {"vireo capture --model models/fashion-vit --out bug.vireo picture.jpg"});
  verb->callback([args] { run(*args); });
}

}  // namespace cli
