"""TLS against software that is not ours: certificates of the openssl command, its s_client, and Python's ssl module."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opencscf.common.errors import StartupError
from opencscf.common.node.connection_settings import ConnectionSettings, ServerNameSettings, TlsSettings, VerifyClient
from opencscf.common.node.settings import ListenTransport
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.transport import endpoint
from opencscf.common.transport.tls import Certificates, names_of

TLS = (ListenTransport.TLS,)
NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Authority:
    """A certification authority in a folder."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self.directory = directory
        self.certificate = directory / f"{name}.pem"
        self._key = directory / f"{name}.key"
        self.openssl("req", "-x509", *NEW_KEY, "-keyout", self._key, "-out", self.certificate, "-subj", f"/CN={name}")

    def openssl(self, *arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], cwd=self.directory, check=True, capture_output=True)

    def issue(self, name: str, alternatives: str, *, days: int = 2) -> TlsSettings:
        """Issue a certificate for subjectAltNames, and return settings that use it."""
        certificate, key, request = (self.directory / f"{name}.{suffix}" for suffix in ("pem", "key", "csr"))
        alternative = ["-addext", f"subjectAltName={alternatives}"] if alternatives else []
        self.openssl("req", "-new", *NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}", *alternative)
        self.openssl(
            *("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial"),
            *("-days", days, "-copy_extensions", "copy", "-out", certificate),
        )
        return TlsSettings(certificate, key, self.certificate)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory, openssl: str) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> TlsSettings:
    return authority.issue("pcscf.ims.test", "DNS:pcscf.ims.test,IP:127.0.0.1")


@pytest.fixture(scope="module")
def theirs(authority: Authority) -> TlsSettings:
    return authority.issue("ue.ims.test", "DNS:ue.ims.test")


def hop_to(address: tuple[str, int], name: str = "pcscf.ims.test") -> Hop:
    return Hop(Transport.TLS, *address, name)


def client_context(settings: TlsSettings, *, shows: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ca)
    context.check_hostname = False
    if shows:
        context.load_cert_chain(settings.certificate, settings.key)
    return context


# ---------------------------------------------------------------------- who connects to us


