"""Keeps what is secret from whoever reads the database: encrypted, with a key beside it, for its owner alone."""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

from packhorse.domain.errors import InvalidRequest, Unavailable

_KEY_BYTES = 44  # of base64, as Fernet has it


class Seal:
    """The key in ``file``, which is made when it is first needed."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def close(self, content: Any) -> bytes:
        """A JSON value, encrypted."""
        return bytes(self._fernet.encrypt(json.dumps(content).encode()))

    def open(self, sealed: bytes) -> Any:
        """The value again. Raises Unavailable where it was closed with another key."""
        from cryptography.fernet import InvalidToken

        try:
            return json.loads(self._fernet.decrypt(sealed))
        except InvalidToken:
            hint = "Put the key back with which this database was used before."
            raise Unavailable(
                f"What is sealed in the database does not open with the key in {self._file}.", hint=hint
            ) from None

    @cached_property
    def _key(self) -> bytes:
        from cryptography.fernet import Fernet  # slow to import, and most do without

        try:
            if self._file.stat().st_mode & 0o077:
                raise InvalidRequest(f"Others may read the key in {self._file}.", hint=f"chmod 600 {self._file}")
            key = self._file.read_bytes().strip()
        except FileNotFoundError:
            key = Fernet.generate_key()
            coming = self._file.with_name(f".{self._file.name}.{os.getpid()}")
            descriptor = os.open(coming, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(key + b"\n")
            try:
                os.link(coming, self._file)  # whoever comes first has made it
            except FileExistsError:
                key = self._file.read_bytes().strip()
            finally:
                coming.unlink()
        if len(key) != _KEY_BYTES:
            raise InvalidRequest(
                f"{self._file} holds no key.", hint="Put the key back that this database was used with."
            )
        return key

    @cached_property
    def _fernet(self) -> Any:
        from cryptography.fernet import Fernet

        return Fernet(self._key)
