// `vireo compress` with a budget or --sweep: pictures and machine for vireo::search_budget, and what it found as text
// and JSON.
#pragma once

#include <string>
#include <vector>
#include <vireo/budget.hpp>

#include "cli.h"
#include "compress_report.h"

namespace cli {

/// Where results of layers are kept while a run goes on. With `stays` it has the output's name and ".resume", and what
/// a run that was killed has left there is found by the next one; otherwise it is hidden and goes with this object.
class WorkFolder {
 public:
  /// `out`: the folder that will be written, or "" for a place among temporary files. Throws Failure.
  WorkFolder(const std::string& out, bool stays);
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  ~WorkFolder();

  const std::string& path() const { return path_; }
  /// The work is done: a folder that stays goes too.
  void done() { stays_ = false; }

 private:
  std::string path_;
  bool stays_;
};

struct SearchOptions {
  vireo::Budget budget;
  std::string caps;    // a file, beside a machine that is one
  std::string method;  // CompressOptions::method
  std::string work;    // folder of WorkFolder
  bool all = false;    // every candidate (--sweep), else those that the budget leaves
};

struct Found : vireo::BudgetFound {
  vireo::Budget budget;
  double seconds = 0;
};

/// Throws Failure where nothing can be judged, Interrupted after Ctrl-C.
Found search(const vireo::Model& model, const Common& common, const PictureSet& set, const std::vector<Sample>& samples,
             const SearchOptions& options);

/// Schema vireo-front/1.
Json front_json(const Found& found, const vireo::Model& model);
void print_front(const Found& found);

}  // namespace cli
