// shape.h: the extents of a tensor, outermost first, e.g. (B, N, D).
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace vitrine {

// A value of up to eight extents, each >= 0. A shape of rank 0 holds one element.
class Shape {
 public:
  static constexpr int max_rank = 8;

  Shape() = default;
  Shape(std::initializer_list<int64_t> extents) : Shape(std::span(extents.begin(), extents.size())) {}
  // Throws if there are more than eight extents, one is negative, or the product of those other than 0
  // overflows: so no product of some of them does, of an empty shape neither.
  explicit Shape(std::span<const int64_t> extents);

  int rank() const { return rank_; }
  int64_t numel() const { return numel_; }
  // Extent i; a negative i counts from the end, so that dim(-1) is the last one. Throws if there is none.
  int64_t dim(int i) const;
  // The product of all extents before (after) position i: the rows (the row length) of a matrix view.
  int64_t rows_before(int i) const;
  int64_t columns_from(int i) const;
  std::span<const int64_t> extents() const { return {extents_.data(), static_cast<size_t>(rank_)}; }

  // Copies with one extent replaced, removed or inserted.
  Shape with(int i, int64_t extent) const;
  Shape without(int i) const;

  std::string str() const;  // "(2, 3)"
  bool operator==(const Shape& other) const;

 private:
  std::array<int64_t, max_rank> extents_{};
  int rank_ = 0;
  int64_t numel_ = 1;
};

}  // namespace vitrine
