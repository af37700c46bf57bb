// loader.h: batches, decoded and augmented ahead of the training loop by worker threads.
//
//   Loader loader(dataset, indices, preprocess, {.batch_size = 64, .shuffle = true, .seed = 1});
//   for (int64_t epoch = 0; epoch < epochs; ++epoch) {
//     loader.start_epoch(epoch);
//     for (Batch batch; loader.next(batch);) step(batch.images, batch.labels);
//   }
//
// What a sample looks like depends on (seed, epoch, sample) alone, and the order on (seed, epoch):
// never on the number of workers, nor on whether earlier epochs were run. Thus skip() resumes in
// the middle of an epoch.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/prepared.h"
#include "data/preprocess.h"
#include "engine/check.h"
#include "engine/tensor.h"

namespace vitrine {

struct Batch {
  Tensor images;  // (B, 3, H, W) f32 (only the wanted ones: LoaderOptions::wanted), or ...
  Tensor pixels;  // ... (B, H, W, 3) u8 (LoaderOptions::as_bytes); neither if all samples are known
  Tensor labels;  // (B) i64
  std::vector<int64_t> samples;  // the data set's numbers of the B images
};

struct BadImage {
  int64_t sample;
  std::string message;
  Fault fault = Fault::input;
};
// Throws what a damaged image is to those who left out `before` others already and may leave out no more.
[[noreturn]] void fail_for(const BadImage& image, int64_t before);

struct LoaderOptions {
  int64_t batch_size = 32;  // the last batch of an epoch holds what is left
  bool shuffle = false;     // another order in each epoch; otherwise that of `indices`
  uint64_t seed = 0;
  Augment augment{};
  int workers = 1;      // threads; 0: all work is done inside next()
  int64_t max_bad = 0;  // how many different damaged images may be left out before one is an error
  // told once of each image left out, inside next()
  std::function<void(const std::string& message)> on_bad{};
  // Prepared images are kept as bytes if all of them fit in here, unless augment.crop or
  // augment.shift makes them anew each time.
  size_t cache_bytes = size_t{256} << 20;
  Memory memory{};  // where batches are allocated
  // Batches hold pixels instead of images, which planes() can make of them (preprocess.h: values_of_bytes). Not where
  // the data set's images are numbers already.
  bool as_bytes = false;
  // Prepared images that several loaders of one data set share, in place of a cache of its own; null: none.
  std::shared_ptr<PreparedImages> prepared{};
  // Tells samples whose pixels are not needed any more: a batch of such samples alone has no images. Asked by
  // the workers.
  std::function<bool(int64_t sample)> known{};
  // For several processes that load the same batches, each a part of the images: whether row `row` of a batch of so many
  // is wanted here. No other is decoded, and `images` or `pixels` hold the wanted rows alone, one after the other (none:
  // they are undefined); samples and labels are those of the whole batch. Asked by the workers. With it goes
  // `all_damaged`, asked once for each batch inside next(): of the wanted images those that are damaged in, those of all
  // processes out. So all of them leave out the same images, and count alike.
  std::function<bool(int64_t row, int64_t rows)> wanted{};
  std::function<std::vector<BadImage>(const std::vector<BadImage>& here)> all_damaged{};
};

class Loader {
 public:
  // `indices` are samples of `dataset`. Throws if they are none or out of range, or an option makes no sense.
  Loader(std::shared_ptr<const Dataset> dataset, std::vector<int64_t> indices, const Preprocess& preprocess,
         const LoaderOptions& options);
  ~Loader();  // stops and joins the workers
  Loader(Loader&&) noexcept;
  Loader& operator=(Loader&&) noexcept;

  int64_t samples() const;  // per epoch
  int64_t batches() const;  // per epoch

  // Begins an epoch, whatever became of the last one.
  void start_epoch(int64_t epoch);
  // Leaves out the first batches of the epoch without decoding them. Only directly after start_epoch.
  void skip(int64_t batches);
  // The next batch; false at the end of the epoch. A batch is smaller by the damaged images left out of it;
  // if none remain, the batch after it is given. Throws the damaged image's Error if more than max_bad are;
  // the epoch is over then.
  bool next(Batch& batch);
  // How many batches of this epoch are behind us: what skip() needs to come back here.
  int64_t position() const;

  // The damaged images left out so far, in the order of their discovery.
  const std::vector<BadImage>& bad() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vitrine
