#include "engine/shape.h"

#include <algorithm>
#include <vector>

#include "engine/check.h"

namespace vitrine {

Shape::Shape(std::span<const int64_t> extents) {
  check(extents.size() <= max_rank, "shape: at most {} extents, got {}", max_rank, extents.size());
  rank_ = static_cast<int>(extents.size());
  int64_t product = 1;  // without zeros: strides are products of a part of the extents
  bool empty = false;
  for (int i = 0; i < rank_; ++i) {
    check(extents[i] >= 0, "shape: extent {} is negative: {}", i, extents[i]);
    extents_[i] = extents[i];
    empty = empty || extents[i] == 0;
    if (extents[i] != 0) product = checked_multiply(product, extents[i], "shape");
  }
  numel_ = empty ? 0 : product;
}

int64_t Shape::dim(int i) const {
  const int position = i < 0 ? i + rank_ : i;
  check(position >= 0 && position < rank_, "shape: no extent {} in {}", i, *this);
  return extents_[position];
}

int64_t Shape::rows_before(int i) const {
  int64_t rows = 1;
  for (int k = 0; k < (i < 0 ? i + rank_ : i); ++k) rows *= extents_[k];
  return rows;
}

int64_t Shape::columns_from(int i) const {
  int64_t columns = 1;
  for (int k = i < 0 ? i + rank_ : i; k < rank_; ++k) columns *= extents_[k];
  return columns;
}

Shape Shape::with(int i, int64_t extent) const {
  dim(i);  // checks i
  std::vector<int64_t> changed(extents().begin(), extents().end());
  changed[i < 0 ? i + rank_ : i] = extent;
  return Shape(std::span<const int64_t>(changed));
}

Shape Shape::without(int i) const {
  dim(i);
  std::vector<int64_t> changed(extents().begin(), extents().end());
  changed.erase(changed.begin() + (i < 0 ? i + rank_ : i));
  return Shape(std::span<const int64_t>(changed));
}

bool Shape::operator==(const Shape& other) const { return std::ranges::equal(extents(), other.extents()); }

std::string Shape::str() const {
  std::string out = "(";
  for (int i = 0; i < rank_; ++i) out += (i ? ", " : "") + std::to_string(extents_[i]);
  return out + ")";
}

}  // namespace vitrine
