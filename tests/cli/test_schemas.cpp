// The lists of fields in apps/README.md against what the tool prints with --json: every field that is printed is listed
// with its type, and every field that is listed is printed. The document is the only place where fields are named;
// here stands how each verb is run so that its optional fields show too.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <vireo/profile.hpp>

#include "classmap.h"
#include "cli/run_cli.h"
#include "cli/schema.h"
#include "support/patch.h"

namespace {

using cli_test::Answer;
using cli_test::compare;
using cli_test::Field;
using cli_test::find_unseen;
using cli_test::has_vulkan;
using cli_test::lines;
using cli_test::operator+;
using cli_test::read_document;
using cli_test::read_file;
using cli_test::read_line;
using cli_test::run_cli;
using cli_test::Scratch;
using cli_test::Words;
using nlohmann::json;

// --------------------------------------------------------------------------------------------------------- how to run

const std::string kShipped = std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit";
const std::string kPicture = kShipped + "/samples/03_dress.png";
const std::string kCases = std::string(VIREO_TEST_DATA) + "/cases/";
const std::string kGrey16 = std::string(VIREO_TEST_DATA) + "/images/grey16.png";
const std::string kVit = kCases + "hf-vit", kUperNet = kCases + "hf-upernet-vit";
const std::string kNano = std::string(VIREO_SOURCE_DIR) + "/engine/profile/caps/jetson-nano.txt";

/// Runs of a verb; those on Vulkan are left out where there is none, and then no field is asked for.
class Runs {
 public:
  explicit Runs(Field* block) : block_(block) {}

  /// `--json` is added.
  void run(const Words& words) {
    const Answer answer = run_cli(words + Words{"--json"});
    ASSERT_LE(answer.code, 1) << answer.text();
    std::string command = "vireo";
    for (const std::string& word : words) command += " " + word;
    check(answer.json(), command + "\n" + answer.text());
  }
  /// JSON that a verb wrote to a file.
  void check(const json& value, const std::string& what) {
    ASSERT_FALSE(value.is_discarded()) << "no JSON: " << what;
    std::set<std::string> wrong;
    compare(value, *block_, "", &wrong);
    EXPECT_TRUE(wrong.empty()) << what << "\n" << lines(wrong);
  }
  void on_cpu(const Words& words) { run(words + Words{"--device", "cpu"}); }
  void on_vulkan(const Words& words) {
    if (has_vulkan()) run(words + Words{"--device", "vulkan"});
    else left_out_ = true;
  }
  void needs_vulkan() { left_out_ |= !has_vulkan(); }
  void finish() const {
    std::set<std::string> wrong;
    find_unseen(*block_, "", &wrong);
    if (left_out_) GTEST_SKIP() << "no Vulkan device: what was run here agrees";
    EXPECT_TRUE(wrong.empty()) << lines(wrong);
  }

