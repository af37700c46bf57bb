#include "engine/device.h"

#include <cstdlib>
#include <filesystem>
#include <utility>
#include <vector>

#include "engine/check.h"
#include "engine/gpu/kernels.h"
#include "engine/parts.h"
#include "engine/text.h"
#ifdef VITRINE_FILES
#include <dlfcn.h>
#endif

namespace vitrine {

namespace {

struct Name {
  std::string kind;  // "cuda" or "emulator"
  int number = 0;
};

Name parse(const std::string& name) {
  const size_t colon = name.find(':');
  Name out{name.substr(0, colon), 0};
  bool known = out.kind == "cuda" || out.kind == "emulator";
  if (colon != std::string::npos) {
    const std::string digits = name.substr(colon + 1);
    known = known && !digits.empty() && digits.size() <= 3 &&
            digits.find_first_not_of("0123456789") == std::string::npos;
    if (known) out.number = std::atoi(digits.c_str());
  }
  check(known, "device: expected cpu, cuda, cuda:1 (the second one, and so on) or emulator, got {}",
        quote(name));
  return out;
}

#ifdef VITRINE_FILES

// Where the library may lie, likeliest first; the last is left to the system.
std::vector<std::string> places(const std::string& file) {
  std::vector<std::string> out;
  if (const char* folder = std::getenv("VITRINE_LIBRARIES"); folder != nullptr && *folder != 0)
    out.push_back(std::string(folder) + "/" + file);
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    out.push_back((program.parent_path() / file).string());
    out.push_back((program.parent_path() / ".." / "lib" / file).string());
  }
  out.push_back(file);
  return out;
}

std::shared_ptr<void> open_library(const std::string& kind, const std::string& file) {
  std::string reason;
  for (const std::string& place : places(file)) {
    std::error_code error;
    if (place != file && !std::filesystem::exists(place, error)) continue;
    // Not closed again: CUDA's libraries keep threads and exit handlers that would run into nothing.
    if (void* handle = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL)) return {handle, [](void*) {}};
    reason = dlerror();
    if (place != file) break;  // it is there, but cannot be used: another one would only hide that
  }
  fail(Fault::resources, "device: {} needs {}, which cannot be opened: {}{}", kind, file, reason,
       kind == "emulator"
           ? "; it is made for tests, beside the program in a build folder, and is not installed"
           : "; it is built where nvcc 13 is found (docs/gpu.md): install NVIDIA's toolkit, then configure "
             "and "
             "build again, or name the folder that holds it in VITRINE_LIBRARIES");
}

#endif

}  // namespace

std::shared_ptr<const Device> Device::open(const std::string& name, const DeviceOptions& options) {
  const Name parsed = parse(name);
  if constexpr (!parts::device) left_out(text("device {}", name), "VITRINE_DEVICE");
#ifdef VITRINE_FILES
  const std::string file = text("libvitrine_{}.so", parsed.kind);
  const std::shared_ptr<Device> device(new Device);  // its constructor is private
  device->name_ = name;
  device->options_ = options;
  device->library_ = open_library(parsed.kind, file);
  using Entry = const gpu::Kernels* (*)(const char*);
  const auto entry = reinterpret_cast<Entry>(dlsym(device->library_.get(), "vitrine_device_library"));
  if (entry == nullptr) fail(Fault::resources, "device: {} is no device library of Vitrine", file);
  device->table_ = entry(VITRINE_GPU_BORDER);
  if (device->table_ == nullptr)
    fail(Fault::resources, "device: {} was built from another version of Vitrine", file);
  if (device->table_->kind != parsed.kind)
    fail(Fault::resources, "device: {} is a library for another kind of device, {}", file,
         device->table_->kind);
  const gpu::Options asked{.device = parsed.number, .tf32 = options.tf32};
  device->check_result(device->table_->open(asked, &device->queue_));
  return device;
#else
  static_cast<void>(options);
  fail(Fault::resources, "device: this build opens no {}: it has no access to files", parsed.kind);
#endif
}

