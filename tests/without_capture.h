// without_capture.h: doctest for Clang before 16, in whose lambdas structured bindings cannot be used: CAPTURE, which is
// one, does nothing. Failures then do not tell at which case of a loop they came.
#pragma once

#include <doctest/doctest.h>

#undef CAPTURE
#define CAPTURE(x) static_cast<void>(x)
