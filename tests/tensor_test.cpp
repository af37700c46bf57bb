// tensor_test.cpp: shapes, tensors, memory, number formats, random numbers.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <set>
#include <stdexcept>

#include "engine/parallel.h"
#include "engine/random.h"
#include "engine/tensor.h"

using namespace vitrine;

TEST_CASE("shape: extents, negative positions, refusals") {
  const Shape shape{2, 3, 4};
  CHECK(shape.numel() == 24);
  CHECK(shape.dim(-1) == 4);
  CHECK(shape.str() == "(2, 3, 4)");
  CHECK(shape.with(1, 7) == Shape{2, 7, 4});
  CHECK(shape.without(0) == Shape{3, 4});
  CHECK(shape.rows_before(-1) == 6);
  CHECK(shape.columns_from(1) == 12);
  CHECK(Shape{}.numel() == 1);
  CHECK_THROWS_WITH(shape.dim(3), "shape: no extent 3 in (2, 3, 4)");
  CHECK_THROWS_AS((Shape{int64_t{1} << 40, int64_t{1} << 40}), Error);
  CHECK_THROWS_AS((Shape{2, -1}), Error);
  // An empty shape has strides, too: where the 0 stands makes no difference.
  const int64_t far = int64_t{1} << 40;
  CHECK_THROWS_AS((Shape{0, far, far}), Error);
  CHECK_THROWS_AS((Shape{far, 0, far}), Error);
  CHECK_THROWS_AS((Shape{far, far, 0}), Error);
  CHECK(Shape{0, far, 5}.numel() == 0);
  CHECK(Shape{far, 5, 0}.columns_from(1) == 0);
  CHECK(Shape{0, far, 5}.columns_from(1) == 5 * far);
}

TEST_CASE("tensor: views share, clones do not, sealed tensors refuse writing") {
  Tensor x = Tensor::of<float>({2, 3}, {1, 2, 3, 4, 5, 6});
  Tensor row = x.rows(1, 2);
  row.mutable_data<float>()[0] = 40;
  CHECK(x.data<float>()[3] == 40);
  Tensor copy = x.clone();
  copy.mutable_data<float>()[0] = -1;
  CHECK(x.data<float>()[0] == 1);
  CHECK(x.reshape({3, 2}).shape() == Shape{3, 2});
  CHECK_THROWS_WITH(x.reshape({4, 2}), "reshape: (2, 3) does not fit (4, 2)");
  x.seal();
  CHECK(row.sealed());
  CHECK_THROWS_AS(row.mutable_data<float>(), Error);
  CHECK_THROWS_AS(x.data<double>(), Error);
}

TEST_CASE("memory: statistics and limit") {
  const Memory memory = Memory::counted(1000);
  {
    const Tensor a = Tensor::zeros({100}, DType::f32, memory);
    const Tensor b = Tensor::zeros({50}, DType::f64, memory);
    CHECK(memory.statistics().current == 800);
    CHECK_THROWS_AS(Tensor::empty({51}, DType::f32, memory), Error);
    CHECK(memory.statistics().current == 800);
  }
  CHECK(memory.statistics().current == 0);
  CHECK(memory.statistics().peak == 800);
  CHECK(memory.statistics().allocations == 2);
}

TEST_CASE("memory: a host's allocator serves every block") {
  int alive = 0;
  {
    const Memory memory = Memory::counted(0, {[&](size_t n) {
                                                ++alive;
                                                return ::operator new (n, std::align_val_t{64});
                                              },
                                              [&](void* p, size_t) {
                                                --alive;
                                                ::operator delete (p, std::align_val_t{64});
                                              }});
    const Tensor a = Tensor::zeros({10}, DType::f32, memory), b = a.clone();
    CHECK(alive == 2);
  }
  CHECK(alive == 0);
  const Memory empty_host =
      Memory::counted(0, {[](size_t) -> void* { return nullptr; }, [](void*, size_t) {}});
  CHECK_THROWS_AS(Tensor::zeros({10}, DType::f32, empty_host), Error);
  CHECK(empty_host.statistics().current == 0);
  for (const bool out_of_memory : {true, false}) {
    const Memory throwing = Memory::counted(0, {[&](size_t) -> void* {
                                                  if (out_of_memory) throw std::bad_alloc();
                                                  throw std::runtime_error("host: no");
                                                },
                                                [](void*, size_t) {}});
    if (out_of_memory)
      CHECK_THROWS_AS(Tensor::zeros({10}, DType::f32, throwing), Error);
    else
      CHECK_THROWS_WITH(Tensor::zeros({10}, DType::f32, throwing), "host: no");
    CHECK(throwing.statistics().current == 0);
  }
}

