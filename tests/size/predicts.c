/* predicts.c: BACKBONE TASK: the probabilities of the task's classes of two pictures. It says what a build without training answers
 * whoever wants to learn. */
#include "host.h"

int main(int count, char** arguments) {
  if (count != 3) return 1;
  size_t net_size, task_size;
  void *net = bytes_of(arguments[1], &net_size), *bytes = bytes_of(arguments[2], &task_size);
  vitrine_library* library;
  vitrine_backbone* backbone;
  vitrine_task* task;
  must(vitrine_open(VITRINE_ABI, NULL, &library), "vitrine_open");
  must(vitrine_backbone_open(library, net, net_size, NULL, &backbone), vitrine_message(library));
  must(vitrine_task_open(backbone, bytes, task_size, &task), vitrine_backbone_message(backbone));
  for (int across = 0; across < classes; ++across) {
    uint8_t rgb[side * side * 3];
    float probabilities[classes];
    const vitrine_picture picture = stripes(across, rgb);
    must(vitrine_predict(task, &picture, 1, probabilities, classes), vitrine_task_message(task));
    for (int c = 0; c < classes; ++c) printf("probability %.9g\n", probabilities[c]);
  }
  vitrine_task_close(task);
  vitrine_tuning* tuning;
  const char* names[classes] = {"down", "across"};
  printf("learning: status %d", vitrine_tuning_open(backbone, NULL, names, classes, &tuning));
  printf(", %s\n", vitrine_backbone_message(backbone));
  const vitrine_settings two = {.size = sizeof two, .threads = 2};
  vitrine_library* none;
  printf("two threads: status %d\n", vitrine_open(VITRINE_ABI, &two, &none));
  vitrine_backbone_close(backbone);
  vitrine_close(library);
  free(bytes);
  free(net);
  return 0;
}
