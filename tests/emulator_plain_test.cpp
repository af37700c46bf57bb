// emulator_plain_test.cpp: the plain kernel for products in the emulator, against the emulator's product, which
// emulator_product_test.cpp checks.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

// What a device library is built from, with the words of the emulator.
#include "engine/gpu/plain_product.cu"
#include "engine/ops/gelu.cu"
#include "engine/random.h"
#include "tests/emulator_queue.h"

using namespace vitrine::gpu;
using vitrine::bf16;
using vitrine::DType;

namespace {

struct Values {
  DType dtype;
  std::vector<float> wide;
  std::vector<bf16> narrow;

  Values(DType type, int64_t count, vitrine::Random& random) : dtype(type), wide(static_cast<size_t>(count)) {
    for (float& x : wide) x = static_cast<float>(random.normal());
    for (const float x : wide) narrow.push_back(vitrine::to_bf16(x));
  }
  void* data() { return dtype == DType::f32 ? static_cast<void*>(wide.data()) : narrow.data(); }
  float at(size_t i) const { return dtype == DType::f32 ? wide[i] : vitrine::to_float(narrow[i]); }
};

// The greatest difference, relative to what rounding may do. Places that are no part of the result count as equal only
// if neither wrote them.
double difference(const Values& got, const Values& expected) {
  const double unit = got.dtype == DType::f32 ? 1e-5 : 1.0 / 100;
  double worst = 0;
  for (size_t i = 0; i < got.wide.size(); ++i) {
    const double x = got.at(i), y = expected.at(i);
    worst = std::isfinite(x) ? std::max(worst, std::abs(x - y) / (unit * (1 + std::abs(y)))) : INFINITY;
  }
  return worst;
}

enum class Steps { touching, rows_apart, images_apart };

struct Case {
  DType type, out_type;
  int64_t batch = 2, m = 37, n = 35, k = 67;  // more than one tile each way, the last of them cut
  int flags = 0;  // 1, 2: transposed; 4: b for all images; 8: bias; 16, 32: added, in place
  Epilogue epilogue = Epilogue::none;
  GeluForm form = GeluForm::tanh;
  Steps steps = Steps::rows_apart;
};

Matrix matrix_of(Values& values, int64_t rows, int64_t columns, bool transposed) {
  const int64_t step = (transposed ? rows : columns) + 3;
  return {values.data(), values.dtype, step, (transposed ? columns : rows) * step + 5, transposed};
}

// Calls both on the same numbers.
void check_plain(const Case& c, Result (*made)(Queue*, const Product&), const char* order = "forward") {
  CAPTURE(c.flags);
  CAPTURE(static_cast<int>(c.epilogue));
  CAPTURE(static_cast<int>(c.steps));
  vitrine::Random random(3, vitrine::Purpose::test);
  Values a(c.type, c.batch * ((c.m + 3) * (c.k + 3) + 5), random);
  Values b(c.type, c.batch * ((c.k + 3) * (c.n + 3) + 5), random);
  const int64_t out_step = c.n + (c.steps == Steps::rows_apart ? 2 : 0);
  const int64_t out_image = c.m * out_step + (c.steps == Steps::touching ? 0 : 7);
  Values out(c.out_type, c.batch * out_image, random), added = out, bias(c.type, c.n, random);
  Values inner(c.out_type, c.batch * c.m * c.n, random), expected = out, expected_inner = inner;

  Product p{};
  p.batch = c.batch, p.m = c.m, p.n = c.n, p.k = c.k;
  p.a = matrix_of(a, c.m, c.k, (c.flags & 1) != 0);
  p.b = matrix_of(b, c.k, c.n, (c.flags & 2) != 0);
  if ((c.flags & 4) != 0) p.b.image = 0;
  if ((c.flags & 8) != 0) p.bias = bias.data();
  p.out_type = c.out_type, p.out_step = out_step, p.out_image = out_image;
  p.epilogue = c.epilogue, p.form = c.form;
  Product oracle = p;
  p.out = out.data(), p.inner = inner.data();
  oracle.out = expected.data(), oracle.inner = expected_inner.data();
  if ((c.flags & 16) != 0) p.added = oracle.added = added.data();
  if ((c.flags & 32) != 0) p.added = p.out, oracle.added = oracle.out;

  EmulatorQueue queue(order);
  REQUIRE(done(queue, product(queue, oracle)) == "");
  REQUIRE(done(queue, made(queue, p)) == "");
  CHECK(difference(out, expected) < 1);
  CHECK(difference(inner, expected_inner) < 1);
}

// As for k = 0, where the kernel for sums is not asked.
Result from_start(Queue* queue, const Product& a) {
  const Result wrong = start_sums(queue, sums_of(a));
  return wrong == nullptr ? run_epilogue(queue, a) : wrong;
}

}  // namespace

