// decoder_damage_test.cpp: thousands of damaged pictures of each format: an image or an error, in little time and
// memory.
#ifdef VITRINE_FILES

#include <algorithm>
#include <ctime>

#include "tests/data_files.h"

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#include <sys/resource.h>
#define MEMORY_CAN_BE_LIMITED 1
#endif

using namespace vitrine;
using namespace files;

namespace {

// Until the end of the scope the program gets no more than so many bytes beyond those that it has.
class MemoryLimit {
 public:
  explicit MemoryLimit([[maybe_unused]] size_t bytes) {
#ifdef MEMORY_CAN_BE_LIMITED
    size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    REQUIRE(getrlimit(RLIMIT_AS, &before_) == 0);
    rlimit now = before_;
    now.rlim_cur = std::min<rlim_t>(before_.rlim_max, pages * static_cast<size_t>(getpagesize()) + bytes);
    REQUIRE(setrlimit(RLIMIT_AS, &now) == 0);
#endif
  }
  ~MemoryLimit() {
#ifdef MEMORY_CAN_BE_LIMITED
    setrlimit(RLIMIT_AS, &before_);
#endif
  }
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;

 private:
#ifdef MEMORY_CAN_BE_LIMITED
  rlimit before_{};
#endif
};

Bytes golden_file(const std::string& name) {
  std::ifstream in(VITRINE_GOLDEN "/pictures/" + name, std::ios::binary);
  REQUIRE(in.good());
  return bytes_of({std::istreambuf_iterator<char>(in), {}});
}

// Check sums as they should be, so that damage reaches what lies behind them.
void mend_check_sums(Bytes& png) {
  const auto number = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) value = value << 8 | std::to_integer<uint32_t>(png[at + i]);
    return value;
  };
  for (size_t at = 8; png.size() - at >= 12;) {
    const size_t length = number(at);
    if (length > png.size() - at - 12) return;
    Bytes sum;
    put_big(sum, static_cast<uint32_t>(crc32(0, chars(png) + at + 4, static_cast<uInt>(length + 4))));
    std::copy(sum.begin(), sum.end(), png.begin() + static_cast<std::ptrdiff_t>(at + 8 + length));
    at += 12 + length;
    if (at > png.size()) return;
  }
}

// Some bytes other than they were, cut out, said twice, or the end missing.
Bytes damaged(Bytes file, Random& random) {
  const auto below = [&](size_t n) {
    return static_cast<std::ptrdiff_t>(random.below(static_cast<uint32_t>(n)));
  };
  for (uint32_t n = random.below(4) + 1; n > 0 && file.size() > 8; --n) {
    const std::ptrdiff_t at = below(random.chance(0.3) ? std::min<size_t>(file.size(), 64) : file.size());
    const std::ptrdiff_t length = std::min<std::ptrdiff_t>(below(16) + 1, std::ssize(file) - at);
    switch (random.below(7)) {
      case 0:
        file[static_cast<size_t>(at)] ^= static_cast<std::byte>(1 << random.below(8));
        break;
      case 1:
        file[static_cast<size_t>(at)] = std::byte{0};
        break;
      case 2:
        file[static_cast<size_t>(at)] = std::byte{0xFF};
        break;
      case 3:
        file.erase(file.begin() + at, file.begin() + at + length);
        break;
      case 4: {
        const Bytes part(file.begin() + at, file.begin() + at + length);
        file.insert(file.begin() + at, part.begin(), part.end());
        break;
      }
      case 5:
        file.resize(static_cast<size_t>(random.chance(0.2) ? at : std::ssize(file)));
        break;
      default:
        file[static_cast<size_t>(at)] = static_cast<std::byte>(random.bits());
    }
  }
  return file;
}

struct Outcome {
  int images = 0, errors = 0, slow = 0;
};

