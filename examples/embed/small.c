/* small.c: a command line for machines with little room: learns classes of pictures from folders and tells them apart.
 *
 *   small learn BACKBONE FOLDER TASK [STEPS]      FOLDER/CLASS/FILE: JPEG, PNG or BMP; 100 steps
 *   small predict BACKBONE TASK PICTURE...
 *
 * BACKBONE is a safetensors file of Vitrine's: models/builtin/vit.safetensors, or what `vitrine convert FILE --out NEW` makes of
 * another. The task file opens in `vitrine`, too. Built without exceptions and linked statically it has less than 1.5 MB
 * (docs/sizes.md has the commands). Pictures are read by stb_image: let them be your own. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <vitrine.h>

#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_MAX_DIMENSIONS 16384
#include <stb/stb_image.h>

enum { MOST_CLASSES = 256, BATCH = 16 };

static void stop(int status, const char* what, const char* why) {
  fprintf(stderr, "small: %s%s%s\n", what, *what && *why ? ": " : "", why);
  exit(status);
}
static void must(int status, const char* why) {
  if (status != VITRINE_DONE) stop(status, "", why);
}
static void must_of(const char* path, int status, const char* why) {
  if (status != VITRINE_DONE) stop(status, path, why);
}
static void* memory(void* block, size_t bytes) {
  void* got = realloc(block, bytes == 0 ? 1 : bytes);
  if (got == NULL) stop(VITRINE_RESOURCES, "memory", "the system has no more");
  return got;
}

static void* bytes_of(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  unsigned char* bytes = NULL;
  size_t room = 0;
  *size = 0;
  if (file == NULL) stop(VITRINE_OUTPUT, path, strerror(errno));
  while (!feof(file) && !ferror(file)) {
    if (*size == room) bytes = memory(bytes, room = room * 2 + 65536);
    *size += fread(bytes + *size, 1, room - *size, file);
  }
  if (ferror(file)) stop(VITRINE_OUTPUT, path, strerror(errno));
  fclose(file);
  return bytes;
}

/* Its pixels are the caller's. */
static vitrine_picture picture_of(const char* path) {
  vitrine_picture picture = {NULL, 0, 0, 0, NULL};
  int channels;
  size_t size;
  unsigned char* bytes = bytes_of(path, &size);
  if (size > INT32_MAX) stop(VITRINE_INPUT, path, "is too large for a picture");
  picture.rgb = stbi_load_from_memory(bytes, (int)size, &picture.width, &picture.height, &channels, 3);
  if (picture.rgb == NULL) stop(VITRINE_INPUT, path, stbi_failure_reason());
  free(bytes);
  return picture;
}

static int is_picture(const char* path) {
  struct stat about;
  static const char* const endings[] = {".jpg", ".jpeg", ".png", ".bmp"};
  const char* ending = strrchr(path, '.');
  for (size_t i = 0; ending != NULL && i < sizeof endings / sizeof *endings; ++i)
    if (strcasecmp(ending, endings[i]) == 0) return stat(path, &about) == 0 && S_ISREG(about.st_mode);
  return 0;
}

/* The names in a folder, sorted; those that begin with a dot are not there. */
static int by_name(const void* a, const void* b) { return strcmp(*(char* const*)a, *(char* const*)b); }
static size_t names_in(const char* folder, char*** names) {
  DIR* open = opendir(folder);
  size_t count = 0;
  *names = NULL;
  if (open == NULL) stop(VITRINE_OUTPUT, folder, strerror(errno));
  for (struct dirent* entry; (entry = readdir(open)) != NULL;) {
    if (entry->d_name[0] == '.') continue;
    *names = memory(*names, (count + 1) * sizeof **names);
    (*names)[count] = strcpy(memory(NULL, strlen(entry->d_name) + 1), entry->d_name);
    ++count;
  }
  closedir(open);
  if (count > 0) qsort(*names, count, sizeof **names, by_name);
  return count;
}
static char* joined(const char* folder, const char* name) {
  const size_t room = strlen(folder) + strlen(name) + 2;
  char* path = memory(NULL, room);
  snprintf(path, room, "%s/%s", folder, name);
  return path;
}

