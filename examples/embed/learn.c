/* learn.c: learns two classes of pictures and keeps what it learned:  cc learn.c -lvitrine_c -o learn && ./learn */
#include <stdio.h>
#include <stdlib.h>
#include <vitrine.h>

enum { SIDE = 32, COUNT = 8 };
static uint8_t rgb[COUNT][SIDE][SIDE][3];

static void must(int status, const char* message) {
  if (status == VITRINE_DONE) return;
  fprintf(stderr, "%s\n", message);
  exit(status);
}

int main(void) {
  static const char* const names[] = {"stripes across", "stripes down"};
  vitrine_picture pictures[COUNT] = {{0}};
  int64_t labels[COUNT];
  for (int i = 0; i < COUNT; ++i) { /* a camera would give them */
    for (int p = 0; p < SIDE * SIDE * 3; ++p)
      (&rgb[i][0][0][0])[p] = (i % 2 ? p / 3 % SIDE : p / 3 / SIDE) / (2 + i / 2) % 2 ? 200 : 40;
    pictures[i] = (vitrine_picture){.rgb = &rgb[i][0][0][0], .width = SIDE, .height = SIDE};
    labels[i] = i % 2;
  }
  vitrine_library* library = NULL;
  vitrine_backbone* backbone = NULL;
  vitrine_tuning* tuning = NULL;
  vitrine_tuning_options options = {.size = sizeof options, .learning_rate = 0.01};
  must(vitrine_open(VITRINE_ABI, NULL, &library), "no library of this version");
  must(vitrine_backbone_open_builtin(library, "builtin", NULL, &backbone), vitrine_message(library));
  must(vitrine_tuning_open(backbone, &options, names, 2, &tuning), vitrine_backbone_message(backbone));
  double loss = 0;
  for (int step = 0; step < 20; ++step)
    must(vitrine_tuning_step(tuning, pictures, labels, COUNT, &loss), vitrine_tuning_message(tuning));
  float probabilities[2];
  must(vitrine_tuning_predict(tuning, &pictures[1], 1, probabilities, 2), vitrine_tuning_message(tuning));
  printf("loss %.3f; picture 1: %s, %.0f %%\n", loss, names[probabilities[1] > 0.5f], 100 * probabilities[1]);
  size_t size = 0;
  vitrine_tuning_save(tuning, NULL, 0, &size); /* how large is it? */
  void* task = malloc(size);
  must(vitrine_tuning_save(tuning, task, size, &size), vitrine_tuning_message(tuning));
  FILE* file = fopen("learned.safetensors", "wb"); /* vitrine inspect learned.safetensors */
  return file == NULL || fwrite(task, 1, size, file) != size || fclose(file) != 0;
}
