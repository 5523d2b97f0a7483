"""Text from outside (names of files, classes, batches), made safe to show to people."""


def plain(text: str) -> str:
    r"""Text with every character that is not seen as itself written out, like ``\u202e``: controls, directions."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
