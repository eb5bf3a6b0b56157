"""A site that is reached by SSH: commands by exec channels, files by one SFTP channel, all over one connection."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import secrets
import stat
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

import asyncssh

from packhorse.sites.base import CommandResult, SiteUnreachable
from packhorse.sites.environment import Composer, Purpose
from packhorse.sites.script import in_environment
from packhorse.sites.transports import ssh_files as files
from packhorse.sites.transports.framing import Framed, Stream
from packhorse.sites.transports.ssh_link import Session, SshLink
from packhorse.sites.transports.ssh_options import SshOptions
from packhorse.sites.transports.ssh_reasons import Reason, file_error, why_no_result, why_unreachable

T = TypeVar("T")
Process = asyncssh.SSHClientProcess[bytes]

_CHUNK_BYTES = 4 << 20
"""What is under way at once of a large file: enough for a fast line, and little for others to wait behind."""
_ANSWER_S = 60.0
"""A site that keeps the connection alive but does not answer a file request for so long is taken for unreachable."""
_REMOVE_S = 600.0
_READ_BYTES = 1 << 18
_LINGER_S = 1.0
"""How long the login shell may go on when the command has ended; then its channel is closed, whatever still holds it.
"""
_CHANNEL_WAITS_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""OpenSSH counts a channel that has just been closed for a moment longer; and MaxSessions may be fewer than ours."""


class SshTransport:
    """The Transport of a site with a login node. Methods may be called by several threads at once."""

    is_local = False

    def __init__(
        self, options: SshOptions, composer: Composer | None = None, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._options = options
        self._composer = composer or Composer()
        self._link = SshLink(options, monotonic)

    def close(self) -> None:
        """Ends the connection; every later call raises SiteUnreachable."""
        self._link.wait_for(self._link.close())

    def run(
        self, argv: list[str], *, timeout_s: float = 60.0, purpose: Purpose = Purpose.COMMAND, stdin: bytes = b""
    ) -> CommandResult:
        """A program that is not there is exit code 127, since the shell at the site looks for it; a signal is its
        negative number.

        What the login shell prints by itself, before or after, is left out.
        """
        composed = argv if purpose is Purpose.LOOK or not argv else in_environment(argv, self._composer.names(purpose))
        return self._link.wait_for(self._run(argv[0] if argv else "", Framed(composed), timeout_s, stdin))

    def make_folder(self, path: str, *, private: bool = False) -> None:
        with self._telling_full(path):
            self._ask(path, lambda sftp: files.make_folder(sftp, _encoded(path), private=private))

    def write(self, path: str, data: bytes) -> None:
        self._upload(io.BytesIO(data), path, None)

    def append(self, path: str, data: bytes) -> None:
        with self._telling_full(path):
            self._ask(path, lambda sftp: files.append_file(sftp, _encoded(path), data))

    def put(self, source: Path, target: str) -> None:
        """Takes the file's permissions and times along."""
        with open(source, "rb") as file:
            was = os.fstat(file.fileno())
            attributes = asyncssh.SFTPAttrs(
                permissions=stat.S_IMODE(was.st_mode), atime=int(was.st_atime), mtime=int(was.st_mtime)
            )
            self._upload(file, target, attributes)

    def read(self, path: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
        return self._ask(path, lambda sftp: files.read_file(sftp, _encoded(path), offset, limit))

    def names(self, folder: str) -> list[str]:
        try:
            found = self._ask(folder, lambda sftp: files.names_in(sftp, _encoded(folder)))
        except FileNotFoundError:
            if self.exists(folder):  # SFTP does not tell the two apart
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder) from None
            return []
        return sorted(os.fsdecode(name) for name in found)

    def rename(self, source: str, target: str) -> bool:
        try:
            self._ask(source, lambda sftp: sftp.posix_rename(_encoded(source), _encoded(target)))
        except FileNotFoundError:
            return False
        return True

    def exists(self, path: str) -> bool:
        try:
            self._ask(path, lambda sftp: sftp.lstat(_encoded(path)))
        except OSError:
            return False
        return True

    def remove(self, path: str) -> None:
        if not self._ask(path, lambda sftp: files.remove_file(sftp, _encoded(path))):
            # one command, where SFTP takes requests for every file
            self.run(["rm", "-rf", "--", path], timeout_s=_REMOVE_S)

    def _upload(self, source: BinaryIO | io.BytesIO, target: str, attributes: asyncssh.SFTPAttrs | None) -> None:
        # a name of its own for each try: after a lost connection the site may still be busy with what the last one sent
        temporary = _encoded(f"{target}.{secrets.token_hex(4)}.tmp")
        session = self._link.wait_for(self._link.session())
        with self._telling_full(target):
            file = self._ask(target, lambda sftp: files.open_file(sftp, temporary, "wb", attributes), session)
        try:
            with self._telling_full(target):
                self._fill(session, file, source, target, attributes)
            self._ask(target, lambda sftp: sftp.posix_rename(temporary, _encoded(target)), session)
        except OSError:
            self._ask(target, lambda sftp: files.discard(sftp, file, temporary), session)
            raise

    def _fill(
        self,
        session: Session,
        file: asyncssh.SFTPClientFile,
        source: BinaryIO | io.BytesIO,
        target: str,
        attributes: asyncssh.SFTPAttrs | None,
    ) -> None:
        offset, is_whole = 0, False
        while not is_whole:
            chunk = source.read(_CHUNK_BYTES)
            is_whole = len(chunk) < _CHUNK_BYTES
            requests = files.writes(session.sftp, file, chunk, offset)
            if is_whole:
                requests += [file.setstat(attributes)] if attributes else []
                requests.append(file.close())
            self._send(target, requests, session)
            offset += len(chunk)

    def _send(self, path: str, requests: files.Requests, session: Session) -> None:
        self._ask(path, lambda _: files.together(requests), session)

    @contextmanager
    def _telling_full(self, path: str) -> Iterator[None]:
        """SFTP says only that it failed. Where no room is the likely reason, the error says so."""
        try:
            yield
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            try:
                is_full = self._ask(path, lambda sftp: files.is_full(sftp, _encoded(path)))
            except OSError:
                is_full = False
            if is_full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path) from None
            raise

    def _ask(
        self, path: str, action: Callable[[asyncssh.SFTPClient], Awaitable[T]], session: Session | None = None
    ) -> T:
        """A request for files, or a few that belong together.

        OSError is the site's refusal, SiteUnreachable all else.
        """
        return self._link.wait_for(self._answer(path, action, session))

    async def _answer(
        self, path: str, action: Callable[[asyncssh.SFTPClient], Awaitable[T]], session: Session | None
    ) -> T:
        session = session or await self._link.session()
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await action(session.sftp)
        except TimeoutError:
            what = f"{session.way.hop} keeps the connection but does not answer within {_ANSWER_S:g} s for {path}."
            raise self._link.lose(
                session, Reason(what, "Its file system may hang; ask the site."), is_sick=True
            ) from None
        except (asyncssh.Error, OSError) as error:
            if (refusal := file_error(error, path)) is not None:
                raise refusal from None
            raise self._lost(session, error) from None

    async def _run(self, program: str, command: Framed, timeout_s: float, stdin: bytes) -> CommandResult:
        process: Process | None = None
        session = await self._link.session()
        try:
            async with asyncio.timeout(timeout_s), self._link.channels:
                process = await _start(session.connection, command.text)
                _give(process, stdin)
                await _read(process, command)
        except TimeoutError:
            if process is not None:
                _kill(process)
            raise SiteUnreachable(f"'{program}' did not end within {timeout_s:g} s at {session.way.hop}.") from None
        except asyncssh.ChannelOpenError as error:
            if not session.is_up:
                raise self._lost(session, error) from None
            hint = f"It may allow fewer than max_channels ({self._options.max_channels}) at once."
            raise SiteUnreachable(f"{session.way.hop} opens no channel for '{program}': {error}.", hint=hint) from None
        except (asyncssh.Error, OSError) as error:
            raise self._lost(session, error) from None
        if (result := command.result()) is not None:
            return result
        if process.returncode is None:
            raise self._lost(session, asyncssh.ConnectionLost(f"it ended before '{program}' did"))
        reason = why_no_result(program, command, session.way.hop)
        raise SiteUnreachable(reason.what, hint=reason.hint)

    def _lost(self, session: Session, error: BaseException) -> SiteUnreachable:
        if isinstance(error, (asyncssh.ConnectionLost, asyncssh.SFTPError, ConnectionError, asyncssh.ChannelOpenError)):
            return self._link.lose(session, Reason(f"The connection to {session.way.hop} was lost: {error}.", ""))
        return self._link.lose(session, why_unreachable(error, session.way.hop, _ANSWER_S))


