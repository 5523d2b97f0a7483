"""One spool hour into the archive: plan, upload, commit, and only then the deletion of local files.

Belongs here: every state in which a crash can leave an hour, and how it goes on from there. Does not belong here: which
hours are due (``archive.service``) and the bytes of an archive (``archive.packing``).
"""
