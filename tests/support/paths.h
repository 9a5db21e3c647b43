/* Where the tests find their data. Included before every source of a test program (tests/CMakeLists.txt). The folders
 * themselves are known to paths.cpp alone, so that what the compiler sees of the other sources is the same in every
 * checkout, and ccache can tell. */
#pragma once

#ifdef __cplusplus
namespace vireo_test {
const char* source_dir();  // the checkout
const char* data_dir();    // tests/golden
const char* shared_dir();  // beside the checkout: data that is not in the repository; may be absent
const char* cli();         // the command line tool
}  // namespace vireo_test

#define VIREO_SOURCE_DIR ::vireo_test::source_dir()
#define VIREO_TEST_DATA ::vireo_test::data_dir()
#define VIREO_SHARED ::vireo_test::shared_dir()
#define VIREO_CLI ::vireo_test::cli()
#endif
