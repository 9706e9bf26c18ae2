"""Layers by name, what changed between two images, and what a device would really fetch."""

from __future__ import annotations

import pytest

from tests.fakes import FakeImages
from toolkit.core.engine import Image, ImageLayer
from toolkit.core.image_layers import compared, in_words, layers_of, packed_bytes, signs

RUNTIME = [ImageLayer("sha256:r1", 30, "runtime"), ImageLayer("sha256:r2", 97, "runtime")]
MODEL = ImageLayer("sha256:m", 100, "edge package: model")


def image(*own: ImageLayer, runtime=RUNTIME):
    layers = [*runtime, *own]
    engine = FakeImages(of_layers={layer.diff_id: layer for layer in layers})
    engine.known["x:1"] = Image("sha256:x", ("x:1",), 0, "", {}, tuple(layer.diff_id for layer in layers))
    return layers_of(engine, "x:1")


def adapter(name: str, content: str) -> ImageLayer:
    return ImageLayer(f"sha256:{content}", 20, f"edge package: adapter {name}")


def configuration(content: str = "c") -> ImageLayer:
    return ImageLayer(f"sha256:{content}", 1, "edge package: configuration")


def test_layers_are_named_by_the_images_history_base_first():
    layers = image(MODEL, adapter("travel", "t"), configuration())
    assert [layer.name for layer in layers] == ["runtime 1", "runtime 2", "model", "adapter travel", "configuration"]
    assert [layer.group for layer in layers] == ["runtime", "runtime", "model", "adapter", "configuration"]


def test_a_runtimes_layers_go_by_the_names_that_it_gives_them():
    named = [ImageLayer("sha256:r1", 30, "runtime: python"), ImageLayer("sha256:r2", 97, "runtime: server")]
    layers = image(MODEL, runtime=named)
    assert [(layer.name, layer.group) for layer in layers] == [("python", "runtime"), ("server", "runtime"), ("model", "model")]


def test_a_layer_that_is_not_ours_is_named_by_its_place():
    assert [(layer.name, layer.group) for layer in image(ImageLayer("sha256:z", 5, "/bin/sh -c true"), runtime=[])] == [
        ("layer 1", "other")
    ]


def test_an_adapter_called_like_a_group_stays_an_adapter():
    [layer] = image(adapter("model", "t"), runtime=[])
    assert (layer.group, layer.name) == ("adapter", "adapter model")


def test_an_image_that_is_not_there_has_no_layers():
    assert layers_of(FakeImages(), "nothing:1") == ()


def test_the_same_layers_are_kept_and_nothing_is_pulled():
    layers = image(MODEL, adapter("travel", "t"))
    told = compared(layers, layers, "x:0")
    assert set(signs(told).values()) == {"kept"}
    assert (told.new_bytes, told.pulled_bytes, told.kept_bytes) == (0, 0, 247)
    assert "pulls nothing" in in_words(told, 0)


def test_what_lies_above_a_changed_layer_is_pulled_again_though_it_is_kept():
    before = image(MODEL, adapter("persona", "p1"), adapter("travel", "t"), configuration())
    after = image(MODEL, adapter("persona", "p2"), adapter("travel", "t"), configuration())
    told = compared(after, before, "x:0")
    assert signs(told) == {
        "sha256:r1": "kept",
        "sha256:r2": "kept",
        "sha256:m": "kept",
        "sha256:p2": "new",
        "sha256:t": "again",
        "sha256:c": "again",
    }
    assert (told.new_bytes, told.pulled_bytes) == (20, 41)
    assert [layer.name for layer in told.gone] == ["adapter persona"]
    assert "adapter travel, configuration: unchanged, but above what changed" in in_words(told, None)


def test_a_changed_runtime_is_pulled_with_everything():
    before, after = image(MODEL), image(MODEL, runtime=[ImageLayer("sha256:r9", 50, "runtime")])
    assert [layer.name for layer in compared(after, before, "x:0").pulled] == ["runtime", "model"]


def test_an_image_with_one_more_layer_on_top_pulls_that_layer():
    before, after = image(MODEL), image(MODEL, adapter("travel", "t"))
    assert [layer.name for layer in compared(after, before, "x:0").pulled] == ["adapter travel"]


@pytest.mark.parametrize(("stored", "expected"), [({"sha256:m": 60, "sha256:t": 9}, 69), ({"sha256:m": 60}, None)])
def test_packed_bytes_are_told_only_where_every_layer_was_pushed(stored, expected):
    assert packed_bytes(image(MODEL, adapter("travel", "t"), runtime=[]), stored) == expected
