#include "predict_sweep.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/names.h"
#include "cli.h"
#include "interrupt.h"
#include "made.h"
#include "measure.h"
#include "page.h"

namespace cli {

/// The text of a file of models/configs/, such as "vit-ti.json"; null if there is none. (Generated at build time.)
const char* embedded_config(const std::string& file);

namespace {

struct Config {
  const char* name;
  const char* text;
};

const Config kCalibration[] = {
    {"vit-256",
     R"({"model_type":"vit","architectures":["ViTForImageClassification"],"image_size":160,"patch_size":16,"num_channels":3,"hidden_size":256,
"num_hidden_layers":4,"num_attention_heads":4,"intermediate_size":1024,"layer_norm_eps":1e-12,"hidden_act":"gelu","qkv_bias":true,"num_labels":100})"},
    {"vit-512",
     R"({"model_type":"vit","architectures":["ViTForImageClassification"],"image_size":240,"patch_size":16,"num_channels":3,"hidden_size":512,
"num_hidden_layers":3,"num_attention_heads":8,"intermediate_size":2048,"layer_norm_eps":1e-12,"hidden_act":"gelu","qkv_bias":true,"num_labels":1000})"},
    {"vit-896",
     R"({"model_type":"vit","architectures":["ViTForImageClassification"],"image_size":192,"patch_size":16,"num_channels":3,"hidden_size":896,
"num_hidden_layers":3,"num_attention_heads":14,"intermediate_size":3584,"layer_norm_eps":1e-12,"hidden_act":"gelu","qkv_bias":true,"num_labels":1000})"},
    {"dinov2-320",
     R"({"model_type":"dinov2","architectures":["Dinov2Model"],"image_size":308,"patch_size":14,"num_channels":3,"hidden_size":320,
"num_hidden_layers":3,"num_attention_heads":5,"mlp_ratio":4,"layer_norm_eps":1e-6,"hidden_act":"gelu","qkv_bias":true,"layerscale_value":1.0,"use_swiglu_ffn":false})"},
    {"mobilevit-96",
     R"({"model_type":"mobilevit","architectures":["MobileViTForImageClassification"],"num_channels":3,"image_size":256,"patch_size":2,
"num_attention_heads":4,"mlp_ratio":2.0,"expand_ratio":4.0,"hidden_act":"silu","conv_kernel_size":3,"output_stride":32,"layer_norm_eps":1e-05,"qkv_bias":true,
"hidden_sizes":[96,120,144],"neck_hidden_sizes":[16,32,48,64,80,96,384],"num_labels":1000})"},
    {"swin-64",
     R"({"model_type":"swin","architectures":["SwinForImageClassification"],"num_channels":3,"image_size":224,"patch_size":4,"embed_dim":64,
"depths":[2,2,2,1],"num_heads":[2,4,8,16],"num_layers":4,"hidden_size":512,"window_size":7,"mlp_ratio":4.0,"qkv_bias":true,"hidden_act":"gelu",
"layer_norm_eps":1e-05,"use_absolute_embeddings":false,"num_labels":1000})"},
    {"swinv2-64",
     R"({"model_type":"swinv2","architectures":["Swinv2ForImageClassification"],"num_channels":3,"image_size":192,"patch_size":4,"embed_dim":64,
"depths":[2,2,1,1],"num_heads":[2,4,8,16],"num_layers":4,"hidden_size":512,"window_size":6,"pretrained_window_sizes":[0,0,0,0],"mlp_ratio":4.0,"qkv_bias":true,
"hidden_act":"gelu","layer_norm_eps":1e-05,"use_absolute_embeddings":false,"num_labels":1000})"},
    {"upernet-mobilevit-64",
     R"({"model_type":"upernet","architectures":["UperNetForSemanticSegmentation"],"hidden_size":48,"pool_scales":[1,2,3,6],
"use_auxiliary_head":false,"num_labels":14,"backbone_config":{"model_type":"mobilevit","num_channels":3,"image_size":320,"patch_size":2,"num_attention_heads":4,
"mlp_ratio":2.0,"expand_ratio":2.0,"hidden_act":"silu","conv_kernel_size":3,"output_stride":32,"layer_norm_eps":1e-05,"qkv_bias":true,
"hidden_sizes":[64,80,96],"neck_hidden_sizes":[16,16,24,48,64,80,320],"out_indices":[2,3,4,5],"out_features":["stage2","stage3","stage4","stage5"]}})"},
};

