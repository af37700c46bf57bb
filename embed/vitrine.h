/* vitrine.h: Vitrine inside other programs, in plain C (C99).
 *
 *     library --> backbone --> task       predicts
 *                          --> task set   predicts with many tasks at once
 *                          --> tuning     learns a task step by step, predicts, and saves it
 *
 * Every call returns a status, which is 0 if it did what it says. Else it did nothing, and the message of its first handle
 * says why, in a sentence. No exception leaves a call, nothing is printed, nothing ends the program, and nothing is global:
 * what a host has set of OpenMP for itself stays. A handle is used by one thread at a time; different handles by different
 * threads at once, also those of one library.
 * Handles may be closed in any order, for each keeps what it needs; closing NULL does nothing. A call that opens a handle and fails
 * leaves NULL in its place.
 *
 * A library that was built without exceptions (docs/embedding.md) promises less: a call that fails says why, and then all of its
 * library does nothing any more but repeat the status. Such a library belongs into an arena, which it leaves to the host, and to
 * one thread.
 *
 * Structs begin with their size, and zero stands for the usual value of every other field, so that a host writes
 *     vitrine_settings settings = {.size = sizeof settings};
 * and sets what it wants otherwise. Text is UTF-8 that ends with a zero byte.
 */
#ifndef VITRINE_H
#define VITRINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define VITRINE_API __attribute__((visibility("default")))
#else
#define VITRINE_API
#endif

/* What all structs and calls mean; vitrine_open asks for it. */
#define VITRINE_ABI 1u

enum vitrine_status {
  VITRINE_DONE = 0,
  VITRINE_INPUT = 1,    /* an argument or a file is not as it must be */
  VITRINE_OUTPUT = 2,   /* reading failed: no such file, or the host's reader gave up */
  VITRINE_DIVERGED = 3, /* the loss became infinite or no number */
  VITRINE_RESOURCES = 4 /* not enough memory */
};

typedef struct vitrine_library vitrine_library;
typedef struct vitrine_backbone vitrine_backbone;
typedef struct vitrine_task vitrine_task;
typedef struct vitrine_task_set vitrine_task_set;
typedef struct vitrine_tuning vitrine_tuning;

/* "0.1.0", and the VITRINE_ABI that the library was built with. */
VITRINE_API const char* vitrine_version(void);
VITRINE_API unsigned vitrine_abi(void);

/* --- library: memory and threads ---------------------------------------------------------------------------------------- */

typedef struct vitrine_settings {
  size_t size;
  size_t memory_limit; /* bytes of tensors that may be alive at once; 0: no limit */
  int threads;         /* that compute; 0: one. More are refused by a build without OpenMP */
  /* Where tensors lie; both or neither. `allocate` gives memory that is aligned to 64 bytes, or NULL. They are called by
   * whatever threads use handles of the library, perhaps at once. */
  void* (*allocate)(void* host, size_t bytes);
  void (*release)(void* host, void* block, size_t bytes);
  void* host; /* given to both */
} vitrine_settings;

/* `abi` is VITRINE_ABI. `settings` may be NULL. If the status is not 0, *library is NULL or holds nothing but the message,
 * and is closed as any other. */
VITRINE_API int vitrine_open(unsigned abi, const vitrine_settings* settings, vitrine_library** library);
VITRINE_API void vitrine_close(vitrine_library* library);
/* Why the last call on this handle failed, "" if it did not. The words stay until the next call on the handle, their place as
 * long as the handle. */
VITRINE_API const char* vitrine_message(const vitrine_library* library);

typedef struct vitrine_memory_use {
  size_t size;
  size_t now, most; /* bytes of tensors alive at once; files and blocks that are used in place do not count */
  size_t arena_now,
      arena_most; /* of a library in an arena: the bytes that are in use of it, and the smallest arena in
                                   which all calls since it was opened would have gone the same way */
} vitrine_memory_use;
/* `most` begins anew. */
VITRINE_API int vitrine_memory(vitrine_library* library, vitrine_memory_use* use);

