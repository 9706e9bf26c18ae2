"""A LoRA adapter folded into the model it was trained on, as an Olive pass; the weights are then put on their grid again."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import torch
from olive.data.config import DataConfig
from olive.model import HfModelHandler
from olive.passes import Pass
from olive.passes.olive_pass import PassConfigParam
from olive.passes.pytorch.common import inherit_hf_from_hf
from part_names import is_named
from peft_adapter import Branches, read_branches
from step_io import StepError
from torch import nn

from passes.checkpoint import Checkpoint, PatchedCopy
from passes.decoder_shapes import Fold, folds_of
from passes.feedback_rounding import points_of, rounded_with_feedback
from passes.grid import Grid
from passes.grid_file import Points, read_points, write_grid
from passes.layer_inputs import Effort, Stream
from passes.layer_shelf import LayerShelf

logger = logging.getLogger("edge.layers")


class MergedAdapter(Pass):
    """Fold an adapter in. Only the layers that it was trained on change; all others stay exactly as they were."""

    @classmethod
    def _default_config(cls, accelerator_spec) -> dict[str, PassConfigParam]:
        return {
            "adapter": PassConfigParam(type_=str, required=True, description="Folder with PEFT's files."),
            "rounds": PassConfigParam(type_=bool, default_value=True, description="Put the sums on the grid; False: leave them as floats."),
            "bits": PassConfigParam(type_=int, default_value=4, description="Bits per weight."),
            "group_size": PassConfigParam(type_=int, default_value=32, description="Inputs that share a scale."),
            "symmetric": PassConfigParam(type_=bool, default_value=False, description="No zero points."),
            "keep": PassConfigParam(type_=list, default_value=[], description="Parts that are not rounded."),
            "data_config": PassConfigParam(type_=DataConfig | dict, default_value=None, description="Rows of equal length."),
        }

    @torch.no_grad()
    def _run_for_config(self, model: HfModelHandler, config, output_model_path: str) -> HfModelHandler:
        source, target = Path(model.model_path), Path(output_model_path)
        branches = read_branches(Path(config.adapter))
        check_fits(branches, Checkpoint(source))
        if config.rounds:
            rows = config.data_config.to_data_container().load_dataset()
            ids = torch.tensor([rows[number]["input_ids"] for number in range(len(rows))])
            grid = Grid(config.bits, config.group_size, config.symmetric)
            Merger(source, target, branches, grid, config.keep).merge(ids)
        else:
            add_plainly(source, target, branches)
        model.save_metadata(output_model_path)
        return inherit_hf_from_hf(model, output_model_path)


def weight_name(block: int, layer: str) -> str:
    return f"model.layers.{block}.{layer}.weight"


def check_fits(branches: Branches, base: Checkpoint) -> None:
    """
    Raises:
        StepError: the base has no such layer, or one of another size; the tensor and both shapes are told.
    """
    for (block, layer), branch in sorted(branches.items()):
        name, wanted = weight_name(block, layer), (branch.up.shape[1], branch.down.shape[0])
        if name not in base.places:
            raise StepError(f"The adapter is for {name}, which the model does not have.", "Train the adapter on this model.")
        has = tuple(base.read(name).shape)
        if has != wanted:
            raise StepError(
                f"The adapter is for {name} of {wanted}, the model's is {has}.", "It was trained on another model: train it on this one."
            )


def add_plainly(source: Path, target: Path, branches: Branches) -> None:
    """The sums as floats, in the file's own types."""
    base = Checkpoint(source)
    copy = PatchedCopy(base, target)
    for done, ((block, layer), branch) in enumerate(sorted(branches.items())):
        name = weight_name(block, layer)
        weight = base.read(name)
        copy.write(name, (weight.float() + _change(branch, "cpu")).to(weight.dtype))
        _tell(done + 1, len(branches), 0.0)
    copy.finish()


def _change(branch, device: torch.device | str) -> torch.Tensor:
    """What the adapter adds to a weight, `[out, in]`."""
    down, up = (torch.from_numpy(side.copy()).to(device) for side in (branch.down, branch.up))
    return (down @ up).T


class Merger:
    """Folds in and rounds layer by layer, each fed by the finished layers before it. One layer at a time is in memory."""

    def __init__(self, source: Path, target: Path, branches: Branches, grid: Grid, keep: list[str]) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.shelf = LayerShelf(source, target, self.device)
        self.target, self.branches, self.grid, self.keep = target, branches, grid, keep
        self.before = read_points(source)
        self.points: dict[str, Points] = {}

    def merge(self, ids: torch.Tensor) -> None:
        stream = Stream(self.shelf.embedded(ids), Effort.on(self.device).batch_tokens)
        kwargs = self.shelf.layer_kwargs(ids.shape[1])
        for number, layer in self.shelf.layers():
            began = time.monotonic()
            self._merge_layer(number, layer, stream, kwargs[number])
            self.shelf.round_to_stored_types(number, layer)
            self.shelf.keep(number, layer)
            stream.pass_in_place(layer, kwargs[number])
            _tell(number + 1, self.shelf.total, time.monotonic() - began)
        self.shelf.finish()
        write_grid(self.target, self.grid, {name: tuple(part.cpu() for part in points) for name, points in self.points.items()})

    def _merge_layer(self, number: int, layer: nn.Module, stream: Stream, kwargs: dict) -> None:
        names = {module: name for name, module in layer.named_modules()}
        folds = folds_of(layer, self.shelf.config)
        for linear in (linear for fold in folds for linear in fold.readers):
            place, full_name = (number, names[linear]), f"model.layers.{number}.{names[linear]}"
            if place in self.branches:
                linear.weight.data += _change(self.branches[place], self.device)
            elif not self._is_kept(full_name):
                self.points[full_name] = self.before.get(full_name) or points_of(linear.weight.data, self.grid)
        changed = [fold for fold in folds if any((number, names[linear]) in self.branches for linear in fold.readers)]
        moments = second_moments(layer, changed, stream, kwargs)
        for fold in changed:
            for linear in fold.readers:
                full_name = f"model.layers.{number}.{names[linear]}"
                if (number, names[linear]) in self.branches and not self._is_kept(full_name):
                    made = rounded_with_feedback(linear.weight.data, moments[fold.name], self.grid, fold.first_bounded_row(linear))
                    linear.weight.data, self.points[full_name] = made.weight, made.points

    def _is_kept(self, name: str) -> bool:
        return is_named(name, self.keep, self.shelf.total)


def second_moments(layer: nn.Module, folds: list[Fold], stream: Stream, kwargs: dict) -> dict[str, torch.Tensor]:
    """Mean products of each pair of inputs of a fold's readers, by the fold's name."""
    sums, seen = {}, 0

    def watcher(name: str):
        def watch(_module: nn.Module, args: tuple) -> None:
            inputs = args[0].flatten(0, -2)
            sums[name] = sums.get(name, 0) + inputs.T @ inputs

        return watch

    hooks = [fold.readers[0].register_forward_pre_hook(watcher(fold.name)) for fold in folds]
    for output in stream.through(layer, kwargs):
        seen += output.shape[0] * output.shape[1]
    for hook in hooks:
        hook.remove()
    return {name: total / seen for name, total in sums.items()}


def _tell(done: int, total: int, seconds: float) -> None:
    logger.info("layer %d of %d", done, total, extra={"done": done, "total": total, "measured": {"seconds": seconds}})
