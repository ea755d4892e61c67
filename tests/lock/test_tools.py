"""What the tools of others see, and how they end."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from builder.lock.indexes import from_environment
from builder.lock.tools import run_tool, uv_environment

pytestmark = pytest.mark.slow


def test_uv_sees_the_indexes_and_none_of_the_users_own_settings(tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    environ = {
        "PATH": "/bin",
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": "https://ann:s3cr3t@host/simple",
        "PIP_EXTRA_INDEX_URL": "https://x/simple https://y/simple",
        "PIP_FIND_LINKS": f"{tmp_path}/a,b /nonexistent",
        "PIP_TRUSTED_HOST": "host",
        "PIP_CERT": "/ca.pem",
        "PIP_PROXY": "proxy:3128",
        "PIP_TIMEOUT": "40",
        "NO_PROXY": "corp",
        "UV_RESOLUTION": "lowest",
        "UV_INDEX_STRATEGY": "first-index",
        "VIRTUAL_ENV": "/venv",
        "PYTHONPATH": "/here",
    }
    assert uv_environment(from_environment(environ, home=tmp_path), environ, Path("/cache")) == {
        "PATH": "/bin",
        "HOME": str(tmp_path),
        "UV_DEFAULT_INDEX": "https://ann:s3cr3t@host/simple",
        "UV_INDEX": "https://x/simple https://y/simple",
        "UV_FIND_LINKS": f"file://{tmp_path}/a%2Cb",
        "UV_INSECURE_HOST": "host",
        "UV_INDEX_STRATEGY": "first-index",
        "UV_CACHE_DIR": "/cache",
        "UV_HTTP_TIMEOUT": "40",
        "UV_HTTP_RETRIES": "5",
        "UV_NO_PROGRESS": "1",
        "SSL_CERT_FILE": "/ca.pem",
        "http_proxy": "http://proxy:3128",
        "HTTP_PROXY": "http://proxy:3128",
        "https_proxy": "http://proxy:3128",
        "HTTPS_PROXY": "http://proxy:3128",
    }


def test_children_do_not_outlive_the_tool(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    child = f"import time; time.sleep(4); open({str(mark)!r}, 'w')"
    program = (
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print('done')"
    )
    outcome = run_tool([sys.executable, "-c", program], environ={}, folder=tmp_path, timeout=20)
    assert (outcome.code, outcome.text) == (0, "done\n")
    time.sleep(5)
    assert not mark.exists()


def test_a_tool_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        run_tool([sys.executable, "-c", "import time; time.sleep(60)"], environ={}, folder=tmp_path, timeout=0.5)
