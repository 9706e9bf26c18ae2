"""Python reads this at its start where this folder is in PYTHONPATH: the stand-in is there before a server looks for its own `genai`."""

import genai  # noqa: F401
