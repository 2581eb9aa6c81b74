"""How many calls into environments this process has begun: what a heartbeat tells of. In here nothing is decided by it."""

_begun = 0


def begin() -> None:
    """Count one more call: one that is made, reset or stepped."""
    global _begun
    _begun += 1


def begun() -> int:
    """Calls so far, for a thread that looks whether the one that plays gets on."""
    return _begun
