"""Metrics of presentation attack detection."""
