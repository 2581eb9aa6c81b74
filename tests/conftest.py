"""Standing here, it puts this folder on the import path; the small environments are known to every test."""

import small_environments  # noqa: F401
import torch

# The networks of these tests are small: threads that wait for one another on busy cores cost a hundred times the work.
torch.set_num_threads(1)
