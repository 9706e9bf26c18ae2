"""What decides: no terminal, no Docker, no Azure in here."""
