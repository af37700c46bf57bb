/* arena_host.c: a host that plans its memory, gives a fixed arena of that size, and counts what is taken from elsewhere.
 *
 *   arena_host BACKBONE.safetensors
 *
 * Prints a line for each thing that is not as it must be; exit status 1 if there was one. Needs glibc, whose allocator it puts
 * itself in front of. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vitrine.h"

static int failures = 0, checks = 0;

static void expect_at(int line, int holds, const char* what, const char* of) {
  ++checks;
  if (holds) return;
  ++failures;
  printf("arena_host.c:%d: %s (%s)\n", line, what, of);
}
#define EXPECT(condition, of) expect_at(__LINE__, (condition) != 0, #condition, of)

/* --- every way to take memory from the C library, counted while `counting`; refused from call `empty_from` on --- */
extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);
extern void __libc_free(void*);
static volatile int counting = 0;
static volatile long taken = 0, calls = 0, empty_from = -1;
static void count(void) {
  if (counting) ++taken;
  ++calls;
}
static int is_empty(void) {
  count();
  return empty_from >= 0 && calls > empty_from;
}
void* malloc(size_t bytes) { return is_empty() ? NULL : __libc_malloc(bytes); }
void* calloc(size_t n, size_t bytes) { return is_empty() ? NULL : __libc_calloc(n, bytes); }
void* realloc(void* block, size_t bytes) { return is_empty() ? NULL : __libc_realloc(block, bytes); }
void* memalign(size_t alignment, size_t bytes) {
  return is_empty() ? NULL : __libc_memalign(alignment, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) {
  return is_empty() ? NULL : __libc_memalign(alignment, bytes);
}
int posix_memalign(void** block, size_t alignment, size_t bytes) {
  *block = is_empty() ? NULL : __libc_memalign(alignment, bytes);
  return *block == NULL ? 12 : 0;
}
void free(void* block) { __libc_free(block); }

/* --- what a host does: tunes a task, saves it, opens it and predicts --- */
enum { MOST_PICTURES = 6, SIDE = 50, CLASSES = 3, ROOM = 16 << 20 };
typedef struct {
  const char* of;
  const char* method;
  int64_t prompts, recompute;
  int packed_bits, pictures, steps, predicts; /* pictures of a step, of a prediction */
  size_t packed_bytes;
} Work;
typedef struct {
  Work work;
  int status;
  char message[1024];
  float probabilities[MOST_PICTURES * CLASSES];
  size_t size;
  unsigned char* task; /* ROOM bytes */
} Result;

static const unsigned char* net;
static size_t net_size;
static uint8_t pixels[MOST_PICTURES][SIDE][SIDE][3];
static vitrine_picture pictures[MOST_PICTURES];
static int64_t labels[MOST_PICTURES];
static const char* const names[CLASSES] = {"right", "down",
                                           "a name of a class that is longer than most names of classes are"};

static int failed(Result* result, int status, const char* message) {
  if (status != VITRINE_DONE) {
    result->status = status;
    snprintf(result->message, sizeof result->message, "%s", message);
  }
  return status;
}

static int learn(void* host, vitrine_library* library) {
  Result* result = host;
  const Work* work = &result->work;
  vitrine_backbone_options how = {sizeof how};
  vitrine_tuning_options options = {sizeof options};
  vitrine_backbone* backbone = NULL;
  vitrine_tuning* tuning = NULL;
  vitrine_task* task = NULL;
  how.packed_bits = work->packed_bits;
  how.packed_bytes = work->packed_bytes;
  options.method = work->method;
  options.prompts = work->prompts;
  options.recompute = work->recompute;
  options.largest_gradient = 1;
  options.learning_rate = 0.01;
  result->status = VITRINE_DONE;
  result->message[0] = 0;
  if (failed(result, vitrine_backbone_open(library, net, net_size, &how, &backbone),
             vitrine_message(library)))
    goto end;
  if (failed(result, vitrine_tuning_open(backbone, &options, names, CLASSES, &tuning),
             vitrine_backbone_message(backbone)))
    goto end;
  for (int step = 0; step < work->steps; ++step)
    if (failed(result, vitrine_tuning_step(tuning, pictures, labels, (size_t)work->pictures, NULL),
               vitrine_tuning_message(tuning)))
      goto end;
  if (failed(result, vitrine_tuning_save(tuning, result->task, ROOM, &result->size),
             vitrine_tuning_message(tuning)))
    goto end;
  vitrine_tuning_close(tuning);
  tuning = NULL;
  if (failed(result, vitrine_task_open(backbone, result->task, result->size, &task),
             vitrine_backbone_message(backbone)))
    goto end;
  failed(
      result,
      vitrine_predict(task, pictures, (size_t)work->predicts, result->probabilities, MOST_PICTURES * CLASSES),
      vitrine_task_message(task));
end:
  vitrine_tuning_close(tuning);
  vitrine_task_close(task);
  vitrine_backbone_close(backbone);
  return result->status;
}

/* The same in an arena of so many bytes; `most` is what it has seen. */
static void learn_in_arena(Result* result, void* arena, size_t bytes, vitrine_memory_use* use) {
  vitrine_library* library = NULL;
  taken = 0;
  counting = 1;
  result->status = vitrine_open_in_arena(VITRINE_ABI, NULL, arena, bytes, &library);
  if (result->status == VITRINE_DONE) {
    vitrine_memory_use empty = {sizeof empty};
    vitrine_memory(library, &empty);
    learn(result, library);
    counting = 0;
    vitrine_memory(library, use);
    EXPECT(use->arena_now == empty.arena_now, result->work.of); /* all was given back */
    counting = 1;
  }
  vitrine_close(library);
  counting = 0;
}

static void* new_arena(size_t bytes) {
  void* arena = NULL;
  return posix_memalign(&arena, 64, bytes) == 0 ? arena : NULL;
}

static Result result_of(const Work* work) {
  Result result;
  memset(&result, 0, sizeof result);
  result.work = *work;
  result.task = calloc(1, ROOM);
  return result;
}

static int same(const Result* a, const Result* b) {
  return a->size == b->size && a->size > 0 && memcmp(a->task, b->task, a->size) == 0 &&
         memcmp(a->probabilities, b->probabilities, sizeof a->probabilities) == 0;
}

static void check_work(vitrine_library* library, const Work* work) {
  Result planned = result_of(work), plain = result_of(work), fixed = result_of(work);
  vitrine_memory_use use = {sizeof use};
  size_t bytes = 0;
  const int status = vitrine_plan(library, learn, &planned, &bytes);
  EXPECT(status == VITRINE_DONE, work->of);
  if (status != VITRINE_DONE) {
    printf("  %s\n", vitrine_message(library));
    return;
  }
  EXPECT(learn(&plain, library) == VITRINE_DONE, work->of);
  char* arena = new_arena(bytes + 64);
  /* With as much as was planned: the same bits, and nothing from elsewhere. */
  learn_in_arena(&fixed, arena, bytes, &use);
  EXPECT(fixed.status == VITRINE_DONE, fixed.message);
  EXPECT(taken == 0, work->of);
  EXPECT(use.arena_most == bytes, work->of);
  EXPECT(same(&plain, &fixed) && same(&plain, &planned), work->of);
  /* With one byte less, and with much less: refused, in words. */
  for (int part = 0; part < 5; ++part) {
    learn_in_arena(&fixed, arena, part == 0 ? bytes - 1 : bytes * (size_t)part / 5, &use);
    EXPECT(fixed.status == VITRINE_RESOURCES, work->of);
    EXPECT(strstr(fixed.message, "has no place for") != NULL, fixed.message);
  }
  /* More steps need no more, nor do fewer pictures. */
  fixed.work.steps = 9;
  learn_in_arena(&fixed, arena, bytes, &use);
  EXPECT(fixed.status == VITRINE_DONE && taken == 0, fixed.message);
  fixed.work = *work;
  for (int fewer = 1; fewer < work->pictures; ++fewer) {
    fixed.work.pictures = fewer;
    fixed.work.predicts = fewer < work->predicts ? fewer : work->predicts;
    learn_in_arena(&fixed, arena, bytes, &use);
    EXPECT(fixed.status == VITRINE_DONE && taken == 0, fixed.message);
  }
  printf("%-40s %zu bytes planned and needed\n", work->of, bytes);
  free(arena);
  free(planned.task);
  free(plain.task);
  free(fixed.task);
}

/* --- what is refused --- */
static int leave_open(void* host, vitrine_library* library) {
  return vitrine_backbone_open(library, net, net_size, NULL, host);
}
static int give_up(void* host, vitrine_library* library) {
  (void)host;
  return vitrine_backbone_open(library, net, 5, NULL, &(vitrine_backbone*){NULL});
}
static void* no_block(void* host, size_t bytes) {
  (void)host;
  (void)bytes;
  return NULL;
}
static void no_release(void* host, void* block, size_t bytes) {
  (void)host;
  (void)block;
  (void)bytes;
}

static void check_refusals(vitrine_library* library) {
  vitrine_library* other = NULL;
  vitrine_backbone* backbone = NULL;
  vitrine_settings settings = {sizeof settings};
  size_t bytes = 0;
  char* arena = new_arena(1 << 20);
  EXPECT(vitrine_open_in_arena(VITRINE_ABI, NULL, arena, 1 << 20, NULL) == VITRINE_INPUT, "no place");
  EXPECT(vitrine_open_in_arena(VITRINE_ABI, NULL, NULL, 1 << 20, &other) == VITRINE_INPUT && other == NULL,
         "no arena");
  EXPECT(
      vitrine_open_in_arena(VITRINE_ABI, NULL, arena + 16, 1 << 19, &other) == VITRINE_INPUT && other == NULL,
      "alignment");
  for (size_t tiny = 0; tiny < 4096; tiny += 8) { /* too little for the library, or for what it says */
    const int status = vitrine_open_in_arena(VITRINE_ABI, NULL, arena, tiny, &other);
    EXPECT(status == VITRINE_RESOURCES || (status == VITRINE_DONE && tiny > 1024), "a tiny arena");
    vitrine_close(other);
  }
  settings.threads = 2;
  EXPECT(vitrine_open_in_arena(VITRINE_ABI, &settings, arena, 1 << 20, &other) == VITRINE_INPUT,
         "two threads");
  EXPECT(strstr(vitrine_message(other), "threads") != NULL, vitrine_message(other));
  vitrine_close(other);
  settings.threads = 1;
  settings.allocate = no_block;
  settings.release = no_release;
  EXPECT(vitrine_open_in_arena(VITRINE_ABI, &settings, arena, 1 << 20, &other) == VITRINE_INPUT, "allocate");
  EXPECT(strstr(vitrine_message(other), "not from both") != NULL, vitrine_message(other));
  vitrine_close(other);
  EXPECT(vitrine_open_in_arena(VITRINE_ABI + 1, NULL, arena, 1 << 20, &other) == VITRINE_INPUT,
         "another ABI");
  vitrine_close(other);
  /* An error that is none of memory keeps its own words. */
  EXPECT(vitrine_open_in_arena(VITRINE_ABI, NULL, arena, 1 << 20, &other) == VITRINE_DONE, "a library");
  EXPECT(vitrine_backbone_open(other, net, 5, NULL, &backbone) == VITRINE_INPUT, "five bytes");
  EXPECT(strstr(vitrine_message(other), "arena") == NULL, vitrine_message(other));
  EXPECT(vitrine_plan(other, learn, NULL, &bytes) == VITRINE_INPUT, "a plan in an arena");
  EXPECT(strstr(vitrine_message(other), "in no arena") != NULL, vitrine_message(other));
  vitrine_close(other);
  EXPECT(vitrine_plan(NULL, learn, NULL, &bytes) == VITRINE_INPUT, "no library");
  EXPECT(vitrine_plan(library, NULL, NULL, &bytes) == VITRINE_INPUT, "no calls");
  EXPECT(vitrine_plan(library, learn, NULL, NULL) == VITRINE_INPUT, "no place");
  EXPECT(vitrine_plan(library, leave_open, &backbone, &bytes) == VITRINE_INPUT, "a handle is left");
  EXPECT(strstr(vitrine_message(library), "left handles open") != NULL, vitrine_message(library));
  EXPECT(vitrine_plan(library, give_up, NULL, &bytes) == VITRINE_INPUT, "calls that fail");
  EXPECT(strstr(vitrine_message(library), "status 1") != NULL, vitrine_message(library));
  free(arena);
}

/* --- two threads, each with handles of its own of one library in one arena --- */
static void* learn_beside(void* host) {
  Result* result = host;
  learn(result, *(vitrine_library**)result->message); /* where the library was put */
  return NULL;
}
static void check_threads(vitrine_library* library) {
  const Work work = {"two threads in one arena", "vpt-deep", 4, 0, 32, 3, 3, 3, 0};
  Result plain = result_of(&work), one = result_of(&work), two = result_of(&work);
  const size_t bytes = (size_t)256 << 20;
  void* arena = new_arena(bytes);
  vitrine_library* shared = NULL;
  pthread_t first, second;
  learn(&plain, library);
  EXPECT(vitrine_open_in_arena(VITRINE_ABI, NULL, arena, bytes, &shared) == VITRINE_DONE, work.of);
  memcpy(one.message, &shared, sizeof shared);
  memcpy(two.message, &shared, sizeof shared);
  pthread_create(&first, NULL, learn_beside, &one);
  pthread_create(&second, NULL, learn_beside, &two);
  pthread_join(first, NULL);
  pthread_join(second, NULL);
  EXPECT(same(&plain, &one) && same(&plain, &two), work.of);
  vitrine_close(shared);
  free(arena);
  free(plain.task);
  free(one.task);
  free(two.task);
}

/* On the heap, which is empty from some moment on, whichever that is: each call ends, and so does closing. */
static void check_empty_heap(void) {
  Result result = {.work = {"an empty heap", "vpt-deep", 2, 0, 32, 2, 2, 2, 0}, .task = new_arena(ROOM)};
  long all = 0;
  float expected[MOST_PICTURES * CLASSES];
  for (int at = 0; at <= 60; ++at) { /* the last time it is never empty */
    vitrine_library* library = NULL;
    calls = 0;
    empty_from = at == 0 || at == 60 ? -1 : all * at / 60;
    result.status = vitrine_open(VITRINE_ABI, NULL, &library);
    if (result.status == VITRINE_DONE) learn(&result, library);
    vitrine_close(library);
    if (at == 0) {
      all = calls;
      memcpy(expected, result.probabilities, sizeof expected);
    }
    const int ends = empty_from < 0 ? result.status == VITRINE_DONE : result.status == VITRINE_RESOURCES;
    empty_from = -1;
    EXPECT(ends, result.message);
  }
  EXPECT(memcmp(expected, result.probabilities, sizeof expected) == 0, result.work.of);
  free(result.task);
}

int main(int argc, char** argv) {
  static const Work works[] = {
      {"vpt-deep, 10 prompts", "vpt-deep", 10, 0, 32, 6, 3, 6, 0},
      {"vpt-deep, 1 prompt, 1 picture", "vpt-deep", 1, 0, 32, 1, 3, 1, 0},
      {"vpt-deep, two blocks again", "vpt-deep", 10, 2, 32, 6, 3, 2, 0},
      {"vpt-deep, packed in 16 bits", "vpt-deep", 10, 0, 16, 4, 3, 4, 0},
      {"vpt-deep, packed in 8 bits", "vpt-deep", 10, 0, 8, 4, 3, 4, 0},
      {"vpt-shallow", "vpt-shallow", 5, 0, 32, 4, 3, 3, 0},
      {"linear", "linear", 0, 0, 32, 6, 3, 1, 0},
      {"full", "full", 0, 0, 32, 4, 3, 4, 0},
      {"bias", "bias", 0, 1, 32, 4, 3, 4, 0},
      {"adapter-8", "adapter-8", 0, 0, 32, 4, 3, 4, 0},
      {"predicts more than it learns from", "vpt-deep", 10, 0, 32, 1, 2, 6, 0},
      {"no packed weights stay", "vpt-deep", 10, 0, 32, 6, 3, 6, 1},
      {"a megabyte of packed weights stays", "vpt-deep", 10, 0, 16, 4, 3, 4, 1 << 20},
  };
  FILE* file = argc == 2 ? fopen(argv[1], "rb") : NULL;
  if (file == NULL) {
    printf("usage: arena_host BACKBONE.safetensors\n");
    return 1;
  }
  fseek(file, 0, SEEK_END);
  net_size = (size_t)ftell(file);
  rewind(file);
  unsigned char* bytes = new_arena(net_size);
  if (fread(bytes, 1, net_size, file) != net_size) return 1;
  fclose(file);
  net = bytes;
  for (int i = 0; i < MOST_PICTURES; ++i) {
    for (int y = 0; y < SIDE; ++y)
      for (int x = 0; x < SIDE; ++x)
        for (int c = 0; c < 3; ++c) pixels[i][y][x][c] = (uint8_t)(5 * (i % 2 == 0 ? x : y) + 3 * i + 7 * c);
    pictures[i].rgb = &pixels[i][0][0][0];
    pictures[i].width = pictures[i].height = SIDE;
    labels[i] = i % CLASSES;
  }
  vitrine_library* library = NULL;
  EXPECT(vitrine_open(VITRINE_ABI, NULL, &library) == VITRINE_DONE, "a library");
  for (size_t i = 0; i < sizeof works / sizeof *works; ++i) check_work(library, &works[i]);
  check_refusals(library);
  check_empty_heap();
  check_threads(library);
  vitrine_close(library);
  free(bytes);
  printf("%d checks, %d failed\n", checks, failures);
  return failures != 0;
}
