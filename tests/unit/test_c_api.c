/* The C ABI as a C99 program uses it. Called case by case from test_c_api.cpp; each returns NULL or what went wrong. */
#include "test_c_api.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vireo/vireo.h>

#define EXPECT(condition)                            \
  do {                                               \
    if (!(condition)) return "expected " #condition; \
  } while (0)

const char* c_api_version(void) {
  EXPECT(vireo_version() != NULL);
  EXPECT(strchr(vireo_version(), '.') != NULL);
  return NULL;
}

const char* c_api_defaults(void) {
  vireo_options options;
  memset(&options, 0xff, sizeof options);
  vireo_options_init(&options);
  EXPECT(options.struct_size == sizeof options);
  EXPECT(strcmp(options.device, "auto") == 0);
  EXPECT(options.precision == VIREO_CHECKPOINT && options.head == VIREO_LOGITS && options.batch == 1);
  EXPECT(options.height == 0 && options.width == 0 && options.threads == 0 && options.cache_dir == NULL);
  EXPECT(options.latency_window == 0 && options.on_inference == NULL && options.user == NULL);
  EXPECT(options.no_recompute == 0 && options.shared_weights == NULL);
  vireo_options_init(NULL);
  return NULL;
}

const char* c_api_null_arguments(void) {
  vireo_error error;
  vireo_session* session = (vireo_session*)&error;
  vireo_output out;
  vireo_score score;
  float pixel = 0;
  uint8_t rgb[3] = {0, 0, 0};
  EXPECT(vireo_open(NULL, NULL, &session, &error) == VIREO_INVALID_ARGUMENT);
  EXPECT(session == NULL);
  EXPECT(error.status == VIREO_INVALID_ARGUMENT && error.message[0] != '\0');
  EXPECT(vireo_open("x", NULL, NULL, NULL) == VIREO_INVALID_ARGUMENT);
  EXPECT(vireo_run_rgb(NULL, rgb, 1, 1, 0, &out, &error) == VIREO_INVALID_ARGUMENT);
  EXPECT(strstr(error.message, "session") != NULL);
  EXPECT(vireo_run_pixels(NULL, &pixel, 1, &out, NULL) == VIREO_INVALID_ARGUMENT);
  EXPECT(vireo_run_images(NULL, NULL, 1, &out, NULL) == VIREO_INVALID_ARGUMENT);
  EXPECT(vireo_top_k(NULL, 0, 1, &score) == 0);
  EXPECT(vireo_label(NULL, 0)[0] == '\0');
  EXPECT(vireo_classes(NULL) == 0 && vireo_batch(NULL) == 0);
  EXPECT(vireo_input_height(NULL) == 0 && vireo_input_width(NULL) == 0 && vireo_input_channels(NULL) == 0);
  {
    vireo_latency latency;
    EXPECT(vireo_get_latency(NULL, &latency, &error) == VIREO_INVALID_ARGUMENT);
    EXPECT(strstr(error.message, "vireo_get_latency: session is NULL") != NULL);
  }
  vireo_close(NULL);
  return NULL;
}

struct seen {
  int calls;
  uint64_t number;
  double ms;
  int fell_back;
  char kind[16];
};

static void note(const vireo_inference* inference, void* user) {
  struct seen* seen = (struct seen*)user;
  ++seen->calls;
  seen->number = inference->number;
  seen->ms = inference->ms;
  seen->fell_back = inference->fell_back;
  snprintf(seen->kind, sizeof seen->kind, "%s", inference->device_kind);
}

