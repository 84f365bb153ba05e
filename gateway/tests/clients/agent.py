"""An agent as people write them: one call with a well-known library, configured by the environment alone.

Usage: agent.py LIBRARY URL. The proxy comes from HTTPS_PROXY, the authority from SSL_CERT_FILE; SDKs may be given
AEGIS_BASE_URL and AEGIS_TOKEN instead of a proxy. Prints what came back; the test beside it holds the expectations.
"""

import asyncio
import os
import queue
import ssl
import sys

BODY = {"text": "hello"}
MESSAGES = [{"role": "user", "content": "hello"}]


def with_requests(url):
    import requests

    answer = requests.post(url, json=BODY, verify=os.environ["SSL_CERT_FILE"], timeout=20)
    return f"{answer.status_code} {answer.text}"


def with_httpx(url):
    import httpx

    trusted = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    with httpx.Client(http2=True, verify=trusted, timeout=20) as client:
        answer = client.post(url, json=BODY)
        return f"{answer.status_code} {answer.text} {answer.http_version}"


def with_aiohttp(url):
    import aiohttp

    async def call():
        trusted = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
        async with aiohttp.ClientSession(trust_env=True) as session:
            async with session.post(url, json=BODY, ssl=trusted) as answer:
                return f"{answer.status} {await answer.text()}"

    return asyncio.run(call())


def openai_client(url):
    import openai

    base = os.environ.get("AEGIS_BASE_URL", url)
    key = os.environ.get("AEGIS_TOKEN", "the-agents-own-key")
    return openai.OpenAI(base_url=base, api_key=key, max_retries=0, timeout=20)


def with_openai(url):
    answer = openai_client(url).chat.completions.create(model="m", messages=MESSAGES, max_tokens=9)
    return answer.choices[0].message.content


def with_openai_stream(url):
    chat = openai_client(url).chat.completions
    pieces = chat.create(model="m", messages=MESSAGES, max_tokens=9, stream=True)
    return "".join(piece.choices[0].delta.content or "" for piece in pieces)


def with_anthropic(url):
    import anthropic

    base = os.environ.get("AEGIS_BASE_URL", url)
    token = os.environ.get("AEGIS_TOKEN")
    # Against the gateway itself the SDK's bearer token is the agent's; through a proxy the key is the upstream's.
    who = {"auth_token": token} if token else {"api_key": "the-agents-own-key"}
    client = anthropic.Anthropic(base_url=base, max_retries=0, timeout=20, **who)
    answer = client.messages.create(model="m", messages=MESSAGES, max_tokens=9)
    return answer.content[0].text


def with_openai_overrun(url):
    """A stream that the gateway ends: what the SDK raises."""
    import openai

    try:
        with_openai_stream(url)
    except openai.APIError as error:
        return f"{type(error).__name__} {error.message} {error.code}"


def with_anthropic_overrun(url):
    import anthropic

    client = anthropic.Anthropic(
        base_url=os.environ["AEGIS_BASE_URL"], auth_token=os.environ["AEGIS_TOKEN"], max_retries=0, timeout=20
    )
    try:
        for _ in client.messages.create(model="m", messages=MESSAGES, max_tokens=9, stream=True):
            pass
    except anthropic.APIError as error:
        return f"{type(error).__name__} {error.message}"


