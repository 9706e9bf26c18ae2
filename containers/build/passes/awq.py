"""Activation-aware weight quantisation as an Olive pass: float weights in, float weights on the int4 grid out.

The scales are folded into the norms and linear layers before, so that what comes out is an ordinary model: LoRA trains
on exactly the weights that the device will compute with, and the exporter's rounding finds the same grid again.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import torch
from olive.data.config import DataConfig
from olive.model import HfModelHandler
from olive.passes import Pass
from olive.passes.olive_pass import PassConfigParam
from olive.passes.pytorch.common import inherit_hf_from_hf
from olive.passes.pytorch.train_utils import load_hf_base_model
from torch import nn

from passes.awq_search import Effort, LayerReport, LayerSearch
from passes.decoder_shapes import check_known, folds_of
from passes.grid import Grid

LAYER_LOGGER = "edge.layers"
"""Each finished layer is a record here, with `done`, `total` and `measured` on it: whoever shows progress listens."""

GRID_FILE = "grid.json"
"""Left beside the weights: the grid they lie on."""

PLAIN_EFFORT = Effort()

logger = logging.getLogger(LAYER_LOGGER)


class FoldedRounding(Pass):
    """Round the linear layers of a decoder onto the int4 grid, with or without the activation-aware search."""

    @classmethod
    def _default_config(cls, accelerator_spec) -> dict[str, PassConfigParam]:
        return {
            "is_aware": PassConfigParam(type_=bool, default_value=True, description="False: plain rounding."),
            "bits": PassConfigParam(type_=int, default_value=4, description="Bits per weight."),
            "group_size": PassConfigParam(type_=int, default_value=32, description="Inputs that share a scale."),
            "symmetric": PassConfigParam(type_=bool, default_value=False, description="No zero points."),
            "data_config": PassConfigParam(type_=DataConfig | dict, default_value=None, description="Calibration rows of equal length."),
        }

    @torch.no_grad()
    def _run_for_config(self, model: HfModelHandler, config, output_model_path: str) -> HfModelHandler:
        network = load_hf_base_model(model, device_map=None)
        check_known(network.config)
        grid = Grid(config.bits, config.group_size, config.symmetric)
        if config.is_aware:
            fold_and_round(network, _calibration_ids(config.data_config), grid)
        else:
            round_plainly(network, grid)
        network.save_pretrained(output_model_path)
        model.save_metadata(output_model_path)
        note = {"bits": grid.bits, "group_size": grid.group_size, "symmetric": grid.symmetric}
        (Path(output_model_path) / GRID_FILE).write_text(json.dumps(note), encoding="utf-8")
        return inherit_hf_from_hf(model, output_model_path)


def _calibration_ids(data_config: DataConfig) -> torch.Tensor:
    rows = data_config.to_data_container().load_dataset()
    return torch.tensor([rows[number]["input_ids"] for number in range(len(rows))])


def round_plainly(network: nn.Module, grid: Grid) -> None:
    """Round every linear layer of the decoder to the nearest point of the grid."""
    layers = network.model.layers
    for number, layer in enumerate(layers):
        for fold in folds_of(layer, network.config):
            for linear in fold.readers:
                linear.weight.data = grid.rounded(linear.weight.data.float()).to(linear.weight.dtype)
        _tell(number, len(layers), {})


def fold_and_round(network: nn.Module, calibration_ids: torch.Tensor, grid: Grid, effort: Effort = PLAIN_EFFORT) -> None:
    """Search, fold and round one layer after the other, each fed by the rounded layers before it.

    Only the layer being worked on is on the accelerator, in float32.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    hidden, kwargs = _inputs_of_first_layer(network, calibration_ids)
    hidden, kwargs = hidden.to(device, torch.float32), _moved(kwargs, device)
    layers = network.model.layers
    for number, layer in enumerate(layers):
        began, dtype = time.monotonic(), layer.self_attn.o_proj.weight.dtype
        layer.to(device, torch.float32)
        report = LayerSearch(layer, network.config, grid, hidden, kwargs, effort).find_and_fold()
        hidden = report.output
        layer.to("cpu", dtype)
        _tell(number, len(layers), _measured(report, time.monotonic() - began))


def _measured(report: LayerReport, seconds: float) -> dict[str, float]:
    return {"seconds": seconds, "plain_error": report.plain_error, "found_error": report.found_error}


def _tell(number: int, total: int, measured: dict[str, float]) -> None:
    extra = {"done": number + 1, "total": total, "measured": measured}
    logger.info("layer %d of %d", number + 1, total, extra=extra)


class _FirstLayerReached(Exception):
    """Ends a forward pass once we know what goes into the first layer."""


def _inputs_of_first_layer(network: nn.Module, ids: torch.Tensor) -> tuple[torch.Tensor, dict]:
    seen = {}

    def remember(_module: nn.Module, args: tuple, kwargs: dict) -> None:
        seen["kwargs"] = dict(kwargs)
        seen["hidden"] = args[0] if args else seen["kwargs"].pop("hidden_states")
        raise _FirstLayerReached

    hook = network.model.layers[0].register_forward_pre_hook(remember, with_kwargs=True)
    try:
        network(input_ids=ids, use_cache=False)
    except _FirstLayerReached:
        pass
    finally:
        hook.remove()
    return seen["hidden"], seen["kwargs"]


def _moved(value: object, device: torch.device) -> object:
    """The same on another device, in float32 where it is a float."""
    if isinstance(value, torch.Tensor):
        return value.to(device, torch.float32) if value.is_floating_point() else value.to(device)
    if isinstance(value, dict):
        return {name: _moved(part, device) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_moved(part, device) for part in value)
    return value
