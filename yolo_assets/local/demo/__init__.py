"""``make demo``: the whole loop with real files, inference, training and hot reload, and what it measured.

One step a function in ``steps``, in the order of ``story``; ``figures`` holds what was measured and prints it;
``screen`` is how it talks. Nothing in the table is typed in: a figure that was not measured is shown as a dash.
"""
