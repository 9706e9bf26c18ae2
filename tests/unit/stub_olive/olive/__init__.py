"""Stands in for Olive: notes the configuration that a step hands over, and ends it there."""
