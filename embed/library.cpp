// library.cpp: opening the library and backbones.
#include <new>

#include "embed/handles.h"
#include "engine/containers/tensor_file.h"
#include "engine/parallel.h"
#include "models/training/pictures.h"
#include "models/training/pretrained.h"

using namespace vitrine;
using namespace vitrine::embed;

namespace {

constexpr size_t tensor_alignment = 64;
constexpr const char* storage = "the host's storage";

HostAllocator allocator_of(const vitrine_settings& s, Arena* arena) {
  if (arena != nullptr) {
    check(s.allocate == nullptr && s.release == nullptr,
          "vitrine_settings: tensors come from the arena or from allocate, not from both");
    return {[arena](size_t bytes) { return arena->take(bytes, tensor_alignment); },
            [arena](void* block, size_t) { arena->give_back(block); }};
  }
  check((s.allocate == nullptr) == (s.release == nullptr),
        "vitrine_settings: allocate and release go together");
  if (s.allocate == nullptr) return {};
  return {[s](size_t bytes) { return s.allocate(s.host, bytes); },
          [s](void* block, size_t bytes) { s.release(s.host, block, bytes); }};
}

Library library_of(unsigned abi, const vitrine_settings* given, Arena* arena) {
  check(abi == VITRINE_ABI, "vitrine_open: the host was built with ABI {}, this library with {}", abi,
        VITRINE_ABI);
  vitrine_settings settings = struct_of(given, "vitrine_settings");
  check(settings.threads >= 0 && settings.threads <= 1024,
        "vitrine_settings: expected 0 to 1024 threads, got {}", settings.threads);
  check(
      arena == nullptr || settings.threads <= 1,
      "vitrine_settings: the threads of OpenMP take memory that is in no arena; expected one thread, got {}",
      settings.threads);
  settings.threads = std::max(settings.threads, 1);
  check_thread_count(settings.threads);
  return {Memory::counted(settings.memory_limit, allocator_of(settings, arena)), settings, arena};
}

Precision precision_of(int bits) {
  switch (bits) {
    case 0:
    case 32:
      return Precision::f32;
    case 16:
      return Precision::bf16;
    case 8:
      return Precision::int8;
    default:
      fail(Fault::input, "vitrine_backbone_options: expected packed_bits of 32, 16 or 8, got {}", bits);
  }
}

// A handle for as long as there is none.
struct Opening {
  Arena* in;
  Message message;
  const Library* whose() const { return nullptr; }
  Arena* arena() const { return in; }
};

}  // namespace

std::unique_ptr<vitrine_backbone> vitrine::embed::make_backbone(const std::shared_ptr<const Library>& library,
                                                                const vitrine_backbone_options* given,
                                                                const std::string& source,
                                                                TensorFile tensors) {
  const vitrine_backbone_options o = struct_of(given, "vitrine_backbone_options");
  check(o.heads >= 0 && o.image_size >= 0, "vitrine_backbone_options: expected no negative numbers");
  auto glass = std::make_shared<Glass>();
  glass->library = library;
  const Pretrained opened = make_pretrained(std::move(tensors), source,
                                            {.heads = o.heads,
                                             .config = o.family == nullptr ? "" : o.family,
                                             .pictures = o.pictures == nullptr ? "" : o.pictures,
                                             .image_size = o.image_size},
                                            library->memory);
  glass->backbone = with_identity(
      with_precision(counted_in(library->memory, opened.backbone), precision_of(o.packed_bits)));
  if (o.packed_bytes != 0) glass->backbone = with_budget(glass->backbone, o.packed_bytes);
  glass->preprocess = preprocess_of(glass->backbone, o.image_size);
  glass->description = describe(glass->backbone.config);
  auto made = std::make_unique<vitrine_backbone>();
  made->glass = std::move(glass);
  return made;
}

const char* vitrine_version(void) { return VITRINE_VERSION; }
unsigned vitrine_abi(void) { return VITRINE_ABI; }

int vitrine::embed::open_library(unsigned abi, const vitrine_settings* settings, Arena* arena,
                                 vitrine_library** library) {
  *library = nullptr;
  Opening opening{.in = arena, .message = {}};
  const int made = guarded(&opening, [&] { *library = std::make_unique<vitrine_library>().release(); });
  if (made != VITRINE_DONE) return made;
  (*library)->in = arena;
  return guarded(*library,
                 [&] { (*library)->library = std::make_shared<Library>(library_of(abi, settings, arena)); });
}

