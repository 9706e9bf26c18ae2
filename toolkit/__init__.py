"""olive-edge-toolkit: from a recipe to a verified, pushed edge image. Start at `toolkit.cli` or `toolkit.core.lifecycle`."""
