"""The page of a run: tables, charts, drawings."""
