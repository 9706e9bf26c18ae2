"""The only module that imports docker; it turns the engine's surprises into ours.

What this wall absorbs: push and load errors come in the stream with HTTP 200 and raise nothing; a container in state
`created` is a start that failed; 137 may be out of memory (`State.OOMKilled`); docker-py cannot use BuildKit.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import DeviceRequest, Mount

from toolkit.core import process
from toolkit.core.cuda_verdict import ALLOW_CPU
from toolkit.core.engine import KEY_FILE, LABEL, Credentials, EngineFacts, Exit, Image, ImageLayer, PushProgress, Server
from toolkit.core.flavour import GPU_RUNTIME
from toolkit.core.image_name import HOME, mark_of
from toolkit.core.registry_access import PASSWORD_HINT
from toolkit.core.run import Run
from toolkit.errors import EngineError, EngineMissing, PublishError, RegistryDenied, RunError

SERVER_UID = 65532
ALIVE = {"running", "restarting", "paused"}
ANSWER_SECONDS = 10
ASK_SECONDS = 60


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """The engine's exceptions as ours."""
    try:
        yield
    except (APIError, ImageNotFound) as exc:
        raise EngineError(f"The Docker engine refused {doing}: {exc.explanation or exc}", _way_out(str(exc))) from exc
    except (DockerException, requests.exceptions.RequestException) as exc:
        raise EngineMissing(
            f"The Docker engine does not answer while {doing}: {exc}", "Start it (`systemctl start docker`), or choose the local engine."
        ) from exc


def _way_out(said: str) -> str:
    if "no space left" in said:
        return "The engine's disk is full: `edge clean` shows what can go, `docker system df` what else is there."
    if "is using" in said and "image" in said:
        return "A chat with it may be open: end it; `edge clean --containers` removes ended ones. Then try again."
    if "could not select device driver" in said:
        return (
            "No GPU runtime: install nvidia-container-toolkit and restart the engine, or choose the cpu flavour; EDGE_ALLOW_CPU=1 serves an"
            " image for a GPU on the CPU. `edge doctor` looks again."
        )
    if "unsatisfied condition: cuda" in said:
        return "The driver is too old for this flavour: update it, or choose an older one (cuda12, cpu). `edge doctor` says which fits."
    return "`edge doctor` looks at the engine."


def connect(timeout: int = 600) -> docker.DockerClient:
    """A client of the engine that answers here; work may take it as long as `timeout`, a first word may not.

    Raises:
        EngineMissing: none answers.
    """
    try:
        first = docker.from_env(timeout=min(timeout, ANSWER_SECONDS))  # asks for the version
        client = docker.from_env(version=first.api.api_version, timeout=timeout)
        first.close()
    except (DockerException, requests.exceptions.RequestException) as exc:
        raise EngineMissing("No Docker engine answers here.", "Start it (`systemctl start docker`), or choose the local engine.") from exc
    return client


@dataclass(frozen=True)
class BuildImage:
    """What builds run in."""

    name: str
    with_gpu: bool = False
    """Give it every GPU."""


def _no_image() -> BuildImage:
    return BuildImage("")


