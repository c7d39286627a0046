"""Seconds for a map, peak memory, how long a slider takes, pictures a second over a data set, and
what a second worker brings: writes the tables in tests/bench/results.md, and into docs/speed.md.

    python tests/bench/bench.py                      # all of it, about 20 min on 2 cores
    python tests/bench/bench.py --only sliders       # these sections anew, the others left as they
    stand in the file

Maps are timed side by side: bare PyTorch, ours, and Captum. Bare is nothing but the forward pass
and the input gradient at points that lie ready, at the fastest of several chunk sizes: what any
implementation must pay. All four are timed in turn, round after round, in one process; medians of
the rounds. Memory is the peak of a process of its own for each method and n, the interpreter and
libraries included. Weights do not matter for either, so the ImageNet networks keep their random
ones. A slider is moved from Python, from the new value to the finished picture; the browser is not
in it. Over a data set the same pictures are explained in turn, in one process: one call a picture,
by ``explain``, and by Captum in batches of the same size. Workers are processes of one thread each
that have loaded the network before the clock starts: what is timed is computation alone.
"""

import argparse
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from functools import lru_cache, partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
import zarr
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from helpers.attribution.gradients import saliency
from helpers.attribution.integrated_gradients import integrated_gradients
from helpers.attribution.smoothgrad import smoothgrad
from helpers.benchmark.imagenet import import_torchvision
from helpers.benchmark.images import load_images, read_image
from helpers.benchmark.models import scene_net
from helpers.evaluate import default_batch_size
from helpers.files import written_whole
from helpers.studies.explain import explain
from helpers.workers import completed, executor

N, NOISE = 48, 0.15
CHUNKS = (1, 2, 3, 4, 8, 16, 48)
NETWORKS = {
    "SqueezeNet 1.1": ("squeezenet1_1", 224),
    "ResNet-18": ("resnet18", 224),
    "scenes": (None, 64),
}
GPU_NETWORKS = {"ResNet-50": ("resnet50", 224)}
METHODS = ("SmoothGrad", "Integrated Gradients")
TIME_HEAD = ("network", "method", "who", "s a map", "ratio to bare")
MEMORY_LIMIT = 16 << 30  # bytes
MOVES = 24  # of each kind, for each panel
OUT = Path(__file__).with_name("results.md")
PAGE = Path(__file__).parents[2] / "docs" / "speed.md"
PAGE_PART = re.compile("(?<=<!-- bench -->\n).*(?=<!-- end of bench -->)", re.DOTALL)


def build(name, size, device="cpu"):
    torch.manual_seed(0)
    network = (
        scene_net() if name is None else import_torchvision().models.get_model(name, weights=None)
    )
    return (
        network.eval().to(device),
        torch.rand(1, 3, size, size, device=device),
        torch.tensor([3], device=device),
    )


def bare(network, points, target, chunk):
    """The sum of the input gradients at ready points: the least that a map costs."""
    total = torch.zeros_like(points[:1])
    for part in points.split(chunk):
        part = part.detach().requires_grad_()
        logit = network(part)[:, int(target)].sum()
        total += torch.autograd.grad(logit, part)[0].sum(0, keepdim=True)
    return total


def ours(method, network, pixels, target, n=N):
    if method == "SmoothGrad":
        return smoothgrad(network, pixels, target, n_samples=n, noise=NOISE)
    return integrated_gradients(network, pixels, target, n_steps=n)


def captum(method, network, pixels, target, n=N, chunk=None):
    if method == "SmoothGrad":
        tunnel = NoiseTunnel(Saliency(network))
        return tunnel.attribute(
            pixels,
            nt_samples=n,
            nt_samples_batch_size=chunk,
            stdevs=NOISE,
            target=target,
            abs=False,
        )
    return IntegratedGradients(network).attribute(
        pixels,
        torch.zeros_like(pixels),
        target=target,
        n_steps=n,
        method="riemann_middle",
        internal_batch_size=chunk,
    )


def seconds(call, device):
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def fastest(call, device):
    """The chunk size with the smallest time, each tried twice."""
    tried = {
        chunk: min(seconds(partial(call, chunk=chunk), device) for _ in range(2))
        for chunk in CHUNKS
    }
    return min(tried, key=tried.get)


