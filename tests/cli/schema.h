// The lists of fields in apps/README.md, and what of a JSON object disagrees with one.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

namespace cli_test {

/// A field of the document, with those inside it.
struct Field {
  std::string type;  // empty: what its children make of it
  bool optional = false, null = false, rare = false;
  bool seen = false, filled = false;  // filled: seen as something else than null
  std::map<std::string, std::unique_ptr<Field>> fields;
  std::unique_ptr<Field> element;
};

/// One line of a block: a path, a type and a meaning. Empty, or what is wrong with it.
std::string read_line(const std::string& line, Field& root);

/// The blocks "```fields NAME" of the document.
std::map<std::string, std::unique_ptr<Field>> read_document();

/// Marks the fields that the value has as seen; `wrong` receives those that are not listed, of another type or left
/// out.
void compare(const nlohmann::json& value, Field& field, const std::string& path, std::set<std::string>* wrong);

/// Fields that no run printed; of what was only ever null nothing can be said.
void find_unseen(const Field& field, const std::string& path, std::set<std::string>* wrong);

std::string lines(const std::set<std::string>& wrong);

}  // namespace cli_test
