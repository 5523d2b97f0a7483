"""The agent's local HTTP API and page.

Belongs here: routes, authentication, problem documents, pictures for viewers. Does not belong here: any decision; every
route reads a report or calls one method of the part that it is about.
"""
