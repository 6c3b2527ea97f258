"""Private and public user identities and the home domain, derived from an IMSI if a UE has no ISIM (TS 23.003 13)."""

from __future__ import annotations

import re
from typing import NewType

from opencscf.common.errors import ParseError

Impi = NewType("Impi", str)  # IP multimedia private identity: user@realm
Impu = NewType("Impu", str)  # IP multimedia public identity: a SIP or tel URI
ImsDomain = NewType("ImsDomain", str)  # home network domain name

_IMSI = re.compile(r"[0-9]{6,15}", re.ASCII)
_MCC = re.compile(r"[0-9]{3}", re.ASCII)
_MNC = re.compile(r"[0-9]{2,3}", re.ASCII)


def ims_domain(mcc: str, mnc: str) -> ImsDomain:
    """Name the home network of a PLMN (13.2); a two-digit MNC gets a zero in front."""
    if not _MCC.fullmatch(mcc) or not _MNC.fullmatch(mnc):
        raise ParseError(f"not a mobile country and network code: {mcc!r} {mnc!r}")
    return ImsDomain(f"ims.mnc{mnc:0>3}.mcc{mcc}.3gppnetwork.org")


def ims_domain_of_imsi(imsi: str, *, mnc_digits: int = 2) -> ImsDomain:
    """Name the home network of an IMSI (13.2); how long its MNC is only the USIM or the operator knows."""
    _check_imsi(imsi)
    return ims_domain(imsi[:3], imsi[3 : 3 + mnc_digits])


def impi_of_imsi(imsi: str, domain: str) -> Impi:
    """Derive the private identity (13.3)."""
    _check_imsi(imsi)
    return Impi(f"{imsi}@{domain}")


def temporary_impu(imsi: str, domain: str) -> Impu:
    """Derive the temporary public identity, which registers and is normally barred from all else (13.4B)."""
    _check_imsi(imsi)
    return Impu(f"sip:{imsi}@{domain}")


def sip_impu_of_msisdn(msisdn: str, domain: str) -> Impu:
    """Make the SIP URI of a telephone number, the alias of its tel URI; this lab writes its digits without `+`."""
    return Impu(f"sip:{msisdn.removeprefix('+')}@{domain}")


def tel_impu_of_msisdn(msisdn: str) -> Impu:
    """Make the tel URI of a telephone number in international form (13.4, RFC 3966)."""
    return Impu(f"tel:+{msisdn.removeprefix('+')}")


def _check_imsi(imsi: str) -> None:
    if not _IMSI.fullmatch(imsi):
        raise ParseError(f"not an IMSI: {imsi!r}")
