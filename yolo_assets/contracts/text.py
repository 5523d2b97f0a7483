"""Text for people that strangers may have chosen: names of files, classes, batches."""


def plain(text: str) -> str:
    r"""Text with every character that is not seen as itself written out, like ``\u202e``: controls, directions."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
