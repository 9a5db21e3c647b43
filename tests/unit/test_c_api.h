/* The cases of test_c_api.c. */
#ifndef VIREO_TEST_C_API_H
#define VIREO_TEST_C_API_H
#ifdef __cplusplus
extern "C" {
#endif
const char* c_api_version(void);
const char* c_api_defaults(void);
const char* c_api_null_arguments(void);
const char* c_api_bad_options(const char* model);
const char* c_api_missing_model(void);
const char* c_api_latency(const char* model);
const char* c_api_classify(const char* model);
const char* c_api_in_flight(const char* model);
const char* c_api_governor(void);
const char* c_api_shared_weights(const char* model, const char* device);
const char* c_api_devices(void);
const char* c_api_profile(const char* model);
#ifdef __cplusplus
}
#endif
#endif
