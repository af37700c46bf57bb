// loader.cpp: workers claim whole batches in order and put them into a small ring; next()
// takes them out in order.
#include "data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>
#include <system_error>
#include <thread>

#include "engine/check.h"

namespace vitrine {
namespace {

// What making one batch gave. Damaged images are judged later, by next(), in the order of batches: so which
// of them is reported does not depend on the workers.
struct Made {
  Batch batch;
  std::vector<BadImage> damaged;
  std::exception_ptr failure;  // anything else that went wrong
};

}  // namespace

struct Loader::State {
  std::shared_ptr<const Dataset> dataset;
  std::vector<int64_t> indices;
  Preprocess preprocess;
  LoaderOptions options;
  Tensor ready_images;  // of the data set, if it has them
  // by place in `indices`; empty if it does not fit. An image without pixels is not there yet
  std::vector<Image> cache;

  int64_t epoch = -1;          // -1: none begun, or given up after an error
  std::vector<int64_t> order;  // places in `indices`
  int64_t batches = 0;
  std::vector<BadImage> bad;
  std::set<int64_t> bad_samples;

  std::vector<std::thread> threads;
  std::mutex mutex;  // guards what follows
  std::condition_variable room, made;
  int64_t position = 0;  // the batch that next() gives next
  int64_t claimed = 0;   // the batch that a worker makes next
  bool stopping = false;
  std::vector<std::optional<Made>> ring;  // batch b at b % size

  ~State() { stop(); }

  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    room.notify_all();
    for (std::thread& thread : threads) thread.join();
    threads.clear();
    for (auto& slot : ring) slot.reset();
    stopping = false;
  }

  // Ends the epoch after an error. The workers read the epoch's number until they are joined.
  void give_up() {
    stop();
    epoch = -1;
  }

  void start() {
    claimed = position;
    try {
      while (static_cast<int>(threads.size()) < options.workers) threads.emplace_back([this] { work(); });
    } catch (const std::system_error& error) {
      const size_t number = threads.size() + 1;  // stop() clears the list
      stop();
      fail(Fault::resources, "loader: cannot start worker {}: {}", number, error.what());
    }
  }

  void work() {
    const auto slots = static_cast<int64_t>(ring.size());
    for (std::unique_lock lock(mutex);;) {
      room.wait(lock, [&] { return stopping || claimed >= batches || claimed < position + slots; });
      if (stopping || claimed >= batches) return;
      const int64_t b = claimed++;
      lock.unlock();
      Made result = make(b);
      lock.lock();
      ring[static_cast<size_t>(b % slots)] = std::move(result);
      made.notify_one();
    }
  }

  Made take() {
    if (options.workers == 0) return make(position++);
    if (threads.empty()) start();
    std::unique_lock lock(mutex);
    auto& slot = ring[static_cast<size_t>(position) % ring.size()];
    made.wait(lock, [&] { return slot.has_value(); });
    Made result = std::move(*slot);
    slot.reset();
    ++position;
    room.notify_all();
    return result;
  }

  Made make(int64_t b) {
    Made result;
    try {
      fill(b, result);
    } catch (...) {
      result.failure = std::current_exception();
    }
    return result;
  }

  // The places of batch b, in its order.
  std::vector<size_t> places_of(int64_t b) const {
    const int64_t begin = b * options.batch_size;
    const int64_t end = std::min(begin + options.batch_size, static_cast<int64_t>(order.size()));
    return {order.begin() + begin, order.begin() + end};
  }

  void fill(int64_t b, Made& result) {
    const std::vector<size_t> places = places_of(b);
    const auto count = static_cast<int64_t>(places.size());
    const auto wanted = [&](int64_t row) { return !options.wanted || options.wanted(row, count); };
    const bool known = options.known && std::ranges::all_of(places, [&](size_t place) {
                         return options.known(indices[place]);
                       });
    int64_t rows_wanted = 0, row = 0;
    for (int64_t k = 0; k < count && !known; ++k) rows_wanted += wanted(k) ? 1 : 0;
    Tensor rows = rows_wanted > 0 ? empty_rows(rows_wanted) : Tensor();
    std::vector<size_t> kept;
    for (int64_t k = 0; k < count; ++k) {
      const size_t place = places[static_cast<size_t>(k)];
      try {
        if (!known && wanted(k)) fill_row(place, rows, row++);
      } catch (const Error& error) {
        if (error.fault() == Fault::resources) throw;
        result.damaged.push_back({indices[place], error.what(), error.fault()});
        --row;
        continue;
      }
      kept.push_back(place);
    }
    put_in(result.batch, kept, row == rows_wanted ? rows : row > 0 ? rows.rows(0, row) : Tensor());
  }

