// emulator_product_test.cpp: the product that stands for a GPU's library, against a loop in double precision.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

#include "engine/dtype.h"
#include "engine/gpu/entries.h"
#include "engine/random.h"
#include "tests/emulator_queue.h"

using namespace vitrine::gpu;
using vitrine::bf16;
using vitrine::DType;

namespace {

// Numbers as a device holds them.
struct Values {
  DType dtype;
  std::vector<float> wide;
  std::vector<bf16> narrow;

  Values(DType type, int64_t count, vitrine::Random& random) : dtype(type), wide(static_cast<size_t>(count)) {
    for (float& x : wide) x = vitrine::to_float(vitrine::to_bf16(static_cast<float>(random.normal())));
    for (const float x : wide) narrow.push_back(vitrine::to_bf16(x));
  }
  void* data() { return dtype == DType::f32 ? static_cast<void*>(wide.data()) : narrow.data(); }
  double at(int64_t i) const {
    const auto place = static_cast<size_t>(i);
    return dtype == DType::f32 ? wide[place] : vitrine::to_float(narrow[place]);
  }
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double inner_of_tanh(double x) { return std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x); }

double gelu_of(GeluForm form, double x) {
  if (form == GeluForm::erf) return x * (1 + std::erf(x / std::sqrt(2.0))) / 2;
  if (form == GeluForm::tanh) return x * (1 + std::tanh(inner_of_tanh(x))) / 2;
  return x * sigmoid(1.702 * x);
}
double slope_of(GeluForm form, double x) {
  constexpr double step = 1e-4;
  return (gelu_of(form, x + step) - gelu_of(form, x - step)) / (2 * step);
}

enum class Added { none, apart, in_place };

struct Case {
  DType type = DType::f32, out_type = DType::f32;
  int64_t batch = 2, m = 5, n = 19, k = 11;
  bool a_transposed = false, b_transposed = false, b_shared = false, bias = false;
  Added added = Added::none;
  Epilogue epilogue = Epilogue::none;
  GeluForm form = GeluForm::erf;
};

// A matrix of rows of 3 elements more than needed, 5 elements between two of the batch.
Matrix matrix_of(Values& values, int64_t rows, int64_t columns, bool transposed) {
  const int64_t step = (transposed ? rows : columns) + 3;
  return {values.data(), values.dtype, step, (transposed ? columns : rows) * step + 5, transposed};
}
int64_t place(const Matrix& matrix, int64_t image, int64_t row, int64_t column) {
  return image * matrix.image + (matrix.transposed ? column * matrix.step + row : row * matrix.step + column);
}

void check_product(const Case& c) {
  vitrine::Random random(3, vitrine::Purpose::test);
  const int64_t out_step = c.n + 2, out_image = c.m * out_step + 7;
  Values a(c.type, c.batch * ((c.m + 3) * (c.k + 3) + 5), random),
      b(c.type, c.batch * ((c.k + 3) * (c.n + 3) + 5), random);
  Values out(c.out_type, c.batch * out_image, random), added(c.out_type, c.batch * out_image, random);
  Values bias(c.type, c.n, random), inner(c.out_type, c.batch * c.m * c.n, random);
  const Values before = c.added == Added::in_place ? out : added, inner_before = inner, out_before = out;

  Product product{};
  product.batch = c.batch, product.m = c.m, product.n = c.n, product.k = c.k;
  product.a = matrix_of(a, c.m, c.k, c.a_transposed);
  product.b = matrix_of(b, c.k, c.n, c.b_transposed);
  if (c.b_shared) product.b.image = 0;
  product.out = out.data(), product.out_type = c.out_type, product.out_step = out_step,
  product.out_image = out_image;
  if (c.bias) product.bias = bias.data();
  if (c.added != Added::none) product.added = c.added == Added::in_place ? out.data() : added.data();
  product.epilogue = c.epilogue, product.form = c.form;
  if (c.epilogue != Epilogue::none) product.inner = inner.data();
  EmulatorQueue queue;
  REQUIRE(done(queue, vitrine::gpu::product(queue, product)) == "");

  double worst = 0;  // relative to what rounding may do
  const double unit = c.out_type == DType::f32 ? 1e-5 : 1.0 / 256;
  const auto compare = [&](double got, double expected) {
    worst = std::max(worst, std::abs(got - expected) / (1e-5 + unit * (1 + std::abs(expected))));
    if (std::isnan(got)) worst = INFINITY;
  };
  bool rest_kept = true;
  for (int64_t image = 0; image < c.batch; ++image) {
    for (int64_t i = 0; i < c.m; ++i) {
      for (int64_t j = 0; j < c.n; ++j) {
        const int64_t at = image * out_image + i * out_step + j, inner_at = (image * c.m + i) * c.n + j;
        double z = 0;
        for (int64_t k = 0; k < c.k; ++k)
          z += a.at(place(product.a, image, i, k)) * b.at(place(product.b, image, k, j));
        if (c.bias) z += bias.at(j);
        if (c.added != Added::none) z += before.at(at);
        double expected = z;
        if (c.epilogue == Epilogue::gelu) {
          compare(inner.at(inner_at), z);
          expected = gelu_of(c.form, z);
        } else if (c.epilogue == Epilogue::gelu_backward) {
          expected = z * slope_of(c.form, inner_before.at(inner_at));
        }
        compare(out.at(at), expected);
      }
      for (int64_t j = c.n; j < out_step; ++j) {
        const int64_t at = image * out_image + i * out_step + j;
        rest_kept &= out.at(at) == out_before.at(at);
      }
    }
  }
  CHECK(worst < 1);
  CHECK(rest_kept);
}

}  // namespace

