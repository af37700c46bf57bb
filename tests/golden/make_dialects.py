#!/usr/bin/python3
"""make_dialects.py: one small backbone in the names and layouts of every program that writes such files, with its logits.

    tests/golden/make_dialects.py        # needs Debian's python3-torch, python3-torchvision and python3-numpy

Writes tests/golden/dialects/: a file for each dialect in the container that its program uses, and `expected.safetensors`
with the logits in f64 (of ViTs by make_vit.py's model, of torchvision's by torchvision itself) and, as metadata, the
configuration that each file has. Weights of ViTs follow make_vit.py's rule under their canonical names, so that
the test knows every number of them. Shares no code with Vitrine.
"""
import argparse
import collections
import json
import pathlib
import struct

import numpy as np
import torch
import torchvision

import make_vit
from make_vit import numbers

here = pathlib.Path(__file__).resolve().parent / "dialects"
BASE = dict(make_vit.PLAIN, image_size=12, patch=4, width=16, depth=2, heads=2, mlp_width=24)
logits, configs = {}, {}


def weights(changes):
    """The canonical tensors in f32 and the configuration; remembers the logits of images of the rule."""
    c = {**BASE, **changes}
    return {name: numbers(name, shape).float() for name, shape in make_vit.shapes(c).items()}, c


def remember(file, c, **told):
    """What the test shall find in the file: configuration and, in `told`, what has to be said to open it."""
    w = {name: numbers(name, shape).float().double() for name, shape in make_vit.shapes(c).items()}
    logits[file] = make_vit.own_logits(w, c, numbers("images", [2, 3, c["image_size"], c["image_size"]]))
    configs[file] = json.dumps({"config": c, "told": told})


def save_safetensors_at(path, tensors):
    header, blobs, offset = {}, [], 0
    for name, tensor in tensors.items():
        blob = tensor.contiguous().numpy().tobytes()
        kind = {torch.float32: "F32", torch.int64: "I64"}[tensor.dtype]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def save_safetensors(file, tensors):
    save_safetensors_at(here / file, tensors)


def save_npz(file, tensors, compressed=False):
    save = np.savez_compressed if compressed else np.savez
    save(here / file, **{name: tensor.numpy() if torch.is_tensor(tensor) else tensor for name, tensor in tensors.items()})


def rest(*shape):
    """What a file holds beside the backbone."""
    return torch.full(shape, 0.5)


# --- Google's JAX: kernels (in, out) with heads apart, filters (p, p, 3, D) ---

def jax_attention(w, h, prefix, names, bias_names, out):
    result = {}
    for name, (weight, bias) in names.items():
        d = weight.shape[1]
        result[f"{prefix}/{name}/kernel"] = weight.t().reshape(d, h, -1).contiguous()
        result[f"{prefix}/{name}/bias"] = bias.reshape(h, -1)
    weight, bias = w[out + ".weight"], w[out + ".bias"]
    result[f"{prefix}/out/kernel"] = weight.t().reshape(h, -1, weight.shape[0]).contiguous()
    result[f"{prefix}/out/bias"] = bias
    return result


def thirds(w, name):
    return list(zip(w[name + ".weight"].chunk(3), w[name + ".bias"].chunk(3)))


def jax_norm(w, name, to):
    return {to + "/scale": w[name + ".weight"], to + "/bias": w[name + ".bias"]}


def jax_dense(w, name, to):
    return {to + "/kernel": w[name + ".weight"].t().contiguous(), to + "/bias": w[name + ".bias"]}


def jax_block(w, c, i, norm2, attention, mlp):
    b = f"blocks.{i}."
    out = {**jax_norm(w, b + "norm1", "LayerNorm_0"), **jax_norm(w, b + "norm2", norm2)}
    out.update(jax_attention(w, c["heads"], attention, dict(zip(("query", "key", "value"), thirds(w, b + "attn.qkv"))),
                             None, b + "attn.proj"))
    out.update(jax_dense(w, b + "mlp.fc1", mlp + "/Dense_0"))
    out.update(jax_dense(w, b + "mlp.fc2", mlp + "/Dense_1"))
    return out