def _encoded(path: str) -> bytes:
    if "\0" in path:
        raise ValueError("embedded null byte")  # as the system says; SFTP would take what is before it
    return os.fsencode(path)


async def _start(connection: asyncssh.SSHClientConnection, command: str) -> Process:
    for wait_s in (*_CHANNEL_WAITS_S, None):
        opening = asyncio.ensure_future(connection.create_process(command, encoding=None))
        try:
            return await asyncio.shield(opening)
        except asyncssh.ChannelOpenError:
            if wait_s is None or connection.is_closed():
                raise
            await asyncio.sleep(wait_s)
        except asyncio.CancelledError:
            opening.add_done_callback(_kill_late)  # it may still be opened, with nobody to close it
            raise
    raise AssertionError("unreachable")


def _give(process: Process, stdin: bytes) -> None:
    """All at once: it is sent as the command reads it, while its answer comes in."""
    try:
        process.stdin.write(stdin)
        process.stdin.write_eof()
    except OSError:
        pass  # the command has ended by now, and did not need it


async def _read(process: Process, command: Framed) -> None:
    """Until both streams of the command have ended.

    What start files left running may hold them longer, and is not waited for.
    """
    complaints = asyncio.ensure_future(_take(process.stderr, command.stderr))
    try:
        await _take(process.stdout, command.stdout)
        if command.stderr.has_begun:
            await complaints
        async with asyncio.timeout(_LINGER_S):
            await complaints
            await process.wait_closed()
    except TimeoutError:
        pass
    finally:
        complaints.cancel()
    process.close()


async def _take(reader: asyncssh.SSHReader[bytes], stream: Stream) -> None:
    while stream.exit_code is None and (data := await reader.read(_READ_BYTES)):
        stream.take(data)


def _kill_late(opening: asyncio.Future[Process]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        _kill(opening.result())


def _kill(process: Process) -> None:
    """As well as the server allows; a command that it does not signal ends by itself, with nobody to read its
    output.
    """
    try:
        process.kill()
    except OSError:
        pass  # it has ended by now
    process.close()
