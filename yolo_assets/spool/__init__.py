"""The spool: where frames and records land on the box, one folder per camera and hour, and how it is read.

Belongs here: writing an hour crash-safely (``writer``), finding and judging hours (``hours``), reading records from
files of any producer (``records``), the few file operations that must survive a power cut (``files``). Does not belong
here: packing, uploading and deleting, which are the archiver's (``archive``), and what records mean (``detections``).
"""
