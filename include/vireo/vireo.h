/* Vireo's C ABI: Vision Transformers on Vulkan compute, with a SIMD CPU path. C99, also for other languages' bindings.
 *
 *   vireo_error error;
 *   vireo_session* session = NULL;
 *   if (vireo_open("models/fashion-vit", NULL, &session, &error) != VIREO_OK) puts(error.message);
 *   vireo_output out;
 *   if (vireo_run_rgb(session, rgb, width, height, 0, &out, &error) != VIREO_OK) puts(error.message);
 *   vireo_score top[5];
 *   int n = vireo_top_k(&out, 0, 5, top);
 *   vireo_close(session);
 *
 * Every call that can fail returns a status and, when `error` is not NULL, fills it; on success it is emptied. Nothing
 * is printed, and no C++ exception passes. A session is used by one thread at a time (but for vireo_get_latency): a run
 * started while another thread's is still running returns VIREO_INVALID_ARGUMENT at once and changes nothing. Open one
 * session per thread, or hold a lock from a run to the last use of its output. vireo_close must not meet a running
 * call.
 */
#ifndef VIREO_VIREO_H
#define VIREO_VIREO_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define VIREO_C_API __attribute__((visibility("default")))
#else
#define VIREO_C_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What went wrong; values are stable. The same kinds as vireo::ErrorCode. */
typedef enum vireo_status {
  VIREO_OK = 0,
  VIREO_INVALID_ARGUMENT = 1, /* the caller's argument is wrong (NULL, shape, range, option) */
  VIREO_NOT_FOUND = 2,        /* a file, tensor, device or name does not exist */
  VIREO_IO = 3,               /* reading or writing failed */
  VIREO_CORRUPT = 4,          /* a file's content is damaged or contradicts itself */
  VIREO_UNSUPPORTED = 5,      /* understood, but this build, device or model family cannot do it */
  VIREO_OUT_OF_MEMORY = 6,    /* host or device memory ran out */
  VIREO_DEVICE_LOST = 7,      /* the GPU stopped answering */
  VIREO_INTERNAL = 8          /* a defect of Vireo's own; please report it */
} vireo_status;

/* A failure in words: who, what, got, expected, what now. Longer messages are cut. */
typedef struct vireo_error {
  vireo_status status;
  char message[1020]; /* UTF-8, always terminated */
} vireo_error;

/* Storage of weights and activations; sums are always fp32. */
typedef enum vireo_precision {
  VIREO_FP32 = 0,
  VIREO_FP16 = 1,       /* weights fp16; activations fp16 on Vulkan, fp32 on the CPU */
  VIREO_INT8 = 2,       /* weights int8 per output channel, symmetric */
  VIREO_CHECKPOINT = 3, /* weights as the checkpoint holds them: its codes, or fp32 */
  VIREO_W8A8 = 4,       /* weights int8, and where the device multiplies integers the rows too */
  VIREO_AUTO = 5        /* the fastest of fp32, fp16 and int8 whose answer to a test picture is that of fp32 */
} vireo_precision;

/* What a session computes. */
typedef enum vireo_head {
  VIREO_LOGITS = 0,   /* class scores [batch, 1, classes] */
  VIREO_FEATURES = 1, /* the pooled vector [batch, 1, width] */
  VIREO_TOKENS = 2,   /* every token after the final norm [batch, tokens, width] */
  VIREO_CLASS_MAP =
      3 /* segmentation: the class of every input pixel [batch, height * width, 1], an index as a number */
} vireo_head;

/* What a model was made for. */
typedef enum vireo_task {
  VIREO_TASK_FEATURES = 0,       /* a trunk without a head */
  VIREO_TASK_CLASSIFICATION = 1, /* one class per picture */
  VIREO_TASK_SEGMENTATION = 2    /* one class per pixel: VIREO_LOGITS is [batch, height * width, classes] */
} vireo_task;

/* What makes scores of a classifier's logits: softmax over the classes (one class per picture), or the sigmoid of each
 * label by itself (several labels per picture, or a single one). */
typedef enum vireo_scores { VIREO_SOFTMAX = 0, VIREO_SIGMOID = 1 } vireo_scores;

