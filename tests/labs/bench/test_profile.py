from __future__ import annotations

import pytest

from opencscf.labs.bench.profile import OTHERS, place, shares, why_no_sampling


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("[kernel.kallsyms]", "kernel"),
        ("[nf_tables]", "kernel"),
        ("_scan.cpython-311-x86_64-linux-gnu.so", "C twins"),
        ("_batch.so", "C twins"),
        ("libpython3.11.so.1.0", "interpreter"),
        ("python3.11", "interpreter"),
        ("_json.cpython-311-x86_64-linux-gnu.so", "interpreter"),
        ("loop.cpython-311-x86_64-linux-gnu.so", "event loop (uvloop)"),
        ("libc.so.6", "libc"),
        ("[vdso]", "libc"),
        ("libsqlite3.so.0.8.6", OTHERS),
    ],
)
def test_shared_objects_belong_somewhere(library: str, name: str) -> None:
    assert place(library) == name


def test_samples_are_shares_of_each_process() -> None:
    words = """
    30.00%     12:python3          libpython3.11.so.1.0
    10.00%     12:python3          [kernel.kallsyms]
     5.00%     13:python3          _scan.cpython-311-x86_64-linux-gnu.so
"""
    found = shares(words)
    assert (found[12]["interpreter"], found[12]["kernel"], found[13]["C twins"]) == (0.75, 0.25, 1.0)


def test_no_perf_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opencscf.labs.bench.profile.find_program", lambda _name: None)
    assert why_no_sampling() == "perf is missing: apt-get install linux-perf"
