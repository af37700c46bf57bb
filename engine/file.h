// file.h: whole files in and out. Present only in builds with VITRINE_FILES.
//
// Whatever goes wrong is an Error{Fault::output} with the system's reason, e.g.
// `cannot open 'vit.safetensors': No such file or directory`.
#pragma once

#ifdef VITRINE_FILES

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace vitrine {

// The bytes of a file, read from disk when they are first touched and shared with all programs that map the
// file. Replacing the file (as write_file_atomically does) leaves a mapping as it was; cutting the file
// shorter in place makes the lost bytes untouchable.
class MappedFile {
 public:
  // Takes over a range that mmap returned; map_file makes these.
  MappedFile(const std::byte* begin, size_t size) : bytes_(begin, size) {}
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  // Gives the memory of a part back to the system. The bytes stay what they are and are read again when touched.
  void set_aside(std::span<const std::byte> part) const;

 private:
  std::span<const std::byte> bytes_;
};

// Maps a regular file for reading. An empty file has no bytes. Throws for directories, pipes and devices.
std::shared_ptr<const MappedFile> map_file(const std::string& path);

// The content of a regular file. Throws Fault::resources if it does not fit into memory.
std::vector<std::byte> read_file(const std::string& path);

// Writes a file so that at every moment, also after a crash or a power cut, `path` holds either the whole old
// or the whole new content: a temporary file in the same folder is written, flushed to disk and renamed. On
// failure the temporary is removed and the old file stays. An old file keeps its permissions; a symbolic link
// to a file is followed. A pipe or a device has nothing to keep and is written directly.
void write_file_atomically(const std::string& path, std::span<const std::byte> bytes);
// The same with the content in several parts, one after the other.
void write_file_atomically(const std::string& path, std::span<const std::span<const std::byte>> parts);

// Removes the temporary files in a folder that killed programs left behind. Only for folders that no other
// program writes to.
void remove_temporaries(const std::string& folder);

// Holds a folder for this program until it is destroyed, or the program ends in any way: a second lock on the
// same folder throws. Nothing is written.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder);
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock();

 private:
  int descriptor_;
};

// Holds a file, which is made if it is not there and stays behind empty, until this is destroyed or the program ends in any
// way. Unlike a folder's lock it holds against programs on other machines that share the folder over a network (NFS
// passes on locks of files alone). Where the file system knows no locks at all everyone gets it, as with FolderLock.
class FileLock {
 public:
  explicit FileLock(const std::string& path);  // waits until nobody else holds it
  // Null if somebody else holds it, be it in this very program.
  static std::unique_ptr<const FileLock> try_take(const std::string& path);
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace vitrine

#endif