/* An inference that is done, as vireo_options.on_inference learns of it. */
typedef struct vireo_inference {
  uint32_t ticket; /* differs for each inference in flight */
  uint64_t number; /* 1, 2, ... in the order of being done */
  double ms;       /* wall time, preprocessing excluded; of two in flight from the end of the first */
  double preprocess_ms;
  const char* device_kind; /* as in vireo_output */
  const char* device_name;
  const char* device_reason;
  int fell_back;  /* 1 when the device failed, now or before, and the CPU has taken over */
  int recomputed; /* 1 when the answer is of fp32, because the session's precision gives NaN or infinity */
} vireo_inference;

/* What sessions hold in common, as vireo::SharedWeights of vireo.hpp: those that were opened with the same one hold a
 * constant once that both read byte for byte, as the levels of a governor do. On the CPU, and on a GPU whose memory is
 * the host's as well. Sessions of the same device and threads are given one device, whose on_log is the one given last.
 */
typedef struct vireo_shared_weights vireo_shared_weights;

/* How to open. Always start from vireo_options_init, so that fields added later have their defaults. */
typedef struct vireo_options {
  size_t struct_size;        /* set by vireo_options_init */
  const char* device;        /* "auto" (default), "cpu", "vulkan" or "vulkan:N"; only auto falls back to the CPU */
  vireo_precision precision; /* default VIREO_CHECKPOINT, which is fp32 for a checkpoint of floats */
  vireo_head head;           /* default VIREO_LOGITS */
  int batch;                 /* images per run, default 1 */
  int height, width;         /* input size in pixels, default 0 = the model's own */
  int threads;               /* CPU threads, default 0 = all cores */
  const char* cache_dir;     /* pipeline cache folder, default NULL = VIREO_CACHE_DIR or the user's cache, "-" = none */
  int latency_window;        /* how many of the last inferences vireo_get_latency is of, default 0 = 1024 */
  /* Called after each inference that was done, in the thread that ran it, before that call returns; default NULL. It
   * may call vireo_get_latency and nothing else of this session. */
  void (*on_inference)(const vireo_inference* inference, void* user);
  void* user; /* passed to on_inference and on_log */
  /* Receives the sentences that no call can return: one for each submission whose memory is never freed, because no
   * call could prove that the device is done with it. Called from whichever thread, also inside vireo_close; default
   * NULL. It must not call Vireo. */
  void (*on_log)(const char* line, void* user);
  const char* weights; /* which network where the checkpoint holds several: the prefix of its tensors, default NULL =
                          there is one only */
  /* 0 (default): an answer that holds NaN or infinity (fp16 ends at 65504) is computed again in fp32, and device_reason
   * says so; after three in a row every answer is. 1: it is VIREO_INVALID_ARGUMENT. Not finite in fp32 either is always
   * an error. */
  int no_recompute;
  /* Default NULL: the session's weights are its own. Those of vireo_shared_weights_open are shared with other sessions.
   */
  const vireo_shared_weights* shared_weights;
} vireo_options;

/* An opened model, planned for one device. */
typedef struct vireo_session vireo_session;

/* An 8-bit RGB picture owned by the caller: rows of 3 * width bytes, `stride` bytes apart (0 = 3 * width). */
typedef struct vireo_image {
  const uint8_t* rgb;
  int width, height;
  ptrdiff_t stride;
} vireo_image;

/* How pixels lie in memory; values are stable. The same list as vireo::PixelFormat, which says what each one is. */
typedef enum vireo_pixel_format {
  VIREO_RGB = 0,
  VIREO_BGR = 1,
  VIREO_RGBA = 2, /* the fourth byte does not count */
  VIREO_BGRA = 3,
  VIREO_GREY = 4,
  VIREO_GREY16 = 5, /* two bytes in the machine's order */
  VIREO_NV12 = 6,   /* two planes: luma; U and V in turns */
  VIREO_NV21 = 7,   /* two planes: luma; V and U in turns */
  VIREO_I420 = 8,   /* three planes: luma, U, V */
  VIREO_I422 = 9,
  VIREO_I444 = 10,
  VIREO_YUYV = 11,
  VIREO_UYVY = 12
} vireo_pixel_format;

