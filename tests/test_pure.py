"""The tests of the message layer and whole flows once more, on a machine without C twins."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from opencscf.common.native import PURE_VARIABLE
from opencscf.common.sip.head import scanner

ROOT = Path(__file__).parents[1]
PLACES = ("tests/common/sip", "tests/common/transport/test_tcp.py", "tests/fuzz", "tests/flows")


@pytest.mark.skipif(scanner is None, reason="this run has no C twin of the message layer itself")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("place", PLACES)
def test_the_python_forms_pass_the_same_tests(place: str) -> None:
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", place]
    run = subprocess.run(
        command, cwd=ROOT, env=os.environ | {PURE_VARIABLE: "1"}, stdout=subprocess.PIPE, text=True, check=False
    )
    assert run.returncode == 0, run.stdout
