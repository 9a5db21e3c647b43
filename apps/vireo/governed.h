// Sessions that answer the same question, from the best answer to the fastest, and the governor that moves among them.
#pragma once

#include <list>
#include <string>
#include <vector>

#include <vireo/governor.hpp>

#include "sessions.h"

namespace cli {

class GovernedSessions {
 public:
  /// Level 0 is `model`; each of `faster` is MODEL or MODEL@HxW. Without a rate to hold (`fps` 0) level 0 is all.
  /// Throws Failure, also where a model has other classes than the first.
  GovernedSessions(const vireo::Model& model, const Common& common, vireo::Head head,
                   const std::vector<std::string>& faster, double fps);

  /// Of the present level.
  Sessions& sessions() { return levels_[size_t(governor_.level())]->sessions; }
  int level() const { return governor_.level(); }
  bool any() const { return levels_.size() > 1; }
  /// A frame's work took so long. Tells people of a move on stderr.
  void frame(double ms);
  /// "levels", "changes" and "saturated".
  void add_to(Json& json) const;

 private:
  struct Level {
    Level(std::string name, const vireo::Model& model, const Common& how, vireo::Head head)
        : name(std::move(name)), model(model), common(how), sessions(this->model, common, head) {}
    std::string name;
    vireo::Model model;
    Common common;
    Sessions sessions;
    uint64_t frames = 0;
  };
  std::vector<std::unique_ptr<Level>> levels_;
  vireo::Governor governor_;
  std::vector<vireo::GovernorChange> changes_;
};

}  // namespace cli
