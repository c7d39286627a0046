"""What processes are doing, from Linux's /proc; where there is none, nothing."""

import os
from pathlib import Path
from typing import NamedTuple


def family(pid) -> list[int]:
    """The process and all that descend from it, also in other process namespaces."""
    pids = [pid]
    for each in pids:
        try:
            for thread in os.listdir(f"/proc/{each}/task"):
                pids += map(int, Path(f"/proc/{each}/task/{thread}/children").read_text().split())
        except OSError:
            pass
    return pids


class Seen(NamedTuple):
    """running: any of its threads has or waits for a processor, or for the disk."""

    running: bool
    cpu: float  # seconds, with children that ended
    memory: int  # bytes


def look(pid) -> Seen:
    """One process as it is now; all zero if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        states = [fields[0]]
        if fields[17] != "1":  # threads
            states += [
                path.read_text().rpartition(")")[2].split()[0]
                for path in Path(f"/proc/{pid}/task").glob("*/stat")
            ]
    except (OSError, IndexError):
        return Seen(False, 0.0, 0)
    ticks, pages = sum(map(int, fields[11:15])), int(fields[21])
    return Seen(
        bool({"R", "D"} & set(states)),
        ticks / os.sysconf("SC_CLK_TCK"),
        pages * os.sysconf("SC_PAGE_SIZE"),
    )
