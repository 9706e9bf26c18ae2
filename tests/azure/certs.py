"""A certificate authority to throw away, one certificate of its for every host of the lab, and one that signs a registry's tokens."""

from __future__ import annotations

import base64
import datetime
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFE = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Certificates:
    authority: Path
    certificate: Path
    key: Path


@dataclass(frozen=True)
class TokenSigner:
    """Signs as the registry's specification of tokens wants: ES256, with the certificate in the token's head."""

    certificate: Path
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    head: dict[str, list[str]]


def make_certificates(folder: Path, hosts: list[str]) -> Certificates:
    made = Certificates(folder / "authority.pem", folder / "hosts.pem", folder / "hosts.key")
    authority_key, host_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = _name("loopback lab")
    authority = _authority(name, authority_key)
    names = [*map(x509.DNSName, hosts), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    extensions = [(x509.SubjectAlternativeName(names), False), (issuer_id, False)]
    certificate = _sign(_name(hosts[0]), name, host_key, authority_key, extensions)
    made.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    made.key.write_bytes(host_key.private_bytes(*plain))
    return made


def make_token_signer(folder: Path) -> TokenSigner:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _authority(_name("loopback tokens"), key)
    path = folder / "tokens.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return TokenSigner(path, key, {"x5c": [base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()]})


def _name(words: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, words)])


def _authority(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    own_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    may_sign = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    return _sign(name, name, key, key, [(x509.BasicConstraints(True, 0), True), (may_sign, True), (own_id, False)])


def _sign(subject: x509.Name, issuer: x509.Name, key, signer, extensions: list) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    draft = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number(), now - LIFE, now + LIFE)
    for extension, is_critical in extensions:
        draft = draft.add_extension(extension, is_critical)
    return draft.sign(signer, hashes.SHA256())
