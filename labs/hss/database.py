"""The HSS's memory: every subscription in RAM, and in SQLite what must survive a restart.

- Sequence numbers are reserved in blocks: the file holds the number up to which vectors may have been handed out, and
  is written, and synced to the disk, once per block. A process that was killed skips the rest of its blocks and never
  repeats a number.
- Registrations are committed before the answers that promise them leave, those of one batch of requests together. They
  survive the process; after a loss of power the last ones may be missing, which costs a new registration.
"""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Final

from opencscf.common.errors import StartupError
from opencscf.common.ims.aka import IND_BITS, SQN_MAX
from opencscf.labs.hss.subscription import PublicIdentity, Subscription, UserState, canonical

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SQN_BLOCK: Final = 1024 << IND_BITS  # 1024 vectors for one subscriber
SCHEMA_VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE subscription (
    imsi TEXT PRIMARY KEY,
    impi TEXT NOT NULL UNIQUE,
    msisdn TEXT NOT NULL,
    k BLOB NOT NULL,
    opc BLOB NOT NULL,
    amf BLOB NOT NULL,
    password TEXT NOT NULL,
    reserved_sqn INTEGER NOT NULL DEFAULT 0,
    server_name TEXT NOT NULL DEFAULT '',
    state INTEGER NOT NULL DEFAULT 0,
    is_auth_pending INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE public_identity (
    impu TEXT PRIMARY KEY,
    imsi TEXT NOT NULL REFERENCES subscription (imsi),
    position INTEGER NOT NULL,
    is_barred INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX identities_of_subscription ON public_identity (imsi, position);
"""

_UPSERT: Final = """
INSERT INTO subscription (imsi, impi, msisdn, k, opc, amf, password) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (imsi) DO UPDATE SET impi = excluded.impi, msisdn = excluded.msisdn, k = excluded.k, opc = excluded.opc,
    amf = excluded.amf, password = excluded.password
"""


class Database:
    """All subscriptions, found by private and by public identity."""

    def __init__(self, path: Path | str) -> None:
        """Open the file, and make it if it is not there; ":memory:" forgets everything."""
        self.by_impi: dict[str, Subscription] = {}
        self.by_impu: dict[str, Subscription] = {}
        self._path = path
        self._is_in_transaction = False
        try:
            if path != ":memory:":
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # keys are in it; SQLite keeps the mode
            self._sql = sqlite3.connect(path, isolation_level=None)
            self._prepare()
        except OSError as error:
            raise StartupError(f"hss.database: {path}: {(error.strerror or str(error)).lower()}") from error
        except sqlite3.Error as error:
            raise StartupError(f"hss.database: {path}: {error}") from error

    def provision(self, subscriptions: Iterable[Subscription]) -> None:
        """Add subscribers, or change what is provisioned of those known; their sequence numbers and state stay."""
        rows = list(subscriptions)
        try:
            self._sql.execute("BEGIN IMMEDIATE")
            self._sql.executemany(_UPSERT, ((s.imsi, s.impi, s.msisdn, s.k, s.opc, s.amf, s.password) for s in rows))
            self._sql.executemany("DELETE FROM public_identity WHERE imsi = ?", ((s.imsi,) for s in rows))
            self._sql.executemany("INSERT INTO public_identity VALUES (?, ?, ?, ?)", _identity_rows(rows))
            self._sql.execute("COMMIT")
        except sqlite3.Error as error:
            self._sql.rollback()
            raise StartupError(f"hss.database: {self._path}: subscribers cannot be provisioned: {error}") from error

    def start(self) -> None:
        """Load everything, and reserve sequence numbers for every subscriber at once."""
        try:
            identities: dict[str, list[PublicIdentity]] = {}
            for imsi, impu, is_barred in self._sql.execute(
                "SELECT imsi, impu, is_barred FROM public_identity ORDER BY imsi, position"
            ):
                identities.setdefault(imsi, []).append(PublicIdentity(impu, is_barred=bool(is_barred)))
            for row in self._sql.execute(
                "SELECT imsi, impi, msisdn, k, opc, amf, password, reserved_sqn, server_name, state, is_auth_pending"
                " FROM subscription"
            ):
                self._add(row, tuple(identities.get(row[0], ())))
            self._synced("UPDATE subscription SET reserved_sqn = min(reserved_sqn + ?, ?)", (SQN_BLOCK, SQN_MAX))
        except (sqlite3.Error, ValueError) as error:
            raise StartupError(f"hss.database: {self._path}: {error}") from error

    def use_sqn(self, subscription: Subscription, sqn: int) -> None:
        """Note that a vector has this number, before it is handed out."""
        if sqn > subscription.reserved_sqn:
            self.reserve_from(subscription, sqn)
        subscription.sqn = sqn

    def reserve_from(self, subscription: Subscription, sqn: int) -> None:
        """Reserve a block that starts after `sqn`, also if that is behind what was reserved (TS 33.102 6.3.5)."""
        reserved = min(sqn + SQN_BLOCK, SQN_MAX)
        self.commit()
        self._synced("UPDATE subscription SET reserved_sqn = ? WHERE imsi = ?", (reserved, subscription.imsi))
        subscription.reserved_sqn = reserved

    def save(self, subscription: Subscription) -> None:
        """Write who serves a subscriber in which state; `commit` makes it last."""
        if not self._is_in_transaction:
            self._sql.execute("BEGIN")
            self._is_in_transaction = True
        self._sql.execute(
            "UPDATE subscription SET server_name = ?, state = ?, is_auth_pending = ? WHERE imsi = ?",
            (subscription.server_name, subscription.state, subscription.is_auth_pending, subscription.imsi),
        )

    def commit(self) -> None:
        """Make everything saved since the last call last."""
        if self._is_in_transaction:
            self._is_in_transaction = False
            self._sql.execute("COMMIT")

    def close(self) -> None:
        """Give back the numbers that were reserved and not used, and close the file."""
        self.commit()
        self._sql.execute("BEGIN")
        self._sql.executemany(
            "UPDATE subscription SET reserved_sqn = ? WHERE imsi = ?",
            ((subscription.sqn, subscription.imsi) for subscription in self.by_impi.values()),
        )
        self._sql.execute("COMMIT")
        self._sql.close()

    def _prepare(self) -> None:
        self._sql.execute("PRAGMA journal_mode = WAL")
        self._sql.execute("PRAGMA synchronous = NORMAL")
        (version,) = self._sql.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._sql.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            raise StartupError(f"hss.database: {self._path}: written by another version of the HSS")

    def _synced(self, statement: str, parameters: tuple[object, ...]) -> None:
        """Run one statement such that it survives a loss of power."""
        self._sql.execute("PRAGMA synchronous = FULL")
        try:
            self._sql.execute(statement, parameters)
        finally:
            self._sql.execute("PRAGMA synchronous = NORMAL")

    def _add(self, row: tuple[object, ...], identities: tuple[PublicIdentity, ...]) -> None:
        imsi, impi, msisdn, k, opc, amf, password, sqn, server_name, state, is_auth_pending = row
        subscription = Subscription(
            imsi=str(imsi),
            impi=str(impi),
            msisdn=str(msisdn),
            identities=identities,
            k=_octets(k),
            opc=_octets(opc),
            amf=_octets(amf),
            password=str(password),
            sqn=_number(sqn),
            reserved_sqn=min(_number(sqn) + SQN_BLOCK, SQN_MAX),
            server_name=str(server_name),
            state=UserState(_number(state)),
            is_auth_pending=bool(is_auth_pending),
        )
        self.by_impi[subscription.impi] = subscription
        for identity in identities:
            self.by_impu[canonical(identity.impu)] = subscription


def _identity_rows(subscriptions: Iterable[Subscription]) -> Iterable[tuple[str, str, int, bool]]:
    for subscription in subscriptions:
        for position, identity in enumerate(subscription.identities):
            yield identity.impu, subscription.imsi, position, identity.is_barred


def _octets(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a key is not a BLOB")  # noqa: TRY004 the file is wrong, not the program
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise ValueError("a number is not an INTEGER")  # noqa: TRY004 the file is wrong, not the program
    return value
