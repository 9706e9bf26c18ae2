"""Which Python modules the server can come to need: all that its files and those that they import name. Standard library only."""

from __future__ import annotations

import warnings
from modulefinder import ModuleFinder
from pathlib import Path

NAMED_AT_RUN_TIME = (
    "uvicorn.lifespan.on", "uvicorn.logging", "uvicorn.loops.asyncio", "uvicorn.protocols.http.h11_impl",  # by uvicorn's settings
    "anyio._backends._asyncio",
    "encodings.ascii", "encodings.idna", "encodings.latin_1", "encodings.utf_8", "encodings.utf_8_sig",
    "encodings.utf_16", "encodings.utf_16_be", "encodings.utf_16_le", "encodings.utf_32", "encodings.utf_32_be", "encodings.utf_32_le",
    "ctypes.util", "runpy", "site",
)  # fmt: skip
"""Imported by a name that is only known when the server runs."""

LEFT_OUT = (
    "ssl", "_ssl", "_hashlib",  # OpenSSL; see no_tls/ssl.py. Python has its own hashes for what little is hashed.
    "_uuid", "_lzma", "_bz2", "bz2", "lzma", "tarfile", "zipfile", "gzip",  # libraries of their own; Python goes without where they are not there
    "pydoc", "pydoc_data", "doctest", "unittest", "test", "pdb", "bdb", "code", "codeop", "tkinter", "turtle", "readline", "rlcompleter",
    "distutils", "lib2to3", "setuptools", "ensurepip", "venv",
    "_testcapi", "_testinternalcapi", "_pydecimal", "decimal", "_decimal", "fractions", "statistics",
    "xml", "xmlrpc", "smtplib", "ftplib", "imaplib", "telnetlib", "webbrowser", "cgi", "netrc", "urllib.request", "http.server",
    "sqlite3", "curses", "dbm", "plistlib",
    "asyncio.windows_events", "asyncio.windows_utils", "multiprocessing.popen_spawn_win32", "ctypes.wintypes", "nturl2path", "encodings.mbcs", "click._winconsole",
    "multiprocessing.managers", "multiprocessing.pool", "multiprocessing.shared_memory", "multiprocessing.dummy", "multiprocessing.sharedctypes",
    "concurrent.futures.process",
    "anyio._backends._trio", "anyio.pytest_plugin", "starlette.testclient", "starlette.middleware.sessions",
    "uvicorn.protocols.http.auto_zttp_impl", "uvicorn.protocols.http.zttp_impl", "uvicorn.protocols.http.zttp_h2_impl",
    "uvicorn.protocols.http.httptools_impl", "uvicorn.protocols.websockets.websockets_impl", "uvicorn.protocols.websockets.wsproto_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl", "uvicorn.supervisors.watchfilesreload", "uvicorn.loops.uvloop",
    "importlib.metadata", "importlib.resources", "importlib.readers", "importlib.simple", "yaml", "dotenv", "rich", "trio", "exceptiongroup",
)  # fmt: skip
"""Named somewhere, and never run by a server in a container on Linux: each import is in a function or a `try`. The load test imports every
module that is in the image, and the server's tests run in it."""


def needed_files(programs: Path, places: tuple[Path, ...]) -> list[Path]:
    """The files of all modules that the programs can come to import, those in `places` that is."""
    finder = ModuleFinder(path=[str(programs), *map(str, places)], excludes=LEFT_OUT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the sources that are read
        for program in sorted(programs.glob("*.py")):
            finder.import_hook(program.stem)
        for name in NAMED_AT_RUN_TIME:
            _find(finder, name)
    files = {Path(module.__file__) for module in finder.modules.values() if module.__file__}
    return sorted(path for path in files if any(path.is_relative_to(place) for place in places))


def _find(finder: ModuleFinder, name: str) -> None:
    """With its parents: the finder gives only the last of a dotted name otherwise."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        finder.import_hook(".".join(parts[:count]))
