#include "models/checkpoints/layouts.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "engine/parallel.h"

namespace vitrine {

namespace {

// (rows, columns) -> (columns, rows), in squares that are turned in a place of their own: rows of a width that is a power
// of two, or three, would push each other out of the cache.
// `from` may lie anywhere: numpy puts arrays where no f32 may be read.
template <class Word>
void turn(const std::byte* from, Word* to, int64_t rows, int64_t columns, int64_t from_row, int64_t to_row) {
  constexpr int64_t side = 32, squares = 8;
  parallel_for((columns + side - 1) / side, squares, [&](int64_t begin, int64_t end) {
    std::array<Word, side * side> square;
    for (int64_t c0 = begin * side; c0 < std::min(columns, end * side); c0 += side)
      for (int64_t r0 = 0; r0 < rows; r0 += side) {
        const int64_t width = std::min(side, columns - c0), height = std::min(side, rows - r0);
        for (int64_t r = 0; r < height; ++r)
          for (int64_t c = 0; c < width; ++c)
            std::memcpy(&square[c * side + r], from + ((r0 + r) * from_row + c0 + c) * sizeof(Word),
                        sizeof(Word));
        for (int64_t c = 0; c < width; ++c)
          std::copy_n(square.data() + c * side, height, to + (c0 + c) * to_row + r0);
      }
  });
}

// Calls f with the bytes of `from` and with `to` as words as wide as the elements.
template <class F>
void as_words(const Tensor& from, Tensor& to, F f) {
  const std::byte* source = from.raw().data();
  std::byte* target = to.mutable_raw().data();
  const auto call = [&](auto word) {
    using Word = decltype(word);
    f(source, reinterpret_cast<Word*>(target));
  };
  switch (size_of(from.dtype())) {
    case 1:
      return call(uint8_t{});
    case 2:
      return call(uint16_t{});
    case 4:
      return call(uint32_t{});
    default:
      return call(uint64_t{});
  }
}

Tensor transposed(const Tensor& x, int64_t rows, int64_t columns) {
  Tensor out = Tensor::empty({columns, rows}, x.dtype());
  as_words(x, out, [&](const std::byte* from, auto* to) { turn(from, to, rows, columns, columns, rows); });
  return out.seal();
}

// (p, p, 3, D) -> (D, 3, p, p): for each colour (p p, D) -> (D, p p).
Tensor filters_turned(const Tensor& x) {
  const int64_t places = x.dim(0) * x.dim(1), colours = x.dim(2), width = x.dim(3);
  Tensor out = Tensor::empty({width, colours, x.dim(0), x.dim(1)}, x.dtype());
  as_words(x, out, [&](const std::byte* from, auto* to) {
    for (int64_t c = 0; c < colours; ++c)
      turn(from + c * width * static_cast<int64_t>(sizeof(*to)), to + c * places, places, width,
           colours * width, colours * places);
  });
  return out.seal();
}

void expect(bool fits, const Tensor& x, const std::string& who, const char* shape) {
  check(fits && x.numel() > 0, who, ": expected ", shape, ", got ", x.shape());
}

}  // namespace

Tensor laid_out(const Tensor& x, Form form, const std::string& who) {
  const int rank = x.shape().rank();
  switch (form) {
    case Form::same:
      return x;
    case Form::matrix:
      expect(rank == 2, x, who, "a matrix (in, out)");
      return transposed(x, x.dim(0), x.dim(1));
    case Form::filters:
      expect(rank == 4, x, who, "filters (p, p, 3, D)");
      return filters_turned(x);
    case Form::patch: {
      if (rank == 4) return x;
      expect(rank == 2 && x.dim(1) % 3 == 0, x, who, "filters (D, 3, p, p) or (D, 3 p p)");
      const auto p = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(x.dim(1) / 3))));
      expect(3 * p * p == x.dim(1), x, who, "filters (D, 3, p, p) or (D, 3 p p)");
      return x.reshape({x.dim(0), 3, p, p});
    }
    case Form::heads_in:
      expect(rank == 3, x, who, "(D, heads, D / heads)");
      return transposed(x, x.dim(0), x.dim(1) * x.dim(2));
    case Form::heads_bias:
      expect(rank == 2, x, who, "(heads, D / heads)");
      return x.reshape({x.numel()});
    case Form::heads_out:
      expect(rank == 3, x, who, "(heads, D / heads, D)");
      return transposed(x, x.dim(0) * x.dim(1), x.dim(2));
    case Form::token:
      expect(rank == 1 || rank == 2 || (rank == 3 && x.dim(0) == 1), x, who,
             "(D), (rows, D) or (1, rows, D)");
      return x.reshape({1, x.numel() / x.dim(-1), x.dim(-1)});
    case Form::first_third:
    case Form::last_two_thirds: {
      expect(rank >= 1 && x.dim(0) % 3 == 0, x, who, "queries, keys and values (3 D, ...)");
      const int64_t third = x.dim(0) / 3;
      return form == Form::first_third ? x.rows(0, third) : x.rows(third, 3 * third);
    }
  }
  fail(Fault::input, who, ": unknown layout");
}

Tensor stacked(const std::vector<Tensor>& tensors, const std::string& who) {
  const Tensor& first = tensors.at(0);
  if (tensors.size() == 1) return first.sealed() ? first : first.seal();
  int64_t rows = 0;
  for (const Tensor& x : tensors) {
    check(x.shape().rank() >= 1 && x.shape().with(0, 0) == first.shape().with(0, 0) &&
              x.dtype() == first.dtype(),
          who, ": is put together from tensors such as ", first.shape(), " of ", name_of(first.dtype()),
          ", got ", x.shape(), " of ", name_of(x.dtype()));
    rows = checked_add(rows, x.dim(0), "rows");
  }
  Tensor out = Tensor::empty(first.shape().with(0, rows), first.dtype());
  std::byte* to = out.mutable_raw().data();
  for (const Tensor& x : tensors) {
    if (x.bytes() > 0) std::memcpy(to, x.raw().data(), x.bytes());
    to += x.bytes();
  }
  return out.seal();
}

}  // namespace vitrine
