// The one file that compiles CLI11: see options.h, whose names are CLI11's own. So CLI11's namespace has another one
// here.
#define CLI cli11
#include <CLI/CLI.hpp>
#undef CLI

#include <cstdio>
#include <sstream>

#include "options.h"

namespace CLI {

struct Validator::Impl {
  cli11::Validator real;
};

Validator::Validator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Validator::Validator(Check check, const std::string& description)
    : impl_(new Impl{cli11::Validator(std::move(check), description)}) {}
Validator::Validator(const Validator& other) : impl_(new Impl(*other.impl_)) {}
Validator::~Validator() = default;

Validator Range(int least, int most) {
  return Validator(std::unique_ptr<Validator::Impl>(new Validator::Impl{cli11::Range(least, most)}));
}
Validator Range(int64_t least, int64_t most) {
  return Validator(std::unique_ptr<Validator::Impl>(new Validator::Impl{cli11::Range(least, most)}));
}
Validator Range(double least, double most) {
  return Validator(std::unique_ptr<Validator::Impl>(new Validator::Impl{cli11::Range(least, most)}));
}
Validator IsMember(const std::vector<std::string>& names) {
  return Validator(std::unique_ptr<Validator::Impl>(new Validator::Impl{cli11::IsMember(names)}));
}
static cli11::Option& real(void* option) { return *static_cast<cli11::Option*>(option); }

Option* Option::type_name(const std::string& name) { return real(real_).type_name(name), this; }
Option* Option::group(const std::string& name) { return real(real_).group(name), this; }
Option* Option::default_str(const std::string& text) { return real(real_).default_str(text), this; }
Option* Option::capture_default_str() { return real(real_).capture_default_str(), this; }
Option* Option::delimiter(char c) { return real(real_).delimiter(c), this; }
Option* Option::expected(int count) { return real(real_).expected(count), this; }
Option* Option::allow_extra_args(bool value) { return real(real_).allow_extra_args(value), this; }
Option* Option::expected(int least, int most) { return real(real_).expected(least, most), this; }
Option* Option::required(bool value) { return real(real_).required(value), this; }
Option* Option::needs(Option* other) { return real(real_).needs(&real(other->real_)), this; }
Option* Option::excludes(Option* other) { return real(real_).excludes(&real(other->real_)), this; }
Option* Option::check(const Validator& validator) { return real(real_).check(validator.impl_->real), this; }
Option* Option::check(NonNegative) { return real(real_).check(cli11::NonNegativeNumber), this; }
Option* Option::check_with(const Check& check) { return real(real_).check(check), this; }
size_t Option::count() const { return real(real_).count(); }
const std::vector<std::string>& Option::get_lnames() const { return real(real_).get_lnames(); }

struct App::Impl {
  std::unique_ptr<cli11::App> owned;  // of the program's one; verbs belong to it
  cli11::App* real = nullptr;
  std::deque<Option> options;
  std::vector<std::unique_ptr<App>> verbs;
};

App::App(const std::string& description, const std::string& name) : impl_(new Impl) {
  impl_->owned = std::make_unique<cli11::App>(description, name);
  impl_->real = impl_->owned.get();
  keep(impl_->real->get_help_ptr());
}
App::App(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
App::~App() = default;

App* App::add_subcommand(const std::string& name, const std::string& description) {
  auto verb = std::make_unique<Impl>();
  verb->real = impl_->real->add_subcommand(name, description);
  impl_->verbs.push_back(std::unique_ptr<App>(new App(std::move(verb))));
  App* added = impl_->verbs.back().get();
  added->keep(added->impl_->real->get_help_ptr());
  return added;
}
void App::require_subcommand(int count) { impl_->real->require_subcommand(count); }
void App::set_version_flag(const std::string& flag, const std::string& text) {
  impl_->real->set_version_flag(flag, text);
}
App* App::footer(const std::string& text) { return impl_->real->footer(text), this; }
App* App::callback(std::function<void()> function) { return impl_->real->callback(std::move(function)), this; }

Option* App::keep(void* real) { return &impl_->options.emplace_back(real); }
Option* App::add_flag(const std::string& name, bool& value, const std::string& help) {
  return keep(impl_->real->add_flag(name, value, help));
}
template <typename T>
Option* App::add(const std::string& name, T& value, const std::string& help) {
  return keep(impl_->real->add_option(name, value, help));
}
Option* App::add_option(const std::string& name, std::string& value, const std::string& help) {
  return add(name, value, help);
}
Option* App::add_option(const std::string& name, int& value, const std::string& help) { return add(name, value, help); }
Option* App::add_option(const std::string& name, int64_t& value, const std::string& help) {
  return add(name, value, help);
}
Option* App::add_option(const std::string& name, uint32_t& value, const std::string& help) {
  return add(name, value, help);
}
Option* App::add_option(const std::string& name, uint64_t& value, const std::string& help) {
  return add(name, value, help);
}
Option* App::add_option(const std::string& name, double& value, const std::string& help) {
  return add(name, value, help);
}
Option* App::add_option(const std::string& name, std::vector<std::string>& value, const std::string& help) {
  return add(name, value, help);
}
Option* App::add_option(const std::string& name, std::vector<int>& value, const std::string& help) {
  return add(name, value, help);
}
template <>
Option* App::add_option_function<std::string>(const std::string& name,
                                              const std::function<void(const std::string&)>& function,
                                              const std::string& help) {
  return keep(impl_->real->add_option_function<std::string>(name, function, help));
}
template <>
Option* App::add_option_function<uint64_t>(const std::string& name,
                                           const std::function<void(const uint64_t&)>& function,
                                           const std::string& help) {
  return keep(impl_->real->add_option_function<uint64_t>(name, function, help));
}

void App::parse(int argc, const char* const* argv) {
  try {
    impl_->real->parse(argc, argv);
  } catch (const cli11::Success& e) {
    std::ostringstream text;
    impl_->real->exit(e, text, text);
    throw Success(text.str());
  } catch (const cli11::ParseError& e) {
    throw ParseError(e.what());
  }
}
void App::exit(const Success& success) const { std::fputs(success.what(), stdout); }
void App::clear() { impl_->real->clear(); }
bool App::parsed() const { return impl_->real->parsed(); }
size_t App::count(const std::string& option) const { return impl_->real->count(option); }
std::vector<std::string> App::remaining() const { return impl_->real->remaining(); }
std::string App::get_name() const { return impl_->real->get_name(); }
std::string App::help(const std::string& before) const { return impl_->real->help(before); }
std::vector<Option*> App::get_options() const {
  std::vector<Option*> all;
  for (Option& o : impl_->options) all.push_back(&o);
  return all;
}
std::vector<App*> App::get_subcommands() const {
  const std::vector<cli11::App*> given = impl_->real->get_subcommands();
  std::vector<App*> all;
  for (const cli11::App* g : given)
    for (const auto& verb : impl_->verbs)
      if (verb->impl_->real == g) all.push_back(verb.get());
  return all;
}
std::vector<App*> App::get_subcommands(const std::function<bool(const App*)>& takes) const {
  std::vector<App*> all;
  for (const auto& verb : impl_->verbs)
    if (!takes || takes(verb.get())) all.push_back(verb.get());
  return all;
}

bool detail::lexical_cast(const std::string& text, double& value) { return cli11::detail::lexical_cast(text, value); }

}  // namespace CLI