def with_websockets(url):
    """Its asyncio client: the threaded one reads and writes one TLS socket from two threads, which Python's `ssl` does not
    bear, and about one opening handshake in 300 then waits for ever on a busy machine, with no gateway between."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    trusted = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    options = {"ssl": trusted, "max_size": None, "subprotocols": ["probe.v1"]}
    large = bytes(range(256)) * 16_384

    async def heard(socket):
        return await asyncio.wait_for(socket.recv(), 20)

    async def talk():
        async with connect(url, **options) as socket:
            extensions = [extension.name for extension in socket.protocol.extensions]
            for message in ["hello", large, "again"]:
                await socket.send(message)
                assert await heard(socket) == message
            await socket.send(["in ", "three ", "frames"])
            assert await heard(socket) == "in three frames"
            await asyncio.wait_for(await socket.ping(), 20)
            await socket.send("ping me")
            assert await heard(socket) == "ponged"
            subprotocol = socket.subprotocol
        ours = socket.close_code
        async with connect(url, **options) as socket:
            await socket.send("end it")
            try:
                await heard(socket)
            except ConnectionClosed as closed:
                theirs = f"{closed.rcvd.code} {closed.rcvd.reason}"
        return f"{extensions} {subprotocol}, closed here {ours}, closed there {theirs}"

    return asyncio.run(talk())


def with_aiohttp_websocket(url):
    import aiohttp

    offered = {"compress": 15, "protocols": ["probe.v1"]}

    async def talk():
        trusted = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
        async with aiohttp.ClientSession(trust_env=True) as session:
            async with session.ws_connect(url, ssl=trusted, **offered) as socket:
                await socket.send_str("hello " * 50_000)
                heard = await socket.receive_str(timeout=20)
                await socket.close()
                return f"{len(heard)} compress={socket.compress} closed={socket.close_code}"

    return asyncio.run(talk())


def with_grpc(target):
    """Every shape of call at one service, on one channel."""
    import grpc

    target, service = target.split("/")
    with grpc.secure_channel(target, grpc.ssl_channel_credentials()) as channel:
        if service == "probe.Judged":
            return judged(grpc, channel, service)
        return streamed(grpc, channel, service)


def judged(grpc, channel, service):
    """Calls whose requests are whole before anything is answered: all but conversations."""
    echo = channel.unary_unary(f"/{service}/echo")
    answer, call = echo.with_call(b"hello", timeout=20)
    assert answer == b"hello"
    assert ("probe-trailer", "kept") in call.trailing_metadata(), call.trailing_metadata()
    assert ("probe-bin", b"\x00\xff") in call.trailing_metadata()
    large = b"x" * 3_000_000
    assert echo(large, timeout=20) == large
    together = [echo.future(str(number).encode(), timeout=20) for number in range(20)]
    assert [one.result() for one in together] == [str(number).encode() for number in range(20)]
    try:
        channel.unary_unary(f"/{service}/refuse")(b"", timeout=20)
    except grpc.RpcError as error:
        refused = f"{error.code().name} {error.details()} {dict(error.trailing_metadata())['probe-trailer']}"
    try:
        channel.unary_unary(f"/{service}/wait")(b"", timeout=1)
    except grpc.RpcError as error:
        late = error.code().name
    release = channel.unary_unary(f"/{service}/release")
    counting = channel.unary_stream(f"/{service}/count")(b"", timeout=20)
    assert next(counting) == b"1"
    release(b"", timeout=20)
    assert list(counting) == [b"2"]
    broken = []
    try:
        broken.extend(channel.unary_stream(f"/{service}/break_off")(b"", timeout=20))
    except grpc.RpcError as error:
        broken = error.code().name
    added = channel.stream_unary(f"/{service}/add")(iter([b"12", b"345"]), timeout=20)
    return f"{refused}, {late}, {broken}, {added.decode()}: 28 calls"


def streamed(grpc, channel, service):
    """Conversations: each side waits for the other before it goes on."""
    said = queue.Queue()
    talk = channel.stream_stream(f"/{service}/talk")(iter(said.get, None), timeout=20)
    heard = []
    for word in [b"one", b"two", b"three"]:
        said.put(word)
        heard.append(next(talk).decode())
    said.put(None)
    assert list(talk) == []
    left = channel.stream_stream(f"/{service}/talk")(iter(said.get, None), timeout=20)
    said.put(b"more")
    assert next(left) == b"MORE"
    left.cancel()
    said.put(None)
    added = channel.stream_unary(f"/{service}/add")(iter([b"x" * 65_536] * 100), timeout=20)
    return f"{heard} {talk.code().name}, {left.code().name}, {added.decode()}: 3 calls"


if __name__ == "__main__":
    library, url = sys.argv[1:3]
    print(globals()[f"with_{library}"](url))
