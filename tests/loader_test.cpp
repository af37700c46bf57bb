// loader_test.cpp: order, resuming, damaged images and memory of the loader, with any number of workers.
#include "data/loader.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <set>

#include "engine/check.h"
#include "engine/ops.h"

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#endif

using namespace vitrine;

namespace {

Image picture(int width, int height, uint32_t seed) {
  Image image = blank_image(width, height);
  Random random(4, Purpose::test, 2, seed);
  for (uint8_t& v : image.rgb) v = static_cast<uint8_t>(random.bits());
  return image;
}

// Pictures of random numbers; counts how often one is decoded, and some may be damaged.
class Counted : public Dataset {
 public:
  explicit Counted(int64_t count, std::set<int64_t> damaged = {}, Fault fault = Fault::input)
      : Dataset("counted", labels_for(count), {"a", "b", "c"}), damaged_(std::move(damaged)), fault_(fault) {}
  Image image(int64_t i) const override {
    ++decoded;
    if (damaged_.contains(i)) fail(fault_, "{} is damaged", name(i));
    return picture(12 + static_cast<int>(i % 5), 10 + static_cast<int>(i % 3),
                   static_cast<uint32_t>(checked(i)));
  }
  std::string name(int64_t i) const override { return text("picture {}", i); }

  mutable std::atomic<int> decoded = 0;

 private:
  static std::vector<int64_t> labels_for(int64_t count) {
    std::vector<int64_t> labels;
    for (int64_t i = 0; i < count; ++i) labels.push_back(i % 3);
    return labels;
  }
  std::set<int64_t> damaged_;
  Fault fault_;
};

const Preprocess small{.size = 8, .resize = 9};

std::vector<int64_t> first(int64_t count) {
  std::vector<int64_t> all(static_cast<size_t>(count));
  std::iota(all.begin(), all.end(), int64_t{0});
  return all;
}

struct Seen {
  std::vector<int64_t> samples, labels, sizes;
  std::vector<float> pixels;
  bool operator==(const Seen&) const = default;
};

// What is left of the epoch.
Seen rest(Loader& loader) {
  Seen seen;
  for (Batch batch; loader.next(batch);) {
    REQUIRE(batch.images.dim(0) == static_cast<int64_t>(batch.samples.size()));
    seen.sizes.push_back(batch.images.dim(0));
    seen.samples.insert(seen.samples.end(), batch.samples.begin(), batch.samples.end());
    const auto labels = batch.labels.data<int64_t>();
    seen.labels.insert(seen.labels.end(), labels.begin(), labels.end());
    const auto pixels = batch.images.data<float>();
    seen.pixels.insert(seen.pixels.end(), pixels.begin(), pixels.end());
  }
  return seen;
}

Seen epoch(Loader& loader, int64_t number) {
  loader.start_epoch(number);
  return rest(loader);
}

}  // namespace

TEST_CASE("loader: in order without shuffling, all images as prepare and normalise make them") {
  const auto dataset = std::make_shared<Counted>(11);
  Loader loader(dataset, {4, 2, 9, 0, 10}, small, {.batch_size = 2, .workers = 0});
  CHECK(loader.samples() == 5);
  CHECK(loader.batches() == 3);
  const Seen seen = epoch(loader, 0);
  CHECK(seen.samples == std::vector<int64_t>{4, 2, 9, 0, 10});
  CHECK(seen.labels == std::vector<int64_t>{1, 2, 0, 0, 1});
  CHECK(seen.sizes == std::vector<int64_t>{2, 2, 1});
  std::vector<float> expected(5 * 192);
  for (size_t k = 0; k < 5; ++k)
    normalise(prepare(dataset->image(seen.samples[k]), small), small,
              std::span(expected).subspan(k * 192, 192));
  CHECK(seen.pixels == expected);
}

