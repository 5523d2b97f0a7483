"""The spool: where frames and records are stored on the device, one folder per camera and hour, and how it is read.

Belongs here: writing an hour crash-safely (``writer``), frame accounting (``frame_journal``), finding hours and
deciding whether they are closed (``hours``), what the files of an hour say about single frames (``traces``), reading
records of any producer (``records``), what a full disk means (``files``, ``pressure``). Does not belong here: packing,
uploading and deleting, which are the archiver's (``archive``), and what records mean (``tables``).
"""
