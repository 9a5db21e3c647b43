/* Embedding Vireo in C: classify a picture. Pictures here are binary PPM (P6) files, so that the example needs no
 * decoder. example_classify_c MODEL_FOLDER picture.ppm */
#include <stdio.h>
#include <stdlib.h>
#include <vireo/vireo.h>

static uint8_t* read_ppm(const char* path, int* width, int* height) {
  uint8_t* rgb = NULL;
  size_t size = 0;
  FILE* file = fopen(path, "rb");
  if (file == NULL) return NULL;
  /* "%*1[ \n]" takes the single white space after the header. */
  if (fscanf(file, "P6 %5d %5d 255%*1[ \t\r\n]", width, height) == 2 && *width > 0 && *height > 0) {
    size = (size_t)3 * (size_t)*width * (size_t)*height;
    rgb = malloc(size);
    if (rgb != NULL && fread(rgb, 1, size, file) != size) {
      free(rgb);
      rgb = NULL;
    }
  }
  fclose(file);
  return rgb;
}

int main(int argc, char** argv) {
  int width = 0, height = 0, i, n, code = 1;
  vireo_session* session = NULL;
  vireo_error error;
  vireo_output out;
  vireo_score top[5];
  uint8_t* rgb;

  if (argc != 3) return fprintf(stderr, "usage: %s MODEL_FOLDER picture.ppm\n", argv[0]), 2;
  rgb = read_ppm(argv[2], &width, &height);
  if (rgb == NULL) return fprintf(stderr, "%s: no binary PPM file\n", argv[2]), 1;

  if (vireo_open(argv[1], NULL, &session, &error) == VIREO_OK &&
      vireo_run_rgb(session, rgb, width, height, 0, &out, &error) == VIREO_OK) {
    printf("%s %s, %.2f ms\n", out.device_kind, out.device_name, out.ms);
    n = vireo_top_k(&out, 0, 5, top);
    for (i = 0; i < n; ++i) printf("%6.3f  %s\n", (double)top[i].value, vireo_label(session, top[i].index));
    code = 0;
  } else {
    fprintf(stderr, "%s\n", error.message);
  }
  vireo_close(session);
  free(rgb);
  return code;
}
