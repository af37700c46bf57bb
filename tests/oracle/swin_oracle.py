#!/usr/bin/python3
"""swin_oracle.py: an independent Swin Transformer (v1) with visual prompts, to compare whole models with.

Needs Debian's python3-torch (and python3-torchvision for --check), nothing else; safetensors files are read and written
by files.py. Shares no code with Vitrine or with bench/peers. All arithmetic is f64 unless --dtype f32.

    # logits of tensor `images` (B, 3, H, W), already normalised, as tensor `logits` (B, C)
    swin_oracle.py --backbone swin.safetensors --task task.safetensors --images in.safetensors --out out.safetensors

    # also `loss` (mean cross entropy), `grad.prompts` or `grad.prompts.<stage>`, `grad.head.weight`, `grad.head.bias`
    swin_oracle.py ... --grad 3,1,4      # the labels, or the name of an integer tensor (B) in the images file

    # the plain model against torchvision's, known answers, prompts of one image against those of a batch
    swin_oracle.py --check

Backbone: the names of Microsoft's files (patch_embed.proj, patch_embed.norm, layers.S.blocks.J.*, layers.S.downsample.*
at the end of stage S, norm, head); its metadata holds `config`, JSON with width, depths, heads, window, patch, mlp_ratio,
padding, gelu, epsilon. Any image size: zeros fill the image below and to the right to a multiple of the patch, and
an odd map before it is merged. Zeros fill a map to a multiple of the window after norm1; `padding` says whether they are
there when the map is rolled (`before-roll`, torchvision) or come afterwards (`after-roll`, timm). An axis of one window
is not shifted.

Task file (optional): `prompts` (P, D) is VPT-shallow; `prompts.S` (blocks, P, D 2^S) for each stage is VPT-deep; neither
means a linear probe. `head.weight` (C, F), `head.bias` (C). Without a task file the backbone's own head is used.
Prompts (Jia et al., "Visual Prompt Tuning", ECCV 2022): they stand before the tokens and are full tokens of every window,
without relative bias and never masked; what the windows of an image make of them is averaged over those windows, then
goes through the residual and the MLP. Merging repeats them four times along the channels, then norm and reduction.
Deep prompts replace what came before in each block. The head takes the mean of prompts and tokens after `norm`.
Exit status 1 with one line on stderr when an input does not fit.
"""
import argparse
import json
import math
import sys

import torch

from files import fail, read_images, read_safetensors, results, write_safetensors
from vit_oracle import layer_norm


# --- the configuration and the tensors that it asks for ---

def read_config(path, metadata):
    """The configuration in a file's metadata, checked as far as the model uses it."""
    try:
        config = json.loads(metadata["config"])
        if config["model"] != "swin":
            fail(f"{path}: expected a Swin, got a model '{config['model']}'")
        numbers = [config[key] for key in ("patch", "width", "window", "classes")] + config["depths"] + config["heads"]
        if any(type(n) is not int or n < 1 for n in numbers) or len(config["depths"]) != len(config["heads"]):
            fail(f"{path}: config: expected positive whole numbers and a number of heads for each stage, got {config}")
        if config["padding"] not in ("before-roll", "after-roll") or config["gelu"] not in ("erf", "tanh"):
            fail(f"{path}: config: unknown padding '{config['padding']}' or gelu '{config['gelu']}'")
        if any((config["width"] << s) % heads for s, heads in enumerate(config["heads"])):
            fail(f"{path}: config: the heads {config['heads']} do not divide the widths of their stages")
        config["mlp_ratio"], config["epsilon"] = float(config["mlp_ratio"]), float(config["epsilon"])
        return config
    except (KeyError, ValueError, TypeError) as error:
        fail(f"{path}: the metadata holds no configuration of a Swin ({error!r})")