int vitrine_open(unsigned abi, const vitrine_settings* settings, vitrine_library** library) {
  return library == nullptr ? int{VITRINE_INPUT} : open_library(abi, settings, nullptr, library);
}

void vitrine_close(vitrine_library* library) { close_handle(library); }

const char* vitrine_message(const vitrine_library* library) {
  return library == nullptr ? "" : library->message.text();
}

int vitrine_memory(vitrine_library* library, vitrine_memory_use* use) {
  return guarded(library, [&] {
    check(library->library != nullptr, "vitrine_memory: the library was not opened");
    const MemoryStatistics statistics = library->library->memory.statistics();
    const ArenaUse arena = library->in == nullptr ? ArenaUse{} : library->in->use();
    give_struct({.size = 0,
                 .now = statistics.current,
                 .most = statistics.peak,
                 .arena_now = arena.now,
                 .arena_most = arena.most},
                use, "vitrine_memory_use");
    library->library->memory.reset_peak();
  });
}

int vitrine_backbone_open(vitrine_library* library, const void* bytes, size_t size,
                          const vitrine_backbone_options* options, vitrine_backbone** backbone) {
  return open_backbone(library, options, backbone, "the host's bytes", [&] {
    check(bytes != nullptr, "vitrine_backbone_open: expected bytes, got NULL");
    // They stay, as the host has promised: an owner that owns nothing keeps them from being copied.
    return read_tensors({static_cast<const std::byte*>(bytes), size},
                        std::shared_ptr<const void>(std::shared_ptr<const void>{}, bytes),
                        "the host's bytes");
  });
}

int vitrine_backbone_open_reader(vitrine_library* library,
                                 int (*read)(void* host, uint64_t offset, void* to, size_t count), void* host,
                                 uint64_t size, const vitrine_backbone_options* options,
                                 vitrine_backbone** backbone) {
  return open_backbone(library, options, backbone, storage, [&] {
    check(read != nullptr, "vitrine_backbone_open_reader: expected a function, got NULL");
    const auto fetch = [read, host](uint64_t offset, std::span<std::byte> to) {
      const int failed = [&] {
        const InArena outside(nullptr);  // what the host's function takes is the host's own
        return read(host, offset, to.data(), to.size());
      }();
      if (failed != 0)
        fail(Fault::output, "vitrine_backbone_open_reader: the host could not read {} bytes from {} on",
             to.size(), offset);
    };
    const Memory& memory = library->library->memory;
    const vitrine_backbone_options o = struct_of(options, "vitrine_backbone_options");
    if (o.packed_bytes != 0) return read_safetensors(size, fetch, storage, memory);
    const std::shared_ptr<std::byte> bytes = memory.allocate(size);
    constexpr uint64_t piece = 1 << 20;
    for (uint64_t at = 0; at < size; at += piece)
      fetch(at, {bytes.get() + at, static_cast<size_t>(std::min(piece, size - at))});
    return read_tensors({bytes.get(), static_cast<size_t>(size)}, bytes, storage);
  });
}

int vitrine_backbone_open_file(vitrine_library* library, const char* path,
                               const vitrine_backbone_options* options, vitrine_backbone** backbone) {
  if (path == nullptr) path = "";
  return open_backbone(library, options, backbone, path, [&]() -> TensorFile {
    check(*path != 0, "vitrine_backbone_open_file: expected a path");
#ifdef VITRINE_FILES
    return load_tensors(path);
#else
    fail(Fault::input, "vitrine_backbone_open_file: this build reads no files");
#endif
  });
}

void vitrine_backbone_close(vitrine_backbone* backbone) { close_handle(backbone); }

const char* vitrine_backbone_message(const vitrine_backbone* backbone) {
  return backbone == nullptr ? "" : backbone->message.text();
}

int vitrine_backbone_about(vitrine_backbone* backbone, vitrine_backbone_info* info) {
  return guarded(backbone, [&] {
    const Backbone& net = backbone->glass->backbone;
    const TransformerConfig headless = with_classes(net.config, 0);
    give_struct({.size = 0,
                 .image_size = backbone->glass->preprocess.size,
                 .width = feature_width(net.config),
                 .blocks = block_count(net.config),
                 .parameters = parameter_count(headless),
                 .description = backbone->glass->description.c_str(),
                 .identity = net.identity.c_str()},
                info, "vitrine_backbone_info");
  });
}