/// What --sweep shows unless told otherwise: title and file of models/configs/.
const Config kSweep[] = {{"ViT-Ti/16", "vit-ti"}, {"ViT-S/16", "vit-s"},
                         {"ViT-B/16", "vit-b"},   {"MobileViT-S", "mobilevit-s"},
                         {"Swin-T", "swin-t"},    {"UPerNet+MobileViT-S", "upernet-mobilevit-s"}};

/// A model of a configuration that is no file yet: it becomes one for a moment, whose name is the model's.
vireo::Model model_of(const Config& c) {
  const char* const temporary = std::getenv("TMPDIR");
  std::string folder = std::string(temporary != nullptr ? temporary : "/tmp") + "/vireo-XXXXXX";
  if (!mkdtemp(folder.data()))
    throw Failure("cannot make a temporary folder like '" + folder + "'; set TMPDIR to a folder that can be written");
  std::string name = c.name;
  std::replace(name.begin(), name.end(), '/', '-');
  const std::string path = folder + "/" + name;
  struct Gone {
    const std::string &path, &folder;
    ~Gone() { unlink(path.c_str()), rmdir(folder.c_str()); }
  } gone{path, folder};
  write_file(path, c.text, std::string(c.text).size());
  return need(vireo::Model::random(path, 1));
}

vireo::Model model_at(const std::string& path) {
  struct stat s {};
  const bool config = path.size() > 5 && path.compare(path.size() - 5, 5, ".json") == 0 &&
                      stat(path.c_str(), &s) == 0 && S_ISREG(s.st_mode);
  return need(config ? vireo::Model::random(path, 1) : vireo::Model::open(path));
}

struct Row {
  std::string model, precision, error;
  int size = 0;
  vireo::Prediction p;
};

Row row_of(const std::string& name, const vireo::Model& model, const std::string& precision, int size,
           const std::string& caps, vireo::PredictOptions options) {
  (void)vireo::parse_precision(precision, &options.session.precision);  // one: the option's check saw to it
  options.session.height = options.session.width = size;
  options.session.head = default_head(model);
  Row r{name, precision, {}, size, {}};
  vireo::Result<vireo::Prediction> made = vireo::predict(model, caps, options);
  if (made) {
    r.p = std::move(*made);
  } else {
    const vireo::ErrorCode code = made.error().code;
    // A file that cannot be used fails the sweep; a size that this model cannot have fails its row.
    if (code == vireo::ErrorCode::kCorrupt || code == vireo::ErrorCode::kNotFound) throw Failure(made.error().message);
    r.error = made.error().message;
  }
  return r;
}

double fps(const vireo::Prediction& p) { return p.us > 0 ? p.batch / p.us * 1e6 : 0; }

std::string format(const char* f, double x) {
  char text[32];
  std::snprintf(text, sizeof text, f, x);
  return text;
}

/// A field of a CSV line (RFC 4180).
std::string quoted(const std::string& s) {
  std::string q = "\"";
  for (char c : s) q += c == '"' ? std::string("\"\"") : std::string(1, c);
  return q + '"';
}

Json report(const std::vector<Row>& rows, const std::string& caps, const std::string& machine,
            const std::string& device, const std::string& uncertainty, int batch) {
  Json j{{"schema", "vireo-sweep/1"},  {"made", made_for(caps)}, {"machine", machine},   {"device", device},
         {"uncertainty", uncertainty}, {"batch", batch},         {"rows", Json::array()}};
  for (const Row& r : rows) {
    Json row{{"model", r.model}, {"precision", r.precision}, {"size", r.size}};
    if (r.error.empty() && !r.p.notes.empty()) row["notes"] = r.p.notes;
    if (!r.error.empty()) row["error"] = r.error;
    else
      row.update({{"ms", r.p.us / 1000},
                  {"low_ms", r.p.low_us / 1000},
                  {"high_ms", r.p.high_us / 1000},
                  {"images_per_s", fps(r.p)},
                  {"roof_ms", r.p.roof_us / 1000},
                  {"ram_mib", mib(r.p.ram_bytes)},
                  {"weights_mib", mib(r.p.weights_bytes)}});
    j["rows"].push_back(row);
  }
  return j;
}

}  // namespace

