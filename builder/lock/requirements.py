"""requirements.lock: pip's own format with hashes, written one way and read strictly.

The format is pip's requirements file in hash-checking mode ("Secure installs" in pip's documentation): pip, uv,
Dependabot and pip-audit read it. It names no index and no machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from builder.content import Digest
from builder.errors import LockError, VerificationError
from builder.lock.pins import Pin, Resolution, Target

__all__ = ["marker_environment", "parse", "pins_for", "render"]

HEADER = """\
# Written by `lockship lock`; change the requirements it comes from, not this file.
# pip install --require-hashes -r requirements.lock
"""


def marker_environment(target: Target) -> dict[str, str]:
    """The values of PEP 508's marker variables in the image, whatever machine asks.

    `platform_release` and `platform_version` are those of a kernel nobody knows yet: empty.
    """
    return {
        "implementation_name": "cpython",
        "implementation_version": target.python,
        "os_name": "posix",
        "platform_machine": target.platform.machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": target.python,
        "python_version": target.minor,
        "sys_platform": "linux",
        "extra": "",
    }


def render(resolution: Resolution) -> str:
    """The text of requirements.lock: sorted by name, one hash per line, who asked for it as a comment."""
    blocks = [_block(pin) for pin in sorted(resolution.pins, key=lambda pin: (pin.name, pin.version, pin.marker))]
    return HEADER + "".join(blocks)


def _block(pin: Pin) -> str:
    extras = f"[{','.join(sorted(pin.extras))}]" if pin.extras else ""
    marker = f" ; {pin.marker}" if pin.marker else ""
    lines = [f"{pin.name}{extras}=={pin.version}{marker}"]
    lines += [f"    --hash={digest}" for digest in sorted(set(pin.hashes))]
    text = " \\\n".join(lines) + "\n"
    if len(pin.via) == 1:
        return text + f"    # via {pin.via[0]}\n"
    if pin.via:
        return text + "    # via\n" + "".join(f"    #   {asker}\n" for asker in sorted(pin.via))
    return text


def parse(text: str, file: Path | str, *, hashed: bool = True) -> tuple[Pin, ...]:
    """The pins of a requirements.lock, or of what uv and pip-compile print.

    Raises LockError with file and line for anything but exact pins with sha256 hashes (without, unless `hashed`).
    """
    pins: list[Pin] = []
    for number, head, via in _blocks(text, file):
        pins.append(_pin(number, head, via, file, hashed))
    return tuple(pins)


def _blocks(text: str, file: Path | str) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """``(line, requirement with its hashes, via)`` per pin."""
    start, head, via, inside = 0, "", [], False  # type: int, str, list[str], bool
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith("#"):
            inside = False
            via += _via(line, bool(via) or bool(head), raw)
            continue
        if not line:
            inside = False
            continue
        if not inside:
            if line.startswith("-"):
                raise LockError(
                    "an option in requirements.lock: it holds pins only",
                    hint="put options into the requirements file, and run `lockship lock` again",
                    file=file,
                    line=number,
                )
            if head:
                yield start, head, tuple(via)
            start, head, via = number, "", []
        inside = line.endswith("\\")
        head += " " + line.removesuffix("\\").strip()
    if head:
        yield start, head, tuple(via)


def _via(line: str, belongs: bool, raw: str) -> list[str]:
    """Who asked, from one comment line: ``# via numpy`` or ``#   numpy``."""
    if not belongs or not raw.startswith((" ", "\t")):
        return []
    content = line[1:]
    if content.startswith(" via"):
        content = content[4:]
    elif not content.startswith("   "):
        return []
    return [part.strip() for part in content.split(",") if part.strip()]


def _pin(number: int, head: str, via: tuple[str, ...], file: Path | str, hashed: bool) -> Pin:
    body, *options = re.split(r"\s+(?=--)", head.strip())
    hashes = []
    for option in options:
        match = re.fullmatch(r"--hash[= ](sha256:[0-9a-fA-F]{64})", option)
        if match is None:
            raise LockError(f"not a sha256 hash: {option[:90]!r}", file=file, line=number, hint=_AGAIN)
        hashes.append(_digest(match[1].lower(), file, number))
    try:
        requirement = Requirement(body)
    except InvalidRequirement as error:
        raise LockError(f"not a pin: {body[:90]!r}", file=file, line=number, hint=_AGAIN) from error
    specifiers = list(requirement.specifier)
    if requirement.url or len(specifiers) != 1 or specifiers[0].operator != "==" or "*" in specifiers[0].version:
        raise LockError(f"not an exact version: {body[:90]!r}", file=file, line=number, hint=_AGAIN)
    if hashed and not hashes:
        raise LockError(
            f"{requirement.name} has no hash: anything could be installed", file=file, line=number, hint=_AGAIN
        )
    return Pin(
        name=canonicalize_name(requirement.name),
        version=specifiers[0].version,
        hashes=tuple(sorted(set(hashes))),
        extras=tuple(sorted(requirement.extras)),
        marker="" if requirement.marker is None else str(requirement.marker),
        via=via,
    )


_AGAIN = "run `lockship lock` to write the file again"


def _digest(text: str, file: Path | str, number: int) -> Digest:
    try:
        return Digest(text)
    except VerificationError as error:  # pragma: no cover - the pattern admits nothing else
        raise LockError(error.message, file=file, line=number) from error


def pins_for(pins: Iterable[Pin], target: Target) -> tuple[Pin, ...]:
    """The pins whose marker holds in the image that `target` describes.

    Raises LockError when two versions of one package would be installed.
    """
    environment = marker_environment(target)
    chosen = tuple(pin for pin in pins if _holds(pin.marker, environment))
    _check_unique(chosen, target)
    return chosen


def _holds(marker: str, environment: dict[str, str]) -> bool:
    if not marker:
        return True
    try:
        return Marker(marker).evaluate(dict(environment))
    except InvalidMarker as error:
        raise LockError(f"not a marker: {marker!r}", hint=_AGAIN) from error


def _check_unique(pins: Sequence[Pin], target: Target) -> None:
    seen: dict[str, Pin] = {}
    for pin in pins:
        if (other := seen.setdefault(pin.name, pin)) is not pin:
            raise LockError(
                f"{pin.name} is pinned twice for {target.platform}: {other.version} and {pin.version}", hint=_AGAIN
            )
