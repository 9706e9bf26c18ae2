"""Activation-aware weight quantisation as an Olive pass: float weights in, float weights on the int4 grid out.

The scales are folded into the norms and linear layers before, so that what comes out is an ordinary model: LoRA trains
on exactly the weights that the device will compute with, and the exporter's rounding finds the same grid again.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

import torch
from olive.data.config import DataConfig
from olive.model import HfModelHandler
from olive.passes import Pass
from olive.passes.olive_pass import PassConfigParam
from olive.passes.pytorch.common import inherit_hf_from_hf

from passes.awq_fold import fold_and_round, round_plainly
from passes.grid import Grid
from passes.grid_file import GRID_FILE

LAYER_LOGGER = "edge.layers"
"""Each finished layer is a record here, with `done`, `total` and `measured` on it: whoever shows progress listens.

The last record has a `summary` instead: what became of the whole model.
"""

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
            "keep": PassConfigParam(type_=list, default_value=[], description="Parts that are not rounded."),
            "data_config": PassConfigParam(type_=DataConfig | dict, default_value=None, description="Calibration rows of equal length."),
        }

    def _run_for_config(self, model: HfModelHandler, config, output_model_path: str) -> HfModelHandler:
        source, target = Path(model.model_path), Path(output_model_path)
        grid = Grid(config.bits, config.group_size, config.symmetric)
        if config.is_aware:
            report = fold_and_round(source, target, _calibration_ids(config.data_config), grid, _tell, keep=tuple(config.keep))
            logger.info("%s", report, extra={"summary": report.as_metrics()})
        else:
            round_plainly(source, target, grid, _tell, keep=tuple(config.keep))
        model.save_metadata(output_model_path)
        (target / GRID_FILE).write_text(json.dumps(asdict(grid)), encoding="utf-8")
        return inherit_hf_from_hf(model, output_model_path)


def _calibration_ids(data_config: DataConfig) -> torch.Tensor:
    rows = data_config.to_data_container().load_dataset()
    return torch.tensor([rows[number]["input_ids"] for number in range(len(rows))])


def _tell(number: int, total: int, measured: dict[str, float]) -> None:
    extra = {"done": number + 1, "total": total, "measured": measured}
    logger.info("layer %d of %d", number + 1, total, extra=extra)
