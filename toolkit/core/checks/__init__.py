"""The checks of `edge doctor`, one module a subject."""
