from __future__ import annotations

import httpx
import pytest

from builder.errors import StoreError, UsageError
from builder.http import open_client
from builder.network import Network
from builder.registry.endpoint import Endpoint, link_target, network_of
from tests.registry.impostor import impostor


@pytest.mark.parametrize(
    ("host", "plain", "url"),
    [
        ("registry.example.com", (), "https://auth.example.com/token"),
        ("registry.example.com", ("registry.example.com",), "http://registry.example.com/token"),
        ("registry:5000", ("registry:5000",), "http://registry:5000/v2/"),
        ("Registry:5000", ("REGISTRY:5000",), "http://registry:5000/v2/"),
        ("127.0.0.1:5000", (), "http://127.0.0.1:6000/token"),
        ("localhost:5000", (), "http://[::1]:6000/token"),
        ("10.1.2.3", (), "https://10.1.2.4/token"),  # a company's own network
    ],
)
def test_where_a_registry_may_send_us(host: str, plain: tuple[str, ...], url: str) -> None:
    Endpoint(host, plain).check(url, "it sends us to")


@pytest.mark.parametrize(
    "url",
    [
        "http://auth.example.com/token",
        "http://registry.example.com:81/token",
        "ftp://auth.example.com/",
        "file:///etc/passwd",
        "https://user:pass@auth.example.com/",
        "https:///token",
        "https://[::1/token",
        "https://127.0.0.1/token",
        "https://localhost/token",
        "https://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://2852039166/",
        "https://0x7f.1/",
        "https://0.0.0.0/",
        "https://metadata.google.internal/",
        "https://metadata.google.internal./",
        "https://localhost./token",
        "https://169.254.169.254./",
        "https://127。0。0。1/token",
        "https://[fd00:ec2::254]/",
        "https://100.100.100.200/",
    ],
)
def test_where_it_may_not(url: str) -> None:
    with pytest.raises(StoreError, match=r"registry\.example\.com: it sends us to") as caught:
        Endpoint("registry.example.com", ("registry.example.com:80",)).check(url, "it sends us to")
    assert "pass" not in caught.value.message.replace("passwd", "")


def test_not_even_a_registry_of_this_machine_names_the_metadata_service() -> None:
    with pytest.raises(StoreError):
        Endpoint("127.0.0.1:5000").check("https://169.254.169.254/", "it sends us to")


@pytest.mark.parametrize(
    ("host", "plain", "may"),
    [
        ("localhost:5000", (), True),
        ("[::1]:5000", (), True),
        ("registry.example.com", (), False),
        ("registry.example.com:5000", ("registry.example.com",), True),
        ("registry.example.com", ("registry.example.com:5000",), False),
    ],
)
def test_who_may_do_without_tls(host: str, plain: tuple[str, ...], may: bool) -> None:
    assert Endpoint(host, plain).may_be_plain is may


def test_the_network_of_an_environment() -> None:
    environ = {
        "LOCKSHIP_PLAIN_HTTP": "a:5000, b",
        "https_proxy": "http://p:3128",
        "NO_PROXY": "x",
        "SSL_CERT_DIR": "/c",
    }
    network = network_of(environ, ["c"])
    assert network.trusted_hosts == ("c", "a:5000", "b")
    assert network.proxies == {"https": "http://p:3128"}
    assert network.no_proxy == ("x", "localhost", "127.0.0.1", "[::1]")
    assert network.certificate == "/c"
    assert network_of({"SSL_CERT_DIR": "/d", "SSL_CERT_FILE": "/f"}).certificate == "/f"
    assert network_of({}).no_proxy == ()
    with pytest.raises(UsageError, match="LOCKSHIP_PLAIN_HTTP"):
        network_of({"LOCKSHIP_PLAIN_HTTP": "http://a"})


@pytest.mark.parametrize(
    ("exempt", "url"),
    [
        ("::1", "https://[::1]:5000/v2/"),
        ("fd00::1", "https://[fd00::1]/v2/"),
        *(
            (other, "https://corp/v2/")
            for other in ("2001:db8::/32", "10.0.0.0/8", "über.example", "a b", "http://x:y")
        ),
    ],
)
def test_whatever_no_proxy_says_a_client_opens(exempt: str, url: str) -> None:
    network = network_of({"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": f"corp,{exempt}"})
    with open_client(network) as client:
        proxied = client._transport_for_url(httpx.URL("https://example.com/v2/"))
        assert client._transport_for_url(httpx.URL(url)) is not proxied


@pytest.mark.parametrize(
    ("exempt", "direct"), [("127.0.0.0/8", True), ("127.0.0.1/30", True), ("10.0.0.0/8", False), ("::/0", False)]
)
def test_no_proxy_for_a_whole_network(exempt: str, direct: bool) -> None:
    nobody = "http://127.0.0.1:9"
    network = Network(proxies={"http": nobody, "https": nobody}, no_proxy=("corp", exempt))
    with impostor(lambda *request: (200, {}, b"here")) as host, open_client(network) as client:
        if direct:
            assert client.get(f"http://{host}/").text == "here"
        else:
            with pytest.raises(httpx.ConnectError):
                client.get(f"http://{host}/")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", None),
        ('</v2/a/tags/list?last=b&n=2>; rel="next"', "https://r/v2/a/tags/list?last=b&n=2"),
        ("<list?last=b>; rel=next", "https://r/v2/a/tags/list?last=b"),
        ('<https://r/x>; rel="prev", <https://r/y>; title="a"; REL="next"', "https://r/y"),
        ('<https://r/x>; rel="first next"', "https://r/x"),
        ('<https://r/x>; rel="nextish"', None),
        ("<https://r/x>", None),
    ],
)
def test_links(header: str, expected: str | None) -> None:
    assert link_target(header, "https://r/v2/a/tags/list?n=2") == expected
