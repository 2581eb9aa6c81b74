"""Standing here, it puts this folder on the import path; the small environments are known to every test."""

import small_environments  # noqa: F401
