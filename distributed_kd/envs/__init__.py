"""Environments by id: what a run must know of one, and lanes of many stepped together."""
