// fetched_test.cpp: weights that are not in memory: fetched from a host's storage, or from numbers of another type, packed
// within a budget, and never another result.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>

#include "engine/form_budget.h"
#include "models/training/tuner.h"
#include "tests/linear_pass.h"
#include "tests/sine_models.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

// Storage that counts what is read of it, and gives up when it is told to.
struct Storage {
  std::vector<std::byte> bytes;
  size_t read = 0, calls = 0;
  bool broken = false;
  ReadStorage reader() {
    return [this](uint64_t offset, std::span<std::byte> to) {
      if (broken) fail(Fault::output, "the storage is gone");
      REQUIRE(offset + to.size() <= bytes.size());
      std::memcpy(to.data(), bytes.data() + offset, to.size());
      read += to.size();
      ++calls;
    };
  }
};

// A small net's file in that type, and the same numbers in f32.
struct Files {
  TensorFile narrow, wide;
};
Files files_of(TensorFile file, DType dtype) {
  Files out;
  out.narrow.metadata = out.wide.metadata = file.metadata;
  for (const auto& [name, tensor] : file.tensors) {
    out.narrow.tensors[name] = tensor.to(dtype).seal();
    out.wide.tensors[name] = out.narrow.tensors[name].to(DType::f32).seal();
  }
  return out;
}

TensorFile small_vit() {
  return sine_vit(
      {.image_size = 16, .patch = 4, .width = 32, .depth = 3, .heads = 2, .mlp_width = 64, .classes = 0});
}
TensorFile small_swin() {
  SwinConfig config;
  config.image_size = 32;
  config.patch = 4;
  config.width = 16;
  config.depths = {2, 2};
  config.heads = {2, 4};
  config.window = 4;
  config.classes = 0;
  return sine_swin(config);
}

struct Learned {
  std::vector<std::byte> task;
  Tensor logits;
};

Learned learn(const Backbone& backbone, const std::string& method, const Memory& memory = {},
              int64_t recompute = 0) {
  TunerConfig config;
  config.model = method_from_text(method);
  config.model.classes = 3;
  config.recompute = recompute;
  if (config.model.prompts.kind != PromptKind::none) config.model.prompts.count = 2;
  Tuner tuner(backbone, config, memory);
  const Tensor images = sine_image(4, image_size(backbone.config)).to(DType::f32);
  const Tensor labels = Tensor::of<int64_t>({4}, {0, 1, 2, 0});
  for (int step = 0; step < 3; ++step) tuner.step(images, labels, 0.01);
  return {write_safetensors(to_file(tuner.task({"a", "b", "c"}, preprocess_preset("timm-vit")))),
          tuner.logits(images)};
}

bool same(const Learned& a, const Learned& b) { return a.task == b.task && same_bits(a.logits, b.logits); }

}  // namespace

TEST_CASE("fetched: a budget gives what is left, and has back what was given") {
  const auto budget = std::make_shared<FormBudget>(10);
  CHECK(budget->take(4));
  CHECK_FALSE(budget->take(7));
  CHECK_FALSE(budget->take(SIZE_MAX));
  CHECK(budget->take(6));
  budget->give_back(10);
  // Forms of a tensor that is gone count no more.
  const Tensor x = normal({2, 5}, 1, DType::f32);
  const auto large = std::make_shared<FormBudget>(SIZE_MAX);
  {
    const Tensor weight = normal({6, 5}, 0, DType::f32).seal().with_budget(large);
    linear(x, weight, {});
    CHECK(large->used() >= weight.bytes());
  }
  CHECK(large->used() == 0);
}