/* Which numbers luma and chroma take: 16 to 235 and 240, or all. */
typedef enum vireo_yuv_range { VIREO_LIMITED_RANGE = 0, VIREO_FULL_RANGE = 1 } vireo_yuv_range;
/* Which weights make luma of red, green and blue. */
typedef enum vireo_yuv_matrix { VIREO_BT601 = 0, VIREO_BT709 = 1 } vireo_yuv_matrix;

/* A picture of any format, owned by the caller. Always start from vireo_picture_init, so that fields added later have
 * their defaults. */
typedef struct vireo_picture {
  size_t struct_size; /* set by vireo_picture_init */
  vireo_pixel_format format;
  int width, height; /* as stored: before crop and rotation */
  const uint8_t* plane[3];
  ptrdiff_t stride[3];                         /* bytes from one row of a plane to the next; default 0 = no padding */
  vireo_yuv_range range;                       /* default VIREO_LIMITED_RANGE */
  vireo_yuv_matrix matrix;                     /* default VIREO_BT601 */
  int crop_x, crop_y, crop_width, crop_height; /* the part that counts, in stored pixels; default all 0 = all */
  int rotation;                                /* degrees clockwise that turn it upright: 0, 90, 180 or 270 */
} vireo_picture;

/* The result of a run; its fields change only with the library's major version (`scores` lies where there was padding).
 * Every number is finite. The memory belongs to the session and stays valid until its next run or close. */
typedef struct vireo_output {
  const float* data; /* dense [batch, rows, cols] */
  int batch, rows, cols;
  vireo_scores scores;     /* what vireo_top_k makes of them */
  const char* device_kind; /* "vulkan" or "cpu": where this run was done */
  const char* device_name;
  const char* device_reason; /* empty when it ran where it was asked to, else why not */
  double ms;                 /* wall time, preprocessing excluded; of two in flight from the end of the first */
  double preprocess_ms;
} vireo_output;

/* A class and its probability: among all classes (VIREO_SOFTMAX), or of this label by itself (VIREO_SIGMOID). */
typedef struct vireo_score {
  int index;
  float value;
} vireo_score;

/* "0.1.0". */
VIREO_C_API const char* vireo_version(void);

/* A device that vireo_options.device may name. */
typedef struct vireo_device {
  char option[16]; /* what to write there: "vulkan:0", "cpu" */
  char kind[8];    /* "vulkan" or "cpu" */
  char name[256];  /* UTF-8, cut where it is longer */
  int software;    /* 1: a Vulkan driver that computes on the CPU, which "auto" does not take */
} vireo_device;

/* Writes the first `capacity` devices to devices[], each Vulkan device in the loader's order and then the CPU, and
 * returns how many there are; 0 when memory ran out. `devices` may be NULL where `capacity` is 0. The caller's size of
 * one goes along, so that fields can be added later. */
#define vireo_list_devices(devices, capacity) vireo_list_devices_sized((devices), (capacity), sizeof(vireo_device))
VIREO_C_API int vireo_list_devices_sized(vireo_device* devices, int capacity, size_t struct_size);

/* Fills in the defaults. The caller's size goes along, so that a program and a library of different versions agree. */
#define vireo_options_init(options) vireo_options_init_sized((options), sizeof(vireo_options))
VIREO_C_API void vireo_options_init_sized(vireo_options* options, size_t struct_size);

/* Opens a checkpoint (a Hugging Face or timm folder, or a .safetensors file) and plans it for a device. `options` may
 * be NULL. On success *session is to be given to vireo_close; on failure it is NULL. */
VIREO_C_API vireo_status vireo_open(const char* model, const vireo_options* options, vireo_session** session,
                                    vireo_error* error);
/* Ends a session; NULL is allowed. */
VIREO_C_API void vireo_close(vireo_session* session);

/* Preprocesses one picture as the checkpoint prescribes and runs. Only for sessions of batch 1. */
VIREO_C_API vireo_status vireo_run_rgb(vireo_session* session, const uint8_t* rgb, int width, int height,
                                       ptrdiff_t stride, vireo_output* output, vireo_error* error);