class DockerEngine:
    """BuildEngine and ImageEngine over one Docker engine."""

    name = "docker"

    def __init__(
        self,
        client: docker.DockerClient,
        build_image: Callable[[], BuildImage] = _no_image,
        mounts: Mapping[str, bool] | None = None,
        build_memory_mb: int = 0,
    ) -> None:
        """`build_image` is asked when a build starts. `mounts`: folders a build sees at their own path, and whether it may write there."""
        self._client = client
        self._build_image = build_image
        self._mounts = dict(mounts or {})
        self._build_memory_mb = build_memory_mb

    # -- BuildEngine ------------------------------------------------------------------------------------------------

    def start(self, run: Run, lock: int) -> None:
        image = self._build_image()
        self._sweep_builds(run.folder.parent)
        binds = {str(run.folder): True, **self._mounts, **_inputs(run)}
        with translated("starting the build container"):
            self._client.containers.run(
                image.name,
                [str(run.folder)],
                detach=True,
                name=_container_name(run),
                labels={f"{LABEL}.run": run.id, HOME: _home_mark(run), f"{LABEL}.kind": "build"},
                user=f"{os.getuid()}:{os.getgid()}",
                mounts=[Mount(path, path, type="bind", read_only=not writable) for path, writable in binds.items()],
                network_mode="none",
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                shm_size="1g",
                mem_limit=f"{self._build_memory_mb}m" if self._build_memory_mb else None,
                memswap_limit=f"{self._build_memory_mb}m" if self._build_memory_mb else None,
                device_requests=_every_gpu() if image.with_gpu else None,
                environment={"HOME": "/tmp", **_passed_on()},
            )

    def _sweep_builds(self, runs: Path) -> None:
        """Remove ended build containers of this home whose runs' endings are written: nobody will ask how they ended."""
        ours = {"label": [f"{LABEL}.kind=build", f"{HOME}={mark_of(runs)}"]}
        with translated("listing containers"), suppress(APIError):  # gone meanwhile, or being removed
            for container in self._client.containers.list(all=True, filters=ours, ignore_removed=True):
                if container.status not in ALIVE and _has_ending(runs / container.labels.get(f"{LABEL}.run", "")):
                    container.remove()

    def is_alive(self, run: Run) -> bool:
        container = self._container(run)
        return container is not None and container.status in ALIVE

    def exit_of(self, run: Run) -> Exit | None:
        container = self._container(run)
        if container is None:
            return None
        state = container.attrs["State"]
        code = state.get("ExitCode")
        if state.get("Status") == "created":
            return Exit(code, reason=f"the build container did not start: {state.get('Error') or 'no reason given'}")
        if state.get("OOMKilled"):
            return Exit(code, True, "the build container was killed: out of memory")
        if code == 137:
            return Exit(code, reason="the build container was killed")
        return Exit(code, reason=f"the build container ended with exit code {code}{_said(container)}")

    def stop(self, run: Run, grace_seconds: float = 10) -> None:
        container = self._container(run)
        if container is not None:
            with translated("stopping the build container"):
                container.stop(timeout=int(grace_seconds))

    def forget(self, run: Run) -> None:
        container = self._container(run)
        if container is not None:
            with translated("removing the ended build container"):
                container.remove(force=True)

    def _container(self, run: Run):
        with translated("looking for the build container"):
            try:
                return self._client.containers.get(_container_name(run))
            except NotFound:
                return None

    # -- ChatHost ---------------------------------------------------------------------------------------------------

    def serve(self, target: str, folder: Path, memory_mb: int = 0, cpus: float = 0, port: int = 0) -> Server:
        """A hardened container: not root, read-only, no capabilities; no network either unless a port is asked for."""
        uid = os.getuid() or SERVER_UID
        gid = os.getgid() or SERVER_UID
        if os.getuid() == 0:
            for place in (folder, *folder.glob(KEY_FILE)):
                os.chown(place, uid, gid)
        self._sweep()
        with translated(f"starting {target}"):
            container = self._client.containers.create(
                target,
                ["--host", "0.0.0.0", "--port", "8080"] if port else ["--uds", "/run/edge/chat.sock"],
                stdin_open=True,  # docker-py makes it "once": closed for good when its one holder goes
                environment=_server_environment(folder, port) | _passed_on(),
                user=f"{uid}:{gid}",
                read_only=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                network_mode="bridge" if port else "none",
                ports={"8080/tcp": ("127.0.0.1", port)} if port else None,
                pids_limit=128,
                mem_limit=f"{memory_mb}m" if memory_mb else None,
                memswap_limit=f"{memory_mb}m" if memory_mb else None,
                nano_cpus=int(min(cpus, os.cpu_count() or 1) * 1e9) if cpus else None,
                mounts=[Mount("/run/edge", str(folder), type="bind")],
                device_requests=_every_gpu() if self._is_for_gpu(target) else None,
                labels={f"{LABEL}.kind": "server", f"{LABEL}.starter": process.identity()},
            )
            lifeline = self._start_attached(container)
        return Server(folder / "chat.sock", container.id, port, lifeline)

    def _is_for_gpu(self, target: str) -> bool:
        """Its runtime computes with CUDA, and the CPU was not allowed on an engine that has no GPU to give."""
        image = self.find(target)
        if image is None or not image.labels.get(f"{LABEL}.flavour", "").startswith("cuda"):
            return False
        return os.environ.get(ALLOW_CPU) != "1" or GPU_RUNTIME in self.facts().runtimes

    def _start_attached(self, container) -> object:
        """Hold the container's standard input, then start it; where that fails, nothing is left behind."""
        try:
            lifeline = self._client.api.attach_socket(container.id, params={"stdin": 1, "stream": 1})
            container.start()
        except BaseException:
            container.remove(force=True)
            raise
        return lifeline

    def _sweep(self) -> None:
        """Remove ended chat containers whose starters are gone: nobody else will ask how they ended."""
        with translated("listing containers"), suppress(NotFound):
            for container in self._client.containers.list(all=True, filters={"label": f"{LABEL}.kind=server"}, ignore_removed=True):
                if container.status not in ALIVE and _is_orphan(container.labels):
                    container.remove()

    def is_serving(self, server: Server) -> bool:
        with translated("looking for the chat container"):
            try:
                return self._client.containers.get(server.handle).status in ALIVE
            except NotFound:
                return False

    def ended(self, server: Server) -> Exit | None:
        with translated("looking for the chat container"):
            try:
                state = self._client.containers.get(server.handle).attrs["State"]
            except NotFound:
                return Exit(reason="its container was removed")
        if state["Status"] in ALIVE:
            return None
        return Exit(state.get("ExitCode"), bool(state.get("OOMKilled")), state.get("Error") or "")

    def last_words(self, server: Server) -> str:
        with translated("reading the chat container's log"):
            try:
                return self._client.containers.get(server.handle).logs(tail=20).decode("utf-8", "replace").strip()
            except NotFound:
                return ""

    def end(self, server: Server) -> None:
        with translated("ending the chat container"):
            try:
                container = self._client.containers.get(server.handle)
                container.stop(timeout=5)
                container.remove(force=True)
            except NotFound:
                return

    # -- ImageEngine ------------------------------------------------------------------------------------------------

    def facts(self) -> EngineFacts:
        with translated("describing itself"):
            info, version = self._client.info(), self._client.version()
        return EngineFacts(
            version=version["Version"],
            api=version["ApiVersion"],
            storage=info["Driver"],
            root=info["DockerRootDir"],
            cpus=info["NCPU"],
            memory=info["MemTotal"],
            runtimes=tuple(sorted(info.get("Runtimes") or ())),
        )

    def build(self, context: Path, tag: str, target: str, arguments: Mapping[str, str], labels: Mapping[str, str]) -> Iterator[str]:
        with translated(f"building {tag}"), tempfile.TemporaryFile() as archive:
            with tarfile.open(fileobj=archive, mode="w") as tar:
                tar.add(context, arcname=".", filter=_as_root)
            archive.seek(0)
            lines = self._client.api.build(
                fileobj=archive, custom_context=True, tag=tag, target=target or None, buildargs=dict(arguments),
                labels=dict(labels), rm=True, forcerm=True, decode=True,
            )  # fmt: skip
            for line in lines:
                if "error" in line:
                    raise EngineError(f"Building {tag} failed: {line['error'].strip()}", _way_out(line["error"]))
                if text := line.get("stream", line.get("status", "")).strip():
                    yield text
        self._drop_stage(arguments.get("FLAVOUR", "cpu"))

    def _drop_stage(self, flavour: str) -> None:
        """Remove what the builder leaves of the stage before a GPU image: gigabytes. The CPU's is small, and makes the next build quick."""
        if flavour != "cpu":
            with translated("removing a finished build's stage"):
                self._client.images.prune({"dangling": True, "label": f"{LABEL}.stage={flavour}"})

    def ask(self, reference: str, argv: Sequence[str], gpu: bool = False) -> tuple[int, str]:
        with translated(f"asking {reference}"):
            container = self._client.containers.create(
                reference,
                list(argv),
                network_mode="none",
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                device_requests=_every_gpu() if gpu else None,
                labels={f"{LABEL}.kind": "question"},
            )
            try:
                container.start()
                code = container.wait(timeout=ASK_SECONDS)["StatusCode"]
                return code, container.logs(stdout=True, stderr=False).decode("utf-8", "replace")
            finally:
                container.remove(force=True)

    def find(self, reference: str) -> Image | None:
        with translated(f"looking for {reference}"):
            try:
                return _image(self._client.images.get(reference))
            except NotFound:
                return None

    def images(self, label: str) -> list[Image]:
        with translated("listing images"):
            found = [_image(image) for image in self._client.images.list(filters={"label": label})]
        return sorted(found, key=lambda image: image.created, reverse=True)

    def pull(self, reference: str) -> bool:
        """Fetch an image from its registry; False where it cannot be had."""
        try:
            self._client.images.pull(reference)
        except DockerException:
            return False
        return True

    def layers(self, reference: str) -> list[ImageLayer]:
        with translated(f"reading the layers of {reference}"):
            try:
                image = self._client.images.get(reference)
                history = self._client.api.history(image.id)
            except NotFound:
                return []
        return _layers(image.attrs["RootFS"].get("Layers") or [], history[::-1])

    def load(self, archive: Iterable[bytes]) -> None:
        with translated("loading an image"):
            for line in self._client.api.load_image((piece for piece in archive), quiet=False):  # requests streams only iterators
                if "error" in line:
                    raise EngineError(f"The Docker engine did not take the image: {line['error']}", _way_out(line["error"]))

    def save(self, reference: str) -> Iterable[bytes]:
        with translated(f"saving {reference}"):
            yield from self._client.api.get_image(reference, chunk_size=1 << 20)

    def tag(self, reference: str, target: str) -> None:
        with translated(f"tagging {target}"):
            repository, _, tag = target.rpartition(":")
            self._client.api.tag(reference, repository, tag)

    def untag(self, reference: str) -> None:
        with translated(f"removing {reference}"):
            try:
                self._client.api.remove_image(reference)
            except NotFound:
                return

    def push(self, reference: str, credentials: Credentials | None) -> Iterator[PushProgress | str]:
        repository, _, tag = reference.rpartition(":")
        # An empty pair, not None: without credentials of ours docker-py would send what it finds in the user's own files.
        auth = {"username": credentials.username, "password": credentials.password} if credentials else None
        digest = ""
        with translated(f"pushing {reference}"):
            for line in self._client.api.push(repository, tag=tag, auth_config=auth, stream=True, decode=True):
                if "error" in line:
                    raise _push_error(reference, line["error"])
                digest = (line.get("aux") or {}).get("Digest", digest)
                detail = line.get("progressDetail") or {}
                if "id" in line and line["id"] != tag:
                    total = detail.get("total", 0)
                    yield PushProgress(
                        line["id"], line.get("status", ""), min(detail.get("current", 0), total or detail.get("current", 0)), total
                    )
        if not digest:
            raise PublishError(
                f"The engine ended the push of {reference} without a digest.", "Push again; layers already there do not move."
            )
        yield digest

    # -- housekeeping -----------------------------------------------------------------------------------------------

    def ended_containers(self, runs: Path) -> list[tuple[str, str]]:
        """Ids and names of containers that run no more (builds of this folder of runs, chats), and of chats whose chatter was killed."""
        mark = mark_of(runs)
        with translated("listing containers"):
            found = self._client.containers.list(all=True, filters={"label": f"{LABEL}.kind"})
            ours = [c for c in found if c.labels.get(HOME, mark) == mark]
            return [(c.id, c.name) for c in ours if c.status not in ALIVE or _is_orphan(c.labels)]

    def remove_container(self, identity: str) -> None:
        with translated("removing a container"):
            try:
                self._client.containers.get(identity).remove(force=True)
            except NotFound:
                return