TEST_CASE("loader: the same for any number of workers, with and without memory, epoch by epoch") {
  for (const Augment& augment : {Augment{}, Augment{.flip = true}, Augment{.flip = true, .crop = true}}) {
    std::vector<Seen> reference;
    for (const int workers : {0, 1, 2, 5})
      for (const size_t cache : {size_t{0}, size_t{1} << 20}) {
        CAPTURE(workers);
        CAPTURE(cache);
        Loader loader(std::make_shared<Counted>(23), first(23), small,
                      {.batch_size = 4,
                       .shuffle = true,
                       .seed = 9,
                       .augment = augment,
                       .workers = workers,
                       .cache_bytes = cache});
        std::vector<Seen> epochs;
        for (const int64_t e : {0, 1, 5, 0}) epochs.push_back(epoch(loader, e));
        if (reference.empty()) reference = epochs;
        CHECK(epochs == reference);
      }
    CHECK(reference[0] == reference[3]);
    CHECK(reference[0].samples != reference[1].samples);
    std::vector<int64_t> sorted = reference[1].samples;
    std::sort(sorted.begin(), sorted.end());
    CHECK(sorted == first(23));
  }
}

TEST_CASE("loader: pixels are the bytes of which the images are made") {
  for (const Augment& augment : {Augment{}, Augment{.flip = true}, Augment{.flip = true, .crop = true}}) {
    LoaderOptions options{.batch_size = 4, .shuffle = true, .seed = 7, .augment = augment, .max_bad = 3};
    for (const size_t cache : {size_t{0}, size_t{1} << 20}) {
      options.cache_bytes = cache;
      options.as_bytes = false;
      Loader images(std::make_shared<Counted>(10), first(10), small, options);
      options.as_bytes = true;
      Loader pixels(std::make_shared<Counted>(10), first(10), small, options);
      for (const int64_t e : {0, 1}) {
        images.start_epoch(e);
        pixels.start_epoch(e);
        for (Batch a, b; images.next(a);) {
          REQUIRE(pixels.next(b));
          REQUIRE(!b.images.defined());
          CHECK(b.samples == a.samples);
          const Tensor made = planes(b.pixels, values_of_bytes(small));
          CHECK(std::ranges::equal(made.data<float>(), a.images.data<float>()));
        }
      }
    }
  }
}

TEST_CASE("loader: a sample's augmentation depends on its number, not on its place") {
  const LoaderOptions options{.batch_size = 5, .seed = 3, .augment = {.flip = true, .crop = true}};
  Loader all(std::make_shared<Counted>(10), first(10), small, options);
  Loader some(std::make_shared<Counted>(10), {7, 3}, small, options);
  const Seen a = epoch(all, 4), b = epoch(some, 4);
  CHECK(std::equal(b.pixels.begin(), b.pixels.begin() + 192, a.pixels.begin() + 7 * 192));
  CHECK(std::equal(b.pixels.begin() + 192, b.pixels.end(), a.pixels.begin() + 3 * 192));
  const Seen other = epoch(some, 5);
  CHECK(other.pixels != b.pixels);
}

TEST_CASE("loader: skip resumes inside an epoch") {
  for (const int workers : {0, 2}) {
    const LoaderOptions options{.batch_size = 3,
                                .shuffle = true,
                                .seed = 2,
                                .augment = {.flip = true, .crop = true},
                                .workers = workers};
    Loader whole(std::make_shared<Counted>(10), first(10), small, options);
    const Seen all = epoch(whole, 2);
    for (int64_t skipped = 0; skipped <= 4; ++skipped) {
      const auto dataset = std::make_shared<Counted>(10);
      Loader resumed(dataset, first(10), small, options);
      resumed.start_epoch(2);
      resumed.skip(skipped);
      CHECK(resumed.position() == skipped);
      const Seen part = rest(resumed);
      const int64_t samples = std::min<int64_t>(10, 3 * skipped);
      CHECK(std::equal(part.samples.begin(), part.samples.end(), all.samples.begin() + samples,
                       all.samples.end()));
      CHECK(std::equal(part.pixels.begin(), part.pixels.end(), all.pixels.begin() + samples * 192,
                       all.pixels.end()));
      CHECK(dataset->decoded == 10 - samples);  // nothing was decoded in vain
      CHECK_THROWS_AS(resumed.skip(1), Error);
    }
    whole.start_epoch(0);
    CHECK_THROWS_AS(whole.skip(5), Error);
    CHECK_THROWS_AS(whole.skip(-1), Error);
  }
}