static vitrine_library* library;
static vitrine_backbone* backbone;

static void open_backbone(const char* path) {
  size_t size;
  must(vitrine_open(VITRINE_ABI, NULL, &library), "this vitrine.h is of another library");
  void* net = bytes_of(path, &size); /* stays: the backbone uses it in place */
  must(vitrine_backbone_open(library, net, size, NULL, &backbone), vitrine_message(library));
}

/* Whole or not at all: what was there stays until the new file is complete. */
static FILE* open_beside(const char* path, char** beside) {
  const size_t room = strlen(path) + 5;
  *beside = memory(NULL, room);
  snprintf(*beside, room, "%s.new", path);
  FILE* file = fopen(*beside, "wb");
  if (file == NULL) stop(VITRINE_OUTPUT, path, strerror(errno));
  return file;
}
static void check_writable(const char* path) { /* before the work, not after it */
  char* beside;
  struct stat about;
  if (stat(path, &about) == 0 && !S_ISREG(about.st_mode)) stop(VITRINE_OUTPUT, path, "is there and no file");
  fclose(open_beside(path, &beside));
  remove(beside);
}
static void save(const char* path, const void* bytes, size_t size) {
  char* beside;
  FILE* file = open_beside(path, &beside);
  const int failed = fwrite(bytes, 1, size, file) != size;
  if ((fclose(file) != 0) | failed || rename(beside, path) != 0) {
    const char* why = strerror(errno);
    remove(beside);
    stop(VITRINE_OUTPUT, path, why);
  }
}

static void learn(const char* folder, const char* task, int64_t steps) {
  char** classes;
  const size_t name_count = names_in(folder, &classes);
  size_t class_count = 0;
  for (size_t c = 0; c < name_count; ++c) {
    struct stat about;
    char* place = joined(folder, classes[c]);
    if (stat(place, &about) == 0 && S_ISDIR(about.st_mode))
      classes[class_count++] = classes[c];
    else
      printf("Left out: %s is no folder\n", place);
    free(place);
  }
  if (class_count < 2 || class_count > MOST_CLASSES)
    stop(VITRINE_INPUT, folder, "expected 2 to 256 folders, one for each class");
  check_writable(task);
  vitrine_tuning* tuning;
  const vitrine_tuning_options options = {
      .size = sizeof options, .steps = steps, .warmup = steps / 10, .learning_rate = 0.003};
  must(vitrine_tuning_open(backbone, &options, (const char* const*)classes, class_count, &tuning),
       vitrine_backbone_message(backbone));
  vitrine_backbone_info about = {.size = sizeof about};
  must(vitrine_backbone_about(backbone, &about), vitrine_backbone_message(backbone));
  const size_t numbers = (size_t)(3 * about.image_size * about.image_size);
  size_t count = 0;
  vitrine_picture* pictures = NULL; /* as the net sees them, each prepared once */
  int64_t* labels = NULL;
  for (size_t c = 0; c < class_count; ++c) {
    char **files, *place = joined(folder, classes[c]);
    const size_t of_class = names_in(place, &files);
    const size_t before = count;
    for (size_t f = 0; f < of_class; ++f) {
      const char* path = joined(place, files[f]);
      if (!is_picture(path)) {
        printf("Left out: %s is no file .jpg, .jpeg, .png or .bmp\n", path);
        continue;
      }
      vitrine_picture read = picture_of(path);
      float* prepared = memory(NULL, numbers * sizeof *prepared);
      must_of(path, vitrine_tuning_prepare(tuning, &read, prepared, numbers), vitrine_tuning_message(tuning));
      stbi_image_free((void*)read.rgb);
      pictures = memory(pictures, (count + 1) * sizeof *pictures);
      labels = memory(labels, (count + 1) * sizeof *labels);
      pictures[count] = (vitrine_picture){.prepared = prepared};
      labels[count++] = (int64_t)c;
    }
    if (count == before) stop(VITRINE_INPUT, place, "expected pictures, it has none");
  }
  printf("Learns %zu classes from %zu pictures in %lld steps of %d\n", class_count, count, (long long)steps,
         BATCH);
  vitrine_picture batch[BATCH];
  int64_t of[BATCH];
  uint64_t chance = 1;
  double loss = 0;
  const time_t began = time(NULL);
  for (int64_t step = 0; step < steps; ++step) {
    for (size_t i = 0; i < BATCH; ++i) { /* each class as often */
      size_t at;
      do {
        chance = chance * 6364136223846793005u + 1442695040888963407u;
        at = (size_t)(chance >> 33) % count;
      } while (labels[at] != (int64_t)(((uint64_t)step * BATCH + i) % class_count));
      batch[i] = pictures[at];
      of[i] = labels[at];
    }
    must(vitrine_tuning_step(tuning, batch, of, BATCH, &loss), vitrine_tuning_message(tuning));
    if ((step + 1) % 10 == 0 || step + 1 == steps)
      printf("step %lld of %lld: loss %.3f, %.0f s left\n", (long long)step + 1, (long long)steps, loss,
             difftime(time(NULL), began) / (double)(step + 1) * (double)(steps - step - 1));
    fflush(stdout);
  }
  size_t size = 0;
  vitrine_tuning_save(tuning, NULL, 0, &size); /* how large is it? */
  void* bytes = memory(NULL, size);
  must(vitrine_tuning_save(tuning, bytes, size, &size), vitrine_tuning_message(tuning));
  save(task, bytes, size);
  printf("Kept in %s (%zu bytes)\n", task, size);
}

