"""A process that runs strangers' code: its own view of the file system, no network, and limits.

Where Linux allows it (as root, or with unprivileged user namespaces), the process gets namespaces
of its own through util-linux: it sees the system's and Python's files read-only, a course folder,
and nothing else; it has no network, sees no other process, and can neither gain privileges nor make
namespaces. Elsewhere only the limits remain; ``isolation()`` says which.

What the walls do not stop: flaws in the kernel itself, and using memory in ways that no process is
charged for (memfd); for a course of real adversaries run the whole grader in a virtual machine.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from helpers.course.grading.processes import family, look
from helpers.course.grading.remote import SECONDS

FILES = 20_000  # and folders, that one process may make: each costs the kernel memory
GRACE = 5  # CPU seconds beyond ``cell``, for the process to stop by itself
_COURSE = "/course"
_SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/fonts",
    "/etc/nsswitch.conf",
    "/opt/hostedtoolcache",
)
_OF_PYTHON = ("bin", "lib", "lib64", "share", "pyvenv.cfg")
_DEVICES = ("null", "zero", "full", "random", "urandom")
# of nobody: as root, each running submission gets a user of its own, so that limits count it alone
_FIRST_UID = 64_000


@dataclass(frozen=True)
class Limits:
    """cell: CPU seconds for one cell or one call of a function. idle: seconds asleep without a
    word. wall, cpu: seconds for the whole process. memory, disk, file: bytes (memory: of all its
    processes together). processes:
        threads count too.

    A busy machine makes nothing idle: what waits for a processor is not asleep."""

    cell: float = SECONDS
    idle: float = 20
    wall: float = 900
    cpu: int = 120
    memory: int = 3 * 2**30
    disk: int = 256 * 2**20
    file: int = 64 * 2**20
    processes: int = 64


@cache
def isolation() -> str:
    """Which walls this system allows: "namespaces", or "limits only"."""
    if not all(map(shutil.which, ("unshare", "setpriv", "prlimit", "mount", "pivot_root"))):
        return "limits only"
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "course")
        empty.mkdir()
        try:
            process = Sandbox(
                empty,
                ["/bin/sh", "-c", "test ! -e /proc/1/root/home && echo inside"],
                isolated=True,
            )
            said = process.stdout.read()
            process.close()
        except OSError:
            return "limits only"
    return "namespaces" if said == b"inside\n" else "limits only"


class Sandbox:
    """A running command. ``stdin`` and ``stdout`` are the caller's to talk through; the last of
    stderr is kept.

    Args:
        course: a folder whose content the process sees read-only, beside the scratch folders
            ``notebooks``, where it starts, and ``tmp``, into which the course's own ``tmp`` is
            copied. What the sandbox itself needs goes beside the course.
        command: program and arguments.
        limits: a ``Limits``.
        isolated: whether to use namespaces.
        slot: the number of the worker; two that run at once must differ.
    """

    def __init__(self, course, command, limits=None, *, isolated, slot=0):
        self.limits, self.killed, self._errors = limits or Limits(), None, bytearray()
        self._folder = Path(tempfile.mkdtemp(prefix="grading-", dir=Path(course).parent))
        if isolated:
            mounts = self._folder / "root"
            mounts.mkdir()
            command = _walled(Path(course), mounts, command, self.limits, slot)
            environment, cwd = _environment(_COURSE), None
        else:
            cwd = self._folder / "notebooks"
            cwd.mkdir()
            for path in _fixed(course):
                (self._folder / path.name).symlink_to(path.resolve())
            if Path(course, "tmp").is_dir():
                shutil.copytree(Path(course, "tmp"), self._folder / "tmp")
            command = [*_limited(self.limits), *command] if shutil.which("prlimit") else command
            environment = _environment(self._folder)
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self._process = subprocess.Popen(
            command, **pipes, cwd=cwd, env=environment, start_new_session=True
        )
        self.stdin, self.stdout = self._process.stdin, self._process.stdout
        self._begun = self._awake = time.monotonic()
        self._cpu, self._cpu_heard, self._cpu_seen = 0.0, 0.0, 0.0
        self.awaited = False
        """Whether the caller waits for it: asleep, it is idle only then."""
        self.spent = False
        """Whether it was ended for the time of all its cells together."""
        self.peak = 0
        """Bytes that its processes held at once, as far as seen."""
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._watch, self._drain)
        ]
        for thread in self._threads:
            thread.start()

    def kill(self, reason):
        """End it and all its processes; the first reason given stays in ``killed``."""
        self.killed = self.killed or reason
        if self._process.poll() is not None:
            return  # its number may be another's by now
        for pid in family(self._process.pid)[::-1]:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> int:
        """End it, wait, clean up; the exit status (negative: a signal), or that of the command
        inside."""
        with suppress(OSError):
            self.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)  # an orderly end, if it is coming
        self.kill(self.killed)
        status = self._process.wait()
        self._over.set()
        for thread in self._threads:
            thread.join()
        for stream in (self.stdout, self._process.stderr):
            stream.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        return status

    @property
    def errors(self) -> str:
        """The end of what it wrote to stderr."""
        return self._errors.decode(errors="replace")

    def heard(self):
        """The process said something: its time for that starts anew."""
        self._awake, self._cpu_heard = time.monotonic(), self._cpu

    def _watch(self):
        while not self._over.wait(0.1):
            processes, now = [look(pid) for pid in family(self._process.pid)], time.monotonic()
            held, self._cpu = (
                sum(p.memory for p in processes),
                max(self._cpu, sum(p.cpu for p in processes)),
            )
            self.peak = max(self.peak, held)
            if not self.awaited or self._cpu > self._cpu_seen or any(p.running for p in processes):
                self._awake = now
            self._cpu_seen = self._cpu
            if held > self.limits.memory:
                self.kill(f"it took more than {self.limits.memory / 2**30:.1f} GiB of memory")
            elif self._cpu > self.limits.cpu:
                self.spent = True
                self.kill(f"it took more than {self.limits.cpu:g} s of processor time in all")
            elif self._cpu - self._cpu_heard > self.limits.cell + GRACE:
                self.kill(f"it ran longer than {self.limits.cell:g} s and did not react")
            elif now - self._awake > self.limits.idle:
                self.kill(f"it slept longer than {self.limits.idle:g} s")
            elif now - self._begun > self.limits.wall:
                self.spent = True
                self.kill(f"it took longer than {self.limits.wall:g} s in all")

    def _drain(self):
        while chunk := self._process.stderr.read1(65536):
            self._errors += chunk
            del self._errors[:-4096]


def _limited(limits):
    """``memory`` twice over for a single process's own data: the watcher counts what all of them
    hold."""
    return [
        "prlimit",
        f"--cpu={limits.cpu + GRACE}",
        f"--data={2 * limits.memory}",
        f"--fsize={limits.file}",
        "--core=0",
        "--nofile=256",
    ]


def _walled(course, root, command, limits, slot):
    """``command`` in namespaces, with a root of its own made on the empty folder ``root``."""
    as_root = os.geteuid() == 0
    uid = _FIRST_UID + slot
    owner = f"uid={uid},gid={uid}," if as_root else ""
    steps = [
        "set -e",
        "umask 022",
        f"mount -t tmpfs -o mode=755,size=4m sandbox {shlex.quote(str(root))}",
        f"cd {shlex.quote(str(root))}",
    ]
    places, links = _visible()
    for path in places:
        steps += _bind(path, path)
    for path in map(str, links):
        steps.append(
            f"mkdir -p .{shlex.quote(os.path.dirname(path))}; "
            f"cp -P {shlex.quote(path)} .{shlex.quote(path)}"
        )
    steps += [
        f"mkdir -p proc dev old .{_COURSE}",
        "mount -t proc -o nosuid,nodev,noexec proc proc",
        *(f"touch dev/{name}; mount --bind /dev/{name} dev/{name}" for name in _DEVICES),
        f"mount -t tmpfs -o {owner}nosuid,nodev,mode=755,size={limits.disk},nr_inodes={FILES} "
        f"scratch .{_COURSE}",
        f"mkdir .{_COURSE}/notebooks .{_COURSE}/tmp; ln -s {_COURSE}/tmp tmp; ln -s {_COURSE}/tmp "
        "dev/shm",
        f"cp -r {shlex.quote(str(course / 'tmp'))}/. .{_COURSE}/tmp"
        if (course / "tmp").is_dir()
        else "true",
        f"chown -R {uid}:{uid} .{_COURSE}/notebooks .{_COURSE}/tmp" if as_root else "true",
        *(step for path in _fixed(course) for step in _bind(path, Path(_COURSE, path.name))),
        "mount -o remount,bind,ro,nosuid,nodev .",
        "pivot_root . old",
        "umount -l /old",
        f"cd {_COURSE}/notebooks",
    ]
    # Root becomes a plain user first. Either way it then is in a user namespace that allows no
    # further one, which would give back what is dropped here. Not exec: the shell stays as process
    # 1, so that signals mean inside what they mean elsewhere.
    become = (
        f"setpriv --reuid={uid} --regid={uid} --clear-groups unshare --user --map-root-user"
        if as_root
        else ""
    )
    drop = [
        "setpriv",
        "--no-new-privs",
        "--bounding-set=-all",
        "--inh-caps=-all",
        *_limited(limits),
        f"--nproc={limits.processes}",
        *command,
    ]
    last = f"echo 0 > /proc/sys/user/max_user_namespaces && exec {shlex.join(drop)}"
    steps += [f"{become} /bin/sh -c {shlex.quote(last)}", "exit"]
    spaces = [
        "--mount",
        "--pid",
        "--net",
        "--ipc",
        "--uts",
        *([] if as_root else ["--user", "--map-root-user"]),
    ]
    # If the grader dies, so does unshare, and with it everything inside.
    return [
        "setpriv",
        "--pdeathsig=KILL",
        "unshare",
        *spaces,
        "--fork",
        "--kill-child",
        "/bin/sh",
        "-c",
        "\n".join(steps),
    ]


def _fixed(course):
    return sorted(path for path in Path(course).iterdir() if path.name != "tmp")


def _bind(source, target):
    parent = shlex.quote(f".{Path(target).parent}")
    source, target = shlex.quote(str(source)), shlex.quote(f".{target}")
    make = f"if [ -d {source} ]; then mkdir -p {target}; else mkdir -p {parent}; touch {target}; fi"
    # noexec only where the source demands it: a namespace may not take that flag away.
    read_only = (
        f"mount -o remount,bind,ro,nosuid,nodev {target} || mount -o "
        f"remount,bind,ro,nosuid,nodev,noexec {target}"
    )
    return [make, f"mount --bind {source} {target}", read_only]


def _visible():
    """What of the system the process sees, as (folders and files at their real places, links that
    lead to them): programs, libraries, this Python with its packages, wherever they lie. Of a
    Python's folder, which may be somebody's home, only what belongs to Python."""
    prefixes = {sys.prefix, sys.base_prefix, str(Path(sys._base_executable).parents[1])}
    wanted = [*_SYSTEM, sys.executable, sys._base_executable, sysconfig.get_path("stdlib")]
    wanted += [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    wanted += [str(Path(each, part)) for each in sorted(prefixes) for part in _OF_PYTHON]
    links, places = {}, set()
    for path in wanted:
        met, place = _way_to(path)
        if place.exists():
            links |= dict.fromkeys(met)
            places.add(place)

    def within(path, others):
        return any(path != other and path.is_relative_to(other) for other in others)

    kept = sorted(place for place in places if not within(place, places))
    return kept, [link for link in links if not within(link, kept)]


def _way_to(path):
    """(the links met on the way to a path, its real place)."""
    links, rest, here = [], list(Path(path).parts[1:]), Path("/")
    while rest and len(links) < 40:  # as Linux counts them
        part = rest.pop(0)
        here = here.parent if part == ".." else here / part
        if here.is_symlink():
            links.append(here)
            target = Path(os.readlink(here))
            here = Path("/") if target.is_absolute() else here.parent
            rest = [*target.parts[target.is_absolute() :], *rest]
    return links, here


def _environment(home):
    """Nothing of the caller's own."""
    return {
        "PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "LANG": "C.UTF-8",
        "HOME": f"{home}/tmp",
        "USER": "student",
        "TMPDIR": f"{home}/tmp",
        "IPYTHONDIR": f"{home}/tmp/ipython",
        "PYTHONPATH": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HELPERS_DATA": f"{home}/data",
        "OMP_NUM_THREADS": "1",
        "MPLCONFIGDIR": f"{home}/tmp/matplotlib",
        "TORCH_HOME": f"{home}/torch",
    }
