"""The model's server beside the bare library, in a process and in a hardened container; many turns, and many clients at once."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from tests.bench.measure import ROOT, Finding, Options, interleaved, spread
from tests.bench.model_servers import Answer, Place, ask, build_python, our_command, process, sample_content, spoken, together, wait_until
from toolkit import settings as settings_module
from toolkit.core.images import OwnImage
from toolkit.docker_engine import DockerEngine, connect
from toolkit.errors import ToolkitError

DECODE_GOAL, START_GOAL, TURN_GOAL, TOGETHER_GOAL = 0.97, 1.3, 1.5, 1.5
TOKENS, WORDS = 96, 60
TURNS, TURN_WORDS, TURN_TOKENS = 10, 30, 48
CLIENTS = 4


@dataclass(frozen=True)
class Stage:
    """What is measured, and where its files go."""

    sample: Path
    image: str
    """Of the runtime; empty where no engine answers."""
    folder: Path
    repeat: int

    @contextmanager
    def bare(self) -> Iterator[tuple[Place, float]]:
        """The server as a process, and the seconds until it was ready."""
        place = Place(socket=self.folder / "process.sock")
        with process(our_command(self.sample, place, "--threads", threads()), place, "/ready", self.folder / "process.log") as seconds:
            yield place, seconds

    @contextmanager
    def hardened(self) -> Iterator[tuple[Place, float]]:
        """The server in a container as the toolkit starts it, and the seconds until it was ready."""
        place = Place(socket=self.folder / "run" / "chat.sock")
        place.socket.unlink(missing_ok=True)
        client, began = docker.from_env(), time.perf_counter()
        container = client.containers.run(self.image, ["--uds", "/run/edge/chat.sock", "--threads", str(threads())], **self._hardening())
        try:
            wait_until(lambda: place.answers("/ready"), lambda: _lives(container), lambda: container.logs().decode(errors="replace"))
            yield place, time.perf_counter() - began
        finally:
            container.remove(force=True)
            client.close()

    def _hardening(self) -> dict[str, object]:
        mounts = {"model": "/model", "adapters": "/adapters", "device.json": "/etc/edge/device.json"}
        return {
            "detach": True,
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "network_mode": "none",
            "pids_limit": 128,
            "labels": {"edge-toolkit.test": "yes"},
            "volumes": [f"{self.sample / name}:{inside}:ro" for name, inside in mounts.items()] + [f"{self.folder / 'run'}:/run/edge"],
        }


def _lives(container: docker.models.containers.Container) -> bool:
    container.reload()
    return container.status != "exited"


def threads() -> int:
    return os.cpu_count() or 1


def measure(options: Options) -> list[Finding]:
    sample = sample_content(options)
    folder = Path(tempfile.mkdtemp(prefix="edge-"))  # short: a socket's path may have 107 characters
    (folder / "run").mkdir()
    (folder / "run").chmod(0o777)
    try:
        stage = Stage(sample, _runtime_image(), folder, options.repeat)
        return [*_starts(stage), *_decoding(stage), _turns(stage), *_together(stage)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _runtime_image() -> str:
    """The runtime's image for this processor, built where it is not there; empty where no engine answers."""
    settings = settings_module.load({})
    try:
        runtime = OwnImage("runtime", "cpu")
        for _ in runtime.ensure(settings, DockerEngine(connect())):
            pass
        return runtime.tag(settings)
    except ToolkitError as exc:
        print(f"no container is measured: {exc.message}")
        return ""


def _starts(stage: Stage) -> list[Finding]:
    if not stage.image:
        return []
    taken = interleaved({"process": lambda: _seconds(stage.bare), "container": lambda: _seconds(stage.hardened)}, stage.repeat + 1)
    ratio = statistics.median(one / two for one, two in zip(taken["container"], taken["process"], strict=True))
    how = "; ".join(f"{name} {spread(values)}" for name, values in taken.items())
    return [
        Finding(
            "Start of the hardened container until ready", f"{ratio:.2f} times a bare process", f"{START_GOAL}", ratio <= START_GOAL, how
        )
    ]


