"""How fast uploads may go: the operator's rates, the limit that all processes share, the disk that overrides both."""
