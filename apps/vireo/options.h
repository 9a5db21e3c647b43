// What the verbs use of CLI11, under its names and with its meaning. CLI11 is a library of headers: each file that saw
// it compiled its parser once more, which was most of the tool's build. Here options.cpp alone does.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace CLI {

/// What is wrong with the command line.
struct ParseError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// Not an error: --help or --version was given; what() is the text that exit() prints.
struct Success : ParseError {
  using ParseError::ParseError;
};
/// An option's value is refused; for callbacks.
struct ValidationError : ParseError {
  ValidationError(const std::string& option, const std::string& message) : ParseError(option + ": " + message) {}
};

/// Returns what is wrong with a value, or nothing.
using Check = std::function<std::string(const std::string&)>;

class Validator {
 public:
  /// `description` is shown beside the option's type.
  Validator(Check check, const std::string& description);
  ~Validator();
  Validator(const Validator&);
  Validator& operator=(const Validator&) = delete;

 private:
  friend class Option;
  friend Validator Range(int, int);
  friend Validator Range(int64_t, int64_t);
  friend Validator Range(double, double);
  friend Validator IsMember(const std::vector<std::string>&);
  struct Impl;
  explicit Validator(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};
Validator Range(int least, int most);
Validator Range(int64_t least, int64_t most);
Validator Range(double least, double most);
Validator IsMember(const std::vector<std::string>& names);
struct NonNegative {};
constexpr NonNegative NonNegativeNumber{};

class Option {
 public:
  explicit Option(void* real) : real_(real) {}
  Option(const Option&) = delete;
  Option& operator=(const Option&) = delete;

  Option* type_name(const std::string& name);
  Option* group(const std::string& name);
  Option* default_str(const std::string& text);
  Option* capture_default_str();
  Option* delimiter(char c);
  Option* expected(int count);
  /// Of a list: one value behind each time that the option is given.
  Option* allow_extra_args(bool value);
  Option* expected(int least, int most);
  Option* required(bool value = true);
  Option* needs(Option* other);
  Option* excludes(Option* other);
  Option* check(const Validator& validator);
  Option* check(NonNegative);
  /// A function that takes a string and returns what is wrong with it.
  template <typename F>
  Option* check(F function) {
    return check_with(Check(std::move(function)));
  }
  size_t count() const;
  bool empty() const { return count() == 0; }
  const std::vector<std::string>& get_lnames() const;

 private:
  Option* check_with(const Check& check);
  void* real_;  // CLI11's, which lives as long as the App
};

class App {
 public:
  explicit App(const std::string& description, const std::string& name);
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  App* add_subcommand(const std::string& name, const std::string& description);
  void require_subcommand(int count);
  void set_version_flag(const std::string& flag, const std::string& text);
  App* footer(const std::string& text);
  App* callback(std::function<void()> function);

  Option* add_flag(const std::string& name, bool& value, const std::string& help);
  Option* add_option(const std::string& name, std::string& value, const std::string& help);
  Option* add_option(const std::string& name, bool& value, const std::string& help) = delete;  // a flag
  Option* add_option(const std::string& name, int& value, const std::string& help);
  Option* add_option(const std::string& name, int64_t& value, const std::string& help);
  Option* add_option(const std::string& name, uint32_t& value, const std::string& help);
  Option* add_option(const std::string& name, uint64_t& value, const std::string& help);
  Option* add_option(const std::string& name, double& value, const std::string& help);
  Option* add_option(const std::string& name, std::vector<std::string>& value, const std::string& help);
  Option* add_option(const std::string& name, std::vector<int>& value, const std::string& help);
  /// T: std::string or uint64_t.
  template <typename T>
  Option* add_option_function(const std::string& name, const std::function<void(const T&)>& function,
                              const std::string& help);

  /// Throws ParseError, Success, or what a callback throws.
  void parse(int argc, const char* const* argv);
  void exit(const Success& success) const;
  void clear();
  bool parsed() const;
  /// How often the option was given.
  size_t count(const std::string& option) const;
  std::vector<std::string> remaining() const;
  std::string get_name() const;
  std::string help(const std::string& before = "") const;
  std::vector<Option*> get_options() const;
  /// Verbs that were given on the command line; those that the function takes, among all of them.
  std::vector<App*> get_subcommands() const;
  std::vector<App*> get_subcommands(const std::function<bool(const App*)>& takes) const;

 private:
  struct Impl;
  explicit App(std::unique_ptr<Impl> impl);
  template <typename T>
  Option* add(const std::string& name, T& value, const std::string& help);
  Option* keep(void* real);
  std::unique_ptr<Impl> impl_;
};

template <>
Option* App::add_option_function<std::string>(const std::string& name,
                                              const std::function<void(const std::string&)>& function,
                                              const std::string& help);
template <>
Option* App::add_option_function<uint64_t>(const std::string& name,
                                           const std::function<void(const uint64_t&)>& function,
                                           const std::string& help);

namespace detail {
/// The whole text as a number; false when it is none.
bool lexical_cast(const std::string& text, double& value);
}  // namespace detail

}  // namespace CLI
