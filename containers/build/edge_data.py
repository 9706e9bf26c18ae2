"""Our rows as an Olive dataset, so that Olive's passes read them through a data config like any other."""

from __future__ import annotations

from typing import Any

from olive.data.registry import Registry

DATASET = "edge_rows"
SEQUENCES = "edge_sequences"


@Registry.register_dataset(DATASET)
def edge_rows(rows: list[dict[str, list[int]]], **_unused: Any) -> list[dict[str, list[int]]]:
    """Rows that are tokenized already."""
    return rows


@Registry.register_dataset(SEQUENCES)
def edge_sequences(rows: list[dict[str, list[int]]], **_unused: Any) -> list[tuple[dict[str, Any], int]]:
    """The same as Olive's own calibration wants them: tensors of what goes in, and a label that nobody reads."""
    import torch

    ids = [torch.tensor(row["input_ids"]) for row in rows]
    return [({"input_ids": row, "attention_mask": torch.ones_like(row)}, 0) for row in ids]


def data_config(name: str, rows: list[dict[str, list[int]]], dataset: str = DATASET) -> dict[str, Any]:
    """The data config of tokenized rows."""
    return {
        "name": name,
        "load_dataset_config": {"type": dataset, "params": {"rows": rows}},
        "pre_process_data_config": {"type": "skip_pre_process"},
    }
