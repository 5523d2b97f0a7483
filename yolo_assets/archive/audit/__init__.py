"""Checks archives that are in the store, one by one or by rotating audits. Changes nothing."""
