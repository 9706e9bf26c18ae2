"""Image archives on a real engine: the short one that names its base, and the whole one for engines that want every layer."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import pytest

from toolkit.core.layers import Layer, LayerFile, image_archive

pytestmark = pytest.mark.engine

TAG = "edge-toolkit/test-archive:1"


@pytest.fixture
def images(docker_build_image):
    from toolkit.docker_engine import DockerEngine, connect

    engine = DockerEngine(connect())
    yield engine, engine.find(docker_build_image)
    engine.untag(TAG)


LAYERS = [Layer("model", (LayerFile(b"weights", "/model/model.onnx.data"),))]


def test_an_archive_that_only_names_its_base_is_taken(images):
    engine, base = images
    engine.load(image_archive(base, LAYERS, {"edge-toolkit.kind": "test"}, TAG))
    assert len(engine.find(TAG).layers) == len(base.layers) + 1


def test_a_whole_archive_holds_the_bases_own_layers_and_is_taken_too(images):
    engine, base = images
    archive = b"".join(image_archive(base, LAYERS, {"edge-toolkit.kind": "test"}, TAG, engine.save(base.id)))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        names = json.load(tar.extractfile("manifest.json"))[0]["Layers"]
        digests = [f"sha256:{hashlib.file_digest(tar.extractfile(name), 'sha256').hexdigest()}" for name in names]
    assert digests[:-1] == list(base.layers)
    engine.load([archive])
    assert list(engine.find(TAG).layers) == digests