def test_pythons_ssl_sends_and_gets_messages(run: Any, listen: Any, options: Any, ours: TlsSettings) -> None:
    """SP-04, TLS: RFC 3261 26.3.1; a ping inside it is answered, too: RFC 5626 4.4.1."""

    async def scenario() -> None:
        async with listen(transports=TLS, tls=ours) as heard:
            reader, writer = await asyncio.open_connection(
                *heard.address, ssl=ssl.create_default_context(cafile=ours.ca), server_hostname="pcscf.ims.test"
            )
            writer.write(bytes(options) * 2 + b"\r\n\r\n")
            for _ in range(2):
                message, flow = await heard.received.get()
                assert bytes(message) == bytes(options)
            assert flow == Flow(Transport.TLS, heard.address, writer.get_extra_info("sockname"), flow.connection)
            assert heard.endpoint.local_for(flow) == heard.address
            assert await reader.readexactly(2) == b"\r\n"
            large = bytes(options) + b"x" * 60_000
            heard.endpoint.send(large, flow)
            assert await reader.readexactly(len(large)) == large
            assert heard.endpoint.counters()["tls_connections"] == 1
            writer.close()
            await writer.wait_closed()

    run(scenario())


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssls_s_client_gets_an_answer(run: Any, listen: Any, options: Any, ours: TlsSettings, version: str) -> None:
    async def scenario() -> None:
        async with listen(transports=TLS, tls=ours) as heard:
            host, port = heard.address
            client = await asyncio.create_subprocess_exec(
                *("openssl", "s_client", "-connect", f"{host}:{port}", "-CAfile", str(ours.ca), version, "-quiet"),
                *("-verify_return_error", "-verify_hostname", "pcscf.ims.test"),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(bytes(options))
            _, flow = await heard.received.get()
            heard.endpoint.send(b"SIP/2.0 200 OK\r\n", flow)
            assert await client.stdout.readline() == b"SIP/2.0 200 OK\r\n"
            client.terminate()
            await client.wait()

    run(scenario())


def test_versions_below_1_2_are_refused(run: Any, listen: Any, ours: TlsSettings) -> None:
    async def scenario() -> None:
        async with listen(transports=TLS, tls=ours) as heard:
            host, port = heard.address
            client = await asyncio.create_subprocess_exec(
                *("openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            assert (await heard.lost.get())[1] == "TLS: unsupported protocol"
            assert await client.wait() != 0

    run(scenario())


@pytest.mark.parametrize(
    ("verify", "shown", "reason"),
    [
        (VerifyClient.NONE, "nothing", None),
        (VerifyClient.NONE, "unknown CA", None),
        (VerifyClient.OPTIONAL, "nothing", None),
        (VerifyClient.OPTIONAL, "good", None),
        (VerifyClient.OPTIONAL, "unknown CA", "TLS: its certificate is not accepted: "),
        (VerifyClient.REQUIRED, "good", None),
        (VerifyClient.REQUIRED, "nothing", "TLS: peer did not return a certificate"),
        (VerifyClient.REQUIRED, "unknown CA", "TLS: its certificate is not accepted: "),
        (VerifyClient.REQUIRED, "expired", "TLS: its certificate is not accepted: certificate has expired"),
    ],
)
def test_what_clients_must_show(
    run: Any, listen: Any, options: Any, authority: Authority, ours: TlsSettings, tmp_path: Path,
    verify: VerifyClient, shown: str, reason: str | None,
) -> None:  # fmt: skip
    of = {"expired": authority} if shown == "expired" else {"unknown CA": Authority(tmp_path, "other")}
    issuer = of.get(shown, authority)
    client = issuer.issue("client", "DNS:client.test", days=-1 if shown == "expired" else 2)
    context = client_context(replace(client, ca=ours.ca), shows=shown != "nothing")

    async def scenario() -> None:
        async with listen(transports=TLS, tls=replace(ours, verify_client=verify)) as heard:
            reader, writer = await asyncio.open_connection(*heard.address, ssl=context)
            local = writer.get_extra_info("sockname")
            writer.write(bytes(options))
            if reason is None:
                await heard.received.get()
            else:
                with pytest.raises(ssl.SSLError):  # TLS 1.3 tells it after the client's handshake
                    await reader.read()
                flow, told = await heard.lost.get()
                assert told.startswith(reason)
                assert flow.remote == local
                assert heard.received.empty()
            writer.transport.abort()

    run(scenario())


def test_a_certificate_is_chosen_by_name(run: Any, listen: Any, authority: Authority, ours: TlsSettings) -> None:
    """RFC 6066 3."""
    second = authority.issue("second.test", "DNS:second.test")
    names = ServerNameSettings(("Second.test", "third.test"), second.certificate, second.key)

    async def scenario() -> None:
        async with listen(transports=TLS, tls=replace(ours, server_names=(names,))) as heard:
            for asked, given in (
                ("SECOND.test", "second.test"),
                ("third.test", "second.test"),
                ("x", "pcscf.ims.test"),
            ):
                assert await name_shown(heard.address, ours, asked) == given

    run(scenario())


async def name_shown(address: tuple[str, int], settings: TlsSettings, asked: str) -> str:
    """Return the subject of the certificate that a server shows."""
    _, writer = await asyncio.open_connection(*address, ssl=client_context(settings), server_hostname=asked)
    certificate = writer.get_extra_info("peercert")
    writer.transport.abort()
    return str(certificate["subject"][0][0][1])


def test_changed_files_are_used_without_a_restart(
    run: Any, listen: Any, options: Any, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "RELOAD_S", 0.02)
    settings = authority.issue("changing", "DNS:changing.test")

    async def scenario() -> None:
        async with listen(transports=TLS, tls=settings) as heard:
            assert await name_shown(heard.address, settings, "x") == "changing"
            reader, writer = await asyncio.open_connection(*heard.address, ssl=client_context(settings))
            writer.write(bytes(options))
            _, flow = await heard.received.get()
            settings.key.write_text("half of a fi")
            fault = await heard.reloaded.get()
            assert str(fault).startswith(f"sip.tls: {settings.certificate} and {settings.key} cannot be used: ")
            assert await name_shown(heard.address, settings, "x") == "changing"
            newer = authority.issue("newer", "DNS:changing.test")
            newer.certificate.replace(settings.certificate)
            newer.key.replace(settings.key)
            while await heard.reloaded.get() is not None:
                pass  # between the two, certificate and key do not fit
            assert await name_shown(heard.address, settings, "x") == "newer"
            heard.endpoint.send(b"alive", flow)
            assert await reader.readexactly(5) == b"alive"
            writer.close()

    run(scenario())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"OPTIONS sip:ims.test SIP/2.0\r\n\r\n", "TLS: "),
        (b"GET / HTTP/1.1\r\n\r\n", "TLS: http request"),
        (b"\x16\x03\x01\x00\x05aaaaa" + bytes(range(256)) * 300, "TLS: "),
    ],
    ids=["SIP", "HTTP", "junk"],
)
def test_what_is_not_tls_is_one_line(run: Any, listen: Any, ours: TlsSettings, data: bytes, reason: str) -> None:
    async def scenario() -> None:
        async with listen(transports=TLS, tls=ours) as heard:
            _, writer = await asyncio.open_connection(*heard.address)
            writer.write(data)
            flow, told = await heard.lost.get()
            assert flow.remote == writer.get_extra_info("sockname")
            assert told.startswith(reason)
            assert heard.endpoint.counters()["connections_lost"] == 1
            assert heard.endpoint.counters()["tls_connections"] == 0
            writer.transport.abort()

    run(scenario())


