"""Thin Ray shells around plain classes: what crosses between processes, and nothing else."""