/* --- a fixed arena --------------------------------------------------------------------------------------------------------- */

/* As vitrine_open, and from then on everything that calls on the library and its handles need lies in these `bytes` at
 * `arena`, aligned to 64: tensors, handles, names and lists. Nothing else is ever allocated by a call that succeeds (one
 * that fails throws inside, and the C++ runtime takes some bytes for that). If there is no place a call is refused, with
 * VITRINE_RESOURCES, and nothing has changed. The host has the arena back when all handles are closed. `settings` may
 * hold neither allocate nor more than one thread. If there is no place for even the library, *library is NULL.
 *
 * For that a program that calls this gets an operator new of Vitrine's, which takes from the heap outside of such calls. The
 * shared library cannot do so and refuses: link the static one. */
VITRINE_API int vitrine_open_in_arena(unsigned abi, const vitrine_settings* settings, void* arena,
                                      size_t bytes, vitrine_library** library);

/* The exact size of the arena in which the calls that a host makes succeed: of one byte less one of them is refused.
 * `calls` gets a library, with the settings of `library`, makes these calls, closes what it has opened but that library, and
 * returns 0, or the status of a call that failed. It is run once for every doubling of the memory until it succeeds: all runs but the
 * last meet a call that is refused for want of memory, which is no mistake, and it should begin anew each time; what is planned is what it does: the backbone, method, prompts, pictures of a call. From its
 * second step on a tuning finds the arena as the step before found it, so that three steps tell of any number.
 * It holds for one build on one kind of processor. `library` is none in an arena; the shared library refuses, as it has no arenas. */
VITRINE_API int vitrine_plan(vitrine_library* library, int (*calls)(void* host, vitrine_library* library),
                             void* host, size_t* bytes);

/* --- backbone: the pretrained net ----------------------------------------------------------------------------------------- */

typedef struct vitrine_backbone_options {
  size_t size;
  int64_t heads; /* attention heads, for a file that does not tell */
  int64_t
      image_size; /* of the pictures that a ViT is to see: its positions are resampled; 0: as it was trained */
  const char*
      family; /* "deit", "openai-clip", ...: what a file does not tell (docs/families.md); NULL: nothing */
  const char*
      pictures;    /* how its pictures were prepared, if nothing tells: "deit", "google-vit", ...; NULL */
  int packed_bits; /* of the weights that products use: 32 (also 0), 16 (bf16) or 8 (int8): less memory */
  /* Bytes of packed weights that may stay; the others are made again from the backbone's bytes whenever they are needed,
   * which takes time and changes no result. 0: all stay; 1: none does. */
  size_t packed_bytes;
} vitrine_backbone_options;

/* From the bytes of a checkpoint: safetensors, or with files in the build PyTorch's and numpy's (docs/checkpoints.md).
 * They are used in place and must stay, unchanged, until the backbone and all that was made of it is closed. */
VITRINE_API int vitrine_backbone_open(vitrine_library* library, const void* bytes, size_t size,
                                      const vitrine_backbone_options* options, vitrine_backbone** backbone);
/* From storage that the host reads: `read` puts `count` bytes from `offset` on into `to` and returns 0. It is
 * called for one range after the other, until `size` bytes were read, which the library keeps. With packed_bytes in the options
 * it keeps none of them: the storage, of safetensors, is read again whenever weights are needed, by any call of any handle
 * made of this backbone. So a net may be larger than the memory. */
VITRINE_API int vitrine_backbone_open_reader(vitrine_library* library,
                                             int (*read)(void* host, uint64_t offset, void* to, size_t count),
                                             void* host, uint64_t size,
                                             const vitrine_backbone_options* options,
                                             vitrine_backbone** backbone);
/* From a file, which is mapped, and the config.json beside it. */
VITRINE_API int vitrine_backbone_open_file(vitrine_library* library, const char* path,
                                           const vitrine_backbone_options* options,
                                           vitrine_backbone** backbone);
