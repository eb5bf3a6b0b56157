"""How the web is reached from here, by the environment: proxies as curl has them, and certificates.

`packhorse.http` goes by these functions too: a file comes the same way, whether the engine fetches it or the site does.
"""

import base64
import ipaddress
import os
import re
import socket
from urllib.parse import unquote_to_bytes, urlsplit

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from typing import Any, List, Mapping, Optional, Sequence, Tuple, Union

    Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

#: By scheme of what is asked for. HTTP_PROXY is left out, as curl does: a web server sets it to what a visitor sent as
#: 'Proxy:'.
_VARIABLES = {
    "http": ("http_proxy", "all_proxy", "ALL_PROXY"),
    "https": ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
}
_PORTS = {"http": 80, "https": 443}
SOCKS = ("socks5", "socks5h")
_PROXY_PORTS = dict({"http": 1080, "https": 443}, **dict.fromkeys(SOCKS, 1080))  # curl's
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,19}\Z")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,253})\Z")
_NUMBER = re.compile(r"[0-9]{1,5}\Z")
_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+\Z")  # the names by which OpenSSL finds certificates in a folder
KNOWN_BUNDLES = (  # of systems whose OpenSSL was built for others
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


#: All variables that have a say here; a background job that fetches needs them.
VARIABLES = (
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_DIR",
) + _BUNDLES


class BadSetting(ValueError):
    """A variable of the environment that cannot be used.

    The message names it, and never its value, which may hold a password.
    """

    def __init__(self, variable: str, why: str) -> None:
        why = "".join(
            letter if letter.isprintable() else ascii(letter)[1:-1] for letter in why
        )  # paths may hold anything
        ValueError.__init__(self, "the setting %s cannot be used: %s" % (variable, why))
        self.variable = variable


class Proxy:
    """A proxy, and the variable that names it."""

    def __init__(
        self, variable: str, scheme: str, host: str, port: int, login: "Optional[Tuple[bytes, bytes]]"
    ) -> None:
        self.variable, self.scheme, self.host, self.port, self.login = variable, scheme, host, port, login

    @property
    def address(self) -> str:
        """`host:port`."""
        return ("[%s]:%d" if ":" in self.host else "%s:%d") % (self.host, self.port)

    @property
    def shown(self) -> str:
        """For people, without name and password."""
        return "the proxy %s://%s, which %s names," % (self.scheme, self.address, self.variable)

    @property
    def authorization(self) -> "Optional[str]":
        """The header Proxy-Authorization; a secret."""
        return None if self.login is None else "Basic " + base64.b64encode(b":".join(self.login)).decode("ascii")

    def __repr__(self) -> str:
        return "<%s>" % self.shown


def proxy_for(url: str, environ: "Mapping[str, str]") -> "Optional[Proxy]":
    """The proxy to ask for `url`; None for a direct connection.

    Raises BadSetting, or ValueError for what is no URL of the web.
    """
    scheme, host, port = origin(url)
    if is_loopback(host):
        return None
    for variable in _VARIABLES[scheme]:
        text = environ.get(variable, "").strip()
        if text:
            exempt = environ.get("no_proxy", "").strip() or environ.get("NO_PROXY", "")
            return None if is_exempt(host, port, exempt) else parse_proxy(variable, text)
    return None


def origin(url: str) -> "Tuple[str, str, int]":
    """Scheme, host and port of a URL of the web. Raises ValueError."""
    parts = urlsplit(url)
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    if scheme not in _PORTS or not host:
        raise ValueError("only http and https are fetched here")
    return scheme, host, _PORTS[scheme] if parts.port is None else parts.port


def parse_proxy(variable: str, text: str) -> Proxy:
    """The proxy that a variable names. Raises BadSetting, which repeats nothing that may be a password."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    scheme = scheme.lower()
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in rest[len(authority) :]:
        raise BadSetting(
            variable, "'/', '?' and '#' in the name or password of a proxy must be written %2F, %3F and %23"
        )
    if scheme not in _PROXY_PORTS:
        named = " of the kind '%s://'" % scheme if _SCHEME.match(scheme) else ""
        raise BadSetting(
            variable, "it names a proxy%s, and only http://, https:// and socks5:// are known here" % named
        )
    userinfo, has_login, place = authority.rpartition("@")
    host, port = _place(place)
    if host is None:
        raise BadSetting(variable, "it names no host: it is to be like http://proxy.example.org:3128")
    if port is None:
        port = str(_PROXY_PORTS[scheme])
    if not _NUMBER.match(port) or not 0 < int(port) < 65536:
        raise BadSetting(
            variable, "its port is no number from 1 to 65535: it is to be like http://proxy.example.org:3128"
        )
    login = None
    if has_login:
        name, _, password = userinfo.partition(":")
        login = (unquote_to_bytes(os.fsencode(name)), unquote_to_bytes(os.fsencode(password)))
    return Proxy(variable, scheme, host, int(port), login)


def _place(text: str) -> "Tuple[Optional[str], Optional[str]]":
    """Host and port of `host:port`; None for a host that is none, and for a port that is not there."""
    if text.startswith("["):
        host, closed, port = text[1:].partition("]")
        if not closed:
            return None, None
        try:
            host = str(ipaddress.IPv6Address(host.partition("%")[0]))
        except ValueError:
            return None, None
        return (host, port[1:] or None) if port[:1] in ("", ":") else (None, None)
    host, _, port = text.partition(":")
    host = _ascii(host)
    return (host if _HOST.match(host) else None), (port or None)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or number alone."""
    name, address = _ascii(host), address_of(host)
    if address is not None:
        return address.is_loopback or address.is_unspecified
    return name == "localhost" or name.endswith(".localhost")


def is_exempt(host: str, port: int, entries: str) -> bool:
    """Whether NO_PROXY has this host:

    `*`, names and all below them, `host:port`, numbers, networks; by commas or blanks.
    """
    name, address = _ascii(host), address_of(host)
    return any(_matches(entry, name, address, port) for entry in re.split(r"[\s,]+", entries) if entry)


def _matches(entry: str, name: str, address: "Optional[Address]", port: int) -> bool:
    entry = entry.partition("://")[2] if "://" in entry else entry
    what, wanted_port = entry, ""
    bracketed = re.match(r"\[([^\]]*)\](/[0-9]+)?(?::([0-9]+))?\Z", entry)
    if bracketed:
        what, wanted_port = bracketed.group(1) + (bracketed.group(2) or ""), bracketed.group(3) or ""
    elif entry.count(":") == 1:
        what, _, wanted_port = entry.partition(":")
    if wanted_port and not (_NUMBER.match(wanted_port) and int(wanted_port) == port):
        return False
    if what.strip(".") == "*":
        return True
    if "/" in what:
        return address is not None and _is_in(address, what)
    number = address_of(what)
    if number is not None or address is not None:
        return number == address
    what = _ascii(what.lstrip("*")).strip(".")
    return bool(what) and (name == what or name.endswith("." + what))


def _is_in(address: "Address", network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except (ValueError, TypeError):
        return False


def address_of(host: str) -> "Optional[Address]":
    """The address that a host's text is, in any way to write one (`127.1`, `::ffff:127.0.0.1`); None for a name."""
    text = host.strip("[]").partition("%")[0].rstrip(".")
    address = None  # type: Optional[Address]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(text))
        except (OSError, ValueError):
            return None
    return getattr(address, "ipv4_mapped", None) or address


def _ascii(host: str) -> str:
    """A host's name as it goes over the wire, in small letters, without a dot at its end."""
    host = host.rstrip(".").lower()
    try:
        return host.encode("idna").decode("ascii") if any(ord(letter) > 127 for letter in host) else host
    except UnicodeError:
        return host


def tls_context(environ: "Mapping[str, str]") -> "ssl.SSLContext":
    """What TLS trusts: the certificates that the environment names, or else the system's. Raises BadSetting."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    named = named_certificates(environ)
    for variable, path in named:
        try:
            context.load_verify_locations(**{"capath" if os.path.isdir(path) else "cafile": path})
        except (OSError, ValueError) as error:  # SSLError is an OSError
            reason = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
            what = "cannot be read (%s)" % reason if reason else "holds no certificates (PEM)"
            raise BadSetting(variable, "the file %s %s" % (path, what)) from None
    if not named:
        for path in _system_certificates(ssl.get_default_verify_paths()):
            context.load_verify_locations(**{"capath" if os.path.isdir(path) else "cafile": path})
    return context


def named_certificates(environ: "Mapping[str, str]") -> "List[Tuple[str, str]]":
    """(variable, path) of the bundles and folders that the environment names: the first of the variables for one, and
    SSL_CERT_DIR.
    """
    found = []  # type: List[Tuple[str, str]]
    for variable in _BUNDLES:
        path = environ.get(variable, "")
        if path:
            if os.path.isdir(path):
                if variable == "SSL_CERT_FILE":
                    raise BadSetting(
                        variable, "%s is a folder, and it is to name a file; SSL_CERT_DIR names a folder" % path
                    )
                _check_folders(variable, [path])
            elif not os.path.isfile(path):
                what = "it names no ordinary file:" if os.path.exists(path) else "there is no file"
                raise BadSetting(variable, "%s %s" % (what, path))
            found.append((variable, path))
            break
    folders = [path for path in environ.get("SSL_CERT_DIR", "").split(os.pathsep) if path]
    if folders:
        found += [("SSL_CERT_DIR", path) for path in _check_folders("SSL_CERT_DIR", folders)]
    return found


def _check_folders(variable: str, folders: "List[str]") -> "List[str]":
    """Those that hold certificates where OpenSSL finds them."""
    good, why = [], ""
    for path in folders:
        try:
            names = os.listdir(path)
        except OSError as error:
            why = "the folder %s cannot be read (%s)" % (path, error.strerror)
            continue
        if any(_HASHED.match(name) for name in names):
            good.append(path)
        else:
            why = (
                "the folder %s has no certificates under the names that OpenSSL looks for ('openssl rehash %s' makes"
                " them)" % (path, path)
            )
    if not good:
        raise BadSetting(variable, why)
    return good


def _system_certificates(paths: "Any") -> "List[str]":
    """The system's own; the environment has no say in them."""
    found = [path for path in (paths.openssl_cafile, paths.openssl_capath) if path and os.path.exists(path)]
    return found or [path for path in KNOWN_BUNDLES if os.path.isfile(path)][:1]


_EMBEDDING = (  # networks of IPv6 whose addresses lead to one of IPv4, and how far from their end that stands, in bits
    (ipaddress.ip_network("64:ff9b::/96"), 0),
    (ipaddress.ip_network("64:ff9b:1::/48"), 0),
    (ipaddress.ip_network("2002::/16"), 80),
)


def is_inside(address: str, opened: "Sequence[str]") -> bool:
    """Whether an address does not belong to the internet: of this machine, of a private or link-local network, of none.

    `opened` are networks (CIDR) that are taken for parts of the internet. Of an address of IPv6 that stands for one of
    IPv4, that one counts.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if found.version == 6:
        inner = found.ipv4_mapped
        for network, bits in _EMBEDDING:
            if found in network:
                inner = ipaddress.IPv4Address((int(found) >> bits) & 0xFFFFFFFF)
        found = inner if inner is not None else found
    if any(found.version == network.version and found in network for network in map(ipaddress.ip_network, opened)):
        return False
    return not found.is_global or found.is_multicast or found.is_reserved


def names_inside(host: str, opened: "Sequence[str]") -> bool:
    """Whether a host is written as such an address, in any way that the system reads, or is called localhost.

    Other names are not looked up.
    """
    name = host.strip("[]").rstrip(".").lower()
    try:
        return is_inside(name, opened)
    except ValueError:
        pass
    try:
        return is_inside(socket.inet_ntoa(socket.inet_aton(name)), opened)  # 127.1, 0x7f000001
    except (OSError, UnicodeError, ValueError):
        return (name == "localhost" or name.endswith(".localhost")) and is_inside("127.0.0.1", opened)
