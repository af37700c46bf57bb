// handles.h: what is behind the handles of vitrine.h. Each keeps what it was made of.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/preprocess.h"
#include "embed/guard.h"
#include "models/task_set.h"

namespace vitrine::embed {

struct Library {
  Memory memory;
  vitrine_settings settings{};
  Arena* arena = nullptr;             // of the host's, from which all is taken; null: none
  mutable int broken = VITRINE_DONE;  // the status of the call that broke it, in a build without exceptions
  int threads() const { return settings.threads; }
};

// What vitrine_open does, in an arena or in none.
int open_library(unsigned abi, const vitrine_settings* settings, Arena* arena, vitrine_library** library);

// Of one backbone; tasks and tunings share it.
struct Glass {
  std::shared_ptr<const Library> library;
  Backbone backbone;
  Preprocess preprocess;
  std::string description;
};

// The pictures (B, 3, S, S) as a net sees them.
Tensor images_of(const vitrine_picture* pictures, size_t count, const Preprocess& preprocess,
                 const Memory& memory);
// One picture (3, S, S) into `to`.
void give_image(const vitrine_picture& picture, const Preprocess& preprocess, std::span<float> to);
// Throws unless there are pictures, and not too many.
void check_count(const void* pictures, size_t count);
// Softmax of the rows of logits (B, C).
void give_probabilities(const Tensor& logits, float* probabilities, size_t room);
void give_probabilities(std::span<const float> logits, float* probabilities);
// The task of a file's bytes.
Task task_of(const void* bytes, size_t size);
vitrine_task_info info_of(const TunedConfig& config, int64_t parameters, const char* method);

// A backbone of these tensors, which `source` names in messages.
std::unique_ptr<vitrine_backbone> make_backbone(const std::shared_ptr<const Library>& library,
                                                const vitrine_backbone_options* given,
                                                const std::string& source, TensorFile tensors);

}  // namespace vitrine::embed

struct vitrine_library {
  vitrine::embed::Arena* in = nullptr;
  std::shared_ptr<vitrine::embed::Library> library;  // null if opening failed
  vitrine::embed::Message message;
  const vitrine::embed::Library* whose() const { return library.get(); }
  vitrine::embed::Arena* arena() const { return in; }
};

struct vitrine_backbone {
  std::shared_ptr<const vitrine::embed::Glass> glass;
  vitrine::embed::Message message;
  const vitrine::embed::Library* whose() const { return glass->library.get(); }
  vitrine::embed::Arena* arena() const { return glass->library->arena; }
};

struct vitrine_task {
  vitrine_task(std::shared_ptr<const vitrine::embed::Glass> of, vitrine::Task read);
  std::shared_ptr<const vitrine::embed::Glass> glass;
  vitrine::Task task;
  vitrine::TunedModel model;
  vitrine::Preprocess preprocess;
  std::string method;
  vitrine::embed::Message message;
  const vitrine::embed::Library* whose() const { return glass->library.get(); }
  vitrine::embed::Arena* arena() const { return glass->library->arena; }
};

struct vitrine_task_set {
  explicit vitrine_task_set(std::shared_ptr<const vitrine::embed::Glass> of);
  struct Entry {
    std::shared_ptr<const vitrine::ReadyTask> ready;
    vitrine::Preprocess preprocess;
    std::string method;
    int64_t parameters = 0;
  };
  const Entry& at(const char* name) const;  // throws if there is none
  std::shared_ptr<const vitrine::embed::Glass> glass;
  vitrine::TaskSet set;
  std::map<std::string, Entry> entries;
  vitrine::embed::Message message;
  const vitrine::embed::Library* whose() const { return glass->library.get(); }
  vitrine::embed::Arena* arena() const { return glass->library->arena; }
};

namespace vitrine::embed {

// All ways to open a backbone: `open` gives the tensors. Behind the guard, for it may take memory.
template <class Open>
int open_backbone(vitrine_library* library, const vitrine_backbone_options* given, vitrine_backbone** out,
                  const char* source, Open open) noexcept {
  return opens(library, out, "vitrine_backbone_open", [&] {
    check(library->library != nullptr, "vitrine_backbone_open: the library was not opened");
    return make_backbone(library->library, given, source, open());
  });
}

}  // namespace vitrine::embed
