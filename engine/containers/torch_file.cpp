#include "engine/containers/torch_file.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "engine/check.h"
#include "engine/containers/pickle.h"
#include "engine/containers/torch_tensors.h"
#include "engine/text.h"

namespace vitrine {

using Kind = PickleValue::Kind;

namespace {

// The pickle of torch's magic number, 0x1950a86a20f9469cfc6c, behind its protocol and, from protocol 4, a frame.
constexpr std::string_view legacy_magic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 13);

// Where that pickle ends; 0 if there is none.
size_t end_of_magic(std::span<const std::byte> bytes) {
  const std::string_view words(reinterpret_cast<const char*>(bytes.data()),
                               std::min<size_t>(bytes.size(), 24));
  if (!words.starts_with('\x80')) return 0;
  for (const size_t place : {2, 11}) {
    if (words.size() > place && words.substr(place).starts_with(legacy_magic))
      return place + legacy_magic.size();
  }
  return 0;
}

constexpr int64_t legacy_version = 1001;

#ifdef VITRINE_FILES

// What stands before data.pkl: a folder of whatever name, that of the first member.
std::string folder_of(const ZipArchive& archive) {
  if (archive.members().empty()) return {};
  const std::string_view first = archive.members()[0].name;
  const size_t slash = first.find('/');
  return std::string(slash == std::string_view::npos ? "" : first.substr(0, slash + 1));
}

#endif

// What the pickle of an older file says of the storages that follow it, by key.
std::map<std::string, TorchStorage> storages_in(const PickleTree& tree, const std::string& where) {
  std::map<std::string, TorchStorage> storages;
  for (PickleRef ref = 0; ref < tree.size(); ++ref) {
    if (!tree[ref].is(Kind::persistent)) continue;
    std::string reason;
    const auto storage = storage_of(tree, ref, where, reason);
    if (!storage) continue;
    const auto [known, fresh] = storages.try_emplace(storage->key, *storage);
    check(fresh || (known->second.numel == storage->numel && known->second.element == storage->element),
          "{}: storage {} is described in two ways", where, quote(storage->key));
  }
  return storages;
}

}  // namespace

#ifdef VITRINE_FILES

bool is_torch_zip(const ZipArchive& archive) {
  return archive.find(folder_of(archive) + "data.pkl") != nullptr;
}

TensorFile read_torch_zip(const SharedBytes& file, const ZipArchive& archive, const std::string& name,
                          Allowance& allowance) {
  const std::string where = text("torch: '{}'", name), folder = folder_of(archive);
  const ZipMember* const pickle = archive.find(folder + "data.pkl");
  check(pickle != nullptr, "{}: expected a member data.pkl, found none", where);
  const SharedBytes program = archive.content(*pickle, file, allowance);
  size_t used = 0;
  const PickleTree tree(program.bytes, where + ": data.pkl", allowance, used);
  check(used == program.bytes.size(), "{}: data.pkl: {} bytes follow the end of the pickle", where,
        program.bytes.size() - used);

  bool big_endian = false;
  if (const ZipMember* const order = archive.find(folder + "byteorder")) {
    const SharedBytes content = archive.content(*order, file, allowance);
    const std::string_view words(reinterpret_cast<const char*>(content.bytes.data()), content.bytes.size());
    check(words == "little" || words == "big", "{}: expected byteorder little or big, got {}", where,
          quote(words));
    big_endian = words == "big";
  }
  const FindStorage find = [&](const TorchStorage& storage,
                               std::string& reason) -> std::optional<SharedBytes> {
    const ZipMember* const member = archive.find(text("{}data/{}", folder, storage.key));
    check(member != nullptr, "{}: expected a member {}, found none", where,
          quote(text("{}data/{}", folder, storage.key)));
    if (!member->deflated) return archive.content(*member, file, allowance);
    check(member->size == bytes_of(storage, where), "{}: expected a storage {} of {} bytes, got {}", where,
          quote(storage.key), bytes_of(storage, where), member->size);
    reason = allowance.try_take_inflated(member->size);
    if (!reason.empty()) return std::nullopt;
    return archive.inflated(*member, file);
  };
  return torch_tensors(tree, find, big_endian, name, where, allowance);
}

#endif

bool is_legacy_torch(std::span<const std::byte> bytes) { return end_of_magic(bytes) != 0; }

TensorFile read_legacy_torch(const SharedBytes& file, const std::string& name) {
  const std::string where = text("torch: '{}'", name);
  check(is_legacy_torch(file.bytes), "{}: expected torch's magic number, got other bytes", where);
  Allowance allowance(file.bytes.size(), where);
  auto rest = file.bytes.subspan(end_of_magic(file.bytes));
  const auto next = [&](const char* what) {
    size_t used = 0;
    PickleTree tree(rest, text("{}: {}", where, what), allowance, used);
    rest = rest.subspan(used);
    return tree;
  };
  const PickleTree version = next("version");
  check(version.root().is(Kind::integer) && version.root().integer == legacy_version,
        "{}: expected version {}, got {}", where, legacy_version,
        version.root().is(Kind::integer) ? std::to_string(version.root().integer)
                                         : version.describe(version.root_ref()));
  const PickleTree system = next("system");
  check(system.root().is(Kind::dict), "{}: expected a dictionary about its system, got {}", where,
        system.describe(system.root_ref()));
  const PickleTree tree = next("object"), keys = next("keys of storages");
  check(keys.root().is(Kind::list), "{}: expected a list of storages' keys, got {}", where,
        keys.describe(keys.root_ref()));

  // Storages are little-endian, whatever machine wrote them.
  const std::map<std::string, TorchStorage> described = storages_in(tree, where);
  std::map<std::string, SharedBytes> storages;
  for (const PickleRef ref : keys.root().items) {
    check(keys[ref].is(Kind::text), "{}: expected text as a storage's key, got {}", where,
          keys.describe(ref));
    const std::string key(keys[ref].words);
    const auto known = described.find(key);
    check(known != described.end(), "{}: no tensor says of what type storage {} is", where, quote(key));
    int64_t count = 0;
    check(rest.size() >= sizeof count, "{}: it breaks off before storage {}", where, quote(key));
    std::memcpy(&count, rest.data(), sizeof count);
    rest = rest.subspan(sizeof count);
    check(count == known->second.numel, "{}: expected {} elements in storage {}, got {}", where,
          known->second.numel, quote(key), count);
    const uint64_t size = bytes_of(known->second, where);
    check(size <= rest.size(), "{}: expected {} bytes in storage {}, got {}", where, size, quote(key),
          rest.size());
    allowance.take(256 + 2 * key.size(), "its storages");
    const bool fresh =
        storages.emplace(key, SharedBytes{rest.first(size), file.owner, file.set_aside}).second;
    check(fresh, "{}: storage {} appears twice", where, quote(key));
    rest = rest.subspan(size);
  }
  check(rest.empty(), "{}: {} bytes follow the last storage", where, rest.size());

  const FindStorage find = [&](const TorchStorage& storage, std::string&) -> std::optional<SharedBytes> {
    const auto found = storages.find(storage.key);
    check(found != storages.end(), "{}: expected a storage {}, found none", where, quote(storage.key));
    return found->second;
  };
  return torch_tensors(tree, find, false, name, where, allowance);
}

}  // namespace vitrine
