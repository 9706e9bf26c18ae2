"""Parts of screens. They speak upward by messages and are told things downward by methods."""
