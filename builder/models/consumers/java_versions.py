"""Which release of ``com.microsoft.onnxruntime:onnxruntime`` a package depends on."""

from __future__ import annotations

import re
from typing import Final

from builder.errors import ModelError, UsageError
from builder.models.contract import Contract

__all__ = ["RELEASES", "choose"]

RELEASES: Final = (
    "1.8.0", "1.8.1", "1.9.0", "1.10.0", "1.11.0", "1.12.0", "1.12.1", "1.13.1", "1.15.0", "1.15.1", "1.16.0", "1.16.1",
    "1.16.2", "1.16.3", "1.17.0", "1.17.1", "1.17.3", "1.18.0", "1.19.0", "1.19.2", "1.20.0", "1.21.0", "1.21.1",
    "1.22.0", "1.23.0", "1.23.1", "1.23.2", "1.24.1", "1.24.2", "1.26.0", "1.28.0", "1.29.0",
)  # fmt: skip
"""What Maven Central has (its maven-metadata.xml), oldest first; it never had a 1.14, 1.25 or 1.27."""

_RELEASE: Final = re.compile(r"\d+\.\d+\.\d+")


def choose(contract: Contract, asked: str | None = None) -> str:
    """The release that reads the model: `asked`, or the newest patch of the oldest ``java-X.Y`` among its consumers.

    Where no Java is declared, the model's minimum counts; where Maven Central skipped a minor version, the next one,
    which reads what its elders read. A release that is `asked` for may come from elsewhere, but must not be too old.
    Raises UsageError for one that is none or is too old, ModelError when there is none that reads the model.
    """
    minimum = _numbers(contract.runtime.minimum)
    if asked is not None:
        return _checked(asked, minimum, contract)
    declared = [one.removeprefix("java-") for one in contract.runtime.consumers if one.startswith("java-")]
    wanted = min(declared, key=_numbers, default=contract.runtime.minimum)
    if len(_numbers(wanted)) == 3:
        if wanted not in RELEASES:
            raise ModelError(
                f"java-{wanted} is among the model's consumers, and Maven Central has no onnxruntime {wanted}",
                hint=f"declare java-{wanted.rpartition('.')[0]}, or name a release: --onnxruntime X.Y.Z",
            )
        return wanted
    least = max(_numbers(wanted), minimum)
    fitting = [one for one in RELEASES if _numbers(one)[:2] >= least[:2]]
    if not fitting or not least:
        raise ModelError(
            f"{contract.name} needs onnxruntime {'.'.join(map(str, least)) or contract.runtime.minimum},"
            f" and Maven Central's newest is {RELEASES[-1]}",
            hint=f'declare an older consumer ("java-{RELEASES[-1].rpartition(".")[0]}") and run `lockship convert`',
        )
    minor = _numbers(fitting[0])[:2]
    return [one for one in fitting if _numbers(one)[:2] == minor][-1]


def _checked(asked: str, minimum: tuple[int, ...], contract: Contract) -> str:
    if not _RELEASE.fullmatch(asked):
        raise UsageError(f"not a release of onnxruntime: {asked!r}", hint=f"write it in full, like {RELEASES[-1]}")
    if not minimum or _numbers(asked)[: len(minimum)] < minimum:
        raise UsageError(
            f"onnxruntime {asked} can't read {contract.name}: it needs {contract.runtime.minimum}",
            hint="name a newer one, or declare an older consumer and run `lockship convert`",
        )
    return asked


def _numbers(version: str) -> tuple[int, ...]:
    """``1.17`` as numbers; nothing for what is no version (``newer than 1.32``)."""
    return tuple(int(part) for part in version.split(".")) if re.fullmatch(r"\d+(\.\d+)*", version) else ()
