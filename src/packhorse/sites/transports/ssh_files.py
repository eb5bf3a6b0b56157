"""Files by SFTP in few round trips: requests that do not need each other's answers go out together, and are served in
order.
"""

from __future__ import annotations

import asyncio
import posixpath
import re
from collections.abc import Coroutine
from typing import Any, cast

import asyncssh
from asyncssh.sftp import start_sftp_client

from packhorse.sites.transports.framing import for_people

_BLOCK_BYTES = 256 << 10

#: What a umask there may narrow, and never widen.
_FOLDER, _PRIVATE, _FILE = (asyncssh.SFTPAttrs(permissions=mode) for mode in (0o755, 0o700, 0o644))

Requests = list[Coroutine[Any, Any, Any]]


class SaysElse(Exception):
    """Instead of a file service, text came, which is the message."""


#: How the first answer begins: its length, its kind, and the version of SFTP.
_FIRST = re.compile(rb"\0\0..\x02\0\0\0[\x03-\x06]", re.DOTALL)
_FIRST_BYTES = 9


class _AfterNoise:
    """The answers of a file service.

    Where the user's shell starts it, what start files print comes before the first of them.
    """

    def __init__(self, reader: asyncssh.SSHReader[bytes]) -> None:
        self._reader = reader
        self._ahead: bytes | None = None

    async def readexactly(self, size: int) -> bytes:
        """As StreamReader's."""
        if self._ahead is None:
            self._ahead = await self._first()
        ahead, self._ahead = self._ahead[:size], self._ahead[size:]
        return ahead + await self._reader.readexactly(size - len(ahead)) if len(ahead) < size else ahead

    async def _first(self) -> bytes:
        try:
            return (await self._reader.readuntil(_FIRST, _FIRST_BYTES))[-_FIRST_BYTES:]
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                raise
            raise SaysElse(for_people(error.partial)) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


async def open_files(connection: asyncssh.SSHClientConnection) -> asyncssh.SFTPClient:
    """The file service of a site, whatever is printed there before it starts.

    Raises SaysElse, and what asyncssh raises.
    """
    # as SSHClientConnection.start_sftp_client does
    writer, reader, _ = await connection.open_session(subsystem="sftp", env=None, send_env=None, encoding=None)
    quiet = cast("asyncssh.SSHReader[bytes]", _AfterNoise(cast("asyncssh.SSHReader[bytes]", reader)))
    return await start_sftp_client(
        connection,
        asyncio.get_running_loop(),
        "replace",
        quiet,
        cast("asyncssh.SSHWriter[bytes]", writer),
        "utf-8",
        "strict",
        3,
    )


