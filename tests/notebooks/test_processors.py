"""The notebooks and the numeric tests as on other processors: two threads, and the instructions of
older ones."""

import os
import subprocess
import sys

import pytest

from helpers.course.run import ROOT

INSTRUCTIONS = {  # what oneDNN and torch's own kernels may use
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"},
}
THREADS = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}  # a busy machine lets them wait
PARTS = {  # and which of its tests
    "notebooks": "not slow",
    "notebooks/evidence": "slow",
    "tests/attribution": "not slow",
    "tests/measures": "not slow",
    "tests/studies": "not slow",
}


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("instructions", INSTRUCTIONS)
def test_passes_with_the_instructions_of(instructions, part):
    env = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", PARTS[part], part],
        cwd=ROOT,
        env=env | INSTRUCTIONS[instructions] | THREADS,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-5000:]