const char* c_api_latency(const char* model) {
  vireo_error error;
  vireo_session* session = NULL;
  vireo_options options;
  vireo_latency latency;
  vireo_output out;
  struct seen seen;
  struct {
    vireo_latency known;
    double later;
  } newer;
  uint8_t rgb[28 * 28 * 3];
  int i;

  memset(&seen, 0, sizeof seen);
  memset(rgb, 99, sizeof rgb);
  vireo_options_init(&options);
  options.device = "cpu";
  options.latency_window = 2;
  options.on_inference = note;
  options.user = &seen;
  EXPECT(vireo_open(model, &options, &session, &error) == VIREO_OK);
  EXPECT(vireo_get_latency(session, &latency, &error) == VIREO_OK);
  EXPECT(latency.count == 0 && latency.window == 0 && latency.max_ms == 0);
  for (i = 1; i <= 3; ++i) {
    EXPECT(vireo_run_rgb(session, rgb, 28, 28, 0, &out, &error) == VIREO_OK);
    EXPECT(seen.calls == i && seen.number == (uint64_t)i && seen.ms == out.ms && seen.fell_back == 0);
    EXPECT(strcmp(seen.kind, "cpu") == 0);
  }
  EXPECT(vireo_get_latency(session, &latency, &error) == VIREO_OK);
  EXPECT(latency.count == 3 && latency.window == 2 && latency.last_ms == out.ms);
  EXPECT(latency.min_ms > 0 && latency.min_ms <= latency.p50_ms && latency.p50_ms <= latency.p99_ms &&
         latency.p99_ms <= latency.max_ms);
  EXPECT(vireo_get_latency(session, NULL, &error) == VIREO_INVALID_ARGUMENT);
  /* A program that is newer than this library, and one that is older. */
  memset(&newer, 0xff, sizeof newer);
  EXPECT(vireo_get_latency_sized(session, &newer.known, sizeof newer, &error) == VIREO_OK);
  EXPECT(newer.known.count == 3 && newer.later == 0);
  memset(&latency, 0xff, sizeof latency);
  EXPECT(vireo_get_latency_sized(session, &latency, offsetof(vireo_latency, window), &error) == VIREO_OK);
  EXPECT(latency.count == 3 && latency.window == -1);
  vireo_close(session);

  /* A program of before these options: its struct ends at cache_dir, and what lies behind is not its options. */
  vireo_options_init_sized(&options, offsetof(vireo_options, latency_window));
  options.device = "cpu";
  options.latency_window = -5;
  EXPECT(vireo_open(model, &options, &session, &error) == VIREO_OK);
  vireo_close(session);
  vireo_options_init(&options);
  options.latency_window = -5;
  EXPECT(vireo_open(model, &options, &session, &error) == VIREO_INVALID_ARGUMENT);
  EXPECT(strstr(error.message, "latency_window is -5") != NULL);
  return NULL;
}

const char* c_api_bad_options(const char* model) {
  vireo_error error;
  vireo_session* session = NULL;
  vireo_options options;
  vireo_options_init(&options);
  options.device = "toaster";
  EXPECT(vireo_open(model, &options, &session, &error) == VIREO_INVALID_ARGUMENT);
  EXPECT(strstr(error.message, "toaster") != NULL);
  vireo_options_init(&options);
  options.struct_size = 8;
  EXPECT(vireo_open(model, &options, &session, &error) == VIREO_INVALID_ARGUMENT);
  EXPECT(strstr(error.message, "vireo_options_init") != NULL);
  vireo_options_init(&options);
  options.precision = (vireo_precision)77;
  EXPECT(vireo_open(model, &options, &session, &error) == VIREO_INVALID_ARGUMENT);
  vireo_options_init(&options);
  options.device = "cpu";
  options.batch = 0;
  EXPECT(vireo_open(model, &options, &session, &error) != VIREO_OK);
  EXPECT(session == NULL && error.message[0] != '\0');
  return NULL;
}

const char* c_api_missing_model(void) {
  vireo_error error;
  vireo_session* session = NULL;
  vireo_status status = vireo_open("/no/such/folder", NULL, &session, &error);
  EXPECT(status == VIREO_NOT_FOUND || status == VIREO_IO);
  EXPECT(error.status == status);
  EXPECT(strstr(error.message, "/no/such/folder") != NULL);
  return NULL;
}