TEST_CASE("half-width floats: every bit pattern survives the way through f32") {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const bf16 b{static_cast<uint16_t>(bits)};
    const f16 h{static_cast<uint16_t>(bits)};
    if (!std::isnan(to_float(b))) CHECK_EQ(to_bf16(to_float(b)).bits, bits);
    if (!std::isnan(to_float(h))) CHECK_EQ(to_f16(to_float(h)).bits, bits);
  }
  CHECK(to_float(to_bf16(1.00390625f)) == 1.0f);  // a tie goes to the even neighbour
  CHECK(to_float(to_f16(65519.0f)) == 65504.0f);
  CHECK(std::isinf(to_float(to_f16(65520.0f))));
  CHECK(std::isnan(to_float(to_bf16(NAN))));
}

TEST_CASE("random: the published Philox4x32-10 vectors") {
  // Known answers of the Random123 library's kat_vectors file.
  CHECK(philox(0, {0, 0, 0, 0}) == std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox(~uint64_t{0}, {~0u, ~0u, ~0u, ~0u}) ==
        std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
}

TEST_CASE("random: seek, independence of streams, moments") {
  Random a(7, Purpose::test), b(7, Purpose::test);
  for (int i = 0; i < 10; ++i) a.bits();
  b.seek(10);
  CHECK(a.bits() == b.bits());
  std::set<uint32_t> first;
  for (uint32_t epoch = 0; epoch < 4; ++epoch)
    for (uint32_t sample = 0; sample < 4; ++sample)
      for (uint32_t lane = 0; lane < 4; ++lane)
        first.insert(Random(7, Purpose::test, epoch, sample, lane).bits());
  CHECK(first.size() == 64);
  double sum = 0, squares = 0;
  for (int i = 0; i < 20000; ++i) {
    const double x = a.normal();
    sum += x;
    squares += x * x;
  }
  CHECK(std::abs(sum / 20000) < 0.03);
  CHECK(std::abs(squares / 20000 - 1) < 0.05);
}

TEST_CASE("parallel_for: each item once, exceptions come home") {
  std::vector<int> seen(1001, 0);
  parallel_for(1001, 7, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++seen[i];
  });
  CHECK(std::count(seen.begin(), seen.end(), 1) == 1001);
  CHECK_THROWS_AS(parallel_for(100, 1, [](int64_t, int64_t) { fail(Fault::input, "no"); }), Error);
}

TEST_CASE(
    "bytes that lie where no such element may are read through a copy, which is made once and when it is "
    "needed") {
  const std::vector<float> numbers{1.5f, -2, 3.25f, 4, 5, -6};
  std::vector<std::byte> storage(numbers.size() * sizeof(float) + 1);
  std::byte* const odd = storage.data() + 1;  // operator new gives even places
  std::memcpy(odd, numbers.data(), numbers.size() * sizeof(float));
  const auto owner = std::make_shared<int>();
  std::vector<std::span<const std::byte>> told;
  const Tensor x = Tensor::borrow(odd, {2, 3}, DType::f32, owner, [&](auto part) { told.push_back(part); });
  CHECK(x.raw().data() == odd);
  CHECK(told.empty());
  const Tensor row = x.rows(1, 2);
  CHECK(row.raw().data() == odd + 3 * sizeof(float));
  CHECK(row.data<float>()[1] == 5);
  REQUIRE(told.size() == 1);
  CHECK(told[0].data() == odd);
  CHECK(told[0].size() == numbers.size() * sizeof(float));
  CHECK(reinterpret_cast<uintptr_t>(x.data<float>().data()) % alignof(float) == 0);
  CHECK(std::ranges::equal(x.data<float>(), numbers));
  CHECK(x.data<float>().data() + 3 == row.data<float>().data());
  CHECK(told.size() == 1);
  CHECK(x.resident_bytes() == x.bytes());
  // Where it is counted, the copy is, too; once it is made, others share it.
  const Memory memory = Memory::counted();
  const Tensor counted = Tensor::borrow(odd, {2, 3}, DType::f32, owner).with_memory(memory);
  CHECK(memory.statistics().current == 0);
  CHECK(counted.data<float>()[5] == -6);
  CHECK(memory.statistics().current == x.bytes());
  const Tensor shared = x.with_memory(memory);
  CHECK(shared.data<float>().data() == x.data<float>().data());
  CHECK(std::ranges::equal(shared.rows(1, 2).data<float>(), row.data<float>()));
  CHECK(memory.statistics().current == x.bytes());
  CHECK(shared.resident_bytes() == x.bytes());
}