TEST_CASE("fetched: a tensor is fetched when it is needed, and kept only if its bytes are asked for") {
  const Tensor own = normal({6, 5}, 0, DType::f32);
  size_t fetches = 0;
  const Fetch fetch = [&](size_t offset, std::span<std::byte> to) {
    ++fetches;
    std::memcpy(to.data(), own.raw().data() + offset, to.size());
  };
  const Tensor fetched = Tensor::fetched(own.shape(), DType::f32, fetch);
  CHECK(fetched.sealed());
  CHECK(fetched.resident_bytes() == 0);
  CHECK(same_bits(fetched.at_hand(), own));
  CHECK(same_bits(fetched.rows(2, 4).at_hand(), own.rows(2, 4)));
  CHECK(same_bits(fetched.clone(), own));
  CHECK(same_bits(fetched.to(DType::f64), own.to(DType::f64)));
  CHECK(same_bits(fetched.reshape({30}).rows(7, 9).copied_to({}), own.reshape({30}).rows(7, 9)));
  CHECK(fetched.resident_bytes() == 0);
  CHECK(fetches == 5);
  // Products keep the form alone.
  const Tensor x = normal({3, 5}, 1, DType::f32);
  const Variable expected = linear(x, own, {});
  for (int i = 0; i < 2; ++i) CHECK(same_bits(linear(x, fetched, {}).value(), expected.value()));
  CHECK(fetches == 6);
  CHECK(fetched.resident_bytes() == 0);
  // Who asks for the bytes has them stay.
  CHECK(std::ranges::equal(fetched.data<float>(), own.data<float>()));
  CHECK(std::ranges::equal(fetched.raw(), own.raw()));
  CHECK(fetches == 7);
  CHECK(fetched.resident_bytes() == own.bytes());
  CHECK(fetched.at_hand().shares_block_with(fetched));
  // Copies of the handle for other purposes fetch as well, or have what is there.
  CHECK(same_bits(fetched.with_memory(Memory::counted()).with_one_form(), own));
  CHECK(fetches == 7);
}

TEST_CASE("fetched: what a file stores in 16 bits is packed from there, and learns the same bits") {
  for (const bool swin : {false, true})
    for (const DType type : {DType::f16, DType::bf16}) {
      CAPTURE(swin);
      CAPTURE(name_of(type));
      const Files files = files_of(swin ? small_swin() : small_vit(), type);
      const Memory memory = Memory::counted();
      const Backbone narrow = make_backbone(files.narrow, "net", swin ? 0 : 2, memory),
                     wide = make_backbone(files.wide, "net", swin ? 0 : 2);
      CHECK(identity_of(narrow) == identity_of(wide));
      // Of matrices there is nothing in f32.
      const std::string matrix = swin ? "layers.0.blocks.0.mlp.fc1.weight" : "blocks.0.mlp.fc1.weight";
      for (const char* method : {"vpt-deep", "vpt-shallow", "linear", "full", "bias", "lora-2", "ssf"}) {
        CAPTURE(method);
        CHECK(same(learn(narrow, method), learn(wide, method)));
      }
      CHECK(narrow.file.tensors.at(matrix).resident_bytes() == files.narrow.tensors.at(matrix).bytes());
      for (const Precision precision : {Precision::bf16, Precision::int8})
        CHECK(same(learn(with_precision(narrow, precision), "vpt-deep"),
                   learn(with_precision(wide, precision), "vpt-deep")));
    }
}

TEST_CASE("fetched: whatever the budget, the same bits") {
  for (const bool swin : {false, true}) {
    CAPTURE(swin);
    const Files files = files_of(swin ? small_swin() : small_vit(), DType::f32);
    const Backbone plain = make_backbone(files.wide, "net", swin ? 0 : 2);
    Storage storage{write_safetensors(files.wide)};
    for (const char* method : {"vpt-deep", "vpt-shallow", "full"}) {
      const Learned expected = learn(plain, method);
      std::vector<size_t> read;
      for (const size_t bytes : {size_t{1}, size_t{40000}, SIZE_MAX}) {
        CAPTURE(method);
        CAPTURE(bytes);
        const TensorFile file = read_safetensors(storage.bytes.size(), storage.reader(), "storage");
        const Backbone streamed = with_budget(make_backbone(file, "net", swin ? 0 : 2), bytes);
        storage.read = 0;
        CHECK(same(learn(streamed, method), expected));
        read.push_back(storage.read);
        CHECK(same(learn(streamed, method, {}, 2), expected));
        CHECK(same(learn(with_one_form(streamed), method), expected));
      }
      if (std::string(method) == "full") continue;  // it has weights of its own
      CHECK(read[0] > read[1]);
      CHECK(read[1] > read[2]);
    }
  }
}