const char* c_api_in_flight(const char* model) {
  vireo_error error;
  vireo_session* session = NULL;
  vireo_options options;
  vireo_picture picture;
  vireo_output out;
  uint8_t rgb[28 * 28 * 3];
  uint32_t first, second, third;
  float expected[2], *pixels;
  size_t i, count;
  for (i = 0; i < sizeof rgb; ++i) rgb[i] = (uint8_t)(i * 7);
  vireo_options_init(&options);
  options.device = "cpu";
  EXPECT(vireo_open(model, &options, &session, &error) == VIREO_OK);
  vireo_picture_init(&picture);
  vireo_picture_packed(&picture, VIREO_RGB, rgb, 28, 28);
  EXPECT(vireo_run_pictures(session, &picture, 1, 0, 0, &out, &error) == VIREO_OK);
  expected[0] = out.data[0];
  count =
      (size_t)vireo_input_channels(session) * (size_t)vireo_input_height(session) * (size_t)vireo_input_width(session);
  pixels = calloc(count, sizeof *pixels);
  EXPECT(pixels != NULL);
  EXPECT(vireo_run_pixels(session, pixels, count, &out, &error) == VIREO_OK);
  expected[1] = out.data[0];
  EXPECT(expected[0] != expected[1]);

  EXPECT(vireo_submit_pictures(session, &picture, 1, 0, 0, &first, &error) == VIREO_OK);
  EXPECT(vireo_submit_pixels(session, pixels, count, &second, &error) == VIREO_OK);
  EXPECT(first != second);
  EXPECT(vireo_submit_pixels(session, pixels, count, &third, &error) == VIREO_INVALID_ARGUMENT);
  EXPECT(error.message[0] != '\0');
  EXPECT(vireo_wait(session, second, &out, &error) == VIREO_OK && out.data[0] == expected[1]);
  EXPECT(vireo_wait(session, first, &out, &error) == VIREO_OK && out.data[0] == expected[0]);
  EXPECT(vireo_wait(session, first, &out, &error) == VIREO_INVALID_ARGUMENT);
  EXPECT(vireo_submit_pictures(session, &picture, 2, 0, 0, &first, &error) == VIREO_INVALID_ARGUMENT);
  EXPECT(strstr(error.message, "vireo_submit_pictures: got 2 pictures") != NULL);
  picture.struct_size = 8;
  EXPECT(vireo_submit_pictures(session, &picture, 1, 0, 0, &first, &error) == VIREO_INVALID_ARGUMENT);
  EXPECT(strstr(error.message, "vireo_picture_init") != NULL);
  EXPECT(vireo_submit_pixels(session, pixels, count, NULL, &error) == VIREO_INVALID_ARGUMENT);
  EXPECT(strstr(error.message, "ticket is NULL") != NULL);
  free(pixels);
  vireo_close(session);
  return NULL;
}

const char* c_api_governor(void) {
  vireo_error error;
  vireo_governor* governor = NULL;
  int i, changes = 0;
  EXPECT(vireo_governor_open(0, 10.0, &governor, &error) == VIREO_INVALID_ARGUMENT && governor == NULL);
  EXPECT(strstr(error.message, "expected 1 to 1000 levels") != NULL);
  EXPECT(vireo_governor_open(2, HUGE_VAL, &governor, &error) == VIREO_INVALID_ARGUMENT && governor == NULL);
  EXPECT(vireo_governor_open(2, 0.0, &governor, &error) == VIREO_INVALID_ARGUMENT && governor == NULL);
  EXPECT(vireo_governor_open(2, 10.0, NULL, &error) == VIREO_INVALID_ARGUMENT);
  EXPECT(vireo_governor_level(NULL) == 0 && vireo_governor_frame(NULL, 1.0, 1.0) == 0);
  EXPECT(vireo_governor_saturated(NULL) == 0 && strcmp(vireo_governor_change(NULL), "") == 0);
  vireo_governor_close(NULL);

  /* Frames of 150 ms where 100 are to be had: the faster session takes over, and that one is too slow as well. */
  EXPECT(vireo_governor_open(2, 10.0, &governor, &error) == VIREO_OK && governor != NULL);
  EXPECT(vireo_governor_level(governor) == 0 && strcmp(vireo_governor_change(governor), "") == 0);
  for (i = 0; i < 20; ++i) changes += vireo_governor_frame(governor, 150.0, 0.15 * i);
  EXPECT(changes == 1 && vireo_governor_level(governor) == 1);
  EXPECT(strstr(vireo_governor_change(governor), "level 1 of 0 to 1") != NULL);
  EXPECT(vireo_governor_saturated(governor) == 1);
  vireo_governor_close(governor);
  return NULL;
}

