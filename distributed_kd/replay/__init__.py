"""The shared memory of steps: laid out in segments, stored in a ring, drawn at a pace."""
