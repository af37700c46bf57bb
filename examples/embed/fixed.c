/* fixed.c: a host that knows its memory beforehand and takes it once.
 *
 *   fixed [METHOD [PROMPTS [PICTURES [BITS [RECOMPUTE [KEPT]]]]]]     vpt-deep 10 8 32 0 0
 *
 * Says what tuning by this method takes (BITS of the packed weights: 32, 16 or 8; RECOMPUTE: blocks that are computed again
 * in backward; KEPT: bytes of packed weights that stay, 0: all) and what predicting takes, and then does both in a piece of
 * memory of that size. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vitrine.h>

enum { SIDE = 64, MOST = 64, ROOM = 8 << 20 };
static uint8_t rgb[MOST][SIDE][SIDE][3];
static vitrine_picture pictures[MOST];
static int64_t labels[MOST];
static const char* const names[] = {"stripes across", "stripes down"};
static unsigned char saved[ROOM]; /* the task file */
static size_t saved_size;
static char message[256];

typedef struct {
  const char* method;
  int64_t prompts, recompute;
  size_t pictures, kept;
  int bits, steps;
} Plan;

/* Keeps the words of what failed: the handle is closed before they are needed. */
static int kept(int status, const char* words) {
  if (status != VITRINE_DONE) snprintf(message, sizeof message, "%s", words);
  return status;
}

static int open_backbone(const Plan* plan, vitrine_library* library, vitrine_backbone** backbone) {
  const vitrine_backbone_options options = {
      .size = sizeof options, .packed_bits = plan->bits, .packed_bytes = plan->kept};
  return kept(vitrine_backbone_open_builtin(library, "builtin", &options, backbone),
              vitrine_message(library));
}

static int tune(void* host, vitrine_library* library) {
  const Plan* plan = host;
  const vitrine_tuning_options options = {.size = sizeof options,
                                          .method = plan->method,
                                          .prompts = plan->prompts,
                                          .recompute = plan->recompute,
                                          .learning_rate = 0.01};
  vitrine_backbone* backbone = NULL;
  vitrine_tuning* tuning = NULL;
  int status = open_backbone(plan, library, &backbone);
  if (!status)
    status =
        kept(vitrine_tuning_open(backbone, &options, names, 2, &tuning), vitrine_backbone_message(backbone));
  for (int step = 0; !status && step < plan->steps; ++step)
    status = kept(vitrine_tuning_step(tuning, pictures, labels, plan->pictures, NULL),
                  vitrine_tuning_message(tuning));
  if (!status)
    status = kept(vitrine_tuning_save(tuning, saved, ROOM, &saved_size), vitrine_tuning_message(tuning));
  vitrine_tuning_close(tuning);
  vitrine_backbone_close(backbone);
  return status;
}

static int predict(void* host, vitrine_library* library) {
  const Plan* plan = host;
  static float probabilities[2 * MOST];
  vitrine_backbone* backbone = NULL;
  vitrine_task* task = NULL;
  int status = open_backbone(plan, library, &backbone);
  if (!status)
    status = kept(vitrine_task_open(backbone, saved, saved_size, &task), vitrine_backbone_message(backbone));
  if (!status)
    status = kept(vitrine_predict(task, pictures, plan->pictures, probabilities, 2 * MOST),
                  vitrine_task_message(task));
  vitrine_task_close(task);
  vitrine_backbone_close(backbone);
  return status;
}

/* Plans the calls, and makes them in an arena of that size. */
static void run(const char* what, int (*calls)(void*, vitrine_library*), Plan* plan) {
  vitrine_library *planner = NULL, *library = NULL;
  vitrine_memory_use use = {.size = sizeof use};
  size_t bytes = 0;
  Plan few = *plan;
  few.steps = 3; /* which tell of any number */
  int status = vitrine_open(VITRINE_ABI, NULL, &planner);
  if (!status) status = vitrine_plan(planner, calls, &few, &bytes);
  if (status && message[0] == 0) kept(status, vitrine_message(planner)); /* else the calls have said why */
  vitrine_close(planner);
  void* arena = aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (!status) status = vitrine_open_in_arena(VITRINE_ABI, NULL, arena, bytes, &library);
  if (!status) status = calls(plan, library);
  if (!status) status = kept(vitrine_memory(library, &use), vitrine_message(library));
  vitrine_close(library);
  free(arena);
  if (status) {
    fprintf(stderr, "%s: %s\n", what, message);
    exit(status);
  }
  printf("%-8s planned %9zu bytes, used %9zu of them, the most for tensors %9zu\n", what, bytes,
         use.arena_most, use.most);
}

int main(int argc, char** argv) {
  Plan plan = {.method = argc > 1 ? argv[1] : "vpt-deep",
               .prompts = argc > 2 ? atoi(argv[2]) : 10,
               .pictures = argc > 3 ? (size_t)atoi(argv[3]) : 8,
               .bits = argc > 4 ? atoi(argv[4]) : 32,
               .recompute = argc > 5 ? atoi(argv[5]) : 0,
               .kept = argc > 6 ? (size_t)atoll(argv[6]) : 0,
               .steps = 20};
  if (plan.pictures < 1 || plan.pictures > MOST)
    return fprintf(stderr, "expected 1 to %d pictures\n", MOST), 1;
  for (int i = 0; i < MOST; ++i) { /* a camera would give them */
    for (int p = 0; p < SIDE * SIDE * 3; ++p)
      (&rgb[i][0][0][0])[p] = (i % 2 ? p / 3 % SIDE : p / 3 / SIDE) / (2 + i / 8) % 2 ? 200 : 40;
    pictures[i] = (vitrine_picture){.rgb = &rgb[i][0][0][0], .width = SIDE, .height = SIDE};
    labels[i] = i % 2;
  }
  run("tune", tune, &plan);
  run("predict", predict, &plan);
  return 0;
}