def _server_environment(folder: Path, port: int) -> dict[str, str]:
    """Of a chat's server: it ends with us, keeps its last words free of its callers' requests, and is known by loopback's names."""
    environment = {"EDGE_LIFELINE": "stdin", "EDGE_ACCESS_LOG": "0"}
    if port:
        environment["EDGE_ALLOWED_HOSTS"] = "localhost,127.0.0.1,[::1]"
    if (folder / KEY_FILE).exists():
        environment["EDGE_API_KEY_FILE"] = f"/run/edge/{KEY_FILE}"
    return environment


def _is_orphan(labels: Mapping[str, str]) -> bool:
    starter = labels.get(f"{LABEL}.starter", "")
    return bool(starter) and not process.lives(starter)


def _push_error(reference: str, said: str) -> PublishError:
    lowered = said.lower()
    if any(word in lowered for word in ("no basic auth", "unauthorized", "denied", "authentication required")):
        return RegistryDenied(
            f"The registry refused the credentials for {reference}: {said}",
            PASSWORD_HINT,
        )
    if any(
        word in lowered for word in ("connection refused", "eof", "connection reset", "no such host", "timeout", "broken pipe", "dial tcp")
    ):
        return PublishError(
            f"The registry went away while pushing {reference}: {said}",
            "When it is back, push again (`edge resume` on the run): layers already there do not move.",
        )
    return PublishError(f"The registry did not take {reference}: {said}", "Check the repository's name and your rights on it.")


