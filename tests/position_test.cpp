// position_test.cpp: position embeddings of other sizes against PyTorch (golden/make_positions.py) and known rows.
#include <algorithm>
#include <cstdio>
#include <numeric>

#include "engine/containers/tensor_file.h"
#include "models/backbone.h"
#include "models/checkpoints/checkpoint.h"
#include "models/checkpoints/position.h"
#include "models/training/pretrained.h"
#include "models/training/tune.h"
#include "tests/golden/numbers.h"
#include "tests/op_checks.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

constexpr PositionFilter antialias = PositionFilter::bicubic_antialias;

std::string dialect_path(const std::string& file) { return std::string(VITRINE_GOLDEN "/dialects/") + file; }

Pretrained opened(const std::string& file, const BackboneHints& hints) {
  const std::string path = dialect_path(file);
  return make_pretrained(load_tensors(path), path, hints);
}

std::string refusal(const std::string& file, const BackboneHints& hints) {
  try {
    opened(file, hints);
  } catch (const Error& e) {
    CHECK(e.fault() == Fault::input);
    return e.what();
  }
  return {};
}

}  // namespace

TEST_CASE("positions: every filter is PyTorch's") {
  const TensorFile golden = load_safetensors(VITRINE_GOLDEN "/positions.safetensors");
  size_t filters = 0, others = 0;
  for (const auto& [key, expected] : golden.tensors) {
    CAPTURE(key);
    int prefix = 0, g = 0, n = 0;
    const std::string name = key.substr(0, key.find('.'));
    REQUIRE(std::sscanf(key.c_str() + name.size(), ".%d.%d.%d", &prefix, &g, &n) == 3);
    const auto filter =
        name == "torchvision" ? PositionFilter::bicubic_corners : position_filter_named(name).value();
    (name == "torchvision" ? others : filters) += 1;
    const Tensor embedding = numbers("pos_embed", {1, prefix + g * g, 3});
    const Tensor found = resampled(embedding, prefix, n, filter);
    REQUIRE(found.shape() == expected.shape());
    // PyTorch keeps weights of antialiasing in f32; the rest differs by its rounding alone.
    const double tolerance = filter == antialias ? 1e-6 : 3e-7;
    for (int64_t i = 0; i < found.numel(); ++i) {
      CAPTURE(i);
      CHECK(std::abs(found.data<float>()[static_cast<size_t>(i)] -
                     expected.data<float>()[static_cast<size_t>(i)]) < tolerance);
    }
  }
  CHECK(filters == 12 * all_position_filters.size());
  CHECK(others > 0);
}

TEST_CASE("positions: weights sum to one, and a grid of the same size stays as it is") {
  for (const PositionFilter filter : all_position_filters)
    for (const auto& [g, n] :
         {std::pair<int64_t, int64_t>{14, 24}, {24, 14}, {1, 5}, {5, 1}, {9, 9}, {2, 63}}) {
      const std::vector<Taps> lines = taps(filter, g, n);
      CHECK(lines.size() == static_cast<size_t>(n));
      for (const Taps& line : lines) {
        CHECK(line.first >= 0);
        CHECK(line.first + static_cast<int64_t>(line.weights.size()) <= g);
        CHECK(std::accumulate(line.weights.begin(), line.weights.end(), 0.0) ==
              doctest::Approx(1).epsilon(1e-12));
      }
    }
  const Tensor embedding = numbers("pos_embed", {1, 2 + 49, 5}, DType::f32);
  for (const PositionFilter filter : all_position_filters) {
    if (filter == PositionFilter::bicubic_offset) continue;  // which moves every row a little
    const Tensor same = resampled(embedding, 2, 7, filter);
    CHECK(std::ranges::equal(same.data<float>(), embedding.data<float>()));
  }
  for (const PositionFilter filter : all_position_filters)
    CHECK(position_filter_named(name_of(filter)) == filter);
  CHECK(!position_filter_named("nearest").has_value());
  CHECK_THROWS_AS(taps(antialias, 0, 3), Error);
  CHECK_THROWS_AS(resampled(embedding, 0, 7, antialias), Error);  // 51 rows are no square
  CHECK_THROWS_AS(resampled(embedding, 51, 7, antialias), Error);
  CHECK_THROWS_AS(resampled(Tensor::zeros({1, 4, 2}, DType::i64), 0, 3, antialias), Error);
}

TEST_CASE("positions: every dialect is resampled as its own program does it") {
  using enum PositionFilter;
  const std::pair<const char*, PositionFilter> programs[] = {
      {"timm.safetensors", bicubic_antialias},
      {"deit-distilled.pth", bicubic},
      {"deit-iii.pth", bicubic},
      {"mae.pth", bicubic},
      {"dino.pth", bicubic_offset},
      {"dinov2.pth", bicubic_antialias},  // with registers
      {"google.npz", bilinear_corners},
      {"hf-vit.safetensors", bicubic},
      {"hf-clip.safetensors", bicubic},
      {"hf-siglip.safetensors", bicubic},
      {"clip.pt", bicubic_antialias},
      {"torchvision-vit.pth", bicubic_corners}};
  for (const auto& [file, filter] : programs) {
    CAPTURE(file);
    const Facts facts = canonical_form(load_tensors(dialect_path(file)), {.heads = 2}).facts;
    CHECK(facts.positions == filter);
  }
  CHECK(facts_of_family("deit").positions == bicubic);
  CHECK(facts_of_family("dino").positions == bicubic_offset);
  CHECK(!canonical_form(load_tensors(dialect_path("swin.pth"))).facts.positions.has_value());
}

