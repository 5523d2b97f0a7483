"""The archive as a file system: programs of others read archived frames in place, each one verified as it is read.

``ArchiveTree`` (``tree``) gives cameras, hours and files over an ``Archive``; ``ArchiveFileSystem``
(``archive_files``) makes of it what fsspec knows as ``yoloarchive://``; ``ArchivedFrames`` (``frames``) is a dataset
for PyTorch's loaders; ``sql`` gives DuckDB the bytes of frames. Reading needs the right to read the archive root, and
nothing else; the audit trail of the centre has no entry of it, as of any other program that reads a store. Does not
belong here: copying whole hours to a disk (``archive.restore``), and decoding pictures (``vision``).
"""
