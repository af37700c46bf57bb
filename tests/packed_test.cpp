// packed_test.cpp: the packed forms of frozen weights: whose they are, how many, and what becomes of the numbers
// themselves.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/cpu/gemm.h"
#include "tests/linear_pass.h"

using namespace vitrine;
using namespace vitrine::testing;

TEST_CASE("packed: rows of a matrix know the whole") {
  const Tensor whole = normal({7, 3}, 0);
  const auto [all, first] = whole.rows(2, 5).whole_rows();
  CHECK(same_bits(all, whole));
  CHECK(first == 2);
  const auto [other, at] = whole.reshape({3, 7}).rows(1, 2).whole_rows();
  CHECK(same_bits(other, whole.reshape({3, 7})));
  CHECK(at == 1);
  // No rows of five: not of the whole, nor where it begins.
  CHECK(whole.reshape({21, 1}).rows(0, 20).reshape({4, 5}).whole_rows().first.shape() == Shape{4, 5});
  CHECK(whole.reshape({21, 1}).rows(1, 7).reshape({2, 3}).whole_rows().second == 0);
  CHECK_THROWS_WITH(whole.reshape({21}).whole_rows(), doctest::Contains("expected (N, K)"));
}

TEST_CASE("packed: the owner of borrowed bytes hears when they are packed") {
  const Tensor own = normal({4, 5}, 0, DType::f32);
  std::vector<std::span<const std::byte>> heard;
  const auto hear = [&](std::span<const std::byte> bytes) { heard.push_back(bytes); };
  const Tensor borrowed =
      Tensor::borrow(own.raw().data(), own.shape(), DType::f32, std::make_shared<int>(), hear);
  CHECK(borrowed.resident_bytes() == borrowed.bytes());
  linear(normal({2, 5}, 1, DType::f32), borrowed, {});
  REQUIRE(heard.size() == 1);
  CHECK(heard[0].data() == own.raw().data());
  CHECK(heard[0].size() == own.bytes());
  CHECK(borrowed.resident_bytes() == 0);
  linear(normal({2, 5}, 1, DType::f32), borrowed, {});
  CHECK(heard.size() == 1);
  const Tensor elsewhere = borrowed.with_memory(Memory::counted());
  CHECK(elsewhere.resident_bytes() == borrowed.bytes());  // it has no form yet
  elsewhere.set_aside();
  CHECK(heard.size() == 2);
  CHECK(own.seal().resident_bytes() == own.bytes());
  CHECK(Tensor().resident_bytes() == 0);
}

TEST_CASE("packed: rows of a weight give what the whole gives, and are found in its form where they can be") {
  const Tensor x = normal({4, 21}, 1, DType::f32);
  for (const std::string& set : instruction_sets()) {
    const Instructions used(set);
    CAPTURE(set);
    const int64_t panel = cpu::tile_columns<float>(), n = 3 * panel + 5;
    for (const Precision precision : {Precision::f32, Precision::bf16, Precision::int8})
      for (const bool one_form : {false, true})
        for (const int64_t begin : {int64_t{0}, int64_t{1}, int64_t{2}, panel, 2 * panel}) {
          CAPTURE(begin);
          CAPTURE(one_form);
          CAPTURE(static_cast<int>(precision));
          const int64_t end = begin + panel + 4;
          const Memory memory = Memory::counted();
          Tensor plain = normal({n, 21}, 0, DType::f32).seal().with_memory(memory).with_precision(precision);
          const Tensor weight = one_form ? plain.with_one_form() : plain;
          // The gradient of the whole, where only those rows have one.
          const Variable leaf = Variable::leaf(x), part_leaf = Variable::leaf(x);
          const Variable all = linear(leaf, weight, {}), rows = slice(all, 1, begin, end);
          const Tensor dy = make_dy(rows.shape(), DType::f32);
          Tensor padded = Tensor::zeros(all.shape(), DType::f32);
          for (int64_t i = 0; i < 4; ++i)
            std::ranges::copy(dy.rows(i, i + 1).data<float>(),
                              padded.mutable_data<float>().begin() + i * n + begin);
          backward(all, padded);
          const size_t before = memory.statistics().current;
          const Variable part = linear(part_leaf, weight.rows(begin, end), {});
          CHECK(same_bits(part.value(), rows.value()));
          backward(part, dy);
          // Rows that begin at an odd one are other pairs.
          if (multiplies_pairs(set, precision) && begin % 2 == 1)
            check_close(values(part_leaf.gradient()), values(leaf.gradient()), 1e-5);
          else
            CHECK(same_bits(part_leaf.gradient(), leaf.gradient()));
          const bool inside = one_form ? begin % panel == 0 : begin % panel == 0 && begin % 2 == 0;
          if (inside) CHECK(memory.statistics().current == before);
          if (one_form && !inside) CHECK(memory.statistics().current > before);
        }
  }
}

TEST_CASE("packed: what stands beside rows of a weight does not matter, not even infinity") {
  const int64_t panel = cpu::tile_columns<float>();
  for (const int64_t rows : {panel - 1, panel, int64_t{3}})
    for (const bool one_form : {false, true}) {
      CAPTURE(rows);
      CAPTURE(one_form);
      Tensor weight = normal({2 * panel, 8}, 0, DType::f32);
      std::ranges::fill(weight.rows(rows, 2 * panel).mutable_data<float>(), INFINITY);
      const Memory memory = Memory::counted();
      const Tensor narrow = weight.seal().with_memory(memory).with_precision(Precision::bf16),
                   kept = one_form ? narrow.with_one_form() : narrow;
      linear_pass(normal({5, 8}, 1, DType::f32), kept, {});
      const size_t before = memory.statistics().current;
      const Passed passed =
          linear_pass(normal({5, 8}, 1, DType::f32), kept.rows(0, rows), normal({rows}, 2, DType::f32));
      for (const float value : passed.dx.data<float>()) CHECK(std::isfinite(value));
      // A pair of rows of which one stands outside is packed apart: a product of pairs would read both.
      CHECK((memory.statistics().current > before) == (rows % 2 == 1 && !one_form));
    }
}

TEST_CASE("packed: with one form not a bit changes, and nothing is packed for backward") {
  for (const std::string& set : instruction_sets()) {
    const Instructions used(set);
    CAPTURE(set);
    for (const auto& [m, n, k] : {std::array<int64_t, 3>{1, 1, 1},
                                  {7, 5, 3},
                                  {100, 33, 17},
                                  {13, 48, 769},
                                  {400, 31, 64},
                                  {5, 1537, 64},
                                  {5, 70, 1537}})
      for (const DType dtype : {DType::f32, DType::f64}) {
        CAPTURE(n);
        CAPTURE(k);
        const Memory memory = Memory::counted();
        const Tensor x = normal({m, k}, 0, dtype), bias = normal({n}, 1, dtype),
                     weight = normal({n, k}, 2, dtype).seal();
        const Tensor kept = weight.with_memory(memory).with_one_form();
        const Passed two = linear_pass(x, weight, bias), one = linear_pass(x, kept, bias);
        CHECK(same_bits(one.y, two.y));
        CHECK(same_bits(one.dx, two.dx));
        const int64_t panel = dtype == DType::f32 ? cpu::tile_columns<float>() : cpu::tile_columns<double>();
        CHECK(memory.statistics().current ==
              static_cast<size_t>((n + panel - 1) / panel * panel * k) * size_of(dtype));
      }
  }
  CHECK_THROWS_WITH(normal({2, 2}, 0).with_one_form(), doctest::Contains("sealed"));
}