TEST_CASE("loader: later epochs decode nothing again, unless crops or the limit ask for it") {
  const auto decodings = [](const Augment& augment, size_t cache) {
    const auto dataset = std::make_shared<Counted>(10);
    Loader loader(dataset, first(10), small,
                  {.batch_size = 3, .augment = augment, .workers = 2, .cache_bytes = cache});
    for (int64_t e = 0; e < 3; ++e) epoch(loader, e);
    return dataset->decoded.load();
  };
  CHECK(decodings({.flip = true}, 10 * 192) == 10);
  CHECK(decodings({.flip = true}, 10 * 192 - 1) == 30);
  CHECK(decodings({.crop = true}, 1 << 20) == 30);
}

TEST_CASE("loader: damaged images are errors, or left out and listed") {
  for (const int workers : {0, 1, 3}) {
    CAPTURE(workers);
    const std::set<int64_t> damaged{1, 6, 7, 8};
    const auto dataset = std::make_shared<Counted>(12, damaged);
    const auto loader_with = [&](int64_t max_bad, std::vector<std::string>* told = nullptr) {
      LoaderOptions options{.batch_size = 3, .workers = workers, .max_bad = max_bad};
      if (told) options.on_bad = [told](const std::string& message) { told->push_back(message); };
      return Loader(dataset, first(12), small, options);
    };
    Loader strict = loader_with(0);
    strict.start_epoch(0);
    Batch batch;
    try {
      strict.next(batch);
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(std::string(error.what()) == "picture 1 is damaged; --max-bad N leaves such out");
    }
    CHECK_THROWS_AS(strict.next(batch), Error);  // the epoch is over

    std::vector<std::string> told;
    Loader tolerant = loader_with(4, &told);
    for (int64_t e = 0; e < 2; ++e) {
      const Seen seen = epoch(tolerant, e);
      CHECK(seen.samples == std::vector<int64_t>{0, 2, 3, 4, 5, 9, 10, 11});
      CHECK(seen.labels == std::vector<int64_t>{0, 2, 0, 1, 2, 0, 1, 2});
      CHECK(seen.sizes == std::vector<int64_t>{2, 3, 3});  // the batch of 6, 7, 8 is gone
      CHECK(tolerant.position() == 4);
    }
    CHECK(told.size() == 4);
    REQUIRE(tolerant.bad().size() == 4);
    CHECK(tolerant.bad()[1].sample == 6);
    CHECK(tolerant.bad()[1].message == "picture 6 is damaged");

    Loader limited = loader_with(2);
    try {
      epoch(limited, 0);
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(std::string(error.what()).starts_with("picture 7 is damaged (2 "));
    }
  }
}

TEST_CASE("loader: lack of memory is never taken for a damaged image") {
  for (const int workers : {0, 2}) {
    Loader loader(std::make_shared<Counted>(4, std::set<int64_t>{2}, Fault::resources), first(4), small,
                  {.batch_size = 2, .workers = workers, .max_bad = 100});
    loader.start_epoch(0);
    Batch batch;
    CHECK(loader.next(batch));
    CHECK_THROWS_AS(loader.next(batch), Error);
  }
}

