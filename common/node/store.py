"""Shell: what must survive a restart, in one SQLite file with a writer thread of its own.

A record is told to be saved once it is on the disk: the write-ahead log is synced at every commit (`synchronous=FULL`),
so that neither `kill -9` nor a power cut loses it. While one commit waits for the disk, all records that arrive gather
for the next one. The loop's thread only makes JSON of a record and gives what came in one turn to the writer at once;
the writer puts a whole commit into one statement, because each takes the interpreter's lock from the loop once.
"""

from __future__ import annotations

import asyncio
import contextlib
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

_to_json = json.JSONEncoder(separators=(",", ":")).encode

_CREATE: Final = """
CREATE TABLE record (kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID
"""
_WRITE: Final = "INSERT INTO record VALUES {} ON CONFLICT DO UPDATE SET value = excluded.value"
_DELETE: Final = "DELETE FROM record WHERE (kind, key) IN (VALUES {})"
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


class NoStore:
    """Keeps nothing, for a node that may forget everything when its process ends; calls `done` at once."""

    def save(self, kind: str, key: str, value: Value | None, done: Done) -> None:
        """Tell that it is done."""
        done(None)

    def load(self, kind: str) -> Iterator[tuple[str, Value]]:
        """Yield nothing."""
        return iter(())

    async def close(self) -> None:
        """Do nothing."""


class SqliteStore:
    """One file, used by this process alone; `done` is called in the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: Path) -> None:
        self._loop = loop
        self._path = path
        self._connection = _open(path)
        self._lock = threading.Lock()  # the connection is shared by `load` and the writer
        self._gathered: list[_Job] = []  # in this turn of the loop
        self._waiting = 0  # records that are not yet told to be saved
        self._queue: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="store", daemon=True)
        self._writer.start()

    def save(self, kind: str, key: str, value: Value | None, done: Done) -> None:
        """Keep or forget a record; `value` is read now and may be changed afterwards."""
        text = None if value is None else _to_json(value)
        if not _is_text(key):  # refused alone: it would take its whole commit with it
            self._loop.call_soon(done, PeerUnavailable("store", "the key is not text"))
        elif not self._writer.is_alive():
            self._loop.call_soon(done, PeerUnavailable("store", "closed"))
        elif self._waiting >= MAX_WAITING:
            self._loop.call_soon(done, PeerUnavailable("store", "the disk is too slow"))
        else:
            if not self._gathered:
                self._loop.call_soon(self._hand_over)
            self._gathered.append((kind, key, text, done))
            self._waiting += 1

    def _hand_over(self) -> None:
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

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
        self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(self._writer.join)

    def _tell(self, jobs: Iterator[_Job], fault: PeerUnavailable | None) -> None:
        try:
            for *_, done in jobs:
                self._waiting -= 1
                done(fault)
        finally:
            if rest := tuple(jobs):  # a fault in one does not keep the others waiting
                self._loop.call_soon(self._tell, iter(rest), fault)

    # ------------------------------------------------------------------ in the writer's thread

    def _write_all(self) -> None:
        is_open = True
        while is_open:
            gathered = self._queue.get()
            jobs: list[_Job] = []
            while gathered is not None:
                jobs += gathered
                if len(jobs) >= MAX_BATCH or self._queue.empty():
                    break
                gathered = self._queue.get_nowait()
            is_open = gathered is not None
            for start in range(0, len(jobs), MAX_BATCH):
                self._commit(jobs[start : start + MAX_BATCH])
        with self._lock:
            self._connection.close()

    def _commit(self, jobs: list[_Job]) -> None:
        fault = None
        last = {(kind, key): text for kind, key, text, _ in jobs}  # of several changes to a record only one counts
        kept = [field for (kind, key), text in last.items() if text is not None for field in (kind, key, text)]
        gone = [field for name, text in last.items() if text is None for field in name]
        try:
            with self._lock, self._connection:  # leaving commits, an exception rolls back
                if kept and gone:
                    self._connection.execute("BEGIN IMMEDIATE")
                if kept:
                    self._connection.execute(_WRITE.format(_rows("(?,?,?)", len(kept) // 3)), kept)
                if gone:
                    self._connection.execute(_DELETE.format(_rows("(?,?)", len(gone) // 2)), gone)
        except sqlite3.Error as error:
            fault = PeerUnavailable("store", f"cannot write {self._path}: {error}")
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(self._tell, iter(jobs), fault)


_Job: TypeAlias = "tuple[str, str, str | None, Done]"


def _rows(row: str, count: int) -> str:
    return ",".join([row] * count)


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