Device::~Device() {
  if (queue_ != nullptr) table_->close(queue_);
}

void Device::check_result(const char* result) const {
  if (result != nullptr) [[unlikely]]
    fail(Fault::resources, "device {}: {}", name_, result);
}

std::unique_lock<std::mutex> Device::enter() const {
  std::unique_lock lock(mutex_);
  if (arena_ != nullptr && recorder_ != std::this_thread::get_id()) [[unlikely]]
    fail(Fault::input, "device {}: is recording the work of another thread", name_);
  return lock;
}

std::string Device::kind() const { return parse(name_).kind; }

std::string Device::description() const { return table_->describe(queue_); }

Memory Device::memory(size_t limit) const { return Memory::of_device(shared_from_this(), limit); }

std::vector<std::string> Device::notes() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  while (const char* sentence = table_->take_note(queue_)) out.emplace_back(sentence);
  return out;
}

void Device::wait() const {
  const auto lock = enter();
  check_result(table_->wait(queue_));
}

size_t Device::free_memory() const {
  const auto lock = enter();
  return table_->free_memory(queue_);
}

void* Device::allocate(size_t bytes) const {
  const auto lock = enter();
  void* block = nullptr;
  check_result(table_->allocate(queue_, bytes, &block));
  return block;
}

void Device::release(void* block) const {
  const std::lock_guard lock(mutex_);
  table_->release(queue_, block);
}

void Device::hand_out_again(void* block, size_t bytes) const {
  const auto lock = enter();
  if (table_->spoil != nullptr) table_->spoil(queue_, block, bytes);
}

void Device::upload(void* to, const void* from, size_t bytes) const {
  const auto lock = enter();
  if (bytes > 0) check_result(table_->upload(queue_, to, from, bytes));
}

void Device::upload_ahead(void* to, const void* from, size_t bytes) const {
  const auto lock = enter();
  if (bytes > 0) check_result(table_->upload_ahead(queue_, to, from, bytes));
}

void Device::download(void* to, const void* from, size_t bytes) const {
  const auto lock = enter();
  if (bytes > 0) check_result(table_->download(queue_, to, from, bytes));
}

void Device::copy(void* to, const void* from, size_t bytes) const {
  const auto lock = enter();
  if (bytes > 0) check_result(table_->copy(queue_, to, from, bytes));
}

void Device::clear(void* to, size_t bytes) const {
  const auto lock = enter();
  if (bytes > 0) check_result(table_->clear(queue_, to, bytes));
}

void Device::begin_recording() const {
  const auto lock = enter();
  check(arena_ == nullptr, "device {}: is recording already", name_);
  check_result(table_->begin_record(queue_));
  arena_ = std::make_shared<Arena>(*this);
  recorder_ = std::this_thread::get_id();
}

std::shared_ptr<Arena> Device::end_recording(gpu::Graph** graph) const {
  std::shared_ptr<Arena> arena;  // outlives the lock: its blocks are released under one
  const auto lock = enter();
  arena = std::exchange(arena_, nullptr);
  check_result(table_->end_record(queue_, graph));
  return arena;
}

void Device::replay(gpu::Graph* graph) const {
  const auto lock = enter();
  check_result(table_->replay(queue_, graph));
}

void Device::drop(gpu::Graph* graph) const {
  const std::lock_guard lock(mutex_);
  if (graph != nullptr) table_->drop(queue_, graph);
}

std::shared_ptr<Arena> Device::arena() const {
  const auto lock = enter();
  return arena_;
}

Arena::~Arena() {
  for (const auto& [bytes, block] : idle_) device_.release(block);
}

void* Arena::take(size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = idle_.find(bytes);
  if (found == idle_.end()) return nullptr;
  void* block = found->second;
  idle_.erase(found);
  return block;
}

void Arena::give_back(void* block, size_t bytes) {
  const std::lock_guard lock(mutex_);
  idle_.emplace(bytes, block);
}

}  // namespace vitrine