/* Two sessions, as a governor's levels are: the second one adds its buffers alone, and outlives the first and what they
 * share. */
const char* c_api_shared_weights(const char* model, const char* device) {
  vireo_error error;
  vireo_options options;
  vireo_session *first = NULL, *second = NULL, *alone = NULL;
  vireo_footprint one, two, own;
  vireo_output expected, got;
  uint8_t rgb[28 * 28 * 3];
  size_t i;
  vireo_shared_weights* weights = vireo_shared_weights_open();
  EXPECT(weights != NULL);
  vireo_shared_weights_close(NULL);
  EXPECT(vireo_get_footprint(NULL, &one, &error) == VIREO_INVALID_ARGUMENT);
  EXPECT(strstr(error.message, "vireo_get_footprint: session is NULL") != NULL);

  vireo_options_init(&options);
  options.device = device;
  options.cache_dir = "-";
  EXPECT(vireo_open(model, &options, &alone, &error) == VIREO_OK);
  options.shared_weights = weights;
  EXPECT(vireo_open(model, &options, &first, &error) == VIREO_OK);
  EXPECT(vireo_open(model, &options, &second, &error) == VIREO_OK);
  EXPECT(vireo_get_footprint(first, NULL, &error) == VIREO_INVALID_ARGUMENT);
  EXPECT(vireo_get_footprint(alone, &own, &error) == VIREO_OK);
  EXPECT(vireo_get_footprint(first, &one, &error) == VIREO_OK);
  EXPECT(vireo_get_footprint(second, &two, &error) == VIREO_OK);
  EXPECT(own.arena_bytes > 0 && own.weights_bytes > 0 && own.shared_weights_bytes == 0);
  EXPECT(one.weights_bytes == own.weights_bytes && two.weights_bytes == own.weights_bytes);
  EXPECT(one.shared_weights_bytes == 0 && two.shared_weights_bytes == two.weights_bytes);

  vireo_shared_weights_close(weights);
  vireo_close(first);
  for (i = 0; i < sizeof rgb; ++i) rgb[i] = (uint8_t)(i * 7);
  EXPECT(vireo_run_rgb(alone, rgb, 28, 28, 0, &expected, &error) == VIREO_OK);
  EXPECT(vireo_run_rgb(second, rgb, 28, 28, 0, &got, &error) == VIREO_OK);
  for (i = 0; i < (size_t)expected.cols; ++i) EXPECT(got.data[i] == expected.data[i]);
  vireo_close(alone);
  vireo_close(second);
  return NULL;
}

const char* c_api_devices(void) {
  vireo_device devices[16];
  struct newer {
    vireo_device device;
    int more;
  } newer[2];
  int count = vireo_list_devices(NULL, 0), i;
  EXPECT(count >= 1 && count <= 16);
  EXPECT(vireo_list_devices(devices, 16) == count);
  for (i = 0; i < count; ++i) {
    EXPECT(devices[i].name[0] != '\0');
    EXPECT(strncmp(devices[i].option, devices[i].kind, strlen(devices[i].kind)) == 0);
  }
  EXPECT(strcmp(devices[count - 1].option, "cpu") == 0 && devices[count - 1].software == 0);
  memset(newer, 0xff, sizeof newer);
  EXPECT(vireo_list_devices_sized((vireo_device*)newer, 1, sizeof newer[0]) == count);
  EXPECT(strcmp(newer[0].device.option, devices[0].option) == 0 && newer[0].more == 0);
  EXPECT(newer[1].more != 0);
  return NULL;
}

