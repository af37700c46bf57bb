#include "engine/containers/zip.h"

#ifdef VITRINE_FILES

#include <zlib.h>
#ifdef VITRINE_LIBDEFLATE
#include <libdeflate.h>
#endif

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <numeric>
#include <type_traits>

#include "engine/check.h"
#include "engine/parallel.h"
#include "engine/text.h"

namespace vitrine {

namespace {

constexpr uint32_t local_signature = 0x04034b50, central_signature = 0x02014b50, end_signature = 0x06054b50,
                   end64_signature = 0x06064b50, locator_signature = 0x07064b50;
constexpr size_t local_size = 30, central_size = 46, end_size = 22, end64_size = 56, locator_size = 20;
constexpr uint16_t full16 = 0xffff, zip64_extra = 1;
constexpr uint32_t full32 = 0xffffffff;
constexpr size_t most_at_once = size_t{1} << 30;  // zlib counts in 32 bits

// A little-endian number of bytes that are known to be there.
template <class T>
T number(std::span<const std::byte> bytes, uint64_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

// Where the record that ends the archive begins: the last one whose comment reaches just to the end of the file.
uint64_t find_end(std::span<const std::byte> bytes, const std::string& where) {
  check(bytes.size() >= end_size, "{}: expected a zip archive, got {} bytes", where, bytes.size());
  const uint64_t last = bytes.size() - end_size, first = last > full16 ? last - full16 : 0;
  for (uint64_t at = last + 1; at-- > first;) {
    if (number<uint32_t>(bytes, at) == end_signature && number<uint16_t>(bytes, at + 20) == last - at)
      return at;
  }
  fail(Fault::input, "{}: expected a zip archive, found no end of its directory: it may be cut short", where);
}

// The fields of a zip64 extra field, which stand only where the directory's own are full.
void read_zip64(std::span<const std::byte> extra, uint64_t& size, uint64_t& packed, uint64_t& begin,
                const std::string& where) {
  while (extra.size() >= 4) {
    const auto kind = number<uint16_t>(extra, 0), length = number<uint16_t>(extra, 2);
    check(length <= extra.size() - 4, "{}: its extra fields go beyond their end", where);
    auto field = extra.subspan(4, length);
    extra = extra.subspan(4 + size_t{length});
    if (kind != zip64_extra) continue;
    for (uint64_t* value : {&size, &packed, &begin}) {
      if (*value != full32) continue;
      check(field.size() >= 8, "{}: its zip64 field is too short", where);
      *value = number<uint64_t>(field, 0);
      field = field.subspan(8);
    }
    return;
  }
}

}  // namespace

ZipArchive::ZipArchive(std::span<const std::byte> bytes, std::string where, Allowance& allowance)
    : where_(std::move(where)) {
  uint64_t end = find_end(bytes, where_);
  uint32_t disk = number<uint16_t>(bytes, end + 4), directory_disk = number<uint16_t>(bytes, end + 6);
  uint64_t here = number<uint16_t>(bytes, end + 8), count = number<uint16_t>(bytes, end + 10),
           size = number<uint32_t>(bytes, end + 12), begin = number<uint32_t>(bytes, end + 16);
  if (end >= locator_size && number<uint32_t>(bytes, end - locator_size) == locator_signature) {
    const uint64_t locator = end - locator_size, at = number<uint64_t>(bytes, locator + 8);
    check(
        locator >= end64_size && at <= locator - end64_size && number<uint32_t>(bytes, at) == end64_signature,
        "{}: its zip64 locator points to {}, where no zip64 end is", where_, at);
    // Each field here stands for one of the old record only if that is full; otherwise both must agree.
    const auto take = [&](auto& field, uint64_t value, uint64_t full) {
      check(field == full || field == value, "{}: its two ends disagree: {} and {}", where_, field, value);
      field = static_cast<std::remove_reference_t<decltype(field)>>(value);
    };
    take(disk, number<uint32_t>(bytes, at + 16), full16);
    take(directory_disk, number<uint32_t>(bytes, at + 20), full16);
    take(here, number<uint64_t>(bytes, at + 24), full16);
    take(count, number<uint64_t>(bytes, at + 32), full16);
    take(size, number<uint64_t>(bytes, at + 40), full32);
    take(begin, number<uint64_t>(bytes, at + 48), full32);
    end = at;
  }
  check(disk == 0 && directory_disk == 0 && here == count, "{}: expected one disk, got several", where_);
  check(begin <= end && size == end - begin, "{}: expected a directory that ends at {}, got {} bytes from {}",
        where_, end, size, begin);
  check(count <= most_members, "{}: expected at most {} members, got {}", where_, most_members, count);
  check(count <= size / central_size, "{}: its directory of {} bytes cannot hold {} members", where_, size,
        count);
  // The directory itself and the members' headers are read where they lie.
  allowance.take(size + count * (local_size + sizeof(ZipMember) + 2 * sizeof(uint32_t)),
                 "the archive's directory");
  read_directory(bytes, begin, end, count);
  check_names_and_places();
}

void ZipArchive::read_directory(std::span<const std::byte> bytes, uint64_t begin, uint64_t end,
                                uint64_t count) {
  members_.reserve(count);
  uint64_t at = begin;
  for (uint64_t i = 0; i < count; ++i) {
    check(end - at >= central_size && number<uint32_t>(bytes, at) == central_signature,
          "{}: its directory breaks off at member {} of {}", where_, i, count);
    const auto flags = number<uint16_t>(bytes, at + 8), method = number<uint16_t>(bytes, at + 10);
    const uint64_t name_size = number<uint16_t>(bytes, at + 28),
                   extra_size = number<uint16_t>(bytes, at + 30),
                   comment_size = number<uint16_t>(bytes, at + 32);
    check(end - at - central_size >= name_size + extra_size + comment_size,
          "{}: its directory breaks off at member {} of {}", where_, i, count);
    ZipMember member;
    const auto name = bytes.subspan(at + central_size, name_size);
    member.name = {reinterpret_cast<const char*>(name.data()), name.size()};
    member.crc = number<uint32_t>(bytes, at + 16);
    member.deflated = method == Z_DEFLATED;
    uint64_t packed = number<uint32_t>(bytes, at + 20);
    member.size = number<uint32_t>(bytes, at + 24);
    member.begin = number<uint32_t>(bytes, at + 42);
    const std::string who = text("{}: member {}", where_, quote(member.name));
    check(number<uint16_t>(bytes, at + 34) == 0, "{}: expected one disk, got several", who);
    check(!member.name.empty() && member.name.find('\0') == std::string_view::npos,
          "{}: expected a name without NUL", who);
    check((flags & 1) == 0, "{}: is encrypted", who);
    check(method == 0 || method == Z_DEFLATED, "{}: expected it stored or deflated, got method {}", who,
          method);
    read_zip64(bytes.subspan(at + central_size + name_size, extra_size), member.size, packed, member.begin,
               who);
    check(member.deflated || packed == member.size, "{}: is stored, but has {} bytes for {}", who, packed,
          member.size);

    check(begin >= local_size && member.begin <= begin - local_size &&
              number<uint32_t>(bytes, member.begin) == local_signature,
          "{}: expected its header at {}, found none", who, member.begin);
    const uint64_t skipped = local_size + number<uint16_t>(bytes, member.begin + 26) +
                             uint64_t{number<uint16_t>(bytes, member.begin + 28)};
    check(skipped <= begin - member.begin && packed <= begin - member.begin - skipped,
          "{}: its {} bytes from {} go beyond the end", who, packed, member.begin);
    member.bytes = bytes.subspan(member.begin + skipped, packed);
    member.end = member.begin + skipped + packed;
    members_.push_back(member);
    at += central_size + name_size + extra_size + comment_size;
  }
  check(at == end, "{}: expected a directory of {} members, got {} bytes more", where_, count, end - at);
}

void ZipArchive::check_names_and_places() {
  std::vector<uint32_t> order(members_.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto begin_of = [&](uint32_t i) { return members_[i].begin; };
  std::ranges::sort(order, {}, begin_of);
  for (size_t i = 0; i + 1 < order.size(); ++i) {
    const ZipMember &member = members_[order[i]], &next = members_[order[i + 1]];
    check(member.end <= next.begin, "{}: members {} and {} overlap", where_, quote(member.name),
          quote(next.name));
  }
  by_name_ = std::move(order);
  const auto name_of_member = [&](uint32_t i) { return members_[i].name; };
  std::ranges::sort(by_name_, {}, name_of_member);
  const auto twice = std::ranges::adjacent_find(by_name_, {}, name_of_member);
  check(twice == by_name_.end(), "{}: member {} appears twice", where_,
        twice == by_name_.end() ? "" : quote(name_of_member(*twice)));
}

const ZipMember* ZipArchive::find(std::string_view name) const {
  const auto found =
      std::ranges::lower_bound(by_name_, name, {}, [&](uint32_t i) { return members_[i].name; });
  return found != by_name_.end() && members_[*found].name == name ? &members_[*found] : nullptr;
}

// zlib's sum, which libdeflate computes several times as fast.
static uLong crc_of(std::span<const std::byte> bytes) {
#ifdef VITRINE_LIBDEFLATE
  return libdeflate_crc32(0, bytes.data(), bytes.size());
#else
  return crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
#endif
}

void ZipArchive::check_crc(const ZipMember& member, std::span<const std::byte> content) const {
  // In pieces, which all threads take; zlib puts their sums together to that of the whole.
  constexpr size_t piece = size_t{1} << 20;
  const size_t pieces = (content.size() + piece - 1) / piece;
  std::vector<uLong> sums(pieces);
  const auto part = [&](size_t i) {
    return content.subspan(i * piece, std::min(piece, content.size() - i * piece));
  };
  parallel_for(static_cast<int64_t>(pieces), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) sums[i] = crc_of(part(i));
  });
  uLong got = 0;
  for (size_t i = 0; i < pieces; ++i) got = crc32_combine(got, sums[i], static_cast<z_off_t>(part(i).size()));
  check(got == member.crc, "{}: member {}: is damaged: its CRC-32 is not the directory's", where_,
        quote(member.name));
}

SharedBytes ZipArchive::content(const ZipMember& member, const SharedBytes& archive,
                                Allowance& allowance) const {
  if (!member.deflated) {
    check_crc(member, member.bytes);
    if (archive.set_aside) archive.set_aside(member.bytes);  // all were read once, which nobody need remember
    return {member.bytes, archive.owner, archive.set_aside};
  }
  const std::string who = text("member {} of {} bytes", quote(member.name), member.size);
  allowance.take(std::min<uint64_t>(member.size, SIZE_MAX), who);
  return inflated(member, archive);
}

SharedBytes ZipArchive::inflated(const ZipMember& member, const SharedBytes& archive, size_t first) const {
  constexpr size_t unit = alignof(std::max_align_t);
  const size_t skipped = (unit - first % unit) % unit;
  const auto buffer = std::make_shared<std::vector<std::byte>>(skipped + member.size);
  const auto content = std::span(*buffer).subspan(skipped);
  inflate(member, content);
  if (archive.set_aside) archive.set_aside(member.bytes);
  return {content, buffer, {}};
}

size_t ZipArchive::inflate_beginning(const ZipMember& member, std::span<std::byte> room) const {
  const std::string who = text("{}: member {}", where_, quote(member.name));
  room = room.first(std::min<uint64_t>(room.size(), member.size));
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) fail(Fault::resources, "{}: cannot start zlib", who);
  const std::unique_ptr<z_stream, int (*)(z_stream*)> closer(&stream, inflateEnd);
  stream.avail_in = static_cast<uInt>(std::min(member.bytes.size(), most_at_once));
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(member.bytes.data()));
  stream.avail_out = static_cast<uInt>(std::min(room.size(), most_at_once));
  stream.next_out = reinterpret_cast<Bytef*>(room.data());
  const int status = room.empty() ? Z_OK : ::inflate(&stream, Z_SYNC_FLUSH);
  check(status == Z_OK || status == Z_STREAM_END, "{}: damaged deflate data: {}", who,
        stream.msg ? stream.msg : "it breaks off");
  return room.size() - stream.avail_out;
}