def _image(image) -> Image:
    attributes = image.attrs
    return Image(
        id=image.id,
        tags=tuple(image.tags),
        bytes=attributes["Size"],
        created=attributes["Created"],
        labels=attributes["Config"].get("Labels") or {},
        layers=tuple(attributes["RootFS"].get("Layers") or ()),
        config={"Config": attributes["Config"], "Os": attributes["Os"], "Architecture": attributes["Architecture"]},
    )


def _layers(diff_ids: list[str], history: list[dict]) -> list[ImageLayer]:
    """Layers with what the history says of each; steps that made no layer stand in the history too, with no bytes."""
    if len(history) != len(diff_ids):
        history = [entry for entry in history if entry["Size"]]
    if len(history) != len(diff_ids):
        return [ImageLayer(diff_id, 0, "") for diff_id in diff_ids]
    return [ImageLayer(diff_id, entry["Size"], entry["CreatedBy"]) for diff_id, entry in zip(diff_ids, history, strict=True)]


def _every_gpu() -> list[DeviceRequest]:
    return [DeviceRequest(count=-1, capabilities=[["gpu"]])]


def _passed_on() -> dict[str, str]:
    """What a person said to the programs in our images through our environment."""
    return {ALLOW_CPU: os.environ[ALLOW_CPU]} if ALLOW_CPU in os.environ else {}


def _home_mark(run: Run) -> str:
    """Tells the runs of one home from those of another on the same engine."""
    return mark_of(run.folder.parent)


def _has_ending(folder: Path) -> bool:
    try:
        return Run(folder).state().has_ending
    except (RunError, OSError):
        return False


def _container_name(run: Run) -> str:
    return f"edge-{_home_mark(run)}-{run.id}"


def _inputs(run: Run) -> dict[str, bool]:
    """Folders and files outside the run that its steps read."""
    paths = {given["path"] for step in run.request["steps"] for given in step["inputs"].values() if "path" in given}
    return {path: False for path in sorted(paths) if not Path(path).is_relative_to(run.folder)}


def _said(container) -> str:
    lines = container.logs(tail=1).decode("utf-8", "replace").strip()
    return f": {lines}" if lines else ""


def _as_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info
