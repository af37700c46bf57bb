// product.cpp: what cuBLASLt is asked on a GPU, as plain loops.
#include <cmath>
#include <cstdint>
#include <vector>

#include "engine/gpu/emulator/words.h"
#include "engine/gpu/entries.h"
#include "engine/gpu/port.h"

namespace vitrine::gpu {
namespace {

constexpr int64_t strip = 16, pair = 2;  // columns and rows of the sums that are held in registers

float read(const void* data, DType dtype, int64_t at) {
  return dtype == DType::f32 ? static_cast<const float*>(data)[at]
                             : widen(static_cast<const bf16*>(data)[at]);
}
void write(void* data, DType dtype, int64_t at, float value) {
  if (dtype == DType::f32) {
    static_cast<float*>(data)[at] = value;
  } else {
    static_cast<bf16*>(data)[at] = narrow<bf16>(value);
  }
}

float gelu_of(GeluForm form, float x) {
  switch (form) {
    case GeluForm::erf:
      return 0.5f * x * (1 + std::erf(x * static_cast<float>(M_SQRT1_2)));
    case GeluForm::tanh: {
      const float u = static_cast<float>(M_SQRT1_2 * M_2_SQRTPI) * (x + 0.044715f * x * x * x);
      return 0.5f * x * (1 + std::tanh(u));
    }
    case GeluForm::quick:
      break;
  }
  return x / (1 + std::exp(-1.702f * x));
}

float slope_of(GeluForm form, float x) {
  switch (form) {
    case GeluForm::erf: {
      const float density = static_cast<float>(0.5 * M_SQRT1_2 * M_2_SQRTPI) * std::exp(-0.5f * x * x);
      return 0.5f * (1 + std::erf(x * static_cast<float>(M_SQRT1_2))) + x * density;
    }
    case GeluForm::tanh: {
      const float c = static_cast<float>(M_SQRT1_2 * M_2_SQRTPI);
      const float t = std::tanh(c * (x + 0.044715f * x * x * x));
      if (std::abs(t) == 1) return 0.5f * (1 + t);  // x alone may be too great for what follows
      return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * c * (1 + 3 * 0.044715f * x * x);
    }
    case GeluForm::quick:
      break;
  }
  const float s = 1 / (1 + std::exp(-1.702f * x));
  if (s == 0 || s == 1) return s;
  return s + 1.702f * x * s * (1 - s);
}

// Row by row, as f32.
void convert_rows(const Matrix& from, int64_t image, int64_t rows, int64_t columns, std::vector<float>& to) {
  to.resize(static_cast<size_t>(rows * columns));
  const int64_t down = from.transposed ? 1 : from.step, across = from.transposed ? from.step : 1;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      to[static_cast<size_t>(i * columns + j)] =
          read(from.data, from.dtype, image * from.image + i * down + j * across);
    }
  }
}

// In strips of columns, the last of them filled up with zeros.
void convert_strips(const Matrix& from, int64_t image, int64_t rows, int64_t columns,
                    std::vector<float>& to) {
  to.assign(static_cast<size_t>(divided_up(columns, strip) * strip * rows), 0.0f);
  const int64_t down = from.transposed ? 1 : from.step, across = from.transposed ? from.step : 1;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      to[static_cast<size_t>(j / strip * strip * rows + i * strip + j % strip)] =
          read(from.data, from.dtype, image * from.image + i * down + j * across);
    }
  }
}

// sums = a (pair, k) b (k, strip), each in the order of k.
void multiply(const float* a0, const float* a1, const float* b, int64_t k, float sums[pair][strip]) {
  float first[strip] = {}, second[strip] = {};
  for (int64_t i = 0; i < k; ++i, b += strip) {
    for (int64_t j = 0; j < strip; ++j) {
      first[j] += a0[i] * b[j];
      second[j] += a1[i] * b[j];
    }
  }
  for (int64_t j = 0; j < strip; ++j) sums[0][j] = first[j], sums[1][j] = second[j];
}

void finish(const Product& a, int64_t image, int64_t row, int64_t column, float z) {
  const int64_t at = image * a.out_image + row * a.out_step + column;
  const int64_t inner_at = (image * a.m + row) * a.n + column;
  if (a.bias) z += read(a.bias, a.a.dtype, column);
  if (a.added) z += read(a.added, a.out_type, at);
  if (a.epilogue == Epilogue::gelu) {
    write(a.inner, a.out_type, inner_at, z);
    z = gelu_of(a.form, z);
  } else if (a.epilogue == Epilogue::gelu_backward) {
    z *= slope_of(a.form, read(a.inner, a.out_type, inner_at));
  }
  write(a.out, a.out_type, at, z);
}

void run(const Product& a) {
  std::vector<float> left, right;
  float sums[pair][strip];
  for (int64_t image = 0; image < a.batch; ++image) {
    if (image == 0 || a.a.image != 0) convert_rows(a.a, image, a.m, a.k, left);
    if (image == 0 || a.b.image != 0) convert_strips(a.b, image, a.k, a.n, right);
    for (int64_t column = 0; column < a.n; column += strip) {
      for (int64_t row = 0; row < a.m; row += pair) {
        const int64_t other = row + 1 < a.m ? row + 1 : row;
        multiply(left.data() + row * a.k, left.data() + other * a.k, right.data() + column * a.k, a.k, sums);
        for (int64_t i = row; i <= other; ++i) {
          for (int64_t j = column; j < column + strip && j < a.n; ++j)
            finish(a, image, i, j, sums[i - row][j - column]);
        }
      }
    }
  }
}

bool is_sound(const Matrix& matrix, int64_t rows, int64_t columns) {
  const int64_t stored = matrix.transposed ? rows : columns, lines = matrix.transposed ? columns : rows;
  return (matrix.data && (matrix.step >= stored || lines <= 1)) || rows == 0 || columns == 0;
}

Result check(const Product& a) {
  if (a.batch < 0 || a.m < 0 || a.n < 0 || a.k < 0) return "product: a size is negative";
  if (a.a.dtype != DType::f32 && a.a.dtype != DType::bf16) return "product: expected f32 or bf16";
  if (a.b.dtype != a.a.dtype) return "product: the factors are of two types";
  if (a.out_type != DType::f32 && a.out_type != a.a.dtype)
    return "product: the result is neither f32 nor of the factors' type";
  if (a.batch == 0 || a.m == 0 || a.n == 0) return nullptr;
  if (!is_sound(a.a, a.m, a.k) || !is_sound(a.b, a.k, a.n))
    return "product: a factor is missing, or its rows overlap";
  if (!a.out || (a.out_step < a.n && a.m > 1)) return "product: the result is missing, or its rows overlap";
  if (a.epilogue != Epilogue::none && !a.inner) return "product: gelu without `inner`";
  return nullptr;
}

}  // namespace

Result product(Queue* queue, const Product& a) {
  if (const Result error = check(a)) return error;
  return emulator::submit(queue, [a]() -> Result {
    run(a);
    return nullptr;
  });
}

}  // namespace vitrine::gpu
