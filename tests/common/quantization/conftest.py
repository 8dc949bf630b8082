"""Hypothesis keeps what it notes in a temporary folder: in its own, it would lie in the working folder.

It notes the first things when all tests have been collected, which is before any fixture.
"""

from __future__ import annotations

import tempfile

from hypothesis.configuration import set_hypothesis_home_dir

_FOLDER = tempfile.TemporaryDirectory(prefix="hypothesis-")
set_hypothesis_home_dir(_FOLDER.name)
