"""What the router's names and namespaces look like; anything else is refused before it reaches shared memory."""

from __future__ import annotations

import re

from .messages import ChannelSpec, Namespace

MAX_INDEX = 255
"""Greatest channel index: the id of an event."""
MAX_CAPACITY = 1024
"""Frames that a channel may be asked to hold."""
MAX_READERS = 64
MAX_WAKES = 16
"""Event services that one frame may ring."""
MAX_PAYLOAD = 64 * 1024 * 1024
"""Bytes of one payload."""
MAX_SERVICE_NAME = 200
MAX_ROOT_AND_PREFIX = 61
"""Bytes of a namespace's root and prefix together: a Unix socket's path has 108."""

_LONG = r"[A-Za-z0-9_-]{1,64}"
_SHORT = r"(?!(?:input|output)(?![a-z0-9_-]))[a-z0-9_-]{1,32}"
_PEER = rf"(?:@{_LONG})?"
_CHANNEL = re.compile(
    rf"rm/{_LONG}/(?:"
    rf"in/{_LONG}/(?:audio|video)[0-9]{{1,2}}(?:~[A-Za-z0-9]{{1,16}})?/(?:encoded|raw)"
    rf"|node/{_SHORT}\.{_SHORT}{_PEER}/raw"
    rf"|out/{_SHORT}{_PEER}/raw"
    rf"|out/{_SHORT}{_PEER}/{_SHORT}\.(?:opus|vp8|vp9|h264)/encoded)"
)
_PREFIX = re.compile(r"m[0-9a-f]{16}_")
_ROOT = re.compile(r"/(?:.*/)?[0-9a-f]{12}", re.DOTALL)
_SERVICE = re.compile(rf"[!-~]{{1,{MAX_SERVICE_NAME}}}")


class NameFault(ValueError):
    """A name or a description that no router of ours makes."""


def check_channel_name(name: str) -> str:
    """The name of a channel, ``rm/<session>/in/<peer>/<track>/raw`` and its siblings."""
    if not _CHANNEL.fullmatch(name):
        raise NameFault(
            f"channel name {name[:80]!r} is not one of rm/<session>/in/<peer>/<track>/encoded|raw, "
            "rm/<session>/node/<node>.<port>[@<peer>]/raw, rm/<session>/out/<output>[@<peer>]/raw, "
            "rm/<session>/out/<output>[@<peer>]/<tier>.<codec>/encoded"
        )
    return name


def check_node(name: str) -> str:
    """The id of a node."""
    if not re.fullmatch(_SHORT, name):
        raise NameFault(
            f"node id {name[:80]!r} is not valid: 1 to 32 of the letters a-z, digits, `_` and `-`, "
            "and not `input` or `output`"
        )
    return name


def check_id(what: str, name: str) -> str:
    """The id of a session or a peer."""
    if not re.fullmatch(_LONG, name):
        raise NameFault(f"{what} id {name[:80]!r} is not valid: 1 to 64 of the letters A-Z a-z, digits, `_` and `-`")
    return name


def check_namespace(namespace: Namespace) -> None:
    """Refuses a namespace that no router of ours made."""
    if not _PREFIX.fullmatch(namespace.prefix):
        raise NameFault(f"namespace prefix {namespace.prefix[:80]!r} is not valid: `m`, 16 hex digits, `_`")
    if not _ROOT.fullmatch(namespace.root) or "/../" in namespace.root:
        raise NameFault(
            f"namespace root {namespace.root[:80]!r} is not valid: an absolute path that ends with a folder of 12 hex digits"
        )
    both = len(namespace.root.encode()) + len(namespace.prefix)
    if both > MAX_ROOT_AND_PREFIX:
        raise NameFault(f"namespace root and prefix have {both} bytes, {MAX_ROOT_AND_PREFIX} are allowed")


def check_channel(spec: ChannelSpec) -> None:
    """Refuses a channel that no contract of ours describes, before its numbers size any memory."""
    for what, value, least, most in (
        ("channel index", spec.index, 0, MAX_INDEX),
        ("channel capacity", spec.contract.capacity, 1, MAX_CAPACITY),
        ("channel payload", spec.max_payload, 1, MAX_PAYLOAD),
        ("number of readers", spec.max_readers, 1, MAX_READERS),
        ("number of wakes", len(spec.wakes), 0, MAX_WAKES),
    ):
        if not least <= value <= most:
            raise NameFault(f"{what} {value} is not valid: {spec.name} takes {least} to {most}")
    check_channel_name(spec.name)
    for service in (spec.service, *spec.wakes):
        check_service(service)


def check_service(name: str) -> None:
    """Refuses a service name that iceoryx2 would not take."""
    if not _SERVICE.fullmatch(name):
        raise NameFault(f"service name {name[:80]!r} is not valid: 1 to {MAX_SERVICE_NAME} visible ASCII characters")
