"""Passes of ours that Olive runs beside its own."""
