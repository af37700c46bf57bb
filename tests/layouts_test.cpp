// layouts_test.cpp: other programs' layouts of weights against their definition, for elements of every width, and what
// no layout is made of.
#include "models/checkpoints/layouts.h"

#include <algorithm>

#include "models/checkpoints/checkpoint.h"
#include "tests/golden/numbers.h"
#include "tests/op_checks.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

template <class F>
std::string sentence_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    CHECK(e.fault() == Fault::input);
    return e.what();
  }
  return {};
}

// The elements as doubles, whatever their type.
std::vector<double> elements(const Tensor& x) {
  if (!is_floating(x.dtype())) {
    std::vector<double> out;
    for (const std::byte b : x.raw()) out.push_back(std::to_integer<int>(b));
    return out;
  }
  const Tensor wide = x.to(DType::f64);
  return {wide.data<double>().begin(), wide.data<double>().end()};
}

// Numbers that every type here holds exactly.
Tensor counted(const Shape& shape, DType dtype) {
  if (dtype == DType::u8) {
    Tensor out = Tensor::empty(shape, dtype);
    uint8_t next = 0;
    for (uint8_t& value : out.mutable_data<uint8_t>()) value = next++;
    return out.seal();
  }
  Tensor out = Tensor::empty(shape, DType::f64);
  double next = 0;
  for (double& value : out.mutable_data<double>()) {
    value = next;
    next = next < 255 ? next + 1 : 0;
  }
  return out.to(dtype).seal();
}

}  // namespace

TEST_CASE("layouts: each follows its definition, for elements of every width") {
  for (const DType dtype : {DType::u8, DType::f16, DType::bf16, DType::f32, DType::f64})
    for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{1, 1}, {3, 5}, {70, 33}, {300, 2}}) {
      const std::string type(name_of(dtype));
      CAPTURE(type);
      const Tensor matrix = counted({rows, columns}, dtype);
      const std::vector<double> from = elements(matrix), to = elements(laid_out(matrix, Form::matrix, "x"));
      bool same = true;
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c)
          same = same && to[static_cast<size_t>(c * rows + r)] == from[static_cast<size_t>(r * columns + c)];
      CHECK(same);
    }
  const Tensor filters = counted({2, 2, 3, 40}, DType::f32), turned = laid_out(filters, Form::filters, "x");
  CHECK(turned.shape() == Shape{40, 3, 2, 2});
  bool same = true;
  for (int64_t y = 0; y < 2; ++y)
    for (int64_t x = 0; x < 2; ++x)
      for (int64_t c = 0; c < 3; ++c)
        for (int64_t d = 0; d < 40; ++d)
          same = same && turned.data<float>()[static_cast<size_t>(((d * 3 + c) * 2 + y) * 2 + x)] ==
                             filters.data<float>()[static_cast<size_t>(((y * 2 + x) * 3 + c) * 40 + d)];
  CHECK(same);
  // (D, h, hd) -> (h hd, D) and back is what it was.
  const Tensor heads = counted({6, 2, 3}, DType::f32);
  const Tensor in = laid_out(heads, Form::heads_in, "x");
  CHECK(in.shape() == Shape{6, 6});
  CHECK(elements(laid_out(in.reshape({2, 3, 6}), Form::heads_out, "x")) == elements(heads));
  CHECK(laid_out(heads.rows(0, 1).reshape({2, 3}), Form::heads_bias, "x").shape() == Shape{6});
  const Tensor flat = counted({4, 12}, DType::f32), patches = laid_out(flat, Form::patch, "x");
  CHECK(patches.shape() == Shape{4, 3, 2, 2});
  CHECK(patches.shares_block_with(flat));
  CHECK(laid_out(patches, Form::patch, "x").shares_block_with(flat));
  for (const Shape& shape : {Shape{5}, Shape{1, 5}, Shape{1, 1, 5}})
    CHECK(laid_out(counted(shape, DType::f32), Form::token, "x").shape() == Shape{1, 1, 5});
  CHECK(elements(laid_out(flat.reshape({6, 8}), Form::first_third, "x")) ==
        elements(flat.reshape({6, 8}).rows(0, 2)));
  CHECK(elements(laid_out(flat.reshape({6, 8}), Form::last_two_thirds, "x")) ==
        elements(flat.reshape({6, 8}).rows(2, 6)));
}