def test_a_handshake_must_end_in_time(run: Any, listen: Any, ours: TlsSettings) -> None:
    async def scenario() -> None:
        async with listen(transports=TLS, tls=ours, connections=ConnectionSettings(handshake_s=0.1)) as heard:
            reader, writer = await asyncio.open_connection(*heard.address)
            writer.write(b"\x16\x03")
            assert (await heard.lost.get())[1] == "no handshake in 0.1 s"
            assert await reader.read() == b""
            assert heard.endpoint.counters()["tls_connections"] == 0
            writer.close()

    run(scenario())


# ---------------------------------------------------------------------- whom we connect to


def test_two_nodes_share_one_connection(
    run: Any, listen: Any, options: Any, ours: TlsSettings, theirs: TlsSettings
) -> None:
    async def scenario() -> None:
        server = replace(ours, verify_client=VerifyClient.REQUIRED)
        async with listen(transports=TLS, tls=theirs) as near, listen(transports=TLS, tls=server) as far:
            for _ in range(3):  # the first two wait for the handshake
                near.endpoint.send(bytes(options), hop_to(far.address))
            (flow,) = {(await far.received.get())[1] for _ in range(3)}
            far.endpoint.send(bytes(options), flow)
            message, back = await near.received.get()
            assert bytes(message) == bytes(options)
            assert back.remote == far.address
            assert near.endpoint.counters()["tls_connections"] == 1

    run(scenario())


def test_an_address_is_verified_as_such(run: Any, listen: Any, options: Any, ours: TlsSettings) -> None:
    async def scenario() -> None:
        async with listen(transports=TLS, tls=ours) as near, listen(transports=TLS, tls=ours) as far:
            near.endpoint.send(bytes(options), hop_to(far.address, name=""))
            message, _ = await far.received.get()
            assert bytes(message) == bytes(options)

    run(scenario())