def time_table(networks, rounds, device="cpu"):
    rows = []
    for label, (name, size) in networks.items():
        network, pixels, target = build(name, size, device)
        points = pixels + NOISE * torch.randn(N, *pixels.shape[1:], device=device)
        least = partial(bare, network, points, target)
        bare_chunk = fastest(least, device)
        for method in METHODS:
            theirs = partial(captum, method, network, pixels, target)
            captum_chunk = fastest(theirs, device)
            calls = {
                f"bare PyTorch, best chunk ({bare_chunk})": partial(least, chunk=bare_chunk),
                f"ours, default chunk ({default_batch_size(pixels)})": partial(
                    ours, method, network, pixels, target
                ),
                "Captum, defaults (all at once)": theirs,
                f"Captum, best chunk ({captum_chunk})": partial(theirs, chunk=captum_chunk),
            }
            times = {title: [] for title in calls}
            for _ in tqdm(range(rounds), desc=f"{label}, {method}"):
                for title, call in calls.items():
                    times[title].append(seconds(call, device))
            base = next(iter(times.values()))
            for title, values in times.items():
                ratio = median(
                    value / least_time for value, least_time in zip(values, base, strict=True)
                )
                rows.append((label, method, title, f"{median(values):.3f}", f"{ratio:.2f}"))
    return rows


def memory_table(networks):
    if platform.system() != "Linux":
        return [("measured on Linux only", *["–"] * 5)]
    rows = []
    for label in networks:
        for method in METHODS:
            for who in ("ours", "captum"):
                peaks = [_peak(label, method, who, n) for n in (16, 256)]
                said = [
                    f"{peak:.0f}" if peak else f"over {MEMORY_LIMIT >> 30} GiB" for peak in peaks
                ]
                ratio = f"{peaks[1] / peaks[0]:.2f}" if all(peaks) else "–"
                rows.append(
                    (label, method, "ours" if who == "ours" else "Captum, defaults", *said, ratio)
                )
    return rows


def _peak(label, method, who, n):
    """Peak resident memory in MiB of a fresh process that makes one map; None where that takes more
    than MEMORY_LIMIT."""
    command = [sys.executable, __file__, "--one", label, method, who, str(n)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and not re.search("MemoryError|allocate memory", done.stderr):
        raise RuntimeError(done.stderr)
    return None if done.returncode else float(done.stdout.split()[-1])


def _one(label, method, who, n):
    import resource  # Linux, as is the file read below

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
    network, pixels, target = build(*NETWORKS[label])
    {"ours": ours, "captum": captum}[who](method, network, pixels, target, n=int(n))
    # Not ru_maxrss: a child inherits its parent's.
    print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024)


def slider_table():
    """Milliseconds from a move of a slider to the new picture: on scenes, and with about 25
    gradients for a new map on photographs."""
    # Here, so that the processes whose memory is measured do not load what draws.
    from helpers.benchmark.images import load_images
    from helpers.benchmark.models import load_model
    from helpers.display import explorer

    display, few = ["show", "percentile", "overlay"], {"n_samples": 25}
    moves = {  # panel -> controls that need no new gradients, those that do
        "explore_maps": (["samples", "show", "percentile"], ["picture", "noise"]),
        "explore_smoothgrad": (
            ["samples", "aggregate", *display],
            ["picture", "noise", "distribution", "clip"],
        ),
        "explore_integrated_gradients": (
            display,
            ["picture", "target", "baseline", "rule", "steps"],
        ),
        "explore_path": (["alpha", *display], ["picture", "baseline"]),
    }
    references = load_images("scenes", 10, split="tune").pixels
    networks = {  # name -> pictures, the panels' options, bounds in seconds
        "scenes": (
            "scenes",
            {"explore_integrated_gradients": {"references": references}},
            (0.1, 1),
        ),
        "efficientnet_lite0": (
            "photos",
            {"explore_maps": few, "explore_smoothgrad": few, "explore_path": {"n_steps": 25}},
            (0.15, 3),
        ),
    }
    rows = []
    for network, (source, options, bounds) in networks.items():
        model, images = load_model(network, device="cpu"), load_images(source, 6)
        for name, controls in moves.items():
            panel = getattr(explorer, name)(model, images, **options.get(name, {}))
            for kind, names, bound in zip(("none", "evaluated"), controls, bounds, strict=True):
                if source == "photos" and "steps" in names:
                    panel.controls["steps"].value, names = 20, names[:-1]
                times = _moves(panel, names, unseen=kind == "evaluated")
                numbers = (1e3 * median(times), 1e3 * max(times), 1e3 * bound)
                rows.append((network, name, kind, str(len(times)), *(f"{n:.0f}" for n in numbers)))
    return rows


