"""JupyterLab on a free port of this machine."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from sliders import SCREENSHOTS

SETTINGS = {
    # Every cell is on the page, in view or not, so that a test finds it.
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
}


@pytest.fixture
def lab(tmp_path):
    """(address of a JupyterLab started for this test, the folder it shows, which lies in the
    checkout)."""
    folder = SCREENSHOTS / "notebooks"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, settings in SETTINGS.items():
        (tmp_path / "settings" / name).parent.mkdir(parents=True)
        (tmp_path / "settings" / name).write_text(json.dumps(settings))
    # nothing of the user's is read or written
    own = {
        "CONFIG_DIR": "config",
        "DATA_DIR": "data",
        "RUNTIME_DIR": "runtime",
    }
    env = os.environ | {f"JUPYTER_{name}": str(tmp_path / value) for name, value in own.items()}
    env |= {
        f"JUPYTERLAB_{name.upper()}_DIR": str(tmp_path / name)
        for name in ("settings", "workspaces")
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        "--LabApp.expose_app_in_browser=True",
        f"--ServerApp.root_dir={folder}",
    ]
    log = tmp_path / "lab.log"
    with open(log, "w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env=env,
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/api/status", server, log)
        yield f"http://127.0.0.1:{port}", folder
    finally:
        server.terminate()  # it ends its kernels
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for(address, server, log, seconds=600):
    """Until the server answers."""
    end = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(address, timeout=60):
                return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"JupyterLab does not answer; it said:\n{log.read_text()[-3000:]}")
