"""An adapter file is held against the graph it is packaged with; a misfit is told by the name of its tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.exported import ADAPTER_INPUT, adapter, graph, packed
from toolkit.core import adapter_file, onnx_inputs
from toolkit.core.adapter_check import check, version_of
from toolkit.core.adapter_file import BadAdapter, TensorKind
from toolkit.errors import RunError

NAME = ADAPTER_INPUT
BASE = "ab12cd34" * 4


@pytest.fixture
def takes(tmp_path: Path) -> Path:
    return graph(tmp_path / "model.onnx", {"input_ids": ("batch", "length"), NAME: (300, "rank")}, BASE)


def test_both_files_tell_names_shapes_and_types(tmp_path, takes):
    found = adapter_file.read(adapter(tmp_path / "a", {NAME: np.ones((300, 4), np.float32)}, version=7))
    assert (found.model_version, found.tensors, found.unsound) == (7, {NAME: TensorKind((300, 4), "float32")}, ())
    read = onnx_inputs.read(takes)
    assert read.inputs[NAME] == TensorKind((300, None), "float32") and read.notes == {"edge.base": BASE}


def test_an_adapter_of_any_rank_fits_be_it_marked_or_older_than_marks(tmp_path, takes):
    for version, rank in ((1, 3), (version_of(BASE), 64)):
        check(adapter(tmp_path / "a", {NAME: np.ones((300, rank), np.float32)}, version), takes)


MISFITS = {
    "another width": ({NAME: np.ones((299, 4), np.float32)}, 1, 1, rf"{NAME} is \(299, 4\) of float32, the graph takes \(300, rank\)"),
    "another type": ({NAME: np.ones((300, 4), np.float16)}, 1, 10, "float16, the graph takes"),
    "an unknown name": ({"model.layers.9.mlp.up_proj.lora_A": np.ones((300, 4), np.float32)}, 1, 1, "no input model.layers.9"),
    "an input that is no adapter's": ({"input_ids": np.ones((1, 1), np.float32)}, 1, 1, "no input input_ids"),
    "rank 0": ({NAME: np.ones((300, 0), np.float32)}, 1, 1, "rank 0"),
    "no numbers": ({NAME: np.full((300, 4), np.nan, np.float32)}, 1, 1, f"{NAME} holds values that are no numbers"),
    "nothing": ({}, 1, 1, "no tensors"),
    "another base": ({NAME: np.ones((300, 4), np.float32)}, 99, 1, "another base model than ab12cd34ab12"),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_a_misfit_is_told_by_name(kind, tmp_path, takes):
    tensors, version, dtype, said = MISFITS[kind]
    with pytest.raises(RunError, match=said):
        check(adapter(tmp_path / "a.onnx_adapter", tensors, version, dtype), takes)


@pytest.mark.parametrize("length", [0, 6, 40, 200])
def test_a_file_that_is_cut_off_is_no_adapter(tmp_path, length, takes):
    path = adapter(tmp_path / "a.onnx_adapter", {NAME: np.ones((300, 4), np.float32)})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(RunError, match="is no adapter file"):
        check(path, takes)


O_PROJ = "model.layers.0.attn.o_proj"
PLACES = [["model.layers.0.attn.qkv_proj", 64, 192], [O_PROJ, 64, 64]]
PACK = "lora.pack"
UINT8 = 2


@pytest.fixture
def takes_one_tensor(tmp_path: Path) -> Path:
    return graph(tmp_path / "packed.onnx", {PACK: ("adapter_bytes",)}, BASE, UINT8, PLACES)


@pytest.mark.parametrize("ranks", [(8, 64), (0, 16)])
def test_an_adapter_in_one_tensor_fits_whatever_its_ranks(tmp_path, takes_one_tensor, ranks):
    tensor = packed((64, 192, ranks[0]), (64, 64, ranks[1]))
    check(adapter(tmp_path / "a", {PACK: tensor}, version_of(BASE), UINT8), takes_one_tensor)
    assert [branch.rank for branch in adapter_file.read(tmp_path / "a").branches] == list(ranks)


def damaged(at: int, value: bytes) -> np.ndarray:
    whole = bytearray(packed((64, 192, 8), (64, 64, 8)).tobytes())
    whole[at : at + len(value)] = value
    return np.frombuffer(bytes(whole), np.uint8)


MISFITS_INSIDE = {
    "another width": (packed((64, 192, 8), (96, 64, 8)), 1, rf"{O_PROJ} has 96 inputs and 64 outputs in it, the graph's has 64 and 64"),
    "fewer projections": (packed((64, 192, 8)), 1, "made for 1 projections, the graph has 2"),
    "no numbers": (packed((64, 192, 0), (64, 64, 8), weight=np.nan), 1, f"{O_PROJ} holds values that are no numbers"),
    "nothing": (packed((64, 192, 0), (64, 64, 0)), 1, "it changes no projection"),
    "another base": (packed((64, 192, 8), (64, 64, 8)), 99, "another base model than ab12cd34ab12"),
    "a changed weight": (damaged(-2 + packed((64, 192, 8), (64, 64, 8)).size, b"\0\0"), 1, "no adapter file, or it is damaged"),
    "without its mark": (damaged(0, b"X"), 1, "no adapter file, or it is damaged"),
    "cut off": (packed((64, 192, 8), (64, 64, 8))[:-10], 1, "no adapter file, or it is damaged"),
    "shorter than its head": (packed((64, 192, 8), (64, 64, 8))[:20], 1, "no adapter file, or it is damaged"),
}


@pytest.mark.parametrize("kind", MISFITS_INSIDE)
def test_a_misfit_inside_an_adapter_in_one_tensor_is_told_by_the_name_of_its_projection(kind, tmp_path, takes_one_tensor):
    tensor, version, said = MISFITS_INSIDE[kind]
    with pytest.raises(RunError, match=said):
        check(adapter(tmp_path / "a.onnx_adapter", {PACK: tensor}, version, UINT8), takes_one_tensor)


def test_an_adapter_in_one_tensor_and_a_graph_that_takes_many_do_not_fit(tmp_path, takes, takes_one_tensor):
    one = adapter(tmp_path / "one", {PACK: packed((64, 192, 8), (64, 64, 8))}, 1, UINT8)
    many = adapter(tmp_path / "many", {NAME: np.ones((300, 4), np.float32)})
    with pytest.raises(RunError, match="no input lora.pack"):
        check(one, takes)
    with pytest.raises(RunError, match=f"no input {NAME}"):
        check(many, takes_one_tensor)


def test_noise_is_neither_an_adapter_nor_a_graph(tmp_path):
    noise = tmp_path / "noise"
    noise.write_bytes(np.random.default_rng(1).bytes(5000))
    with pytest.raises(BadAdapter):
        adapter_file.read(noise)
    with pytest.raises(onnx_inputs.BadGraph):
        onnx_inputs.read(noise)
