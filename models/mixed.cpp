#include "models/mixed.h"

#include <tuple>

#include "engine/check.h"

namespace vitrine {

namespace {

const Pass pass{.history = false};

// Images of one form, which follow each other: so many tokens each, of which so many are prompts.
struct Segment {
  std::vector<PromptedImages> tasks;
  int64_t images = 0, tokens = 0, standing = 0;
  const PreparedPrompts& form() const { return *tasks[0].prompts; }

  // `own` (P, D) of each task's prompts: (P, D) if there is one task, else (B, P, D).
  template <class F>
  Variable of_tasks(const F& own) const {
    if (tasks.size() == 1) return own(*tasks[0].prompts);
    std::vector<Variable> parts;
    for (const PromptedImages& task : tasks) parts.push_back(repeat(own(*task.prompts), task.images));
    return concat(parts, 0);
  }
  KeyValuePrefix keys_values(size_t block) const {
    return {of_tasks([&](const PreparedPrompts& p) { return p.blocks[block].keys; }),
            of_tasks([&](const PreparedPrompts& p) { return p.blocks[block].values; })};
  }
  Variable rows() const {
    return of_tasks([](const PreparedPrompts& p) { return p.rows; });
  }
  Variable standing_rows() const {  // (B, P, D)
    const Variable own = rows();
    return own.shape().rank() == 2 ? repeat(own, images) : own;
  }
};

// Tokens of all images as rows (R, D), segment after segment.
struct Rows {
  std::vector<Segment> segments;
  Variable x;

  Rows(const Variable& tokens, std::span<const PromptedImages> batch) {
    const int64_t count = tokens.dim(1);
    for (const PromptedImages& task : batch) {
      check(task.images > 0, "mixed: a task without images");
      if (segments.empty() || !same_form(segments.back().form(), *task.prompts))
        segments.push_back({{}, 0, count, 0});
      segments.back().tasks.push_back(task);
      segments.back().images += task.images;
    }
    int64_t images = 0;
    for (const Segment& segment : segments) images += segment.images;
    check(images == tokens.dim(0), "mixed: tasks of {} images, but tokens of {}", images, tokens.dim(0));
    x = reshape(tokens, {images * count, tokens.dim(2)});
  }

  // f(segment, its part (B, T, K) of rows (R, K)) -> (B, T', N) for each segment, as rows.
  template <class F>
  Variable each(const Variable& rows, const F& f) const {
    std::vector<Variable> parts;
    int64_t begin = 0;
    for (const Segment& segment : segments) {
      const int64_t end = begin + segment.images * segment.tokens;
      const Variable part =
          f(segment, reshape(slice(rows, 0, begin, end), {segment.images, segment.tokens, rows.dim(1)}));
      parts.push_back(reshape(part, {part.numel() / part.dim(-1), part.dim(-1)}));
      begin = end;
    }
    return parts.size() == 1 ? parts[0] : concat(parts, 0);
  }

