"""Olive's GPTQ, its result left as float weights on the grid: they can be trained on, and the exporter finds their codes.

Olive's own pass packs the weights at the end, and a packed model takes no adapter.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from olive.model import HfModelHandler
from olive.passes.olive_pass import PassConfigParam
from olive.passes.pytorch.common import inherit_hf_from_hf
from olive.passes.pytorch.gptq import Gptq
from olive.passes.pytorch.quant_utils import prepare_model, run_layerwise_quantization
from part_names import is_named
from torch import nn

from passes.grid import Grid
from passes.grid_file import write_grid

logger = logging.getLogger("edge.layers")


class GptqOnGrid(Gptq):
    """Round the linear layers of a decoder by GPTQ, those named in `keep` left alone."""

    @classmethod
    def _default_config(cls, accelerator_spec) -> dict[str, PassConfigParam]:
        own = {"keep": PassConfigParam(type_=list, default_value=[], description="Parts that are not rounded.")}
        return {**super()._default_config(accelerator_spec), **own}

    @torch.no_grad()
    def _run_for_config(self, model: HfModelHandler, config, output_model_path: str) -> HfModelHandler:
        wrapper, _, _ = prepare_model(model, config)
        network = wrapper.model
        dtype = network.dtype
        if not torch.cuda.is_available():
            network.float()  # a CPU is slow at 16-bit floats
        linears = _rounded_linears(network, config.keep)

        def process(linear: nn.Linear, _device: str) -> None:
            self.process_module(linear, percdamp=config.damp_percent, actorder=False)

        run_layerwise_quantization(
            model, wrapper, config.data_config,
            input_hook=self.accumulate_hessian, process_module=_told(process, linears),
            update_before_process=False, include_lm_head=False,
        )  # fmt: skip
        network.to(dtype).save_pretrained(output_model_path)
        model.save_metadata(output_model_path)
        points = {name: (linear.quant_info.scales, linear.quant_info.zero_points) for name, linear in linears.items()}
        write_grid(Path(output_model_path), Grid(int(config.bits), config.group_size, config.sym), points)
        return inherit_hf_from_hf(model, output_model_path)


def _rounded_linears(network: nn.Module, keep: list[str]) -> dict[str, nn.Linear]:
    """The linear layers to round, by name; what Olive has marked of the others is taken off."""
    marked = {name: module for name, module in network.named_modules() if hasattr(module, "quant_info")}
    layers = len(network.model.layers)
    for name in [name for name in marked if is_named(name, keep, layers)]:
        del marked.pop(name).quant_info
    return marked


def _told(process: Callable[[nn.Linear, str], None], linears: dict[str, nn.Linear]) -> Callable[[nn.Linear, str], None]:
    """`process`, telling after the last linear layer of each decoder layer how many are done."""
    decoder_layer = {linear: name.split(".layers.")[1].split(".")[0] for name, linear in linears.items()}
    left = Counter(decoder_layer.values())
    total = len(left)

    def told(linear: nn.Linear, device: str) -> None:
        process(linear, device)
        left[decoder_layer[linear]] -= 1
        if not left[decoder_layer[linear]]:
            done = total - sum(count > 0 for count in left.values())
            logger.info("layer %d of %d", done, total, extra={"done": done, "total": total, "measured": {}})

    return told