def parameters(config):
    """(name, shape) of every tensor of the backbone, in the order in which known answers are filled in."""
    def pair(name, *shape):
        return [(name + ".weight", shape), (name + ".bias", shape[:1])]

    width, patch = config["width"], config["patch"]
    listed = pair("patch_embed.proj", width, 3, patch, patch) + pair("patch_embed.norm", width)
    for stage, (depth, heads) in enumerate(zip(config["depths"], config["heads"])):
        width, hidden = config["width"] << stage, int((config["width"] << stage) * config["mlp_ratio"])
        for block in range(depth):
            name = f"layers.{stage}.blocks.{block}."
            listed += pair(name + "norm1", width)
            listed += [(name + "attn.relative_position_bias_table", ((2 * config["window"] - 1) ** 2, heads))]
            listed += pair(name + "attn.qkv", 3 * width, width) + pair(name + "attn.proj", width, width)
            listed += pair(name + "norm2", width)
            listed += pair(name + "mlp.fc1", hidden, width) + pair(name + "mlp.fc2", width, hidden)
        if stage + 1 < len(config["depths"]):
            name = f"layers.{stage}.downsample."
            listed += [(name + "reduction.weight", (2 * width, 4 * width))] + pair(name + "norm", 4 * width)
    return listed + pair("norm", width) + pair("head", config["classes"], width)


def check_tensors(path, tensors, listed):
    for name, shape in listed:
        if name not in tensors:
            fail(f"{path}: tensor '{name}' is missing")
        if tuple(tensors[name].shape) != tuple(shape):
            fail(f"{path}: tensor '{name}': expected {tuple(shape)}, got {tuple(tensors[name].shape)}")


# --- windows as tables of token numbers: no token is moved but by such a table ---