TEST_CASE("fetched: without a budget for forms a net takes the memory of a matrix, not of all") {
  const Files files = files_of(small_vit(), DType::f32);
  Storage storage{write_safetensors(files.wide)};
  const Tensor images = sine_image(1, 16).to(DType::f32);
  const auto most = [&](size_t bytes) {
    const Memory memory = Memory::counted();
    const TensorFile file = read_safetensors(storage.bytes.size(), storage.reader(), "storage", memory);
    const Backbone net = with_budget(make_backbone(file, "net", 2, memory), bytes);
    TunedConfig config = method_from_text("linear");
    config.classes = 2;
    const TunedModel model(net, config, 0, DType::f32, memory);
    memory.reset_peak();
    model.logits(images, {.history = false});
    model.logits(images, {.history = false});
    return memory.statistics().peak;
  };
  size_t matrices = 0, largest = 0;
  for (const auto& [name, tensor] : files.wide.tensors)
    if (tensor.shape().rank() == 2) {
      matrices += tensor.bytes();
      largest = std::max(largest, tensor.bytes());
    }
  CHECK(most(SIZE_MAX) > matrices);
  CHECK(most(1) < most(SIZE_MAX) - matrices + 3 * largest);
}

TEST_CASE("fetched: storage that fails is told, and works again when it does") {
  Storage storage{write_safetensors(files_of(small_vit(), DType::f32).wide)};
  const TensorFile file = read_safetensors(storage.bytes.size(), storage.reader(), "storage");
  const Backbone net = with_identity(with_budget(make_backbone(file, "net", 2), 1));
  const Learned expected = learn(net, "vpt-deep");
  storage.broken = true;
  try {
    learn(net, "vpt-deep");
    FAIL("it learned from storage that is gone");
  } catch (const Error& e) {
    CHECK(e.fault() == Fault::output);
    CHECK(std::string(e.what()) == "the storage is gone");
  }
  storage.broken = false;
  CHECK(same(learn(net, "vpt-deep"), expected));
}

TEST_CASE("fetched: two threads on one net within one budget") {
  const Files files = files_of(small_vit(), DType::f16);
  const Backbone net = with_identity(with_budget(make_backbone(files.narrow, "net", 2), 30000));
  const Learned expected = learn(make_backbone(files.wide, "net", 2), "vpt-deep");
  Learned one, two;
  std::thread beside([&] { one = learn(net, "vpt-deep"); });
  two = learn(net, "vpt-deep");
  beside.join();
  CHECK(same(one, expected));
  CHECK(same(two, expected));
}