void ZipArchive::inflate(const ZipMember& member, std::span<std::byte> out) const {
  const std::string who = text("{}: member {}", where_, quote(member.name));
  check(out.size() == member.size, "{}: expected room for {} bytes, got {}", who, member.size, out.size());
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) fail(Fault::resources, "{}: cannot start zlib", who);
  const std::unique_ptr<z_stream, int (*)(z_stream*)> closer(&stream, inflateEnd);
  // One byte of room beyond the content shows whether there is more.
  auto from = member.bytes;
  size_t filled = 0;
  Bytef beyond = 0;
  int status = Z_OK;
  while (status == Z_OK) {
    if (stream.avail_in == 0 && !from.empty()) {
      stream.avail_in = static_cast<uInt>(std::min(from.size(), most_at_once));
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(from.data()));
      from = from.subspan(stream.avail_in);
    }
    const size_t room = std::min(out.size() - filled, most_at_once);
    stream.avail_out = room ? static_cast<uInt>(room) : 1;
    stream.next_out = room ? reinterpret_cast<Bytef*>(out.data() + filled) : &beyond;
    status = ::inflate(&stream, Z_NO_FLUSH);
    const size_t got = (room ? room : 1) - stream.avail_out;
    check(room > 0 || got == 0, "{}: inflates to more than its {} bytes", who, member.size);
    filled += got;
  }
  check(status == Z_STREAM_END, "{}: damaged deflate data: {}", who,
        stream.msg ? stream.msg : "it breaks off");
  check(stream.avail_in == 0 && from.empty(), "{}: bytes follow the end of the deflate data", who);
  check(filled == member.size, "{}: inflates to {} bytes in place of {}", who, filled, member.size);
  check_crc(member, out);
}

}  // namespace vitrine

#endif
