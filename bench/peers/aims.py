"""aims.py: what Vitrine is to reach on two cores, and whether a summary says that it did. Not a program.

An aim is met (true), missed (false) or was not measured (null). All are void when the machine was not itself.
"""

# model -> the least ratios over PyTorch and the like; see README.md for what each compares.
AT_LEAST = {
    "vit-b16": {"step p50 f32 over the best textbook": 1.7, "step p200 f32 over the best textbook": 3.5,
                "step p50 f32 over the best kv": 1.25, "step p50 bf16 over the best bf16 autocast": 1.5},
    "vit-ti16": {"step p50 f32 over the best textbook": 2.2, "step p200 f32 over the best textbook": 6.0,
                 "step p50 f32 over the best kv": 1.5, "step p50 bf16 over the best bf16 autocast": 1.7},
}
AT_MOST = {
    "vit-b16": {"step time p200 over p1": 1.15},
    "vit-ti16": {"step time p200 over p1": 1.35},
}
STEP_SHARE = {"vit-b16": 0.80, "vit-ti16": 0.75}  # of the measured peak, at p=50
GEMM_SHARE = {"f32": 0.92, "bf16": 0.88}
NOMINAL_SHARE = (0.95, 1.05)  # of clock x lanes x units: outside the measured peak, or the clock, is none
BATCHES = {"vit-b16": 8, "vit-ti16": 32}  # the aims are for these
NOT_MEASURED = {"ratios": {}, "share_of_peak": {"step": {}}, "memory": {}}


def aim(name, value, bound, at_least):
    met = None if value is None else bool(value >= bound if at_least else value <= bound)
    return {"aim": name, "value": value, "at_least" if at_least else "at_most": bound, "met": met}


def ratio(model, name):
    found = model["ratios"].get(name)
    return found["ratio"] if found else None


def model_aims(name, model):
    aims = [aim(f"{name}: {what}", ratio(model, what), bound, True) for what, bound in AT_LEAST[name].items()]
    aims += [aim(f"{name}: {what}", ratio(model, what), bound, False) for what, bound in AT_MOST[name].items()]
    batch = model["batch"]
    for p in (0, 50):
        for b in (batch, 1):
            what = f"infer p{p} batch {b} over the best ONNX Runtime"
            aims.append(aim(f"{name}: {what}", ratio(model, what), 1.0, True))
    what = f"infer time p50 over p0, batch {batch}"
    aims.append(aim(f"{name}: {what}", ratio(model, what), 1.05, False))
    share = model["share_of_peak"]["step"].get(f"p50 batch {batch}")
    aims.append(aim(f"{name}: step p50 as a share of the peak", share and share["median"], STEP_SHARE[name], True))
    for mode, bound in (("full speed", 0.6), ("packed once", 0.5)):
        share = model["memory"].get(f"share of textbook, {mode}")
        aims.append(aim(f"{name}: peak memory over PyTorch's, {mode}", share, bound, False))
    return aims


def judge(summary):
    """(aims, why nothing counts)."""
    aims = []
    peak = summary["peak"].get(summary["threads"])
    for name in AT_LEAST:
        for precision, bound in GEMM_SHARE.items():
            shapes = peak["gemm_share_of_peak"][precision] if peak else {}
            least = min((share["median"] for shape, share in shapes.items() if shape.startswith(name)), default=None)
            aims.append(aim(f"{name}: least share of the peak of a matrix product in {precision}", least, bound, True))
        aims += model_aims(name, summary["models"].get(name, {**NOT_MEASURED, "batch": BATCHES[name]}))

    void = []
    for threads, one in summary["peak"].items():
        share = one["share_of_nominal"]
        if share["min"] < NOMINAL_SHARE[0] or share["max"] > NOMINAL_SHARE[1]:
            void.append(f"the peak of {threads} thread(s) was {share['min']:.1%} to {share['max']:.1%} of {one['nominal']}")
    if not summary["peak"]:
        void.append("no peak was measured")
    if summary.get("quiet") != "true":
        void.append(f"the machine was not quiet: load {summary.get('load_before')}, "
                    f"cores {summary.get('busy_percent_before')}% busy")
    if summary.get("quick") == "1":
        void.append("a quick run: too few rounds and images")
    if summary.get("threads") != "2":
        void.append(f"the aims are for two threads, not {summary.get('threads')}")
    for name, batch in BATCHES.items():
        if name not in summary["models"]:
            void.append(f"{name} was not measured")
        elif summary["models"][name]["batch"] != batch:
            void.append(f"{name} ran with a batch of {summary['models'][name]['batch']}, not {batch}")
    return aims, void