/* One of the two that come with Vitrine, for pictures of 32 x 32: "builtin" (a ViT) or "builtin-swin". */
VITRINE_API int vitrine_backbone_open_builtin(vitrine_library* library, const char* name,
                                              const vitrine_backbone_options* options,
                                              vitrine_backbone** backbone);
VITRINE_API void vitrine_backbone_close(vitrine_backbone* backbone);
VITRINE_API const char* vitrine_backbone_message(const vitrine_backbone* backbone);

typedef struct vitrine_backbone_info {
  size_t size;
  int64_t image_size; /* side in pixels of the squares that it sees */
  int64_t width;      /* of its features */
  int64_t blocks;
  int64_t parameters;
  const char* description; /* "ViT, width 128, ..."; both stay until the backbone is closed */
  const char* identity;    /* a SHA-256 of its numbers: a task works with the backbone of its identity */
} vitrine_backbone_info;
VITRINE_API int vitrine_backbone_about(vitrine_backbone* backbone, vitrine_backbone_info* info);

/* --- pictures --------------------------------------------------------------------------------------------------------------- */

/* One picture: `rgb` are height rows of width pixels of three bytes, `row_bytes` apart (0: 3 width). It is resized, cut and
 * normalised as the backbone's were (for a task: as it was tuned). Or `prepared`, in its place, the (3, S, S) numbers that
 * the net sees, S its image_size; then the other fields are 0. */
typedef struct vitrine_picture {
  const uint8_t* rgb;
  int width, height;
  size_t row_bytes;
  const float* prepared;
} vitrine_picture;

/* --- task: what was learned -------------------------------------------------------------------------------------------------- */

/* From the bytes of a task file, which are copied. Refused if it was tuned on another backbone. */
VITRINE_API int vitrine_task_open(vitrine_backbone* backbone, const void* bytes, size_t size,
                                  vitrine_task** task);
VITRINE_API void vitrine_task_close(vitrine_task* task);
VITRINE_API const char* vitrine_task_message(const vitrine_task* task);

typedef struct vitrine_task_info {
  size_t size;
  int64_t classes;
  int64_t prompts;
  int64_t parameters; /* that the task stores */
  const char* method; /* "vpt-deep", ...; stays until the handle is closed */
} vitrine_task_info;
VITRINE_API int vitrine_task_about(vitrine_task* task, vitrine_task_info* info);
/* The name of class `number`; stays until the task is closed. */
VITRINE_API int vitrine_task_class(vitrine_task* task, size_t number, const char** name);

/* The probabilities (count, classes) of the classes of `count` pictures, which go through the net together: `room` is
 * how many numbers there is space for, count times classes at least. */
VITRINE_API int vitrine_predict(vitrine_task* task, const vitrine_picture* pictures, size_t count,
                                float* probabilities, size_t room);

/* --- task set: many tasks of one backbone, asked together ---------------------------------------------------------------------- */

/* An empty set. */
VITRINE_API int vitrine_task_set_open(vitrine_backbone* backbone, vitrine_task_set** set);
VITRINE_API void vitrine_task_set_close(vitrine_task_set* set);
VITRINE_API const char* vitrine_task_set_message(const vitrine_task_set* set);

/* Makes the task of a task file's bytes ready under this name, in the place of the one of that name if there is one. Its
 * prompts' keys and values are computed here, once. If it is refused, the set is as it was. */
VITRINE_API int vitrine_task_set_add(vitrine_task_set* set, const char* name, const void* bytes, size_t size);
VITRINE_API int vitrine_task_set_remove(vitrine_task_set* set, const char* name);

