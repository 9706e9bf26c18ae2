"""`python -m toolkit` is `edge`."""

from toolkit.cli import main

main()
