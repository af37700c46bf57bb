// pca.h: the directions in which points spread most: principal components, and the eigenvectors behind them.
#pragma once

#include <vector>

#include "engine/tensor.h"

namespace vitrine {

// The eigenvalues of a symmetric matrix (n, n) f64, greatest first, and its eigenvectors as the rows of (n, n), of
// length 1 and orthogonal to each other. By Householder's reduction to three diagonals and the QR algorithm with
// Wilkinson's shift (Golub and Van Loan, Matrix Computations, 8.3). Only the lower triangle is read. Throws for other
// shapes and types and for numbers that are not finite.
struct SymmetricEigen {
  std::vector<double> values;
  Tensor vectors;
};
SymmetricEigen symmetric_eigen(const Tensor& matrix);

// The first `count` principal components of the rows of points (N, D) f64. Exact: eigenvectors of the covariance, or
// where N < D of the products of points, which has the same eigenvalues but zeros. A component's sign makes its greatest
// entry (the first of equals) positive. Throws unless 1 <= count <= min(N, D); components along which nothing spreads
// are zeros.
struct Pca {
  Tensor components;              // (count, D)
  Tensor projected;               // (N, count): the points less their mean, along the components
  std::vector<double> variances;  // of `projected`, dividing by N - 1 (by 1 if N is 1)
  double total = 0;               // variance in all D directions
};
Pca pca(const Tensor& points, int64_t count);

}  // namespace vitrine