def jax_outside(w):
    return {"embedding/kernel": w["patch_embed.proj.weight"].permute(2, 3, 1, 0).contiguous(),
            "embedding/bias": w["patch_embed.proj.bias"], **jax_norm(w, "norm", "Transformer/encoder_norm"),
            **jax_dense(w, "head", "head")}


def google():
    w, c = weights(dict(gelu="tanh"))
    older, newer = {}, {}
    for i in range(c["depth"]):
        for name, t in jax_block(w, c, i, "LayerNorm_2", "MultiHeadDotProductAttention_1", "MlpBlock_3").items():
            older[f"Transformer/encoderblock_{i}/{name}"] = t
        for name, t in jax_block(w, c, i, "LayerNorm_1", "MultiHeadDotProductAttention_0", "MlpBlock_0").items():
            newer[f"Transformer/encoderblock_{i}/{name}"] = t
    shared = {**jax_outside(w), "cls": w["cls_token"], "Transformer/posembed_input/pos_embedding": w["pos_embed"]}
    save_npz("google.npz", {**older, **shared})
    save_npz("google-linen.npz", {**{"opt/target/" + k: t for k, t in {**newer, **shared}.items()},
                                  "opt/state/step": np.int64(7)}, compressed=True)
    remember("google.npz", c)
    remember("google-linen.npz", c)

    w, c = weights(dict(gelu="tanh", pooling="map", class_token=False))  # big_vision's, in which blocks are rows
    blocks = [jax_block(w, c, i, "LayerNorm_1", "MultiHeadDotProductAttention_0", "MlpBlock_0") for i in range(c["depth"])]
    out = {"Transformer/encoderblock/" + k: torch.stack([b[k] for b in blocks]) for k in blocks[0]}
    out.update(jax_outside(w))
    out["pos_embedding"] = w["pos_embed"]
    out["MAPHead_0/probe"] = w["attn_pool.latent"]
    k, v = zip(w["attn_pool.kv.weight"].chunk(2), w["attn_pool.kv.bias"].chunk(2))
    names = {"query": (w["attn_pool.q.weight"], w["attn_pool.q.bias"]), "key": k, "value": v}
    out.update(jax_attention(w, c["heads"], "MAPHead_0/MultiHeadDotProductAttention_0", names, None, "attn_pool.proj"))
    out.update(jax_norm(w, "attn_pool.norm", "MAPHead_0/LayerNorm_0"))
    out.update(jax_dense(w, "attn_pool.mlp.fc1", "MAPHead_0/MlpBlock_0/Dense_0"))
    out.update(jax_dense(w, "attn_pool.mlp.fc2", "MAPHead_0/MlpBlock_0/Dense_1"))
    out = {"params/img/" + k: t for k, t in out.items()}
    save_npz("big-vision.npz", {**out, "params/txt/Embed_0/embedding": rest(3, 4), "params/t": rest(1)})
    remember("big-vision.npz", c)


# --- by new names alone ---

def renamed(w, pairs):
    """Each tensor under its new name; `pairs` are (canonical beginning, new beginning), the longest that fits counts."""
    out = {}
    for name, tensor in w.items():
        best = max((p for p in pairs if name.startswith(p[0])), key=lambda p: len(p[0]), default=None)
        out[best[1] + name[len(best[0]):] if best else name] = tensor
    return out


def split_qkv(w, to):
    """`to(i, which, ending)` names the tensor of block i; the fused ones go."""
    out = {}
    for name, tensor in w.items():
        parts = name.split(".")
        if parts[2:4] == ["attn", "qkv"]:
            for which, third in zip(range(3), tensor.chunk(3)):
                out[to(parts[1], which, parts[4])] = third.contiguous()
        else:
            out[name] = tensor
    return out


def block_pairs(depth, where, names):
    return [(f"blocks.{i}.{a}", where.format(i) + b) for i in range(depth) for a, b in names.items()]


