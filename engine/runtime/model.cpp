// vireo::Model over LoadedModel.
#include "runtime/model_impl.h"

namespace vireo {
namespace {

std::string last_component(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

Result<std::shared_ptr<const Model::Impl>> wrap(Result<LoadedModel> loaded, const std::string& path) {
  if (!loaded) return std::move(loaded.error());
  auto impl = std::make_shared<Model::Impl>(Model::Impl{std::move(*loaded), last_component(path)});
  return std::shared_ptr<const Model::Impl>(std::move(impl));
}

}  // namespace

Result<Model> Model::open(const std::string& path) {
  return no_throw([&]() -> Result<Model> {
    VIREO_ASSIGN(std::shared_ptr<const Impl> impl, wrap(LoadedModel::open(path), path));
    return Model(std::move(impl));
  });
}

Result<Model> Model::random(const std::string& config_path, uint64_t seed) {
  return no_throw([&]() -> Result<Model> {
    VIREO_ASSIGN(std::shared_ptr<const Impl> impl, wrap(LoadedModel::open_config(config_path, seed), config_path));
    return Model(std::move(impl));
  });
}

const std::string& Model::name() const { return impl_->name; }
const std::string& Model::architecture() const { return impl_->loaded.architecture(); }
int Model::input_height() const { return int(impl_->loaded.input_h()); }
int Model::input_width() const { return int(impl_->loaded.input_w()); }
int Model::channels() const { return int(impl_->loaded.channels()); }
Task Model::task() const { return impl_->loaded.task(); }
int Model::classes() const { return int(impl_->loaded.classes()); }
std::string Model::label(int index) const { return impl_->loaded.label(index); }
const std::vector<std::string>& Model::warnings() const { return impl_->loaded.warnings(); }

}  // namespace vireo