const char* c_api_profile(const char* model) {
  vireo_error error;
  vireo_session* session = NULL;
  vireo_options options;
  size_t count;
  float* pixels;
  char* json = (char*)&error;
  vireo_options_init(&options);
  options.device = "cpu";
  EXPECT(vireo_open(model, &options, &session, &error) == VIREO_OK);
  count =
      (size_t)vireo_input_channels(session) * (size_t)vireo_input_height(session) * (size_t)vireo_input_width(session);
  pixels = calloc(count, sizeof *pixels);
  EXPECT(pixels != NULL);
  EXPECT(vireo_profile_json(session, pixels, count, 2, &json, &error) == VIREO_OK);
  EXPECT(json != NULL && strstr(json, "\"vireo-profile/1\"") != NULL);
  vireo_free_text(json);
  EXPECT(vireo_profile_json(session, pixels, count - 1, 2, &json, &error) == VIREO_INVALID_ARGUMENT);
  EXPECT(json == NULL);
  EXPECT(vireo_profile_json(session, pixels, count, -1, &json, &error) == VIREO_INVALID_ARGUMENT);
  EXPECT(vireo_profile_json(session, pixels, count, 2, NULL, &error) == VIREO_INVALID_ARGUMENT);
  vireo_free_text(NULL);
  free(pixels);
  vireo_close(session);
  return NULL;
}

const char* c_api_classify(const char* model) {
  vireo_error error;
  vireo_session* session = NULL;
  vireo_options options;
  vireo_output out;
  vireo_image image;
  vireo_score top[3];
  float sum = 0;
  float* pixels;
  size_t count, i;
  uint8_t rgb[28 * 28 * 3];

  vireo_options_init(&options);
  options.device = "cpu";
  EXPECT(vireo_open(model, &options, &session, &error) == VIREO_OK);
  EXPECT(error.status == VIREO_OK && error.message[0] == '\0');
  EXPECT(vireo_classes(session) > 2);
  EXPECT(vireo_label(session, 0)[0] != '\0');
  EXPECT(vireo_label(session, -1)[0] == '\0' && vireo_label(session, vireo_classes(session))[0] == '\0');

  for (i = 0; i < sizeof rgb; ++i) rgb[i] = (uint8_t)(i * 7);
  EXPECT(vireo_run_rgb(session, rgb, 28, 28, 0, &out, &error) == VIREO_OK);
  EXPECT(out.batch == 1 && out.rows == 1 && out.cols == vireo_classes(session));
  EXPECT(strcmp(out.device_kind, "cpu") == 0 && out.device_name[0] != '\0' && out.device_reason[0] == '\0');
  EXPECT(vireo_top_k(&out, 0, 3, top) == 3);
  EXPECT(top[0].value >= top[1].value && top[1].value >= top[2].value);
  EXPECT(top[0].value > 0 && top[0].value <= 1);
  EXPECT(vireo_top_k(&out, 1, 3, top) == 0 && vireo_top_k(&out, 0, 0, top) == 0);
  for (i = 0; i < (size_t)out.cols; ++i) sum += out.data[i];
  EXPECT(isfinite(sum));

  image.rgb = rgb;
  image.width = 28;
  image.height = 28;
  image.stride = 0;
  EXPECT(vireo_run_images(session, &image, 1, &out, &error) == VIREO_OK);
  EXPECT(vireo_run_images(session, &image, 2, &out, &error) == VIREO_INVALID_ARGUMENT);

  count = (size_t)vireo_batch(session) * (size_t)vireo_input_channels(session) * (size_t)vireo_input_height(session) *
          (size_t)vireo_input_width(session);
  pixels = calloc(count, sizeof *pixels);
  EXPECT(pixels != NULL);
  EXPECT(vireo_run_pixels(session, pixels, count, &out, &error) == VIREO_OK);
  EXPECT(vireo_run_pixels(session, pixels, count - 1, &out, &error) == VIREO_INVALID_ARGUMENT);
  EXPECT(error.message[0] != '\0');
  free(pixels);
  vireo_close(session);
  return NULL;
}