TEST_CASE("emulator: products with every flag") {
  for (const auto& [type, out_type] : {std::pair{DType::f32, DType::f32}, std::pair{DType::bf16, DType::bf16},
                                       std::pair{DType::bf16, DType::f32}}) {
    for (int flags = 0; flags < 16; ++flags) {
      for (const Added added : {Added::none, Added::apart, Added::in_place}) {
        check_product({.type = type,
                       .out_type = out_type,
                       .a_transposed = (flags & 1) != 0,
                       .b_transposed = (flags & 2) != 0,
                       .b_shared = (flags & 4) != 0,
                       .bias = (flags & 8) != 0,
                       .added = added});
      }
    }
    for (const Epilogue epilogue : {Epilogue::gelu, Epilogue::gelu_backward}) {
      for (const GeluForm form : {GeluForm::erf, GeluForm::tanh, GeluForm::quick}) {
        check_product(
            {.type = type, .out_type = out_type, .k = 3, .bias = true, .epilogue = epilogue, .form = form});
        check_product({.type = type,
                       .out_type = out_type,
                       .k = 3,
                       .added = Added::apart,
                       .epilogue = epilogue,
                       .form = form});
      }
    }
    for (const auto& [m, n, k] :
         {std::array<int64_t, 3>{1, 1, 1}, {4, 16, 8}, {7, 33, 64}, {3, 5, 0}, {0, 5, 3}, {3, 0, 4}}) {
      check_product(
          {.type = type, .out_type = out_type, .m = m, .n = n, .k = k, .bias = true, .added = Added::apart});
    }
    check_product({.type = type, .out_type = out_type, .batch = 0});
  }
}

TEST_CASE("emulator: products that are nonsense are refused, others are recorded") {
  EmulatorQueue queue;
  float a[4] = {1, 2, 3, 4}, b[4] = {1, 0, 0, 1}, out[4] = {9, 9, 9, 9};
  Product sound{};
  sound.batch = 1, sound.m = sound.n = sound.k = 2;
  sound.a = {a, DType::f32, 2, 0, false};
  sound.b = {b, DType::f32, 2, 0, false};
  sound.out = out, sound.out_type = DType::f32, sound.out_step = 2;
  const auto refused = [&](auto change) {
    Product other = sound;
    change(other);
    return done(queue, product(queue, other)).starts_with("product: ");
  };
  CHECK(refused([](Product& p) { p.m = -1; }));
  CHECK(refused([](Product& p) { p.a.dtype = p.b.dtype = DType::f64; }));
  CHECK(refused([](Product& p) { p.b.dtype = DType::bf16; }));
  CHECK(refused([](Product& p) { p.out_type = DType::bf16; }));
  CHECK(refused([](Product& p) { p.a.step = 1; }));
  CHECK(refused([](Product& p) { p.b.data = nullptr; }));
  CHECK(refused([](Product& p) { p.out = nullptr; }));
  CHECK(refused([](Product& p) { p.epilogue = Epilogue::gelu; }));

  Graph* graph = nullptr;
  REQUIRE(sentence(begin_record(queue)) == "");
  CHECK(sentence(product(queue, sound)) == "");
  REQUIRE(sentence(end_record(queue, &graph)) == "");
  CHECK(out[0] == 9);
  CHECK(done(queue, replay(queue, graph)) == "");
  for (int i = 0; i < 4; ++i) CHECK(out[i] == a[i]);
  drop(queue, graph);
}
