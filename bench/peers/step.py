"""step.py: what the peers share: options, the clock, the line of JSON, the comparison of two forms of a model.

Not a program. One step = forward, cross entropy, backward, SGD with momentum, for the parameters that require a gradient.
"""
import argparse
import json
import resource
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


def peak_rss_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux reports KiB


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


def main(models, default, build, check):
    """The command of a peer. build(model, prompts, classes, form) has `side`, the images' side; check() gives the status."""
    parser = argparse.ArgumentParser(description="One VPT-deep training step in PyTorch, timed.")
    parser.add_argument("--model", choices=models, default=default)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--steps", type=int, default=5, help="steps timed")
    parser.add_argument("--warmup", type=int, default=1, help="steps before the clock starts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--form", choices=["textbook", "kv"], default="textbook")
    parser.add_argument("--optimizer", choices=["sgd"], default="sgd")
    parser.add_argument("--check", action="store_true", help="compare the two forms in f64 instead of timing")
    options = parser.parse_args()
    for name in ("batch", "prompts", "classes", "steps", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(options, name)}")

    torch.set_num_threads(options.threads)
    if options.check:
        return check()
    torch.manual_seed(0)
    imported_mb = peak_rss_mb()
    model = build(options.model, options.prompts, options.classes, options.form)
    images = torch.randn(options.batch, 3, model.side, model.side)
    labels = torch.randint(options.classes, (options.batch,))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01, momentum=0.9)

    seconds = []
    for step in range(options.warmup + options.steps):
        start = time.perf_counter()
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step >= options.warmup:
            seconds.append(time.perf_counter() - start)
    loss = float(loss.detach())
    if not loss < float("inf"):
        print(f"{parser.prog}: the loss is not finite: {loss}", file=sys.stderr)
        return 1
    print(json.dumps({
        "program": "pytorch", "model": options.model, "batch": options.batch, "prompts": options.prompts,
        "classes": options.classes, "form": options.form, "optimizer": options.optimizer,
        "threads": torch.get_num_threads(), "torch": torch.__version__, "blas": blas_libraries(),
        "cpu_capability": cpu_capability(),
        "seconds_per_step": [round(s, 5) for s in seconds],
        "images_per_second": round(options.batch / statistics.median(seconds), 4),
        "peak_rss_mb": round(peak_rss_mb(), 1), "rss_after_import_mb": round(imported_mb, 1), "last_loss": round(loss, 5),
    }))
    return 0