async def together(requests: Requests) -> list[Any]:
    """Sends all requests, in order, before it waits for an answer; raises the first error when all are answered."""
    answers = await asyncio.gather(*requests, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers


def writes(sftp: asyncssh.SFTPClient, file: asyncssh.SFTPClientFile, data: bytes, offset: int) -> Requests:
    """The requests that write ``data``; ``file`` is one of ``open_file``."""
    block = _block_bytes(sftp.limits.max_write_len)
    return [file.write(data[start : start + block], offset + start) for start in range(0, len(data), block)]


async def open_file(
    sftp: asyncssh.SFTPClient, path: bytes, mode: str, attributes: asyncssh.SFTPAttrs | None = None
) -> asyncssh.SFTPClientFile:
    """A file each of whose reads and writes is one request."""
    return await sftp.open(path, mode, attributes or _FILE, block_size=0)


async def read_file(sftp: asyncssh.SFTPClient, path: bytes, offset: int, limit: int) -> bytes:
    """At most ``limit`` bytes from ``offset``, in two round trips."""
    file = await open_file(sftp, path, "rb")
    block = _block_bytes(sftp.limits.max_read_len)
    sizes = [min(block, limit - start) for start in range(0, limit, block)]
    requests: Requests = [
        file.read(size, start) for size, start in zip(sizes, range(offset, offset + limit, block), strict=True)
    ]
    parts: list[bytes] = (await together([*requests, file.close()]))[:-1]
    for index, (part, size) in enumerate(zip(parts, sizes, strict=True)):
        if len(part) < size:  # the end, as it was then; what was written meanwhile may follow in later parts
            return b"".join(parts[: index + 1])
    return b"".join(parts)


async def append_file(sftp: asyncssh.SFTPClient, path: bytes, data: bytes) -> None:
    """Adds to a file, in two round trips."""
    file = await open_file(sftp, path, "ab")
    await together([*writes(sftp, file, data, 0), file.close()])


async def discard(sftp: asyncssh.SFTPClient, file: asyncssh.SFTPClientFile, path: bytes) -> None:
    """Leaves nothing of a file that could not be written whole."""
    await asyncio.gather(file.close(), sftp.remove(path), return_exceptions=True)


async def make_folder(
    sftp: asyncssh.SFTPClient, path: bytes, *, private: bool = False, has_parent: bool = False
) -> None:
    """From below: mostly the parents are there, and one request does it."""
    try:
        await sftp.mkdir(path, _PRIVATE if private else _FOLDER)
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        parent = posixpath.dirname(path.rstrip(b"/"))
        if has_parent or parent in (b"", path):  # such as /proc, where nobody can make any
            raise
        await make_folder(sftp, parent)
        await make_folder(sftp, path, private=private, has_parent=True)
    except asyncssh.SFTPError:
        if not await sftp.isdir(path):
            if await sftp.lexists(path):
                raise asyncssh.SFTPFileAlreadyExists("there is a file of that name") from None
            raise


async def names_in(sftp: asyncssh.SFTPClient, folder: bytes) -> list[bytes]:
    """The names in a folder, in two round trips unless there are hundreds."""
    # SFTPClient.scandir asks for a packet of names, waits, asks again to learn that there are no more, waits, closes,
    # waits
    handler = sftp._handler
    handle = await handler.opendir(folder)
    names: list[bytes] = []
    ahead = 2
    try:
        while True:
            answers = await asyncio.gather(*(handler.readdir(handle) for _ in range(ahead)), return_exceptions=True)
            for answer in answers:
                if isinstance(answer, asyncssh.SFTPEOFError):
                    return [name for name in names if name not in (b".", b"..")]
                if isinstance(answer, BaseException):
                    raise answer
                names += [cast(bytes, entry.filename) for entry in answer[0]]
            ahead = min(2 * ahead, 32)
    finally:
        _unawaited(handler.close(handle))


async def remove_file(sftp: asyncssh.SFTPClient, path: bytes) -> bool:
    """Removes a file, if it is there. False when it is a folder, which stays."""
    attributes, answer = await asyncio.gather(sftp.lstat(path), sftp.remove(path), return_exceptions=True)
    if isinstance(attributes, asyncssh.SFTPAttrs) and attributes.type == asyncssh.FILEXFER_TYPE_DIRECTORY:
        return False
    if isinstance(answer, BaseException) and not isinstance(answer, (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)):
        raise answer
    return True


async def is_full(sftp: asyncssh.SFTPClient, path: bytes) -> bool:
    """Whether there is no room left where ``path`` is."""
    room = await sftp.statvfs(posixpath.dirname(path) or b".")
    return (room.blocks > 0 and room.bavail == 0) or (room.files > 0 and room.favail == 0)


def _block_bytes(limit: int) -> int:
    return min(limit or _BLOCK_BYTES, _BLOCK_BYTES)


_closing: set[asyncio.Task[None]] = set()


def _unawaited(request: Coroutine[Any, Any, None]) -> None:
    """Sends a request whose answer does not matter."""

    def forget(task: asyncio.Task[None]) -> None:
        _closing.discard(task)
        if not task.cancelled():
            task.exception()

    task = asyncio.get_running_loop().create_task(request)
    _closing.add(task)
    task.add_done_callback(forget)
