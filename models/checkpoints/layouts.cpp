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
  constexpr int64_t side = 64, line = 64;
  parallel_for((columns + side - 1) / side, 1, [&](int64_t begin, int64_t end) {
    std::array<Word, side * side> square;
    for (int64_t c0 = begin * side; c0 < std::min(columns, end * side); c0 += side)
      for (int64_t r0 = 0; r0 < rows; r0 += side) {
        const int64_t width = std::min(side, columns - c0), height = std::min(side, rows - r0);
        for (int64_t r = 0; r < height; ++r) {
          // The next square's rows lie far apart, where no processor fetches them ahead by itself.
          if (r0 + side + r < rows)
            for (int64_t c = 0; c < width; c += line / sizeof(Word))
              __builtin_prefetch(from + ((r0 + side + r) * from_row + c0 + c) * sizeof(Word));
          for (int64_t c = 0; c < width; ++c)
            std::memcpy(&square[c * side + r], from + ((r0 + r) * from_row + c0 + c) * sizeof(Word),
                        sizeof(Word));
        }
        for (int64_t c = 0; c < width; ++c)
          std::copy_n(square.data() + c * side, height, to + (c0 + c) * to_row + r0);
      }
  });
}

// Calls f with `to` as words as wide as the elements.
template <class F>
void as_words(DType dtype, std::byte* to, F f) {
  const auto call = [&](auto word) { f(reinterpret_cast<decltype(word)*>(to)); };
  switch (size_of(dtype)) {
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

void expect(bool fits, const Tensor& x, const std::string& who, const char* shape) {
  check(fits && x.numel() > 0, "{}: expected {}, got {}", who, shape, x.shape());
}

// Whether the elements come to lie in another order. The others are views of the tensor.
bool moves(Form form) {
  return form == Form::matrix || form == Form::filters || form == Form::heads_in || form == Form::heads_out;
}

Shape moved_shape(const Tensor& x, Form form, const std::string& who) {
  const int rank = x.shape().rank();
  switch (form) {
    case Form::matrix:
      expect(rank == 2, x, who, "a matrix (in, out)");
      return {x.dim(1), x.dim(0)};
    case Form::filters:
      expect(rank == 4, x, who, "filters (p, p, 3, D)");
      return {x.dim(3), x.dim(2), x.dim(0), x.dim(1)};
    case Form::heads_in:
      expect(rank == 3, x, who, "(D, heads, D / heads)");
      return {x.dim(1) * x.dim(2), x.dim(0)};
    default:
      expect(rank == 3, x, who, "(heads, D / heads, D)");
      return {x.dim(2), x.dim(0) * x.dim(1)};
  }
}

// Writes the elements of a tensor of that form in their new order.
void move_to(const Tensor& x, Form form, std::byte* out) {
  const std::byte* from = x.raw().data();
  as_words(x.dtype(), out, [&](auto* to) {
    if (form != Form::filters) {
      const int64_t rows = form == Form::heads_out ? x.dim(0) * x.dim(1) : x.dim(0),
                    columns = x.numel() / rows;
      return turn(from, to, rows, columns, columns, rows);
    }
    // (p, p, 3, D) -> (D, 3, p, p): for each colour (p p, D) -> (D, p p).
    const int64_t places = x.dim(0) * x.dim(1), colours = x.dim(2), width = x.dim(3);
    for (int64_t c = 0; c < colours; ++c)
      turn(from + c * width * static_cast<int64_t>(sizeof(*to)), to + c * places, places, width,
           colours * width, colours * places);
  });
}

Tensor view(const Tensor& x, Form form, const std::string& who) {
  const int rank = x.shape().rank();
  switch (form) {
    case Form::patch: {
      if (rank == 4) return x;
      expect(rank == 2 && x.dim(1) % 3 == 0, x, who, "filters (D, 3, p, p) or (D, 3 p p)");
      const auto p = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(x.dim(1) / 3))));
      expect(3 * p * p == x.dim(1), x, who, "filters (D, 3, p, p) or (D, 3 p p)");
      return x.reshape({x.dim(0), 3, p, p});
    }
    case Form::heads_bias:
      expect(rank == 2, x, who, "(heads, D / heads)");
      return x.reshape({x.numel()});
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
    default:
      return x;
  }
}

// The pieces are alike: one that is not is named, which need not be the one that differs from the first.
void check_alike(const std::vector<Piece>& pieces, const std::vector<Shape>& shapes) {
  const auto alike = [&](size_t i, size_t j) {
    return shapes[i] == shapes[j] && pieces[i].tensor.dtype() == pieces[j].tensor.dtype();
  };
  const auto count_alike = [&](size_t i) {
    size_t count = 0;
    for (size_t j = 0; j < pieces.size(); ++j) count += alike(i, j);
    return count;
  };
  size_t usual = 0;
  for (size_t i = 1; i < pieces.size(); ++i)
    if (count_alike(i) > count_alike(usual)) usual = i;
  for (size_t i = 0; i < pieces.size(); ++i)
    check(alike(i, usual),
          "{}: expected {} of {} in PyTorch's layout, as of what it is put together with, got {} of {}",
          pieces[i].who, shapes[usual], name_of(pieces[usual].tensor.dtype()), shapes[i],
          name_of(pieces[i].tensor.dtype()));
}

}  // namespace

Tensor laid_out(const Tensor& x, Form form, const std::string& who) {
  if (!moves(form)) return view(x, form, who);
  Tensor out = Tensor::empty(moved_shape(x, form, who), x.dtype());
  move_to(x, form, out.mutable_raw().data());
  return out.seal();
}

Tensor stacked(std::vector<Piece> pieces) {
  std::vector<Shape> shapes;
  for (Piece& piece : pieces) {
    if (!moves(piece.form)) piece.tensor = view(piece.tensor, piece.form, piece.who);
    shapes.push_back(moves(piece.form) ? moved_shape(piece.tensor, piece.form, piece.who)
                                       : piece.tensor.shape());
    check(shapes.back().rank() >= 1, "{}: expected rows, got {}", piece.who, shapes.back());
  }
  check_alike(pieces, shapes);
  const int64_t rows = checked_multiply(shapes.at(0).dim(0), static_cast<int64_t>(pieces.size()), "rows");
  Tensor out = Tensor::empty(shapes[0].with(0, rows), pieces[0].tensor.dtype());
  std::byte* to = out.mutable_raw().data();
  for (Piece& piece : pieces) {
    if (moves(piece.form)) {
      move_to(piece.tensor, piece.form, to);
    } else if (piece.tensor.bytes() > 0) {
      std::memcpy(to, piece.tensor.raw().data(), piece.tensor.bytes());
    }
    to += piece.tensor.bytes();
    piece.tensor.set_aside();
    piece.tensor = {};
  }
  return out.seal();
}

}  // namespace vitrine
