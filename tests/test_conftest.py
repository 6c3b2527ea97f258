"""tests/conftest.py on a small test suite of its own: CI runs the tests with real peers, or fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SUITE = {
    "common/test_fine.py": "def test_it() -> None: ...",
    "common/test_skipped.py": "import pytest\ndef test_it() -> None:\n    pytest.skip('may be')",
    "processes/test_fine.py": "def test_it() -> None: ...",
    "processes/test_marked.py": "import pytest\n@pytest.mark.skip(reason='tired')\ndef test_it() -> None: ...",
    "processes/test_inside.py": "import pytest\ndef test_it() -> None:\n    pytest.skip('no SIPp here')",
    "processes/test_module.py": "import pytest\npytest.importorskip('no_such_module')",
    "processes/test_expected.py": "import pytest\n@pytest.mark.xfail\ndef test_it() -> None:\n    assert False",
    "scscf/test_fine.py": "def test_it() -> None: ...",
}


def run(folder: Path, ci: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(Path(__file__).parent / "conftest.py", folder)
    for name, text in SUITE.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"{text}\n")
    return subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "pytest",
            "-v",
            "--continue-on-collection-errors",
            "--import-mode=importlib",
            "--rootdir",
            ".",
            ".",
        ],
        env=os.environ | {"CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_skipped_test_of_processes_fails_ci(tmp_path: Path) -> None:
    done = run(tmp_path, "true")
    assert done.returncode == 1, done.stdout
    # a mark works before the test does and a module before there are tests: for pytest both are errors
    assert "1 failed, 3 passed, 1 skipped, 1 xfailed, 2 errors in " in done.stdout
    for name in ("marked", "inside", "module"):
        assert f"processes/test_{name}.py" in done.stdout.partition("short test summary")[2]
    assert "skipped, but CI must run it" in done.stdout


def test_elsewhere_it_is_only_skipped_and_processes_come_last(tmp_path: Path) -> None:
    done = run(tmp_path, "")
    assert done.returncode == 0, done.stdout
    assert "3 passed, 4 skipped, 1 xfailed in " in done.stdout
    order = [line.partition("/")[0] for line in done.stdout.splitlines() if "::test_it " in line and "%]" in line]
    assert order == sorted(order, key=lambda place: place == "processes")
    assert order.count("processes") == 4
