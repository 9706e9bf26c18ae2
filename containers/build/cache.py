"""What a step is known by, and where its outputs are kept for the next run. Standard library only.

<cache>/hashes.json                 contents of files already read, by path, size, time and inode
<cache>/<pin set>/<key>/key.json    written last: the files of the entry, their sizes, and the artifact's hash
<cache>/<pin set>/<key>/out/        the outputs, hard links shared with the run folders
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

KEY_FILE = "key.json"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Contents:
    """What a folder (or file) holds, in two numbers."""

    bytes: int
    sha256: str


def write_json(path: Path, value: object) -> None:
    """Write `value` so that a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict | None:
    """The JSON object in `path`; None where there is none, or a damaged one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def files_of(path: Path) -> list[Path]:
    """The files in `path`, sorted, hidden ones left out; `path` itself where it is a file."""
    if path.is_file():
        return [path]
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted(found)


class ContentHashes:
    """The sha256 of files, read once: a file that kept its path, size, time and inode is not read again."""

    def __init__(self, memo_file: Path) -> None:
        self.memo_file = memo_file
        self.known = read_json(memo_file) or {}
        self.is_changed = False

    def of_file(self, path: Path) -> str:
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        remembered = self.known.get(str(path))
        if isinstance(remembered, list) and remembered[:3] == stamp:
            return remembered[3]
        digest = _sha256(path)
        self.known[str(path)] = [*stamp, digest]
        self.is_changed = True
        return digest

    def of(self, path: Path) -> Contents:
        """Bytes and hash of a file or folder: relative path, size and sha256 of each file, in order."""
        root = path if path.is_dir() else path.parent
        whole, size = hashlib.sha256(), 0
        for file in files_of(path):
            file_size = file.stat().st_size
            whole.update(f"{file.relative_to(root).as_posix()}\0{file_size}\0{self.of_file(file)}\n".encode())
            size += file_size
        return Contents(size, whole.hexdigest())

    def save(self) -> None:
        """Remember for the next run; files that are gone are forgotten. Losing this only costs time."""
        if not self.is_changed:
            return
        kept = {path: stamp for path, stamp in self.known.items() if os.path.exists(path)}
        try:
            write_json(self.memo_file, kept)
        except OSError:
            return
        self.is_changed = False


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def pin_set() -> str:
    """One hash of the Python version and of every installed distribution: another version, another cache."""
    installed = {f"python {sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]} {sys.platform}"}
    for entry in sys.path:
        if os.path.isdir(entry):
            installed |= {name for name in os.listdir(entry) if name.endswith((".dist-info", ".egg-info"))}
    installed |= {
        f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in sorted(Path(sys.prefix, "graph_ops").glob("*.so"))
    }
    return hashlib.sha256("\n".join(sorted(installed)).encode()).hexdigest()


def source_hash(script: Path) -> str:
    """The hash of a step's script and of every module beside it that it imports, directly or not."""
    todo, seen = [script], set()
    while todo:
        path = todo.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        todo += _local_imports(path, script.parent)
    digest = hashlib.sha256()
    for path in sorted(seen):
        digest.update(f"{path.relative_to(script.parent).as_posix()}\0{_sha256(path)}\n".encode())
    return digest.hexdigest()


def _local_imports(path: Path, root: Path) -> list[Path]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return []  # the step itself will say so
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    bases = [root / name.replace(".", "/") for name in names]
    return [base.with_name(f"{base.name}.py") for base in bases] + [base / "__init__.py" for base in bases]


@dataclass(frozen=True)
class Entry:
    """One finished step in the cache."""

    folder: Path

    def files(self) -> tuple[dict[str, int], Contents] | None:
        """The entry's files with their sizes, and what they hold; None where the entry is damaged or incomplete."""
        noted = read_json(self.folder / KEY_FILE)
        try:
            sizes = {str(name): int(size) for name, size in noted["files"].items()}
            contents = Contents(**noted["contents"])
            whole = all((self.folder / "out" / name).stat().st_size == size for name, size in sizes.items())
        except (TypeError, KeyError, ValueError, AttributeError, OSError):
            return None
        return (sizes, contents) if whole and sizes else None

    def take(self, destination: Path) -> Contents | None:
        """Put the entry's outputs at `destination`; None on a miss. A damaged entry is removed."""
        found = self.files()
        if found is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            return None
        sizes, contents = found
        for name in sizes:
            link_or_copy(self.folder / "out" / name, destination / name)
        return contents

    def fill(self, outputs: Path, contents: Contents, label: str) -> None:
        """Keep `outputs` under this key. An entry appears whole or not at all."""
        filling = self.folder.with_name(f".filling-{label}")
        shutil.rmtree(filling, ignore_errors=True)
        try:
            names = [file.relative_to(outputs) for file in files_of(outputs)]
            for name in names:
                link_or_copy(outputs / name, filling / "out" / name)
            sizes = {name.as_posix(): (outputs / name).stat().st_size for name in names}
            write_json(filling / KEY_FILE, {"format": 1, "files": sizes, "contents": asdict(contents)})
            shutil.rmtree(self.folder, ignore_errors=True)
            os.replace(filling, self.folder)
        finally:
            shutil.rmtree(filling, ignore_errors=True)


def link_or_copy(source: Path, destination: Path) -> None:
    """Give a file a second name; a second copy where the file system cannot."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, destination)
    except OSError:
        shutil.copy2(source, destination)
