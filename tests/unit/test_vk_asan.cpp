// For the leak check of the address sanitizer: drivers and layers stay loaded, so that what they leak themselves has a
// name to suppress it by (tests/lsan.supp) and what their globals still reach is not taken for a leak.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VIREO_TEST_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(VIREO_TEST_ASAN)
extern "C" __attribute__((visibility("default"))) int dlclose(void*) noexcept { return 0; }
#endif