def timm_and_research():
    w, c = weights({})
    save_safetensors("timm.safetensors", w)
    remember("timm.safetensors", c, heads=2)
    flat = dict(w)
    flat["patch_embed.proj.weight"] = w["patch_embed.proj.weight"].flatten(1)
    flat["pre_logits.fc.weight"] = rest(3, 3)
    torch.save({"model": {"module." + k: t for k, t in flat.items()}, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
               here / "timm-flat.pth")
    remember("timm-flat.pth", c, heads=2)

    w, c = weights(dict(distillation_token=True))
    torch.save({"model": w}, here / "deit-distilled.pth")
    remember("deit-distilled.pth", c, heads=2)

    w, c = weights(dict(layer_scale=True, prefix_positions=False))
    torch.save({"model": {k.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): t for k, t in w.items()}},
               here / "deit-iii.pth")
    remember("deit-iii.pth", c, heads=2)

    w, c = weights(dict(classes=0))
    w.pop("head.weight"), w.pop("head.bias")
    decoder = {"mask_token": rest(1, 1, 8), "decoder_embed.weight": rest(8, 16), "decoder_pos_embed": rest(1, 10, 8),
               "decoder_blocks.0.norm1.weight": rest(8), "decoder_norm.weight": rest(8), "decoder_pred.bias": rest(48)}
    torch.save({"model": {**w, **decoder}}, here / "mae.pth")
    configs["mae.pth"] = json.dumps({"config": c, "told": {"heads": 2}})
    mocos = {f"module.{net}.{k}": t for net in ("base_encoder", "momentum_encoder") for k, t in w.items()}
    mocos.update({f"module.base_encoder.head.{i}.weight": rest(4) for i in (0, 1, 3)})
    mocos["module.predictor.0.weight"] = rest(4, 4)
    torch.save({"epoch": 300, "arch": "vit_small", "state_dict": mocos, "optimizer": {"state": {0: {"step": 1}}}},
               here / "moco-v3.pth")
    configs["moco-v3.pth"] = json.dumps({"config": c, "told": {"heads": 2}})
    teacher = {"backbone." + k: t for k, t in w.items()}
    teacher.update({"head.mlp.0.weight": rest(4, 16), "head.last_layer.weight_g": rest(4, 1)})
    torch.save({"student": {"module." + k: t + 1 for k, t in teacher.items()}, "teacher": teacher, "epoch": 100},
               here / "dino.pth")
    configs["dino.pth"] = json.dumps({"config": c, "told": {"heads": 2}})

    w, c = weights(dict(pooling="mean"))
    torch.save({"model": w, "optimizer": {}, "scaler": {}, "args": argparse.Namespace()}, here / "mae-tuned.pth")
    remember("mae-tuned.pth", c, heads=2)

    # Registers behind the positions, of which the class token has one: their sum is what the canonical token holds.
    w, c = weights(dict(layer_scale=True, registers=4, prefix_positions=False, gated_mlp=True, classes=0, image_size=20))
    w.pop("head.weight"), w.pop("head.bias")
    out = renamed(w, [("reg_token", "register_tokens")] +
                  block_pairs(2, "blocks.0.{}.", {"mlp.fc1": "mlp.w12", "mlp.fc2": "mlp.w3", "": ""}))
    own = numbers("position of the class token", [1, 1, 16]).float()
    out["cls_token"] = w["cls_token"] - own
    assert torch.equal(out["cls_token"] + own, w["cls_token"])
    out["pos_embed"] = torch.cat([own, w["pos_embed"]], 1)
    torch.save({**out, "mask_token": rest(1, 16)}, here / "dinov2.pth")
    configs["dinov2.pth"] = json.dumps({"config": c, "told": {"heads": 2}})