typedef struct vitrine_task_set_info {
  size_t size;
  int64_t tasks;
  int64_t
      apart; /* of these, so many have a pass of their own: their methods change the backbone (docs/task_sets.md) */
  size_t bytes; /* of tensors that are kept for single tasks */
} vitrine_task_set_info;
VITRINE_API int vitrine_task_set_about(vitrine_task_set* set, vitrine_task_set_info* info);
/* As vitrine_task_about and vitrine_task_class; what they point to stays until the task is removed or replaced. */
VITRINE_API int vitrine_task_set_task(vitrine_task_set* set, const char* name, vitrine_task_info* info);
VITRINE_API int vitrine_task_set_class(vitrine_task_set* set, const char* name, size_t number,
                                       const char** class_name);

/* Picture i under the task named tasks[i], all together: one pass for all tasks that share the backbone, each picture with the
 * bits that vitrine_predict gives it. Behind each other in `probabilities`: for each picture as many as its task has classes. */
VITRINE_API int vitrine_task_set_predict(vitrine_task_set* set, const vitrine_picture* pictures,
                                         const char* const* tasks, size_t count, float* probabilities,
                                         size_t room);

/* --- tuning: learning a task ------------------------------------------------------------------------------------------------ */

typedef struct vitrine_tuning_options {
  size_t size;
  const char* method;    /* NULL: "vpt-deep"; docs/methods.md lists them */
  int64_t prompts;       /* 0: 10 */
  const char* optimizer; /* NULL: "adamw"; or "sgd" with momentum 0.9 */
  double learning_rate;  /* 0: 0.001 */
  double weight_decay;
  /* Steps of all: the rate rises over `warmup` steps and falls along a cosine to the end. 0: it stays. */
  int64_t steps, warmup;
  double label_smoothing;
  double largest_gradient; /* norm of all gradients together; 0: no bound */
  int64_t recompute;       /* blocks that are computed again in backward: less memory, not a bit changed */
  uint64_t seed;
} vitrine_tuning_options;

/* Begins a task for these classes, in this order: two at least, each with a name of its own. */
VITRINE_API int vitrine_tuning_open(vitrine_backbone* backbone, const vitrine_tuning_options* options,
                                    const char* const* class_names, size_t classes, vitrine_tuning** tuning);
/* Goes on from a task file: its method and classes stay, of the options they are not asked. */
VITRINE_API int vitrine_tuning_open_task(vitrine_backbone* backbone, const void* bytes, size_t size,
                                         const vitrine_tuning_options* options, vitrine_tuning** tuning);
VITRINE_API void vitrine_tuning_close(vitrine_tuning* tuning);
VITRINE_API const char* vitrine_tuning_message(const vitrine_tuning* tuning);

/* One step on `count` pictures of these classes; `loss` (may be NULL) gets the mean loss before it. With
 * VITRINE_DIVERGED nothing was changed. */
VITRINE_API int vitrine_tuning_step(vitrine_tuning* tuning, const vitrine_picture* pictures,
                                    const int64_t* labels, size_t count, double* loss);
/* As vitrine_predict, with what was learned so far. */
VITRINE_API int vitrine_tuning_predict(vitrine_tuning* tuning, const vitrine_picture* pictures, size_t count,
                                       float* probabilities, size_t room);
/* The (3, S, S) numbers that the net sees of a picture, which are then its `prepared`: a host that shows its pictures many times has
 * each resized once. `room` is how many numbers there is space for. */
VITRINE_API int vitrine_tuning_prepare(vitrine_tuning* tuning, const vitrine_picture* picture,
                                       float* prepared, size_t room);
/* The steps that were made. */
VITRINE_API int vitrine_tuning_steps(vitrine_tuning* tuning, int64_t* steps);
/* Puts the task file as it is now into `bytes`, of which there are `room`, and its size into `size`. If there is too
 * little room (or none, to ask for the size) nothing is written, and the status is VITRINE_RESOURCES. */
VITRINE_API int vitrine_tuning_save(vitrine_tuning* tuning, void* bytes, size_t room, size_t* size);

#ifdef __cplusplus
}
#endif

#endif