std::vector<vireo::Model> calibration_models() {
  std::vector<vireo::Model> models;
  for (const Config& c : kCalibration) models.push_back(model_of(c));
  return models;
}

void sweep(const Sweep& what, const std::string& caps, vireo::PredictOptions options, bool json, const std::string& csv,
           const std::string& html) {
  std::vector<std::pair<std::string, vireo::Model>> models;
  if (what.models.empty())
    for (const Config& c : kSweep)
      if (const char* text = embedded_config(std::string(c.text) + ".json"))
        models.emplace_back(c.name, model_of({c.name, text}));
  for (const std::string& path : what.models) {
    vireo::Model m = model_at(path);
    const std::string name = m.name();
    models.emplace_back(name, std::move(m));
  }
  options.session.batch = what.batch;
  std::vector<Row> rows;
  std::string machine, device, uncertainty;
  const size_t all = models.size() * what.precisions.size() * what.sizes.size();
  const Interruptible meanwhile;
  Progress progress(all);
  for (const auto& m : models)
    for (const std::string& precision : what.precisions)
      for (int size : what.sizes) {
        if (interrupted()) break;
        progress.step(rows.size(), m.first);
        rows.push_back(row_of(m.first, m.second, precision, size, caps, options));
        if (rows.back().error.empty())
          machine = rows.back().p.machine, device = rows.back().p.device, uncertainty = rows.back().p.uncertainty;
      }
  progress.clear();
  if (rows.empty()) throw Interrupted("interrupted before the first row of the sweep");
  if (std::none_of(rows.begin(), rows.end(), [](const Row& r) { return r.error.empty(); }))
    throw Failure("no row of the sweep could be predicted; the first: " + rows.at(0).error);

  const Json all_rows = report(rows, caps, machine, device, uncertainty, what.batch);
  if (json) {
    Json done = all_rows;
    if (rows.size() < all) done["interrupted"] = true;
    print_json(done);
  } else {
    std::printf("%s (%s), batch %d\n%s\n\n%-22s %-6s %6s %9s %19s %9s %9s\n", machine.c_str(), device.c_str(),
                what.batch, uncertainty.c_str(), "model", "", "input", "ms", "range, ms", "images/s", "MiB");
    for (const Row& r : rows) {
      if (!r.error.empty())
        std::printf("%-22s %-6s %6d  %s\n", r.model.c_str(), r.precision.c_str(), r.size, r.error.c_str());
      else
        std::printf("%-22s %-6s %6d %9.1f %9.1f - %7.1f %9.1f %9.0f\n", r.model.c_str(), r.precision.c_str(), r.size,
                    r.p.us / 1000, r.p.low_us / 1000, r.p.high_us / 1000, fps(r.p), mib(r.p.ram_bytes));
      for (const std::string& n : r.p.notes) std::printf("%24snote: %s\n", "", n.c_str());
    }
  }
  if (!csv.empty()) {
    std::string text = "model,precision,size,ms,low_ms,high_ms,images_per_s,roof_ms,ram_mib,weights_mib,error\n";
    for (const Row& r : rows) {
      text += quoted(r.model) + "," + r.precision + "," + std::to_string(r.size);
      for (double x : {r.p.us / 1000, r.p.low_us / 1000, r.p.high_us / 1000, fps(r.p), r.p.roof_us / 1000,
                       mib(r.p.ram_bytes), mib(r.p.weights_bytes)})
        text += r.error.empty() ? format(",%.3f", x) : std::string(",");
      text += "," + quoted(r.error) + "\n";
    }
    write_file(csv, text.data(), text.size());
  }
  if (!html.empty()) {
    const std::string text = html_page("vireo predict", "sweep.js", all_rows);
    write_file(html, text.data(), text.size());
  }
  if (rows.size() < all)
    throw Interrupted("interrupted after " + std::to_string(rows.size()) + " of " + std::to_string(all) +
                      " rows of the sweep; the table is of these");
}

}  // namespace cli