def hugging_face():
    legacy = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.output.dense",
              "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}
    newer = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.o_proj"}
    outside = [("cls_token", "embeddings.cls_token"), ("pos_embed", "embeddings.position_embeddings"),
               ("dist_token", "embeddings.distillation_token"), ("reg_token", "embeddings.register_tokens"),
               ("patch_embed.proj", "embeddings.patch_embeddings.projection"), ("norm.", "layernorm.")]

    def older_qkv(i, which, ending):
        return f"encoder.layer.{i}.attention.attention.{('query', 'key', 'value')[which]}.{ending}"

    def newer_qkv(i, which, ending):
        return f"layers.{i}.attention.{'qkv'[which]}_proj.{ending}"

    def prefixed(tensors, prefix, heads):
        return {next((b for a, b in heads.items() if k.startswith(a)), prefix) + k.split(".", 1)[1]
                if any(k.startswith(a) for a in heads) else prefix + k: t for k, t in tensors.items()}

    w, c = weights(dict(epsilon=1e-12))
    older = renamed(split_qkv(w, older_qkv), outside + block_pairs(2, "encoder.layer.{}.", legacy))
    save_safetensors("hf-vit.safetensors", prefixed(older, "vit.", {"head.": "classifier."}))
    remember("hf-vit.safetensors", c, heads=2, epsilon=1e-12, gelu="erf")
    new = renamed(split_qkv(w, newer_qkv), outside + block_pairs(2, "layers.{}.", {**newer, "": ""}))
    save_safetensors("hf-vit-new.safetensors", {**prefixed(new, "vit.", {"head.": "classifier."})})
    remember("hf-vit-new.safetensors", c, heads=2, epsilon=1e-12, gelu="erf")

    w, c = weights(dict(epsilon=1e-12, distillation_token=True))
    older = renamed(split_qkv(w, older_qkv), outside + block_pairs(2, "encoder.layer.{}.", legacy))
    save_safetensors("hf-deit.safetensors",
                     prefixed(older, "deit.", {"head.": "cls_classifier.", "head_dist.": "distillation_classifier."}))
    remember("hf-deit.safetensors", c, heads=2, epsilon=1e-12, gelu="erf")

    # DeiTForImageClassification has one head, on the class token: the other one is a token among many, as a register.
    w, c = weights(dict(epsilon=1e-12, registers=1))
    older = renamed(split_qkv(w, older_qkv), [("reg_token", "embeddings.distillation_token")] + outside +
                    block_pairs(2, "encoder.layer.{}.", legacy))
    save_safetensors("hf-deit-one-head.safetensors", prefixed(older, "deit.", {"head.": "classifier."}))
    remember("hf-deit-one-head.safetensors", c, heads=2, epsilon=1e-12, gelu="erf")

    w, c = weights(dict(layer_scale=True, gated_mlp=True, classes=0))
    w.pop("head.weight"), w.pop("head.bias")
    names = {"norm1": "norm1", "norm2": "norm2", "attn.proj": "attention.output.dense", "ls1.gamma": "layer_scale1.lambda1",
             "ls2.gamma": "layer_scale2.lambda1", "mlp.fc1": "mlp.weights_in", "mlp.fc2": "mlp.weights_out"}
    older = renamed(split_qkv(w, older_qkv), outside + block_pairs(2, "encoder.layer.{}.", names))
    save_safetensors("hf-dinov2.safetensors", {**{"dinov2." + k: t for k, t in older.items()},
                                               "dinov2.embeddings.mask_token": rest(1, 16),
                                               "classifier.weight": rest(5, 32), "classifier.bias": rest(5)})
    configs["hf-dinov2.safetensors"] = json.dumps({"config": c, "told": {"heads": 2}})

    tower = {"norm1": "layer_norm1", "norm2": "layer_norm2", "attn.proj": "self_attn.out_proj", "": ""}

    def tower_qkv(i, which, ending):
        return f"encoder.layers.{i}.self_attn.{'qkv'[which]}_proj.{ending}"

    w, c = weights(dict(norm_pre=True, gelu="quick", epsilon=1e-5, patch_bias=False, head_bias=False))
    out = renamed(split_qkv(w, tower_qkv), [("norm_pre", "pre_layrnorm"), ("norm.", "post_layernorm.")] +
                  [("patch_embed.proj", "embeddings.patch_embedding")] + block_pairs(2, "encoder.layers.{}.", tower))
    out["embeddings.class_embedding"] = out.pop("cls_token").flatten()
    out["embeddings.position_embedding.weight"] = out.pop("pos_embed")[0]
    out["embeddings.position_ids"] = torch.arange(10)[None]
    out = prefixed(out, "vision_model.", {"head.": "visual_projection."})
    out.update({"text_model.encoder.layers.0.self_attn.q_proj.weight": rest(4, 4), "text_projection.weight": rest(4, 4),
                "logit_scale": rest()})
    save_safetensors("hf-clip.safetensors", out)
    remember("hf-clip.safetensors", c, heads=2, epsilon=1e-5, gelu="quick")

    w, c = weights(dict(pooling="map", class_token=False, gelu="tanh", classes=0))
    w.pop("head.weight"), w.pop("head.bias")
    out = renamed(split_qkv(w, tower_qkv),
                  [("norm.", "post_layernorm."), ("patch_embed.proj", "embeddings.patch_embedding"),
                   ("attn_pool.latent", "head.probe"), ("attn_pool.proj", "head.attention.out_proj"),
                   ("attn_pool.norm", "head.layernorm"), ("attn_pool.mlp", "head.mlp")] +
                  block_pairs(2, "encoder.layers.{}.", tower))
    for ending in ("weight", "bias"):
        out["head.attention.in_proj_" + ending] = torch.cat([out.pop("attn_pool.q." + ending),
                                                             out.pop("attn_pool.kv." + ending)])
    out["embeddings.position_embedding.weight"] = out.pop("pos_embed")[0]
    save_safetensors("hf-siglip.safetensors", {**{"vision_model." + k: t for k, t in out.items()}, "logit_bias": rest()})
    configs["hf-siglip.safetensors"] = json.dumps({"config": c, "told": {"heads": 2}})


