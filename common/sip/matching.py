"""Which transaction a message belongs to (RFC 3261 17.1.3, 17.2.3, 9.2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import ValuesView

    from opencscf.common.sip.message import Message, Request
    from opencscf.common.sip.transaction import ClientTransaction, ServerTransaction

# How a request of ours begins: its own Via is the first header field, and the branch the first parameter in it.
_read_beginning: Final = re.compile(rb"([^ \r\n]{1,64}) [^\r\n]+\r\nVia: [^;\r\n]+;branch=([^;\r\n]+)\r").match

C = TypeVar("C")  # the user of a client transaction
S = TypeVar("S")  # the user of a server transaction


class TransactionTable(Generic[C, S]):
    """The living transactions of a node, each with its transaction user: the object that holds it and hears from it.

    Server transactions that have their final response, and only wait for retransmissions, are kept apart: they may be
    forgotten early if there are too many of them.
    """

    __slots__ = ("_answered", "_clients", "_servers")

    def __init__(self) -> None:
        self._clients: dict[str, C] = {}
        self._servers: dict[str, S] = {}
        self._answered: dict[str, S] = {}  # the oldest first

    @property
    def clients(self) -> ValuesView[C]:
        """The users of all client transactions."""
        return self._clients.values()

    @property
    def servers(self) -> ValuesView[S]:
        """The users of the server transactions that are not `answered`."""
        return self._servers.values()

    @property
    def answered(self) -> ValuesView[S]:
        """The users of the server transactions that only wait for retransmissions, the oldest first."""
        return self._answered.values()

    def add_client(self, transaction: ClientTransaction, user: C) -> None:
        """Know a new client transaction; its branch and method are nobody else's."""
        self._clients[f"{transaction.key}|{transaction.method}"] = user

    def add_server(self, transaction: ServerTransaction, user: S) -> None:
        """Know a new server transaction, once `find_server` has not found its request."""
        self._servers[transaction.key] = user

    def remove_client(self, transaction: ClientTransaction) -> None:
        """Forget a client transaction; one that is not known is not missed."""
        self._clients.pop(f"{transaction.key}|{transaction.method}", None)

    def remove_server(self, transaction: ServerTransaction) -> None:
        """Forget a server transaction; one that is not known is not missed."""
        if self._servers.pop(transaction.key, None) is None:
            self._answered.pop(transaction.key, None)

    def set_answered(self, transaction: ServerTransaction, limit: int) -> None:
        """Note that a server transaction only waits for retransmissions; beyond `limit` the oldest is forgotten."""
        user = self._servers.pop(transaction.key, None)
        if user is not None:
            if len(self._answered) >= limit:
                del self._answered[next(iter(self._answered))]
            self._answered[transaction.key] = user

    def find_client(self, message: Message) -> C | None:
        """Find whom a response belongs to (17.1.3), or our own request: a CANCEL shares its INVITE's branch."""
        return self._clients.get(message.client_transaction_id)

    def find_quoted(self, beginning: bytes) -> C | None:
        """Find to whom a request of ours belongs of which somebody quotes the beginning, as ICMP does."""
        found = _read_beginning(beginning)
        return self._clients.get((found[2] + b"|" + found[1]).decode("latin-1")) if found else None

    def find_server(self, message: Message) -> S | None:
        """Find whom a retransmission, an ACK to a failure or a response on its way back belongs to (17.2.3)."""
        key = message.transaction_id
        return self._servers.get(key) or self._answered.get(key)

    def find_cancelled(self, cancel: Request) -> S | None:
        """Find the INVITE that a CANCEL is for (9.2)."""
        key = cancel.invite_transaction_id
        return self._servers.get(key) or self._answered.get(key)
