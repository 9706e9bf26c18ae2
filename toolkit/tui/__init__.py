"""The terminal UI. It is not there yet: `edge` without a command says so."""
