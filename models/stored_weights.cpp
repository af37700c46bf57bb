#include "models/stored_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {

namespace {

constexpr const char* suffix = ".scales";

// `to` are the bytes of f32 from `offset` on: calls f(first, numbers) with the number of the first and all of them.
template <class F>
void fill(size_t offset, std::span<std::byte> to, F f) {
  f(static_cast<int64_t>(offset / sizeof(float)),
    std::span(reinterpret_cast<float*>(to.data()), to.size() / sizeof(float)));
}

// Elements [first, first + count) of a tensor, in memory.
Tensor some_of(const Tensor& stored, int64_t first, size_t count) {
  return stored.reshape({stored.numel()}).rows(first, first + static_cast<int64_t>(count)).at_hand();
}

// A mapped file's bytes need no memory while nobody reads them.
size_t held_for(const Tensor& stored) { return stored.may_be_set_aside() ? 0 : stored.resident_bytes(); }

}  // namespace

Tensor widened(const Tensor& stored, const Memory& memory) {
  const auto fetch = [stored](size_t offset, std::span<std::byte> to) {
    fill(offset, to, [&](int64_t first, std::span<float> numbers) {
      const Tensor wide = some_of(stored, first, numbers.size()).to(DType::f32);
      std::ranges::copy(wide.data<float>(), numbers.begin());
    });
    stored.set_aside();
  };
  return Tensor::fetched(stored.shape(), DType::f32, fetch, memory, held_for(stored));
}

void put_int8(TensorFile& file, const std::string& name, const Tensor& matrix) {
  const Tensor here = matrix.at_hand();
  const int64_t rows = here.dim(0), columns = here.numel() / std::max<int64_t>(rows, 1);
  Tensor whole = Tensor::empty(here.shape(), DType::i8), scales = Tensor::empty({rows}, DType::f32);
  for (int64_t r = 0; r < rows; ++r) {
    const auto row =
        here.data<float>().subspan(static_cast<size_t>(r * columns), static_cast<size_t>(columns));
    float most = 0;
    for (const float value : row) most = std::max(most, std::abs(value));
    const float scale = most / 127;
    scales.mutable_data<float>()[static_cast<size_t>(r)] = scale;
    int8_t* to = whole.mutable_data<int8_t>().data() + r * columns;
    for (const float value : row)
      *to++ =
          static_cast<int8_t>(scale > 0 ? std::clamp(std::nearbyint(value / scale), -127.0f, 127.0f) : 0.0f);
  }
  file.tensors[name] = whole;
  file.tensors[name + suffix] = scales;
}

void take_int8(TensorFile& file, const std::string& source, const Memory& memory) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : file.tensors)
    if (tensor.dtype() == DType::i8) names.push_back(name);
  for (const std::string& name : names) {
    const Tensor whole = std::exchange(file.tensors[name], {});
    const auto found = file.tensors.find(name + suffix);
    check(found != file.tensors.end(), "{}: tensor {} is int8, but there is no {}", source, quote(name),
          quote(name + suffix));
    const Tensor scales = found->second.at_hand();
    check(whole.shape().rank() >= 2 && scales.dtype() == DType::f32 && scales.shape() == Shape{whole.dim(0)},
          "{}: tensor {}: expected f32 ({}), got {} {}", source, quote(name + suffix),
          whole.shape().rank() ? whole.dim(0) : 1, name_of(scales.dtype()), scales.shape());
    check(std::ranges::all_of(scales.data<float>(), [](float scale) { return std::isfinite(scale); }),
          "{}: tensor {}: expected finite numbers", source, quote(name + suffix));
    const int64_t columns = whole.numel() / std::max<int64_t>(whole.dim(0), 1);
    const auto fetch = [whole, scales, columns](size_t offset, std::span<std::byte> to) {
      fill(offset, to, [&](int64_t first, std::span<float> numbers) {
        const Tensor some = some_of(whole, first, numbers.size());
        const auto from = some.data<int8_t>();
        for (size_t i = 0; i < numbers.size(); ++i)
          numbers[i] = static_cast<float>(from[i]) *
                       scales.data<float>()[static_cast<size_t>((first + static_cast<int64_t>(i)) / columns)];
      });
      whole.set_aside();
    };
    file.tensors[name] = Tensor::fetched(whole.shape(), DType::f32, fetch, memory, held_for(whole));
    file.tensors.erase(name + suffix);
  }
}

}  // namespace vitrine
