#include "engine/file.h"

#ifdef VITRINE_FILES

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

#include "engine/check.h"

namespace vitrine {

namespace {

constexpr std::string_view temporary_start = ".vitrine-", temporary_end = ".tmp";

[[noreturn]] void fail_file(std::string_view action, const std::string& path, int error) {
  fail(Fault::output, "cannot {} '{}': {}", action, path, std::generic_category().message(error));
}

// Calls a system function again as long as a signal interrupts it.
template <class F>
auto retried(F&& call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

// An open file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }

  int number() const { return number_; }
  bool open() const { return number_ >= 0; }
  // Some file systems report a failed write only here. Linux frees the number in any case.
  bool close() {
    const int number = number_;
    number_ = -1;
    return number < 0 || ::close(number) == 0 || errno == EINTR;
  }

 private:
  int number_;
};

// Opens a regular file for reading and tells its size. O_NONBLOCK: a pipe must not hold us up
// before it is refused.
size_t size_of_opened(const Descriptor& file, const std::string& path) {
  if (!file.open()) fail_file("open", path, errno);
  struct stat status {};
  if (::fstat(file.number(), &status) != 0) fail_file("open", path, errno);
  if (S_ISDIR(status.st_mode)) fail_file("open", path, EISDIR);
  if (!S_ISREG(status.st_mode)) fail(Fault::output, "cannot open '{}': not a regular file", path);
  return static_cast<size_t>(status.st_size);
}

int open_to_read(const std::string& path) {
  return retried([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); });
}

void write_all(const Descriptor& file, std::span<const std::span<const std::byte>> parts,
               const std::string& path) {
  for (std::span<const std::byte> rest : parts) {
    while (!rest.empty()) {
      const size_t piece = std::min<size_t>(rest.size(), size_t{1} << 30);
      const ssize_t written = retried([&] { return ::write(file.number(), rest.data(), piece); });
      if (written < 0) fail_file("write", path, errno);
      rest = rest.subspan(static_cast<size_t>(written));
    }
  }
}

// Waits until the disk has the bytes. Pipes, devices and some network folders cannot be flushed;
// that is no error.
void flush(const Descriptor& file, const std::string& path) {
  if (retried([&] { return ::fsync(file.number()); }) == 0) return;
  if (errno != EINVAL && errno != ENOTSUP && errno != EROFS) fail_file("write", path, errno);
}

// A new file of a name not yet taken in `folder`, removed again unless it is renamed.
class Temporary {
 public:
  Temporary(const Descriptor& folder, const std::string& path) : folder_(folder), file_(create(path)) {}
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  ~Temporary() {
    if (!name_.empty()) ::unlinkat(folder_.number(), name_.c_str(), 0);
  }

  Descriptor& file() { return file_; }

  void rename_to(const std::string& name, const std::string& path) {
    if (::renameat(folder_.number(), name_.c_str(), folder_.number(), name.c_str()) != 0) {
      fail_file("write", path, errno);
    }
    name_.clear();
  }

 private:
  int create(const std::string& path) {
    for (int attempt = 0; attempt < 1000; ++attempt) {
      std::string name =
          text("{}{}-{}{}", temporary_start, static_cast<long>(::getpid()), attempt, temporary_end);
      const int number = retried([&] {
        return ::openat(folder_.number(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      });
      if (number >= 0) {
        name_ = std::move(name);
        return number;
      }
      if (errno != EEXIST) break;
    }
    fail_file("write", path, errno);
  }

  const Descriptor& folder_;
  std::string name_;
  Descriptor file_;  // after name_, which `create` sets
};

}  // namespace

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::set_aside(std::span<const std::byte> part) const {
  // Whole pages only: others hold bytes of the neighbours.
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE)),
             first = static_cast<size_t>(part.data() - bytes_.data()),  // a mapping begins with a page
      begin = (first + page - 1) / page * page, end = (first + part.size()) / page * page;
  // It is a hint: where the system does not take it, the memory stays in use.
  if (begin < end) ::madvise(const_cast<std::byte*>(bytes_.data()) + begin, end - begin, MADV_DONTNEED);
}

std::shared_ptr<const MappedFile> map_file(const std::string& path) {
  const Descriptor file(open_to_read(path));
  const size_t size = size_of_opened(file, path);
  if (size == 0) return std::make_shared<const MappedFile>(nullptr, 0);  // mmap refuses empty ranges
  void* const begin = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.number(), 0);
  if (begin == MAP_FAILED) fail_file("map", path, errno);
  try {
    return std::make_shared<const MappedFile>(static_cast<const std::byte*>(begin), size);
  } catch (...) {
    ::munmap(begin, size);
    throw;
  }
}

