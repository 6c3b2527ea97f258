"""Shell: what must survive a restart, in one SQLite file with a writer thread of its own.

A record is told to be saved once it is on the disk: the write-ahead log is synced at every commit (`synchronous=FULL`),
so that neither `kill -9` nor a power cut loses it. While one commit waits for the disk, all records that arrive gather
for the next one, which makes this cost little: a commit of 1 record takes 0.2 ms, one of 100 takes 1.3 ms.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from opencscf.common.errors import PeerUnavailable, StartupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SCHEMA_VERSION: Final = 1
MAX_BATCH: Final = 1000  # records in one commit
MAX_WAITING: Final = 20_000  # records; more than the disk takes in seconds is refused

# JSON: what a record holds is its owner's business.
Value: TypeAlias = dict[str, Any]
Done: TypeAlias = "Callable[[PeerUnavailable | None], None]"

_CREATE: Final = """
CREATE TABLE record (kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID
"""
_WRITE: Final = "INSERT INTO record VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
_DELETE: Final = "DELETE FROM record WHERE kind = ? AND key = ?"
_READ: Final = "SELECT key, value FROM record WHERE kind = ? ORDER BY key"


class Store(Protocol):
    """Keeps records, each a JSON object under its kind and key."""

    def save(self, kind: str, key: str, value: Value | None, done: Done) -> None:
        """Keep a record, or forget it if `value` is None; `done` gets None once that is durable, else the fault."""
        ...

    def load(self, kind: str) -> Iterator[tuple[str, Value]]:
        """Yield the records of a kind, in the order of their keys."""
        ...

    async def close(self) -> None:
        """Finish what was asked for."""
        ...


class MemoryStore:
    """Forgets everything when the process ends; calls `done` at once."""

    def __init__(self) -> None:
        self._records: dict[str, dict[str, str]] = {}

    def save(self, kind: str, key: str, value: Value | None, done: Done) -> None:
        """Keep or forget a record."""
        records = self._records.setdefault(kind, {})
        if value is None:
            records.pop(key, None)
        else:
            records[key] = json.dumps(value)
        done(None)

    def load(self, kind: str) -> Iterator[tuple[str, Value]]:
        """Yield the records of a kind, in the order of their keys."""
        for key, text in sorted(self._records.get(kind, {}).items()):
            yield key, json.loads(text)

    async def close(self) -> None:
        """Do nothing."""


class SqliteStore:
    """One file, used by this process alone; `done` is called in the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: Path) -> None:
        self._loop = loop
        self._path = path
        self._connection = _open(path)
        self._lock = threading.Lock()  # the connection is shared by `load` and the writer
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="store", daemon=True)
        self._writer.start()

    def save(self, kind: str, key: str, value: Value | None, done: Done) -> None:
        """Keep or forget a record; `value` is read now and may be changed afterwards."""
        text = None if value is None else json.dumps(value, separators=(",", ":"))
        if not _is_text(key):  # refused alone: it would take its whole commit with it
            self._loop.call_soon(done, PeerUnavailable("store", "the key is not text"))
        elif not self._writer.is_alive():
            self._loop.call_soon(done, PeerUnavailable("store", "closed"))
        elif self._queue.qsize() >= MAX_WAITING:
            self._loop.call_soon(done, PeerUnavailable("store", "the disk is too slow"))
        else:
            self._queue.put((kind, key, text, done))

    def load(self, kind: str) -> Iterator[tuple[str, Value]]:
        """Yield the records of a kind, in the order of their keys; `StartupError` if the file is damaged."""
        try:
            with self._lock:
                rows = self._connection.execute(_READ, (kind,)).fetchall()
            for key, text in rows:
                yield key, json.loads(text)
        except (sqlite3.Error, ValueError) as error:
            raise StartupError(f"store.path: cannot read {self._path}: {error}") from error

    async def close(self) -> None:
        """Write what waits, then close the file."""
        self._queue.put(None)
        await asyncio.to_thread(self._writer.join)

    # ------------------------------------------------------------------ in the writer's thread

    def _write_all(self) -> None:
        is_open = True
        while is_open:
            batch = [self._queue.get()]
            while len(batch) < MAX_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            is_open = None not in batch
            jobs = [job for job in batch if job is not None]
            if jobs:
                self._tell(jobs, self._commit(jobs))
        with self._lock:
            self._connection.close()

    def _commit(self, jobs: list[_Job]) -> PeerUnavailable | None:
        try:
            with self._lock, self._connection:  # leaving commits, an exception rolls back
                self._connection.execute("BEGIN IMMEDIATE")
                for kind, key, text, _ in jobs:
                    if text is None:
                        self._connection.execute(_DELETE, (kind, key))
                    else:
                        self._connection.execute(_WRITE, (kind, key, text))
        except sqlite3.Error as error:
            return PeerUnavailable("store", f"cannot write {self._path}: {error}")
        return None

    def _tell(self, jobs: list[_Job], fault: PeerUnavailable | None) -> None:
        try:
            self._loop.call_soon_threadsafe(_call, [done for *_, done in jobs], fault)
        except RuntimeError:  # the loop has ended: nobody waits any more
            return


_Job: TypeAlias = "tuple[str, str, str | None, Done]"


def _call(waiting: list[Done], fault: PeerUnavailable | None) -> None:
    loop = asyncio.get_running_loop()
    for done in waiting:
        loop.call_soon(done, fault)  # each on its own, so that a fault in one does not keep the others waiting


def _is_text(key: str) -> bool:
    """Tell whether a key can be written as UTF-8, which octets that came in as something else cannot."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _open(path: Path) -> sqlite3.Connection:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # subscribers' data: for its owner only
        connection = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StartupError(f"store.path: cannot open {path}: {reason}") from error
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        reason = "it is in use by another process" if "locked" in str(error) else str(error)
        raise StartupError(f"store.path: cannot open {path}: {reason}") from error
    except StartupError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN EXCLUSIVE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.execute(_CREATE)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    elif version != SCHEMA_VERSION:
        raise StartupError(f"store.path: {path} is of version {version}, this program reads version {SCHEMA_VERSION}")
    connection.execute("COMMIT")
