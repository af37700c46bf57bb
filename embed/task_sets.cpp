// task_sets.cpp: many tasks of one backbone, asked together.
#include "embed/handles.h"
#include "engine/text.h"

using namespace vitrine;
using namespace vitrine::embed;

vitrine_task_set::vitrine_task_set(std::shared_ptr<const Glass> of)
    : glass(std::move(of)), set(glass->backbone, DType::f32, glass->library->memory) {}

const vitrine_task_set::Entry& vitrine_task_set::at(const char* name) const {
  check(name != nullptr, "task set: expected a name, got NULL");
  const auto found = entries.find(name);
  if (found == entries.end()) set.get(name);  // says that there is none, and the nearest
  return found->second;
}

int vitrine_task_set_open(vitrine_backbone* backbone, vitrine_task_set** set) {
  return opens(backbone, set, "vitrine_task_set_open",
               [&] { return std::make_unique<vitrine_task_set>(backbone->glass); });
}

void vitrine_task_set_close(vitrine_task_set* set) { close_handle(set); }

const char* vitrine_task_set_message(const vitrine_task_set* set) {
  return set == nullptr ? "" : set->message.text();
}

int vitrine_task_set_add(vitrine_task_set* set, const char* name, const void* bytes, size_t size) {
  return guarded(set, [&] {
    check(name != nullptr && *name != 0, "vitrine_task_set_add: expected a name");
    check(is_utf8(name), "vitrine_task_set_add: expected a name in UTF-8, got {}", quote(name));
    const Task task = task_of(bytes, size);
    vitrine_task_set::Entry entry{{}, preprocess_from_json(task.preprocess), method_text(task.config), 0};
    check_image_size(set->glass->backbone.config, entry.preprocess.size);
    for (const auto& [tensor_name, tensor] : task.tensors) entry.parameters += tensor.numel();
    vitrine_task_set::Entry& place = set->entries[name];  // what follows changes both or none
    entry.ready = on_failure([&] { return set->set.put(name, task); },
                             [&] {
                               if (place.ready == nullptr) set->entries.erase(name);
                             });
    place = std::move(entry);
  });
}

int vitrine_task_set_remove(vitrine_task_set* set, const char* name) {
  return guarded(set, [&] {
    set->at(name);
    set->set.remove(name);
    set->entries.erase(name);
  });
}

int vitrine_task_set_about(vitrine_task_set* set, vitrine_task_set_info* info) {
  return guarded(set, [&] {
    vitrine_task_set_info own{.size = 0, .tasks = 0, .apart = 0, .bytes = 0};
    for (const auto& [name, entry] : set->entries) {
      ++own.tasks;
      if (!entry.ready->shares_pass()) ++own.apart;
      own.bytes += entry.ready->bytes;
    }
    give_struct(own, info, "vitrine_task_set_info");
  });
}

int vitrine_task_set_task(vitrine_task_set* set, const char* name, vitrine_task_info* info) {
  return guarded(set, [&] {
    const vitrine_task_set::Entry& entry = set->at(name);
    give_struct(info_of(entry.ready->task.config, entry.parameters, entry.method.c_str()), info,
                "vitrine_task_info");
  });
}

int vitrine_task_set_class(vitrine_task_set* set, const char* name, size_t number, const char** class_name) {
  return guarded(set, [&] {
    const std::vector<std::string>& names = set->at(name).ready->task.class_names;
    check(number < names.size(), "vitrine_task_set_class: expected a class below {}, got {}", names.size(),
          number);
    check(class_name != nullptr, "vitrine_task_set_class: expected a place for the name, got NULL");
    *class_name = names[number].c_str();
  });
}

int vitrine_task_set_predict(vitrine_task_set* set, const vitrine_picture* pictures, const char* const* tasks,
                             size_t count, float* probabilities, size_t room) {
  return guarded(set, [&] {
    check_count(pictures, count);
    check(tasks != nullptr, "vitrine_task_set_predict: expected the name of a task for each picture");
    size_t numbers = 0;
    std::vector<std::shared_ptr<const ReadyTask>> whose;
    for (size_t i = 0; i < count; ++i) {
      whose.push_back(set->at(tasks[i]).ready);
      numbers += whose.back()->task.class_names.size();
    }
    check(probabilities != nullptr && room >= numbers,
          "vitrine_task_set_predict: these pictures need room for {} probabilities, got {}", numbers,
          probabilities == nullptr ? 0 : room);
    std::vector<Tensor> images;
    for (size_t i = 0; i < count; ++i) {
      const Preprocess& preprocess = set->at(tasks[i]).preprocess;
      images.push_back(
          Tensor::empty({3, preprocess.size, preprocess.size}, DType::f32, set->glass->library->memory));
      give_image(pictures[i], preprocess, images.back().mutable_data<float>());
    }
    for (const Tensor& logits : set->set.logits(images, whose)) {
      give_probabilities(logits.data<float>(), probabilities);
      probabilities += logits.numel();
    }
  });
}
