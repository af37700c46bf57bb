/* host.c: a host in plain C that makes every call of vitrine.h, right and wrong.
 *
 *   host BACKBONE.safetensors      the file is read as bytes, by a reader and by its name
 *
 * Prints a line for each thing that is not as it must be; exit status 1 if there was one. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vitrine.h"

/* OpenMP's own, of the library's build: a host that has set it finds it as it was. */
#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_max_threads(void) { return 1; }
static void omp_set_num_threads(int threads) { (void)threads; }
#endif

static int failures = 0, checks = 0;

static void expect_at(int line, int holds, const char* what) {
  ++checks;
  if (holds) return;
  ++failures;
  printf("host.c:%d: %s\n", line, what);
}
#define EXPECT(condition) expect_at(__LINE__, (condition) != 0, #condition)
/* A call that has to fail: with this status, and this in its message. */
#define REFUSED(call, wanted, message, part)                        \
  do {                                                              \
    const int got = (call);                                         \
    expect_at(__LINE__, got == (wanted), #call ": another status"); \
    if (strstr((message), (part)) == NULL) {                        \
      printf("  its message: %s\n", (message));                     \
      expect_at(__LINE__, 0, #call ": another message");            \
    }                                                               \
  } while (0)

/* --- the host's own memory, which counts --- */
typedef struct {
  size_t alive, blocks, most;
  size_t refuse_beyond; /* 0: never */
} Heap;

static pthread_mutex_t heap_mutex = PTHREAD_MUTEX_INITIALIZER; /* two threads use handles of one library */

static void* take(void* host, size_t bytes) {
  Heap* heap = host;
  void* block = NULL;
  pthread_mutex_lock(&heap_mutex);
  if ((heap->refuse_beyond == 0 || heap->alive + bytes <= heap->refuse_beyond) &&
      posix_memalign(&block, 64, bytes == 0 ? 64 : bytes) == 0) {
    heap->alive += bytes;
    ++heap->blocks;
    if (heap->alive > heap->most) heap->most = heap->alive;
  }
  pthread_mutex_unlock(&heap_mutex);
  return block;
}
static void give(void* host, void* block, size_t bytes) {
  Heap* heap = host;
  pthread_mutex_lock(&heap_mutex);
  heap->alive -= bytes;
  --heap->blocks;
  pthread_mutex_unlock(&heap_mutex);
  free(block);
}

/* --- pictures of two classes: bright to the right, bright downwards; no two alike --- */
enum { SIDE = 40, MANY = 8 };
static uint8_t pixels[MANY][SIDE][SIDE + 3][3];
static vitrine_picture pictures[MANY];
static int64_t labels[MANY];

static void draw(void) {
  memset(pictures, 0, sizeof pictures);
  for (int i = 0; i < MANY; ++i) {
    for (int y = 0; y < SIDE; ++y)
      for (int x = 0; x < SIDE + 3; ++x)
        for (int c = 0; c < 3; ++c) pixels[i][y][x][c] = (uint8_t)(5 * (i % 2 == 0 ? x : y) + 3 * i + 7 * c);
    pictures[i].rgb = &pixels[i][0][0][0];
    pictures[i].width = SIDE;
    pictures[i].height = SIDE;
    pictures[i].row_bytes = sizeof pixels[i][0];
    labels[i] = i % 2;
  }
}

/* --- a file's bytes, and a reader of them --- */
typedef struct {
  unsigned char* bytes;
  size_t size;
  uint64_t give_up_at; /* 0: never */
  size_t calls;
} Storage;

static int read_some(void* host, uint64_t offset, void* to, size_t count) {
  Storage* storage = host;
  ++storage->calls;
  if (storage->give_up_at != 0 && offset + count > storage->give_up_at) return -1;
  memcpy(to, storage->bytes + offset, count);
  return 0;
}

static Storage load(const char* path) {
  Storage storage = {NULL, 0, 0, 0};
  FILE* file = fopen(path, "rb");
  if (file == NULL) return storage;
  fseek(file, 0, SEEK_END);
  storage.size = (size_t)ftell(file);
  rewind(file);
  /* Of the alignment that a map has. */
  void* place = NULL;
  if (posix_memalign(&place, 64, storage.size) == 0) storage.bytes = place;
  if (storage.bytes == NULL || fread(storage.bytes, 1, storage.size, file) != storage.size) storage.size = 0;
  fclose(file);
  return storage;
}

static const char* const names[] = {"right", "down"};

/* Pictures that were prepared once are the pictures, to the last bit. */
static void check_prepared(vitrine_backbone* backbone, vitrine_tuning* tuning, const float* expected) {
  vitrine_backbone_info info = {sizeof info};
  EXPECT(vitrine_backbone_about(backbone, &info) == VITRINE_DONE);
  const size_t numbers = (size_t)(3 * info.image_size * info.image_size);
  float* prepared = malloc(MANY * numbers * sizeof(float));
  vitrine_picture ready[MANY] = {{0}};
  float probabilities[2 * MANY];
  for (int i = 0; i < MANY; ++i) {
    ready[i].prepared = prepared + (size_t)i * numbers;
    EXPECT(vitrine_tuning_prepare(tuning, &pictures[i], prepared + (size_t)i * numbers, numbers) ==
           VITRINE_DONE);
  }
  EXPECT(vitrine_tuning_predict(tuning, ready, MANY, probabilities, 2 * MANY) == VITRINE_DONE);
  EXPECT(memcmp(probabilities, expected, sizeof probabilities) == 0);
  REFUSED(vitrine_tuning_prepare(tuning, &pictures[0], prepared, numbers - 1), VITRINE_INPUT,
          vitrine_tuning_message(tuning), "a picture has");
  REFUSED(vitrine_tuning_prepare(tuning, &pictures[0], NULL, numbers), VITRINE_INPUT,
          vitrine_tuning_message(tuning), "room for 0");
  REFUSED(vitrine_tuning_prepare(tuning, NULL, prepared, numbers), VITRINE_INPUT,
          vitrine_tuning_message(tuning), "got NULL");
  free(prepared);
}

/* A tuning of a few steps; the task's bytes are the caller's. */
static unsigned char* tune(vitrine_backbone* backbone, const char* method, int steps, size_t* size,
                           float* probabilities) {
  vitrine_tuning_options options = {sizeof options};
  vitrine_tuning* tuning = NULL;
  unsigned char* bytes = NULL;
  double first = 0, last = 0;
  int64_t made = 0;
  options.method = method;
  options.learning_rate = 0.01;
  options.prompts = 4;
  options.steps = steps;
  options.warmup = 1;
  options.seed = 7;
  EXPECT(vitrine_tuning_open(backbone, &options, names, 2, &tuning) == VITRINE_DONE);
  if (tuning == NULL) {
    printf("  %s\n", vitrine_backbone_message(backbone));
    return NULL;
  }
  for (int i = 0; i < steps; ++i) {
    double loss = 0;
    EXPECT(vitrine_tuning_step(tuning, pictures, labels, MANY, &loss) == VITRINE_DONE);
    if (i == 0) first = loss;
    last = loss;
  }
  EXPECT(fabs(first - log(2)) < 1e-6); /* a head of zeros */
  EXPECT(last < first);
  EXPECT(vitrine_tuning_steps(tuning, &made) == VITRINE_DONE && made == steps);
  EXPECT(vitrine_tuning_predict(tuning, pictures, MANY, probabilities, 2 * MANY) == VITRINE_DONE);
  check_prepared(backbone, tuning, probabilities);
  REFUSED(vitrine_tuning_save(tuning, NULL, 0, size), VITRINE_RESOURCES, vitrine_tuning_message(tuning),
          "there is room for 0");
  bytes = malloc(*size);
  if (bytes != NULL) {
    size_t again = 0;
    REFUSED(vitrine_tuning_save(tuning, bytes, *size - 1, &again), VITRINE_RESOURCES,
            vitrine_tuning_message(tuning), "there is room for");
    EXPECT(vitrine_tuning_save(tuning, bytes, *size, &again) == VITRINE_DONE && again == *size);
    EXPECT(strcmp(vitrine_tuning_message(tuning), "") == 0);
  }
  vitrine_tuning_close(tuning);
  return bytes;
}

static void check_wrong_tunings(vitrine_backbone* backbone) {
  vitrine_tuning* tuning = NULL;
  const char* twice[] = {"a", "a"};
  const char* unnamed[] = {"a", ""};
  const char* broken[] = {"a", "\xff"};
  vitrine_tuning_options o = {sizeof o};
  REFUSED(vitrine_tuning_open(backbone, NULL, names, 1, &tuning), VITRINE_INPUT,
          vitrine_backbone_message(backbone), "names of 2 to");
  REFUSED(vitrine_tuning_open(backbone, NULL, twice, 2, &tuning), VITRINE_INPUT,
          vitrine_backbone_message(backbone), "classes 0 and 1 are both 'a'");
  REFUSED(vitrine_tuning_open(backbone, NULL, unnamed, 2, &tuning), VITRINE_INPUT,
          vitrine_backbone_message(backbone), "class 1 has no name");
  REFUSED(vitrine_tuning_open(backbone, NULL, broken, 2, &tuning), VITRINE_INPUT,
          vitrine_backbone_message(backbone), "UTF-8");
  REFUSED(vitrine_tuning_open(backbone, NULL, NULL, 2, &tuning), VITRINE_INPUT,
          vitrine_backbone_message(backbone), "names of");
  REFUSED(vitrine_tuning_open(backbone, NULL, names, 2, NULL), VITRINE_INPUT,
          vitrine_backbone_message(backbone), "a place for the handle");
  o.method = "vpt-depp";
  REFUSED(vitrine_tuning_open(backbone, &o, names, 2, &tuning), VITRINE_INPUT,
          vitrine_backbone_message(backbone), "vpt-deep");
  o.method = NULL;
  o.optimizer = "adam";
  REFUSED(vitrine_tuning_open(backbone, &o, names, 2, &tuning), VITRINE_INPUT,
          vitrine_backbone_message(backbone), "expected adamw or sgd, got 'adam'");
  o.optimizer = NULL;
  o.learning_rate = -1;
  REFUSED(vitrine_tuning_open(backbone, &o, names, 2, &tuning), VITRINE_INPUT,
          vitrine_backbone_message(backbone), "learning_rate is -1");
  o.learning_rate = 0;
  o.label_smoothing = 1;
  REFUSED(vitrine_tuning_open(backbone, &o, names, 2, &tuning), VITRINE_INPUT,
          vitrine_backbone_message(backbone), "label_smoothing");
  o.label_smoothing = 0;
  o.size = sizeof o + 8;
  REFUSED(vitrine_tuning_open(backbone, &o, names, 2, &tuning), VITRINE_INPUT,
          vitrine_backbone_message(backbone), "its size is");
  EXPECT(tuning == NULL);

  /* Steps that are refused change nothing, and one that diverges neither. */
  o.size = sizeof o;
  EXPECT(vitrine_tuning_open(backbone, &o, names, 2, &tuning) == VITRINE_DONE);
  const int64_t wrong[] = {0, 2};
  int64_t steps = -1;
  vitrine_picture odd = pictures[0];
  REFUSED(vitrine_tuning_step(tuning, pictures, wrong, 2, NULL), VITRINE_INPUT,
          vitrine_tuning_message(tuning), "labels of 0 to 1, got 2 of picture 1");
  REFUSED(vitrine_tuning_step(tuning, pictures, labels, 0, NULL), VITRINE_INPUT,
          vitrine_tuning_message(tuning), "pictures, got 0");
  REFUSED(vitrine_tuning_step(tuning, pictures, NULL, 1, NULL), VITRINE_INPUT, vitrine_tuning_message(tuning),
          "expected labels");
  odd.width = 0;
  REFUSED(vitrine_tuning_step(tuning, &odd, labels, 1, NULL), VITRINE_INPUT, vitrine_tuning_message(tuning),
          "expected sides of");
  odd = pictures[0];
  odd.row_bytes = 3;
  REFUSED(vitrine_tuning_step(tuning, &odd, labels, 1, NULL), VITRINE_INPUT, vitrine_tuning_message(tuning),
          "more than row_bytes 3");
  odd.rgb = NULL;
  REFUSED(vitrine_tuning_step(tuning, &odd, labels, 1, NULL), VITRINE_INPUT, vitrine_tuning_message(tuning),
          "either rgb or prepared");
  vitrine_backbone_info info = {sizeof info};
  EXPECT(vitrine_backbone_about(backbone, &info) == VITRINE_DONE);
  const size_t numbers = (size_t)(3 * info.image_size * info.image_size);
  float* prepared = calloc(numbers, sizeof(float));
  memset(&odd, 0, sizeof odd);
  odd.prepared = prepared;
  prepared[5] = (float)NAN;
  REFUSED(vitrine_tuning_step(tuning, &odd, labels, 1, NULL), VITRINE_DIVERGED,
          vitrine_tuning_message(tuning), "the loss became");
  EXPECT(vitrine_tuning_steps(tuning, &steps) == VITRINE_DONE && steps == 0);
  prepared[5] = 0;
  EXPECT(vitrine_tuning_step(tuning, &odd, labels, 1, NULL) == VITRINE_DONE);
  free(prepared);
  vitrine_tuning_close(tuning);
}

static void check_task(vitrine_backbone* backbone, const unsigned char* bytes, size_t size,
                       const float* expected) {
  vitrine_task* task = NULL;
  vitrine_task_info info = {sizeof info};
  const char* name = NULL;
  float probabilities[2 * MANY];
  EXPECT(vitrine_task_open(backbone, bytes, size, &task) == VITRINE_DONE);
  if (task == NULL) {
    printf("  %s\n", vitrine_backbone_message(backbone));
    return;
  }
  EXPECT(vitrine_task_about(task, &info) == VITRINE_DONE);
  EXPECT(info.classes == 2 && info.prompts == 4 && info.parameters > 0 &&
         strcmp(info.method, "vpt-deep") == 0);
  EXPECT(vitrine_task_class(task, 1, &name) == VITRINE_DONE && strcmp(name, "down") == 0);
  REFUSED(vitrine_task_class(task, 2, &name), VITRINE_INPUT, vitrine_task_message(task), "a class below 2");
  EXPECT(vitrine_predict(task, pictures, MANY, probabilities, 2 * MANY) == VITRINE_DONE);
  EXPECT(memcmp(probabilities, expected, sizeof probabilities) == 0);
  for (int i = 0; i < MANY; ++i) {
    EXPECT(fabs(probabilities[2 * i] + probabilities[2 * i + 1] - 1.0) < 1e-6);
    float alone[2];
    EXPECT(vitrine_predict(task, &pictures[i], 1, alone, 2) == VITRINE_DONE);
    EXPECT(fabs(alone[0] - probabilities[2 * i]) < 1e-5);
  }
  REFUSED(vitrine_predict(task, pictures, MANY, probabilities, 2 * MANY - 1), VITRINE_INPUT,
          vitrine_task_message(task), "need room for 16 probabilities, got 15");
  REFUSED(vitrine_predict(task, pictures, MANY, NULL, 2 * MANY), VITRINE_INPUT, vitrine_task_message(task),
          "got 0");
  /* A struct of an older, smaller size gets what it has room for. */
  info.size = offsetof(vitrine_task_info, prompts);
  info.prompts = -1;
  EXPECT(vitrine_task_about(task, &info) == VITRINE_DONE && info.classes == 2 && info.prompts == -1);
  vitrine_task_close(task);

  for (size_t cut = 0; cut < size; cut += 1 + size / 50) { /* no part of a task is a task */
    task = NULL;
    EXPECT(vitrine_task_open(backbone, bytes, cut, &task) == VITRINE_INPUT);
    EXPECT(task == NULL && *vitrine_backbone_message(backbone) != 0);
  }
  /* A task whose numbers are numbers, and what comes of them is none. */
  unsigned char* huge = malloc(size);
  uint64_t header;
  const float far = 3e38f;
  memcpy(huge, bytes, size);
  memcpy(&header, huge, sizeof header); /* safetensors: its length, the header, the numbers */
  for (size_t at = 8 + (size_t)header; at + sizeof far <= size; at += sizeof far)
    memcpy(huge + at, &far, sizeof far);
  EXPECT(vitrine_task_open(backbone, huge, size, &task) == VITRINE_DONE);
  REFUSED(vitrine_predict(task, pictures, 1, probabilities, 2), VITRINE_INPUT, vitrine_task_message(task),
          "is no number");
  vitrine_task_close(task);
  free(huge);
}

/* Tasks of several methods in one set: each picture gets what its task gives alone, whatever the others are. */
static void check_task_set(vitrine_backbone* backbone, const unsigned char* bytes, size_t size,
                           const float* expected) {
  enum { TASKS = 4 };
  static const char* const methods[TASKS] = {"vpt-deep", "linear", "vpt-shallow", "bias"};
  static const char* const called[TASKS] = {"deep", "linear", "shallow", "biases"};
  float alone[TASKS][2 * MANY], together[2 * MANY];
  const char* whose[MANY];
  vitrine_task_set* set = NULL;
  vitrine_task_set_info about = {sizeof about};
  vitrine_task_info info = {sizeof info};
  const char* name = NULL;
  EXPECT(vitrine_task_set_open(backbone, &set) == VITRINE_DONE);
  REFUSED(vitrine_task_set_open(backbone, NULL), VITRINE_INPUT, vitrine_backbone_message(backbone),
          "a place for");
  if (set == NULL) return;
  EXPECT(vitrine_task_set_about(set, &about) == VITRINE_DONE && about.tasks == 0 && about.bytes == 0);
  for (int t = 0; t < TASKS; ++t) {
    size_t own = 0;
    vitrine_task* single = NULL;
    unsigned char* task = tune(backbone, methods[t], 5, &own, alone[t]);
    EXPECT(task != NULL && vitrine_task_open(backbone, task, own, &single) == VITRINE_DONE);
    EXPECT(vitrine_predict(single, pictures, MANY, alone[t], 2 * MANY) == VITRINE_DONE);
    vitrine_task_close(single);
    EXPECT(vitrine_task_set_add(set, called[t], task, own) == VITRINE_DONE);
    free(task); /* it was copied */
  }
  EXPECT(vitrine_task_set_about(set, &about) == VITRINE_DONE && about.tasks == TASKS && about.apart == 1 &&
         about.bytes > 0);
  EXPECT(vitrine_task_set_task(set, "shallow", &info) == VITRINE_DONE);
  EXPECT(info.classes == 2 && info.prompts == 4 && strcmp(info.method, "vpt-shallow") == 0);
  EXPECT(vitrine_task_set_class(set, "linear", 1, &name) == VITRINE_DONE && strcmp(name, "down") == 0);

  for (int turn = 0; turn < TASKS; ++turn) {
    for (int i = 0; i < MANY; ++i) whose[i] = called[(i + turn) % TASKS];
    EXPECT(vitrine_task_set_predict(set, pictures, whose, MANY, together, 2 * MANY) == VITRINE_DONE);
    for (int i = 0; i < MANY; ++i)
      EXPECT(memcmp(&together[2 * i], &alone[(i + turn) % TASKS][2 * i], 2 * sizeof(float)) == 0);
  }
  /* The tasks do tell pictures apart in ways of their own. */
  EXPECT(memcmp(alone[0], alone[1], sizeof alone[0]) != 0 &&
         memcmp(alone[0], alone[2], sizeof alone[0]) != 0);

  /* What is refused changes nothing. */
  REFUSED(vitrine_task_set_predict(set, pictures, whose, MANY, together, 2 * MANY - 1), VITRINE_INPUT,
          vitrine_task_set_message(set), "need room for 16 probabilities, got 15");
  REFUSED(vitrine_task_set_predict(set, pictures, NULL, MANY, together, 2 * MANY), VITRINE_INPUT,
          vitrine_task_set_message(set), "the name of a task for each");
  REFUSED(vitrine_task_set_predict(set, pictures, whose, 0, together, 2 * MANY), VITRINE_INPUT,
          vitrine_task_set_message(set), "pictures, got 0");
  whose[1] = "shalow";
  REFUSED(vitrine_task_set_predict(set, pictures, whose, MANY, together, 2 * MANY), VITRINE_INPUT,
          vitrine_task_set_message(set), "no task 'shalow'; nearest: shallow");
  whose[1] = NULL;
  REFUSED(vitrine_task_set_predict(set, pictures, whose, MANY, together, 2 * MANY), VITRINE_INPUT,
          vitrine_task_set_message(set), "expected a name, got NULL");
  REFUSED(vitrine_task_set_add(set, "", bytes, size), VITRINE_INPUT, vitrine_task_set_message(set),
          "expected a name");
  REFUSED(vitrine_task_set_add(set, "\xff", bytes, size), VITRINE_INPUT, vitrine_task_set_message(set),
          "UTF-8");
  REFUSED(vitrine_task_set_add(set, "linear", bytes, size / 2), VITRINE_INPUT, vitrine_task_set_message(set),
          "the host's task");
  REFUSED(vitrine_task_set_add(set, "new", bytes, size / 2), VITRINE_INPUT, vitrine_task_set_message(set),
          "the host's task");
  REFUSED(vitrine_task_set_class(set, "linear", 2, &name), VITRINE_INPUT, vitrine_task_set_message(set),
          "a class below 2");
  REFUSED(vitrine_task_set_task(set, "new", &info), VITRINE_INPUT, vitrine_task_set_message(set),
          "no task 'new'");
  REFUSED(vitrine_task_set_remove(set, "new"), VITRINE_INPUT, vitrine_task_set_message(set), "no task 'new'");
  EXPECT(vitrine_task_set_task(set, "linear", &info) == VITRINE_DONE && strcmp(info.method, "linear") == 0);

  /* Another in the place of one; one that goes. */
  EXPECT(vitrine_task_set_add(set, "linear", bytes, size) == VITRINE_DONE);
  EXPECT(vitrine_task_set_remove(set, "biases") == VITRINE_DONE);
  EXPECT(vitrine_task_set_about(set, &about) == VITRINE_DONE && about.tasks == TASKS - 1 && about.apart == 0);
  for (int i = 0; i < MANY; ++i) whose[i] = "linear";
  EXPECT(vitrine_task_set_predict(set, pictures, whose, MANY, together, 2 * MANY) == VITRINE_DONE);
  EXPECT(memcmp(together, expected, sizeof together) == 0);
  vitrine_task_set_close(set);
}

/* Two threads, each with a task of its own on one backbone. */
typedef struct {
  vitrine_task* task;
  const float* expected;
  int wrong;
} Work;
static void* predict_often(void* work_of) {
  Work* work = work_of;
  for (int i = 0; i < 20; ++i) {
    float probabilities[2 * MANY];
    if (vitrine_predict(work->task, pictures, MANY, probabilities, 2 * MANY) != VITRINE_DONE ||
        memcmp(probabilities, work->expected, sizeof probabilities) != 0)
      ++work->wrong;
  }
  return NULL;
}
static void check_threads(vitrine_backbone* backbone, const unsigned char* bytes, size_t size,
                          const float* expected) {
  Work work[2];
  pthread_t threads[2];
  for (int i = 0; i < 2; ++i) {
    work[i].expected = expected;
    work[i].wrong = 0;
    work[i].task = NULL;
    EXPECT(vitrine_task_open(backbone, bytes, size, &work[i].task) == VITRINE_DONE);
  }
  for (int i = 0; i < 2; ++i) pthread_create(&threads[i], NULL, predict_often, &work[i]);
  for (int i = 0; i < 2; ++i) {
    pthread_join(threads[i], NULL);
    EXPECT(work[i].wrong == 0);
    vitrine_task_close(work[i].task);
  }
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  Storage storage = load(argv[1]);
  EXPECT(storage.size > 0);
  draw();

  EXPECT(vitrine_abi() == VITRINE_ABI);
  EXPECT(strlen(vitrine_version()) > 0);
  vitrine_library* library = NULL;
  REFUSED(vitrine_open(VITRINE_ABI + 1, NULL, &library), VITRINE_INPUT, vitrine_message(library), "ABI 2");
  vitrine_backbone* backbone = NULL;
  REFUSED(vitrine_backbone_open(library, storage.bytes, storage.size, NULL, &backbone), VITRINE_INPUT,
          vitrine_message(library), "the library was not opened");
  vitrine_close(library);
  EXPECT(vitrine_open(VITRINE_ABI, NULL, NULL) == VITRINE_INPUT);
  vitrine_settings settings = {sizeof settings};
  settings.allocate = take;
  REFUSED(vitrine_open(VITRINE_ABI, &settings, &library), VITRINE_INPUT, vitrine_message(library),
          "go together");
  vitrine_close(library);

  Heap heap = {0, 0, 0, 0};
  settings.release = give;
  settings.host = &heap;
  EXPECT(vitrine_open(VITRINE_ABI, &settings, &library) == VITRINE_DONE);

  /* Backbones that are none. */
  vitrine_backbone_options options = {sizeof options};
  REFUSED(vitrine_backbone_open(library, storage.bytes, storage.size / 2, NULL, &backbone), VITRINE_INPUT,
          vitrine_message(library), "the host's bytes");
  REFUSED(vitrine_backbone_open(library, NULL, 100, NULL, &backbone), VITRINE_INPUT, vitrine_message(library),
          "NULL");
  REFUSED(vitrine_backbone_open(library, storage.bytes, storage.size, NULL, NULL), VITRINE_INPUT,
          vitrine_message(library), "a place for the handle");
  options.packed_bits = 7;
  REFUSED(vitrine_backbone_open(library, storage.bytes, storage.size, &options, &backbone), VITRINE_INPUT,
          vitrine_message(library), "packed_bits of 32, 16 or 8, got 7");
  REFUSED(vitrine_backbone_open_file(library, "nowhere/no.safetensors", NULL, &backbone), VITRINE_OUTPUT,
          vitrine_message(library), "nowhere/no.safetensors");
  REFUSED(vitrine_backbone_open_builtin(library, "vit", NULL, &backbone), VITRINE_INPUT,
          vitrine_message(library), "expected builtin or builtin-swin, got 'vit'");
  storage.give_up_at = storage.size / 2;
  REFUSED(vitrine_backbone_open_reader(library, read_some, &storage, storage.size, NULL, &backbone),
          VITRINE_OUTPUT, vitrine_message(library), "the host could not read");
  storage.give_up_at = 0;
  for (uint64_t less = 0; less < 130; less += 3) /* which rounding up would make small */
    REFUSED(vitrine_backbone_open_reader(library, read_some, &storage, UINT64_MAX - less, NULL, &backbone),
            VITRINE_RESOURCES, vitrine_message(library), "memory");
  EXPECT(backbone == NULL);
  backbone = (vitrine_backbone*)&storage; /* whatever fails, it is NULL, also without a first handle */
  EXPECT(vitrine_backbone_open(NULL, storage.bytes, storage.size, NULL, &backbone) == VITRINE_INPUT &&
         backbone == NULL);

  /* The same net by every way has one identity and learns the same task. */
  float expected[2 * MANY];
  size_t size = 0;
  EXPECT(vitrine_backbone_open(library, storage.bytes, storage.size, NULL, &backbone) == VITRINE_DONE);
  if (backbone == NULL) {
    printf("%s\n", vitrine_message(library));
    return 1;
  }
  unsigned char* bytes = tune(backbone, NULL, 6, &size, expected);
  EXPECT(bytes != NULL);
  if (bytes == NULL) return 1;
  check_task(backbone, bytes, size, expected);
  check_task_set(backbone, bytes, size, expected);
  check_threads(backbone, bytes, size, expected);
  check_wrong_tunings(backbone);
  vitrine_backbone_info first = {sizeof first}, other = {sizeof other};
  EXPECT(vitrine_backbone_about(backbone, &first) == VITRINE_DONE);
  EXPECT(first.parameters > 0 && first.blocks > 0 && strlen(first.identity) == 64);
  REFUSED(vitrine_backbone_about(backbone, NULL), VITRINE_INPUT, vitrine_backbone_message(backbone),
          "sizeof");
  for (int way = 0; way < 2; ++way) {
    vitrine_backbone* again = NULL;
    EXPECT((way == 0 ? vitrine_backbone_open_reader(library, read_some, &storage, storage.size, NULL, &again)
                     : vitrine_backbone_open_file(library, argv[1], NULL, &again)) == VITRINE_DONE);
    EXPECT(vitrine_backbone_about(again, &other) == VITRINE_DONE &&
           strcmp(first.identity, other.identity) == 0);
    check_task(again, bytes, size, expected);
    vitrine_backbone_close(again);
  }
  /* Storage that is read again whenever weights are needed gives the same, and may fail and come back. */
  vitrine_backbone_options streamed = {sizeof streamed};
  streamed.packed_bytes = 1;
  vitrine_backbone* again = NULL;
  EXPECT(vitrine_backbone_open_reader(library, read_some, &storage, storage.size, &streamed, &again) ==
         VITRINE_DONE);
  EXPECT(vitrine_backbone_about(again, &other) == VITRINE_DONE &&
         strcmp(first.identity, other.identity) == 0);
  const size_t calls = storage.calls;
  check_task(again, bytes, size, expected);
  EXPECT(storage.calls > calls);
  vitrine_task* from_storage = NULL;
  float found[2];
  EXPECT(vitrine_task_open(again, bytes, size, &from_storage) == VITRINE_DONE);
  storage.give_up_at = storage.size / 2;
  REFUSED(vitrine_predict(from_storage, pictures, 1, found, 2), VITRINE_OUTPUT,
          vitrine_task_message(from_storage), "the host could not read");
  storage.give_up_at = 0;
  EXPECT(vitrine_predict(from_storage, pictures, 1, found, 2) == VITRINE_DONE && found[0] == expected[0]);
  vitrine_task_close(from_storage);
  vitrine_backbone_close(again);
  /* One tuned elsewhere is refused; going on from a task begins where it ended. */
  vitrine_backbone* builtin = NULL;
  vitrine_task* task = NULL;
  EXPECT(vitrine_backbone_open_builtin(library, "builtin", NULL, &builtin) == VITRINE_DONE);
  EXPECT(vitrine_backbone_about(builtin, &other) == VITRINE_DONE);
  if (strcmp(first.identity, other.identity) == 0) { /* that is the file */
    vitrine_backbone_close(builtin);
    EXPECT(vitrine_backbone_open_builtin(library, "builtin-swin", NULL, &builtin) == VITRINE_DONE);
  }
  REFUSED(vitrine_task_open(builtin, bytes, size, &task), VITRINE_INPUT, vitrine_backbone_message(builtin),
          "belongs to another backbone");
  vitrine_task_set* set = NULL;
  EXPECT(vitrine_task_set_open(builtin, &set) == VITRINE_DONE);
  REFUSED(vitrine_task_set_add(set, "a", bytes, size), VITRINE_INPUT, vitrine_task_set_message(set),
          "belongs to another backbone");
  vitrine_task_set_close(set);
  vitrine_backbone_close(builtin);
  vitrine_tuning* on = NULL;
  float probabilities[2 * MANY];
  EXPECT(vitrine_tuning_open_task(backbone, bytes, size, NULL, &on) == VITRINE_DONE);
  EXPECT(vitrine_tuning_predict(on, pictures, MANY, probabilities, 2 * MANY) == VITRINE_DONE);
  EXPECT(memcmp(probabilities, expected, sizeof probabilities) == 0);
  omp_set_num_threads(3);
  const int threads_before = omp_get_max_threads();
  EXPECT(vitrine_tuning_step(on, pictures, labels, MANY, NULL) == VITRINE_DONE);
  EXPECT(omp_get_max_threads() == threads_before);

  /* Handles may be closed in any order, and all memory comes back. */
  EXPECT(vitrine_task_open(backbone, bytes, size, &task) == VITRINE_DONE);
  vitrine_memory_use use = {sizeof use};
  EXPECT(vitrine_memory(library, &use) == VITRINE_DONE);
  EXPECT(use.now == heap.alive);
  EXPECT(use.most >= use.now);
  vitrine_close(library);
  vitrine_backbone_close(backbone);
  vitrine_tuning_close(on);
  EXPECT(vitrine_predict(task, pictures, MANY, probabilities, 2 * MANY) == VITRINE_DONE);
  EXPECT(memcmp(probabilities, expected, sizeof probabilities) == 0);
  vitrine_task_close(task);
  EXPECT(heap.alive == 0 && heap.blocks == 0);
  EXPECT(heap.most > 0);

  /* A host without more memory, and a limit: refused in words, and nothing is lost. */
  for (int way = 0; way < 2; ++way) {
    vitrine_settings small = {sizeof small};
    Heap little = {0, 0, 0, 0};
    if (way == 0) {
      small.allocate = take;
      small.release = give;
      small.host = &little;
    } else {
      small.memory_limit = heap.most / 4;
    }
    vitrine_tuning* tuning = NULL;
    backbone = NULL;
    EXPECT(vitrine_open(VITRINE_ABI, &small, &library) == VITRINE_DONE);
    EXPECT(vitrine_backbone_open(library, storage.bytes, storage.size, NULL, &backbone) == VITRINE_DONE);
    little.refuse_beyond = heap.most / 4;
    if (vitrine_tuning_open(backbone, NULL, names, 2, &tuning) == VITRINE_DONE) {
      REFUSED(vitrine_tuning_step(tuning, pictures, labels, MANY, NULL), VITRINE_RESOURCES,
              vitrine_tuning_message(tuning), "memory");
      vitrine_tuning_close(tuning);
    } else {
      EXPECT(strstr(vitrine_backbone_message(backbone), "memory") != NULL);
    }
    vitrine_backbone_close(backbone);
    vitrine_close(library);
    EXPECT(little.alive == 0 && little.blocks == 0);
  }

  /* Handles that are none have nobody to say so. */
  EXPECT(vitrine_predict(NULL, pictures, 1, probabilities, 2) == VITRINE_INPUT);
  EXPECT(vitrine_memory(NULL, &use) == VITRINE_INPUT);
  EXPECT(strcmp(vitrine_message(NULL), "") == 0 && strcmp(vitrine_task_message(NULL), "") == 0);
  vitrine_close(NULL);
  vitrine_backbone_close(NULL);
  vitrine_task_close(NULL);
  vitrine_task_set_close(NULL);
  vitrine_tuning_close(NULL);
  free(bytes);
  free(storage.bytes);
  printf("%d checks, %d failures\n", checks, failures);
  return failures > 0;
}