TEST_CASE("layouts: shapes that a layout does not have are refused") {
  const auto refusal = [](const Shape& shape, Form form) {
    return sentence_of([&] { laid_out(Tensor::zeros(shape, DType::f32).seal(), form, "x"); });
  };
  CHECK(refusal({2}, Form::matrix) == "x: expected a matrix (in, out), got (2)");
  CHECK(refusal({2, 0}, Form::matrix) == "x: expected a matrix (in, out), got (2, 0)");
  CHECK(refusal({2, 2, 3}, Form::filters) == "x: expected filters (p, p, 3, D), got (2, 2, 3)");
  for (const Shape& shape : {Shape{2, 3, 4}, Shape{2, 4}, Shape{2, 6}, Shape{2}})
    CHECK(refusal(shape, Form::patch) ==
          text("x: expected filters (D, 3, p, p) or (D, 3 p p), got {}", shape));
  CHECK(refusal({2, 3}, Form::heads_in) == "x: expected (D, heads, D / heads), got (2, 3)");
  CHECK(refusal({2}, Form::heads_bias) == "x: expected (heads, D / heads), got (2)");
  CHECK(refusal({2, 3}, Form::heads_out) == "x: expected (heads, D / heads, D), got (2, 3)");
  for (const Shape& shape : {Shape{2, 1, 4}, Shape{1, 1, 1, 4}, Shape{}})
    CHECK(refusal(shape, Form::token) == text("x: expected (D), (rows, D) or (1, rows, D), got {}", shape));
  for (const Shape& shape : {Shape{4, 2}, Shape{}})
    CHECK(refusal(shape, Form::first_third) ==
          text("x: expected queries, keys and values (3 D, ...), got {}", shape));

  const auto together = [](const Shape& shape, DType dtype) {
    return sentence_of([&] {
      stacked({{Tensor::zeros({2, 3}, DType::f32).seal(), Form::same, "x"},
               {Tensor::zeros(shape, dtype).seal(), Form::same, "y"}});
    });
  };
  const std::string expected =
      "y: expected (2, 3) of f32 in PyTorch's layout, as of what it is put together with, got ";
  CHECK(together({2, 3}, DType::f32).empty());
  CHECK(together({5, 3}, DType::f32) == expected + "(5, 3) of f32");
  CHECK(together({2, 4}, DType::f32) == expected + "(2, 4) of f32");
  CHECK(together({2, 3}, DType::f16) == expected + "(2, 3) of f16");
  CHECK(together({}, DType::f32) == "y: expected rows, got ()");
}

TEST_CASE("layouts: several are put together as each of them is laid out") {
  for (const DType dtype : {DType::u8, DType::bf16, DType::f32, DType::f64})
    for (const auto& [form, shape] : std::vector<std::pair<Form, Shape>>{{Form::matrix, {5, 7}},
                                                                         {Form::filters, {2, 2, 3, 5}},
                                                                         {Form::heads_in, {6, 2, 5}},
                                                                         {Form::heads_out, {2, 5, 6}},
                                                                         {Form::heads_bias, {3, 5}},
                                                                         {Form::last_two_thirds, {6, 4}},
                                                                         {Form::same, {3, 4}}}) {
      CAPTURE(shape.str());
      const std::vector<Tensor> parts{counted(shape, dtype), counted(shape, dtype)};
      // One lies where no such element may.
      std::vector<std::byte> storage(parts[1].bytes() + 1);
      std::ranges::copy(parts[1].raw(), storage.begin() + 1);
      int told = 0;
      const Tensor odd = Tensor::borrow(storage.data() + 1, shape, dtype, std::make_shared<int>(),
                                        [&](std::span<const std::byte>) { ++told; });
      const Tensor all = stacked({{parts[0], form, "x"}, {odd, form, "y"}});
      const Tensor one = laid_out(parts[0], form, "x");
      CHECK(all.sealed());
      CHECK(told == 1);
      REQUIRE(all.dim(0) == 2 * one.dim(0));
      CHECK(std::ranges::equal(all.rows(0, one.dim(0)).raw(), one.raw()));
      CHECK(std::ranges::equal(all.rows(one.dim(0), 2 * one.dim(0)).raw(), one.raw()));
    }
}

TEST_CASE("names: what patterns stand for") {
  CHECK(matches("blocks.*.norm1.?", "blocks.11.norm1.bias"));
  CHECK(matches("blocks.*.norm1.?", "blocks.9999.norm1.weight"));
  CHECK(!matches("blocks.*.norm1.?", "blocks.10000.norm1.weight"));  // no net is so deep
  CHECK(!matches("blocks.*.norm1.?", "blocks..norm1.weight"));
  CHECK(!matches("blocks.*.norm1.?", "blocks.0.norm1.gamma"));
  CHECK(!matches("blocks.*", "blocks.0.norm1"));
  CHECK(!matches("cls_token", "cls"));
  CHECK(!matches("cls", "cls_token"));
  CHECK(matches("decoder_**", "decoder_blocks.0.norm1.weight"));
  Match match;
  CHECK(matches("blocks.#.*.norm1.?", "blocks.3.17.norm1.bias", &match));
  CHECK(instantiate("blocks.*.norm1.?", match) == "blocks.17.norm1.bias");
  CHECK(instantiate("blocks.#.*.norm1.?", {}) == "blocks.0.0.norm1.weight");
}

TEST_CASE("dialects: no file is nobody's") {
  CHECK(!is_checkpoint({}));
  TensorFile file;
  file.tensors["blocks.0.norm1.weight"] = Tensor::zeros({4}, DType::f32).seal();
  CHECK(is_checkpoint(file));
  file.name = "file";
  CHECK(sentence_of([&] { canonical_form(file); }) == "'file': no tensor 'patch_embed.proj.weight'");
  file.tensors.clear();
  file.tensors["weights"] = Tensor::zeros({4}, DType::f32).seal();
  CHECK(!is_checkpoint(file));
}
