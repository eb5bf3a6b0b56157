"""The environment's settings of the network, for libraries that make connections of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from packhorse.agent.errands.network import KNOWN_BUNDLES, SOCKS, BadSetting, Proxy, named_certificates, proxy_for, tls_context

__all__ = ["SOCKS", "BadSetting", "Proxy", "bundle_file", "proxy_for"]


def bundle_file(environ: Mapping[str, str]) -> str | None:
    """The file of the certificates that count, for a library that takes nothing else; None where it is to go by its own.

    Raises BadSetting, also where the environment names a folder alone.
    """
    named = named_certificates(environ)
    for variable, path in named:
        if Path(path).is_file():
            tls_context({variable: path})
            return path
    if named:
        raise BadSetting(named[0][0], "it names a folder, and S3 takes its certificates from a file; SSL_CERT_FILE names one")
    if environ.get("AWS_CA_BUNDLE"):  # boto3 heeds it
        return None
    return next((path for path in KNOWN_BUNDLES if Path(path).is_file()), None)