 private:
  Field* block_;
  bool left_out_ = false;
};

/// A copy that overflows in fp16 (an answer with a reason) and has nothing that says how pictures are prepared (a
/// warning).
std::string odd_model(const Scratch& scratch, const std::string& from, const std::string& tensor) {
  const std::string folder = scratch.make_folder("odd");
  vireo::test::patch_model(from, folder, {{tensor, 7, 70000.f}});
  remove((folder + "/preprocessor_config.json").c_str());
  return folder;
}
std::string odd_vit(const Scratch& scratch) {
  return odd_model(scratch, kVit, "vit.encoder.layer.1.output.dense.bias");
}
std::string odd_upernet(const Scratch& scratch) {
  return odd_model(scratch, kUperNet, "backbone.encoder.layer.1.output.dense.bias");
}

const Words kHalf{"--precision", "fp16"};

void run_devices(Runs& runs, const Scratch&) {
  runs.needs_vulkan();
  runs.run({"devices"});
}
void run_caps(Runs& runs, const Scratch&) { runs.run({"devices", "--caps", "cpu"}); }

/// Two frames of Y4M.
std::string film(const Scratch& scratch, int frames = 2) {
  std::string all = "YUV4MPEG2 W24 H16\n";
  for (int i = 0; i < frames; ++i) all += "FRAME\n" + std::string(24 * 16 * 3 / 2, 'x');
  return scratch.write("film.y4m", all);
}

void run_classify(Runs& runs, const Scratch& scratch) {
  runs.on_cpu({"classify", "--model", kShipped, "--deadline", "0.001", film(scratch)});
  runs.on_cpu({"classify", "--model", kShipped, "--hold-fps", "1000000", "--faster", kShipped + "-small",
               kShipped + "/samples"});
  runs.on_cpu({"classify", "--model", kShipped, kPicture, kGrey16, scratch.path("gone.png")});
  runs.on_cpu({"classify", "--model", kShipped, "--precision", "auto", kPicture});
  runs.on_vulkan(Words{"classify", "--model", odd_vit(scratch), kVit + "/0.png"} + kHalf);
}

void run_segment(Runs& runs, const Scratch& scratch) {
  runs.on_cpu({"segment", "--model", kUperNet, "--deadline", "0.001", film(scratch)});
  runs.on_cpu({"segment", "--model", kUperNet, "--hold-fps", "1000000", "--faster", kUperNet, film(scratch, 7)});
  runs.on_cpu({"segment", "--model", kUperNet, "--out-dir", scratch.path(), "--overlay", kUperNet + "/0.png", kGrey16,
               scratch.path("gone.png")});
  runs.on_vulkan(Words{"segment", "--model", odd_upernet(scratch), "--out-dir", scratch.path(), kUperNet + "/0.png"} +
                 kHalf);
}

void run_embed(Runs& runs, const Scratch& scratch) {
  const Words embed{"embed", "--out", scratch.path("e.npy"), "--model"};
  runs.on_cpu(embed + Words{kShipped, "--deadline", "0.001", film(scratch)});
  runs.on_cpu(embed + Words{kShipped, "--hold-fps", "1000000", "--faster", kShipped, kShipped + "/samples"});
  runs.on_cpu(embed + Words{kShipped, kPicture, kGrey16, scratch.path("gone.png")});
  runs.on_vulkan(embed + Words{odd_vit(scratch), kVit + "/0.png"} + kHalf);
}

void run_embed_lines(Runs& runs, const Scratch& scratch) {
  const Words embed{"embed", "--device", "cpu", "--model", kShipped, "--jsonl"};
  for (const Words& words :
       {embed + Words{"--deadline", "0.001", film(scratch)}, embed + Words{kGrey16, scratch.path("gone.png")}}) {
    std::istringstream lines(run_cli(words).out);
    for (std::string line; std::getline(lines, line);) runs.check(json::parse(line, nullptr, false), line);
  }
}

void run_kernels(Runs& runs, const Scratch&) {
  runs.on_cpu({"kernels"});
  runs.run({"kernels", "--caps", kNano});
}
void run_plan(Runs& runs, const Scratch&) {
  runs.on_cpu({"plan", "--model", kShipped});
  runs.on_cpu({"plan", "--model", kShipped, "--frame", "64x48"});
  runs.run({"plan", "--model", kShipped, "--caps", kNano, "--frame", "64x48", "--format", "nv12"});
  runs.on_cpu({"plan", "--model", kCases + "ct-swin-int8"});
  runs.run({"plan", "--model", kShipped, "--caps", kNano, "--cpu-ops", "attention"});
}

void run_shaders(Runs& runs, const Scratch& scratch) {
  const std::string folder = scratch.path("shaders");
  const Answer answer = run_cli({"plan", "--model", kShipped, "--caps", kNano, "--dump-shaders", folder});
  ASSERT_EQ(answer.code, 0) << answer.text();
  int files = 0;
  for (const std::string& name : Scratch::names_in(folder)) {
    if (name.size() < 5 || name.compare(name.size() - 5, 5, ".json") != 0) continue;
    runs.check(json::parse(read_file(folder + "/" + name), nullptr, false), name);
    ++files;
  }
  EXPECT_GE(files, 5);
}

void run_bench(Runs& runs, const Scratch& scratch) {
  const std::string odd = odd_vit(scratch);
  runs.on_cpu({"bench", "--model", odd, "--iters", "2", "--warmup", "1", "--beside", kVit + "/config.json"});
  runs.on_vulkan({"bench", "--model", kShipped, "--iters", "2", "--warmup", "1"});
  runs.on_cpu({"bench", "--model", kShipped, "--precision", "auto", "--iters", "1", "--warmup", "1"});
}

void run_diff(Runs& runs, const Scratch&) {
  runs.run({"diff", "--model", kShipped, "--a", "cpu", "--b", "cpu", kPicture});
  runs.on_vulkan({"diff", "--model", kShipped, "--all", "--tolerance", "0", kPicture});
}

void run_tune(Runs& runs, const Scratch& scratch) {
  runs.on_vulkan({"tune", "--model", kShipped, "--budget", "0.1", "--out", scratch.path("tuning.txt")});
}

void run_profile(Runs& runs, const Scratch&) {
  const Words profile{"profile", "--model", kShipped, "--runs", "1", "--warmup", "0", "--no-roofs"};
  runs.on_cpu(profile);
  runs.on_vulkan(profile + Words{"--phases", "--preprocess", "gpu"});
}

void run_comparison(Runs& runs, const Scratch& scratch) {
  const Words short_run{"--runs", "1", "--warmup", "0", "--no-roofs", "--no-compiler", "--json"};
  const auto profile = [&](const Words& model, const std::string& device, const std::string& name) {
    const Answer answer = run_cli(Words{"profile", "--device", device} + model + short_run + Words{scratch.path(name)});
    EXPECT_EQ(answer.code, 0) << answer.text();
    return scratch.path(name);
  };
  const std::string shipped = profile({"--model", kShipped}, "cpu", "a.json");
  const std::string other = profile({"--config", kVit + "/config.json"}, "cpu", "b.json");
  runs.run({"profile", "--compare", shipped, other});
  runs.run({"profile", "--compare", other, shipped});
  runs.needs_vulkan();
  if (!has_vulkan()) return;
  const std::string vulkan = profile({"--model", kShipped}, "vulkan", "c.json");
  runs.run({"profile", "--compare", vulkan, vulkan});
}

void run_predict(Runs& runs, const Scratch&) {
  runs.run({"predict", "--model", kShipped, "--caps", kNano, "--frame", "64x48"});
  runs.run(
      {"predict", "--model", kShipped, "--caps", std::string(VIREO_SOURCE_DIR) + "/engine/profile/caps/lavapipe.txt"});
}
void run_sweep(Runs& runs, const Scratch&) {
  // A Swin cannot have a map smaller than its window.
  runs.run({"predict", "--sweep", "--caps", kNano, "--models", kCases + "hf-swin/config.json," + kShipped,
            "--precisions", "fp32", "--sizes", "32,90"});
}
void run_list(Runs& runs, const Scratch&) { runs.run({"predict", "--list"}); }
void run_fit(Runs& runs, const Scratch& scratch) {
  const std::string config = kVit + "/config.json";
  runs.on_cpu({"predict", "--fit", scratch.path("fit.txt"), "--fit-on", config + "," + config, "--fit-precisions",
               "fp32", "--rounds", "1"});
}

void run_capture(Runs& runs, const Scratch& scratch) {
  runs.on_cpu({"capture", "--model", kShipped, "--out", scratch.path("a"), kPicture});
  runs.on_cpu({"capture", "--model", odd_vit(scratch), "--out", scratch.path("b")});
}

/// Two captures: with a model's weights, and of random ones.
Words captures(const Scratch& scratch) {
  const Words files{scratch.path("own.vireo"), scratch.path("random.vireo")};
  EXPECT_EQ(run_cli({"capture", "--model", kShipped, "--device", "cpu", "--out", files[0], kPicture}).code, 0);
  EXPECT_EQ(run_cli({"capture", "--model", kShipped, "--device", "cpu", "--out", files[1], "--no-weights"}).code, 0);
  return files;
}
void run_replay(Runs& runs, const Scratch& scratch) {
  for (const std::string& file : captures(scratch)) runs.on_cpu({"replay", file});
  runs.on_vulkan({"replay", scratch.path("own.vireo"), "--all", "--tolerance", "0"});
}
void run_replay_print(Runs& runs, const Scratch& scratch) {
  for (const std::string& file : captures(scratch)) runs.run({"replay", "--print", file});
}

void run_eval(Runs& runs, const Scratch& scratch) {
  const std::string npy = scratch.path("l.npy"), odd = odd_vit(scratch);
  const std::string data = scratch.make_folder("data");
  scratch.write("data/labels.csv", "file,label\na.png,LABEL_0\nb.png,LABEL_1\n");
  for (const char* name : {"data/a.png", "data/b.png"}) scratch.write(name, read_file(kVit + "/0.png"));
  const Words eval{"eval", "--data", data, "--model"};
  runs.on_cpu(eval + Words{kVit, "--logits", npy});
  runs.on_cpu(eval + Words{kVit, "--compare-logits", npy});
  scratch.write("data/b.png", "no picture");
  runs.on_cpu(eval + Words{odd});
  runs.on_vulkan(eval + Words{odd} + kHalf);
}

void run_eval_segmentation(Runs& runs, const Scratch& scratch) {
  const std::string data = scratch.make_folder("data");
  scratch.make_folder("data/images");
  scratch.make_folder("data/labels");
  cli::ClassMap map{64, 48, std::vector<uint8_t>(64 * 48, 1)};
  for (const char* name : {"a", "b"}) {
    scratch.write(std::string("data/images/") + name + ".png", read_file(kUperNet + "/0.png"));
    const std::vector<uint8_t> png = cli::encode_class_png(map);
    scratch.write(std::string("data/labels/") + name + ".png", std::string(png.begin(), png.end()));
    map.index.assign(map.index.size(), 99);  // no class: an error
  }
  const Words eval{"eval", "--segmentation", data, "--model"};
  runs.on_cpu(eval + Words{kUperNet});
  runs.on_vulkan(eval + Words{odd_upernet(scratch)} + kHalf);
}

void run_compress(Runs& runs, const Scratch& scratch) {
  const std::string data = scratch.make_folder("data");
  std::string labels = "file,label\n";
  for (int i = 0; i < 8; ++i) {
    const std::string name = std::to_string(i) + ".png";
    scratch.write("data/" + name, read_file(std::string(VIREO_TEST_DATA) + "/images/rgb8.png"));
    labels += name + ",LABEL_0\n";
  }
  scratch.write("data/labels.csv", labels + "9.png,LABEL_1\n");
  scratch.write("data/9.png", "no picture");
  const Words compress{"compress", "--force", "--out", scratch.path("out"), "--model"};
  const std::string plain = scratch.make_folder("plain"),
                    embed = std::string(VIREO_TEST_DATA) + "/cases/hf-vitmodel-embed";
  scratch.write("plain/0.png", read_file(embed + "/0.png"));
  // Two bits change answers; a picture that cannot be read is an error of the comparison.
  scratch.write("policy", "weights i2\n");
  runs.run(compress + Words{kVit, "--policy", scratch.path("policy"), "--calibrate", data, "--eval", data});
  runs.run(compress + Words{kVit, "--recipe", "w8+attn8+tome29"});
  runs.run(compress + Words{kVit, "--recipe", "prune15", "--calibrate", data});
  runs.run(compress + Words{embed, "--recipe", "w8", "--eval", plain});
}
void run_compress_list(Runs& runs, const Scratch&) { runs.run({"compress", "--list"}); }

void run_compress_sweep(Runs& runs, const Scratch& scratch) {
  for (int i = 0; i < 16; ++i)
    scratch.write(std::to_string(i) + ".png", read_file(std::string(VIREO_TEST_DATA) + "/images/rgb8.png"));
  runs.run({"compress", "--sweep", "--model", kVit, "--calibrate", scratch.path()});
}

void run_simulate(Runs& runs, const Scratch& scratch) {
  const std::string data = scratch.make_folder("data");
  scratch.write("data/a.png", read_file(std::string(VIREO_TEST_DATA) + "/images/rgb8.png"));
  scratch.write("data/labels.csv", "file,label\na.png,LABEL_0\n");
  scratch.write("policy", "weights i6\nrows asymmetric 6\n");
  runs.run({"simulate", "--model", kVit, "--policy", scratch.path("policy"), "--pictures", data});
}
void run_simulate_list(Runs& runs, const Scratch&) { runs.run({"simulate", "--list"}); }

void run_env(Runs& runs, const Scratch&) { runs.run({"env"}); }

void run_doctor(Runs& runs, const Scratch& scratch) {
  runs.run({"doctor"});
  // A board's files, which this machine may lack.
  const std::string sys = "sys", cpu = "sys/devices/system/cpu", freq = cpu + "/cpu0/cpufreq",
                    gpu = "sys/class/devfreq/57000000.gpu", zone = "sys/class/thermal/thermal_zone0";
  for (const std::string& folder : {std::string("etc"),
                                    std::string("etc/vulkan"),
                                    std::string("etc/vulkan/icd.d"),
                                    std::string("var"),
                                    std::string("var/lib"),
                                    std::string("var/lib/nvpmodel"),
                                    std::string("dev"),
                                    std::string("proc"),
                                    std::string("proc/device-tree"),
                                    sys,
                                    sys + "/devices",
                                    sys + "/devices/system",
                                    cpu,
                                    cpu + "/cpu0",
                                    freq,
                                    sys + "/class",
                                    sys + "/class/devfreq",
                                    gpu,
                                    sys + "/class/thermal",
                                    zone})
    scratch.make_folder(folder);
  for (const auto& [file, text] : std::vector<std::pair<std::string, std::string>>{
           {"etc/nv_tegra_release", "# R32 (release), REVISION: 7.6, GCID: 1"},
           {"etc/nvpmodel.conf", "< POWER_MODEL ID=0 NAME=MAXN >"},
           {"etc/vulkan/icd.d/nvidia_icd.json", R"({"ICD": {"library_path": "libGLX_nvidia.so.0"}})"},
           {"var/lib/nvpmodel/status", "pmode:0000"},
           {"proc/device-tree/model", "NVIDIA Jetson Nano Developer Kit"},
           {"dev/nvmap", ""},
           {cpu + "/present", "0-3"},
           {cpu + "/online", "0-3"},
           {freq + "/scaling_governor", "schedutil"},
           {freq + "/scaling_cur_freq", "102000"},
           {freq + "/scaling_max_freq", "1479000"},
           {freq + "/cpuinfo_max_freq", "1479000"},
           {gpu + "/governor", "nvhost_podgov"},
           {gpu + "/cur_freq", "76800000"},
           {gpu + "/max_freq", "921600000"},
           {gpu + "/available_frequencies", "76800000 921600000"},
           {zone + "/type", "GPU-therm"},
           {zone + "/temp", "37500"},
           {zone + "/trip_point_0_type", "passive"},
           {zone + "/trip_point_0_temp", "85000"}})
    scratch.write(file, text);
  runs.run({"doctor", "--root", scratch.path(), "--caps", "jetson-nano"});
}

struct Case {
  const char* block;
  void (*run)(Runs&, const Scratch&);
};
const Case kRuns[] = {{"devices", run_devices},
                      {"devices --caps", run_caps},
                      {"classify", run_classify},
                      {"segment", run_segment},
                      {"embed", run_embed},
                      {"embed --jsonl", run_embed_lines},
                      {"plan", run_plan},
                      {"kernels", run_kernels},
                      {"plan --dump-shaders", run_shaders},
                      {"bench", run_bench},
                      {"diff", run_diff},
                      {"tune", run_tune},
                      {"profile", run_profile},
                      {"profile --compare", run_comparison},
                      {"predict", run_predict},
                      {"predict --sweep", run_sweep},
                      {"predict --list", run_list},
                      {"predict --fit", run_fit},
                      {"capture", run_capture},
                      {"replay", run_replay},
                      {"replay --print", run_replay_print},
                      {"eval", run_eval},
                      {"eval --segmentation", run_eval_segmentation},
                      {"compress", run_compress},
                      {"compress --list", run_compress_list},
                      {"compress --sweep", run_compress_sweep},
                      {"simulate", run_simulate},
                      {"simulate --list", run_simulate_list},
                      {"doctor", run_doctor},
                      {"env", run_env}};

void PrintTo(const Case& c, std::ostream* out) { *out << c.block; }

class Schemas : public testing::TestWithParam<Case> {};

TEST_P(Schemas, AreWhatTheToolPrints) {
  auto blocks = read_document();
  const auto block = blocks.find(GetParam().block);
  ASSERT_NE(block, blocks.end()) << "apps/README.md has no block '```fields " << GetParam().block << "'";
  const Scratch scratch;
  Runs runs(block->second.get());
  GetParam().run(runs, scratch);
  runs.finish();
}

INSTANTIATE_TEST_SUITE_P(EveryVerb, Schemas, testing::ValuesIn(kRuns), [](const auto& info) {
  std::string name;
  for (const char c : std::string(info.param.block))
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) name += c;
  return name;
});

