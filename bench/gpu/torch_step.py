#!/usr/bin/env python3
"""torch_step.py: times one training step of VPT-deep in PyTorch on a GPU, or on the CPU to see that it works.

The models and the two forms are those of bench/peers: `textbook` is the published algorithm, prompts as full tokens that each
layer replaces; `kv` the algebra that Vitrine uses. A step is forward, cross entropy, backward, SGD with momentum; steps
follow each other without waiting, and a step's time is that between two events of the GPU.

Each round (`--steps` timed steps) is a line of JSON. With --on-request a round is made for each line on standard input, so
that programs can take turns; the first line then says that the model is ready.
"""
import argparse
import contextlib
import json
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "peers"))
import step  # noqa: E402
import vpt_step  # noqa: E402
import vpt_swin_step  # noqa: E402

MODELS = {  # name -> module, model, class
    **{name: (vpt_step, name, vpt_step.PromptedViT) for name in ("vit-ti16", "vit-b16", "vit-l16")},
    **{name: (vpt_swin_step, name, vpt_swin_step.PromptedSwin) for name in ("swin-t", "swin-b")},
    "vit-check": (vpt_step, "check", vpt_step.PromptedViT),  # a few hundred thousand weights
    "swin-check": (vpt_swin_step, "check", vpt_swin_step.PromptedSwin),
}
TOP_KERNELS = 12


class Clock:
    """Marks between steps, and the seconds between them."""

    def __init__(self, device):
        self.gpu = device.type == "cuda"
        self.marks = []

    def mark(self):
        if self.gpu:
            self.marks.append(torch.cuda.Event(enable_timing=True))
            self.marks[-1].record()
        else:
            self.marks.append(time.perf_counter())

    def seconds(self):
        if self.gpu:
            torch.cuda.synchronize()
            return [a.elapsed_time(b) / 1e3 for a, b in zip(self.marks, self.marks[1:])]
        return [b - a for a, b in zip(self.marks, self.marks[1:])]


def make_model(options, device):
    """`bf16`: the frozen weights are bf16, prompts and head f32; `autocast`: all are f32."""
    _, name, build = MODELS[options.model]
    model = build(name, options.prompts, options.classes, options.form)
    if options.precision == "bf16":
        trained = {p: p.data for p in model.parameters() if p.requires_grad}
        model = model.to(torch.bfloat16)
        for p, data in trained.items():
            p.data = data
    return model.to(device)


def device_time(event):
    """Of a profiler's average, in microseconds: its name has changed between versions."""
    for name in ("self_device_time_total", "self_cuda_time_total"):
        if getattr(event, name, 0):
            return getattr(event, name)
    return 0


def sdpa_backend(names):
    """Which kernel made the attention."""
    text = " ".join(names).lower()
    if "cudnn" in text and ("sdpa" in text or "fmha" in text or "flash" in text):
        return "cuDNN"
    for words, backend in (("fmha_cutlass", "memory-efficient"), ("flash_attention_for_cpu", "flash (CPU)"),
                           ("flash_fwd", "flash"), ("flash_attention", "flash"), ("efficient_attention", "memory-efficient")):
        if words in text:
            return backend
    return "written out"


def profile(work, device):
    """The kernels that took most of a step: their shares, how many ran, and what made the attention."""
    from torch.profiler import ProfilerActivity
    gpu = device.type == "cuda"
    with torch.profiler.profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]) as profiler:
        work()
        if gpu:
            torch.cuda.synchronize()
    events = profiler.key_averages()
    if gpu:  # kernels alone: an op's own line repeats their time
        kernels = [e for e in events if "cuda" in str(e.device_type).lower()]
        time_of = device_time
    else:
        kernels, time_of = list(events), lambda e: e.self_cpu_time_total
    kernels.sort(key=time_of, reverse=True)
    whole = sum(map(time_of, kernels)) or 1
    return {"sdpa": sdpa_backend([e.key for e in events]), "kernels": sum(e.count for e in kernels),
            "top": [{"name": e.key[:160], "share": round(time_of(e) / whole, 4), "calls": e.count}
                    for e in kernels[:TOP_KERNELS]]}