def window_tables(height, width, window, shift, padding):
    """Tokens of each window and their regions, both (windows, window^2).

    Tokens are numbered row by row; height * width stands for a token of padding. Only tokens of one region attend to
    each other: a region holds what was neighbours before the roll.
    """
    def axis(length):
        """For each place along the padded axis: the old place of what the roll brings there (-1: padding), its region."""
        padded = -(-length // window) * window
        moved = 0 if window >= padded else shift
        rolled = padded if padding == "before-roll" else length
        places = [(i + moved) % rolled if i < rolled else -1 for i in range(padded)]
        regions = [(i >= padded - window) + (moved > 0 and i >= padded - moved) for i in range(padded)]
        return [(place if place < length else -1, region) for place, region in zip(places, regions)]

    rows, columns = axis(height), axis(width)
    tokens, regions = [], []
    for top in range(0, len(rows), window):
        for left in range(0, len(columns), window):
            cells = [(r, c) for r in rows[top:top + window] for c in columns[left:left + window]]
            tokens.append([height * width if r[0] < 0 or c[0] < 0 else r[0] * width + c[0] for r, c in cells])
            regions.append([3 * r[1] + c[1] for r, c in cells])
    return torch.tensor(tokens), torch.tensor(regions)


def relative_bias(table, window):
    """Rows of the table by the offset of query to key -> (heads, window^2, window^2)."""
    places = [(r, c) for r in range(window) for c in range(window)]
    rows = [[(i[0] - j[0] + window - 1) * (2 * window - 1) + i[1] - j[1] + window - 1 for j in places] for i in places]
    return table[torch.tensor(rows)].permute(2, 0, 1)


# --- the model, as functions of a dictionary of weights ---

def linear(w, name, x):
    y = torch.einsum("...d,od->...o", x, w[name + ".weight"])
    return y + w[name + ".bias"] if name + ".bias" in w else y


def gelu(x, form):
    if form == "erf":
        return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def attention(w, name, prompts, tokens, size, shift, heads, config):
    """Prompts (B, P, D) and tokens (B, height * width, D) after norm1 -> what attention adds to both."""
    window, count = config["window"], prompts.shape[1]
    order, regions = window_tables(*size, window, shift, config["padding"])
    batch, number, width = tokens.shape
    padded = torch.cat([tokens, torch.zeros_like(tokens[:, :1])], 1)
    shared = prompts.unsqueeze(1).expand(-1, len(order), -1, -1)
    x = torch.cat([shared, padded[:, order]], 2)  # (B, windows, P + window^2, D)

    q, k, v = (t.unflatten(-1, (heads, width // heads)) for t in linear(w, name + ".qkv", x).split(width, -1))
    scores = torch.einsum("bwnhd,bwmhd->bwhnm", q, k) / math.sqrt(width // heads)
    extra = torch.zeros(len(order), heads, *scores.shape[-2:], dtype=x.dtype)
    extra[:, :, count:, count:] = relative_bias(w[name + ".relative_position_bias_table"], window)
    if shift:
        strangers = regions.unsqueeze(2) != regions.unsqueeze(1)
        extra[:, :, count:, count:] -= 100.0 * strangers.unsqueeze(1)
    scores = torch.exp(scores + extra - (scores + extra).max(-1, keepdim=True).values.detach())
    weights = scores / scores.sum(-1, keepdim=True)
    y = linear(w, name + ".proj", torch.einsum("bwhnm,bwmhd->bwnhd", weights, v).flatten(3))

    where = torch.empty(number + 1, dtype=torch.long)  # each token stands in one window; the padding's place is unused
    where[order.flatten()] = torch.arange(order.numel())
    return y[:, :, :count].mean(1), y[:, :, count:].flatten(1, 2)[:, where[:number]]


def block(w, name, prompts, tokens, size, shift, heads, config):
    def both(function, inputs):
        return [function(x) for x in inputs]

    def mlp(x):
        y = layer_norm(w, name + ".norm2", x, config["epsilon"])
        return x + linear(w, name + ".mlp.fc2", gelu(linear(w, name + ".mlp.fc1", y), config["gelu"]))

    normed = both(lambda x: layer_norm(w, name + ".norm1", x, config["epsilon"]), (prompts, tokens))
    added = attention(w, name + ".attn", *normed, size, shift, heads, config)
    return both(mlp, [x + y for x, y in zip((prompts, tokens), added)])


def merge(w, name, prompts, tokens, size, config):
    """Four neighbours become one token of twice the width; prompts, four times themselves, become as wide."""
    height, width = size
    rows, columns = (height + 1) // 2, (width + 1) // 2
    padded = torch.cat([tokens, torch.zeros_like(tokens[:, :1])], 1)
    order = [[[r * width + c if r < height and c < width else height * width
               for r, c in ((2 * i, 2 * j), (2 * i + 1, 2 * j), (2 * i, 2 * j + 1), (2 * i + 1, 2 * j + 1))]
              for j in range(columns)] for i in range(rows)]
    tokens = padded[:, torch.tensor(order).flatten(0, 1)].flatten(2)
    reduced = [linear(w, name + ".reduction", layer_norm(w, name + ".norm", x, config["epsilon"]))
               for x in (prompts.repeat(1, 1, 4), tokens)]
    return *reduced, (rows, columns)


def embed(w, images, config):
    """Images (B, 3, H, W) -> tokens (B, rows * columns, D) after their norm, and (rows, columns)."""
    side = config["patch"]
    height, width = (-(-length // side) * side for length in images.shape[2:])
    filled = torch.zeros(*images.shape[:2], height, width, dtype=images.dtype)
    filled[:, :, :images.shape[2], :images.shape[3]] = images
    patches = filled.unflatten(3, (width // side, side)).unflatten(2, (height // side, side))
    tokens = torch.einsum("bciyjx,dcyx->bijd", patches, w["patch_embed.proj.weight"]).flatten(1, 2)
    tokens = layer_norm(w, "patch_embed.norm", tokens + w["patch_embed.proj.bias"], config["epsilon"])
    return tokens, (height // side, width // side)


def forward(w, config, images, prompts, head):
    """Logits (B, C). prompts: None, (P, D) or a list of (blocks, P, D 2^stage); head: (weight, bias or None)."""
    if images.shape[1] != 3 or 0 in images.shape:
        fail(f"images: expected (B, 3, H, W), got {tuple(images.shape)}")
    tokens, size = embed(w, images, config)
    own = tokens[:, :0]  # no prompts
    if torch.is_tensor(prompts):
        own = prompts.expand(len(images), -1, -1)
    for stage, (depth, heads) in enumerate(zip(config["depths"], config["heads"])):
        for number in range(depth):
            if isinstance(prompts, list):
                own = prompts[stage][number].expand(len(images), -1, -1)
            shift = config["window"] // 2 if number % 2 else 0
            own, tokens = block(w, f"layers.{stage}.blocks.{number}", own, tokens, size, shift, heads, config)
        if stage + 1 < len(config["depths"]):
            own, tokens, size = merge(w, f"layers.{stage}.downsample", own, tokens, size, config)
    pooled = layer_norm(w, "norm", torch.cat([own, tokens], 1), config["epsilon"]).mean(1)
    weight, bias = head
    logits = torch.einsum("bd,cd->bc", pooled, weight)
    return logits if bias is None else logits + bias


def read_prompts(path, task, config):
    """None, the shallow prompts or the list of the stages' deep prompts; and the names of the tensors that they are."""
    deep = sorted(name for name in task if name.startswith("prompts."))
    if not deep and "prompts" not in task:
        return None, []
    if not deep:
        shape = task["prompts"].shape
        if len(shape) != 2 or shape[1] != config["width"]:
            fail(f"{path}: prompts: expected (P, {config['width']}), got {tuple(shape)}")
        return task["prompts"], ["prompts"]
    names = [f"prompts.{stage}" for stage in range(len(config["depths"]))]
    if "prompts" in task or deep != sorted(names):
        fail(f"{path}: expected either prompts or {', '.join(names)}, got {', '.join(deep)}")
    for stage, name in enumerate(names):
        shape = task[name].shape
        if len(shape) != 3 or shape[0] != config["depths"][stage] or shape[2] != config["width"] << stage:
            fail(f"{path}: {name}: expected ({config['depths'][stage]}, P, {config['width'] << stage}), got {tuple(shape)}")
    return [task[name] for name in names], names


# --- the check of this program ---

KNOWN_ANSWERS = {  # width of a square image -> logits of torchvision's model in f64, filled as known_answer() does
    32: [0.10641470322938153, -0.019237910434600852, -0.1560518641716545, -0.008923940284129545, 0.248094918743539],
    40: [0.4146667201497863, -0.05799305981168042, -0.4800388487352006, -0.10171065826779035, 0.5344095932101587],
}
SMALL = {"model": "swin", "patch": 4, "width": 8, "depths": [2, 2], "heads": [2, 4], "window": 4, "mlp_ratio": 4.0,
         "classes": 5, "padding": "before-roll", "gelu": "erf", "epsilon": 1e-5}


def known_answer(side):
    """Logits of the model whose i-th tensor is 0.1 sin(0.7 k + 1.3 i), gains of norms 1 more, for an image sin(0.05 n)."""
    w = {}
    for i, (name, shape) in enumerate(parameters(SMALL)):
        values = 0.1 * torch.sin(0.7 * torch.arange(math.prod(shape), dtype=torch.float64) + 1.3 * i)
        w[name] = (values + (name.endswith("weight") and len(shape) == 1)).reshape(shape)
    image = torch.sin(0.05 * torch.arange(3 * side * side, dtype=torch.float64)).reshape(1, 3, side, side)
    return forward(w, SMALL, image, None, (w["head.weight"], w["head.bias"]))[0]


def torchvision_name(name):
    parts = name.split(".")
    if parts[0] == "patch_embed":
        return f"features.0.{0 if parts[1] == 'proj' else 2}.{parts[2]}"
    if parts[0] != "layers":
        return name
    if parts[2] == "downsample":
        return f"features.{2 * int(parts[1]) + 2}." + ".".join(parts[3:])
    rest = ".".join(parts[3:]).replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.3")
    return f"features.{2 * int(parts[1]) + 1}.{rest}"


def random_weights(config):
    """Wide enough that attention is far from uniform."""
    return {name: torch.randn(shape, dtype=torch.float64) * 0.3 + (name.endswith("weight") and len(shape) == 1)
            for name, shape in parameters(config)}


def against_torchvision(config, height, width):
    """Largest difference of the logits of two images from those of torchvision's model with the same random weights."""
    from torchvision.models.swin_transformer import SwinTransformer
    w = random_weights(config)
    window = [config["window"]] * 2
    model = SwinTransformer([config["patch"]] * 2, config["width"], config["depths"], config["heads"], window,
                            num_classes=config["classes"]).double().eval()
    missing, unexpected = model.load_state_dict({torchvision_name(name): value for name, value in w.items()}, strict=False)
    assert not unexpected and all(name.endswith("relative_position_index") for name in missing)
    images = torch.randn(2, 3, height, width, dtype=torch.float64)
    ours = forward(w, config, images, None, (w["head.weight"], w["head.bias"]))
    return float((ours - model(images)).abs().max())


def batch_independence(prompts):
    """Largest difference between the logits of three images together and each alone."""
    w = random_weights(SMALL)
    images, head = torch.randn(3, 3, 40, 36, dtype=torch.float64), (w["head.weight"], w["head.bias"])
    together = forward(w, SMALL, images, prompts, head)
    alone = torch.cat([forward(w, SMALL, image.unsqueeze(0), prompts, head) for image in images])
    return float((together - alone).abs().max())


def check():
    torch.manual_seed(1)
    failures = 0

    def report(what, difference):
        nonlocal failures
        failures += not difference < 1e-12
        print(f"{what}: largest difference {difference:.3g}{'' if difference < 1e-12 else '   TOO GREAT'}")

    with torch.no_grad():
        # 12 x 40: one axis of a map is a single window, the other is shifted.
        for height, width in ((32, 32), (40, 40), (36, 52), (12, 40)):
            for window, depths, heads in ((4, [2, 2], [2, 4]), (7, [2, 2, 2], [2, 4, 8])):
                config = dict(SMALL, window=window, depths=depths, heads=heads)
                report(f"torchvision {height} x {width}, window {window}, {len(depths)} stages",
                       against_torchvision(config, height, width))
        for side, expected in KNOWN_ANSWERS.items():
            logits = known_answer(side)
            print(f"known answer {side} x {side}: {' '.join(repr(x) for x in logits.tolist())}")
            report("  from what is expected", float((logits - torch.tensor(expected, dtype=torch.float64)).abs().max()))
        # A window's prompts must be averaged with those of their own image only.
        report("a batch and its images alone, shallow", batch_independence(torch.randn(3, 8, dtype=torch.float64)))
        report("a batch and its images alone, deep",
               batch_independence([torch.randn(2, 3, 8 << s, dtype=torch.float64) for s in (0, 1)]))
    return 1 if failures else 0


# --- the command ---

def main():
    parser = argparse.ArgumentParser(description="Independent Swin with visual prompts; see the head of this file.")
    parser.add_argument("--backbone")
    parser.add_argument("--task", help="prompts and head; without it the backbone's own head is used")
    parser.add_argument("--images", help="safetensors file with `images` (B, 3, H, W)")
    parser.add_argument("--out", help="safetensors file to write")
    parser.add_argument("--grad", metavar="LABELS", help="labels (3,1,4 or a tensor's name): write loss and gradients too")
    parser.add_argument("--check", action="store_true", help="compare this program with torchvision and known answers")
    parser.add_argument("--dtype", choices=["f64", "f32"], default="f64")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.check:
        return check()
    if not (options.backbone and options.images and options.out):
        parser.error("expected --backbone, --images and --out, or --check")

    dtype = torch.float64 if options.dtype == "f64" else torch.float32
    backbone, metadata = read_safetensors(options.backbone)
    config = read_config(options.backbone, metadata)
    listed = parameters(config)
    check_tensors(options.backbone, backbone, [entry for entry in listed if not options.task or entry[0][:5] != "head."])
    w = {name: tensor.to(dtype) for name, tensor in backbone.items()}
    task, prompts, names = w, None, []
    if options.task:
        task = {name: tensor.to(dtype) for name, tensor in read_safetensors(options.task)[0].items()}
        features = config["width"] << (len(config["depths"]) - 1)
        if "head.weight" not in task or task["head.weight"].dim() != 2 or task["head.weight"].shape[1] != features:
            fail(f"{options.task}: expected head.weight (C, {features})")
        if "head.bias" in task and task["head.bias"].shape != task["head.weight"].shape[:1]:
            fail(f"{options.task}: head.bias: expected {len(task['head.weight'])} numbers")
        prompts, names = read_prompts(options.task, task, config)

    def run(images):
        return forward(w, config, images.to(dtype), prompts, (task["head.weight"], task.get("head.bias")))

    trained = {name: task[name] for name in (*names, "head.weight", "head.bias") if name in task}
    write_safetensors(options.out, results(run, read_images(options.images), trained, options.grad))
    return 0


if __name__ == "__main__":
    sys.exit(main())