  // Puts prompts among the tokens of the segments that are `whose`, behind the first `at` of each image.
  template <class F>
  void join(int64_t at, const F& whose) {
    x = each(x, [&](const Segment& segment, const Variable& tokens) {
      if (!whose(segment)) return tokens;
      return concat({slice(tokens, 1, 0, at), segment.standing_rows(), slice(tokens, 1, at, segment.tokens)},
                    1);
    });
    for (Segment& segment : segments) {
      if (!whose(segment)) continue;
      segment.standing = segment.form().count;
      segment.tokens += segment.standing;
    }
  }
};

bool is_shallow(const Segment& segment) { return segment.form().kind == PromptKind::shallow; }
bool is_deep(const Segment& segment) { return segment.form().kind == PromptKind::deep; }

Variable features_of(const Vit& net, const Variable& tokens, std::span<const PromptedImages> batch) {
  const VitConfig& config = net.config();
  const bool few = config.pooling == Pooling::token;
  const int64_t pooled = config.pooled_tokens();
  Rows rows(tokens, batch);
  rows.join(config.prefix(), is_shallow);
  for (int64_t i = 0; i < config.depth; ++i) {
    const VitBlock& block = net.blocks()[i];
    Variable attended;
    if (few && i + 1 == config.depth) {
      // Only the pooled tokens are asked for.
      attended = rows.each(rows.x, [&](const Segment& segment, const Variable& x) {
        if (pooled == 1)
          return block.attn.first_token(block.norm1, x, is_deep(segment) ? segment.rows() : Variable());
        return block.attn.first_tokens(pooled, block.norm1, x,
                                       is_deep(segment) ? segment.keys_values(i) : KeyValuePrefix{});
      });
      rows.x = rows.each(rows.x, [&](const Segment&, const Variable& x) { return slice(x, 1, 0, pooled); });
      for (Segment& segment : rows.segments) segment.tokens = pooled;
    } else {
      attended = rows.each(
          block.attn.joint(block.norm1, rows.x), [&](const Segment& segment, const Variable& joint) {
            return self_attention(joint, block.attn.heads,
                                  is_deep(segment) ? segment.keys_values(i) : KeyValuePrefix{});
          });
    }
    const Variable middle = block.attn.project(rows.x, attended, 0, 0, pass, block.scale1);
    rows.x = block.mlp.after(block.norm2, middle, 0, 0, pass, block.scale2);
  }
  return rows.each(rows.x, [&](const Segment& segment, const Variable& x) {
    return net.pool(x, PromptPooling::backbone, segment.standing);
  });
}

Variable features_of(const Swin& net, const Variable& tokens, WindowGrid grid,
                     std::span<const PromptedImages> batch) {
  Rows rows(tokens, batch);
  const auto grid_of = [&](const Segment& segment) {
    WindowGrid own = grid;
    own.prompts = segment.standing;
    return own;
  };
  rows.join(0, is_shallow);
  const int64_t last = net.config().blocks() - 1;
  int64_t at = 0;
  for (const Swin::Stage& stage : net.stages()) {
    for (const SwinBlock& block : stage.blocks) {
      if (at == last) rows.join(0, is_deep);  // the mean below takes them
      grid.window = block.attn.window;
      grid.shift = block.shift;
      const Attention& attention = block.attn.attention;
      const Variable attended = rows.each(attention.joint(block.norm1, rows.x), [&](const Segment& segment,
                                                                                    const Variable& joint) {
        return window_attention(joint, block.attn.bias, attention.heads, grid_of(segment),
                                is_deep(segment) && at < last ? segment.keys_values(at) : KeyValuePrefix{},
                                attention.filling());
      });
      const Variable middle = attention.project(rows.x, attended, 0, 0, pass);
      rows.x = block.mlp.after(block.norm2, middle, 0, 0, pass);
      ++at;
    }
    for (const PatchMerging& merge : stage.downsample) {
      rows.x = rows.each(
          rows.x, [&](const Segment& segment, const Variable& x) { return merge(x, grid_of(segment)); });
      grid.rows = (grid.rows + 1) / 2;
      grid.columns = (grid.columns + 1) / 2;
      for (Segment& segment : rows.segments) segment.tokens = segment.standing + grid.rows * grid.columns;
    }
  }
  return rows.each(rows.x, [&](const Segment& segment, const Variable& x) {
    return net.pool(x, PromptPooling::backbone, segment.standing);
  });
}

// The prompts of a block as the net's tokens are: pixels behind its patch embedding.
Variable net_rows(const Transformer& net, const Prompts& prompts, int64_t block, DType dtype) {
  if (const auto* vit = std::get_if<Vit>(&net.net())) return vit->prompt_rows(prompts, block, dtype, pass);
  return convert(prompts.layer(block, pass), dtype).detach();
}

// The norm and the attention of each block, first to last, which turn its prompts into keys and values.
std::vector<std::pair<const LayerNorm*, const Attention*>> sources_of(const Transformer& net) {
  std::vector<std::pair<const LayerNorm*, const Attention*>> out;
  if (const auto* vit = std::get_if<Vit>(&net.net())) {
    for (const VitBlock& block : vit->blocks()) out.emplace_back(&block.norm1, &block.attn);
    return out;
  }
  for (const Swin::Stage& stage : std::get<Swin>(net.net()).stages())
    for (const SwinBlock& block : stage.blocks) out.emplace_back(&block.norm1, &block.attn.attention);
  out.pop_back();  // full tokens there
  return out;
}

}  // namespace

size_t PreparedPrompts::bytes() const {
  size_t sum = rows.defined() ? rows.value().bytes() : 0;
  for (const KeyValuePrefix& own : blocks) sum += own.keys.value().bytes() + own.values.value().bytes();
  return sum;
}

bool shares_pass(const PromptConfig& given, const TransformerConfig& backbone) {
  if (given.kind == PromptKind::none) return true;
  const PromptPlaces places = prompt_places(backbone);
  const PromptConfig config = settled(given, places);
  return config.location != PromptLocation::add && config.pooling == PromptPooling::backbone &&
         !config.gated && config.first == 0 && config.last == places.blocks();
}

PreparedPrompts prepare_prompts(const Transformer& net, const Prompts& prompts, DType dtype) {
  const PromptConfig& config = prompts.config();
  check(shares_pass(config, net.config()), "mixed: images under such prompts share no pass with others");
  if (config.kind == PromptKind::none) return {};
  PreparedPrompts out{config.kind, config.count, {}, {}};
  const auto rows_of = [&](int64_t block) { return net_rows(net, prompts, block, dtype); };
  // A block of their own: a view would keep the prompts of all blocks.
  const auto kept = [](const Variable& rows) {
    return Variable(rows.value().copied_to(rows.value().memory()));
  };
  if (prompts.shallow()) {
    out.rows = kept(rows_of(0));
    return out;
  }
  int64_t i = 0;
  for (const auto& [norm, attention] : sources_of(net)) {
    const KeyValuePrefix own = attention->keys_values((*norm)(rows_of(i++)));
    out.blocks.push_back({own.keys.detach(), own.values.detach()});
  }
  out.rows = kept(rows_of(block_count(net.config()) - 1));
  return out;
}

bool same_form(const PreparedPrompts& a, const PreparedPrompts& b) {
  return a.kind == b.kind && a.count == b.count;
}

bool form_before(const PreparedPrompts& a, const PreparedPrompts& b) {
  return std::tie(a.kind, a.count) < std::tie(b.kind, b.count);
}

Variable mixed_features(const Transformer& net, const Embedded& embedded,
                        std::span<const PromptedImages> batch) {
  if (const auto* vit = std::get_if<Vit>(&net.net()))
    return features_of(*vit, embedded.tokens, batch).detach();
  return features_of(std::get<Swin>(net.net()), embedded.tokens, embedded.grid, batch).detach();
}

}  // namespace vitrine
