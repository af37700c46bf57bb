#!/usr/bin/env python3
"""onnx_infer.py: times ONNX Runtime on a file of onnx_export.py; the peer of `vitrine bench infer`.

    onnx_infer.py --file FILE --batch 32 --threads 2 --steps 5

All graph optimisations; the batch is fixed before they are made. Fails when the logits are not PyTorch's. The last
line is one JSON object.
"""
import argparse
import json
import statistics
import sys
import time

import numpy
import onnxruntime


def peak_rss_bytes():
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5, help="passes timed")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    imported = peak_rss_bytes()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.add_free_dimension_override_by_name("batch", options.batch)
    session = onnxruntime.InferenceSession(options.file, settings, providers=["CPUExecutionProvider"])

    known = numpy.load(options.file.rsplit(".", 1)[0] + ".npz")
    logits, = session.run(None, {"images": numpy.repeat(known["image"], options.batch, 0)})
    difference = float(numpy.abs(logits - known["logits"]).max())
    if not difference < 1e-4 * max(1.0, float(numpy.abs(known["logits"]).max())):
        print(f"onnx_infer: logits differ from PyTorch's by {difference}", file=sys.stderr)
        return 1

    images = numpy.random.default_rng(0).standard_normal((options.batch, *known["image"].shape[1:]), numpy.float32)
    seconds = []
    for step in range(options.warmup + options.steps):
        start = time.perf_counter()
        session.run(None, {"images": images})
        if step >= options.warmup:
            seconds.append(time.perf_counter() - start)
    print(json.dumps({
        "program": "onnxruntime", "onnxruntime": onnxruntime.__version__, "batch": options.batch,
        "threads": options.threads, "images_per_second": round(options.batch / statistics.median(seconds), 4),
        "images_per_second_min": round(options.batch / max(seconds), 4),
        "images_per_second_max": round(options.batch / min(seconds), 4),
        "logits_differ_by": difference, "peak_rss_bytes": peak_rss_bytes(), "rss_after_import_bytes": imported,
    }))
    return 0


if __name__ == "__main__":
    sys.exit(main())
