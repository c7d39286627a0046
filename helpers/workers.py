"""Who does the work: processes of this machine, or of a Dask cluster; each with one thread, so that
results do not depend on how many there are."""

import logging
import multiprocessing
import os
import threading
from concurrent.futures import (
    CancelledError,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import torch

from helpers.checks import at_least_one

INSTALL = "python -m pip install -r requirements-cluster.txt"
PATIENCE = 30  # seconds for a scheduler to answer


class WorkersLostError(OSError):
    """No one is left to do the work, or no one can be reached. What was finished is kept."""


@contextmanager
def executor(workers=None, address=None, *, threads=False):
    """A ``concurrent.futures.Executor``, for the block; what has not begun at its end never will.

    Args:
        workers: processes on this machine; by default one a core. A cluster has its own number.
        address: of a Dask scheduler, "tcp://host:8786", where the work is to be done.
        threads: threads of this process instead of processes, for work that itself starts one.

    Raises:
        ImportError, WorkersLostError, ValueError: Dask is not installed; nobody answers at the
            address; workers with several threads, which would share a network.
    """
    if address is not None:
        with _client(address) as client:
            yield client.get_executor(pure=False)
        return
    workers = at_least_one((os.cpu_count() or 1) if workers is None else workers, "workers")
    if threads:
        pool = ThreadPoolExecutor(workers)
    else:  # a forked process would inherit torch's threads, and hang
        fresh = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, fresh, initializer=_end_with_parent)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=not threads, cancel_futures=True)
        raise
    pool.shutdown()


def completed(pool, function, work):
    """Yield function(*arguments) of each arguments of ``work``, in the order in which they end; an
    error as soon as it is met.

    Raises:
        WorkersLostError: a process of this machine was killed, the scheduler went away, or one
            piece of work was lost with several workers of a cluster.
    """
    try:
        running = {pool.submit(_with_one_thread, function, arguments) for arguments in work}
        try:
            for done in as_completed(running):
                running.discard(done)  # or all results would stay
                yield done.result()
        finally:
            for future in running:
                future.cancel()
    except CancelledError as error:
        raise WorkersLostError(
            "the scheduler went away; what was finished is kept: the same command goes on, once "
            "there is one"
        ) from error
    except BrokenProcessPool as error:
        raise WorkersLostError(
            "a process was killed from outside, as where memory ran out; what was finished is "
            "kept: the same command goes on (fewer workers need less memory)"
        ) from error
    except Exception as error:
        if type(error).__name__ != "KilledWorker":
            raise
        raise WorkersLostError(
            f"a piece of work was lost with several workers, one after another: {error} What was "
            "finished is kept"
        ) from error


def _with_one_thread(function, arguments):
    torch.set_num_threads(1)
    return function(*arguments)


def _end_with_parent():
    """A process whose parent was killed would wait for work for ever."""
    if parent := multiprocessing.parent_process():

        def follow():
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()


def _not_of_a_lost_connection(record):
    """A logging filter: whether a record is of anything else."""
    error = (record.exc_info or (None, None))[1]
    return type(error).__name__ not in ("CommClosedError", "CancelledError")


@contextmanager
def _client(address):
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(f"a cluster needs Dask: {INSTALL}") from error
    # what is logged of a scheduler that went away, pages of it, is said here in a line
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    for name in ("tornado.application", "asyncio"):
        logging.getLogger(name).addFilter(_not_of_a_lost_connection)
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:  # a TimeoutError is an OSError
        raise WorkersLostError(f"no scheduler answers at {address}: {error}") from error
    try:
        if several := [at for at, threads in client.nthreads().items() if threads > 1]:
            raise ValueError(
                f"{len(several)} workers have several threads, which would share one network: "
                "start them with --nthreads 1"
            )
        yield client
    finally:
        client.close(timeout=1)
