"""What makes a gateway's certificate acceptable.

A pin is checked inside the TLS handshake: not a byte of a request goes to a server with another key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl

_PIN = re.compile(r"sha256:([0-9a-fA-F]{64})")


def tls_context(url: str, *, pin: str | None, ca_file: str | None) -> ssl.SSLContext | None:
    """The context for `url`, or None where the library's own is right.

    Raises:
        ValueError: for a pin that is none, for both at once, and for either without TLS.
    """
    if pin is None and ca_file is None:
        return None
    if pin is not None and ca_file is not None:
        raise ValueError("pin and ca_file exclude each other: the pin alone decides")
    if not url.lower().startswith(("wss:", "https:")):
        raise ValueError("pin and ca_file need an address that begins with wss:// or https://")
    if pin is not None:
        return _pinned(pin)
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=ca_file)
    return context


def _pinned(pin: str) -> ssl.SSLContext:
    found = _PIN.fullmatch(pin.strip())
    if found is None:
        raise ValueError("a pin is sha256: and 64 hex digits, as the gateway prints it")
    expected = found[1].lower()

    def check(certificate: bytes | None) -> None:
        seen = spki_digest(certificate or b"")
        if not hmac.compare_digest(seen, expected):
            raise ssl.SSLCertVerificationError(f"the server's key is sha256:{seen}, the pin says sha256:{expected}")

    class PinnedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            check(self.getpeercert(binary_form=True))

    class PinnedSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            check(self.getpeercert(binary_form=True))

    context = ssl.create_default_context()
    # The key alone decides: names and dates of the certificate do not matter.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.sslobject_class, context.sslsocket_class = PinnedObject, PinnedSocket
    return context


def spki_digest(certificate: bytes) -> str:
    """Hex SHA-256 of the SubjectPublicKeyInfo of a DER certificate; empty if it cannot be read."""
    try:
        at, _ = _inside(certificate, _inside(certificate, 0)[0])
        # Version (tagged, may be absent), serial number, algorithm, issuer, validity and subject come before.
        skip = 6 if certificate[at] == 0xA0 else 5
        for _ in range(skip):
            at = _inside(certificate, at)[1]
        end = _inside(certificate, at)[1]
    except IndexError:
        return ""
    return hashlib.sha256(certificate[at:end]).hexdigest()


def _inside(der: bytes, at: int) -> tuple[int, int]:
    """Where the contents of the element at `at` begin, and where it ends."""
    first = der[at + 1]
    if first < 0x80:
        begin, size = at + 2, first
    else:
        begin = at + 2 + (first & 0x7F)
        size = int.from_bytes(der[at + 2 : begin], "big")
    end = begin + size
    if end > len(der):
        raise IndexError("an element ends after the certificate")
    return begin, end
