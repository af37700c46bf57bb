// edge_histogram.h: which way edges run in each part of a picture (histograms of oriented gradients, Dalal
// and Triggs, CVPR 2005; as something to predict in pretraining: Wei et al., arXiv 2112.09133).
#pragma once

#include <cstdint>
#include <span>

namespace vitrine {

// Histograms of a square picture rgb (3, side, side) in cells of cell x cell pixels, into
// (bins, side / cell, side / cell) numbers of at least 0. A pixel's gradient is the central difference
// (borders repeated) of the channel where it is longest, for values in [0, 1]; its length goes to the two
// bins nearest its direction, taken modulo 180 degrees, bin k being centred at k * 180 / bins degrees
// (0: dark and light side by side). An entry is the square root of what the mean pixel of the cell gives.
// Throws if the sizes do not fit.
void edge_histogram(std::span<const uint8_t> rgb, int side, int cell, int bins, std::span<float> out);

}  // namespace vitrine
