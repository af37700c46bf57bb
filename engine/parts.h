// parts.h: which parts this build has. CMake's option of the same name leaves one out (docs/sizes.md); its code is then not
// there, and what would have used it throws an error that names the option. The kernels of instruction sets include this
// file, so it holds constants alone (engine/cpu/kernels.h).
#pragma once

namespace vitrine::parts {

#ifdef VITRINE_WITHOUT_TRAINING
inline constexpr bool training = false;
#else
inline constexpr bool training = true;    // gradients: histories, backward, optimizers, tuning
#endif

#ifdef VITRINE_WITHOUT_SWIN
inline constexpr bool swin = false;
#else
inline constexpr bool swin = true;        // the Swin Transformer beside the ViT
#endif

#ifdef VITRINE_WITHOUT_METHODS
inline constexpr bool methods = false;
#else
inline constexpr bool methods = true;     // methods of tuning beside vpt-deep, vpt-shallow and linear
#endif

#ifdef VITRINE_WITHOUT_CONTAINERS
inline constexpr bool containers = false;
#else
inline constexpr bool containers = true;  // files of PyTorch and numpy
#endif

#ifdef VITRINE_WITHOUT_DIALECTS
inline constexpr bool dialects = false;
#else
inline constexpr bool dialects = true;    // names, layouts and configurations of other programs
#endif

#ifdef VITRINE_WITHOUT_DEVICE
inline constexpr bool device = false;
#else
inline constexpr bool device = true;      // the border to a GPU's library
#endif

#ifdef VITRINE_WITHOUT_F64
inline constexpr bool f64 = false;
#else
inline constexpr bool f64 = true;         // nets that compute in f64, with which gradients are checked
#endif

#ifdef VITRINE_WITHOUT_EXCEPTIONS
inline constexpr bool exceptions = false;
#else
inline constexpr bool exceptions =
    true;  // a failure leaves all as it was; without them it breaks the library that it is of
#endif

}  // namespace vitrine::parts
