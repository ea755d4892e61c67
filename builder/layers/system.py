"""What no package holds and every base needs: the merge of /usr, users, name lookup, the time zone, the folders."""

from __future__ import annotations

from typing import Final

from builder.layers import tar
from builder.layers.recipe import Part

__all__ = ["entries"]

_ALWAYS_MERGED: Final = ("bin", "lib", "sbin")
_NOLOGIN: Final = "/usr/sbin/nologin"

# Debian's static ids (base-passwd): (name, uid, gid, gecos, home)
_USERS: Final = (
    ("root", 0, 0, "root", "/root"),
    ("daemon", 1, 1, "daemon", "/usr/sbin"),
    ("bin", 2, 2, "bin", "/bin"),
    ("sys", 3, 3, "sys", "/dev"),
    ("sync", 4, 65534, "sync", "/bin"),
    ("games", 5, 60, "games", "/usr/games"),
    ("man", 6, 12, "man", "/var/cache/man"),
    ("lp", 7, 7, "lp", "/var/spool/lpd"),
    ("mail", 8, 8, "mail", "/var/mail"),
    ("news", 9, 9, "news", "/var/spool/news"),
    ("uucp", 10, 10, "uucp", "/var/spool/uucp"),
    ("proxy", 13, 13, "proxy", "/bin"),
    ("www-data", 33, 33, "www-data", "/var/www"),
    ("backup", 34, 34, "backup", "/var/backups"),
    ("list", 38, 38, "Mailing List Manager", "/var/list"),
    ("irc", 39, 39, "ircd", "/run/ircd"),
    ("_apt", 42, 65534, "", "/nonexistent"),
    ("nobody", 65534, 65534, "nobody", "/nonexistent"),
)
_GROUPS: Final = (
    "root:0 daemon:1 bin:2 sys:3 adm:4 tty:5 disk:6 lp:7 mail:8 news:9 uucp:10 man:12 proxy:13 kmem:15 dialout:20 "
    "fax:21 voice:22 cdrom:24 floppy:25 tape:26 sudo:27 audio:29 dip:30 www-data:33 backup:34 operator:37 list:38 "
    "irc:39 src:40 shadow:42 utmp:43 video:44 sasl:45 plugdev:46 staff:50 games:60 users:100 nogroup:65534"
)
_NSSWITCH: Final = "".join(
    f"{name + ':':<16}{services}\n"
    for name, services in (
        ("passwd", "files"),
        ("group", "files"),
        ("shadow", "files"),
        ("hosts", "files dns"),
        ("networks", "files"),
        ("protocols", "files"),
        ("services", "files"),
        ("ethers", "files"),
        ("rpc", "files"),
    )
)


def entries(part: Part) -> list[tar.Entry]:
    """The entries, not arranged. `part.params`: ``user`` (the uid and gid of ``app``; 0 for none), ``architecture``."""
    user = int(part.params["user"])
    merged = [*_ALWAYS_MERGED, *(["lib64"] if part.params["architecture"] == "amd64" else [])]
    found = [tar.symlink(name, f"usr/{name}") for name in merged]
    found += [
        tar.directory("app"),
        tar.directory("run"),
        tar.directory("tmp", 0o1777),
        tar.directory("var/tmp", 0o1777),
        tar.file("etc/group", _groups(user).encode()),
        tar.file("etc/nsswitch.conf", _NSSWITCH.encode()),
        tar.file("etc/passwd", _users(user).encode()),
        tar.file("etc/timezone", b"Etc/UTC\n"),
        tar.symlink("etc/localtime", "/usr/share/zoneinfo/Etc/UTC"),
        # scanners and dpkg-query want it; the packages themselves are in status.d
        tar.file("var/lib/dpkg/status", b""),
    ]
    if user:
        found.append(tar.directory("home/app", 0o755, user, user))
    return found


def _users(user: int) -> str:
    rows = [row for row in _USERS if not user or row[1] != user]
    if user:
        rows.append(("app", user, user, "app", "/home/app"))
    return "".join(f"{name}:x:{uid}:{gid}:{gecos}:{home}:{_NOLOGIN}\n" for name, uid, gid, gecos, home in rows)


def _groups(user: int) -> str:
    rows = [(name, int(gid)) for name, _, gid in (word.partition(":") for word in _GROUPS.split())]
    rows = [row for row in rows if not user or row[1] != user]
    if user:
        rows.append(("app", user))
    return "".join(f"{name}:x:{gid}:\n" for name, gid in rows)
