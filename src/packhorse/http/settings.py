"""The environment's settings of the network, for libraries that make connections of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from packhorse.agent.background.network import (
    KNOWN_BUNDLES,
    SOCKS,
    BadSetting,
    Proxy,
    named_certificates,
    proxy_for,
    tls_context,
)

__all__ = ["SOCKS", "BadSetting", "Proxy", "bundle_file", "describe", "proxy_for"]


def bundle_file(environ: Mapping[str, str]) -> str | None:
    """The file of the certificates that count, for a library that takes nothing else; None where it is to go by its
    own.

    Raises BadSetting, also where the environment names a folder alone.
    """
    named = named_certificates(environ)
    for variable, path in named:
        if Path(path).is_file():
            tls_context({variable: path})
            return path
    if named:
        raise BadSetting(
            named[0][0], "it names a folder, and S3 takes its certificates from a file; SSL_CERT_FILE names one"
        )
    if environ.get("AWS_CA_BUNDLE"):  # boto3 heeds it
        return None
    return next((path for path in KNOWN_BUNDLES if Path(path).is_file()), None)


def describe(environ: Mapping[str, str]) -> str:
    """What the environment sets, for people; empty where it is nothing. Raises BadSetting for what cannot be used."""
    said = []
    by_all = {name: value for name, value in environ.items() if name not in ("no_proxy", "NO_PROXY")}
    for scheme in ("http", "https"):
        if (proxy := proxy_for(f"{scheme}://host.invalid/", by_all)) is not None:
            said.append(f"{scheme} through {proxy.scheme}://{proxy.address} ({proxy.variable})")
    if said and (exempt := next((name for name in ("no_proxy", "NO_PROXY") if environ.get(name, "").strip()), None)):
        said.append(f"hosts of {exempt} directly")
    named = named_certificates(environ)
    tls_context(environ)
    if named:
        said.append(f"certificates of {', '.join(dict.fromkeys(variable for variable, _ in named))}")
    return "; ".join(said)
