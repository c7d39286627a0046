"""Who does the work: processes here, a cluster of real processes on loopback; killed at any moment,
the results are the same."""

import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cluster import PATIENCE, until
from PIL import Image

from helpers import workers
from helpers.benchmark.models import load_model
from helpers.studies import compute as studies
from helpers.studies import maps
from helpers.studies.maps import explain_folder, main
from helpers.workers import WorkersLostError, completed, executor

N, CHUNK = 24, 2
SETTINGS = {"options": {"n_samples": 24}, "chunk": CHUNK, "progress": False}


def tree(path):
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(Path(path).rglob("*"))
        if file.is_file()
    }


def chunks(store):
    return {file.name for file in Path(store).glob("answers/c/*") if file.name.isdigit()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(N):
        pixels = np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    (folder / "05.png").write_bytes(b"no picture")
    return folder


@contextmanager
def one_thread():
    had = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(had)


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """The store that one process writes that nothing happens to."""
    out = tmp_path_factory.mktemp("whole") / "maps.zarr"
    with one_thread():
        explain_folder("scenes", folder, out, **SETTINGS)
    return tree(out)


# --- on this machine


def square(x):
    if x < 0:
        raise ValueError(f"negative: {x}")
    return x * x, os.getpid(), torch.get_num_threads()


def killed(_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_results_come_as_they_end_and_an_error_stops_what_has_not_begun():
    begun = []

    def work(x):
        begun.append(x)
        time.sleep(0.01)
        return square(x)[0]

    with executor(1, threads=True) as pool:
        assert sorted(completed(pool, work, [(x,) for x in range(5)])) == [0, 1, 4, 9, 16]
        with pytest.raises(ValueError, match="negative: -1"):
            list(completed(pool, work, [(x,) for x in [3, -1, *range(500)]]))
    assert len(begun) < 500


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (1.5, TypeError)])
def test_a_number_of_workers_that_is_none(n, error):
    with pytest.raises(error, match="workers must be"), executor(n):
        pass


def test_without_dask_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install -r requirements-cluster\.txt"):  # noqa: SIM117
        with executor(address="tcp://127.0.0.1:1"):
            pass


@pytest.mark.slow
def test_processes_of_one_thread_each_and_one_that_is_killed_is_an_error():
    with executor(2) as pool:
        found = list(completed(pool, square, [(x,) for x in range(20)]))
        assert {value for value, _, _ in found} == {x * x for x in range(20)}
        assert os.getpid() not in {pid for _, pid, _ in found}
        assert {threads for _, _, threads in found} == {1}
        with pytest.raises(WorkersLostError, match=r"killed from outside.*same command"):
            list(completed(pool, killed, [(1,)]))


def sleeps_in_a_pool(path):
    with executor(1) as pool:
        for _ in completed(pool, sleeps, [(path,)]):
            pass


def sleeps(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


@pytest.mark.slow
def test_processes_end_with_the_one_that_began_them(tmp_path):
    parent = multiprocessing.get_context("spawn").Process(
        target=sleeps_in_a_pool, args=(tmp_path / "pid",)
    )
    parent.start()
    pid = int(until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text()))
    parent.kill()
    until(lambda: gone(pid))


def gone(pid):
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


@pytest.mark.slow
def test_several_processes_write_the_bytes_of_one(folder, whole, tmp_path):
    out = tmp_path / "maps.zarr"
    arguments = ["scenes", str(folder), "--out", str(out), "--chunk", str(CHUNK)]
    with one_thread():
        assert main([*arguments, "--set", "n_samples=24", "--workers", "2"]) == 0
    assert tree(out) == whole