TEST_CASE("loader: batches come from the given memory, and few are alive at once") {
  const Memory memory = Memory::counted();
  {
    Loader loader(std::make_shared<Counted>(64), first(64), small,
                  {.batch_size = 2, .workers = 2, .memory = memory});
    epoch(loader, 0);
    CHECK(memory.statistics().allocations >= 64);
    CHECK(memory.statistics().peak <= 8 * (2 * 192 * 4 + 256));
  }
  CHECK(memory.statistics().current == 0);
}

TEST_CASE("loader: ends cleanly in the middle of an epoch, and may be moved") {
  for (int trial = 0; trial < 20; ++trial) {
    Loader loader(std::make_shared<Counted>(40), first(40), small,
                  {.batch_size = 2, .shuffle = true, .workers = 3});
    loader.start_epoch(0);
    Batch batch;
    for (int k = 0; k < trial % 5; ++k) loader.next(batch);
    if (trial % 2) loader.start_epoch(1);
    if (trial % 3 == 0) loader.next(batch);
    Loader moved = std::move(loader);
    if (trial % 2) CHECK(moved.next(batch));
  }
}

TEST_CASE("loader: options and calls that make no sense") {
  const auto dataset = std::make_shared<Counted>(4);
  const auto make = [&](std::vector<int64_t> indices, const LoaderOptions& options) {
    Loader(dataset, std::move(indices), small, options);
  };
  CHECK_THROWS_AS(make({}, {}), Error);
  CHECK_THROWS_AS(make({4}, {}), Error);
  CHECK_THROWS_AS(make({-1}, {}), Error);
  CHECK_THROWS_AS(make({0}, {.batch_size = 0}), Error);
  CHECK_THROWS_AS(make({0}, {.workers = -1}), Error);
  CHECK_THROWS_AS(make({0}, {.max_bad = -1}), Error);
  CHECK_THROWS_AS(Loader(nullptr, {0}, small, {}), Error);
  Loader loader(dataset, {0}, small, {});
  Batch batch;
  CHECK_THROWS_AS(loader.next(batch), Error);
  CHECK_THROWS_AS(loader.start_epoch(-1), Error);
}

TEST_CASE("loader: prepared tensors are copied, or mirrored") {
  class Ready : public Dataset {
   public:
    explicit Ready(Tensor images)
        : Dataset("ready", {0, 1, 0, 1, 1, 0, 0, 1}, {"a", "b"}), images_(std::move(images)) {}
    Image image(int64_t) const override { return {}; }
    std::string name(int64_t) const override { return "ready"; }
    Tensor tensors() const override { return images_; }

   private:
    Tensor images_;
  };
  Tensor images = Tensor::empty({8, 3, 2, 4}, DType::f32);
  std::iota(images.mutable_data<float>().begin(), images.mutable_data<float>().end(), 0.0f);
  const auto dataset = std::make_shared<Ready>(images);
  Loader loader(dataset, first(8), {}, {.batch_size = 3, .augment = {.flip = true}});
  const Seen seen = epoch(loader, 0);
  int mirrored = 0;
  for (size_t i = 0; i < 8; ++i) {
    const bool is_mirrored = seen.pixels[24 * i] != static_cast<float>(24 * i);
    mirrored += is_mirrored;
    for (size_t p = 0; p < 24; ++p) {
      const size_t from = is_mirrored ? p / 4 * 4 + 3 - p % 4 : p;
      CHECK(seen.pixels[24 * i + p] == static_cast<float>(24 * i + from));
    }
  }
  CHECK(mirrored > 0);
  CHECK(mirrored < 8);
  CHECK_THROWS_AS(Loader(dataset, first(8), {}, {.augment = {.crop = true}}), Error);
}

