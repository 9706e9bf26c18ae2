"""One module a screen, its looks in a .tcss beside it."""
