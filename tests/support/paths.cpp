#include "support/paths.h"

namespace vireo_test {

const char* source_dir() { return VIREO_SOURCE_DIR_TEXT; }
const char* data_dir() { return VIREO_SOURCE_DIR_TEXT "/tests/golden"; }
const char* shared_dir() { return VIREO_SOURCE_DIR_TEXT "/../shared"; }
const char* cli() { return VIREO_CLI_TEXT; }

}  // namespace vireo_test