class Run:
    def __init__(self, options):
        self.options, self.device = options, torch.device(options.device)
        torch.manual_seed(0)
        if self.gpu:
            torch.cuda.set_device(self.device.index or 0)
        if options.attention == "fused":
            MODELS[options.model][0].fuse()
        model = make_model(options, self.device)
        images, labels = step.random_batch(model, options.batch, options.classes)
        self.images = images.to(self.device, torch.bfloat16 if options.precision == "bf16" else torch.float32)
        self.labels = labels.to(self.device)
        self.optimizer = step.optimizer_of(model)
        self.call = model if options.compile == "none" else torch.compile(model, mode=options.compile)
        self.autocast = contextlib.nullcontext
        if options.precision == "autocast":
            self.autocast = lambda: torch.autocast(self.device.type, dtype=torch.bfloat16)
        self.rounds = 0

    @property
    def gpu(self):
        return self.device.type == "cuda"

    def step(self):
        return step.one_step(self.call, self.images, self.labels, self.optimizer, self.autocast)

    def warm_up(self):
        begin = time.perf_counter()
        for _ in range(self.options.warmup):
            loss = float(self.step().detach())
            if not loss < float("inf"):
                sys.exit(f"torch_step: the loss is not finite: {loss}")
        return time.perf_counter() - begin

    def about(self):
        o = self.options
        about = {"program": "pytorch", "model": o.model, "batch": o.batch, "prompts": o.prompts, "classes": o.classes,
                 "form": o.form, "precision": o.precision, "compile": o.compile, "attention": o.attention,
                 "device": o.device, "torch": torch.__version__, "cuda": torch.version.cuda,
                 "cudnn": torch.backends.cudnn.version() if self.gpu else None}
        about["gpu"] = torch.cuda.get_device_name(self.device) if self.gpu else None
        return about

    def round(self):
        o = self.options
        if self.gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        clock = Clock(self.device)
        clock.mark()
        for _ in range(o.steps):
            loss = self.step()
            clock.mark()
        seconds = clock.seconds()
        middle = statistics.median(seconds)
        result = {**self.about(), "steps": o.steps, "images_per_second": o.batch / middle,
                  "images_per_second_min": o.batch / max(seconds), "images_per_second_max": o.batch / min(seconds),
                  "seconds_per_step": [round(s, 7) for s in seconds], "last_loss": float(loss.detach()),
                  "peak_bytes": torch.cuda.max_memory_allocated() if self.gpu else None,
                  "peak_reserved_bytes": torch.cuda.max_memory_reserved() if self.gpu else None,
                  "peak_rss_bytes": step.peak_rss_bytes()}
        if self.rounds == 0:  # after the clock: it slows what it watches
            try:
                result["profile"] = profile(self.step, self.device)
            except Exception as e:  # a machine may forbid it; the times stand without
                result["profile_failed"] = f"{type(e).__name__}: {e}"[:300]
        self.rounds += 1
        return result


def read_options():
    has_fused = hasattr(F, "scaled_dot_product_attention")
    parser = argparse.ArgumentParser(description="One VPT-deep training step in PyTorch on a GPU, timed.")
    parser.add_argument("--model", choices=MODELS, default="vit-b16")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--form", choices=["textbook", "kv"], default="textbook")
    parser.add_argument("--precision", choices=["autocast", "bf16"], default="bf16",
                        help="autocast: f32 weights; bf16: frozen weights in bf16, prompts and head in f32")
    parser.add_argument("--compile", choices=["none", "default", "max-autotune"], default="none")
    parser.add_argument("--attention", choices=["fused", "plain"], default="fused" if has_fused else "plain")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=30, help="timed steps of a round")
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--on-request", action="store_true", help="a round for each line on standard input")
    parser.add_argument("--versions", action="store_true", help="says which PyTorch this is, and ends")
    options = parser.parse_args()
    for name in ("batch", "prompts", "classes", "steps", "warmup"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(options, name)}")
    for option, missing in (("fused", options.attention == "fused" and not has_fused),
                            ("compile", options.compile != "none" and not hasattr(torch, "compile"))):
        if missing:
            parser.error(f"--{option}: PyTorch {torch.__version__} has none; it came with 2.0")
    if not options.versions and options.device.split(":")[0] == "cuda" and not torch.cuda.is_available():
        print(f"torch_step: this PyTorch ({torch.__version__}) sees no GPU", file=sys.stderr)
        sys.exit(4)
    return options


def main():
    options = read_options()
    if options.versions:
        print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "compiles": hasattr(torch, "compile")}))
        return
    run = Run(options)
    ready = {"ready": True, "warmup_seconds": round(run.warm_up(), 3)}
    if not options.on_request:
        print(json.dumps(run.round()))
        return
    print(json.dumps(ready), flush=True)
    for _ in sys.stdin:
        print(json.dumps(run.round()), flush=True)


if __name__ == "__main__":
    main()
