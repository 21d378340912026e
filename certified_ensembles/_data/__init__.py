"""Rows at the door: one canonical form of a table, made once.

What enters: rows in any container (`containers.as_table`, `validation.validate_rows`): arrays,
lists, dataframes of pandas or polars, sparse matrices, texts, files larger than memory. It becomes
a `table.Table`: numbers in one block, every other column as codes for its different cells. What
leaves: hashes and the order of rows (`canonical`), slices, and rows in the form in which a member
gets them (`views.View`).

The rule of this room: a row is its values. What carries them does not count, and neither do the
rows beside it. A member's view of a column follows from its own rows, a test row's from its
member. No other room asks what container rows came in.
"""