// `trials` files made of these in turn.
Outcome decode_damaged(const std::vector<Bytes>& originals, uint32_t trials, bool mend) {
  // A picture of the largest size with four inks, progressive: its pixels, its inks, its coefficients.
  const MemoryLimit limit(static_cast<size_t>(max_image_pixels) * (3 + 4 + 8) + (size_t{64} << 20));
  Outcome outcome;
  for (uint32_t trial = 0; trial < trials; ++trial) {
    CAPTURE(trial);
    Random random(11, Purpose::test, 0, trial);
    Bytes file = damaged(originals[trial % originals.size()], random);
    if (mend && trial % 4 != 0) mend_check_sums(file);
    const std::clock_t began = std::clock();  // of the processor: the machine may be busy with other things
    try {
      const Image image = decode_image(file, "x");
      check_image(image, "x");
      apply_orientation(image, exif_orientation(file));
      ++outcome.images;
    } catch (const Error& error) {
      CHECK(says(error.what(), "image 'x'"));
      ++outcome.errors;
    }
    outcome.slow += std::clock() - began > CLOCKS_PER_SEC / 10;
  }
  // Few are: those whose damaged header asks for millions of pixels.
  CHECK(outcome.slow <= static_cast<int>(trials / 20));
  MESSAGE(outcome.images << " images, " << outcome.errors << " errors, " << outcome.slow << " above 0.1 s");
  return outcome;
}

}  // namespace

TEST_CASE("2000 damaged JPEGs are images or errors") {
  const Outcome o = decode_damaged(
      {golden_file("jpeg-420.jpg"), golden_file("jpeg-progressive.jpg"), golden_file("jpeg-cmyk.jpg"),
       golden_file("jpeg-orientation-6-big.jpg"), golden_file("jpeg-grey-progressive.jpg")},
      2000, false);
  CHECK(o.images > 100);  // otherwise the damage would be too great to reach anything
  CHECK(o.errors > 100);
}

TEST_CASE("2000 damaged PNGs are images or errors") {
  const Outcome o = decode_damaged({golden_file("png-2-8.png"), golden_file("png-3-4-interlaced.png"),
                                    golden_file("png-0-1.png"), golden_file("png-6-16-interlaced.png"),
                                    golden_file("png-parts.png"), golden_file("png-orientation-6.png")},
                                   2000, true);
  CHECK(o.images > 20);
  CHECK(o.errors > 100);
}

TEST_CASE("2000 damaged BMPs are images or errors") {
  const Outcome o = decode_damaged({golden_file("bmp-24.bmp"), golden_file("bmp-1.bmp"),
                                    golden_file("bmp-palette.bmp"), golden_file("bmp-grey.bmp")},
                                   2000, false);
  CHECK(o.images > 100);
  CHECK(o.errors > 100);
}

TEST_CASE("a PNG takes memory for its pixels, not for what its data would unpack to") {
  const size_t unpacked = size_t{128} << 20;
  Bytes data;
  {
    z_stream stream{};
    REQUIRE(deflateInit(&stream, 1) == Z_OK);
    const Bytes zeros(size_t{1} << 20);
    Bytes out(size_t{1} << 20);
    for (size_t done = 0; done < unpacked; done += zeros.size()) {
      stream.next_in = const_cast<Bytef*>(chars(zeros));
      stream.avail_in = static_cast<uInt>(zeros.size());
      stream.next_out = reinterpret_cast<Bytef*>(out.data());
      stream.avail_out = static_cast<uInt>(out.size());
      REQUIRE(deflate(&stream, done + zeros.size() < unpacked ? Z_NO_FLUSH : Z_FINISH) >= Z_OK);
      data.insert(data.end(), out.begin(), out.end() - stream.avail_out);
    }
    deflateEnd(&stream);
  }
  Bytes file = bytes_of("\x89PNG\r\n\x1A\n"), header;
  put_big(header, 1);
  put_big(header, 1);
  for (const int b : {8, 2, 0, 0, 0}) header.push_back(static_cast<std::byte>(b));
  put(file, png_chunk("IHDR", header));
  put(file, png_chunk("IDAT", data));
  put(file, png_chunk("IEND", {}));
  const MemoryLimit limit(size_t{32} << 20);
  CHECK(decode_image(file, "x").rgb == std::vector<uint8_t>{0, 0, 0});
}

TEST_CASE("colors that a BMP's palette lacks are an error") {
  Bytes palette, rows = bytes_of(std::string("\0\1\2\0", 4));
  for (const int color : {10, 20, 30, 0, 40, 50, 60, 0}) palette.push_back(static_cast<std::byte>(color));
  CHECK(
      says(message_of([&] { decode_image(encode_bmp(3, 1, 8, rows, palette), "x"); }), "more than 2 colors"));
  // A header of 40 bytes may ask for 3 bits; nobody writes them.
  CHECK_THROWS_AS(decode_image(encode_bmp(2, 1, 3, rows, palette), "x"), Error);
  CHECK(decode_image(encode_bmp(2, 1, 8, rows, palette), "x").rgb ==
        std::vector<uint8_t>{30, 20, 10, 60, 50, 40});
}

#endif
