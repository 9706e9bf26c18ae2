"""The main job on the sample model by Docker, done once for every test that needs what comes out of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests import tiny
from tests.services.fixtures import Registry, free_port
from toolkit.core import content
from toolkit.core.device import find
from toolkit.core.engine import LABEL
from toolkit.core.made import made_for

SHORT = {
    "epochs = 3.0": "max_steps = 6",
    "finetune = { epochs = 2.0 }": "finetune = { max_steps = 6 }",
    "calibration_samples = 24": "calibration_samples = 4",
    "perplexity_rows = 64": "perplexity_rows = 8",
    "fact_rows = 64": "fact_rows = 8",
}
"""The built-in recipe with less of everything, so that it takes minutes."""

MAX_LENGTH = 2048
DEVICES = Path(__file__).parents[1] / "data" / "devices"


class SampleJob:
    """One home, one recipe, one registry: what a person has in front of them."""

    def __init__(self, folder: Path, base: str) -> None:
        self.folder, self.home, self.base = folder, folder / "home", base
        self.recipe = self._short_recipe()
        self.registry = Registry(folder / "registry", free_port())

    def _short_recipe(self) -> Path:
        shutil.copytree(tiny.ROOT / "data" / "samples", self.folder / "samples")
        text = (tiny.ROOT / "data" / "recipes" / "travel.toml").read_text()
        for old, new in SHORT.items():
            text, count = re.subn(rf"^{re.escape(old).split('=')[0].rstrip(chr(92) + ' ')}\s*=.*$", new, text, count=1, flags=re.M)
            assert count == 1, f"the built-in recipe has no line like {old!r} any more"
        (self.folder / "recipes").mkdir()
        (self.folder / "recipes" / "travel.toml").write_text(text)
        return self.folder / "recipes" / "travel.toml"

    def do(self) -> None:
        self.registry.start()
        self.done("run", str(self.recipe))
        self.done("package", "last", "--device", "cpu")

    def undo(self) -> None:
        """End the registry, and take away what the job left in the engine."""
        self.registry.kill()
        bench = tiny.docker_bench(self.home, self.base)
        engine = bench.image_engine()
        tags = self.tags
        for run in bench.runs():
            if run.kind == "build":
                bench.engine_of(run).forget(run)
        for image in engine.images(f"{LABEL}.kind=image"):
            for tag in image.tags:
                if self.registry.address in tag or tag in tags:
                    engine.untag(tag)

    def put_content(self, folder: Path) -> None:
        """What went into the image, in a folder: model/, adapters/ and device.json."""
        build = tiny.docker_bench(self.home, self.base).run("1")
        made = made_for(build.manifest()["artifacts"], "cpu")
        content.put_together(build.folder, made, folder, True, lambda *_: None)
        content.write_config(folder, content.device_config(folder, made, find(DEVICES, "cpu"), MAX_LENGTH)[0])

    def edge(self, *arguments: str) -> subprocess.CompletedProcess:
        access = {
            "EDGE_BASE_IMAGE": self.base,
            "EDGE_REGISTRY_USERNAME": self.registry.user,
            "EDGE_REGISTRY_PASSWORD": self.registry.password,
        }
        return tiny.edge(*arguments, home=self.home, engine="docker", **access)

    def done(self, *arguments: str) -> str:
        result = self.edge(*arguments)
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        return result.stdout

    @property
    def target(self) -> str:
        return f"{self.registry.address}/travel"

    @property
    def tags(self) -> set[str]:
        """Images that this home packaged."""
        runs = tiny.docker_bench(self.home, self.base).runs()
        return {run.request["steps"][0]["options"]["tag"] for run in runs if run.kind == "package"}
