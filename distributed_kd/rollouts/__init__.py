"""Policies at play: collecting segments for the replay, and playing whole episodes for a score."""