def _moves(panel, names, unseen):
    """Seconds of MOVES moves of controls drawn at random; ``unseen``: only to settings of them that
    were not there before."""
    draw, seen, times = random.Random(0), set(), []
    seen.add(tuple(panel.controls[name].value for name in names))
    while len(times) < MOVES:
        name = draw.choice(names)
        control = panel.controls[name]
        if hasattr(control, "options"):
            value = draw.choice(
                [option[1] if isinstance(option, tuple) else option for option in control.options]
            )
        elif hasattr(control, "step"):
            value = control.min + control.step * draw.randint(
                0, round((control.max - control.min) / control.step)
            )
        else:
            value = not control.value
        now = tuple(value if other == name else panel.controls[other].value for other in names)
        variance_of_one = "aggregate" in names and {"variance", 1} <= set(now)
        if value == control.value or (unseen and now in seen) or variance_of_one:
            continue
        start = time.perf_counter()
        control.value = value
        times.append(time.perf_counter() - start)
        seen.add(tuple(panel.controls[other].value for other in names))
    return times


def gpu_section(rounds):
    """The table of times on a GPU, and how well bf16 maps agree with float32 ones; or a line that
    says why not."""
    if not torch.cuda.is_available():
        return (
            "No GPU at hand: the table for ResNet-50 on CUDA, float32 and bf16 autocast, was "
            "skipped."
        )
    lines = [f"On {torch.cuda.get_device_name()}, otherwise as above."]
    for dtype in (None, torch.bfloat16):
        with torch.autocast("cuda", dtype) if dtype else nullcontext():
            lines += ["", f"{'bf16 autocast' if dtype else 'float32'}:", ""]
            lines += _markdown(TIME_HEAD, time_table(GPU_NETWORKS, rounds, "cuda"))
    network, pixels, target = build("resnet50", 224, "cuda")
    for method in METHODS:
        full = ours(method, network, pixels, target)
        with torch.autocast("cuda", torch.bfloat16):
            half = ours(method, network, pixels, target)
        r = torch.corrcoef(torch.stack([full.flatten(), half.flatten()]))[0, 1]
        lines.append(f"\n{method}: correlation of the bf16 map with the float32 map {r:.4f}.")
    return "\n".join(lines)


STAGES_N, STAGES_CHUNK = 50, 8  # SmoothGrad's samples, pictures stored together


