"""An upstream made by others, over TLS on loopback.

Usage: server.py KIND CERTIFICATE KEY, where KIND is grpc or websocket. Prints its port and serves until stdin closes.
"""

import asyncio
import concurrent.futures
import ssl
import sys
import threading


class Probe:
    """A service of bytes: one method for each shape a gRPC call can have, and for each way it can end."""

    def __init__(self):
        self.go = threading.Event()

    def echo(self, request, context):
        context.set_trailing_metadata((("probe-trailer", "kept"), ("probe-bin", b"\x00\xff")))
        return request

    def refuse(self, request, context):
        import grpc

        context.set_trailing_metadata((("probe-trailer", "kept"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing, says the upstream")

    def wait(self, request, context):
        """Says how long it may take, and takes longer."""
        assert context.time_remaining() is not None, "the deadline came along"
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait(20)
        return b""

    def release(self, request, context):
        self.go.set()
        return b""

    def count(self, request, context):
        """Sends the second message only after somebody called `release`."""
        yield b"1"
        assert self.go.wait(20)
        self.go.clear()
        yield b"2"

    def break_off(self, request, context):
        import grpc

        yield b"1"
        context.abort(grpc.StatusCode.DATA_LOSS, "half of it")

    def add(self, requests, context):
        return str(sum(len(request) for request in requests)).encode()

    def talk(self, requests, context):
        for request in requests:
            yield request.upper()


def grpc_server(certificate, key):
    import grpc

    probe = Probe()
    shapes = {
        grpc.unary_unary_rpc_method_handler: ["echo", "refuse", "wait", "release"],
        grpc.unary_stream_rpc_method_handler: ["count", "break_off"],
        grpc.stream_unary_rpc_method_handler: ["add"],
        grpc.stream_stream_rpc_method_handler: ["talk"],
    }
    methods = {name: shape(getattr(probe, name)) for shape, names in shapes.items() for name in names}
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(40))
    for service in ["probe.Judged", "probe.Streams"]:
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, methods)])
    with open(certificate, "rb") as cert, open(key, "rb") as own:
        credentials = grpc.ssl_server_credentials([(own.read(), cert.read())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(None)


def websocket_server(certificate, key):
    from websockets.asyncio.server import serve

    async def handle(socket):
        async for message in socket:
            if message == "ping me":
                await (await socket.ping())
                await socket.send("ponged")
            elif message == "end it":
                return await socket.close(4001, "as you wish")
            else:
                await socket.send(message)

    async def run():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        options = {"ssl": context, "max_size": None, "subprotocols": ["probe.v1"]}
        async with serve(handle, "127.0.0.1", 0, **options) as server:
            print(server.sockets[0].getsockname()[1], flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

    asyncio.run(run())


if __name__ == "__main__":
    kind, certificate, key = sys.argv[1:4]
    globals()[f"{kind}_server"](certificate, key)