/* The same for `count` == batch pictures. */
VIREO_C_API vireo_status vireo_run_images(vireo_session* session, const vireo_image* images, int count,
                                          vireo_output* output, vireo_error* error);
/* The same with class maps (VIREO_CLASS_MAP) of map_height x map_width pixels, usually the picture's, one size for all
 * `count` pictures: the classes of the largest scores there, as Transformers' post_process_semantic_segmentation has
 * it. output->rows is map_height * map_width; 0 and 0 are the input's size. Any size may follow any other. */
VIREO_C_API vireo_status vireo_run_images_map(vireo_session* session, const vireo_image* images, int count,
                                              int map_height, int map_width, vireo_output* output, vireo_error* error);
/* Fills in the defaults. */
#define vireo_picture_init(picture) vireo_picture_init_sized((picture), sizeof(vireo_picture))
VIREO_C_API void vireo_picture_init_sized(vireo_picture* picture, size_t struct_size);
/* Sets format, size and planes of a picture that was initialised: the planes follow one another without padding, as a
 * pipe or a file brings frames. */
VIREO_C_API void vireo_picture_packed(vireo_picture* picture, vireo_pixel_format format, const uint8_t* bytes,
                                      int width, int height);
/* vireo_run_images_map for pictures of any format, each its own; they lie pictures[0].struct_size bytes apart, as an
 * array does. For class maps of the input's size, and for all other heads, map_height and map_width are 0. */
VIREO_C_API vireo_status vireo_run_pictures(vireo_session* session, const vireo_picture* pictures, int count,
                                            int map_height, int map_width, vireo_output* output, vireo_error* error);
/* Runs on pixels already preprocessed: dense float32 [batch, channels, height, width], `count` floats in all. */
VIREO_C_API vireo_status vireo_run_pixels(vireo_session* session, const float* pixels, size_t count,
                                          vireo_output* output, vireo_error* error);

/* vireo_run_pictures and vireo_run_pixels in two halves: a submission starts the work and returns, and its ticket is to
 * be waited for once. The input is not needed after the submission returns. Up to two may be in flight, so that the
 * device works on one picture while the next one is prepared; a third is VIREO_INVALID_ARGUMENT. An output stays valid
 * until the session's next run, wait or close. */
VIREO_C_API vireo_status vireo_submit_pictures(vireo_session* session, const vireo_picture* pictures, int count,
                                               int map_height, int map_width, uint32_t* ticket, vireo_error* error);
VIREO_C_API vireo_status vireo_submit_pixels(vireo_session* session, const float* pixels, size_t count,
                                             uint32_t* ticket, vireo_error* error);
/* Waits for a submission. A ticket that is not in flight is VIREO_INVALID_ARGUMENT. */
VIREO_C_API vireo_status vireo_wait(vireo_session* session, uint32_t ticket, vireo_output* output, vireo_error* error);

/* Where the milliseconds of an inference go: runs some on these pixels (as of vireo_run_pixels) and gives the text of
 * `vireo profile --json`, schema "vireo-profile/1". `runs` of each kind at least; 0 = as the tool does. *json is to be
 * given to vireo_free_text; on failure it is NULL. Nothing may be in flight. */
VIREO_C_API vireo_status vireo_profile_json(vireo_session* session, const float* pixels, size_t count, int runs,
                                            char** json, vireo_error* error);
/* NULL is allowed. */
VIREO_C_API void vireo_free_text(char* text);

/* The wall times (vireo_output.ms) of the last inferences; percentiles are times that were measured. */
typedef struct vireo_latency {
  uint64_t count; /* inferences done since the session was opened */
  int window;     /* how many of the last ones the figures are of; 0: none yet, all figures 0 */
  double last_ms, mean_ms, min_ms, p50_ms, p95_ms, p99_ms, max_ms;
} vireo_latency;

/* What the last inferences took. May be called from any thread while another one runs inferences, but not beside
 * vireo_close. The caller's size goes along, so that fields can be added later. */
#define vireo_get_latency(session, latency, error) \
  vireo_get_latency_sized((session), (latency), sizeof(vireo_latency), (error))