def test_a_pool_wants_a_model_that_it_can_make_and_a_store_that_it_sees(folder, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(TypeError, match="give the model's name, or a function"):
            explain_folder(load_model("scenes"), folder, tmp_path / "o.zarr", pool=pool)

        class Elsewhere:  # another machine, with a folder of its own
            def submit(self, function, run, arguments):
                (tmp_path / "other.zarr").exists() or copy(tmp_path / "o.zarr")
                maker, _, *rest = arguments
                return pool.submit(function, run, (maker, str(tmp_path / "other.zarr"), *rest))

        def copy(store):
            shutil.copytree(store, tmp_path / "other.zarr")

        with pytest.raises(ValueError, match="where the workers do not see it"), one_thread():
            explain_folder("scenes", folder, tmp_path / "o.zarr", pool=Elsewhere(), **SETTINGS)


def other_scenes():
    return load_model("scenes", seed=len(list(Path(os.environ["A_TEST"]).iterdir())))


def test_a_worker_with_other_weights_is_an_error(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("A_TEST", str(tmp_path))
    with ThreadPoolExecutor(1) as pool:

        class Later:
            def submit(self, *work):
                maps._made.cache_clear()  # as in another process
                return pool.submit(*work)

        with pytest.raises(ValueError, match="other weights than where the work was begun"):
            explain_folder(other_scenes, folder, tmp_path / "o.zarr", pool=Later(), **SETTINGS)


# --- killed, twenty times


DIES_IN_A_CHUNK = """
import os, signal
from pathlib import Path

replace = Path.replace

def half(self, target):
    if self.suffix == ".partial" and "maps/c/" in str(self):
        os.truncate(self, self.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)

Path.replace = half
"""


def writes(folder, out, die_in_a_chunk):
    """A run that may kill itself, with half a chunk of maps written."""
    torch.set_num_threads(1)
    if die_in_a_chunk:
        exec(DIES_IN_A_CHUNK, {})
    explain_folder("scenes", folder, out, **SETTINGS)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is not there on Windows")
def test_twenty_kills_at_random_times_and_the_store_ends_the_same(folder, whole, tmp_path):
    fresh = multiprocessing.get_context("forkserver")  # what is imported is so once for all
    fresh.set_forkserver_preload(["helpers.studies.maps", "zarr", "pytest"])
    rng, out, had, kills = random.Random(0), tmp_path / "maps.zarr", [], 0
    while kills < 20:
        inside = kills == 7
        process = fresh.Process(target=writes, args=(folder, out, inside))
        process.start()
        if not inside:
            # a chunk more every third time, so that it does not end before it was killed 20 times
            more = len(chunks(out)) + (kills % 3 == 2)
            until(lambda more=more: (out / "zarr.json").exists() and len(chunks(out)) >= more)
            time.sleep(rng.uniform(0, 0.15))
            process.kill()
        process.join(PATIENCE)
        assert process.exitcode == -signal.SIGKILL, "it ended before it was killed"
        if inside:
            assert list(out.glob("maps/c/**/*.partial")), "half a chunk is there"
        kills, had = kills + 1, [*had, len(chunks(out))]
    assert had == sorted(had) and had[-1] < N // CHUNK, had
    writes(folder, out, False)
    assert tree(out) == whole


# --- on a cluster


def command(folder, out, address, chunk=CHUNK, n_samples=24):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "helpers", "explain", "scenes", str(folder)),
            *("--out", str(out), "--chunk", str(chunk), "--set", f"n_samples={n_samples}"),
            *("--dask", address),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_is_logged_of_a_lost_connection_is_passed_over():
    """Whether a callback of tornado still waits when the scheduler goes is a matter of chance."""
    comm = pytest.importorskip("distributed.comm", reason="Dask is an optional requirement")
    for error, kept in ((comm.CommClosedError("gone"), False), (OSError("disk full"), True)):
        record = logging.makeLogRecord({"exc_info": (type(error), error, None)})
        assert workers._not_of_a_lost_connection(record) is kept
    assert workers._not_of_a_lost_connection(logging.makeLogRecord({"msg": "said"}))


def test_a_cluster_writes_the_same_bytes_whatever_happens_to_it(cluster, folder, whole, tmp_path):
    first, second = cluster.worker(), cluster.worker()
    out = tmp_path / "maps.zarr"
    run = command(folder, out, cluster.address)
    until(lambda: chunks(out) or run.poll() is not None)
    assert run.poll() is None, run.communicate()
    first.kill()  # with a chunk in its hands
    said, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, errors
    assert str(out) in said and tree(out) == whole

    out = tmp_path / "again.zarr"
    run = command(folder, out, cluster.address)
    until(lambda: chunks(out) or run.poll() is not None)
    assert run.poll() is None, run.communicate()
    cluster.scheduler.kill()
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 2 and "the same command goes on" in errors, errors
    assert errors.count("the scheduler went away") == 1 and "Traceback" not in errors, errors
    second.kill()
    second.wait()
    kept = {name: (out / "answers" / "c" / name).stat().st_mtime_ns for name in chunks(out)}
    assert 1 <= len(kept) < N // CHUNK
    with one_thread():
        explain_folder("scenes", folder, out, **SETTINGS)
    assert tree(out) == whole
    assert (
        kept.items()
        <= {name: (out / "answers" / "c" / name).stat().st_mtime_ns for name in chunks(out)}.items()
    ), "what was finished is not computed again"


@pytest.mark.slow
def test_twenty_workers_are_killed_one_in_a_chunk_and_the_store_ends_the_same(
    cluster, folder, tmp_path
):
    (tmp_path / "dies.py").write_text(DIES_IN_A_CHUNK)
    rng, out, n_samples = random.Random(1), tmp_path / "maps.zarr", 300
    run, kills, halves = command(folder, out, cluster.address, 1, n_samples), 0, 0
    for turn in range(10):
        more = ("--preload", tmp_path / "dies.py") if turn == 4 else ()
        pair = cluster.worker(*more), cluster.worker()
        had = len(chunks(out))
        if more:
            until(lambda pair=pair: pair[0].poll() is not None)
            halves += len(list(out.glob("maps/c/**/*.partial")))
        else:
            until(lambda had=had: len(chunks(out)) > had or run.poll() is not None)
            time.sleep(rng.uniform(0, 0.3))
        assert run.poll() is None, run.communicate()
        for worker in pair:
            worker.kill()
            kills += worker.wait() == -signal.SIGKILL
    assert kills == 20 and halves >= 1 and len(chunks(out)) < N
    cluster.worker()
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, errors
    with one_thread():
        options = {"n_samples": n_samples}
        explain_folder(
            "scenes", folder, tmp_path / "whole.zarr", options=options, chunk=1, progress=False
        )
    assert tree(out) == tree(tmp_path / "whole.zarr")


@pytest.mark.slow
def test_a_study_on_a_cluster(cluster, monkeypatch, tmp_path):
    cluster.worker()
    monkeypatch.setattr(studies, "SCRATCH", tmp_path / "build")
    monkeypatch.setattr(studies, "DATA", tmp_path / "data")
    study = replace(studies.STUDIES["controls"], networks=("scenes",))
    monkeypatch.setitem(studies.STUDIES, "controls", study)
    monkeypatch.setattr(studies, "training_seeds", lambda name: (1,))
    monkeypatch.setattr(studies, "_pictures", lambda name: (np.array([7]), 0, None))
    studies.compute("controls", address=cluster.address)
    with one_thread():
        settings, values = studies._compute("controls", "scenes", 1, [7])
    with np.load(tmp_path / "data" / "study-controls.npz") as file:
        assert json.loads(str(file["about"]))["settings"] == list(settings)
        for i, expected in enumerate(values.values()):
            there = file[f"values {i}"][0, 0]
            np.testing.assert_array_equal(there, expected.astype(np.float16))


def test_nobody_at_the_address(monkeypatch):
    pytest.importorskip("distributed", reason="Dask is an optional requirement")
    monkeypatch.setattr(workers, "PATIENCE", 0.2)
    with (
        pytest.raises(WorkersLostError, match=r"no scheduler answers at tcp://127\.0\.0\.1:1"),
        executor(address="tcp://127.0.0.1:1"),
    ):
        pass


def test_workers_that_would_share_a_network_are_refused(monkeypatch):
    distributed = pytest.importorskip("distributed", reason="Dask is an optional requirement")
    closed = []

    class Client:
        def __init__(self, address, **options):
            self.nthreads = lambda: {"tcp://a": 1, "tcp://b": 4}

        def close(self, timeout):
            closed.append(timeout)

    monkeypatch.setattr(distributed, "Client", Client)
    with (
        pytest.raises(ValueError, match=r"1 workers have several threads.*--nthreads 1"),
        executor(address="tcp://here:1"),
    ):
        pass
    assert closed