  // Batch b anew without the images that are damaged for any process.
  Batch without(int64_t b, const std::vector<BadImage>& damaged) {
    std::vector<size_t> kept = places_of(b);
    std::erase_if(kept, [&](size_t place) {
      return std::ranges::find(damaged, indices[place], &BadImage::sample) != damaged.end();
    });
    const auto count = static_cast<int64_t>(kept.size());
    std::vector<size_t> wanted;
    for (int64_t k = 0; k < count; ++k)
      if (options.wanted(k, count)) wanted.push_back(kept[static_cast<size_t>(k)]);
    Tensor rows = wanted.empty() ? Tensor() : empty_rows(static_cast<int64_t>(wanted.size()));
    for (size_t row = 0; row < wanted.size(); ++row) fill_row(wanted[row], rows, static_cast<int64_t>(row));
    Batch batch;
    put_in(batch, kept, rows);
    return batch;
  }

  void put_in(Batch& batch, const std::vector<size_t>& kept, const Tensor& rows) const {
    if (kept.empty()) return;
    std::vector<int64_t> labels;
    for (const size_t place : kept) {
      batch.samples.push_back(indices[place]);
      labels.push_back(dataset->label(indices[place]));
    }
    (bytes() ? batch.pixels : batch.images) = rows;
    batch.labels = Tensor::of(Shape{static_cast<int64_t>(kept.size())}, std::span<const int64_t>(labels),
                              options.memory);
  }

  bool bytes() const { return options.as_bytes && !ready_images.defined(); }
  Tensor empty_rows(int64_t count) const {
    const int64_t side = preprocess.size;
    if (bytes()) return Tensor::empty({count, side, side, 3}, DType::u8, options.memory);
    const Shape shape =
        ready_images.defined() ? ready_images.shape().with(0, count) : Shape{count, 3, side, side};
    return Tensor::empty(shape, DType::f32, options.memory);
  }

  void fill_row(size_t place, Tensor& rows, int64_t row) {
    const int64_t sample = indices[place];
    Random random(options.seed, Purpose::augment, static_cast<uint32_t>(epoch),
                  static_cast<uint32_t>(sample));
    const auto length = static_cast<size_t>(rows.shape().columns_from(1));
    const auto own = [&](auto all) { return all.subspan(static_cast<size_t>(row) * length, length); };
    if (ready_images.defined()) {
      const auto chw = own(rows.mutable_data<float>());
      const auto from =
          ready_images.data<float>().subspan(static_cast<size_t>(sample) * chw.size(), chw.size());
      std::copy(from.begin(), from.end(), chw.begin());
      const auto width = static_cast<std::ptrdiff_t>(ready_images.dim(3));
      if (options.augment.flip && random.chance(0.5))
        for (auto line = chw.begin(); line != chw.end(); line += width) std::reverse(line, line + width);
      return;
    }
    const auto put = [&](const Image& image) {
      if (bytes())
        std::ranges::copy(image.rgb, own(rows.mutable_data<uint8_t>()).begin());
      else
        normalise(image, preprocess, own(rows.mutable_data<float>()));
    };
    if (options.prepared && !options.augment.changes_size_or_place()) {
      const std::shared_ptr<const Image> kept = options.prepared->image(sample);
      if (options.augment.flip && random.chance(0.5))
        put(flip(*kept));
      else
        put(*kept);
    } else if (cache.empty()) {
      put(augment(dataset->image(sample), preprocess, options.augment, random));
    } else {
      // Each place belongs to one worker, and epochs to other threads: no lock is needed. The flip is the
      // first number drawn, as in augment().
      Image& kept = cache[place];
      if (kept.rgb.empty()) kept = prepare(dataset->image(sample), preprocess);
      if (options.augment.flip && random.chance(0.5))
        put(flip(kept));
      else
        put(kept);
    }
  }

  // Notes a damaged image, or throws its error if there were enough of them.
  void judge(const BadImage& image) {
    if (bad_samples.contains(image.sample)) return;
    if (static_cast<int64_t>(bad.size()) >= options.max_bad) {
      give_up();
      fail_for(image, static_cast<int64_t>(bad.size()));
    }
    bad_samples.insert(image.sample);
    bad.push_back(image);
    if (options.on_bad) options.on_bad(image.message);
  }
};

void fail_for(const BadImage& image, int64_t before) {
  if (before == 0) fail(image.fault, "{}; --max-bad N leaves such out", image.message);
  fail(image.fault, "{} ({} damaged images were left out before, no more may be; --max-bad N allows N)",
       image.message, before);
}

