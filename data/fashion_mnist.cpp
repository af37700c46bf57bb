// fashion_mnist.cpp: Fashion-MNIST (Xiao et al., 2017) from its IDX files, plain or compressed by gzip.
#ifdef VITRINE_FILES

#include <zlib.h>

#include <filesystem>

#include "data/formats.h"
#include "engine/check.h"
#include "engine/file.h"
#include "engine/text.h"

namespace vitrine {
namespace {

using Bytes = std::vector<std::byte>;
constexpr size_t side = 28, pixels = side * side;
constexpr size_t most_bytes = size_t{256} << 20;  // no IDX file of this data set is near it

// The content of one gzip member that fills the whole file.
Bytes gunzip(const Bytes& file, const std::string& who) {
  check(file.size() <= most_bytes, "{}: beyond {} bytes", who, most_bytes);
  z_stream stream{};
  if (inflateInit2(&stream, 15 + 16) != Z_OK) fail(Fault::resources, "{}: cannot start zlib", who);
  const std::unique_ptr<z_stream, int (*)(z_stream*)> closer(&stream, inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(file.data()));
  stream.avail_in = static_cast<uInt>(file.size());
  Bytes out(1 << 16);
  for (size_t size = 0;;) {
    if (size == out.size()) {
      check(size < most_bytes, "{}: inflates to more than {} bytes", who, most_bytes);
      out.resize(std::min(2 * size, most_bytes));
    }
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + size);
    stream.avail_out = static_cast<uInt>(out.size() - size);
    const int status = inflate(&stream, Z_NO_FLUSH);
    size = out.size() - stream.avail_out;
    if (status == Z_STREAM_END) {
      check(stream.avail_in == 0, "{}: {} bytes behind the end of the gzip data", who, stream.avail_in);
      out.resize(size);
      return out;
    }
    check(status != Z_BUF_ERROR && !(status == Z_OK && stream.avail_in == 0 && stream.avail_out > 0),
          "{}: truncated gzip data", who);
    check(status == Z_OK, "{}: damaged gzip data: {}", who, stream.msg ? stream.msg : "unknown reason");
  }
}

uint32_t big_endian(const Bytes& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint32_t>(bytes[at + i]);
  return value;
}

// Reads DIR/name or DIR/name.gz, checks the IDX header (type byte 8, the extents) and leaves
// the data behind it.
Bytes read_idx(const std::filesystem::path& folder, const std::string& name, size_t extents,
               size_t item_bytes) {
  std::string path = (folder / name).string();
  std::error_code ignored;
  const bool plain = std::filesystem::exists(path, ignored);
  if (!plain) path += ".gz";
  if (!plain && !std::filesystem::exists(path, ignored))
    fail(Fault::output, "fashion-mnist: neither {} nor {} is in {}", quote(name), quote(name + ".gz"),
         quote(folder.string()));
  const std::string who = text("fashion-mnist: {}", quote(path));
  Bytes bytes = read_file(path);
  if (!plain) bytes = gunzip(bytes, who);
  const size_t header = 4 + 4 * extents;
  check(bytes.size() >= header, "{}: truncated IDX header", who);
  check(big_endian(bytes, 0) == (8u << 8 | extents), "{}: not an IDX file of {}-dimensional bytes", who,
        extents);
  for (size_t e = 1; e < extents; ++e)
    check(big_endian(bytes, 4 + 4 * e) == side, "{}: expected pictures of 28 x 28, got {} x {}", who,
          big_endian(bytes, 8), big_endian(bytes, 12));
  const size_t expected = header + item_bytes * size_t{big_endian(bytes, 4)};
  check(bytes.size() == expected, "{}: expected {} bytes for {} items, got {}", who, expected,
        big_endian(bytes, 4), bytes.size());
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(header));
  return bytes;
}

class FashionMnist : public Dataset {
 public:
  FashionMnist(Bytes grey, std::vector<int64_t> labels)
      : Dataset("fashion-mnist", std::move(labels),
                {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
                 "Ankle boot"}),
        grey_(std::move(grey)) {}
  Image image(int64_t i) const override {
    Image image = blank_image(side, side);
    const std::byte* from = grey_.data() + checked(i) * pixels;
    for (size_t p = 0; p < image.rgb.size(); ++p) image.rgb[p] = static_cast<uint8_t>(from[p / 3]);
    return image;
  }
  std::string name(int64_t i) const override { return text("fashion-mnist image {}", i); }

 private:
  Bytes grey_;
};

}  // namespace

DatasetPointer open_fashion_mnist(const std::string& where, Split split) {
  check(split != Split::val, "fashion-mnist: no val split, only train and test");
  Bytes grey;
  std::vector<int64_t> labels;
  std::vector<std::string> parts;
  if (includes(split, Split::train)) parts.emplace_back("train");
  if (includes(split, Split::test)) parts.emplace_back("t10k");
  for (const std::string& part : parts) {
    const Bytes images = read_idx(where, text("{}-images-idx3-ubyte", part), 3, pixels);
    const Bytes numbers = read_idx(where, text("{}-labels-idx1-ubyte", part), 1, 1);
    check(images.size() == numbers.size() * pixels, "fashion-mnist: {} {} images but {} labels in {}",
          images.size() / pixels, part, numbers.size(), quote(where));
    for (const std::byte number : numbers) {
      check(static_cast<int>(number) < 10, "fashion-mnist: label {} among the {} labels in {}",
            static_cast<int>(number), part, quote(where));
      labels.push_back(static_cast<int64_t>(number));
    }
    grey.insert(grey.end(), images.begin(), images.end());
  }
  return std::make_shared<FashionMnist>(std::move(grey), std::move(labels));
}

}  // namespace vitrine

#endif