VIREO_C_API vireo_status vireo_get_latency_sized(const vireo_session* session, vireo_latency* latency,
                                                 size_t struct_size, vireo_error* error);

/* NULL where memory is out. Several threads may open sessions with it at once. */
VIREO_C_API vireo_shared_weights* vireo_shared_weights_open(void);
/* Not beside a vireo_open with it. Sessions that were opened with it keep what they read; the last of them gives it
 * back. NULL is allowed. */
VIREO_C_API void vireo_shared_weights_close(vireo_shared_weights* weights);

/* Memory of a session, in bytes. */
typedef struct vireo_footprint {
  uint64_t arena_bytes;          /* what an inference computes in */
  uint64_t weights_bytes;        /* weights as the plan packs them */
  uint64_t shared_weights_bytes; /* of these, what lies in memory of other sessions (vireo_options.shared_weights) */
} vireo_footprint;

/* The caller's size goes along, so that fields can be added later. */
#define vireo_get_footprint(session, footprint, error) \
  vireo_get_footprint_sized((session), (footprint), sizeof(vireo_footprint), (error))
VIREO_C_API vireo_status vireo_get_footprint_sized(const vireo_session* session, vireo_footprint* footprint,
                                                   size_t struct_size, vireo_error* error);

/* Holds a frame rate by saying which of several sessions takes the next frame, as vireo::Governor of governor.hpp does:
 * levels 0 to levels - 1 from the best answer to the fastest, the first frame is of level 0. It decides only; the
 * sessions are the caller's. One thread at a time. */
typedef struct vireo_governor vireo_governor;
VIREO_C_API vireo_status vireo_governor_open(int levels, double fps, vireo_governor** governor, vireo_error* error);
/* NULL is allowed. */
VIREO_C_API void vireo_governor_close(vireo_governor* governor);
/* The level that takes the next frame; 0 for NULL. */
VIREO_C_API int vireo_governor_level(const vireo_governor* governor);
/* A frame of that level took `ms`, and now it is `now_s` seconds by a clock that never goes back. Returns 1 where the
 * level has changed. */
VIREO_C_API int vireo_governor_frame(vireo_governor* governor, double ms, double now_s);
/* The last change in a sentence, valid until the next frame; "" before the first. */
VIREO_C_API const char* vireo_governor_change(const vireo_governor* governor);
/* 1 where frames are late at the fastest level: nothing prepared holds the rate. */
VIREO_C_API int vireo_governor_saturated(const vireo_governor* governor);

/* Writes the k most probable classes of image `item` to scores[0..k), largest first, ties by smaller index; returns how
 * many were written: min(k, classes), 0 when an argument is wrong. */
VIREO_C_API int vireo_top_k(const vireo_output* logits, int item, int k, vireo_score* scores);

/* Name of class `index`, owned by the session; "" when there is no such class. */
VIREO_C_API const char* vireo_label(const vireo_session* session, int index);
/* Number of classes, of pictures or of pixels; 0 without such a head. */
VIREO_C_API int vireo_classes(const vireo_session* session);
/* What vireo_top_k makes of the model's logits; VIREO_SOFTMAX for NULL. */
VIREO_C_API vireo_scores vireo_model_scores(const vireo_session* session);
/* What the model was made for; VIREO_TASK_FEATURES for NULL. */
VIREO_C_API vireo_task vireo_model_task(const vireo_session* session);
/* The map whose pixels the rows of a segmentation's output are, row by row, where no other size is asked for; 0 when
 * they are none. */
VIREO_C_API int vireo_map_height(const vireo_session* session);
VIREO_C_API int vireo_map_width(const vireo_session* session);
/* Input size in pixels and channels, as vireo_run_pixels expects it. */
VIREO_C_API int vireo_input_height(const vireo_session* session);
VIREO_C_API int vireo_input_width(const vireo_session* session);
VIREO_C_API int vireo_input_channels(const vireo_session* session);
VIREO_C_API int vireo_batch(const vireo_session* session);

#ifdef __cplusplus
}
#endif

#endif /* VIREO_VIREO_H */
