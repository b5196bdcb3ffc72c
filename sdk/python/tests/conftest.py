from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway import Gateway, Proxy


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    running = Gateway()
    yield running
    running.close()


@pytest.fixture
def proxy(gateway: Gateway) -> Iterator[Proxy]:
    wire = Proxy(gateway.port)
    yield wire
    wire.close()
