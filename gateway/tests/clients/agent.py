"""An agent as people write them: one call with a well-known library, configured by the environment alone.

Usage: agent.py LIBRARY URL. The proxy comes from HTTPS_PROXY, the authority from SSL_CERT_FILE; SDKs may be given
AEGIS_BASE_URL and AEGIS_TOKEN instead of a proxy. Prints what came back; the test beside it holds the expectations.
"""

import asyncio
import os
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


if __name__ == "__main__":
    library, url = sys.argv[1:3]
    print(globals()[f"with_{library}"](url))
