"""The report of a run: tables, charts, drawings."""
