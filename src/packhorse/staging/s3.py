"""S3, by boto3: a look at an object, a presigned URL for its bytes, and an upload. boto3 is loaded when it is first
needed.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from packhorse.domain.config import DataConfig
from packhorse.domain.ourselves import expanded
from packhorse.http.errors import PASSING_STATUS
from packhorse.http.settings import SOCKS, BadSetting, Proxy, bundle_file, proxy_for
from packhorse.staging.data import NotFetched, Trouble

_PRESIGNED_S = 6 * 3600


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
        self._proxy: Proxy | None = None
        self._making = threading.Lock()

    def look(self, bucket: str, key: str) -> Object:
        """Size, validators and checksums of an object. Raises NotFetched."""
        found = self._ask(bucket, "head_object", Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        whole = found.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
        modified = found.get("LastModified")
        return Object(
            size=int(found["ContentLength"]),
            etag=found.get("ETag"),
            last_modified=format_datetime(modified) if modified else None,
            sha256=_hexadecimal(found.get("ChecksumSHA256")) if whole else None,
            crc64nvme=_hexadecimal(found.get("ChecksumCRC64NVME")) if whole else None,
        )

    def presigned(self, bucket: str, key: str) -> str:
        """A URL that gives the object's bytes for some hours to whoever has it; a plain one where there are no
        credentials.
        """
        request = {"Bucket": bucket, "Key": key}
        return str(self._client().generate_presigned_url("get_object", Params=request, ExpiresIn=_PRESIGNED_S))

    def keys(self, bucket: str, prefix: str) -> Iterator[str]:
        """The keys of all objects below a prefix, a thousand at a time. Raises NotFetched."""
        more: dict[str, str] = {}
        while True:
            page = self._ask(bucket, "list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
            for one in page.get("Contents", ()):
                yield str(one["Key"])
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def upload(self, source: Path, bucket: str, key: str, sha256: str) -> None:
        """Puts a file there, in one piece or in parts; S3 refuses what does not have its checksum.

        Raises NotFetched.
        """
        from boto3.exceptions import S3UploadFailedError
        from boto3.s3.transfer import TransferConfig

        large = TransferConfig(multipart_threshold=64 << 20, multipart_chunksize=64 << 20)
        if source.stat().st_size < large.multipart_threshold:
            digest = base64.b64encode(bytes.fromhex(sha256)).decode()
            with source.open("rb") as file:
                self._ask(bucket, "put_object", Bucket=bucket, Key=key, Body=file, ChecksumSHA256=digest)
            return
        try:
            with self._translated(bucket):
                self._client().upload_file(
                    str(source), bucket, key, ExtraArgs={"ChecksumAlgorithm": "CRC64NVME"}, Config=large
                )
        except S3UploadFailedError as error:
            raise NotFetched(Trouble.AWAY, f"The upload to the bucket '{bucket}' failed: {_short(error)}.") from None

    def _ask(self, bucket: str, method: str, **request: Any) -> Any:
        with self._translated(bucket):
            return getattr(self._client(), method)(**request)

    def _client(self) -> Any:
        """One for all threads. Without credentials, requests are not signed."""
        with self._making:
            if self._made is None:
                endpoint = self._config.s3_endpoint or "https://s3.amazonaws.com"
                try:
                    self._proxy = proxy_for(endpoint, os.environ)
                    bundle = bundle_file(os.environ) if endpoint.lower().startswith("https") else None
                    if self._proxy is not None and self._proxy.scheme in SOCKS:
                        raise BadSetting(
                            self._proxy.variable,
                            "it names a SOCKS proxy, and S3 is asked through http:// and https:// only",
                        )
                except BadSetting as error:
                    raise NotFetched(Trouble.AWAY, f"S3 is not asked: {error}.") from None
                except ValueError:
                    raise NotFetched(Trouble.AWAY, "The configuration's s3_endpoint is no URL of the web.") from None
                self._made = _make_client(self._config, self._proxy, bundle)
            return self._made

    @contextmanager
    def _translated(self, bucket: str) -> Iterator[None]:
        """Turns botocore's errors into NotFetched."""
        from botocore.exceptions import BotoCoreError, ClientError, ProxyConnectionError, SSLError

        try:
            yield
        except ClientError as error:
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            if status == 407 and self._proxy is not None:
                raise NotFetched(
                    Trouble.AWAY, f"S3 is not reached: {self._proxy.shown} wants a name and a password (407)."
                ) from None
            raise _refused(bucket, str(error.response.get("Error", {}).get("Code", "")), status) from None
        except ProxyConnectionError:
            shown = self._proxy.shown if self._proxy is not None else "its proxy"
            raise NotFetched(Trouble.AWAY, f"S3 is not reached: {shown} does not work, or refuses.") from None
        except SSLError:
            hint = "If its authority is your own, name its certificates in SSL_CERT_FILE."
            raise NotFetched(
                Trouble.AWAY, f"The certificate of S3 is not to be trusted, or it speaks no TLS. {hint}"
            ) from None
        except BotoCoreError as error:
            raise NotFetched(
                Trouble.AWAY, f"S3 does not answer for the bucket '{bucket}' ({type(error).__name__})."
            ) from None


def _make_client(config: DataConfig, proxy: Proxy | None, bundle: str | None) -> Any:
    import boto3
    import botocore.session
    from botocore import UNSIGNED
    from botocore.config import Config

    core = botocore.session.Session(profile=config.s3_profile)
    if config.s3_credentials_file is not None:
        core.set_config_variable("credentials_file", str(expanded(config.s3_credentials_file)))
    # retries are ours: they show in the reason of who waits
    settings: dict[str, Any] = {"retries": {"max_attempts": 1}, "connect_timeout": 10, "read_timeout": 60}
    settings["proxies"] = {} if proxy is None else dict.fromkeys(("http", "https"), _url_of(proxy))
    if config.s3_endpoint is not None:
        settings["s3"] = {"addressing_style": "path"}
    signed = {} if core.get_credentials() is not None else {"signature_version": UNSIGNED}
    return boto3.Session(botocore_session=core).client(
        "s3",
        endpoint_url=config.s3_endpoint,
        region_name=config.s3_region,
        config=Config(**settings, **signed),
        verify=bundle,
    )


def _url_of(proxy: Proxy) -> str:
    """As botocore wants it; a secret."""
    login = "" if proxy.login is None else f"{quote(proxy.login[0], safe='')}:{quote(proxy.login[1], safe='')}@"
    return f"{proxy.scheme}://{login}{proxy.address}"


def _refused(bucket: str, code: str, status: int) -> NotFetched:
    where = f"S3, bucket '{bucket}', says {code or status}"
    if status in PASSING_STATUS or code == "SlowDown":
        return NotFetched(Trouble.AWAY, f"{where}.")
    if "Digest" in code or "Checksum" in code:
        return NotFetched(Trouble.WRONG, f"{where}: what arrived is not what was sent.")
    why = {403: "access is refused", 404: "there is no such object or bucket"}.get(status, "it refuses the request")
    return NotFetched(Trouble.REFUSED, f"{where}: {why}.")


def _hexadecimal(base64_text: str | None) -> str | None:
    return None if base64_text is None else base64.b64decode(base64_text).hex()


def _short(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
