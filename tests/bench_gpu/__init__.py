"""What a machine with a GPU measures: `make bench-gpu`."""
