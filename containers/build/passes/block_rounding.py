"""Olive's rounding of exported graphs to 8 bits, with the names of the graph's outputs left alone."""

from __future__ import annotations

from olive.passes.onnx.rtn_quantization import OnnxBlockWiseRtnQuantization


class BlockRounding(OnnxBlockWiseRtnQuantization):
    """Olive renames what a rounded node makes, even where the runtime knows it by name (`logits`)."""

    def _quantize_model(self, ir_model, *args, **kwargs) -> None:
        names = [output.name for output in ir_model.graph.outputs]
        super()._quantize_model(ir_model, *args, **kwargs)
        for output, name in zip(ir_model.graph.outputs, names, strict=True):
            output.name = name
