"""Stands in for Python's `ssl`, which would bring OpenSSL: 5 MB, and most of the security advisories of an image this small.

The server speaks plain HTTP on loopback or to the proxy in front of it. uvicorn, anyio and asyncio name these at import and for checks.
"""

CERT_NONE = 0
PROTOCOL_TLS_SERVER = 17


class SSLError(OSError):
    """TLS failed."""


class SSLWantReadError(SSLError): ...


class SSLSyscallError(SSLError): ...


class CertificateError(SSLError): ...


class SSLSocket:
    """No socket is one of these."""


class SSLObject: ...


class MemoryBIO: ...


class SSLContext:
    """Cannot be had."""

    def __init__(self, *_: object, **__: object) -> None:
        raise SSLError("This image has no TLS. Put a proxy in front of the server.")


def create_default_context(*_: object, **__: object) -> SSLContext:
    return SSLContext()
