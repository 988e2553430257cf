"""Know which versions the notebooks were run with: those that notebooks/requirements.txt pins."""

import re
from pathlib import Path

PINS = Path(__file__).resolve().parents[2] / "notebooks" / "requirements.txt"


def pins():
    """The pinned versions by package."""
    return dict(re.findall(r"^([\w-]+)==(\S+)", PINS.read_text(encoding="utf8"), re.MULTILINE))
