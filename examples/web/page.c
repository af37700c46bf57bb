/* page.c: the host inside of the page: what the worker (worker.js) calls of Vitrine, in plain numbers and bytes. It keeps the
 * pictures that were added, as the net sees them, and the loop of batches; all else is vitrine.h's. One page, one task. */
#include <stdlib.h>
#include <string.h>

#include "vitrine.h"

#ifdef __EMSCRIPTEN__
#include <emscripten.h>
#define PAGE_API EMSCRIPTEN_KEEPALIVE
#else
#define PAGE_API
#endif

enum { BATCH = 16 };

typedef struct {
  vitrine_picture* pictures; /* `prepared` alone */
  int64_t* labels;
  size_t count, room;
} Pictures;

static vitrine_library* library;
static vitrine_backbone* backbone;
static vitrine_tuning* tuning;
static size_t classes, numbers; /* of the task; of a picture, as the net sees it */
static Pictures shown, held_out;
static size_t* order; /* of the pictures that are shown, in this epoch */
static size_t next;
static uint64_t random_state;
static const char* words = ""; /* why the last call failed */

static int said(int status, const char* message) {
  words = status == VITRINE_DONE ? "" : message;
  return status;
}
PAGE_API const char* page_message(void) { return words; }

static void forget(Pictures* of) {
  for (size_t i = 0; i < of->count; ++i) free((void*)of->pictures[i].prepared);
  free(of->pictures);
  free(of->labels);
  memset(of, 0, sizeof *of);
}
static void end_task(void) {
  vitrine_tuning_close(tuning);
  tuning = NULL;
  forget(&shown);
  forget(&held_out);
  free(order);
  order = NULL;
}

/* The backbone of these bytes, which stay. */
PAGE_API int page_open(const void* bytes, size_t size) {
  int status = vitrine_open(VITRINE_ABI, NULL, &library);
  if (status == VITRINE_DONE) status = vitrine_backbone_open(library, bytes, size, NULL, &backbone);
  if (status != VITRINE_DONE) return said(status, vitrine_message(library));
  vitrine_backbone_info info = {sizeof info};
  status = vitrine_backbone_about(backbone, &info);
  numbers = (size_t)(3 * info.image_size * info.image_size);
  return said(status, vitrine_backbone_message(backbone));
}
PAGE_API const char* page_about(void) {
  vitrine_backbone_info info = {sizeof info};
  return vitrine_backbone_about(backbone, &info) == VITRINE_DONE ? info.description : "";
}

/* Begins a task: fresh, with `count` names that end with a zero each, one behind the other; or, if `size` is not 0, from the bytes
 * of a task file, which has its own. The learning rate falls over so many steps. */
PAGE_API int page_begin(const char* names, size_t count, const void* task, size_t size, int prompts, double learning_rate,
                        int steps) {
  vitrine_tuning_options options = {.size = sizeof options,
                                    .prompts = prompts,
                                    .learning_rate = learning_rate,
                                    .weight_decay = 0.01,
                                    .steps = steps,
                                    .warmup = steps / 10};
  end_task();
  next = 0;
  random_state = 1;
  int status;
  if (size > 0) {
    status = vitrine_tuning_open_task(backbone, task, size, &options, &tuning);
  } else {
    const char** list = calloc(count + 1, sizeof *list);
    if (list == NULL) return said(VITRINE_RESOURCES, "The browser gave no memory for the names.");
    for (size_t i = 0; i < count; names += strlen(names) + 1) list[i++] = names;
    status = vitrine_tuning_open(backbone, &options, list, count, &tuning);
    free(list);
  }
  classes = count;
  return said(status, vitrine_backbone_message(backbone));
}

/* Looks into a task file: how many classes it has; less than 0 if it is none that this backbone can use. */
static vitrine_task* looked_at;
PAGE_API int page_look(const void* task, size_t size) {
  vitrine_task_close(looked_at);
  looked_at = NULL;
  vitrine_task_info info = {sizeof info};
  if (said(vitrine_task_open(backbone, task, size, &looked_at), vitrine_backbone_message(backbone)) != VITRINE_DONE ||
      said(vitrine_task_about(looked_at, &info), vitrine_task_message(looked_at)) != VITRINE_DONE)
    return -1;
  return (int)info.classes;
}
PAGE_API const char* page_class(int number) {
  const char* name = "";
  said(vitrine_task_class(looked_at, (size_t)number, &name), vitrine_task_message(looked_at));
  return name;
}

/* A canvas has four bytes a pixel; the fourth is left out, in place. */
static vitrine_picture picture_of(uint8_t* rgba, int width, int height) {
  const size_t pixels = (size_t)width * (size_t)height;
  for (size_t i = 0; i < pixels; ++i) memmove(rgba + 3 * i, rgba + 4 * i, 3);
  return (vitrine_picture){.rgb = rgba, .width = width, .height = height};
}