TEST_CASE("plain product: every flag") {
  for (const auto& [type, out_type] : {std::pair{DType::f32, DType::f32}, std::pair{DType::bf16, DType::bf16},
                                       std::pair{DType::bf16, DType::f32}}) {
    for (int flags = 0; flags < 48; ++flags)
      check_plain({.type = type, .out_type = out_type, .flags = flags}, plain_product);
    for (const int flags : {0, 8, 16, 32, 40}) {
      check_plain({.type = type, .out_type = out_type, .k = 0, .flags = flags}, plain_product);
      check_plain({.type = type, .out_type = out_type, .k = 0, .flags = flags}, from_start);
    }
    for (const char* order : {"reverse", "random:5"}) {
      check_plain({.type = type, .out_type = out_type, .flags = 1}, plain_product, order);
    }
    check_plain({.type = type, .out_type = out_type, .m = 1, .n = 1, .k = 1}, plain_product);
    check_plain({.type = type, .out_type = out_type, .m = 0}, plain_product);
  }
}

TEST_CASE("plain product: epilogues apart, into whatever lies touching") {
  for (const auto& [type, out_type] :
       {std::pair{DType::f32, DType::f32}, std::pair{DType::bf16, DType::bf16}}) {
    for (const Epilogue epilogue : {Epilogue::gelu, Epilogue::gelu_backward}) {
      for (const Steps steps : {Steps::touching, Steps::rows_apart, Steps::images_apart}) {
        for (const GeluForm form : {GeluForm::erf, GeluForm::tanh, GeluForm::quick}) {
          check_plain({.type = type,
                       .out_type = out_type,
                       .k = 3,
                       .epilogue = epilogue,
                       .form = form,
                       .steps = steps},
                      plain_product);
        }
        for (const int flags : {8, 16, 32}) {
          const Case c{.type = type,
                       .out_type = out_type,
                       .k = 0,
                       .flags = flags,
                       .epilogue = epilogue,
                       .steps = steps};
          check_plain(c, from_start);
          check_plain(c, plain_product);
        }
        check_plain(
            {.type = type, .out_type = out_type, .m = 1, .k = 3, .epilogue = epilogue, .steps = steps},
            plain_product);
      }
    }
  }
}

TEST_CASE("plain product: types that nothing takes are refused") {
  EmulatorQueue queue;
  float a[1] = {1}, b[1] = {2}, out[1] = {9};
  Product p{};
  p.batch = p.m = p.n = p.k = 1;
  p.a = {a, DType::f32, 1, 0, false};
  p.b = {b, DType::f32, 1, 0, false};
  p.out = out, p.out_type = DType::f32, p.out_step = 1;
  CHECK(done(queue, plain_product(queue, p)) == "");
  CHECK(out[0] == 2);
  p.out_type = DType::bf16;
  CHECK(done(queue, plain_product(queue, p)).starts_with("product: "));
  p.out_type = DType::f32, p.b.dtype = DType::bf16;
  CHECK(done(queue, plain_product(queue, p)).starts_with("product: "));
}
