// gelu.cpp: the Gaussian error linear unit in its three forms.
#include "engine/ops/gelu.h"
#include "engine/check.h"
#include "engine/cpu/kernels.h"
#include "engine/cpu/rows.h"
#include "engine/gpu/run.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

constexpr int64_t chunk = 1024;

cpu::GeluForm form_of(Gelu form) {
  if (form == Gelu::erf) return cpu::GeluForm::erf;
  return form == Gelu::tanh ? cpu::GeluForm::tanh : cpu::GeluForm::sigmoid;
}

// x s(x), and s + x s' if `slopes` is defined: backward then needs neither x nor another erf.
template <class T>
Tensor gelu_forward(const Tensor& x, Gelu form, Tensor slopes) {
  Tensor out = Tensor::empty(x.shape(), x.dtype(), x.memory());
  const T* from = x.data<T>().data();
  T *to = out.mutable_data<T>().data(), *kept = slopes.defined() ? slopes.mutable_data<T>().data() : nullptr;
  parallel_for((x.numel() + chunk - 1) / chunk, 4, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * chunk, last = std::min(end * chunk, x.numel());
    gelu_run<T>(form, from + first, last - first, to + first, kept ? kept + first : nullptr);
  });
  return out;
}

// dx = dy (s + x s')
template <class T>
Tensor gelu_backward(const Tensor& slopes, const Tensor& dy) {
  Tensor out = cpu::over(dy);
  const T *from = slopes.data<T>().data(), *d = dy.data<T>().data();
  T* to = out.mutable_data<T>().data();
  parallel_for(dy.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    cpu::kernels<T>().multiply_rows(d + begin, from + begin, end - begin, to + begin);
  });
  return out;
}

}  // namespace

template <class T>
void gelu_run(Gelu form, const T* x, int64_t n, T* out, T* slopes) {
  cpu::kernels<T>().gelu(form_of(form), x, n, out, slopes);
}

template void gelu_run(Gelu, const float*, int64_t, float*, float*);
template void gelu_run(Gelu, const double*, int64_t, double*, double*);

gpu::GeluForm device_form(Gelu form) {
  if (form == Gelu::erf) return gpu::GeluForm::erf;
  return form == Gelu::tanh ? gpu::GeluForm::tanh : gpu::GeluForm::quick;
}

namespace {

// On a device x is kept, as the epilogues of products do.
Variable gelu_on(const Device& device, const Variable& x, Gelu form) {
  const Tensor value = x.value();
  Tensor out = Tensor::empty(x.shape(), x.dtype(), value.memory());
  device.run(&gpu::Kernels::gelu,
             {x.dtype(), device_form(form), x.numel(), gpu::in(device, value), gpu::out(device, out)});
  return record(std::move(out), {{x, [value, form](const Tensor& dy) {
                                    Tensor dx = cpu::over(dy);
                                    const Device& home = *value.device();
                                    home.run(&gpu::Kernels::gelu_backward,
                                             {dy.dtype(), device_form(form), dy.numel(), gpu::in(home, value),
                                              gpu::in(home, dy), gpu::out(home, dx)});
                                    return dx;
                                  }}});
}

}  // namespace

Variable gelu(const Variable& x, Gelu form) {
  check(x.defined(), "gelu: undefined");
  if (const Device* device = device_of(x.value(), "gelu")) return gelu_on(*device, x, form);
  const Tensor slopes =
      x.wants_gradient() ? Tensor::empty(x.shape(), x.dtype(), x.value().memory()) : Tensor();
  Tensor out = dispatch(x.dtype(), "gelu",
                        [&](auto zero) { return gelu_forward<decltype(zero)>(x.value(), form, slopes); });
  return record(std::move(out), {{x, [slopes](const Tensor& dy) {
                                    return dispatch(dy.dtype(), "gelu", [&](auto zero) {
                                      return gelu_backward<decltype(zero)>(slopes, dy);
                                    });
                                  }}});
}

}  // namespace vitrine
