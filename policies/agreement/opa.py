#!/usr/bin/env python3
"""Real OPA for the agreement tests, through the C interface of a Go library; our crates may not hold unsafe code.

    opa.py fetch DIR      put libopabridge.so (OPA 1.20.2) into DIR, from PyPI, checked against its SHA-256
    opa.py serve LIBRARY  answer commands on stdin, one line each, until it ends

Commands, and what comes back as one line of JSON:

    load {"modules": {path: source}, "data": {..}}   {"result": true} or OPA's first error; replaces what was loaded
    eval DOCUMENT INPUT                              OPA's own answer; DOCUMENT is written without `data.`
    time ROUNDS DOCUMENT INPUT                       [nanoseconds, ..], each over the C call with its JSON in and out
"""

import ctypes
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import zipfile

PACKAGE = "opa-golib-python-bindings==0.4.4"
SHA256 = "d411c901e14b8c7c3023e23e4a944f4cf429c1d31baf80e959e57d11efbfd24a"
MEMBER = "opa_bindings/libopabridge.so"


def fetch(folder):
    library = folder / "libopabridge.so"
    if library.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as downloads:
        # The package asks for a newer Python than its library needs.
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
             "--python-version", "3.14", "--dest", downloads, PACKAGE],
            check=True,
        )
        (wheel,) = pathlib.Path(downloads).glob("*.whl")
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != SHA256:
            sys.exit(f"{wheel.name}: SHA-256 is {found}, expected {SHA256}")
        # Moved into place when complete, so that an interrupted fetch leaves nothing behind.
        partial = folder / "libopabridge.so.part"
        partial.write_bytes(zipfile.ZipFile(wheel).read(MEMBER))
        partial.rename(library)


class Opa:
    """One loaded policy."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path)
        text, handle = ctypes.c_char_p, ctypes.c_uint64
        for name, result, arguments in [
            ("OpaNew", handle, []),
            ("OpaDestroy", None, [handle]),
            # Typed as a plain pointer, so that it can be freed.
            ("OpaFreeString", None, [ctypes.c_void_p]),
            ("OpaAddPolicy", ctypes.c_void_p, [handle, text, text]),
            ("OpaAddData", ctypes.c_void_p, [handle, text, text]),
            ("OpaEvalDocument", ctypes.c_void_p, [handle, text, text, ctypes.c_int, ctypes.c_int]),
        ]:
            function = getattr(self.library, name)
            function.restype, function.argtypes = result, arguments
        self.handle = self.library.OpaNew()

    def taken(self, pointer):
        answer = ctypes.string_at(pointer)
        self.library.OpaFreeString(pointer)
        return answer

    def load(self, text):
        self.library.OpaDestroy(self.handle)
        self.handle = self.library.OpaNew()
        policy = json.loads(text)
        answers = [
            self.taken(self.library.OpaAddPolicy(self.handle, path.encode(), source.encode()))
            for path, source in policy["modules"].items()
        ]
        data = json.dumps(policy["data"]).encode()
        answers.append(self.taken(self.library.OpaAddData(self.handle, b"", data)))
        return next((answer for answer in answers if b'"error"' in answer), b'{"result":true}')

    def call(self, document, document_input):
        return self.library.OpaEvalDocument(self.handle, document, document_input, 0, 0)

    def timed(self, rounds, document, document_input):
        taken = []
        for _ in range(int(rounds)):
            before = time.perf_counter_ns()
            pointer = self.call(document, document_input)
            taken.append(time.perf_counter_ns() - before)
            self.library.OpaFreeString(pointer)
        return json.dumps(taken).encode()


def serve(path):
    opa = Opa(path)
    for line in sys.stdin.buffer:
        command, _, rest = line.rstrip(b"\n").partition(b" ")
        if command == b"load":
            answer = opa.load(rest)
        elif command == b"eval":
            answer = opa.taken(opa.call(*rest.split(b" ", 1)))
        elif command == b"time":
            answer = opa.timed(*rest.split(b" ", 2))
        else:
            sys.exit("unknown command")
        sys.stdout.buffer.write(answer + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fetch", folder]:
            fetch(pathlib.Path(folder))
        case ["serve", library]:
            serve(library)
        case _:
            sys.exit(__doc__)
