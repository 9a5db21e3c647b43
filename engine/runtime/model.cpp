// vireo::Model over LoadedModel.
#include "runtime/model_impl.h"

namespace vireo {
namespace {

std::string last_component(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

}  // namespace

Model Model::Impl::wrap(LoadedModel loaded, std::string name) {
  return Model(std::make_shared<const Impl>(Impl{std::move(loaded), std::move(name)}));
}

Result<Model> Model::open(const std::string& path) {
  return no_throw([&]() -> Result<Model> {
    VIREO_ASSIGN(LoadedModel loaded, LoadedModel::open(path));
    return Impl::wrap(std::move(loaded), last_component(path));
  });
}

Result<Model> Model::random(const std::string& config_path, uint64_t seed) {
  return no_throw([&]() -> Result<Model> {
    VIREO_ASSIGN(LoadedModel loaded, LoadedModel::open_config(config_path, seed));
    return Impl::wrap(std::move(loaded), last_component(config_path));
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