def test_a_connection_for_one_name_is_none_to_another(run: Any, listen: Any, options: Any, ours: TlsSettings) -> None:
    """RFC 5922 7.3."""

    async def scenario() -> None:
        async with listen(transports=TLS, tls=ours) as near, listen(transports=TLS, tls=ours) as far:
            near.endpoint.send(bytes(options), hop_to(far.address))
            _, flow = await far.received.get()
            other = hop_to(far.address, "other.test")
            near.endpoint.send(bytes(options), other)
            reason = "TLS: its certificate is for pcscf.ims.test 127.0.0.1, not for other.test"
            assert await near.failed.get() == (other, reason)
            far.endpoint.send(bytes(options), flow.hop)  # an accepted connection, of we do not know whom
            assert (await far.failed.get())[0] == flow.hop
            assert far.received.empty()

    run(scenario())


@pytest.mark.parametrize(
    ("alternatives", "days", "reason"),
    [
        ("DNS:pcscf.ims.test", -1, "TLS: its certificate is not accepted: certificate has expired"),
        ("DNS:other.test", 2, "TLS: its certificate is for other.test, not for pcscf.ims.test"),
        ("DNS:*.ims.test", 2, "TLS: its certificate is for *.ims.test, not for pcscf.ims.test"),
        ("", 2, "TLS: its certificate is for nobody, not for pcscf.ims.test"),
        ("URI:sip:someone@pcscf.ims.test", 2, "TLS: its certificate is for nobody, not for pcscf.ims.test"),
        ("URI:sip:pcscf.ims.test", 2, None),
        ("DNS:PCSCF.ims.test", 2, None),
    ],
)
def test_what_servers_must_show(
    run: Any, listen: Any, options: Any, authority: Authority, ours: TlsSettings,
    alternatives: str, days: int, reason: str | None,
) -> None:  # fmt: skip
    """RFC 5922 7.1, 7.2."""
    server = authority.issue("pcscf.ims.test-again", alternatives, days=days)

    async def scenario() -> None:
        async with listen(transports=TLS, tls=ours) as near, listen(transports=TLS, tls=server) as far:
            hop = hop_to(far.address)
            near.endpoint.send(bytes(options), hop)
            if reason is None:
                await far.received.get()
            else:
                assert await near.failed.get() == (hop, reason)
                assert far.received.empty()
                assert near.endpoint.counters()["tls_connections"] == 0

    run(scenario())


def test_an_unknown_authority_is_not_trusted(
    run: Any, listen: Any, options: Any, ours: TlsSettings, tmp_path: Path
) -> None:
    foreign = Authority(tmp_path, "other").issue("pcscf.ims.test", "DNS:pcscf.ims.test")

    async def scenario() -> None:
        async with listen(transports=TLS, tls=ours) as near, listen(transports=TLS, tls=foreign) as far:
            near.endpoint.send(bytes(options), hop_to(far.address))
            assert (await near.failed.get())[1].startswith("TLS: its certificate is not accepted: self-signed")
            assert "alert" in (await far.lost.get())[1]

    run(scenario())


def test_our_certificate_that_is_refused_fails_what_waits(
    run: Any, listen: Any, options: Any, ours: TlsSettings, tmp_path: Path
) -> None:
    foreign = replace(Authority(tmp_path, "other").issue("near", "DNS:near.test"), ca=ours.ca)
    server = replace(ours, verify_client=VerifyClient.REQUIRED)

    async def scenario() -> None:
        async with listen(transports=TLS, tls=foreign) as near, listen(transports=TLS, tls=server) as far:
            near.endpoint.send(bytes(options), hop_to(far.address))
            assert (await near.failed.get())[1] == "TLS: tlsv1 alert unknown ca"

    run(scenario())


@pytest.mark.parametrize("name", ["x" * 64 + ".test", "a..b"])
def test_a_name_that_is_none_fails(run: Any, listen: Any, options: Any, ours: TlsSettings, name: str) -> None:
    async def scenario() -> None:
        async with listen(transports=TLS, tls=ours) as near, listen(transports=TLS, tls=ours) as far:
            near.endpoint.send(bytes(options), hop_to(far.address, name))
            assert (await near.failed.get())[1] == f"TLS: {name} is not a host name"

    run(scenario())


