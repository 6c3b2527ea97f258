"""A moment of fuzzing with each target, and each seed once; `fuzz.py` says how to go on by hand."""

from __future__ import annotations

import importlib.util
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TARGETS = runpy.run_path(str(HERE / "targets.py"))
# The same inputs in every run, so that a finding is the change's own; going on by hand begins where chance leads.
BOUNDED = ("-seed=1", "-runs=2000", "-max_total_time=20")

Runs = dict[str, tuple[subprocess.Popen[bytes], Path]]


@pytest.mark.parametrize("name", TARGETS["TARGETS"])
def test_seeds(name: str) -> None:
    seeds = TARGETS["seeds"](name)
    assert len(seeds) > 2
    for seed in seeds:
        TARGETS["run"](name, seed)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Start all targets at once, each with its log: most of their time they take to get ready."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris has no build for this machine")
    folder = tmp_path_factory.mktemp("findings")
    started: Runs = {}
    for name in TARGETS["TARGETS"]:
        log = folder / f"{name}.log"
        command = [sys.executable, HERE / "fuzz.py", name, *BOUNDED]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, f"-artifact_prefix={folder}/{name}-"],
                stdout=output,
                stderr=output,
                cwd=folder,
                env={**os.environ, "PYTHONHASHSEED": "0"},
            )
        started[name] = process, log
    yield started
    for process, _ in started.values():
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", TARGETS["TARGETS"])
def test_fuzz(runs: Runs, name: str) -> None:
    """A finding leaves its input in a file, which the failure names."""
    process, log = runs[name]
    process.wait()
    said = log.read_text(errors="replace")
    assert process.returncode == 0, said[-4000:]
    assert "DONE" in said
