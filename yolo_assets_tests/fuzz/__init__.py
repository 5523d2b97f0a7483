"""Every parser of what others wrote, fed with whatever a coverage-guided fuzzer comes up with (atheris).

One file a parser: ``seeds()`` are good and odd examples, ``check(data)`` is the law for any bytes: a result of the
documented type or a ``UserError`` of one line, nothing else; what was accepted comes back the same when it is written
and read again. ``runner`` runs one of them, ``test_fuzz`` all of them: for seconds, or for ten minutes each in
``make soak``. What they find becomes a test of the room that was wrong, not a file here.
"""