std::vector<std::byte> read_file(const std::string& path) {
  const Descriptor file(open_to_read(path));
  const size_t size = size_of_opened(file, path);
  std::vector<std::byte> bytes;
  try {
    bytes.resize(size);
  } catch (const std::bad_alloc&) {
    fail(Fault::resources, "cannot read '{}': {} bytes do not fit into memory", path, size);
  } catch (const std::length_error&) {
    fail(Fault::resources, "cannot read '{}': {} bytes do not fit into memory", path, size);
  }
  size_t filled = 0;
  while (filled < size) {
    const size_t piece = std::min<size_t>(size - filled, size_t{1} << 30);
    const ssize_t got = retried([&] { return ::read(file.number(), bytes.data() + filled, piece); });
    if (got < 0) fail_file("read", path, errno);
    if (got == 0) {
      fail(Fault::output, "cannot read '{}': expected {} bytes, got {}: it was cut shorter meanwhile", path,
           size, filled);
    }
    filled += static_cast<size_t>(got);
  }
  return bytes;
}

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  write_file_atomically(path, std::span<const std::span<const std::byte>>(&bytes, 1));
}

void write_file_atomically(const std::string& path, std::span<const std::span<const std::byte>> parts) {
  struct stat old {};
  const bool exists = ::stat(path.c_str(), &old) == 0;
  if (exists && S_ISDIR(old.st_mode)) fail_file("write", path, EISDIR);
  if (exists && !S_ISREG(old.st_mode)) {
    // Renaming would replace the device itself, /dev/null for example.
    Descriptor device(retried([&] { return ::open(path.c_str(), O_WRONLY | O_CLOEXEC); }));
    if (!device.open()) fail_file("write", path, errno);
    write_all(device, parts, path);
    flush(device, path);
    if (!device.close()) fail_file("write", path, errno);
    return;
  }

  std::string target = path;
  if (exists) {
    const std::unique_ptr<char, decltype(&std::free)> resolved(::realpath(path.c_str(), nullptr), &std::free);
    if (!resolved) fail_file("write", path, errno);
    target = resolved.get();
  }
  const size_t slash = target.rfind('/');
  const std::string folder_path =
      slash == std::string::npos ? "." : target.substr(0, std::max<size_t>(slash, 1));
  const std::string name = slash == std::string::npos ? target : target.substr(slash + 1);
  if (name.empty()) fail_file("write", path, path.empty() ? ENOENT : EISDIR);

  const Descriptor folder(
      retried([&] { return ::open(folder_path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  if (!folder.open()) fail_file("write", path, errno);
  Temporary temporary(folder, path);
  Descriptor& file = temporary.file();
  struct stat fresh {};
  if (::fstat(file.number(), &fresh) != 0) fail_file("write", path, errno);
  constexpr mode_t permissions = 0777;
  if (exists && ((fresh.st_mode ^ old.st_mode) & permissions) != 0 &&
      ::fchmod(file.number(), old.st_mode & permissions) != 0) {
    fail_file("write", path, errno);
  }
  write_all(file, parts, path);
  flush(file, path);
  if (!file.close()) fail_file("write", path, errno);
  temporary.rename_to(name, path);
  flush(folder, path);  // the new name itself
}

void remove_temporaries(const std::string& folder) {
  std::error_code ignored;  // a file that cannot be removed harms nobody
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(temporary_start) && name.ends_with(temporary_end))
      std::filesystem::remove(entry.path(), ignored);
  }
}

FolderLock::FolderLock(const std::string& folder)
    : descriptor_(retried([&] { return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); })) {
  if (descriptor_ < 0) fail_file("open", folder, errno);
  if (retried([&] { return ::flock(descriptor_, LOCK_EX | LOCK_NB); }) == 0) return;
  const int problem = errno;
  if (problem == ENOTSUP || problem == ENOLCK || problem == EINVAL) return;  // a file system without locks
  ::close(descriptor_);
  if (problem == EWOULDBLOCK) fail(Fault::output, "'{}' is in use by another run", folder);
  fail_file("lock", folder, problem);
}

FolderLock::~FolderLock() { ::close(descriptor_); }

namespace {

// The descriptor of the locked file; -1 if somebody else holds it and we are not to wait.
int locked_file(const std::string& path, bool wait) {
  const int descriptor = retried([&] { return ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666); });
  if (descriptor < 0) fail_file("open", path, errno);
  if (retried([&] { return ::flock(descriptor, wait ? LOCK_EX : LOCK_EX | LOCK_NB); }) == 0)
    return descriptor;
  const int problem = errno;
  if (problem == ENOTSUP || problem == ENOLCK || problem == EINVAL) return descriptor;  // it knows no locks
  ::close(descriptor);
  if (problem == EWOULDBLOCK) return -1;
  fail_file("lock", path, problem);
}

}  // namespace

FileLock::FileLock(const std::string& path) : descriptor_(locked_file(path, true)) {}

std::unique_ptr<const FileLock> FileLock::try_take(const std::string& path) {
  const int descriptor = locked_file(path, false);
  if (descriptor < 0) return nullptr;
  return std::unique_ptr<const FileLock>(new FileLock(descriptor));
}

FileLock::~FileLock() { ::close(descriptor_); }

}  // namespace vitrine

#endif
