"""Our rows as an Olive dataset, so that Olive's passes read them through a data config like any other."""

from __future__ import annotations

from typing import Any

from olive.data.registry import Registry

DATASET = "edge_rows"


@Registry.register_dataset(DATASET)
def edge_rows(rows: list[dict[str, list[int]]], **_unused: Any) -> list[dict[str, list[int]]]:
    """Rows that are tokenized already."""
    return rows


def data_config(name: str, rows: list[dict[str, list[int]]]) -> dict[str, Any]:
    """The data config of tokenized rows."""
    return {
        "name": name,
        "load_dataset_config": {"type": DATASET, "params": {"rows": rows}},
        "pre_process_data_config": {"type": "skip_pre_process"},
    }
