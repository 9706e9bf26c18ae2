"""A model's server for as long as it is wanted: started hardened, waited for, asked why it ended, ended."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.core import process
from toolkit.core.chat import Conversation
from toolkit.core.chatwire import Exchange, Refused, WireError
from toolkit.core.engine import KEY_FILE, ChatHost, Exit, Server
from toolkit.errors import ChatError, EngineError, ModelOutOfMemory

READY_SECONDS = 120.0
FOLDER_PREFIX, OWNER = "edge-", "owner"
NO_GPU = 3
"""Exit code of a server that was made for a GPU and cannot use one."""
ENDING_SECONDS = 3.0
"""From a broken connection until the engine knows how the server ended."""


@dataclass(frozen=True)
class Limits:
    """What a server may use: its device's, or as the person says."""

    memory_mb: int = 0
    """0: no limit."""
    cpus: float = 0
    """0: no limit."""

    def __str__(self) -> str:
        memory = f"{self.memory_mb} MB" if self.memory_mb else "all memory"
        return f"{memory}, {self.cpus:g} CPUs" if self.cpus else f"{memory}, all CPUs"


@dataclass(frozen=True)
class Serving:
    """A started server: hands out conversations, and says why it ended."""

    host: ChatHost
    server: Server
    limits: Limits = Limits()
    needed_mb: int = 0
    """What the model needs at full length, by its files; 0: unknown."""

    def conversation(self, system: str = "") -> Conversation:
        """A conversation of its own; several may go on at once, and the server answers one after the other."""
        return Conversation(self.server, self.why_it_broke_off, system)

    def provider(self) -> str:
        """What the model really runs on, by the server's own word: cpu or cuda.

        Raises:
            ChatError: the server does not answer.
        """
        try:
            return Exchange(self.server).get("/ready", seconds=5).get("provider", "")
        except (WireError, Refused) as exc:
            raise self.why_it_broke_off(str(exc)) from exc

    def wait_until_ready(self, seconds: float = READY_SECONDS, leave: Callable[[], bool] = lambda: False) -> float:
        """Wait for weights and warm-up; returns the seconds waited. `leave` ends the wait early.

        Raises:
            ChatError: the server died or did not get ready in time.
        """
        started = time.monotonic()
        while time.monotonic() - started < seconds and not leave():
            try:
                Exchange(self.server).get("/ready", seconds=5)
                return time.monotonic() - started
            except (WireError, Refused):
                pass  # not listening, or still loading
            if (ended := self.host.ended(self.server)) is not None:
                if ended.out_of_memory:
                    raise self._out_of_memory("")  # nothing was said yet that could be shortened
                raise self._problem(ended, "ended before it was ready", "Package the model again; `edge doctor` looks at the machine.")
            time.sleep(0.05)
        if leave():
            return time.monotonic() - started
        raise ChatError(
            f"The model was not ready after {seconds:.0f} s: {self.host.last_words(self.server)}", "A larger device, or a smaller model."
        )

    @property
    def is_served(self) -> bool:
        return self.host.ended(self.server) is None

    def why_it_broke_off(self, said: str) -> ChatError:
        """The reason of a connection that broke: out of memory, another death, or only the connection itself."""
        try:
            ended = self._how_it_ended()
        except EngineError as exc:
            return ChatError(f"The model's server went away: {exc.message}", exc.hint)
        if ended is None:
            return ChatError(f"The connection to the model broke off: {said}.", "Ask again.")
        return self._problem(ended, "ended in the middle of the answer", "Start it again, then ask again.")

    def why_it_ended(self) -> ChatError:
        return self._problem(self.host.ended(self.server) or Exit(), "ended", "Start it again.")

    def _how_it_ended(self) -> Exit | None:
        """None where it still serves after a moment: the connection goes before the engine has counted the dead."""
        deadline = time.monotonic() + ENDING_SECONDS
        while (ended := self.host.ended(self.server)) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        return ended

    def _problem(self, ended: Exit, what: str, way_out: str) -> ChatError:
        if ended.out_of_memory:
            return self._out_of_memory()
        words = "; ".join(part for part in (ended.reason, self.host.last_words(self.server)) if part)
        code = "" if ended.code is None else f" with exit code {ended.code}"
        return ChatError(f"The model's server {what}{code}" + (f": {words}" if words else "."), _better_way(ended, words) or way_out)

    def _out_of_memory(self, or_else: str = ", or shorten the conversation") -> ModelOutOfMemory:
        limit = self.limits.memory_mb
        where = f"its limit of {limit} MB was too small" if limit else "the machine has no more"
        if self.needed_mb > limit:
            hint = f"Its files and the longest conversation it takes need about {self.needed_mb} MB: give it that{or_else}."
        elif self.needed_mb:
            hint = f"By its files it needs about {self.needed_mb} MB; give it more than {limit} MB all the same."
        else:
            hint = f"Try {2 * limit} MB{or_else}." if limit else "End other programs, or take a smaller model."
        return ModelOutOfMemory(f"The model's server was killed, out of memory: {where}.", hint)

    def end(self) -> None:
        """End the server, and take its folder away."""
        try:
            self.host.end(self.server)
        finally:
            shutil.rmtree(self.server.socket.parent, ignore_errors=True)


def _better_way(ended: Exit, words: str) -> str:
    """Out of an ending that starting or packaging again would not change; empty: none is known."""
    if "exec format error" in words.lower():
        return f"The image is for another kind of processor than this machine's {platform.machine()}. Run it on its own device."
    if ended.code == NO_GPU:
        return "`edge doctor` looks at this machine's GPU."
    return ""


def start_serving(host: ChatHost, target: str, limits: Limits = Limits(), needed_mb: int = 0, port: int = 0, api_key: str = "") -> Serving:
    """Start a server for `target`; it is not ready yet. With `api_key` it answers those who bring it.

    Raises:
        EngineError: it could not be started.
    """
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))  # short: a socket's path may have 107 characters
    os.chmod(folder, 0o700)
    (folder / OWNER).write_text(process.identity())
    try:
        if api_key:
            _write_key(folder / KEY_FILE, api_key)
        server = host.serve(target, folder, limits.memory_mb, limits.cpus, port)
        return Serving(host, replace(server, api_key=api_key), limits, needed_mb)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write_key(file: Path, api_key: str) -> None:
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
        written.write(api_key)


def _sweep() -> None:
    """Remove the folders of servers whose starters are gone."""
    for note in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*/{OWNER}"):
        with suppress(OSError):
            if note.stat().st_uid in (os.getuid(), 0) and not process.lives(note.read_text()):
                shutil.rmtree(note.parent, ignore_errors=True)


@contextmanager
def serving(
    host: ChatHost, target: str, limits: Limits = Limits(), needed_mb: int = 0, port: int = 0, api_key: str = ""
) -> Iterator[Serving]:
    """Serve `target` for as long as the block lasts; it is ready when the block begins.

    Raises:
        ChatError: it did not come up; carries its last words.
    """
    served = start_serving(host, target, limits, needed_mb, port, api_key)
    try:
        served.wait_until_ready()
        yield served
    finally:
        served.end()
