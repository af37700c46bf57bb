/* host.h: what both hosts share: bytes from a file, pictures, and the end with a reason. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "vitrine.h"

enum { side = 32, classes = 2 };

static void must(int status, const char* why) {
  if (status == VITRINE_DONE) return;
  printf("status %d: %s\n", status, why);
  exit(1);
}

static void* bytes_of(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  if (file == NULL || fseek(file, 0, SEEK_END) != 0) must(VITRINE_OUTPUT, path);
  *size = (size_t)ftell(file);
  void* bytes = aligned_alloc(64, (*size + 63) / 64 * 64);
  rewind(file);
  if (bytes == NULL || fread(bytes, 1, *size, file) != *size) must(VITRINE_OUTPUT, path);
  fclose(file);
  return bytes;
}

/* Stripes down (class 0) or across (class 1). */
static vitrine_picture stripes(int across, uint8_t* rgb) {
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x)
      for (int c = 0; c < 3; ++c)
        rgb[(y * side + x) * 3 + c] = (uint8_t)(((across ? y : x) / 4 % 2 ? 200 : 30) + 10 * c);
  vitrine_picture picture = {rgb, side, side, 0, NULL};
  return picture;
}
