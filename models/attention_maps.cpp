#include "models/attention_maps.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "engine/check.h"

namespace vitrine {

namespace {

// What a block's attention gives its tokens, (B, T, D), and its map.
struct Attended {
  Variable rows;
  Tensor weights, filled;
};

// Part i of queries, keys and values by heads: (G, n, 3 D) -> (G, heads, n, D / heads).
Variable by_heads(const Variable& qkv, int64_t i, int64_t heads) {
  const int64_t groups = qkv.dim(0), n = qkv.dim(1), d = qkv.dim(2) / 3;
  return permute(reshape(slice(qkv, 2, i * d, (i + 1) * d), {groups, n, heads, d / heads}), {0, 2, 1, 3});
}

// q k^T / sqrt(width of a head): (G, heads, n, n)
Variable scores_of(const Variable& qkv, int64_t heads) {
  const Variable k = permute(by_heads(qkv, 1, heads), {0, 1, 3, 2});
  return scale(matmul(by_heads(qkv, 0, heads), k),
               1 / std::sqrt(static_cast<double>(qkv.dim(2)) / static_cast<double>(3 * heads)));
}

// weights (G, heads, n, n) -> the weighted values, heads side by side: (G, n, D)
Variable weighted_values(const Variable& weights, const Variable& qkv, int64_t heads) {
  return reshape(permute(matmul(weights, by_heads(qkv, 2, heads)), {0, 2, 1, 3}),
                 {qkv.dim(0), qkv.dim(1), qkv.dim(2) / 3});
}

Attended attend(const Attention& attention, const LayerNorm& norm, const Variable& x) {
  const Variable qkv = attention.joint(norm, x), weights = softmax(scores_of(qkv, attention.heads));
  return {weighted_values(weights, qkv, attention.heads), weights.value(), {}};
}

// --- windows -----------------------------------------------------------------------------------------------

// One axis of a map, rolled and filled up to whole windows.
struct Axis {
  std::vector<int64_t> from;  // which row (column) of the map stands in this place; -1: none, it is filled up
  std::vector<int> region;    // places of different regions of one window came together by wrapping
};

Axis axis_of(int64_t length, const WindowGrid& grid) {
  const int64_t w = grid.window, full = (length + w - 1) / w * w, shift = full > w ? grid.shift : 0;
  Axis axis;
  for (int64_t place = 0; place < full; ++place) {
    int64_t from = place;
    if (grid.padding == WindowGrid::Padding::before_roll)
      from = (place + shift) % full;
    else if (place < length)
      from = (place + shift) % length;
    axis.from.push_back(from < length ? from : -1);
    axis.region.push_back(shift == 0 || place < full - w ? 0 : place < full - shift ? 1 : 2);
  }
  return axis;
}

// A window: which token (behind the prompts) stands in each of its slots, and the region of each slot.
struct Window {
  std::vector<int64_t> tokens;
  std::vector<int> regions;
};

std::vector<Window> windows_of(const WindowGrid& grid) {
  const Axis down = axis_of(grid.rows, grid), across = axis_of(grid.columns, grid);
  const auto w = static_cast<size_t>(grid.window);
  std::vector<Window> out;
  for (size_t top = 0; top < down.from.size(); top += w)
    for (size_t left = 0; left < across.from.size(); left += w) {
      Window window;
      for (size_t y = top; y < top + w; ++y)
        for (size_t x = left; x < left + w; ++x) {
          const bool there = down.from[y] >= 0 && across.from[x] >= 0;
          window.tokens.push_back(there ? down.from[y] * grid.columns + across.from[x] : -1);
          window.regions.push_back(3 * down.region[y] + across.region[x]);
        }
      out.push_back(std::move(window));
    }
  return out;
}

// What is added to the scores: the bias of each distance, and -100 between regions: (windows, heads, n, n) for n = P + w w
// tokens of a window, zeros where a prompt asks or is asked.
template <class T>
Tensor bias_and_mask(const std::vector<Window>& windows, const Tensor& table, const WindowGrid& grid) {
  const int64_t w = grid.window, p = grid.prompts, n = p + w * w, heads = table.dim(1);
  Tensor out = Tensor::zeros({static_cast<int64_t>(windows.size()), heads, n, n}, table.dtype());
  const T* biases = table.data<T>().data();
  T* to = out.mutable_data<T>().data();
  for (const Window& window : windows)
    for (int64_t head = 0; head < heads; ++head, to += n * n)
      for (int64_t i = 0; i < w * w; ++i)
        for (int64_t j = 0; j < w * w; ++j) {
          const int64_t distance = (i / w - j / w + w - 1) * (2 * w - 1) + i % w - j % w + w - 1;
          const bool apart = window.regions[static_cast<size_t>(i)] != window.regions[static_cast<size_t>(j)];
          to[(p + i) * n + p + j] = biases[distance * heads + head] - (apart ? T(100) : T(0));
        }
  return out;
}

// The rows of each window, prompts first: (B, P + N, K) -> (B windows, P + w w, K). `filling` (K) stands where there is
// no token.
template <class T>
Tensor cut(const Tensor& x, const std::vector<Window>& windows, int64_t prompts, const Tensor& filling) {
  const int64_t images = x.dim(0), width = x.dim(2), slots = static_cast<int64_t>(windows[0].tokens.size());
  Tensor out =
      Tensor::zeros({images * static_cast<int64_t>(windows.size()), prompts + slots, width}, x.dtype());
  T* to = out.mutable_data<T>().data();
  for (int64_t b = 0; b < images; ++b) {
    const T* rows = x.data<T>().data() + b * x.dim(1) * width;
    for (const Window& window : windows) {
      to = std::copy_n(rows, prompts * width, to);
      for (const int64_t token : window.tokens) {
        const T* from = token >= 0 ? rows + (prompts + token) * width : filling.data<T>().data();
        to = std::copy_n(from, width, to);
      }
    }
  }
  return out;
}

// Back to (B, P + N, K); a prompt's row is the mean over the windows of its image.
template <class T>
Tensor joined(const Tensor& rows, const std::vector<Window>& windows, const WindowGrid& grid,
              int64_t images) {
  const int64_t p = grid.prompts, width = rows.dim(2), tokens = p + grid.rows * grid.columns;
  Tensor out = Tensor::zeros({images, tokens, width}, rows.dtype());
  const T* from = rows.data<T>().data();
  for (int64_t b = 0; b < images; ++b) {
    T* to = out.mutable_data<T>().data() + b * tokens * width;
    for (const Window& window : windows) {
      for (int64_t i = 0; i < p * width; ++i) to[i] += *from++ / static_cast<T>(windows.size());
      for (const int64_t token : window.tokens) {
        if (token >= 0) std::copy_n(from, width, to + (p + token) * width);
        from += width;
      }
    }
  }
  return out;
}

// The weights within windows (B windows, heads, n, n) as those of all tokens, and what goes to the filling.
template <class T>
void spread(const Tensor& inside, const std::vector<Window>& windows, const WindowGrid& grid, int64_t images,
            Attended& out) {
  const int64_t p = grid.prompts, tokens = p + grid.rows * grid.columns, heads = inside.dim(1),
                n = inside.dim(2);
  out.weights = Tensor::zeros({images, heads, tokens, tokens}, inside.dtype());
  out.filled = Tensor::zeros({images, heads, tokens}, inside.dtype());
  T* to = out.weights.mutable_data<T>().data();
  T* lost = out.filled.mutable_data<T>().data();
  const T* from = inside.data<T>().data();
  for (int64_t b = 0; b < images; ++b)
    for (const Window& window : windows)
      for (int64_t head = 0; head < heads; ++head)
        for (int64_t i = 0; i < n; ++i, from += n) {
          const auto place = [&](int64_t slot) {  // of the token in it among all, or -1
            if (slot < p) return slot;
            const int64_t token = window.tokens[static_cast<size_t>(slot - p)];
            return token < 0 ? token : p + token;
          };
          const int64_t asks = place(i);
          if (asks < 0) continue;
          const T share = asks < p ? 1 / static_cast<T>(windows.size()) : T(1);
          const int64_t row = (b * heads + head) * tokens + asks;
          for (int64_t j = 0; j < n; ++j) {
            const int64_t asked = place(j);
            (asked < 0 ? lost[row] : to[row * tokens + asked]) += share * from[j];
          }
        }
}

Attended attend(const WindowAttention& attention, const LayerNorm& norm, const Variable& x,
                const WindowGrid& grid, bool wanted) {
  const Attention& inner = attention.attention;
  const int64_t images = x.dim(0), heads = inner.heads;
  const std::vector<Window> windows = windows_of(grid);
  const auto count = static_cast<int64_t>(windows.size());
  const Tensor joint = inner.joint(norm, x).value();
  return dispatch(joint.dtype(), "attention_maps", [&](auto zero) {
    using T = decltype(zero);
    const Variable qkv = cut<T>(joint, windows, grid.prompts, inner.filling().value());
    const int64_t n = qkv.dim(1);
    const Variable scores = reshape(scores_of(qkv, heads), {images, count, heads, n, n});
    const Variable weights =
        reshape(softmax(add(scores, bias_and_mask<T>(windows, attention.bias.value(), grid))),
                {images * count, heads, n, n});
    Attended out;
    out.rows = joined<T>(weighted_values(weights, qkv, heads).value(), windows, grid, images);
    if (wanted) spread<T>(weights.value(), windows, grid, images, out);
    return out;
  });
}

// --- the nets ----------------------------------------------------------------------------------------------

// [tokens before the patches, prompts, patches], and the same without prompts.
Variable with_prompts(const Variable& x, int64_t prefix, const Variable& prompts) {
  const Variable own = convert(prompts, x.dtype());
  if (prefix == 0) return concat({own, x}, 1);
  return concat({slice(x, 1, 0, prefix), own, slice(x, 1, prefix, x.dim(1))}, 1);
}
Variable without_prompts(const Variable& x, int64_t prefix, int64_t prompts) {
  if (prompts == 0) return x;
  const Variable patches = slice(x, 1, prefix + prompts, x.dim(1));
  return prefix == 0 ? patches : concat({slice(x, 1, 0, prefix), patches}, 1);
}

// A learned question to the patches: what it looks at, and what follows.
Tensor pool_by_question(const AttentionPool& pool, const Variable& patches, Tensor& features) {
  const int64_t images = patches.dim(0), n = patches.dim(1), d = pool.width, e = d / pool.heads;
  const auto split = [&](const Variable& rows) {  // (..., D) -> (B, heads, rows, e)
    return permute(reshape(rows, {images, rows.numel() / images / d, pool.heads, e}), {0, 2, 1, 3});
  };
  const Variable both = pool.kv(patches);
  const Variable q = split(repeat(reshape(pool.q(pool.latent), {1, d}), images)),
                 k = split(slice(both, 2, 0, d)), v = split(slice(both, 2, d, 2 * d));
  const Variable weights =
      softmax(scale(matmul(q, permute(k, {0, 1, 3, 2})), 1 / std::sqrt(static_cast<double>(e))));
  const Variable found = pool.proj(reshape(permute(matmul(weights, v), {0, 2, 1, 3}), {images, 1, d}));
  features = reshape(pool.mlp.after(pool.norm, found, 0, 0, {}), {images, d}).value();
  return weights.value().reshape({images, pool.heads, n});
}

AttentionPass maps_of(const Vit& vit, const Prompts& prompts, const Tensor& images, int64_t blocks) {
  const VitConfig& config = vit.config();
  const PromptConfig& how = prompts.config();
  const int64_t prefix = config.prefix(), side = config.image_size / config.patch;
  const bool token = config.pooling == Pooling::token, adds = how.location == PromptLocation::add;
  int64_t p = 0;  // prompts among the tokens
  AttentionPass out;
  Variable x = vit.embed(images);
  const auto take = [&](int64_t block) {  // its own prompts, in place of others
    const Variable own = vit.prompt_rows(prompts, block, x.dtype(), {});
    if (adds) {
      x = add(x, own);
      return;
    }
    x = with_prompts(without_prompts(x, prefix, p), prefix, repeat(own, images.dim(0)));
    p = how.count;
  };
  if (prompts.shallow()) take(0);
  for (int64_t i = 0; i < config.depth; ++i) {
    const VitBlock& block = vit.blocks()[static_cast<size_t>(i)];
    if (prompts.in_block(i)) take(i);
    const Variable before = how.gated ? slice(x, 1, prefix, prefix + p) : Variable();
    const Attended attended = attend(block.attn, block.norm1, x);
    if (i >= config.depth - blocks)
      out.maps.push_back({.block = i,
                          .weights = attended.weights,
                          .filled = {},
                          .prefix = prefix,
                          .prompts = p,
                          .rows = side,
                          .columns = side,
                          .pooled_begin = token ? 0 : prefix + p,
                          .pooled_end = token ? config.pooled_tokens() : x.dim(1)});
    x = block.attn.project(x, attended.rows, 0, 0, {}, block.scale1);
    x = block.mlp.after(block.norm2, x, 0, 0, {}, block.scale2, block.adapter).detach();
    if (how.gated) {
      const Variable own = prompts.passed(i, before, slice(x, 1, prefix, prefix + p));
      x = with_prompts(without_prompts(x, prefix, p), prefix, own);
    }
  }
  if (config.pooling == Pooling::map)
    out.pool =
        pool_by_question(vit.attention_pool(), vit.norm()(slice(x, 1, prefix + p, x.dim(1))), out.features);
  else
    out.features = vit.pool(x, how.pooling, p).value();
  return out;
}

AttentionPass maps_of(const Swin& swin, const Prompts& prompts, const Tensor& images, int64_t blocks) {
  const int64_t b = images.dim(0), all = swin.config().blocks();
  AttentionPass out;
  Variable x;
  WindowGrid grid;
  std::tie(x, grid) = swin.embed(images);
  const auto join = [&](int64_t layer) {
    x = with_prompts(x, 0, prompts.tokens(layer, b, {}));
    grid.prompts = prompts.config().count;
  };
  if (prompts.shallow()) join(0);
  int64_t at = 0;
  for (const Swin::Stage& stage : swin.stages()) {
    for (const SwinBlock& block : stage.blocks) {
      if (prompts.deep()) {  // the last block's are not replaced: they are part of the mean
        x = without_prompts(x, 0, grid.prompts);
        join(at);
      }
      grid.window = block.attn.window;
      grid.shift = block.shift;
      const bool wanted = at >= all - blocks, gated = prompts.config().gated;
      const Variable before = gated ? slice(x, 1, 0, grid.prompts) : Variable();
      const Attended attended = attend(block.attn, block.norm1, x, grid, wanted);
      if (wanted)
        out.maps.push_back({.block = at,
                            .weights = attended.weights,
                            .filled = attended.filled,
                            .prefix = 0,
                            .prompts = grid.prompts,
                            .rows = grid.rows,
                            .columns = grid.columns,
                            .pooled_begin = 0,
                            .pooled_end = x.dim(1)});
      x = block.attn.attention.project(x, attended.rows, 0, 0, {});
      x = block.mlp.after(block.norm2, x, 0, 0, {}, {}, block.adapter).detach();
      if (gated) {
        const Variable own = prompts.passed(at, before, slice(x, 1, 0, grid.prompts));
        x = with_prompts(without_prompts(x, 0, grid.prompts), 0, own);
      }
      ++at;
    }
    for (const PatchMerging& merge : stage.downsample) {
      x = merge(x, grid).detach();
      grid.rows = (grid.rows + 1) / 2;
      grid.columns = (grid.columns + 1) / 2;
    }
  }
  out.features = swin.pool(x, prompts.config().pooling, grid.prompts).value();
  return out;
}

}  // namespace

AttentionPass attention_maps(const TunedModel& model, const Tensor& images, int64_t blocks) {
  check(model.home().device() == nullptr && images.device() == nullptr,
        "attention_maps: expected a model and images in main memory");
  const int64_t all = block_count(model.transformer());
  check(blocks >= 1 && blocks <= all, "attention_maps: expected 1 to {} blocks, got {}", all, blocks);
  return std::visit([&](const auto& net) { return maps_of(net, model.parts().prompts, images, blocks); },
                    model.parts().transformer->net());
}

Tensor mean_attention(const AttentionMap& map, int64_t begin, int64_t end) {
  check(begin >= 0 && begin < end && end <= map.weights.dim(2),
        "mean_attention: there are no tokens {} to {} among {}", begin, end, map.weights.dim(2));
  return mean(mean(slice(map.weights, 2, begin, end), 2), 1).value();
}

}  // namespace vitrine
