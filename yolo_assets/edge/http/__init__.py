"""The agent's local HTTP API and page.

Belongs here: routes, authentication, problem documents, pictures for people. Does not belong here: any decision; every
route reads the status or calls one method of ``control``, ``staging`` or ``results``.
"""
