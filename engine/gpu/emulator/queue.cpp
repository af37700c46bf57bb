#include "engine/gpu/emulator/queue.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "engine/gpu/entries.h"

namespace vitrine::gpu {
namespace {

constexpr int poison = 0xff;  // NaN as a float, -1 as an index

void spoil_block(Queue* queue, void* block, size_t bytes) {
  emulator::submit(queue, [=]() -> Result {
    if (bytes > 0) std::memset(block, poison, bytes);
    return nullptr;
  });
}

const char* name_of_order(emulator::Order order) {
  switch (order) {
    case emulator::Order::forward:
      return "forward";
    case emulator::Order::reverse:
      return "reverse";
    case emulator::Order::random:
      break;
  }
  return "random";
}

}  // namespace

Result emulator::failed(Queue* queue, std::string sentence) {
  queue->message = std::move(sentence);
  return queue->message.c_str();
}

Result emulator::submit(Queue* queue, Work work) {
  (queue->recording ? queue->recorded : queue->waiting).push_back(std::move(work));
  return nullptr;
}

Result emulator::finish(Queue* queue) {
  for (const Work& work : std::exchange(queue->waiting, {})) {
    if (const Result error = work()) return error;
  }
  return nullptr;
}

Result emulator::launch(Queue* queue, Launch launch) {
  if (launch.grid.x == 0 || launch.grid.y == 0 || launch.grid.z == 0) return nullptr;
  std::string refused = queue->machine.check(launch);
  if (!refused.empty()) return failed(queue, std::move(refused));
  return submit(queue, [queue, launch = std::move(launch)]() -> Result {
    std::string error = queue->machine.run(launch);
    return error.empty() ? nullptr : failed(queue, std::move(error));
  });
}

const char* const device_kind = "emulator";

Result open_queue(const Options& options, Queue** queue) {
  if (options.device != 0) return "the emulator is one device, number 0";
  if (options.tf32) return "the emulator has no tf32: its products of f32 are f32";
  emulator::Settings settings;
  if (const Result error = emulator::read_settings(settings)) return error;
  auto opened = std::make_unique<Queue>(settings);
  opened->description = std::string("the emulator: each thread of a GPU on the CPU, ") +
                        name_of_order(settings.order) + " order";
  *queue = opened.release();
  return nullptr;
}

void close_queue(Queue* queue) { const std::unique_ptr<Queue> closed(queue); }

const char* describe_queue(Queue* queue) { return queue->description.c_str(); }

constexpr std::align_val_t alignment{256};  // as a GPU has it

Result allocate(Queue* queue, size_t bytes, void** to) {
  *to = bytes <= queue->memory - queue->in_use ? ::operator new(bytes, alignment, std::nothrow) : nullptr;
  if (*to == nullptr) return nullptr;
  std::memset(*to, poison, bytes);
  queue->blocks[*to] = bytes;
  queue->in_use += bytes;
  return nullptr;
}

// As cudaFree, after the work that may still use the block; an error of that work stays for who waits for it.
void release(Queue* queue, void* block) {
  if (const Result error = emulator::finish(queue)) {
    queue->waiting.push_back([error = std::string(error), queue] { return emulator::failed(queue, error); });
  }
  queue->in_use -= queue->blocks.extract(block).mapped();
  ::operator delete(block, alignment);
}

extern void (*const spoil)(Queue* queue, void* block, size_t bytes) = spoil_block;

Result upload(Queue* queue, void* to, const void* from, size_t bytes) {
  if (queue->recording) return "an upload cannot be recorded";
  const auto* begin = static_cast<const unsigned char*>(from);  // free to change when this returns
  return emulator::submit(queue, [to, kept = std::vector<unsigned char>(begin, begin + bytes)]() -> Result {
    if (!kept.empty()) std::memcpy(to, kept.data(), kept.size());
    return nullptr;
  });
}

// At once: before all work that was asked for earlier and may still read or write the place.
Result upload_ahead(Queue* queue, void* to, const void* from, size_t bytes) {
  if (queue->recording) return "an upload cannot be recorded";
  if (bytes > 0) std::memcpy(to, from, bytes);
  return nullptr;
}

Result download(Queue* queue, void* to, const void* from, size_t bytes) {
  if (queue->recording) return "a download cannot be recorded";
  if (const Result error = emulator::finish(queue)) return error;
  if (bytes > 0) std::memcpy(to, from, bytes);
  return nullptr;
}

Result copy(Queue* queue, void* to, const void* from, size_t bytes) {
  return emulator::submit(queue, [=]() -> Result {
    if (bytes > 0) std::memmove(to, from, bytes);
    return nullptr;
  });
}

Result clear(Queue* queue, void* to, size_t bytes) {
  return emulator::submit(queue, [=]() -> Result {
    if (bytes > 0) std::memset(to, 0, bytes);
    return nullptr;
  });
}

Result wait(Queue* queue) {
  return queue->recording ? "nothing can be waited for while work is recorded" : emulator::finish(queue);
}

size_t most_shared_bytes(Queue* queue) { return queue->machine.settings().shared; }

Result begin_record(Queue* queue) {
  if (queue->recording) return "work is being recorded already";
  queue->recording = true;
  return nullptr;
}

Result end_record(Queue* queue, Graph** graph) {
  if (!queue->recording) return "no work is being recorded";
  queue->recording = false;
  auto recorded = std::make_unique<Graph>();
  recorded->work = std::exchange(queue->recorded, {});
  *graph = recorded.release();
  return nullptr;
}

Result replay(Queue* queue, Graph* graph) {
  if (queue->recording) return "a graph cannot be replayed into another";
  queue->waiting.insert(queue->waiting.end(), graph->work.begin(), graph->work.end());
  return nullptr;
}

void drop(Queue*, Graph* graph) { const std::unique_ptr<Graph> dropped(graph); }

size_t free_memory(Queue* queue) { return queue->memory - queue->in_use; }
void note(Queue* queue, std::string sentence) { queue->notes.add(std::move(sentence)); }
const char* take_note(Queue* queue) { return queue->notes.take(); }

}  // namespace vitrine::gpu