TEST_CASE("fetched: a file read piece by piece is refused where the whole one is") {
  TensorFile file;
  file.metadata["key"] = "value";
  file.tensors["a"] = normal({2, 3}, 0, DType::f32);
  file.tensors["b"] = Tensor::of<int64_t>({2}, {1, 2});
  const std::vector<std::byte> good = write_safetensors(file);
  const auto message = [](const std::vector<std::byte>& bytes, bool pieces) -> std::string {
    Storage storage{bytes};
    try {
      if (pieces)
        read_safetensors(bytes.size(), storage.reader(), "x");
      else
        read_safetensors(bytes, std::make_shared<int>(), "x");
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  CHECK(message(good, true).empty());
  for (size_t cut = 0; cut < good.size(); ++cut) {
    const std::vector<std::byte> bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(cut));
    CHECK_FALSE(message(bytes, true).empty());
    CHECK(message(bytes, true) == message(bytes, false));
  }
  for (size_t at = 0; at < good.size() - 40; ++at) {
    std::vector<std::byte> bytes = good;
    bytes[at] ^= std::byte{0x11};
    CHECK(message(bytes, true) == message(bytes, false));
  }
}

TEST_CASE("fetched: int8 files hold each matrix as whole numbers and scales, and give these numbers") {
  for (const bool swin : {false, true}) {
    CAPTURE(swin);
    const int64_t heads = swin ? 0 : 2;
    const Backbone plain =
        make_backbone(files_of(swin ? small_swin() : small_vit(), DType::f32).wide, "net", heads);
    const TensorFile written = canonical_file(plain, DType::i8);
    const std::vector<std::byte> bytes = write_safetensors(written);
    const Backbone read = make_backbone(read_safetensors(bytes, std::make_shared<int>(), "net"), "net");
    CHECK(read.stored_types == "f32, i8");
    CHECK(read.file.tensors.size() == plain.file.tensors.size());
    CHECK(identity_of(read) != identity_of(plain));
    Backbone wide = plain;  // the same numbers by the definition
    for (auto& [name, tensor] : wide.file.tensors) {
      CAPTURE(name);
      const Tensor got = read.file.tensors.at(name).at_hand();
      if (tensor.shape().rank() < 2 || !name.ends_with(".weight")) {
        CHECK(same_bits(got, tensor));
        continue;
      }
      Tensor own = Tensor::empty(tensor.shape(), DType::f32);
      const int64_t columns = tensor.numel() / tensor.dim(0);
      double worst = 0;
      for (int64_t r = 0; r < tensor.dim(0); ++r) {
        float most = 0;
        for (int64_t c = 0; c < columns; ++c)
          most = std::max(most, std::abs(tensor.data<float>()[r * columns + c]));
        for (int64_t c = 0; c < columns; ++c) {
          const float value = tensor.data<float>()[r * columns + c], scale = most / 127;
          own.mutable_data<float>()[r * columns + c] =
              scale > 0 ? std::nearbyint(value / scale) * scale + 0.0f : 0;
          worst = std::max(worst,
                           std::abs(static_cast<double>(got.data<float>()[r * columns + c]) - value) / most);
        }
      }
      CHECK(worst < 0.5 / 127 + 1e-6);
      CHECK(same_bits(got, own));
      tensor = own.seal();
    }
    CHECK(identity_of(read) == identity_of(wide));
    CHECK(same(learn(read, "vpt-deep"), learn(wide, "vpt-deep")));
    // Written again it is the same file but for scales that are rounded once more.
    CHECK(canonical_file(read, DType::i8).tensors.size() == written.tensors.size());
    // Through storage, and without its scales.
    Storage storage{bytes};
    const TensorFile pieces = read_safetensors(bytes.size(), storage.reader(), "storage");
    CHECK(same(learn(with_budget(make_backbone(pieces, "net"), 1), "vpt-deep"), learn(wide, "vpt-deep")));
    const std::string matrix = swin ? "layers.0.blocks.0.mlp.fc1.weight" : "blocks.0.mlp.fc1.weight";
    TensorFile broken = written;
    broken.tensors.erase(matrix + ".scales");
    CHECK_THROWS_WITH(make_backbone(broken, "broken"), doctest::Contains("is int8, but there is no"));
    broken = written;
    broken.tensors[matrix + ".scales"] = Tensor::zeros({3}, DType::f32);
    CHECK_THROWS_WITH(make_backbone(broken, "broken"), doctest::Contains("expected f32 (64), got f32 (3)"));
    broken = written;
    broken.tensors[matrix + ".scales"] = Tensor::full({64}, INFINITY, DType::f32);
    CHECK_THROWS_WITH(make_backbone(broken, "broken"), doctest::Contains("expected finite numbers"));
  }
}
