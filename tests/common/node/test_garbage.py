import gc
import sys
import time
from collections.abc import Iterator

import pytest

from opencscf.common.node import garbage
from opencscf.common.node.garbage import GarbageCollection

AT_START = 100_000


class Process:
    """What the collector looks at."""

    def __init__(self) -> None:
        self.blocks = AT_START
        self.now = self.used_s = 0.0
        self.collections = 0

    def collect(self) -> None:
        self.collections += 1

    def spend(self, share: float) -> None:
        self.now += 10
        self.used_s += 10 * share


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    process = Process()
    monkeypatch.setattr(sys, "getallocatedblocks", lambda: process.blocks)
    monkeypatch.setattr(time, "monotonic", lambda: process.now)
    monkeypatch.setattr(time, "process_time", lambda: process.used_s)
    monkeypatch.setattr(gc, "collect", process.collect)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    return process


@pytest.fixture
def collection(process: Process) -> Iterator[GarbageCollection]:
    collection = GarbageCollection()
    collection.hold_off()
    assert not gc.isenabled()
    process.collections = 0
    yield collection
    collection.resume()
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("blocks", "busy", "collections"),
    [
        pytest.param(AT_START, 0.0, 0, id="no growth, nothing to do"),
        pytest.param(1_000_000, 0.05, 1, id="growth, little to do"),
        pytest.param(1_000_000, 0.8, 0, id="growth, much to do"),
        pytest.param(20_000_000, 0.8, 1, id="too much growth"),
    ],
)
def test_a_collection_waits_for_growth_and_quiet(
    process: Process, collection: GarbageCollection, blocks: int, busy: float, collections: int
) -> None:
    process.blocks = blocks
    for _ in range(3):  # and what a collection cannot free is not looked at again
        process.spend(busy)
        collection.check()
    assert process.collections == collections


@pytest.mark.parametrize(
    ("after", "busy", "returned"),
    [
        pytest.param(200_000, 0.05, 1, id="a burst is over"),
        pytest.param(200_000, 0.8, 0, id="much to do"),
        pytest.param(490_000, 0.05, 0, id="little was freed"),
    ],
)
def test_what_a_burst_has_freed_is_returned_once(
    after: int,
    busy: float,
    returned: int,
    process: Process,
    collection: GarbageCollection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(garbage, "_trim", calls.append)
    process.blocks = 500_000
    process.spend(0.8)
    collection.check()
    process.blocks = after
    for _ in range(2):
        process.spend(busy)
        collection.check()
    assert len(calls) == returned


def test_a_system_without_malloc_trim_needs_none(
    process: Process, collection: GarbageCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage, "_trim", None)
    process.blocks = 500_000
    collection.check()
    process.blocks = AT_START
    process.spend(0.0)
    collection.check()
