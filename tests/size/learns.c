/* learns.c: BACKBONE TASK: learns in three steps to tell stripes apart, and keeps it in the file TASK. */
#include "host.h"

int main(int count, char** arguments) {
  if (count != 3) return 1;
  size_t net_size, size;
  void* net = bytes_of(arguments[1], &net_size);
  vitrine_library* library;
  vitrine_backbone* backbone;
  vitrine_tuning* tuning;
  must(vitrine_open(VITRINE_ABI, NULL, &library), "vitrine_open");
  must(vitrine_backbone_open(library, net, net_size, NULL, &backbone), vitrine_message(library));
  const char* names[classes] = {"down", "across"};
  vitrine_tuning_options options = {sizeof options};
  options.learning_rate = 0.002;
  must(vitrine_tuning_open(backbone, &options, names, classes, &tuning), vitrine_backbone_message(backbone));
  uint8_t down[side * side * 3], across[side * side * 3];
  const vitrine_picture pictures[classes] = {stripes(0, down), stripes(1, across)};
  const int64_t labels[classes] = {0, 1};
  for (int step = 0; step < 3; ++step)
    must(vitrine_tuning_step(tuning, pictures, labels, classes, NULL), vitrine_tuning_message(tuning));
  for (int c = 0; c < classes; ++c) {
    float probabilities[classes];
    must(vitrine_tuning_predict(tuning, &pictures[c], 1, probabilities, classes), vitrine_tuning_message(tuning));
    for (int k = 0; k < classes; ++k) printf("probability %.9g\n", probabilities[k]);
  }
  if (vitrine_tuning_save(tuning, NULL, 0, &size) != VITRINE_RESOURCES) return 1;
  void* bytes = malloc(size);
  must(vitrine_tuning_save(tuning, bytes, size, &size), vitrine_tuning_message(tuning));
  FILE* file = fopen(arguments[2], "wb");
  if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) must(VITRINE_OUTPUT, arguments[2]);
  vitrine_tuning_close(tuning);
  vitrine_backbone_close(backbone);
  vitrine_close(library);
  free(bytes);
  free(net);
  return 0;
}