def clip():
    w, c = weights(dict(norm_pre=True, gelu="quick", epsilon=1e-5, patch_bias=False, head_bias=False))
    names = {"norm1": "ln_1", "norm2": "ln_2", "attn.qkv.": "attn.in_proj_", "attn.proj": "attn.out_proj",
             "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    out = renamed(w, [("norm_pre", "ln_pre"), ("norm.", "ln_post."), ("patch_embed.proj", "conv1")] +
                  block_pairs(2, "transformer.resblocks.{}.", names))
    out["class_embedding"] = out.pop("cls_token").flatten()
    out["positional_embedding"] = out.pop("pos_embed")[0]
    out["proj"] = out.pop("head.weight").t().contiguous()
    out = {"visual." + k: t for k, t in out.items()}
    out.update({"transformer.resblocks.0.ln_1.weight": rest(4), "token_embedding.weight": rest(3, 4), "logit_scale": rest(),
                "positional_embedding": rest(3, 4), "text_projection": rest(4, 4), "ln_final.weight": rest(4),
                "input_resolution": torch.tensor(12), "context_length": torch.tensor(77), "vocab_size": torch.tensor(3)})
    torch.save(collections.OrderedDict(out), here / "clip.pt")
    remember("clip.pt", c, heads=2)

    w, c = weights(dict(head_bias=False))  # open_clip around one of timm's
    out = {"visual.trunk." + k: t for k, t in w.items() if not k.startswith("head.")}
    out["visual.head.proj.weight"] = w["head.weight"]
    out.update({"logit_scale": rest(), "text.ln_final.weight": rest(4), "text.transformer.resblocks.0.ln_1.weight": rest(4)})
    torch.save({"state_dict": {"module." + k: t for k, t in out.items()}}, here / "open-clip-timm.pt",
               _use_new_zipfile_serialization=False)
    remember("open-clip-timm.pt", c, heads=2)


