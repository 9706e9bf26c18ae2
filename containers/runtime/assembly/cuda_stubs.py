"""Small libraries in the place of large ones that are named and never called. Needs `as`, `ld` and `nm`; standard library only."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_FUNCTION = """\
.globl {name}
.type {name}, @function
{name}:
    mov ${code}, %eax
    ret
.size {name}, . - {name}
"""


class StubError(Exception):
    """The library cannot be left out; the message says what calls for it."""


@dataclass(frozen=True)
class Stub:
    """A library that is named as needed and not used."""

    soname: str
    refusal: int | None = None
    """What each of its functions answers; None: none of them may be called for, or the library is needed after all."""


def write(stub: Stub, folder: Path, users: Iterable[Path]) -> Path:
    """The library in `folder`, with the functions that its users are linked to, under their versions.

    Raises:
        StubError: there are such functions, and the stub is to have none.
    """
    names = sorted({name for user in users for name in called(user, stub.soname)})
    if names and stub.refusal is None:
        raise StubError(f"{stub.soname} was taken for unused, and these are called: {', '.join(names)}.")
    return link(stub, names, folder)


def called(user: Path, soname: str) -> list[str]:
    """The functions that a library expects of another one. NVIDIA's carry the soname as their version, the driver's carry none."""
    lines = subprocess.run(["nm", "--dynamic", "--undefined-only", user], capture_output=True, text=True, check=True).stdout.splitlines()
    words = (line.split()[-1].partition("@") for line in lines if line.strip())
    return [name for name, _, version in words if version == soname]


def link(stub: Stub, names: list[str], folder: Path) -> Path:
    """The library in `folder`, with functions of these names."""
    code = "".join(_FUNCTION.format(name=name, code=stub.refusal) for name in names)
    public = f"global: {'; '.join(names)};" if names else ""
    with tempfile.TemporaryDirectory() as scratch:
        source, compiled, versions = (Path(scratch, name) for name in ("stub.s", "stub.o", "versions"))
        source.write_text(f'.text\n{code}.section .note.GNU-stack, "", @progbits\n')
        versions.write_text(f"{stub.soname} {{ {public} local: *; }};\n")
        subprocess.run(["as", "-o", compiled, source], check=True)
        argv = ["ld", "-shared", "-soname", stub.soname, f"--version-script={versions}", "--build-id=none", "-z", "noexecstack"]
        subprocess.run([*argv, "-o", folder / stub.soname, compiled], check=True)
    return folder / stub.soname
