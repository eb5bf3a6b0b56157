"""S3, by boto3: a look at an object, a presigned URL for its bytes, and an upload. boto3 is loaded when it is first needed."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from packhorse.domain.config import DataConfig
from packhorse.domain.ourselves import expanded
from packhorse.staging.data import NotFetched, Trouble

_PRESIGNED_S = 6 * 3600
_PASSING = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Object:
    """What S3 says of an object. Checksums in hexadecimal, only those of the whole object."""

    size: int
    etag: str | None
    last_modified: str | None
    sha256: str | None
    crc64nvme: str | None


class S3:
    """The buckets that the credentials of ``[data]`` can see."""

    def __init__(self, config: DataConfig) -> None:
        self._config = config
        self._made: Any = None
        self._making = threading.Lock()

    def look(self, bucket: str, key: str) -> Object:
        """Size, validators and checksums of an object. Raises NotFetched."""
        found = self._ask(bucket, "head_object", Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        whole = found.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
        modified = found.get("LastModified")
        return Object(
            size=int(found["ContentLength"]), etag=found.get("ETag"), last_modified=format_datetime(modified) if modified else None,
            sha256=_hexadecimal(found.get("ChecksumSHA256")) if whole else None,
            crc64nvme=_hexadecimal(found.get("ChecksumCRC64NVME")) if whole else None,
        )  # fmt: skip

    def presigned(self, bucket: str, key: str) -> str:
        """A URL that gives the object's bytes for some hours to whoever has it; a plain one where there are no credentials."""
        request = {"Bucket": bucket, "Key": key}
        return str(self._client().generate_presigned_url("get_object", Params=request, ExpiresIn=_PRESIGNED_S))

    def upload(self, source: Path, bucket: str, key: str, sha256: str) -> None:
        """Puts a file there, in one piece or in parts; S3 refuses what does not have its checksum. Raises NotFetched."""
        from boto3.exceptions import S3UploadFailedError
        from boto3.s3.transfer import TransferConfig

        large = TransferConfig(multipart_threshold=64 << 20, multipart_chunksize=64 << 20)
        if source.stat().st_size < large.multipart_threshold:
            digest = base64.b64encode(bytes.fromhex(sha256)).decode()
            with source.open("rb") as file:
                self._ask(bucket, "put_object", Bucket=bucket, Key=key, Body=file, ChecksumSHA256=digest)
            return
        try:
            with _translated(bucket):
                self._client().upload_file(str(source), bucket, key, ExtraArgs={"ChecksumAlgorithm": "CRC64NVME"}, Config=large)
        except S3UploadFailedError as error:
            raise NotFetched(Trouble.AWAY, f"The upload to the bucket '{bucket}' failed: {_short(error)}.") from None

    def _ask(self, bucket: str, method: str, **request: Any) -> Any:
        with _translated(bucket):
            return getattr(self._client(), method)(**request)

    def _client(self) -> Any:
        """One for all threads. Without credentials, requests are not signed."""
        with self._making:
            if self._made is None:
                self._made = _make_client(self._config)
            return self._made


def _make_client(config: DataConfig) -> Any:
    import boto3
    import botocore.session
    from botocore import UNSIGNED
    from botocore.config import Config

    core = botocore.session.Session(profile=config.s3_profile)
    if config.s3_credentials_file is not None:
        core.set_config_variable("credentials_file", str(expanded(config.s3_credentials_file)))
    # retries are ours: they show in the reason of who waits
    settings = {"retries": {"max_attempts": 1}, "connect_timeout": 10, "read_timeout": 60}
    if config.s3_endpoint is not None:
        settings["s3"] = {"addressing_style": "path"}
    signed = {} if core.get_credentials() is not None else {"signature_version": UNSIGNED}
    return boto3.Session(botocore_session=core).client(
        "s3", endpoint_url=config.s3_endpoint, region_name=config.s3_region, config=Config(**settings, **signed)
    )


@contextmanager
def _translated(bucket: str) -> Iterator[None]:
    """Turns botocore's errors into NotFetched."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        where = f"S3, bucket '{bucket}', says {code or status}"
        if status in _PASSING or code == "SlowDown":
            raise NotFetched(Trouble.AWAY, f"{where}.") from None
        if "Digest" in code or "Checksum" in code:
            raise NotFetched(Trouble.WRONG, f"{where}: what arrived is not what was sent.") from None
        why = {403: "access is refused", 404: "there is no such object or bucket"}.get(status, "it refuses the request")
        raise NotFetched(Trouble.REFUSED, f"{where}: {why}.") from None
    except BotoCoreError as error:
        raise NotFetched(Trouble.AWAY, f"S3 does not answer for the bucket '{bucket}' ({type(error).__name__}).") from None


def _hexadecimal(base64_text: str | None) -> str | None:
    return None if base64_text is None else base64.b64decode(base64_text).hex()


def _short(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
