"""Passwords and tokens out of what is written down. A record is made to be shared; nothing in it may open a door."""

from __future__ import annotations

import os
import re

_BLOT = "***"
_WITH_PASSWORD = re.compile(r"\b([A-Za-z][\w+.-]*://)[^/\s:@]*:[^/\s]*@")
_WITH_TOKEN = re.compile(r"\b(https?://)[^/\s]+@")
_IN_QUERY = re.compile(r"([?&][\w.-]*(?:api_?key|access_?key|secret|token|password|passwd|pwd)=)[^&\s#'\"]+", re.IGNORECASE)
_SECRET_NAME = re.compile(r"(^|_)(API_?KEY|ACCESS_KEY|SECRET|TOKEN|PASSWORD|PASSWD)(_|$)", re.IGNORECASE)
_SECRET_FLAG = re.compile(r"(token|password|secret|api[-_]?key)", re.IGNORECASE)
_SHORTEST = 8  # characters; shorter values ("true", "1") would blot out words that are no secret


def secret_values() -> list[str]:
    """The values of this process's environment whose names say that they are secret, longest first."""
    found = {value for name, value in os.environ.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST}
    return sorted(found, key=len, reverse=True)


def redact(text: str) -> str:
    """`text` with credentials in URLs, and whatever this process's environment calls a secret, blotted out."""
    if "://" in text:
        text = _WITH_TOKEN.sub(rf"\1{_BLOT}@", _WITH_PASSWORD.sub(rf"\1{_BLOT}@", text))
        text = _IN_QUERY.sub(rf"\1{_BLOT}", text)
    for value in secret_values():
        text = text.replace(value, _BLOT)
    return text


def redact_command(words: list[str]) -> list[str]:
    """A command line without credentials: in URLs, values of secret variables, and what follows a word like --token."""
    cleaned = [redact(word) for word in words]
    for i, word in enumerate(cleaned):
        if word.startswith("-") and _SECRET_FLAG.search(word):
            head, equals, _ = word.partition("=")
            if equals:
                cleaned[i] = f"{head}=***"
            elif i + 1 < len(cleaned):
                cleaned[i + 1] = "***"
    return cleaned