static void predict(const char* path, char** files, int count) {
  size_t size;
  vitrine_task* task;
  void* bytes = bytes_of(path, &size);
  must(vitrine_task_open(backbone, bytes, size, &task), vitrine_backbone_message(backbone));
  vitrine_task_info about = {.size = sizeof about};
  must(vitrine_task_about(task, &about), vitrine_task_message(task));
  float* probabilities = memory(NULL, (size_t)about.classes * sizeof *probabilities);
  for (int i = 0; i < count; ++i) {
    const vitrine_picture picture = picture_of(files[i]);
    must_of(files[i], vitrine_predict(task, &picture, 1, probabilities, (size_t)about.classes),
            vitrine_task_message(task));
    stbi_image_free((void*)picture.rgb);
    size_t best = 0;
    const char* name;
    for (size_t c = 1; c < (size_t)about.classes; ++c)
      if (probabilities[c] > probabilities[best]) best = c;
    must(vitrine_task_class(task, best, &name), vitrine_task_message(task));
    printf("%s: ", files[i]);
    for (; *name != 0; ++name)
      putchar((unsigned char)*name < ' ' ? '?' : *name); /* no terminal obeys a name */
    printf(", %.1f %%\n", 100.0 * (double)probabilities[best]);
  }
}

int main(int count, char** arguments) {
  if ((count == 5 || count == 6) && strcmp(arguments[1], "learn") == 0) {
    char* end = "";
    const long long steps = count == 6 ? strtoll(arguments[5], &end, 10) : 100;
    if (steps < 1 || steps > 1000000 || *end != 0)
      stop(VITRINE_INPUT, arguments[5], "expected 1 to 1000000 steps");
    open_backbone(arguments[2]);
    learn(arguments[3], arguments[4], steps);
  } else if (count >= 5 && strcmp(arguments[1], "predict") == 0) {
    open_backbone(arguments[2]);
    predict(arguments[3], arguments + 4, count - 4);
  } else {
    fputs(
        "small learn BACKBONE FOLDER TASK [STEPS]      FOLDER/CLASS/FILE: JPEG, PNG or BMP; 100 steps\n"
        "small predict BACKBONE TASK PICTURE...\n",
        stderr);
    return VITRINE_INPUT;
  }
  if (fflush(stdout) != 0 || ferror(stdout)) stop(VITRINE_OUTPUT, "standard output", strerror(errno));
  return 0;
}