def _seconds(start: Callable) -> float:
    with start() as (_, seconds):
        return seconds


def _decoding(stage: Stage) -> list[Finding]:
    """All three in turns, each with the same questions."""
    with ExitStack() as servers:
        places = {"the server in a process": servers.enter_context(stage.bare())[0]}
        if stage.image:
            places["the server hardened"] = servers.enter_context(stage.hardened())[0]
        for place in places.values():
            ask(place, spoken(WORDS, 0), 8)
        taken: dict[str, list[float]] = {name: [] for name in ("bare", *places)}
        for number in range(1, stage.repeat + 3):
            question = spoken(WORDS, number)
            for name in list(taken) if number % 2 else reversed(taken):
                taken[name].append(_bare_rate(stage, question) if name == "bare" else ask(places[name], question, TOKENS).rate)
    return [_rate_finding(name, taken) for name in places]


def _bare_rate(stage: Stage, messages: list[dict[str, str]]) -> float:
    program = ROOT / "tests" / "bench" / "bare_decode.py"
    command = [build_python(), program, stage.sample / "model", threads(), TOKENS]
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    done = subprocess.run([str(word) for word in command], input=json.dumps(messages), env=environ, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)["rate"]


def _rate_finding(name: str, taken: dict[str, list[float]]) -> Finding:
    ratio = statistics.median(one / two for one, two in zip(taken[name], taken["bare"], strict=True))
    how = "; ".join(f"{who} {spread(taken[who], 'tokens/s')}" for who in (name, "bare"))
    return Finding(f"Decoding, {name}, streamed", f"{ratio:.2f} times bare ONNX Runtime GenAI", f"{DECODE_GOAL}", ratio >= DECODE_GOAL, how)


def _turns(stage: Stage) -> Finding:
    """Chats of ten turns, every question as long as the others."""
    with stage.bare() as (place, _):
        chats = [_chat(place, number) for number in range(1, stage.repeat + 1)]
    first, last = ([chat[turn].first_ms for chat in chats] for turn in (0, TURNS - 1))
    ratio = statistics.median(last) / statistics.median(first)
    how = f"turn 1 {spread(first, 'ms')}; turn {TURNS} {spread(last, 'ms')}, its whole prompt {chats[0][-1].prompt_tokens} tokens"
    return Finding(f"Turn {TURNS} of a chat, time to first token", f"{ratio:.2f} times turn 1's", f"{TURN_GOAL}", ratio <= TURN_GOAL, how)


def _chat(place: Place, number: int) -> list[Answer]:
    messages: list[dict[str, str]] = []
    answers = []
    for turn in range(TURNS):
        messages += spoken(TURN_WORDS, 100 * number + turn)
        answers.append(ask(place, messages, TURN_TOKENS))
        messages.append({"role": "assistant", "content": answers[-1].text})
    return answers


def _together(stage: Stage) -> list[Finding]:
    with stage.bare() as (place, _):
        taken = interleaved({str(count): _total_rate(place, count) for count in (1, CLIENTS)}, stage.repeat + 2)
    ratio = statistics.median(many / one for many, one in zip(taken[str(CLIENTS)], taken["1"], strict=True))
    how = f"{CLIENTS} clients {spread(taken[str(CLIENTS)], 'tokens/s')}; one {spread(taken['1'], 'tokens/s')}; prompts included"
    return [
        Finding(
            f"{CLIENTS} clients at once, all their tokens",
            f"{ratio:.2f} times one client's",
            f"{TOGETHER_GOAL}",
            ratio >= TOGETHER_GOAL,
            how,
        )
    ]


def _total_rate(place: Place, clients: int) -> Callable[[], float]:
    numbers = iter(range(1000, 2000))

    def take() -> float:
        first = next(numbers)
        answers, seconds = together(clients, lambda number: ask(place, spoken(20, 10 * first + number), TOKENS))
        return sum(answer.tokens for answer in answers) / seconds

    return take