def test_a_server_without_tls_fails(run: Any, listen: Any, options: Any, ours: TlsSettings) -> None:
    async def scenario() -> None:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            limits = ConnectionSettings(handshake_s=0.1)
            async with listen(transports=TLS, tls=ours, connections=limits) as near:
                hop = hop_to(server.getsockname())
                near.endpoint.send(bytes(options), hop)
                assert await near.failed.get() == (hop, "no handshake in 0.1 s")

    run(scenario())


def test_a_flow_whose_connection_is_gone_leads_nowhere(run: Any, listen: Any, options: Any, ours: TlsSettings) -> None:
    async def scenario() -> None:
        async with listen(transports=TLS, tls=ours) as heard:
            flow = Flow(Transport.TLS, heard.address, ("127.0.0.1", 9), 999_999)
            heard.endpoint.send(bytes(options), flow)
            assert await heard.failed.get() == (flow, "the connection is closed")

    run(scenario())


# ---------------------------------------------------------------------- files and names


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda tls: replace(tls, certificate=tls.certificate.parent / "gone"), "gone: no such file or directory"),
        (lambda tls: replace(tls, key=tls.key.parent / "gone"), "gone: no such file or directory"),
        (lambda tls: replace(tls, ca=tls.key.parent / "gone"), "gone: no such file or directory"),
        (lambda tls: replace(tls, ca=tls.key), "pcscf.ims.test.key: no certificates in PEM form"),
        (lambda tls: replace(tls, key=tls.certificate), "pcscf.ims.test.pem cannot be used: "),
    ],
    ids=["no certificate", "no key", "no CA", "a CA that is none", "a key that is none"],
)
def test_unusable_files_are_one_line(
    ours: TlsSettings, spoil: Callable[[TlsSettings], TlsSettings], fault: str
) -> None:
    with pytest.raises(StartupError) as raised:
        Certificates(spoil(ours))
    assert str(raised.value).startswith("sip.tls: ")
    assert fault in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_key_with_a_passphrase_is_not_asked_for(authority: Authority, ours: TlsSettings) -> None:
    locked = authority.directory / "locked.key"
    authority.openssl("pkey", "-in", ours.key, "-aes256", "-passout", "pass:secret", "-out", locked)
    with pytest.raises(StartupError, match=r"locked\.key cannot be used: "):
        Certificates(replace(ours, key=locked))


@pytest.mark.parametrize(
    ("alternatives", "name", "is_covered"),
    [
        ([("URI", "sip:ims.test")], "ims.test", True),
        ([("URI", "SIP:IMS.test")], "ims.test.", True),
        ([("URI", "sips:ims.test")], "ims.test", False),
        ([("URI", "https://ims.test")], "ims.test", False),
        ([("URI", "sip:alice@ims.test")], "ims.test", False),
        ([("DNS", "ims.test"), ("DNS", "x.test")], "ims.test", True),
        ([("DNS", "*.ims.test")], "a.ims.test", False),
        ([("DNS", "ims.test")], "a.ims.test", False),
        ([("DNS", "192.0.2.1")], "192.0.2.1", False),
        ([("IP Address", "192.0.2.1")], "192.0.2.1", True),
        ([("IP Address", "2001:DB8:0:0:0:0:0:1\n")], "2001:db8::1", True),
        ([("email", "ims.test")], "ims.test", False),
        ([], "ims.test", False),
    ],
)
def test_sip_domains_of_certificates(alternatives: list[tuple[str, str]], name: str, is_covered: bool) -> None:  # noqa: FBT001
    """RFC 5922 7.1, 7.2."""
    certificate = {"subject": ((("commonName", name),),), "subjectAltName": tuple(alternatives)}
    assert names_of(certificate).covers(name) is is_covered
