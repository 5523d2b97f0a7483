"""How fast uploads may go: the operator's rates, the line that all processes share, the disk that overrides both."""
