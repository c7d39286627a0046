"""A Dask cluster of real processes on loopback."""

import json
import os
import subprocess
import sys
import time

from helpers.course.run import ROOT

PATIENCE = 900  # seconds, on a machine that others use too: what waits for it has not failed


def until(condition):
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)
    return found


class Cluster:
    """A scheduler and workers, each in a process of its own."""

    def __init__(self, folder):
        self.file, self.log, self.processes = folder / "scheduler.json", folder / "log", []
        self.scheduler = self.start("scheduler", "--port", "0", "--scheduler-file", self.file)
        self.address = json.loads(until(lambda: self.file.is_file() and self.file.read_text()))[
            "address"
        ]

    def start(self, what, *arguments):
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            # by default a piece of work is given up with the fourth worker that ends with it
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "99",
        }
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", what, "--host", "127.0.0.1", "--no-dashboard"]
                + [str(each) for each in arguments],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.file.parent,
            )
        self.processes.append(process)
        return process

    def worker(self, *more):
        return self.start("worker", self.address, "--nthreads", "1", "--no-nanny", *more)

    def close(self):
        for process in self.processes[::-1]:
            process.kill()
            process.wait()