static int has_room(Pictures* of) {
  if (of->count < of->room) return 1;
  const size_t room = 2 * of->room + 16;
  vitrine_picture* pictures = realloc(of->pictures, room * sizeof *pictures);
  if (pictures != NULL) of->pictures = pictures;
  int64_t* labels = realloc(of->labels, room * sizeof *labels);
  if (labels != NULL) of->labels = labels;
  if (pictures == NULL || labels == NULL) return 0;
  of->room = room;
  return 1;
}

/* A picture of class `label`, to learn from or held out to measure by. Its bytes are changed. */
PAGE_API int page_add(uint8_t* rgba, int width, int height, int label, int is_held_out) {
  Pictures* to = is_held_out ? &held_out : &shown;
  const vitrine_picture picture = picture_of(rgba, width, height);
  float* prepared = malloc(numbers * sizeof *prepared);
  if (prepared == NULL || !has_room(to)) {
    free(prepared);
    return said(VITRINE_RESOURCES, "The browser gave no memory for another picture.");
  }
  const int status = vitrine_tuning_prepare(tuning, &picture, prepared, numbers);
  if (status != VITRINE_DONE) {
    free(prepared);
    return said(status, vitrine_tuning_message(tuning));
  }
  to->pictures[to->count] = (vitrine_picture){.prepared = prepared};
  to->labels[to->count++] = label;
  return said(VITRINE_DONE, "");
}

/* xorshift64*: a number below `limit`. */
static size_t random_below(size_t limit) {
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  return (size_t)((random_state * 0x2545F4914F6CDD1Du >> 32) % limit);
}

/* One step on the next pictures, in an order that is drawn for each epoch. `loss` is the mean before it. */
PAGE_API int page_step(double* loss) {
  vitrine_picture pictures[BATCH];
  int64_t labels[BATCH];
  size_t count = 0;
  if (order == NULL) {
    order = calloc(shown.count + 1, sizeof *order);
    if (order == NULL) return said(VITRINE_RESOURCES, "The browser gave no memory for a step.");
    for (size_t i = 0; i < shown.count; ++i) order[i] = i;
  }
  for (size_t i = next == 0 ? shown.count : 0; i > 1; --i) { /* Fisher and Yates */
    const size_t other = random_below(i), kept = order[i - 1];
    order[i - 1] = order[other];
    order[other] = kept;
  }
  for (; count < BATCH && next < shown.count; ++next) {
    pictures[count] = shown.pictures[order[next]];
    labels[count++] = shown.labels[order[next]];
  }
  if (next >= shown.count) next = 0;
  return said(vitrine_tuning_step(tuning, pictures, labels, count, loss), vitrine_tuning_message(tuning));
}

/* How many pictures, of those held out or of those shown, the task as it is now names rightly; less than 0 if it failed. */
PAGE_API int page_right(int of_held_out) {
  const Pictures* of = of_held_out ? &held_out : &shown;
  float* probabilities = malloc(BATCH * classes * sizeof *probabilities);
  int right = 0, status = probabilities == NULL ? VITRINE_RESOURCES : VITRINE_DONE;
  for (size_t at = 0; at < of->count && status == VITRINE_DONE; at += BATCH) {
    const size_t count = of->count - at < BATCH ? of->count - at : BATCH;
    status = vitrine_tuning_predict(tuning, of->pictures + at, count, probabilities, BATCH * classes);
    for (size_t i = 0; i < count && status == VITRINE_DONE; ++i) {
      const float* row = probabilities + i * classes;
      size_t best = 0;
      for (size_t c = 1; c < classes; ++c)
        if (row[c] > row[best]) best = c;
      right += of->labels[at + i] == (int64_t)best;
    }
  }
  free(probabilities);
  return said(status, vitrine_tuning_message(tuning)) == VITRINE_DONE ? right : -1;
}

/* The probabilities of the classes of a picture, whose bytes are changed. */
PAGE_API int page_predict(uint8_t* rgba, int width, int height, float* probabilities) {
  const vitrine_picture picture = picture_of(rgba, width, height);
  return said(vitrine_tuning_predict(tuning, &picture, 1, probabilities, classes), vitrine_tuning_message(tuning));
}

/* The task file into `bytes`, and its size; without bytes the size alone. */
PAGE_API int page_save(void* bytes, size_t room, size_t* size) {
  const int status = vitrine_tuning_save(tuning, bytes, room, size);
  return bytes == NULL ? said(VITRINE_DONE, "") : said(status, vitrine_tuning_message(tuning));
}
