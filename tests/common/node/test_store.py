import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from opencscf.common.errors import PeerUnavailable, StartupError
from opencscf.common.node import store as module
from opencscf.common.node.store import NoStore, SqliteStore, Store


async def save(store: Store, key: str, value: dict[str, Any] | None, kind: str = "registration") -> None:
    """Save a record, and raise what came of it."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_done(fault: PeerUnavailable | None) -> None:
        if fault is None:
            done.set_result(None)
        else:
            done.set_exception(fault)

    store.save(kind, key, value, on_done)
    async with asyncio.timeout(10):
        await done


def with_store(path: Path, use: Callable[[SqliteStore], Any]) -> None:
    async def scenario() -> None:
        store = SqliteStore(asyncio.get_running_loop(), path)
        try:
            await use(store)
        finally:
            await store.close()

    uvloop.run(scenario())


def test_records_are_kept_replaced_and_forgotten(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        await save(store, "b", {"n": 1})
        await save(store, "a", {"n": 2, "text": "é\udce9"})
        await save(store, "b", {"n": 3})
        await save(store, "c", {})
        await save(store, "c", None)
        await save(store, "absent", None)
        await save(store, "a", {}, kind="other")
        assert list(store.load("registration")) == [("a", {"n": 2, "text": "é\udce9"}), ("b", {"n": 3})]
        assert list(store.load("other")) == [("a", {})]
        assert list(store.load("nothing")) == []

    with_store(tmp_path / "node.db", use)


def test_a_node_without_a_store_forgets_at_once() -> None:
    async def use(store: Store) -> None:
        await save(store, "a", {"n": 1})
        await save(store, "a", None)
        assert list(store.load("registration")) == []
        await store.close()

    asyncio.run(use(NoStore()))


def test_the_last_of_several_changes_in_one_commit_counts(tmp_path: Path) -> None:
    async def use(store: SqliteStore) -> None:
        for n in range(3):
            store.save("registration", "kept", {"n": n}, lambda _: None)
            store.save("registration", "gone", {"n": n}, lambda _: None)
        store.save("registration", "gone", None, lambda _: None)
        store.save("registration", "back", None, lambda _: None)
        await save(store, "back", {"n": 9})
        assert list(store.load("registration")) == [("back", {"n": 9}), ("kept", {"n": 2})]

    with_store(tmp_path / "node.db", use)


def modes_in(folder: Path) -> list[int]:
    return [file.stat().st_mode & 0o777 for file in folder.iterdir()]


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    async def use(store: SqliteStore) -> None:
        await save(store, "a", {})
        modes.extend(modes_in(tmp_path))

    modes: list[int] = []
    with_store(tmp_path / "node.db", use)
    assert set(modes) == {0o600}


def test_records_survive_an_orderly_stop(tmp_path: Path) -> None:
    async def write(store: SqliteStore) -> None:
        store.save("registration", "a", {"n": 1}, lambda _: None)  # not waited for: close does

    async def read(store: SqliteStore) -> None:
        assert list(store.load("registration")) == [("a", {"n": 1})]

    with_store(tmp_path / "node.db", write)
    with_store(tmp_path / "node.db", read)


def test_what_was_told_to_be_saved_survives_a_kill(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from pathlib import Path
from opencscf.common.node.store import SqliteStore

async def main():
    store = SqliteStore(asyncio.get_running_loop(), Path(sys.argv[1]))
    for n in range(1_000_000):
        done = asyncio.get_running_loop().create_future()
        store.save("registration", f"{n:07}", {}, done.set_result)
        await done
        print(n, flush=True)

asyncio.run(main())
"""
    path = tmp_path / "node.db"
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(50)]
        os.kill(process.pid, signal.SIGKILL)
        told += [int(line) for line in process.stdout.read().splitlines()]

    async def read(store: SqliteStore) -> None:
        kept = [int(key) for key, _ in store.load("registration")]
        assert kept[: len(told)] == told
        assert len(kept) - len(told) <= 1

    with_store(path, read)


def test_many_records_share_a_commit_and_are_told_in_order(tmp_path: Path) -> None:
    async def use(store: SqliteStore) -> None:
        told: list[int] = []
        last: asyncio.Future[PeerUnavailable | None] = asyncio.get_running_loop().create_future()

        def teller(n: int) -> Callable[[PeerUnavailable | None], None]:
            return lambda _fault: told.append(n)

        for n in range(2500):
            store.save("registration", f"{n:04}", {"n": n}, teller(n))
        store.save("registration", "last", {}, last.set_result)
        assert await last is None
        assert told == list(range(2500))
        assert len(list(store.load("registration"))) == 2501

    with_store(tmp_path / "node.db", use)


def test_a_fault_in_one_who_waits_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    async def use(store: SqliteStore) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        told: list[None] = []
        store.save("registration", "a", {}, lambda _: told[0])
        await save(store, "b", {})

    with_store(tmp_path / "node.db", use)


def test_a_hostile_key_fails_alone(tmp_path: Path) -> None:
    async def use(store: SqliteStore) -> None:
        waiting = [save(store, key, {}) for key in ("good", "sip:\udcff@ims.test", "sip:'; DROP TABLE record; --")]
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [type(None), PeerUnavailable, type(None)]
        assert len(list(store.load("registration"))) == 2

    with_store(tmp_path / "node.db", use)


def test_a_failing_disk_is_told(tmp_path: Path) -> None:
    async def use(store: SqliteStore) -> None:
        store._connection.execute("PRAGMA max_page_count = 1")
        with pytest.raises(PeerUnavailable, match=r"store: cannot write .*: database or disk is full"):
            await save(store, "a", {"x": "y" * 100_000})
        store._connection.execute("PRAGMA max_page_count = 100000")
        await save(store, "a", {"x": "y" * 100_000})

    with_store(tmp_path / "node.db", use)


def test_more_than_the_disk_takes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 0)

    async def use(store: SqliteStore) -> None:
        with pytest.raises(PeerUnavailable, match="the disk is too slow"):
            await save(store, "a", {})

    with_store(tmp_path / "node.db", use)


def test_a_closed_store_refuses(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = SqliteStore(asyncio.get_running_loop(), tmp_path / "node.db")
        await store.close()
        with pytest.raises(PeerUnavailable, match="closed"):
            await save(store, "a", {})

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"not a database at all" * 100, "file is not a database", id="another file"),
        pytest.param(None, "Is a directory", id="a folder"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "node.db"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(StartupError, match=rf"^store\.path: cannot open .*node.db: {reason}$"):
        with_store(path, lambda _: None)


def test_a_file_of_another_version_is_one_line(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "node.db")) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(StartupError, match=r"is of version 99, this program reads version 1$"):
        with_store(tmp_path / "node.db", lambda _: None)


def test_a_file_in_use_is_one_line(tmp_path: Path) -> None:
    async def use(_store: SqliteStore) -> None:
        with pytest.raises(StartupError, match=r"it is in use by another process$"):
            SqliteStore(asyncio.get_running_loop(), tmp_path / "node.db")

    with_store(tmp_path / "node.db", use)


def test_a_damaged_record_is_one_line(tmp_path: Path) -> None:
    async def use(store: SqliteStore) -> None:
        store._connection.execute("INSERT INTO record VALUES ('registration', 'a', '{')")
        with pytest.raises(StartupError, match=r"store\.path: cannot read "):
            list(store.load("registration"))

    with_store(tmp_path / "node.db", use)
