// tasks.cpp: pictures, and tasks, which predict.
#include <cstring>
#include <limits>

#include "data/image.h"
#include "embed/handles.h"

using namespace vitrine;
using namespace vitrine::embed;

namespace {

Image image_of(const vitrine_picture& p) {
  check(p.width > 0 && p.height > 0 && p.width <= max_image_side && p.height <= max_image_side,
        "vitrine_picture: expected sides of 1 to {}, got {} x {}", max_image_side, p.width, p.height);
  const size_t row = size_t{3} * static_cast<size_t>(p.width), stride = p.row_bytes == 0 ? row : p.row_bytes;
  check(stride >= row, "vitrine_picture: rows of {} pixels have {} bytes, more than row_bytes {}", p.width,
        row, p.row_bytes);
  Image image{
      .width = p.width, .height = p.height, .rgb = std::vector<uint8_t>(row * static_cast<size_t>(p.height))};
  for (size_t y = 0; y < static_cast<size_t>(p.height); ++y)
    std::memcpy(image.rgb.data() + y * row, p.rgb + y * stride, row);
  return image;
}

}  // namespace

namespace vitrine::embed {

Task task_of(const void* bytes, size_t size) {
  check(bytes != nullptr, "task: expected bytes, got NULL");
  return task_from_file(
      read_safetensors({static_cast<const std::byte*>(bytes), size}, nullptr, "the host's task"));
}

vitrine_task_info info_of(const TunedConfig& config, int64_t parameters, const char* method) {
  return {.size = 0,
          .classes = config.classes,
          .prompts = prompt_kind(config.method) == PromptKind::none ? 0 : config.prompts.count,
          .parameters = parameters,
          .method = method};
}

void check_count(const void* pictures, size_t count) {
  constexpr size_t most = size_t{1} << 20;
  check(pictures != nullptr, "expected pictures, got NULL");
  check(count > 0 && count <= most, "expected 1 to {} pictures, got {}", most, count);
}

void give_image(const vitrine_picture& p, const Preprocess& preprocess, std::span<float> to) {
  check((p.rgb == nullptr) != (p.prepared == nullptr), "vitrine_picture: expected either rgb or prepared");
  if (p.prepared != nullptr)
    std::memcpy(to.data(), p.prepared, to.size_bytes());
  else
    normalise(prepare(image_of(p), preprocess), preprocess, to);
}

Tensor images_of(const vitrine_picture* pictures, size_t count, const Preprocess& preprocess,
                 const Memory& memory) {
  check_count(pictures, count);
  const int64_t side = preprocess.size;
  Tensor images = Tensor::empty({static_cast<int64_t>(count), 3, side, side}, DType::f32, memory);
  const auto numbers = static_cast<size_t>(3 * side * side);
  const std::span<float> all = images.mutable_data<float>();
  for (size_t i = 0; i < count; ++i) give_image(pictures[i], preprocess, all.subspan(i * numbers, numbers));
  return images;
}

void give_probabilities(const Tensor& logits, float* probabilities, size_t room) {
  const auto rows = static_cast<size_t>(logits.dim(0)), classes = static_cast<size_t>(logits.dim(1));
  check(probabilities != nullptr && room >= rows * classes,
        "prediction: {} pictures of {} classes need room for {} probabilities, got {}", rows, classes,
        rows * classes, probabilities == nullptr ? 0 : room);
  const auto all = logits.data<float>();
  for (size_t i = 0; i < rows; ++i)
    give_probabilities(all.subspan(i * classes, classes), probabilities + i * classes);
}

void give_probabilities(std::span<const float> logits, float* probabilities) {
  const Softmax softmax(logits);
  for (const float logit : logits) *probabilities++ = static_cast<float>(softmax(logit));
}

}  // namespace vitrine::embed

vitrine_task::vitrine_task(std::shared_ptr<const Glass> of, Task read)
    : glass(std::move(of)),
      task(std::move(read)),
      model(glass->backbone, task, DType::f32, glass->library->memory, Use::prediction),
      preprocess(preprocess_from_json(task.preprocess)),
      method(method_text(task.config)) {
  check_image_size(glass->backbone.config, preprocess.size);
}

int vitrine_task_open(vitrine_backbone* backbone, const void* bytes, size_t size, vitrine_task** task) {
  return opens(backbone, task, "vitrine_task_open",
               [&] { return std::make_unique<vitrine_task>(backbone->glass, task_of(bytes, size)); });
}

void vitrine_task_close(vitrine_task* task) { close_handle(task); }

const char* vitrine_task_message(const vitrine_task* task) {
  return task == nullptr ? "" : task->message.text();
}

int vitrine_task_about(vitrine_task* task, vitrine_task_info* info) {
  return guarded(task, [&] {
    int64_t parameters = 0;
    for (const auto& [name, tensor] : task->task.tensors) parameters += tensor.numel();
    give_struct(info_of(task->task.config, parameters, task->method.c_str()), info, "vitrine_task_info");
  });
}

int vitrine_task_class(vitrine_task* task, size_t number, const char** name) {
  return guarded(task, [&] {
    const std::vector<std::string>& names = task->task.class_names;
    check(number < names.size(), "vitrine_task_class: expected a class below {}, got {}", names.size(),
          number);
    check(name != nullptr, "vitrine_task_class: expected a place for the name, got NULL");
    *name = names[number].c_str();
  });
}

int vitrine_predict(vitrine_task* task, const vitrine_picture* pictures, size_t count, float* probabilities,
                    size_t room) {
  return guarded(task, [&] {
    const Tensor images = images_of(pictures, count, task->preprocess, task->glass->library->memory);
    give_probabilities(task->model.logits(images, {.history = false}).value(), probabilities, room);
  });
}