TEST(SchemasOf, EveryVerbThatPrintsJson) {
  const auto blocks = read_document();
  std::set<std::string> run;
  for (const Case& c : kRuns) run.insert(c.block);
  for (const auto& [name, block] : blocks) EXPECT_EQ(run.count(name), 1u) << "no test runs '" << name << "'";

  const std::string help = run_cli({"--help"}).out;
  std::istringstream text(help.substr(std::min(help.find("Subcommands:"), help.size())));
  std::string line;
  int verbs = 0;
  for (std::getline(text, line); std::getline(text, line);) {
    std::string verb;
    if (line.rfind("  ", 0) != 0 || line.size() < 3 || line[2] == ' ' || !(std::istringstream(line) >> verb)) continue;
    ++verbs;
    if (run_cli({verb, "--help"}).out.find("--json") == std::string::npos) continue;
    EXPECT_EQ(blocks.count(verb), 1u) << "'vireo " << verb << " --json' has no list of fields in apps/README.md";
  }
  EXPECT_GE(verbs, 14) << help;
}

/// What lavapipe cannot show: a driver that tells what its compiler made of a pipeline.
TEST(SchemasOf, AProfileWithStatisticsOfTheCompiler) {
  vireo::Profile profile;
  profile.dispatches.resize(2);
  profile.dispatches[0].compiler.subgroup_size = 32;
  profile.dispatches[0].compiler.registers = 40;
  profile.dispatches[0].compiler.values.push_back({});
  profile.dispatches[0].compiler.values[0].name = "Register count";
  auto blocks = read_document();
  ASSERT_EQ(blocks.count("profile"), 1u);
  blocks["profile"]->fields.erase("made");  // the tool adds it to what the library prints
  std::set<std::string> wrong;
  compare(json::parse(vireo::profile_json(profile)), *blocks["profile"], "", &wrong);
  EXPECT_TRUE(wrong.empty()) << lines(wrong);
  Field& compiler = *blocks["profile"]->fields["dispatches"]->element->fields["compiler"];
  EXPECT_TRUE(compiler.filled);
  find_unseen(compiler, "dispatches[].compiler", &wrong);
  EXPECT_TRUE(wrong.empty()) << lines(wrong);
}

