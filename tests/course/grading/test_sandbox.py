"""The walls alone, around a bare Python: what cannot be reached, and what ends whoever tries too
much."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.course.grading.sandbox import Limits, Sandbox, isolation

pytestmark = pytest.mark.skipif(
    isolation() != "namespaces", reason="this system allows no namespaces: nothing to test"
)
SMALL = Limits(
    cell=1,
    idle=3,
    wall=3600,
    cpu=10,
    memory=200 * 2**20,
    disk=8 * 2**20,
    file=4 * 2**20,
    processes=20,
)


@pytest.fixture
def course(tmp_path):
    folder = tmp_path / "course"
    (folder / "helpers" / "benchmark").mkdir(parents=True)
    (folder / "helpers" / "benchmark" / "models.py").write_text("x = 1\n")
    tmp_path.chmod(0o755)
    return folder


def run(course, code, limits=SMALL):
    """(what it printed, exit status, why it was killed) of a program in the sandbox."""
    sandbox = Sandbox(course, [sys.executable, "-I", "-S", "-c", code], limits, isolated=True)
    sandbox.awaited = True
    said = sandbox.stdout.read()
    status = sandbox.close()
    return said.decode(), status, sandbox.killed


def test_it_sees_what_it_needs_and_nothing_else(course, tmp_path):
    (tmp_path / "solution.txt").write_text("42")
    said, status, _ = run(
        course,
        f"""
import os
models = "/course/helpers/benchmark/models.py"
print(os.getcwd(), sorted(os.listdir("/course")), open(models).read().strip())
for path in ({str(tmp_path / "solution.txt")!r}, "/etc/shadow", "/proc/1/environ",
             "/proc/1/root/etc", "/sys/kernel"):
    try:
        os.listdir(path) if os.path.isdir(path) else open(path, "rb").read()
        print("READ", path)
    except OSError:
        pass
for path in ("/x", models, "/usr/x", "/dev/x", "/proc/sys/kernel/core_pattern",
             "/proc/sysrq-trigger"):
    try:
        open(path, "r+" if os.path.exists(path) else "w").write("x")
        print("WRITTEN", path)
    except OSError:
        pass
processes = [int(p) for p in os.listdir("/proc") if p.isdigit()]
print([name for name in os.environ if "KEY" in name], min(processes))
""",
    )
    assert said == "/course/notebooks ['helpers', 'notebooks', 'tmp'] x = 1\n[] 1\n" and status == 0


def test_no_network(course):
    with socket.create_server(("127.0.0.1", 0)) as server:
        said, _, _ = run(
            course,
            f"""
import os
import socket
for address in (("127.0.0.1", {server.getsockname()[1]}), ("1.1.1.1", 53)):
    try:
        socket.create_connection(address, 1)
        print("REACHED")
    except OSError:
        print("unreachable")
""",
        )
    assert said == "unreachable\nunreachable\n"


def test_no_privileges_and_no_new_namespaces(course):
    said, _, _ = run(
        course,
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print([line.split()[1].strip("0") for line in open("/proc/self/status")
       if line.startswith(("CapEff", "CapPrm", "CapBnd"))])
print([libc.unshare(flag) for flag in (0x10000000, 0x20000, 0x40000000)])
print(libc.mount(b"none", b"/course/tmp", b"tmpfs", 0, None))
""",
    )
    assert said == "['', '', '']\n[-1, -1, -1]\n-1\n"


HOSTILE = {
    "loop": ("while True: pass", "did not react"),
    "sleep": ("import time; time.sleep(1000)", "slept longer"),
    "memory": ("x = []\nwhile True: x.append(b'x' * 2**22)", "memory"),
    "forked memory": (
        "import os, time\nfor _ in range(8): os.fork()\nx = b'x' * 2**26\ntime.sleep(100)",
        "",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_who_takes_too_much_is_ended(course, name):
    code, reason = HOSTILE[name]
    _, status, killed = run(course, code)
    assert status and (reason in (killed or "") or (killed is None and name.endswith("memory")))


def test_one_request_for_too_much_memory_fails(course):
    said, _, killed = run(
        course, "try: bytearray(50 * 2**30)\nexcept MemoryError: print('refused')"
    )
    assert said == "refused\n" and killed is None


def test_a_fork_bomb_stays_small_and_dies(course):
    code = """
import os
n = 0
for _ in range(1000):
    try:
        if os.fork() == 0:
            while True: pass
        n += 1
    except OSError:
        pass
print(n, flush=True)
"""
    said, _, _ = run(course, code)
    assert int(said or 0) < SMALL.processes
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "os.fork() == 0" not in left


def test_it_cannot_end_the_grader(course):
    said, _, _ = run(
        course,
        """
import os, signal
for pid in (os.getppid(), 1, -1):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
print("still here")
""",
    )
    assert said == "still here\n"
    run(course, "import os; os.killpg(0, 9)")


def test_disk_and_output_are_limited(course):
    said, status, _ = run(
        course,
        """
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for number, size in enumerate((16, 3, 3, 3)):
    try:
        with open(str(number), "wb") as file:
            file.write(bytes(size * 2**20))
        print("written", size)
    except OSError as error:
        print(error.strerror)
for _ in range(32):
    os.write(2, b"x" * 2**20)
""",
    )
    assert said.splitlines() == [
        "File too large",
        "written 3",
        "No space left on device",
        "No space left on device",
    ] or (said.splitlines().count("No space left on device") >= 1 and "written 16" not in said)
    assert status == 0


def test_deleting_everything_deletes_nothing_of_ours(course):
    run(
        course,
        "import shutil\nfor path in ('/course', '/tmp'): shutil.rmtree(path, ignore_errors=True)",
    )
    assert (course / "helpers" / "benchmark" / "models.py").read_text() == "x = 1\n"


def test_nothing_of_it_is_left(course, tmp_path):
    sandbox = Sandbox(course, ["/bin/sh", "-c", "sleep 987 & sleep 986"], SMALL, isolated=True)
    time.sleep(0.5)
    sandbox.close()
    assert [path.name for path in tmp_path.iterdir()] == ["course"]
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "sleep 987" not in left and "sleep 986" not in left


SEES_PYTHON = """
import sys
from pathlib import Path
from helpers.course.grading.sandbox import Sandbox

command = [sys.executable, "-c", "import encodings, numpy, sys; print(sys.prefix)"]
sandbox = Sandbox(Path(sys.argv[1]), command, isolated=True)
print(sandbox.stdout.read().decode(), sandbox.errors)
sandbox.close()
"""


@pytest.mark.parametrize("where", ["behind a link", "below a link", "behind a relative link"])
def test_python_is_found_wherever_it_lies(course, tmp_path, where):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    prefix = home / "env"
    if where == "below a link":
        (home / "all").symlink_to(Path(sys.prefix).parent)
        prefix = home / "all" / Path(sys.prefix).name
    elif where == "behind a link":
        prefix.symlink_to(sys.prefix)
    else:
        prefix.symlink_to(os.path.relpath(sys.prefix, home))
    command = [prefix / "bin" / "python", "-c", SEES_PYTHON, course]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == [str(prefix)], done
