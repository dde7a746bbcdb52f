"""Pictures that are put into a page, each once, within a limit of bytes."""

import base64
import hashlib
from pathlib import Path

_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


class Pictures:
    """Pictures as data URIs by a key of their content.

    Args:
        most_bytes: of all files together; what would go beyond is not taken in.
    """

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes
        self._keys: dict[Path, str] = {}
        self.uris: dict[str, str] = {}
        self.refused = 0

    def add(self, path: Path) -> str | None:
        """Take in a file and give its key; None if it cannot be read or there is no room for it."""
        if path in self._keys:
            return self._keys[path]
        try:
            content = path.read_bytes()
        except OSError:
            return None
        key = hashlib.sha256(content).hexdigest()[:12]
        if key not in self.uris:
            kind = _TYPES.get(path.suffix.lower())
            if kind is None or len(content) > self._left:
                self.refused += 1
                return None
            self._left -= len(content)
            self.uris[key] = f"data:{kind};base64,{base64.b64encode(content).decode()}"
        self._keys[path] = key
        return key
