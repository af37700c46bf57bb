// no_tunings.cpp: the calls of tunings in a build without VITRINE_TRAINING: none can be opened, and the backbone says why.
#include "embed/handles.h"

using namespace vitrine;
using namespace vitrine::embed;

struct vitrine_tuning {};  // of which there is none

namespace {

int refuse(vitrine_backbone* backbone, vitrine_tuning** tuning) {
  return opens(backbone, tuning, "vitrine_tuning_open", [&]() -> std::unique_ptr<vitrine_tuning> {
    left_out("vitrine_tuning_open", "VITRINE_TRAINING");
  });
}

}  // namespace

int vitrine_tuning_open(vitrine_backbone* backbone, const vitrine_tuning_options*, const char* const*, size_t,
                        vitrine_tuning** tuning) {
  return refuse(backbone, tuning);
}
int vitrine_tuning_open_task(vitrine_backbone* backbone, const void*, size_t, const vitrine_tuning_options*,
                             vitrine_tuning** tuning) {
  return refuse(backbone, tuning);
}

// There is no tuning that these could be given.
void vitrine_tuning_close(vitrine_tuning*) {}
const char* vitrine_tuning_message(const vitrine_tuning*) { return ""; }
int vitrine_tuning_step(vitrine_tuning*, const vitrine_picture*, const int64_t*, size_t, double*) {
  return VITRINE_INPUT;
}
int vitrine_tuning_predict(vitrine_tuning*, const vitrine_picture*, size_t, float*, size_t) {
  return VITRINE_INPUT;
}
int vitrine_tuning_prepare(vitrine_tuning*, const vitrine_picture*, float*, size_t) { return VITRINE_INPUT; }
int vitrine_tuning_steps(vitrine_tuning*, int64_t*) { return VITRINE_INPUT; }
int vitrine_tuning_save(vitrine_tuning*, void*, size_t, size_t*) { return VITRINE_INPUT; }
