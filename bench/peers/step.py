"""step.py: what the peers share: options, the clock, the line of JSON, the comparison of two forms of a model.

Not a program. One step = forward, cross entropy, backward, SGD with momentum, for the parameters that require a gradient.
"""
import argparse
import contextlib
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F


def blas_libraries():
    """Paths of the BLAS libraries that this process has mapped."""
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        paths = {line.split()[-1] for line in maps if "/" in line}
    return sorted(p for p in paths if "blas" in p.rsplit("/", 1)[-1])


def cpu_capability():
    """The instruction set that PyTorch's own kernels were chosen for."""
    for line in torch.__config__.show().splitlines():
        if "CPU capability usage" in line:
            return line.split(":")[1].strip()
    return "unknown"


def peak_rss_bytes():
    """The most memory this process ever held. Not ru_maxrss: that knows the process that started this one, too."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def same_forms(build):
    """Prints the largest difference of logits and gradients between build("textbook") and build("kv"), small models of at
    least five classes, on three images in f64. Returns the exit status: 1 for a difference above 1e-12."""
    torch.manual_seed(1)
    reference = build("textbook").double()
    for p in reference.parameters():
        # Weights of std 0.02 would leave attention almost uniform, and a mistake in it almost invisible.
        p.data += 0.2 * torch.randn_like(p)
    images = torch.randn(3, 3, reference.side, reference.side, dtype=torch.float64)
    labels = torch.tensor([0, 4, 2])
    results = []
    for form in ("textbook", "kv"):
        model = build(form).double()
        model.load_state_dict(reference.state_dict())
        logits = model(images)
        F.cross_entropy(logits, labels).backward()
        results.append([logits.detach()] + [p.grad for p in model.parameters() if p.requires_grad])
    worst = max(float((a - b).abs().max()) for a, b in zip(*results))
    print(json.dumps({"check": "textbook against kv, f64", "largest_difference": worst, "same": worst < 1e-12}))
    return 0 if worst < 1e-12 else 1


def same_forms_twice(build, block):
    """same_forms as it is, then with fused attention in the second form, where this PyTorch has it. `block` is the class whose
    `fused` says so."""
    status = same_forms(build)
    if status or not hasattr(F, "scaled_dot_product_attention"):
        return status

    def build_fused(form):
        block.fused = form == "kv"  # the forms run one after the other
        return build(form)
    return same_forms(build_fused)


def random_batch(model, batch, classes):
    """Images of the model's size and labels."""
    return torch.randn(batch, 3, model.side, model.side), torch.randint(classes, (batch,))


def optimizer_of(model):
    """SGD with momentum for what is trained."""
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01, momentum=0.9)


def one_step(run, images, labels, optimizer, autocast=contextlib.nullcontext):
    """Forward, loss, backward, optimizer. Returns the loss; on a GPU all of it may still be under way."""
    with autocast():
        loss = F.cross_entropy(run(images), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss


def main(models, default, build, check, fuse=None):
    """The command of a peer. build(model, prompts, classes, form) has `side`, the images' side; check() gives the status;
    fuse() makes models that are built later use PyTorch's fused attention."""
    parser = argparse.ArgumentParser(description="One VPT-deep training step in PyTorch, timed.")
    parser.add_argument("--model", choices=models, default=default)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--steps", type=int, default=5, help="steps timed")
    parser.add_argument("--warmup", type=int, default=1, help="steps before the clock starts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--form", choices=["textbook", "kv"], default="textbook")
    parser.add_argument("--attention", choices=["plain", "fused"] if fuse else ["plain"], default="plain",
                        help="fused: scaled_dot_product_attention, which PyTorch has since 2.0")
    parser.add_argument("--compile", action="store_true", help="through torch.compile, since 2.0; needs g++ and Python.h")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32", help="bf16: autocast")
    parser.add_argument("--optimizer", choices=["sgd"], default="sgd")
    parser.add_argument("--check", action="store_true", help="compare the two forms in f64 instead of timing")
    options = parser.parse_args()
    for name in ("batch", "prompts", "classes", "steps", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(options, name)}")

    torch.set_num_threads(options.threads)
    if options.check:
        return check()
    if options.attention == "fused":
        fuse()
    torch.manual_seed(0)
    imported = peak_rss_bytes()
    model = build(options.model, options.prompts, options.classes, options.form)
    images, labels = random_batch(model, options.batch, options.classes)
    optimizer = optimizer_of(model)

    run = torch.compile(model) if options.compile else model
    autocast = contextlib.nullcontext
    if options.precision == "bf16":
        autocast = lambda: torch.autocast("cpu", dtype=torch.bfloat16)

    seconds = []
    for step in range(options.warmup + options.steps):
        start = time.perf_counter()
        loss = one_step(run, images, labels, optimizer, autocast)
        if step >= options.warmup:
            seconds.append(time.perf_counter() - start)
    loss = float(loss.detach())
    if not loss < float("inf"):
        print(f"{parser.prog}: the loss is not finite: {loss}", file=sys.stderr)
        return 1
    print(json.dumps({
        "program": "pytorch", "model": options.model, "batch": options.batch, "prompts": options.prompts,
        "classes": options.classes, "form": options.form, "attention": options.attention,
        "compiled": options.compile, "precision": options.precision, "optimizer": options.optimizer,
        "threads": torch.get_num_threads(), "torch": torch.__version__, "blas": blas_libraries(),
        "cpu_capability": cpu_capability(),
        "seconds_per_step": [round(s, 5) for s in seconds],
        "images_per_second": round(options.batch / statistics.median(seconds), 4),
        "images_per_second_min": round(options.batch / max(seconds), 4),
        "images_per_second_max": round(options.batch / min(seconds), 4),
        "peak_rss_bytes": peak_rss_bytes(), "rss_after_import_bytes": imported, "last_loss": round(loss, 5),
    }))
    return 0
