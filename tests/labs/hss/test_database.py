"""What the HSS still knows after a restart."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from opencscf.common.errors import StartupError
from opencscf.common.ims.aka import next_sqn
from opencscf.labs.hss.database import SQN_BLOCK, Database
from opencscf.labs.hss.subscription import PublicIdentity, Subscription, UserState

if TYPE_CHECKING:
    from pathlib import Path

IMPI = "001010000000001@ims.test"


def _subscription(number: int = 1, *, k: bytes = bytes(16)) -> Subscription:
    imsi = f"{1010000000000 + number:015}"
    return Subscription(
        imsi=imsi,
        impi=f"{imsi}@ims.test",
        msisdn=f"1555{number:07}",
        identities=(PublicIdentity(f"sip:1555{number:07}@ims.test"), PublicIdentity(f"sip:{imsi}@ims.test", True)),
        k=k,
        opc=bytes(16),
        amf=b"\x80\0",
    )


def _open(path: Path | str) -> Database:
    database = Database(path)
    database.provision([_subscription()])
    database.start()
    return database


def _use(database: Database, vectors: int) -> list[int]:
    subscription = database.by_impi[IMPI]
    used = []
    for _ in range(vectors):
        sqn = next_sqn(subscription.sqn)
        database.use_sqn(subscription, sqn)
        used.append(sqn)
    return used


@pytest.mark.parametrize("vectors", [0, 1, 1024, 1025, 3000], ids=lambda n: f"after {n} vectors")
def test_no_number_is_used_twice_after_a_kill(tmp_path: Path, vectors: int) -> None:
    path = tmp_path / "hss.db"
    killed = _open(path)
    used = _use(killed, vectors)
    again = _open(path)  # the first one was never closed
    assert _use(again, 1)[0] > max(used, default=0)
    assert again.by_impi[IMPI].sqn - max(used, default=0) <= 2 * SQN_BLOCK


def test_orderly_stop_wastes_no_number(tmp_path: Path) -> None:
    path = tmp_path / "hss.db"
    first = _open(path)
    (last,) = _use(first, 1)
    first.close()
    assert _use(_open(path), 1) == [next_sqn(last)]


def test_resynchronised_number_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "hss.db"
    database = _open(path)
    subscription = database.by_impi[IMPI]
    database.reserve_from(subscription, 10**9)
    subscription.sqn = 10**9
    used = _use(database, 3)
    assert _use(_open(path), 1)[0] > used[-1]


def test_registration_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "hss.db"
    database = _open(path)
    subscription = database.by_impi[IMPI]
    subscription.server_name, subscription.state, subscription.is_auth_pending = "sip:s", UserState.REGISTERED, True
    database.save(subscription)
    database.commit()
    again = _open(path).by_impi[IMPI]
    assert (again.server_name, again.state, again.is_auth_pending) == ("sip:s", UserState.REGISTERED, True)


def test_provisioning_keeps_state_and_changes_keys(tmp_path: Path) -> None:
    path = tmp_path / "hss.db"
    database = _open(path)
    used = _use(database, 5)
    database.close()
    again = Database(path)
    again.provision([_subscription(k=bytes([1] * 16))])
    again.start()
    assert again.by_impi[IMPI].k == bytes([1] * 16)
    assert again.by_impi[IMPI].sqn == used[-1]


def test_identities_are_found_and_ordered() -> None:
    database = _open(":memory:")
    subscription = database.by_impu["sip:15550000001@ims.test"]
    assert subscription is database.by_impi[IMPI]
    assert [identity.is_barred for identity in subscription.identities] == [False, True]


def test_thousands_of_subscribers_at_once() -> None:
    database = Database(":memory:")
    database.provision(_subscription(number) for number in range(1, 5001))
    database.start()
    assert len(database.by_impi) == 5000
    assert len(database.by_impu) == 10000


def test_identity_of_somebody_else(tmp_path: Path) -> None:
    database = _open(tmp_path / "hss.db")
    thief = _subscription(2)
    thief.identities = _subscription(1).identities
    with pytest.raises(StartupError, match="cannot be provisioned"):
        database.provision([thief])


def test_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "hss.db"
    path.write_text("this is a text file and by no means a database\n" * 100)
    with pytest.raises(StartupError, match="not a database"):
        Database(path)


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="no such file or directory"):
        Database(tmp_path / "nowhere" / "hss.db")


def test_keys_are_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "hss.db"
    _use(_open(path), 1)
    assert {file.stat().st_mode & 0o077 for file in tmp_path.iterdir()} == {0}


def test_file_of_another_version(tmp_path: Path) -> None:
    path = tmp_path / "hss.db"
    sqlite3.connect(path).execute("PRAGMA user_version = 99").connection.close()
    with pytest.raises(StartupError, match="another version"):
        Database(path)
