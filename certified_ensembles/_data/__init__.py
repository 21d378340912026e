"""Rows at the door."""
