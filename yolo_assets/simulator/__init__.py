"""A simulated factory line: weld seams that move past cameras, with defects whose place is known.

Belongs here: drawing frames, the truth about them, a clock that may run faster than real time, whole spool hours, and
an annotator that answers from the truth. Everything made here is simulated, and its files say so by their device id.
Does not belong here: anything that a real camera or a real person would not do; a model or a dataset never reads the
truth, it gets labels through the same import as human ones.
"""