Loader::Loader(std::shared_ptr<const Dataset> dataset, std::vector<int64_t> indices,
               const Preprocess& preprocess, const LoaderOptions& options)
    : state_(std::make_unique<State>()) {
  check(dataset != nullptr, "loader: no data set");
  check(!indices.empty(), "loader: no samples to load");
  for (const int64_t i : indices)
    check(i >= 0 && i < dataset->size(), "loader: sample {} of a data set of {}", i, dataset->size());
  check(dataset->size() <= int64_t{UINT32_MAX} && indices.size() <= UINT32_MAX,
        "loader: more than 2^32 samples");
  check(options.batch_size >= 1 && options.batch_size <= 1 << 20,
        "loader: expected a batch size of 1 to 1048576, got {}", options.batch_size);
  check(options.workers >= 0 && options.workers <= 256, "loader: expected 0 to 256 workers, got {}",
        options.workers);
  check(options.max_bad >= 0, "loader: expected max_bad >= 0, got {}", options.max_bad);
  check(!options.wanted == !options.all_damaged && !(options.wanted && options.known),
        "loader: `wanted` goes together with `all_damaged` and without `known`");
  check_preprocess(preprocess);
  check_augment(options.augment, preprocess);
  State& s = *state_;
  s.ready_images = dataset->tensors();
  check(!s.ready_images.defined() || !options.augment.changes_size_or_place(),
        "loader: random crops and shifts need pictures, but this data set holds images that are prepared "
        "already");
  s.dataset = std::move(dataset);
  s.indices = std::move(indices);
  s.preprocess = preprocess;
  s.options = options;
  s.batches = (samples() + options.batch_size - 1) / options.batch_size;
  s.ring.resize(static_cast<size_t>(options.workers) + 1);
  const size_t bytes = static_cast<size_t>(preprocess.size) * static_cast<size_t>(preprocess.size) * 3;
  check(!options.prepared || (&options.prepared->dataset() == s.dataset.get() &&
                              to_json(options.prepared->preprocess()) == to_json(preprocess)),
        "loader: the prepared images are of other data");
  if (!options.prepared && !s.ready_images.defined() && !options.augment.changes_size_or_place() &&
      s.indices.size() <= options.cache_bytes / bytes)
    s.cache.resize(s.indices.size());
}

Loader::~Loader() = default;
Loader::Loader(Loader&&) noexcept = default;
Loader& Loader::operator=(Loader&&) noexcept = default;

int64_t Loader::samples() const { return static_cast<int64_t>(state_->indices.size()); }
int64_t Loader::batches() const { return state_->batches; }
const std::vector<BadImage>& Loader::bad() const { return state_->bad; }

int64_t Loader::position() const {
  const std::lock_guard lock(state_->mutex);
  return state_->position;
}

void Loader::start_epoch(int64_t epoch) {
  check(epoch >= 0 && epoch <= int64_t{UINT32_MAX}, "loader: expected an epoch of 0 to 2^32 - 1, got {}",
        epoch);
  State& s = *state_;
  s.stop();
  s.epoch = epoch;
  s.position = 0;
  s.order.resize(s.indices.size());
  std::iota(s.order.begin(), s.order.end(), int64_t{0});
  if (s.options.shuffle)
    Random(s.options.seed, Purpose::order, static_cast<uint32_t>(epoch)).shuffle(s.order);
}

void Loader::skip(int64_t batches) {
  State& s = *state_;
  check(s.epoch >= 0 && s.position == 0 && s.threads.empty(),
        "loader: skip comes directly after start_epoch");
  check(batches >= 0 && batches <= s.batches, "loader: cannot skip {} of {} batches", batches, s.batches);
  s.position = batches;
}

bool Loader::next(Batch& batch) {
  State& s = *state_;
  check(s.epoch >= 0, "loader: next needs start_epoch first");
  batch = {};  // gives its memory back before the next one is waited for
  while (s.position < s.batches) {
    Made made = s.take();
    if (made.failure) {
      s.give_up();
      std::rethrow_exception(made.failure);
    }
    if (s.options.all_damaged) {
      made.damaged = s.options.all_damaged(made.damaged);
      if (!made.damaged.empty()) made.batch = s.without(position() - 1, made.damaged);
    }
    for (const BadImage& image : made.damaged) s.judge(image);
    if (made.batch.samples.empty()) continue;
    batch = std::move(made.batch);
    return true;
  }
  return false;
}

}  // namespace vitrine
