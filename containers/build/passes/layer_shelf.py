"""The layers of a model, one at a time: from the folder to the device in float32, and back in the folder's own types.

The next layer is read and the last one written by threads beside the work on the present one.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from decoder_types import check_known
from part_names import is_named
from step_io import StepError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from passes.checkpoint import Checkpoint, PatchedCopy
from passes.decoder_shapes import Fold, folds_of

EMBEDDING, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"


class LayerShelf:
    """A decoder whose layers are handed out one after the other; those that are kept go into a copy of the model."""

    def __init__(self, source: Path, target: Path, device: torch.device, keep: tuple[str, ...] = ()) -> None:
        self.device, self.kept_parts = device, keep
        self.config = AutoConfig.from_pretrained(source)
        check_known(self.config.to_dict())
        self.checkpoint = Checkpoint(source)
        self.copy = PatchedCopy(self.checkpoint, target)
        with torch.device("meta"):
            self.network = AutoModelForCausalLM.from_config(self.config, attn_implementation="sdpa", dtype=torch.float32).eval()
        self.total = len(self.network.model.layers)
        self._reader, self._writer = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._reading_stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._writing: list[Future] = []

    def embedded(self, ids: torch.Tensor) -> torch.Tensor:
        """What goes into the first layer."""
        table = self.checkpoint.read(EMBEDDING)
        return torch.stack([table[row].to(self.device, torch.float32) for row in ids])

    def layer_kwargs(self, length: int) -> list[dict]:
        """What each layer is told besides its input, for rows of `length` tokens: places, and the mask where it needs one."""
        model = self.network.model
        model.rotary_emb = type(model.rotary_emb)(config=self.config).to(self.device)
        seen: list[dict] = []

        def note(hidden_states: torch.Tensor, **kwargs) -> torch.Tensor:
            seen.append(kwargs)
            return hidden_states

        for layer in model.layers:
            layer.forward = note
        kept_norm, model.norm = model.norm, nn.Identity()
        try:
            model(inputs_embeds=torch.zeros(1, length, self.config.hidden_size, device=self.device), use_cache=False)
        finally:
            model.norm = kept_norm
            for layer in model.layers:
                del layer.forward
        return seen

    def norm_and_head(self) -> tuple[nn.Module, torch.Tensor]:
        """What comes after the last layer."""
        norm = self.network.model.norm
        norm.load_state_dict({"weight": self._on_device(NORM)}, assign=True)
        is_tied = self.config.tie_word_embeddings or HEAD not in self.checkpoint.places
        return norm, self._on_device(EMBEDDING if is_tied else HEAD)

    def _on_device(self, name: str) -> torch.Tensor:
        return self.checkpoint.read(name).to(self.device, torch.float32)

    def layers(self) -> Iterator[tuple[int, nn.Module]]:
        """Each layer on the device, in float32. It is gone when the next one is asked for."""
        coming = self._reader.submit(self._read, 0)
        for number, layer in enumerate(self.network.model.layers):
            read = coming.result()
            if number + 1 < self.total:
                coming = self._reader.submit(self._read, number + 1)
            layer.load_state_dict({name: self._taken(tensor) for name, tensor in read.items()}, assign=True)
            yield number, layer
            layer.to("meta")

    def _read(self, number: int) -> dict[str, torch.Tensor]:
        names = self.checkpoint.under(f"model.layers.{number}.")
        wanted = self.network.model.layers[number].state_dict().keys()
        missing = sorted(wanted - names.keys())
        if missing:
            raise StepError(f"The model has no weights model.layers.{number}.{missing[0]}.", "Fetch the model again.")
        if self._reading_stream is None:
            return {name: self.checkpoint.read(names[name]) for name in wanted}
        with torch.cuda.stream(self._reading_stream):
            read = {name: self.checkpoint.read(names[name]).to(self.device) for name in wanted}
        self._reading_stream.synchronize()
        return read

    def _taken(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the reading thread, as this one may work on it."""
        if tensor.is_cuda:
            tensor.record_stream(torch.cuda.current_stream(self.device))
        return tensor.to(torch.float32, copy=True)

    def keep(self, number: int, layer: nn.Module) -> None:
        """Write the layer into the copy; afterwards it holds what was written, rounded to the file's types."""
        for writing in self._writing:
            writing.result()
        self._writing = [
            self._writer.submit(self.copy.write, f"model.layers.{number}.{name}", parameter.data)
            for name, parameter in layer.named_parameters()
        ]

    def rounded_folds(self, number: int, layer: nn.Module) -> tuple[Fold, ...]:
        """The layer's folds, without the linear layers that are to stay floats among the rounded ones."""
        names = {module: f"model.layers.{number}.{name}" for name, module in layer.named_modules()}

        def is_rounded(linear: nn.Linear) -> bool:
            return not is_named(names[linear], self.kept_parts, self.total)

        return tuple(replace(fold, rounded=tuple(filter(is_rounded, fold.readers))) for fold in folds_of(layer, self.config))

    def round_to_stored_types(self, number: int, layer: nn.Module) -> None:
        """Give the layer's weights, still in float32, the values that they will have in the file."""
        for name, parameter in layer.named_parameters():
            parameter.data = parameter.data.to(self.checkpoint.dtype(f"model.layers.{number}.{name}")).float()

    def finish(self) -> None:
        """Wait until all is written, and copy the rest of the model."""
        for writing in self._writing:
            writing.result()
        self.copy.finish()
        self._reader.shutdown()
        self._writer.shutdown()
