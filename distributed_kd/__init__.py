"""Compress reinforcement-learning policies while they train: one DQN teacher and a family of students in one run."""

__version__ = "0.1.0"
