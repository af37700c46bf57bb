// dataset.h: labelled pictures, wherever they come from.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/image.h"
#include "engine/tensor.h"

namespace vitrine {

// `all` is every split that there is, train first; `train_val` is train and then val, or train alone where there is no
// val: what a method learns from once its settings are chosen.
enum class Split { train, val, test, all, train_val };
const char* name_of(Split split);

// An immutable list of labelled pictures; all functions may be called from several threads at once.
class Dataset {
 public:
  virtual ~Dataset() = default;

  int64_t size() const { return static_cast<int64_t>(labels_.size()); }
  int64_t classes() const { return static_cast<int64_t>(class_names_.size()); }
  int64_t label(int64_t i) const;  // 0 .. classes() - 1
  const std::vector<int64_t>& labels() const { return labels_; }
  const std::vector<std::string>& class_names() const { return class_names_; }

  // Picture i, decoded on demand. Throws Error{Fault::input} naming it if it is damaged.
  virtual Image image(int64_t i) const = 0;
  // What messages call picture i, e.g. its path.
  virtual std::string name(int64_t i) const = 0;
  // What tells picture i from others at low cost, wherever the data lies: for files the path inside the data
  // set and the size in bytes, otherwise the name.
  virtual std::string mark(int64_t i) const { return name(i); }
  // The same at the cost of reading it: for files a digest of the bytes as well, otherwise the mark.
  virtual std::string fingerprint(int64_t i) const { return mark(i); }
  // Pictures that are already prepared and normalised, f32 (N, 3, H, W); undefined for all formats but
  // `tensors:`, whose image() throws instead.
  virtual Tensor tensors() const { return {}; }

 protected:
  // Checks that there is at least one sample and class, every label's range, and that the class names are
  // UTF-8, as the JSON that they go into; `who` opens the sentence.
  Dataset(const std::string& who, std::vector<int64_t> labels, std::vector<std::string> class_names);
  // Throws unless 0 <= i < size().
  size_t checked(int64_t i) const;

 private:
  std::string who_;
  std::vector<int64_t> labels_;
  std::vector<std::string> class_names_;
};

struct OpenOptions {
  // Turn photos as their EXIF block asks (folder:, vtab: and fgvc: only); a task remembers it (preprocess.h).
  bool exif = false;
  // Remarks that are no errors: while a data set is opened, what its folders hold and is left out; later, perhaps from a
  // loader's thread, the first photo with an EXIF orientation that is not applied.
  std::function<void(const std::string&)> note{};
};

// Opens `scheme:where`:
//   folder:DIR         class folders of .jpg, .jpeg, .png, .bmp files, directly in DIR (all of them are the
//                      train split) or below DIR/train, DIR/val, DIR/test; classes in bytewise order, the
//                      train split names them
//   fashion-mnist:DIR  the four IDX files, plain or .gz; splits train and test
//   cifar10:DIR, cifar100:DIR
//                      the binary versions (fine labels); splits train and test
//   tensors:FILE       safetensors with `images` f32 (N, 3, H, W), ready for the network, and `labels`
//                      i64 (N); class names as a JSON list in the metadata entry `classes`, if there;
//                      serves as any split
//   vtab:DIR           VTAB-1k as lists: DIR/train800.txt, val200.txt, train800val200.txt and test.txt, each line a
//                      path and a label. Paths start in DIR/images or in DIR, whichever has the list's first
//                      picture. Splits train, val, train_val (its own list if there is one, else the first two)
//                      and test; classes 0 to the greatest label of all lists, named by DIR/classes.txt (a name a
//                      line) if there
//   fgvc:DIR           the paper's fine-grained tasks: DIR/train.json, val.json and test.json, each an object
//                      {"path": class, ...}. Paths start in DIR/images, DIR/Images or DIR, whichever has the
//                      first picture; the classes of all splits together, ascending, become 0, 1, ...
//   synthetic:NAME     made up, no files: `shapes`, `stripes`, `colors`; 32 x 32; train 1000, val 200,
//                      test 500 samples
//   mini:NAME          tasks in the manner of VTAB-1k, drawn by formulas, no files: data/mini.h lists them; 32 x 32;
//                      train 800, val 200, test 2000 samples, or N after mini:NAME?test=N
// Pictures that are files are looked for when the data set is opened. A split that the data set lacks is an error that
// says so. Without VITRINE_FILES only `synthetic:` and `mini:` can be opened.
std::shared_ptr<const Dataset> open_dataset(const std::string& spec, Split split,
                                            const OpenOptions& options = {});

// Whether the data set has this split of its own: for `tensors:`, which opens as any split, only train.
// All have train, train_val and all. Throws for an unknown scheme, not for a place that does not exist.
bool has_split(const std::string& spec, Split split);

// The same data set where a relative DIR or FILE starts in `folder`. Throws for an unknown scheme.
std::string spec_below(const std::string& spec, const std::string& folder);

// Pictures that the caller has in memory. Without class names the classes are called 0, 1, ...
std::shared_ptr<const Dataset> memory_dataset(std::vector<Image> images, std::vector<int64_t> labels,
                                              std::vector<std::string> class_names = {});

}  // namespace vitrine
