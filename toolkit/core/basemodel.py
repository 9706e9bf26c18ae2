"""The base model as a folder on this machine, wherever the recipe says it comes from."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from toolkit.core.model_manifest import check_files, note_files
from toolkit.core.recipe import BaseModelChoice
from toolkit.core.workbench import Workbench
from toolkit.errors import ModelError

WANTED_FILES = ["*.safetensors", "*.json", "*.model", "*.jinja", "*.txt", "LICENSE*"]
Say = Callable[[str], None]


def model_folder(bench: Workbench, choice: BaseModelChoice, say: Say) -> Path:
    """The folder that holds the model; fetched or made where it is not here yet.

    Raises:
        ModelError: it cannot be had; says why and what to do.
        DiskError: there is no room for it.
    """
    match choice.kind:
        case "sample":
            return _sample(bench, say)
        case "folder":
            return _folder(Path(choice.source))
        case "hub":
            return _from_hub(bench.settings.models, choice, say)
    return _asset(bench, choice, say)


def model_here(models: Path, choice: BaseModelChoice) -> Path | None:
    """The model's folder where it is on this machine already; nothing is fetched. None where it is not."""
    match choice.kind:
        case "sample":
            folder = models / choice.source.removeprefix("sample:")
        case "folder":
            folder = Path(choice.source)
        case "hub":
            folder = models / _folder_name(f"{choice.source}@{choice.revision or 'main'}")
            if (folder / ".cache").exists():  # a download that is under way, or was broken off
                return None
        case _:
            folder = models / _folder_name(choice.source.removeprefix("azureml://"))
            configs = sorted(folder.rglob("config.json"), key=lambda path: len(path.parts))
            return configs[0].parent if configs else None
    return folder if (folder / "config.json").is_file() else None


def _sample(bench: Workbench, say: Say) -> Path:
    from toolkit.core.sample import sample_model  # 0.2 s for NumPy, which other models do not need

    told: set[str] = set()

    def progress(done: float, total: float, message: str) -> None:
        if message not in told:
            told.add(message)
            say(message)

    return sample_model(bench.settings.models, progress)


def _folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise ModelError(f"There is no model folder {folder}.", "Correct [model] source in the recipe.")
    return folder


def _from_hub(models: Path, choice: BaseModelChoice, say: Say) -> Path:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when it is imported
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    folder = models / _folder_name(f"{choice.source}@{choice.revision or 'main'}")
    say(f"Fetching {choice.source} from Hugging Face")
    try:
        snapshot_download(
            choice.source,
            revision=choice.revision or None,
            local_dir=folder,
            allow_patterns=_patterns(choice),
            token=os.environ.get("HF_TOKEN"),
        )
    except GatedRepoError as exc:
        raise ModelError(f"{choice.source} is gated.", "Accept its licence on its page, then set HF_TOKEN.") from exc
    except RevisionNotFoundError as exc:
        raise ModelError(f"{choice.source} has no revision '{choice.revision}'.", "Correct [model] revision in the recipe.") from exc
    except RepositoryNotFoundError as exc:
        raise ModelError(
            f"There is no model {choice.source}, or it is private.", "Correct [model] source; set HF_TOKEN for a private one."
        ) from exc
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as exc:
        raise ModelError(f"{choice.source} could not be fetched: {exc}", "Check the network, or give a folder as [model] source.") from exc
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return folder


def _patterns(choice: BaseModelChoice) -> list[str]:
    return [*WANTED_FILES, "*.py"] if choice.trust_remote_code else WANTED_FILES


def _asset(bench: Workbench, choice: BaseModelChoice, say: Say) -> Path:
    folder = bench.settings.models / _folder_name(choice.source.removeprefix("azureml://"))
    if not folder.exists():
        _fetch_asset(bench, choice.source, folder, say)
    else:
        check_files(folder)
    configs = sorted(folder.rglob("config.json"), key=lambda path: len(path.parts))
    if not configs:
        raise ModelError(
            f"{choice.source} holds no Hugging Face model (no config.json).",
            "Choose an asset of type custom_model with a model folder in it.",
        )
    return configs[0].parent


def _fetch_asset(bench: Workbench, source: str, folder: Path, say: Say) -> None:
    """Fetch into a folder beside, which stays where that fails, to go on from; whoever comes second waits for the first."""
    making = folder.with_name(f".{folder.name}.making")
    making.mkdir(parents=True, exist_ok=True)
    held = os.open(making, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _hold(held, source, say)
        if folder.exists():  # it was fetched meanwhile
            return
        if not making.exists() or not os.path.samestat(os.fstat(held), making.stat()):  # who held it failed, and removed it
            return _fetch_asset(bench, source, folder, say)
        say(f"Fetching {source}")
        bench.fetch_asset(source, str(making), say)
        note_files(making, source)
        os.replace(making, folder)
    finally:
        os.close(held)
        with suppress(OSError):  # something arrived
            making.rmdir()


def _hold(folder: int, source: str, say: Say) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"Waiting for another process, which fetches {source}")
        fcntl.flock(folder, fcntl.LOCK_EX)


def _folder_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._@-]+", "--", text)