// The sanitizers' own memory would not fit under the limit.
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("loader: a worker that cannot be started is called by its number") {
  // Room for the stacks of a few threads more than there are: the first can start, the last cannot.
  rlimit stack{}, before{};
  REQUIRE(::getrlimit(RLIMIT_STACK, &stack) == 0);
  REQUIRE(::getrlimit(RLIMIT_AS, &before) == 0);
  const rlim_t one = stack.rlim_cur == RLIM_INFINITY ? rlim_t{8} << 20 : stack.rlim_cur;
  rlim_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  REQUIRE(pages > 0);
  Loader loader(std::make_shared<Counted>(4), first(4), small, {.batch_size = 2, .workers = 250});
  loader.start_epoch(0);
  rlimit few = before;
  few.rlim_cur = pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + 4 * one;
  REQUIRE(::setrlimit(RLIMIT_AS, &few) == 0);
  std::string message;
  Fault fault = Fault::input;
  try {
    Batch batch;
    loader.next(batch);
  } catch (const Error& error) {
    message = error.what();
    fault = error.fault();
  }
  REQUIRE(::setrlimit(RLIMIT_AS, &before) == 0);
  const std::string start = "loader: cannot start worker ";
  REQUIRE(message.starts_with(start));
  CHECK(fault == Fault::resources);
  const int number = std::stoi(message.substr(start.size()));
  CHECK(number > 1);
  CHECK(number <= 250);
}
#endif

TEST_CASE("loader: parts of a batch hold its wanted rows, also where a damaged image moved the others") {
  for (const bool with_damage : {false, true})
    for (const int workers : {0, 2}) {
      CAPTURE(with_damage);
      CAPTURE(workers);
      const std::set<int64_t> damaged = with_damage ? std::set<int64_t>{2, 3, 11} : std::set<int64_t>{};
      LoaderOptions options{
          .batch_size = 5, .shuffle = true, .seed = 3, .augment = {.flip = true}, .max_bad = 3};
      options.workers = workers;
      Loader whole(std::make_shared<Counted>(13, damaged), first(13), small, options);
      // Rows by turns; what is damaged is known to both.
      std::vector<std::shared_ptr<Counted>> sets;
      std::vector<Loader> parts;
      for (const int64_t part : {0, 1}) {
        options.wanted = [=](int64_t row, int64_t) { return row % 2 == part; };
        options.all_damaged = [=](const std::vector<BadImage>& here) {
          for (const BadImage& image : here) CHECK(damaged.contains(image.sample));
          std::vector<BadImage> all;
          for (const int64_t i : damaged) all.push_back({i, text("picture {} is damaged", i)});
          return all;
        };
        sets.push_back(std::make_shared<Counted>(13, damaged));
        parts.emplace_back(sets.back(), first(13), small, options);
      }
      for (const int64_t e : {0, 1}) {
        whole.start_epoch(e);
        for (Loader& part : parts) part.start_epoch(e);
        for (Batch batch; whole.next(batch);) {
          Batch own[2];
          for (size_t p = 0; p < 2; ++p) {
            REQUIRE(parts[p].next(own[p]));
            CHECK(own[p].samples == batch.samples);
            CHECK(std::ranges::equal(own[p].labels.data<int64_t>(), batch.labels.data<int64_t>()));
          }
          const auto count = static_cast<int64_t>(batch.samples.size());
          CHECK(own[0].images.dim(0) == (count + 1) / 2);
          for (int64_t row = 0; row < count; ++row)
            CHECK(std::ranges::equal(own[row % 2].images.rows(row / 2, row / 2 + 1).data<float>(),
                                     batch.images.rows(row, row + 1).data<float>()));
        }
        Batch none;
        for (Loader& part : parts) CHECK_FALSE(part.next(none));
        if (e == 0 && !with_damage) {  // of batches of 5, 5 and 3; later epochs find some that are kept
          CHECK(sets[0]->decoded == 3 + 3 + 2);
          CHECK(sets[1]->decoded == 2 + 2 + 1);
        }
      }
      for (size_t p = 0; p < 2; ++p) CHECK(parts[p].bad().size() == damaged.size());
    }
  CHECK_THROWS_AS(Loader(std::make_shared<Counted>(3), first(3), small,
                         {.wanted = [](int64_t, int64_t) { return true; }}),
                  Error);
}