def vision():
    """torchvision's own modules: their state, and what they themselves make of the images."""
    w, c = weights({})
    net = torchvision.models.vision_transformer.VisionTransformer(12, 4, 2, 2, 16, 24, num_classes=5).double().eval()
    names = {"norm1": "ln_1", "norm2": "ln_2", "attn.qkv.": "self_attention.in_proj_", "attn.proj": "self_attention.out_proj",
             "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.3"}
    state = renamed(w, [("cls_token", "class_token"), ("pos_embed", "encoder.pos_embedding"), ("norm.", "encoder.ln."),
                        ("patch_embed.proj", "conv_proj"), ("head.", "heads.head.")] +
                    block_pairs(2, "encoder.layers.encoder_layer_{}.", names))
    net.load_state_dict(state)
    torch.save(collections.OrderedDict(state), here / "torchvision-vit.pth")
    images = numbers("images", [2, 3, 12, 12])
    remember("torchvision-vit.pth", c, heads=2)
    own = net(images).detach()
    assert (own - logits["torchvision-vit.pth"]).abs().max() < 1e-12  # make_vit.py's model is torchvision's
    logits["torchvision-vit.pth"] = own
    older = {k.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): t for k, t in state.items()}
    torch.save(collections.OrderedDict(older), here / "torchvision-vit-older.pth")
    remember("torchvision-vit-older.pth", c, heads=2)


def authors(name):
    """The name that torchvision's `name` has in the files of Swin's authors."""
    parts = name.split(".")
    if parts[0] != "features":
        return name
    n = int(parts[1])
    if n == 0:
        return "patch_embed." + {"0": "proj", "2": "norm"}[parts[2]] + "." + parts[3]
    if n % 2 == 0:
        return f"layers.{n // 2 - 1}.downsample." + ".".join(parts[2:])
    tail = ".".join(parts[3:]).replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")
    return f"layers.{n // 2}.blocks.{parts[2]}.{tail}"


def small_swin():
    """Maps of 8, 4 and 2 for windows of 4: Microsoft's program (SwinTransformerBlock: `if min(self.input_resolution) <=
    self.window_size`) and timm's make the last stage's window, and its table, 2 and shift neither of the last two stages."""
    vision = torchvision.models.swin_transformer
    net = vision.SwinTransformer([4, 4], 8, [2, 2, 2], [2, 4, 4], [4, 4], num_classes=5, stochastic_depth_prob=0.0)
    side = 8
    for stage, index in enumerate((1, 3, 5)):
        for number in range(2):
            window = min(4, side)
            shift = 2 if number == 1 and side > 4 else 0
            net.features[index][number] = vision.SwinTransformerBlock(8 << stage, (2, 4, 4)[stage], [window] * 2, [shift] * 2,
                                                                      norm_layer=lambda d: torch.nn.LayerNorm(d, eps=1e-5))
        side //= 2
    net.eval()
    state = {k: numbers(k, list(t.shape)).float() if t.is_floating_point() else t for k, t in net.state_dict().items()}
    net.load_state_dict(state)
    result = net.double()(numbers("images", [2, 3, 32, 32])).detach()
    ms = {authors(k): t for k, t in state.items() if t.is_floating_point()}
    torch.save({"model": ms}, here / "swin-small.pth")
    new = {k.replace("layers.1.downsample", "layers.2.downsample").replace("layers.0.downsample", "layers.1.downsample").replace(
        "head.", "head.fc."): t for k, t in ms.items()}
    save_safetensors("timm-swin-small.safetensors", new)
    config = dict(model="swin", image_size=32, patch=4, width=8, depths=[2, 2, 2], heads=[2, 4, 4], window=4, windows=[4, 4, 2],
                  mlp_ratio=4, classes=5, gelu="erf", epsilon=1e-5)
    for file, padding in (("swin-small.pth", "before-roll"), ("timm-swin-small.safetensors", "after-roll")):
        configs[file] = json.dumps({"config": dict(config, padding=padding), "told": {}})
        logits[file] = result