/// The comparison itself finds what it is for.
TEST(SchemasOf, DifferencesAreFound) {
  Field root;
  for (const char* line : {"a.{b,c}  integer  two", "list[].name string", "some? number", "odd? string rare",
                           "maybe object or null", "maybe.x number or null", "free.* strings"})
    EXPECT_EQ(read_line(line, root), "");
  EXPECT_NE(read_line("a.b integer", root), "");
  EXPECT_NE(read_line("d text", root), "");
  const auto wrong = [&root](const char* text) {
    std::set<std::string> found;
    compare(json::parse(text), root, "", &found);
    return lines(found);
  };
  const auto unseen = [&root] {
    std::set<std::string> found;
    find_unseen(root, "", &found);
    return lines(found);
  };
  EXPECT_EQ(wrong(R"({"a":{"b":1,"c":2},"list":[],"maybe":null,"free":{}})"), "");
  EXPECT_EQ(unseen(),
            "  free.* is listed, and no run prints it\n  list[] is listed, and no run prints one\n"
            "  some is listed, and no run prints it\n");
  EXPECT_EQ(wrong(R"({"a":{"b":1,"c":2},"list":[{"name":"x"}],"some":1,"maybe":{"x":null},"free":{"y":["z"]}})"), "");
  EXPECT_EQ(unseen(), "");
  EXPECT_EQ(wrong(R"({"a":{"b":1.5,"d":2},"list":[{}],"maybe":{"x":"y"},"free":{"z":[1]},"odd":null})"),
            "  a.b is no integer: 1.5\n  a.c is listed without '?' and left out\n"
            "  a.d is printed, and the document does not list it\n  free.* is no strings: [1]\n"
            "  list[].name is listed without '?' and left out\n  maybe.x is no number: \"y\"\n"
            "  odd is no string: null\n");
  EXPECT_EQ(wrong(R"({"a":1,"list":{},"maybe":null,"free":null})"),
            "  a is no object\n  free is no object\n  list is no list\n");
}

}  // namespace
