"""A door without TLS and token in front of the gateway's: for a client that can do neither."""
import asyncio
import contextlib
import ssl
import threading


class Shim:
    """One request for each connection. Host, Origin and the client's leaving reach the gateway as they are."""

    def __init__(self, gate, token):
        self.trust = ssl.create_default_context(cafile=str(gate.authority))
        self.port, self.token = gate.port, token
        opened = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve(opened)), daemon=True).start()
        opened.wait(30)

    async def _serve(self, opened):
        door = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.url = "http://127.0.0.1:%s/mcp" % door.sockets[0].getsockname()[1]
        opened.set()
        await door.serve_forever()

    async def _carry(self, client, to_client):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            first, *lines = (await client.readuntil(b"\r\n\r\n")).strip().split(b"\r\n")
            lines = [line for line in lines if not line.lower().startswith(b"connection:")]
            lines += [b"authorization: Bearer " + self.token.encode(), b"connection: close"]
            gateway, to_gateway = await asyncio.open_connection(
                "127.0.0.1", self.port, ssl=self.trust, server_hostname="localhost")
            to_gateway.write(b"\r\n".join([first, *lines, b"", b""]))
            ways = [asyncio.create_task(_pipe(client, to_gateway)), asyncio.create_task(_pipe(gateway, to_client))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            to_gateway.close()
        to_client.close()


async def _pipe(source, target):
    with contextlib.suppress(OSError):
        while piece := await source.read(65536):
            target.write(piece)
            await target.drain()
