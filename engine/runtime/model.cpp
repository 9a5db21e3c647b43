// vireo::Model over LoadedModel.
#include "base/text.h"
#include "runtime/model_impl.h"

#include <algorithm>
#include <climits>

namespace vireo {
namespace {

std::string last_component(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return file_name(path);
}

/// A file's name, but of a config.json its folder's: that tells models apart.
std::string name_of_config(const std::string& path) {
  const std::string file = last_component(path);
  const size_t slash = path.find_last_of('/');
  if (file != "config.json" || slash == std::string::npos || slash == 0) return file;
  const std::string folder = last_component(path.substr(0, slash));
  return folder.empty() || folder == "." || folder == ".." ? file : folder;
}

}  // namespace

Model Model::Impl::wrap(LoadedModel loaded, std::string name) {
  return Model(std::make_shared<const Impl>(Impl{std::move(loaded), std::move(name)}));
}

Result<Model> Model::open(const std::string& path) { return open(path, ModelOptions{}); }

Result<Model> Model::open(const std::string& path, const ModelOptions& options) {
  return no_throw([&]() -> Result<Model> {
    VIREO_ASSIGN(LoadedModel loaded, LoadedModel::open(path, {options.config, options.architecture, options.weights}));
    return Impl::wrap(std::move(loaded), last_component(path));
  });
}

Result<Model> Model::random(const std::string& config_path, uint64_t seed) {
  return no_throw([&]() -> Result<Model> {
    VIREO_ASSIGN(LoadedModel loaded, LoadedModel::open_config(config_path, seed));
    return Impl::wrap(std::move(loaded), name_of_config(config_path));
  });
}

const std::string& Model::name() const { return impl_->name; }
const std::string& Model::architecture() const { return impl_->loaded.architecture(); }
int Model::input_height() const { return int(impl_->loaded.input_h()); }
int Model::input_width() const { return int(impl_->loaded.input_w()); }
bool Model::keeps_proportions() const { return vireo::keeps_proportions(impl_->loaded.preprocess()); }
void Model::input_size_for(int width, int height, int* input_height, int* input_width) const {
  *input_height = Model::input_height();
  *input_width = Model::input_width();
  if (!keeps_proportions() || width < 1 || height < 1) return;
  const auto [h, w] = resized_size(impl_->loaded.preprocess(), width, height);
  *input_height = int(std::min<int64_t>(h, INT_MAX));
  *input_width = int(std::min<int64_t>(w, INT_MAX));
}
int Model::channels() const { return int(impl_->loaded.channels()); }
Task Model::task() const { return impl_->loaded.task(); }
int Model::classes() const { return int(impl_->loaded.classes()); }
Scores Model::scores() const { return impl_->loaded.scores(); }
std::string Model::label(int index) const { return impl_->loaded.label(index); }
Precision Model::precision() const {
  const ModelSource& s = impl_->loaded.source();
  const bool says = (s.weights && s.weights->coded()) || (s.extension && s.extension->attention != Products::kF32);
  return says ? Precision::kCheckpoint : Precision::kFp32;
}
const std::vector<std::string>& Model::warnings() const { return impl_->loaded.warnings(); }

}  // namespace vireo
