// Sessions that answer the same question, from the best answer to the fastest, and the governor that moves among them.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <vector>

#include <vireo/governor.hpp>

#include "options.h"
#include "sessions.h"

namespace cli {

/// --hold-fps and --faster.
struct Governing {
  double fps = 0;
  std::vector<std::string> faster;
};
void add_governing(CLI::App& verb, Governing& governing);
/// Throws UsageError where one of the two was given alone.
void check_governing(const char* verb, const Governing& governing);

class GovernedSessions {
 public:
  /// Level 0 is `model`; each of --faster is MODEL or MODEL@HxW. Without a rate to hold level 0 is all. Where it is the
  /// same model, its checkpoint is mapped once. Throws Failure, also where a model answers another question than the
  /// first: other classes, or features of another length.
  GovernedSessions(const vireo::Model& model, const Common& common, vireo::Head head, const Governing& governing);

  /// Of the present level.
  Sessions& sessions() { return at(level()); }
  Sessions& at(int level) { return levels_[size_t(level)]->sessions; }
  int level() const { return governor_.level(); }
  int levels() const { return int(levels_.size()); }
  bool any() const { return levels_.size() > 1; }
  /// A frame's work took so long at this level, which need not be the present one any more. Tells people of a move on
  /// stderr.
  void frame(double ms, int level);
  /// "levels", "changes" and "saturated".
  void add_to(Json& json) const;

 private:
  void check_lengths();

  struct Level {
    Level(std::string name, const vireo::Model& model, const Common& how, vireo::Head head)
        : name(std::move(name)), model(model), common(how), sessions(this->model, common, head) {}
    std::string name;
    vireo::Model model;
    Common common;
    Sessions sessions;
    uint64_t frames = 0;
    uint64_t weights_bytes = 0, shared_weights_bytes = 0;  // as prepared
  };
  std::vector<std::unique_ptr<Level>> levels_;
  vireo::Governor governor_;
  std::vector<vireo::GovernorChange> changes_;
};

}  // namespace cli
