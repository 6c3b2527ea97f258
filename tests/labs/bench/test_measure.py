from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from opencscf.labs.bench.measure import Snapshot, cpu_s, families, machine_busy_s, pss_bytes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Four processes: 10 with its children 11 and 12, 12 with its child 13; and 20, a stranger."""
    for pid, parent in ((10, 1), (11, 10), (12, 10), (13, 12), (20, 1)):
        task = tmp_path / str(pid) / "task" / str(pid)
        task.mkdir(parents=True)
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a) b) S {parent} 0 0")
        (task / "schedstat").write_text(f"{pid}000000 5 1\n")
        (tmp_path / str(pid) / "smaps_rollup").write_text("00-ff rollup\nRss: 9 kB\nPss:   4 kB\nPss_Dirty: 1 kB\n")
    thread = tmp_path / "11" / "task" / "15"
    thread.mkdir()
    (thread / "schedstat").write_text("1000000000 5 1\n")
    (tmp_path / "self").mkdir()
    (tmp_path / "stat").write_text("cpu  100 20 30 4000 500 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n")
    return tmp_path


def test_families_are_found_to_the_last_grandchild(proc: Path) -> None:
    found = families({"a": 10, "b": 20}, proc)
    assert {name: sorted(pids) for name, pids in found.items()} == {"a": [10, 11, 12, 13], "b": [20]}


def test_cpu_time_is_that_of_all_threads(proc: Path) -> None:
    assert cpu_s([10, 11], proc) == pytest.approx(1.021)


def test_a_process_that_has_ended_counts_nothing(proc: Path) -> None:
    assert (cpu_s([99], proc), pss_bytes([99], proc)) == (0, 0)


def test_memory_is_the_proportional_share(proc: Path) -> None:
    assert pss_bytes([10, 11], proc) == 8192


def test_idle_waiting_and_stolen_time_is_not_busy(proc: Path) -> None:
    assert machine_busy_s(proc) * os.sysconf("SC_CLK_TCK") == pytest.approx(163)


def test_a_busy_process_is_seen() -> None:
    command = [sys.executable, "-c", "import sys\nwhile True: sum(range(1000)); print(flush=True)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        before = Snapshot.take({"busy": busy.pid})
        for _ in range(2000):
            busy.stdout.readline()
        usage = before.until(Snapshot.take({"busy": busy.pid}))
        busy.kill()
    assert 0 < usage.cpu_s["busy"] < 2 * usage.seconds + 1