TEST_CASE("positions: a net for another size has resampled positions and all else as it was") {
  BackboneHints hints{.heads = 2, .config = "deit"};
  const Pretrained before = opened("timm.safetensors", hints);
  hints.image_size = 20;
  const Pretrained after = opened("timm.safetensors", hints);
  const auto &old = before.backbone.file.tensors, &now = after.backbone.file.tensors;
  CHECK(before.positions == "3 x 3; for another --image-size resampled as bicubic");
  CHECK(after.positions == "3 x 3, resampled to 5 x 5 as bicubic");
  REQUIRE(old.size() == now.size());
  for (const auto& [name, tensor] : old) {
    const Tensor expected = name == "pos_embed" ? resampled(tensor, 1, 5, PositionFilter::bicubic) : tensor;
    CHECK(std::ranges::equal(now.at(name).data<float>(), expected.data<float>()));
  }
  CHECK(image_size(after.backbone.config) == 20);
  CHECK(preprocess_of(after.backbone).size == 20);
  CHECK(after.backbone.file.metadata.at("resampled") == "bicubic");
  const Transformer net(after.backbone.config, frozen_weights(after.backbone));
  CHECK(net.logits(numbers("images", {1, 3, 20, 20}, DType::f32)).shape() ==
        Shape{1, class_count(after.backbone.config)});

  // Named filters go before the dialect's; a written file remembers its own program's.
  hints.positions = antialias;
  CHECK(opened("timm.safetensors", hints).positions == "3 x 3, resampled to 5 x 5 as bicubic-antialias");
  TensorFile written = canonical_file(before.backbone);
  const Pretrained again = make_pretrained(written, "written", {.image_size = 20});
  CHECK(again.positions == after.positions);
  CHECK(identity_of(again.backbone) == identity_of(after.backbone));

  // What a task remembers brings the same net back from the file as it was.
  BackboneHints remembered{.heads = 2, .config = "deit"};
  remembered.known = config_to_json(after.backbone.config);
  remembered.known_positions = "bicubic";
  CHECK(identity_of(opened("timm.safetensors", remembered).backbone) == identity_of(after.backbone));
  remembered.known_positions = "bicubic-corners";
  CHECK(identity_of(opened("timm.safetensors", remembered).backbone) != identity_of(after.backbone));
  written.metadata["positions"] = "nearest";
  CHECK_THROWS_WITH_AS(make_pretrained(written, "written", {.image_size = 20}),
                       doctest::Contains("resampled as 'nearest', which is not known"), Error);
}

TEST_CASE("positions: a converted file is at every size what its source is") {
  const auto check_sizes = [](const std::string& file, const BackboneHints& told,
                              const std::vector<int64_t>& sizes) {
    CAPTURE(file);
    BackboneHints hints = told;
    hints.as_stored = true;
    const TensorFile converted = canonical_file(opened(file, hints).backbone);
    hints.as_stored = false;
    for (const int64_t size : sizes) {
      CAPTURE(size);
      hints.image_size = size;
      const Pretrained source = opened(file, hints),
                       again = make_pretrained(converted, "converted", {.image_size = size});
      CHECK(again.positions == source.positions);
      CHECK(identity_of(again.backbone) == identity_of(source.backbone));
      CHECK(to_json(preprocess_of(again.backbone, size)) == to_json(preprocess_of(source.backbone, size)));
    }
  };
  // At 384 the programs of DeiT and of timm have rules of their own.
  for (const char* family : {"deit", "timm-deit", "mae", "augreg"})
    check_sizes("timm.safetensors", {.heads = 2, .config = family}, {8, 20, 384});
  for (const char* file : {"mae.pth", "dino.pth", "dinov2.pth", "deit-iii.pth", "google.npz", "clip.pt",
                           "torchvision-vit.pth", "moco-v3.pth"})
    check_sizes(file, {.heads = 2}, {8, 20, 384});
  check_sizes("hf-vit.safetensors", {.heads = 2, .config = "google-vit"}, {8, 384});
  for (const char* file :
       {"swin.pth", "timm-swin.safetensors", "torchvision-swin.pth", "hf-swin.safetensors"})
    check_sizes(file, {}, {8, 20, 224, 384});

  BackboneHints large{.heads = 2, .config = "deit", .image_size = 384};
  CHECK(preprocess_of(opened("timm.safetensors", large).backbone).resize ==
        static_cast<int>(256.0 / 224 * 384));
  large.config = "timm-deit";
  CHECK(preprocess_of(opened("timm.safetensors", large).backbone).resize == 384);
  large.image_size = 256;
  CHECK(preprocess_of(opened("timm.safetensors", large).backbone).resize == static_cast<int>(256 / 0.9));
}

TEST_CASE("positions: what cannot be done is refused") {
  BackboneHints hints{.heads = 2, .config = "deit"};
  hints.image_size = 21;
  CHECK(refusal("timm.safetensors", hints) ==
        "--image-size 21: the net's patches have 4 pixels; 20 or 24 are whole patches");
  hints.image_size = 12;
  hints.positions = antialias;
  CHECK(refusal("timm.safetensors", hints).starts_with("--positions: the net was trained for 12 pixels"));
  hints.config = "";
  CHECK(refusal("swin.pth", {.positions = antialias}) == "--positions: a Swin has no position embedding");
  // A file of Vitrine's own whose tensor is not what its configuration says.
  TensorFile file = canonical_file(opened("timm.safetensors", {.heads = 2, .config = "deit"}).backbone);
  file.tensors["pos_embed"] = Tensor::zeros({1, 1 + 16, 16}, DType::f32).seal();
  CHECK_THROWS_WITH_AS(make_pretrained(file, "own", {.image_size = 20}),
                       doctest::Contains("'pos_embed': expected (1, 10, 16), got (1, 17, 16)"), Error);
}
