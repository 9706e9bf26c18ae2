"""Requests of screens to the app: where to go next."""

from __future__ import annotations

from dataclasses import dataclass

from textual.message import Message


@dataclass
class ShowRun(Message):
    """Open one run."""

    run_id: str


@dataclass
class ShowPlace(Message):
    """Go to a place of the top bar."""

    place: str


@dataclass
class EditRecipe(Message):
    """Open a recipe in the form for a new run; empty: choose one there."""

    path: str = ""


@dataclass
class ShowImage(Message):
    """Open the images with this one chosen."""

    reference: str


@dataclass
class ChatWith(Message):
    """Open the chat with a packaged image, or a packaging run."""

    target: str


@dataclass
class Publish(Message):
    """Open the publishing of an image."""

    reference: str


@dataclass
class ConnectionMeasured(Message):
    """The terminal answered: so many seconds there and back. From the driver to the app."""

    round_trip: float