def swin():
    net = torchvision.models.swin_transformer.SwinTransformer([4, 4], 8, [2, 2], [2, 4], [4, 4], num_classes=5).eval()
    state = collections.OrderedDict()
    for name, tensor in net.state_dict().items():
        floating = tensor.is_floating_point()
        state[name] = numbers(name, list(tensor.shape)).float() if floating else tensor
    net.load_state_dict(state)
    result = net.double()(numbers("images", [2, 3, 32, 32])).detach()
    # A last map of 2 x 2 under windows of 4, which stay and are filled up in torchvision.
    logits["torchvision-swin.pth at 16 pixels"] = net(numbers("images", [2, 3, 16, 16])).detach()
    floats = {k: t for k, t in state.items() if t.is_floating_point()}
    index = {k: t for k, t in state.items() if not t.is_floating_point()}

    ms = {authors(k): t for k, t in floats.items()}
    buffers = {authors(k): t.reshape(16, 16) for k, t in index.items()}
    buffers["layers.0.blocks.1.attn_mask"] = rest(4, 16, 16)
    torch.save({"model": {**ms, **buffers}, "max_accuracy": 81.2, "epoch": 299}, here / "swin.pth")
    torch.save(state, here / "torchvision-swin.pth")
    new = {k.replace("layers.0.downsample", "layers.1.downsample").replace("head.", "head.fc."): t for k, t in ms.items()}
    save_safetensors("timm-swin.safetensors", new)
    save_safetensors("timm-swin-headless.safetensors", {k: t for k, t in new.items() if not k.startswith("head.")})

    def hugging(older):
        out = {}
        for k, t in ms.items():
            k = k.replace("patch_embed.proj", "embeddings.patch_embeddings.projection").replace("patch_embed.norm",
                                                                                                "embeddings.norm")
            k = k.replace("norm1.", "layernorm_before.").replace("norm2.", "layernorm_after.")
            k = "layernorm." + k[5:] if k.startswith("norm.") else k
            k = k.replace(".attn.proj.", ".attention.output.dense." if older else ".attention.o_proj.")
            table = ".attention.self." if older else ".attention.relative_position_bias."
            k = k.replace(".attn.relative", table + "relative")
            if older:
                k = k.replace("mlp.fc1", "intermediate.dense").replace("mlp.fc2", "output.dense")
            k = "encoder." + k if k.startswith("layers.") else k
            if ".attn.qkv." in k:
                base, ending = k.split(".attn.qkv.")
                for which, third in zip(("query", "key", "value"), t.chunk(3)):
                    name = f".attention.self.{which}." if older else f".attention.{which[0]}_proj."
                    out[base + name + ending] = third.contiguous()
            else:
                out[k] = t
        return {"classifier." + k[5:] if k.startswith("head.") else "swin." + k: t for k, t in out.items()}

    save_safetensors("hf-swin.safetensors", {**hugging(True), "swin.encoder.layers.0.blocks.0.attention.self."
                                             "relative_position_index": buffers["layers.0.blocks.0.attn.relative_position_index"]})
    save_safetensors("hf-swin-new.safetensors", hugging(False))
    config = dict(model="swin", image_size=32, patch=4, width=8, depths=[2, 2], heads=[2, 4], window=4, mlp_ratio=4, classes=5,
                  padding="before-roll", gelu="erf", epsilon=1e-5)
    for file in ("swin.pth", "torchvision-swin.pth", "timm-swin.safetensors", "hf-swin.safetensors", "hf-swin-new.safetensors",
                 "timm-swin-headless.safetensors"):
        c = dict(config, padding="after-roll" if file.startswith("timm") else "before-roll",
                 classes=0 if "headless" in file else 5)
        configs[file] = json.dumps({"config": c, "told": {}})
        if c["classes"]:
            logits[file] = result


if __name__ == "__main__":
    torch.set_num_threads(1)
    here.mkdir(exist_ok=True)
    google(), timm_and_research(), hugging_face(), clip(), vision(), swin(), small_swin()
    make_vit.write(here / "expected.safetensors", logits, configs)