def stages_section(rounds):
    """Milliseconds a picture of what `python -m helpers explain resnet50` does one after another:
    reading, gradients, writing; each with one thread, for JPEGs of 500 × 375 pixels."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = _jpegs(Path(folder))
        rows.append(("read: decode, crop, scale", "one core", _ms(read_image, files, rounds, 224)))
        for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
            network, pixels, target = build("resnet50", 224, device)

            def gradient(_, network=network, pixels=pixels, target=target):
                smoothgrad(network, pixels, target, n_samples=STAGES_CHUNK).cpu()

            one = _ms(gradient, [None], rounds) / STAGES_CHUNK
            where = "one core" if device == "cpu" else torch.cuda.get_device_name()
            rows.append(("one gradient of ResNet-50", where, one))
            rows.append((f"a map of {STAGES_N} gradients", where, one * STAGES_N))
        for what, shape, dtype in (
            ("write: signed, float32", (224, 224), "float32"),
            ("write: whole, float16", (3, 224, 224), "float16"),
        ):
            root = zarr.open_group(Path(folder, dtype), mode="w")
            shapes = (STAGES_CHUNK * rounds, *shape), (STAGES_CHUNK, *shape)
            array = root.create_array("maps", shape=shapes[0], dtype=dtype, chunks=shapes[1])
            maps = np.random.default_rng(0).standard_normal(shapes[1]).astype(dtype)

            def write(i, array=array, maps=maps):
                array[i * STAGES_CHUNK : (i + 1) * STAGES_CHUNK] = maps

            spent = _ms(write, range(rounds), 1) / STAGES_CHUNK
            rows.append((what, "one core, local disk", spent))
    torch.set_num_threads(threads)
    shown = [(what, where, f"{spent:.2f}") for what, where, spent in rows]
    about = (
        f"torch {torch.__version__} on {platform.machine()}, one thread, the fastest of several "
        "times."
    )
    return "\n".join([about, "", *_markdown(("stage", "on", "ms a picture"), shown)])


def _ms(function, arguments, rounds, *more):
    """The fastest, in milliseconds, of several calls: others use the machine too."""
    function(next(iter(arguments)), *more)
    times = []
    for _ in range(rounds):
        for argument in arguments:
            start = time.perf_counter()
            function(argument, *more)
            times.append(1000 * (time.perf_counter() - start))
    return min(times)


def _jpegs(folder):
    files = []
    for i, pixels in enumerate(load_images("photos", size=500).pixels):
        files.append(folder / f"{i}.jpg")
        bytes_ = (pixels[:, :375] * 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(bytes_).save(files[-1], quality=90)
    return files


SET_SAMPLES = 8  # SmoothGrad's, over a data set
SETS = {"SqueezeNet 1.1": 24, "scenes": 192}  # network -> pictures


def dataset_section(rounds):
    """Pictures a second over a data set: one call a picture, ``explain``, Captum in batches."""
    rows = []
    for label, n in SETS.items():
        network, pixels, _ = build(*NETWORKS[label])
        data = torch.rand(n, *pixels.shape[1:]), torch.arange(n) % 10
        at_once = default_batch_size(pixels)
        smooth = partial(smoothgrad, n_samples=SET_SAMPLES, noise=NOISE)
        captums = Saliency(network), NoiseTunnel(Saliency(network))
        noisy = {"nt_samples": SET_SAMPLES, "stdevs": NOISE}
        for title, method, theirs, more in (
            ("gradient", saliency, captums[0], {}),
            (f"SmoothGrad, n = {SET_SAMPLES}", smooth, captums[1], noisy),
        ):
            calls = {
                "one call a picture": partial(_one_by_one, method, network, *data),
                f"explain, default batch ({at_once})": partial(_explained, method, network, *data),
            }
            for chunk in (1, SET_SAMPLES) if more else (None,):
                how = more | ({"nt_samples_batch_size": chunk} if chunk else {})
                noted = f", samples at once {chunk}" if chunk else ""
                calls[f"Captum, batches of {at_once}{noted}"] = partial(
                    _captum_in_batches, theirs, *data, at_once, how
                )
            times = {who: [] for who in calls}
            for _ in tqdm(range(rounds), desc=f"{label}, {title}"):
                for who, call in calls.items():
                    times[who].append(seconds(call, "cpu"))
            base = times["one call a picture"]
            for who, values in times.items():
                ratio = median(b / v for v, b in zip(values, base, strict=True))
                rows.append((label, title, who, f"{n / median(values):.1f}", f"{ratio:.2f}"))
    head = ("network", "method", "who", "pictures a second", "times one call a picture")
    return "\n".join(
        [
            f"{_where()}, float32, one process, medians of {rounds} interleaved rounds over "
            f"{' and '.join(f'{n} pictures ({label})' for label, n in SETS.items())}. The ratio is "
            "the median over rounds; larger is faster.",
            "",
            *_markdown(head, rows),
        ]
    )


def _one_by_one(method, network, pixels, targets):
    return [
        method(network, one, target)
        for one, target in zip(pixels.split(1), targets.split(1), strict=True)
    ]


def _explained(method, network, pixels, targets):
    return list(explain(method, network, TensorDataset(pixels, targets), progress=False))


def _captum_in_batches(method, pixels, targets, at_once, more):
    loader = DataLoader(TensorDataset(pixels, targets), at_once)
    return [
        method.attribute(part.requires_grad_(), target=aim, abs=False, **more)
        for part, aim in loader
    ]


PIECES, PIECE = 16, 8  # of work for the workers: so many, of so many pictures each
WORKERS_ROUNDS = 5


def workers_section(_):
    """Seconds for the same maps by one worker of one thread and by two, in turn."""
    with executor(1) as one, executor(2) as two:
        for pool, n in ((one, 1), (two, 2)):
            list(completed(pool, _piece, [(k,) for k in range(8 * n)]))  # each loads the network
        times = [
            [seconds(partial(_all_pieces, pool), "cpu") for pool in (one, two)]
            for _ in tqdm(range(WORKERS_ROUNDS), desc="one worker, two workers")
        ]
    alone, together = (median(column) for column in zip(*times, strict=True))
    gain = median(first / second for first, second in times)
    rows = [("one", f"{alone:.2f}", "1.00"), ("two", f"{together:.2f}", f"{gain:.2f}")]
    return "\n".join(
        [
            f"torch {torch.__version__} on {platform.machine()}, one thread a worker, processes of "
            f"this machine; SmoothGrad, n = 25, of {PIECES * PIECE} scenes in {PIECES} pieces, "
            f"computation only, medians of {WORKERS_ROUNDS} interleaved rounds. At least 1.7 is "
            "expected of two cores that nobody else uses.",
            "",
            *_markdown(("workers", "s", "times one worker"), rows),
        ]
    )


def _all_pieces(pool):
    return list(completed(pool, _piece, [(k,) for k in range(PIECES)]))


def _piece(number):
    """A piece of work, in a worker's process; its time must lie in what it computes, so little
    goes there and back."""
    network, *_ = _scenes()
    pixels = torch.rand(PIECE, 3, 64, 64, generator=torch.Generator().manual_seed(number))
    return float(smoothgrad(network, pixels, 0, n_samples=25).abs().mean())


@lru_cache(1)
def _scenes():
    return build(*NETWORKS["scenes"])


def _markdown(head, rows):
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _where():
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads on {platform.machine()}"


def time_section(rounds):
    return "\n".join(
        [
            f"{_where()}, float32, one picture, n = {N} gradients a map, medians of {rounds} "
            "interleaved rounds. The ratio is the "
            "median over rounds of the time divided by bare PyTorch's in the same round.",
            "",
            *_markdown(TIME_HEAD, time_table(NETWORKS, rounds)),
        ]
    )


def memory_section(_):
    head = ("network", "method", "who", "n = 16", "n = 256", "ratio")
    return "\n".join(
        [
            "Of a process that makes one map, in MiB, the interpreter and libraries included.",
            "",
            *_markdown(head, memory_table(NETWORKS)),
        ]
    )


def sliders_section(_):
    head = ("network", "panel", "new gradients", "moves", "median, ms", "worst, ms", "bound, ms")
    return "\n".join(
        [
            f"{_where()}, from the move to the new picture, without the browser; "
            "efficientnet_lite0 on photographs of 224 pixels with 25 gradients a map (Integrated "
            "Gradients 20).",
            "",
            *_markdown(head, slider_table()),
        ]
    )


SECTIONS = {  # name -> (heading in results.md, rounds -> text)
    "time": ("Seconds a map", time_section),
    "memory": ("Peak memory", memory_section),
    "sliders": ("Sliders", sliders_section),
    "gpu": ("On a GPU", gpu_section),
    "stages": ("Many pictures, stage by stage", stages_section),
    "dataset": ("Many pictures, one process", dataset_section),
    "workers": ("Many pictures, two workers", workers_section),
}


def written(text):
    """{heading: text under it} of a results file."""
    parts = re.split(r"^### (.+)\n", text, flags=re.MULTILINE)
    return {
        heading: body.strip("\n") for heading, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def composed(sections):
    """The results file of {heading: text}, in the order of SECTIONS; those never measured are left
    out."""
    return "\n".join(["# Speed and memory\n\nWritten by `make bench`.\n", *_parts(sections, "###")])


def published(sections, page):
    """docs/speed.md with these sections between its marks."""
    return PAGE_PART.sub(lambda _: "\n".join(_parts(sections, "##")), page)


def _parts(sections, mark):
    return [
        f"{mark} {heading}\n\n{sections[heading]}\n"
        for heading, _ in SECTIONS.values()
        if heading in sections
    ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SECTIONS,
        default=list(SECTIONS),
        metavar="SECTION",
        help=f"measure only these, of {', '.join(SECTIONS)}",
    )
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        _one(*arguments.one)
        return
    sections = written(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    for name in arguments.only:
        heading, measure = SECTIONS[name]
        sections[heading] = measure(arguments.rounds)
        print(f"### {heading}\n\n{sections[heading]}\n")
        # after each, so that what is cut off keeps what it measured
        page = published(sections, PAGE.read_text(encoding="utf-8"))
        for path, text in ((OUT, composed(sections)), (PAGE, page)):
            with written_whole(path) as whole:
                whole.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
