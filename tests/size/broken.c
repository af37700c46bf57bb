/* broken.c: BACKBONE: a build without exceptions, in an arena (docs/embedding.md): a call that fails, of whatever and wherever,
 * breaks its library and nothing else. Prints what is not as it must be; the exit status is 1 if there was something. */
#include <string.h>

#include "host.h"

static int failures = 0;

static void expect_at(int line, int holds, const char* what) {
  if (holds) return;
  ++failures;
  printf("broken.c:%d: %s\n", line, what);
}
#define EXPECT(condition) expect_at(__LINE__, (condition) != 0, #condition)

static void* net;
static size_t net_size;
static unsigned char task[1 << 20];
static size_t task_size;
static float probabilities[classes * classes];

/* Learns, saves, opens and predicts; the first status that is not VITRINE_DONE. */
static int work(void* host, vitrine_library* library) {
  (void)host;
  static const char* const names[classes] = {"down", "across"};
  vitrine_backbone* backbone = NULL;
  vitrine_tuning* tuning = NULL;
  vitrine_task* opened = NULL;
  uint8_t down[side * side * 3], across[side * side * 3];
  const vitrine_picture pictures[classes] = {stripes(0, down), stripes(1, across)};
  const int64_t labels[classes] = {0, 1};
  const vitrine_backbone_options how = {.size = sizeof how, .packed_bytes = 1};
  int status = vitrine_backbone_open(library, net, net_size, &how, &backbone);
  if (!status) status = vitrine_tuning_open(backbone, NULL, names, classes, &tuning);
  for (int step = 0; !status && step < 2; ++step)
    status = vitrine_tuning_step(tuning, pictures, labels, classes, NULL);
  if (!status) {
    size_t asked = 0; /* which is no failure */
    status = vitrine_tuning_save(tuning, NULL, 0, &asked) == VITRINE_RESOURCES ? VITRINE_DONE : VITRINE_INPUT;
    if (!status) status = vitrine_tuning_save(tuning, task, sizeof task, &task_size);
    EXPECT(status || asked == task_size);
  }
  if (!status) status = vitrine_task_open(backbone, task, task_size, &opened);
  if (!status) status = vitrine_predict(opened, pictures, classes, probabilities, classes * classes);
  vitrine_task_close(opened);
  vitrine_tuning_close(tuning);
  vitrine_backbone_close(backbone);
  return status;
}

static int work_in(void* arena, size_t bytes, char* message, size_t room) {
  vitrine_library* library = NULL;
  int status = vitrine_open_in_arena(VITRINE_ABI, NULL, arena, bytes, &library);
  if (!status) status = work(NULL, library);
  snprintf(message, room, "%s", vitrine_message(library));
  vitrine_close(library);
  return status;
}

int main(int count, char** arguments) {
  if (count != 2) return 1;
  net = bytes_of(arguments[1], &net_size);
  char message[256];

  /* The plan, and its size: it is enough, and the same bits come out each time; one byte less is refused. */
  vitrine_library* library = NULL;
  size_t bytes = 0;
  must(vitrine_open(VITRINE_ABI, NULL, &library), "vitrine_open");
  must(vitrine_plan(library, work, NULL, &bytes), vitrine_message(library));
  vitrine_close(library);
  void* arena = aligned_alloc(64, (bytes + 63) / 64 * 64);
  EXPECT(work_in(arena, bytes, message, sizeof message) == VITRINE_DONE);
  float first[classes * classes];
  memcpy(first, probabilities, sizeof first);
  EXPECT(work_in(arena, bytes - 1, message, sizeof message) == VITRINE_RESOURCES);

  /* Arenas that end somewhere in the work: wherever it stops, the same memory serves again. */
  int refused = 0;
  for (size_t size = 0; size < bytes; size += bytes / 24 + 7) {
    EXPECT(work_in(arena, size, message, sizeof message) == VITRINE_RESOURCES);
    ++refused;
  }
  EXPECT(refused > 20);
  EXPECT(work_in(arena, bytes, message, sizeof message) == VITRINE_DONE);
  EXPECT(memcmp(first, probabilities, sizeof first) == 0);

  /* A mistake is told in its words. After it every call on that library tells its status and does nothing. */
  vitrine_library* other = NULL;
  vitrine_backbone* backbone = NULL;
  vitrine_task *opened = NULL, *again = NULL;
  must(vitrine_open(VITRINE_ABI, NULL, &other), "vitrine_open");
  must(vitrine_open_in_arena(VITRINE_ABI, NULL, arena, bytes, &library), "vitrine_open_in_arena");
  must(vitrine_backbone_open(library, net, net_size, NULL, &backbone), vitrine_message(library));
  must(vitrine_task_open(backbone, task, task_size, &opened), vitrine_backbone_message(backbone));
  EXPECT(vitrine_task_open(backbone, task, 100, &again) == VITRINE_INPUT && again == NULL);
  EXPECT(strstr(vitrine_backbone_message(backbone), "safetensors") != NULL);
  uint8_t rgb[side * side * 3];
  const vitrine_picture picture = stripes(0, rgb);
  EXPECT(vitrine_predict(opened, &picture, 1, probabilities, classes) == VITRINE_INPUT);
  EXPECT(strstr(vitrine_task_message(opened), "a call failed before") != NULL);
  vitrine_memory_use use = {sizeof use};
  EXPECT(vitrine_memory(library, &use) == VITRINE_INPUT);
  EXPECT(vitrine_memory(other, &use) == VITRINE_DONE);
  vitrine_task_close(opened);
  vitrine_backbone_close(backbone);
  vitrine_close(library);
  EXPECT(work_in(arena, bytes, message, sizeof message) == VITRINE_DONE);
  EXPECT(memcmp(first, probabilities, sizeof first) == 0);
  vitrine_close(other);

  /* What no arena can hold. */
  EXPECT(vitrine_open_in_arena(VITRINE_ABI + 1, NULL, arena, bytes, &library) == VITRINE_INPUT);
  EXPECT(strstr(vitrine_message(library), "ABI") != NULL);
  vitrine_close(library);
  printf("%zu bytes planned, %d arenas refused\n", bytes, refused);
  free(arena);
  free(net);
  return failures > 0;
}
