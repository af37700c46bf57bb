// planes.cpp: pictures as bytes become planes of numbers.
#include "engine/check.h"
#include "engine/gpu/run.h"
#include "engine/ops.h"
#include "engine/parallel.h"

namespace vitrine {

Tensor planes(const Tensor& pixels, const Tensor& values, DType dtype) {
  check(pixels.defined() && pixels.dtype() == DType::u8 && pixels.shape().rank() == 4,
        "planes: expected pixels (B, H, W, C) of u8");
  const int64_t images = pixels.dim(0), places = pixels.dim(1) * pixels.dim(2), channels = pixels.dim(3);
  check(values.defined() && values.dtype() == DType::f32 && values.shape() == Shape{channels, 256},
        "planes: expected values {} of f32", Shape{channels, 256});
  const Device* device = pixels.memory().device();
  check(dtype == DType::f32 || (dtype == DType::bf16 && device != nullptr),
        "planes: expected f32, or bf16 on a device, got {}", name_of(dtype));
  Tensor out = Tensor::empty({images, channels, pixels.dim(1), pixels.dim(2)}, dtype, pixels.memory());
  if (device != nullptr) {
    device->run(&gpu::Kernels::planes, {dtype, images, places, channels, gpu::in<uint8_t>(*device, pixels),
                                        gpu::in<float>(*device, values), gpu::out(*device, out)});
    return out;
  }
  const auto from = pixels.data<uint8_t>();
  const auto table = values.data<float>();
  const auto to = out.mutable_data<float>();
  parallel_for(images * channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane) {
      const int64_t c = plane % channels;
      const auto value = table.subspan(static_cast<size_t>(c * 256), 256);
      const uint8_t* bytes = from.data() + plane / channels * places * channels + c;
      float* row = to.data() + plane * places;
      for (int64_t i = 0; i < places; ++i) row[i] = value[bytes[i * channels]];
    }
  });
  return out;
}

}  // namespace vitrine
