#!/usr/bin/env python3
"""A second verifier for the audit log, written from docs/spec/audit.md alone, with nothing but Python's standard library.

usage: verify.py <trust.policy> <directory>                 verify a log in the journal's own directory
       verify.py <trust.policy> --bucket <folder>           verify a log that was shipped to a folder
       verify.py <trust.policy> --proof <file>              verify one record, or a file of disclosures
       verify.py <trust.policy> --tenant-package <file>     verify that these are all records of one tenant
       verify.py --vectors <folder>                         judge the published vectors, and all that is done to them there
Says what it found and where, and then PASS (0), FAIL (1), SUSPECT (1) or INCOMPLETE (3). It is slow, and meant to be read.
"""

import base64
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import stat
import struct
import sys
import tempfile
import zlib

MAX_RECORD, MAX_FILE, MAX_WIDE = 16_384, 128 << 20, 2**64 - 1


class Bad(Exception):
    """Something does not hold."""


class Unreadable(Exception):
    """Something could not be read, so nobody can tell."""


def need(condition, what):
    if not condition:
        raise Bad(what)


def sha(data):
    return hashlib.sha256(data).digest()


def leaf(record):
    return sha(b"\0" + record)


def b64(text):
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "base64 is not canonical")
    return data


def hash_of(text):
    data = b64(text)
    need(len(data) == 32, "a hash has another length")
    return data


def standard(data):
    return base64.b64encode(data).decode()


def url64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def of_url64(text):
    return base64.urlsafe_b64decode(text + "=")


def number(text):
    need(re.fullmatch("0|[1-9][0-9]*", text) and int(text) <= MAX_WIDE, "a number has another form")
    return int(text)


# -- Ed25519 (RFC 8032 section 5.1), checks only --------------------------------------------------------------------
P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(a, b):
    (x1, y1, z1, t1), (x2, y2, z2, t2) = a, b
    e, f = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    g, h = 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    a, b, c, d = f - e, h - g, h + g, f + e
    return a * b % P, c * d % P, b * c % P, a * d % P


def times(n, point):
    result = (0, 1, 1, 0)
    while n:
        if n & 1:
            result = add(result, point)
        point, n = add(point, point), n >> 1
    return result


def same(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def point(data):
    y, sign = int.from_bytes(data, "little"), data[31] >> 7
    y &= (1 << 255) - 1
    need(y < P, "a point has a second encoding")
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    need(x * x % P == square and not (x == 0 and sign), "bytes are no point of the curve")
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BY = 4 * pow(5, P - 2, P) % P
BASE = point(BY.to_bytes(32, "little"))
NEUTRAL = (0, 1, 1, 0)


@functools.lru_cache(None)
def check_signature(key, message, signature):
    """Raises where it does not hold; one that holds is computed once."""
    need(len(signature) == 64 and len(key) == 32, "a signature or key has another length")
    r, s = point(signature[:32]), int.from_bytes(signature[32:], "little")
    a = point(key)
    need(s < Q, "a signature has a second encoding")
    need(not same(times(8, a), NEUTRAL) and not same(times(8, r), NEUTRAL), "a point is of small order")
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % Q
    need(same(times(s, BASE), add(r, times(h, a))), "a signature does not verify")


# -- C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-policy -----------------------------------------------------
def read_vkey(vkey, kind):
    """A key's name, id and bytes."""
    need(vkey.count("+") >= 2, "a key is not name+hash+key")
    name, hash_, key = vkey.split("+", 2)
    key = b64(key)
    need(name and not re.search(r"\s", name), "a key has no name")
    need(len(key) == 33 and key[0] == kind, "a key is of another kind")
    id_ = sha(name.encode() + b"\n" + key)[:4]
    need(id_.hex() == hash_, "a key's hash is not its own")
    need(not same(times(8, point(key[1:])), NEUTRAL), "a key is of small order")
    return name, id_, key[1:]


read_vkey = functools.lru_cache(None)(read_vkey)


def name_of(vkey):
    return read_vkey(vkey, 1)[0]


def check_blob(vkey, text, blob):
    _, id_, key = read_vkey(vkey, 1)
    blob = b64(blob)
    need(blob[:4] == id_, "a signature is of another key")
    check_signature(key, text.encode(), blob[4:])


def split_note(note):
    """Text and signature lines, each as name and blob."""
    need(len(note.encode()) <= 65_536, "a note is too long")
    need(not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", note), "a note has control characters")
    at = note.rfind("\n\n")
    need(at >= 0 and note.endswith("\n") and note[at + 2 :], "no signed note")
    lines = []
    for line in note[at + 2 : -1].split("\n"):
        need(line.startswith("\u2014 ") and line.count(" ") >= 2, "a signature line has another form")
        name, blob = line[2:].split(" ", 1)
        lines.append((name, b64(blob)))
    return note[: at + 1], lines


def open_note(vkey, note):
    text, lines = split_note(note)
    name, id_, key = read_vkey(vkey, 1)
    ours = [blob for named, blob in lines if named == name and blob[:4] == id_]
    need(len(ours) == 1, f"{name} did not sign a note, or twice")
    check_signature(key, text.encode(), ours[0][4:])
    return text


def checkpoint(origin, size, root):
    return f"{origin}\n{size}\n{standard(root)}\n"


def open_head(vkey, note, origin=None):
    """Size and root of a signed head of the key's own log, or of that one."""
    lines = open_note(vkey, note).split("\n")
    need(len(lines) == 4 and lines[3] == "" and lines[0] == (origin or name_of(vkey)), "a head is of another log")
    return number(lines[1]), hash_of(lines[2])


class Trust:
    """Registries by name and key, witnesses, and who must have cosigned a head."""

    def __init__(self, text):
        self.logs, self.witnesses, self.groups, quorums, grouped = {}, {}, {}, [], set()
        keys, revoked = set(), []
        for line in re.split("\r?\n", text):
            words = re.split("[ \t]+", line.strip(" \t"))
            if words == [""] or words[0].startswith("#"):
                continue
            kind, rest = words[0], words[1:]
            if kind == "log" and len(rest) in (1, 2):
                origin, _, key = read_vkey(rest[0], 1)
                need(speaks_for(parse_origin(origin)) is not None, f"{origin} is no registry")
                need(key not in keys, "a key stands there twice")
                keys.add(key)
                self.logs[origin] = rest[0]
            elif kind == "witness" and len(rest) in (2, 3):
                need(rest[0] not in (*self.witnesses, *self.groups, "none"), f"{rest[0]} is taken")
                known = read_vkey(rest[1], 4)
                need(known[2] not in [one[2] for one in self.witnesses.values()], "a witness stands there twice")
                self.witnesses[rest[0]] = known
            elif kind == "group" and len(rest) >= 2:
                name, least, *members = rest
                need(name not in (*self.witnesses, *self.groups, "none"), f"{name} is taken")
                for member in members:
                    need(member in self.witnesses or member in self.groups, f"{member} is not known")
                    need(member not in grouped, f"{member} is in a group already")
                    grouped.add(member)
                least = {"any": 1, "all": len(members)}.get(least) or number(least)
                need(1 <= least <= len(members), f"{name} asks for none, or for more than it has")
                self.groups[name] = (least, members)
            elif kind == "quorum" and len(rest) == 1:
                need(rest[0] in ("none", *self.witnesses, *self.groups), f"{rest[0]} is not known")
                quorums.append(rest[0])
            elif kind == "revoke" and len(rest) == 3:
                revoked.append(rest)
            else:
                raise Bad("a line of the trust file is not understood")
        need(self.logs and len(quorums) == 1, "the trust file names no registry, or not one quorum")
        self.quorum = None if quorums == ["none"] else quorums[0]
        # How far the streams are believed whose keys were revoked.
        self.revoked = {}
        for origin, size, root in revoked:
            parse_origin(origin)
            need(any(vouches(name, origin) for name in self.logs) and origin not in self.revoked, f"{origin} is revoked in vain")
            self.revoked[origin] = number(size), hash_of(root)
            need(number(size) or hash_of(root) == sha(b""), f"{origin}: nothing has another root")

    def keys_for(self, origin):
        """Of the registries that may speak for this log."""
        return [vkey for name, vkey in self.logs.items() if name == origin or vouches(name, origin)]

    def believes(self, origin, size, root):
        """Whether a head of this stream is believed without its records: a thief signs a smaller one over others just as well."""
        stands = self.revoked.get(origin)
        return not stands or (size, root) == stands

    def regions(self):
        return sorted({tuple(name.split("/")[:2]) for name in self.logs})

    def cosigned(self, note):
        """When enough witnesses had seen the head, in seconds; raises where one of them did not sign what stands there."""
        text, lines = split_note(note)
        seen = {}
        for name, (signer, id_, key) in self.witnesses.items():
            for named, blob in lines:
                if (named, blob[:4]) == (signer, id_):
                    need(len(blob) == 76, "a cosignature has another length")
                    (at,) = struct.unpack(">Q", blob[4:12])
                    check_signature(key, f"cosignature/v1\ntime {at}\n{text}".encode(), blob[12:])
                    seen[name] = max(at, seen.get(name, 0))
        return self.met_at(self.quorum, seen) if self.quorum else None

    def met_at(self, name, seen):
        if name in self.witnesses:
            return seen.get(name)
        least, members = self.groups[name]
        met = sorted((at for at in (self.met_at(one, seen) for one in members) if at is not None), reverse=True)
        return met[least - 1] if len(met) >= least else None


# -- origins and paths ---------------------------------------------------------------------------------------------------
def parse_origin(text):
    parts = text.split("/")
    need(len(text.encode()) <= 255 and len(parts) == 4, f"{text!r} is no origin")
    need(all(re.fullmatch("[a-z0-9.-]+", part) and part.strip(".") for part in parts), f"{text!r} is no origin")
    number(parts[3])
    return text


def speaks_for(origin):
    """A registry's writer, empty where that is every one; of a stream, nothing."""
    writer = origin.split("/")[2]
    if writer == "registry":
        return ""
    return writer[9:] if writer.startswith("registry.") and len(writer) > 9 else None


def vouches(registry, stream):
    """A registry speaks for its own writer; one that is called `registry` alone, for all of its region."""
    (*place, _, _), (*its, writer, _) = registry.split("/"), stream.split("/")
    whose = speaks_for(registry)
    return place == its and speaks_for(stream) is None and whose is not None and whose in ("", writer)


def folder_of(origin):
    _, _, writer, life = origin.split("/")
    return f"streams/{writer}/{life.zfill(20)}" if speaks_for(origin) is None else f"{writer}/{life}"


def twenty(name, ending):
    digits = name[: -len(ending)]
    return int(digits) if name.endswith(ending) and re.fullmatch("[0-9]{20}", digits) and int(digits) <= MAX_WIDE else None


# -- the tree (RFC 6962 section 2.1) ----------------------------------------------------------------------------------
class Tree:
    def __init__(self, size=0, peaks=()):
        self.size, self.peaks = size, list(peaks)

    def push(self, hash_):
        size = self.size
        while size & 1:
            hash_, size = sha(b"\1" + self.peaks.pop() + hash_), size >> 1
        self.peaks.append(hash_)
        self.size += 1

    def root(self):
        if not self.peaks:
            return sha(b"")
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = sha(b"\1" + peak + root)
        return root


def root_of_some(size, leaves, path):
    """The root of a tree of which some leaves are known, and of the rest the largest subtrees' roots, left to right."""
    path = iter(path)

    def root(first, size, known):
        if not known:
            return next(path, b"")
        if size == 1:
            return known[0][1]
        left = 1 << (size - 1).bit_length() - 1
        here = [one for one in known if one[0] < first + left]
        below = root(first, left, here)
        return sha(b"\1" + below + root(first + left, size - left, known[len(here) :]))

    places = [place for place, _ in leaves]
    need(places == sorted(set(places)) and all(place < size for place in places), "leaves are out of order")
    found = root(0, size, leaves)
    need(next(path, None) is None, "more hashes than are needed")
    return found


def root_by_path(index, size, hash_, path):
    need(index < size, "the index is beyond the tree")
    at, last = index, size - 1
    for sibling in path:
        need(last, "the path is too long")
        if at & 1 or at == last:
            hash_ = sha(b"\1" + sibling + hash_)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            hash_ = sha(b"\1" + hash_ + sibling)
        at, last = at >> 1, last >> 1
    need(last == 0, "the path is too short")
    return hash_


# -- records: one way to write each ----------------------------------------------------------------------------------------
def text_of(pattern, most=320):
    return ("text", re.compile(pattern, re.ASCII), most)


TEXT, LABEL = text_of(r"(?s).*"), text_of("[a-z0-9-]{1,63}")
NAME, TOKEN = text_of("[a-z0-9._-]{1,128}"), text_of("[A-Za-z0-9._:/@-]{1,128}")
HASH, WIDE, ULID = text_of("[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"), text_of("[0-9]{20}"), text_of("[0-7][0-9A-HJKMNP-TV-Z]{25}")
ORIGIN, REASON, STEP = text_of("[a-z0-9./-]{7,255}"), text_of("[A-Za-z0-9]{1,64}"), text_of("0|-?[1-9][0-9]{0,18}")
NUMBER, SHORT, SMALL = 2**53 - 1, 2**16 - 1, 2**32 - 1
ITEM = text_of(r"(?s).*", 128)
one_of = lambda *words: text_of("|".join(words))
TRACE = text_of("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
PREVIOUS = {"origin": ORIGIN, "size": WIDE, "root": HASH}
BODY, ROSTER = {"sha256": HASH, "size": NUMBER}, {"count": WIDE, "root": HASH}
TAIL = {"file": WIDE, "offset": WIDE, "bytes": WIDE, "sha256": HASH}
REDACTIONS = [{"rule": TOKEN, "count": SMALL}]
HEAD_OF = {"origin": ORIGIN, "size": WIDE, "root": HASH}
# Fields in their order; a name that ends in `?` may be left out, and so may an empty list.
KINDS = {
    "genesis": {"origin": ORIGIN, "vkey": TEXT, "build": TEXT, "config_sha256": HASH, "previous?": PREVIOUS},
    "anchor_ref": {"registry": ORIGIN, "size": WIDE, "root": HASH},
    "decision": {
        "tenant?": LABEL, "id": ULID, "trace?": TRACE, "org?": LABEL, "region": LABEL, "agent?": TOKEN,
        "parent_agent?": TOKEN, "jti?": HASH, "token_use?": one_of("bound", "once"), "tool?": NAME, "route?": NAME,
        "dest?": {"host": text_of("[a-z0-9._:-]{1,253}"), "port": SHORT, "method": text_of("[A-Z0-9-]{1,32}"), "path": HASH},
        "kind?": one_of("read", "write"), "policy?": {"revision": TEXT, "version": WIDE, "bundle_sha256": TEXT},
        "rules": [TOKEN], "would": [TOKEN], "exceptions": [TOKEN], "mode": one_of("enforce", "shadow", "dry_run"),
        "decision": one_of("allow", "sanitize", "approval_needed", "deny"), "reason": REASON,
        "params?": {"alg": one_of("sha256"), "hash": HASH}, "body_in?": BODY, "body_out?": BODY, "redactions": REDACTIONS,
        "approval_id?": ULID,
        "budget?": {"keys": [ITEM], "held_microusd": NUMBER, "estimate?": one_of("soft"), "warned": [ITEM]},
        "est_cost_microusd": NUMBER, "eval_us": NUMBER, "att_kid?": text_of("[!-~]{1,128}"),
        "degraded?": one_of("hot_state_outage"), "outcome": one_of("follows", "none"), "_sd": [HASH],
    },
    "outcome": {
        "tenant?": LABEL, "of_origin?": ORIGIN, "of": WIDE, "id": ULID, "agent?": TOKEN, "tool?": NAME, "status?": SHORT,
        "bytes": NUMBER, "sent?": NUMBER, "cost_microusd": NUMBER, "est_cost_microusd": NUMBER, "dur_us": NUMBER,
        "reason": REASON, "usage?": {"tokens_in": NUMBER, "tokens_out": NUMBER}, "redactions": REDACTIONS, "_sd": [HASH],
    },
    "change": {"tenant?": LABEL, "revision": WIDE, "by": TEXT, "act": TEXT, "target?": TEXT, "command_sha256": HASH},
    "clock": {"step_ns": STEP},
    "tenant_seal": {"tenant": LABEL, "last_tseq": WIDE, "last_leaf": HASH},
    "seal": {
        **dict.fromkeys(("first", "records", "allow", "sanitize", "approval_needed", "deny"), WIDE),
        **dict.fromkeys(("outcomes", "cost_microusd", "first_ts", "last_ts"), WIDE), "manifest?": HASH,
    },
    "close": {},
    "stream_born": {"origin": ORIGIN, "vkey": TEXT, "previous?": PREVIOUS},
    "anchor": {**HEAD_OF, "tenants?": ROSTER, "sig": TEXT},
    "stream_failed": {**HEAD_OF, "error": TEXT},
    "stream_revoked": {**HEAD_OF, "reason": TEXT},
    "stream_closed": {
        **HEAD_OF, "tenants?": ROSTER, "how": one_of("closed", "crashed", "io_error", "rolled_back", "forked"), "torn?": TAIL,
    },
    "gap": TAIL,
    "head": {"size": WIDE, "root": HASH, "sig": TEXT},
}
OF_REGISTRY = ("stream_born", "anchor", "stream_failed", "stream_revoked", "stream_closed", "gap", "head")
PLACE = ("v", "seq", "prev", "tseq", "tprev", "ts", "mono", "k")


def unique(pairs):
    need(len(dict(pairs)) == len(pairs), "a record has a key twice")
    return dict(pairs)


def parse_record(record):
    """All fields of a record whose place was checked; raises where it is written in any other way."""
    need(len(record) <= MAX_RECORD, "a record is too long")
    try:
        fields = json.loads(record.decode(), object_pairs_hook=unique)
        again = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        raise Bad("a record is no JSON in UTF-8")
    need(type(fields) is dict and again == record and tuple(fields)[:8] == PLACE, "a record is written in another way")
    need(fields["k"] in KINDS, "a record is of no known kind")
    check_fields({name: value for name, value in fields.items() if name not in PLACE}, KINDS[fields["k"]])
    for name in ("origin", "registry", "of_origin"):
        parse_origin(fields.get(name, "a/b/c/0"))
    return fields


def check_fields(fields, form):
    need(type(fields) is dict, "a field is no object")
    left = list(fields)
    for name, kind in form.items():
        bare = name.rstrip("?")
        if left[:1] == [bare]:
            check_value(bare, fields[left.pop(0)], kind)
        else:
            need(name.endswith("?") or type(kind) is list, f"{bare} is missing")
    need(not left, f"{', '.join(left)}: no such field here")


def check_value(name, value, kind):
    if type(kind) is dict:
        check_fields(value, kind)
        need(name != "tenants" or value["count"] != "0" * 20, "a roster of nobody")
    elif type(kind) is list:
        need(type(value) is list and 1 <= len(value) <= 20, f"{name} has none or too many")
        for item in value:
            check_value(name, item, kind[0])
    elif type(kind) is int:
        need(type(value) is int and 0 <= value <= kind, f"{name} is no such number")
    else:
        need(type(value) is str and kind[1].fullmatch(value) and len(value.encode()) <= kind[2], f"{name} is malformed")
        need(kind is not WIDE or int(value) <= MAX_WIDE, f"{name} is too large")


# -- links: each record at its place -------------------------------------------------------------------------------------
FIXED = re.compile(
    rb'\{"v":1,"seq":"([0-9]{20})","prev":"(.{43})","tseq":"([0-9]{20})","tprev":"(.{43})","ts":"([0-9]{19})","mono":"([0-9]{19})"'
    rb',"k":"([^"]*)"(?:,"tenant":"([^"]*)")?', re.DOTALL)
CLOCK_STEP = 250_000_000


class Step:
    """A record that stands at its place."""

    def __init__(self, record, found, offset, step_ns):
        self.record, self.offset, self.step_ns = record, offset, step_ns
        self.seq, self.tseq, self.tprev = int(found[1]), int(found[3]), found[4].decode()
        self.ts, self.mono, self.kind = int(found[5]), int(found[6]), found[7].decode()


class Link(Bad):
    """A record that is not the one due; `changed` where the one before is to blame."""

    def __init__(self, what, changed=False):
        super().__init__(what)
        self.changed = changed


def before_tenant(origin, tenant):
    return sha(f"aegis.dev/audit/tenant/v1\n{origin}\n{tenant}".encode())


class Walker:
    """Follows a stream record by record."""

    def __init__(self, origin):
        self.origin, self.tree, self.tenants, self.mono, self.clock = origin, Tree(), {}, 0, None
        self.prev = sha(b"aegis.dev/audit/genesis/v1\n" + origin.encode())

    def copy(self):
        other = Walker(self.origin)
        other.tree, other.tenants = Tree(self.tree.size, self.tree.peaks), dict(self.tenants)
        other.mono, other.clock, other.prev = self.mono, self.clock, self.prev
        return other

    @property
    def size(self):
        return self.tree.size

    def take(self, record, offset=0):
        """Checks that the record is the next one; what it returns must be accepted."""
        found = FIXED.match(record)
        try:
            tenant = found[8].decode() if found and found[8] is not None else None
            kind = found[7].decode() if found else ""
        except UnicodeDecodeError:
            found = None
        if not found or max(int(found[1]), int(found[3])) > MAX_WIDE:
            raise Link("a record's head is not in the fixed form")
        due, prev = (0, bytes(32)), url64(self.prev).encode()
        if tenant is not None:
            due = self.tenants.get(tenant, (0, before_tenant(self.origin, tenant)))
        if int(found[1]) != self.size:
            raise Link(f"is number {int(found[1])}")
        if found[2] != prev:
            if not re.fullmatch(b"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", found[2]):
                raise Link("a record's head is not in the fixed form")
            raise Link("does not link to the record before", changed=True)
        if (int(found[3]), found[4]) != (due[0], url64(due[1]).encode()):
            raise Link("does not follow its tenant's record before")
        if int(found[6]) < self.mono:
            raise Link("the clock goes backwards")
        now = int(found[5]) - int(found[6])
        step = 0 if self.clock is None else now - self.clock
        large, announced = abs(step) > CLOCK_STEP, kind == "clock"
        one = Step(record, found, offset, step if large and not announced else None)
        one.next = (tenant, due[0] + 1, now if large or announced or self.clock is None else self.clock)
        return one

    def accept(self, one):
        tenant, tseq, self.clock = one.next
        self.prev, self.mono = leaf(one.record), one.mono
        self.tree.push(self.prev)
        if tenant is not None:
            self.tenants[tenant] = (tseq, self.prev)

    def roster(self):
        """What a head says of the tenants in its stream."""
        tree = Tree()
        for tenant, (records, last) in self.tenants.items():
            need(records > 0, "a tenant has no records")
        for line in sorted(roster_line(self.origin, *one) for one in self.tenants.items()):
            tree.push(leaf(line))
        return {"count": "%020d" % tree.size, "root": url64(tree.root())} if self.tenants else None


def roster_line(origin, tenant, reach):
    return before_tenant(origin, tenant) + sha(struct.pack(">Q", reach[0]) + reach[1])


# -- log files -------------------------------------------------------------------------------------------------------------
TABLE = []
for i in range(256):
    for _ in range(8):
        i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
    TABLE.append(i)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF

def tail_of(first, data, offset):
    rest = data[offset:].rstrip(b"\0")
    wide = lambda number: "%020d" % number
    return {"file": wide(first), "offset": wide(offset), "bytes": wide(len(rest)), "sha256": url64(sha(rest))} if rest else None


def header_end(data, origin):
    """Where the records of a file begin, and the number of the first; nothing where the header is not whole."""
    if len(data) < 22 or data[:12] != b"AEGISWAL\0\0\0\1":
        return None
    first, length = struct.unpack(">QH", data[12:22])
    end = 22 + length
    if len(data) < end + 4 or data[end : end + 4] != struct.pack(">I", crc32c(data[:end])):
        return None
    try:
        return end + 4, first, parse_origin(data[22:end].decode()) == origin
    except (Bad, UnicodeDecodeError):
        return None


def walk_file(walker, first, data, each):
    """Hands out the records of a file; then ("clean",), ("torn", tail, why), ("broken", offset, error) or ("misplaced",)."""
    if type(data) is list:  # a segment
        frames, begins, its = data, first, True
    else:
        header = header_end(data, walker.origin)
        if header is None:
            tail = tail_of(first, data, 0)
            return ("torn", tail, "no whole header") if tail else ("clean",)
        (at, begins, its), frames = header, None
    if not its or begins != first or first != walker.size:
        return ("misplaced",)
    if frames is not None:
        frames = iter([(0, record) for record in frames])
    else:
        frames = read_frames(first, data, at)
    for offset, record in frames:
        if type(record) is tuple:
            return record
        try:
            step = walker.take(record, offset)
        except Link as error:
            return ("broken", offset, error)
        each(walker, step)
        walker.accept(step)
    return ("clean",)


def read_frames(first, data, at):
    while True:
        tail = tail_of(first, data, at)
        if tail is None:
            return
        if len(data) - at < 8:
            yield at, ("torn", tail, "bytes stand after the last frame")
        size, crc = struct.unpack(">II", data[at : at + 8])
        record = data[at + 8 : at + 8 + size]
        if size == 0 or size > MAX_RECORD or len(record) < size or crc32c(record) != crc:
            yield at, ("torn", tail, "no whole record")
        yield at, record
        at += 8 + size


# -- where a log lies ------------------------------------------------------------------------------------------------------
class Directory:
    """The journal's own directory, or a copy of it."""

    is_bucket, found = False, ()

    def __init__(self, root):
        self.root = pathlib.Path(root)
        need(self.root.is_dir(), f"{root}: no directory")

    def list(self, folder):
        try:
            return sorted(os.listdir(self.root / folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Unreadable(f"{folder}: {error.strerror}")

    def read(self, path):
        return read_plain(self.root / path, path)


def read_plain(path, name, look=os.lstat):
    """A file's bytes; nothing where there is none. A copy that was handed over may hold anything in a file's place."""
    try:
        found = look(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE:
            raise Unreadable(f"{name}: no plain file, or too long")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(f"{name}: {error.strerror}")


class Bucket:
    """A folder that a log was shipped to, read as if it were the journal's directory."""

    is_bucket = True

    def __init__(self, root, trust, place):
        self.root, self.trust, self.domain, self.region = pathlib.Path(root), trust, *place
        self.found, self.carried, self.objects, self.files, self.names = [], {}, {}, {}, {}
        top = self.root / "v1" / self.region
        for folder, _, names in sorted(os.walk(top)):
            for name in sorted(names):
                path = pathlib.Path(folder) / name
                self.take(path.relative_to(self.root).as_posix(), path)
        before = None
        for path in sorted(self.files):
            if type(self.files[path]) is dict:
                segment = self.files[path]
                segment["before"] = before if before and before["origin"] == segment["origin"] else None
                before = segment
            while "/" in path:
                path, name = path.rsplit("/", 1)
                self.names.setdefault(path, set()).add(name)

    def take(self, key, path):
        self.objects[key] = path
        parts = key.split("/")[2:]
        what = self.file_of(key, parts)
        if what is None or what[0] in self.files:
            self.found.append(f"{key}: an object stands here that the log did not write")
        elif what[0]:
            self.files[what[0]] = what[1]

    def file_of(self, key, parts):
        """The path that an object has in a journal's directory; empty where its manifest stands for it."""
        if len(parts) not in (3, 4) or not re.fullmatch("[0-9]{20}", parts[1]):
            return None
        try:
            origin = parse_origin(f"{self.domain}/{self.region}/{parts[0]}/{int(parts[1])}")
        except Bad:
            return None
        folder = folder_of(origin)
        if parts[2:] == ["genesis.note"]:
            return f"{folder}/genesis.note", key
        kind, name = (parts[2], parts[3]) if len(parts) == 4 else ("", "")
        if kind in ("cp", "wit") and twenty(name, ".note") is not None:
            return f"{folder}/{'heads' if kind == 'cp' else 'witnessed'}/{name}", key
        stem = re.fullmatch(r"([0-9]{20})-([0-9]{20})(\.man|\.rec\.gz|\.idx)", name)
        if kind != "seg" or not stem or int(stem[2]) >= MAX_WIDE:
            return None
        if stem[3] != ".man":
            return "", None
        segment = {"origin": origin, "key": key, "first": int(stem[1]), "size": int(stem[2]) + 1}
        return f"{folder}/wal/{stem[1]}.wal", segment

    def list(self, folder):
        return sorted(self.names.get(folder, ()))

    def object(self, key):
        if key not in self.objects:
            raise Bad(f"{key}: an object that the manifest names is gone")
        # A store has no links: what one in a folder that stands for it leads to is the object.
        data = read_plain(self.objects[key], key, os.stat)
        need(data is not None, f"{key}: gone")
        return data

    def read(self, path):
        what = self.files.get(path)
        if what is None or type(what) is str:
            return self.object(what) if what else None
        return self.segment(what)

    def manifest(self, segment):
        """A manifest's lines, and the hash of the note."""
        key = segment["key"]
        note = self.object(key)
        for vkey in self.trust.keys_for(segment["origin"]):
            try:
                lines = open_note(vkey, note.decode()).split("\n")
                break
            except (Bad, ValueError):
                continue
        else:
            raise Bad(f"{key}: no trusted key signed it")
        need(len(lines) == 12 and lines[0] == "aegis.dev/audit/segment@v2" and lines[11] == "", f"{key}: no manifest")
        parse_origin(lines[1])
        first, size = number(lines[2]), number(lines[3])
        hash_of(lines[4]), hash_of(lines[5])
        for digest in lines[6:9]:
            length, hash_ = digest.split(" ")
            number(length), hash_of(hash_)
        registry, (begin, end) = number(lines[9]), lines[10].split(" ")
        number(begin), number(end)
        need(first < size, f"{key}: no records")
        whose = name_of(vkey)
        self.carried[whose] = max(registry, self.carried.get(whose, 0))
        need((lines[1], first, size) == (segment["origin"], segment["first"], segment["size"]), f"{key}: another place")
        return lines, sha(note)

    def segment(self, segment):
        """The records of a segment."""
        lines, _ = self.manifest(segment)
        key, before = segment["key"], segment["before"]
        stem, first, size = key[: -len(".man")], segment["first"], segment["size"]
        said = self.manifest(before) if before else None
        # With one missing in between, the records say so by their numbers.
        if before and before["size"] == first:
            need(hash_of(lines[5]) == said[1], f"{key}: does not follow the manifest before")
        elif not before and first == 0:
            need(hash_of(lines[5]) == bytes(32), f"{key}: does not follow the manifest before")
        digest = lambda data: f"{len(data)} {standard(sha(data))}"
        packed = self.object(stem + ".rec.gz")
        need(lines[6] == digest(packed), f"{stem}.rec.gz: is another")
        try:
            data = gunzip(packed)
        except (OSError, EOFError, zlib.error):
            raise Bad(f"{stem}.rec.gz: no gzip")
        need(lines[7] == digest(data), f"{stem}.rec.gz: its records are others")
        records, rest = [], data
        while rest:
            length = struct.unpack(">H", rest[:2])[0] if len(rest) > 1 else 0
            need(0 < length <= MAX_RECORD and 2 + length <= len(rest), f"{stem}.rec.gz: bytes are no records")
            records.append(rest[2 : 2 + length])
            rest = rest[2 + length :]
        need(first + len(records) == size, f"{stem}.rec.gz: another number of records")
        try:
            index = self.object(stem + ".idx")
            need(lines[8] == digest(index), "the index is another")
            check_index(index, packed, records, (first, hash_of(lines[4])))
        except (Bad, OSError, EOFError, zlib.error, struct.error) as error:
            flaw = f"{stem}.idx: the index does not hold ({error})"
            self.found += [] if flaw in self.found else [flaw]
        return records


def gunzip(packed):
    """All members, and nothing else."""
    data = b""
    while packed:
        member = zlib.decompressobj(31)
        data += member.decompress(packed, MAX_FILE - len(data)) + member.flush()
        need(member.eof and len(data) < MAX_FILE, "a member does not end")
        packed = member.unused_data
    return data


def check_index(index, packed, records, end):
    """Holds the index against the members of the object, the records in them, and the root that the manifest has."""
    need(index[:12] == b"AEGISIDX\0\0\0\1", "no index")
    first, count = struct.unpack(">QQ", index[12:28])
    need((first, count) == (end[0], len(records)), "the index is of other records")
    groups = (first + count - 1) // 256 - first // 256 + 1
    peaks, words = index[28:][: 32 * bin(first).count("1")], index[28 + 32 * bin(first).count("1") :]
    begins, leaves = struct.unpack(f">{groups}Q", words[: 8 * groups]), words[8 * groups :]
    need(leaves == b"".join(leaf(record) for record in records), "the index has other hashes")
    tree = Tree(first, [peaks[at : at + 32] for at in range(0, len(peaks), 32)])
    at = first
    for begin, stop in zip(begins, begins[1:] + (len(packed),)):
        need(begin < stop and (begin == 0) == (at == first), "the members are not in order")
        many = min(first + count, at - at % 256 + 256) - at
        whole = b"".join(struct.pack(">H", len(one)) + one for one in records[at - first : at - first + many])
        member = zlib.decompressobj(31)
        need(member.decompress(packed[begin:stop]) == whole and member.eof and not member.unused_data, "another member")
        at += many
    for record in records:
        tree.push(leaf(record))
    need(tree.root() == end[1], "the index does not lead to the root")


# -- the registry ----------------------------------------------------------------------------------------------------------
class Stream:
    def __init__(self, born):
        self.origin, self.key, self.anchors, self.failed, self.closed = born["origin"], born["vkey"], [], None, None
        self.revoked = None

    def anchor_at(self, size):
        return next((one for one in self.anchors if one["size"] == size), None)

    def roots(self):
        """Every root that was signed of it. What it signed itself stands, whatever the registry says of its end."""
        said = [one for one in (self.closed, self.failed) if one] + self.anchors
        return {int(one["size"]): of_url64(one["root"]) for one in said}

    def stands(self, trust):
        """The heads up to which it is believed where its key was revoked, by its registry and by whoever verifies."""
        own = [(int(self.revoked["size"]), of_url64(self.revoked["root"]))] if self.revoked else []
        given = [trust.revoked[self.origin]] if self.origin in trust.revoked else []
        return sorted(own + given, key=lambda head: head[0])

    def rosters(self):
        said = [one for one in (self.closed,) if one] + self.anchors
        return {int(one["size"]): one.get("tenants") for one in said}


class Registry:
    """What a registry says up to its newest signed head; nothing counts that no signature covers."""

    def __init__(self, vkey):
        self.vkey, self.origin = vkey, name_of(vkey)
        self.streams, self.heads, self.times, self.walker = {}, {}, {}, Walker(self.origin)
        self.waiting, self.newest, self.end, self.unsigned, self.torn, self.gaps = [], None, (0, 0), [], [], []

    def file(self, first, data):
        self.waiting = []
        if type(data) is bytes and (header := header_end(data, self.origin)):
            self.end = (first, header[0])
        walker, signed, after = self.walker.copy(), None, None

        def each(before, step):
            nonlocal signed, after
            if after is not None:
                signed, after = (before.copy(), after), None
            if self.record(before, step):
                after = step.offset + 8 + len(step.record)

        end = walk_file(walker, first, data, each)
        need(end[0] in ("clean", "torn"), f"{self.origin}: record {walker.size}: {end[-1]}")
        if after is not None:
            signed = (walker, after)
        if signed:
            self.walker, self.end = signed[0], (first, signed[1])
            # Whoever signed on has seen what the files before this one end in, and has said so.
            self.torn, self.unsigned = self.torn + self.unsigned, []
        if type(data) is bytes:
            tail = tail_of(first, data, self.end[1] if self.end[0] == first else 0)
            self.unsigned += [tail] if tail else []
        elif self.walker.size < walker.size:
            self.unsigned.append({"file": first})

    def record(self, before, step):
        """True for a head, which lets all that waited count."""
        fields = parse_record(step.record)
        if fields["k"] != "head":
            self.waiting.append(fields)
            return False
        root = before.tree.root()
        need((int(fields["size"]), fields["root"]) == (before.size, url64(root)), f"{self.origin}: a head's root")
        self.heads[before.size], self.times[before.size], self.newest = root, step.ts, fields
        for one in self.waiting:
            self.apply(one)
        self.waiting = []
        return True

    def apply(self, one):
        kind, name = one["k"], one.get("origin")
        need(kind in OF_REGISTRY or kind in ("genesis", "clock"), f"{self.origin}: a {kind} in a registry")
        if kind == "stream_born":
            need(name_of(one["vkey"]) == name, f"{name}: its key is another's")
            need(vouches(self.origin, name), f"{self.origin}: names {name}, another writer's stream")
            need(name not in self.streams, f"{name}: is born twice")
            self.streams[name] = Stream(one)
        elif kind == "gap":
            self.gaps.append({field: one[field] for field in TAIL})
        elif kind == "stream_revoked":
            stream = self.streams.get(name)
            need(stream and not stream.revoked, f"{name}: is not born, or was revoked before")
            newest = stream.anchors[-1] if stream.anchors else {"size": "0" * 20, "root": url64(sha(b""))}
            need((newest["size"], newest["root"]) == (one["size"], one["root"]), f"{name}: is revoked at another head")
            stream.revoked = one
        elif kind in ("anchor", "stream_failed", "stream_closed"):
            stream = self.streams.get(name)
            need(stream and not stream.closed, f"{name}: is not born, or has ended")
            need(kind == "stream_closed" or not stream.revoked, f"{name}: its key was revoked")
            anchored = stream.anchor_at(one["size"])
            if kind == "anchor":
                rises = not stream.anchors or stream.anchors[-1]["size"] < one["size"]
                need(rises, f"{name}: anchors do not rise")
                stream.anchors.append(one)
            elif kind == "stream_failed":
                need(not anchored or anchored["root"] == one["root"], f"{name}: two heads of one size differ")
                stream.failed = one
            else:
                said = lambda it: (it["root"], it.get("tenants"))
                failed = stream.failed if stream.failed and stream.failed["size"] == one["size"] else None
                denied = anchored and said(anchored) != said(one) or failed and failed["root"] != one["root"]
                need(one["how"] in ("rolled_back", "forked") or not denied, f"{name}: two heads of one size differ")
                stream.closed = one

    def finish(self):
        need(self.newest, f"{self.origin}: nothing is signed, and nothing is never valid")
        size = int(self.newest["size"])
        check_blob(self.vkey, checkpoint(self.origin, size, self.heads[size]), self.newest["sig"])
        for tail in self.torn:
            need(tail in self.gaps, f"{self.origin}: bytes that are no record stand between records")
        return self


# -- a whole log -----------------------------------------------------------------------------------------------------------
class Run:
    """Reads a log, and gathers what is wrong (`findings`: severity and words) and what cannot be judged (`gaps`)."""

    def __init__(self, source, trust):
        self.source, self.trust = source, trust
        self.findings, self.gaps, self.lines, self.known, self.registries = [], [], [], set(), []
        self.open, self.begins, self.references, self.streams = {}, {}, [], 0

    def verdict(self):
        broken = any(severity == "broken" for severity, _ in self.findings)
        if broken or not self.registries and not self.gaps:
            return "FAIL"
        if self.findings:
            return "SUSPECT"
        return "INCOMPLETE" if self.gaps or not self.streams else "PASS"

    def broken(self, what):
        self.findings.append(("broken", str(what)))

    def suspect(self, what):
        self.findings.append(("suspect", str(what)))

    def verify(self):
        if not self.source.is_bucket:
            self.top()
        for vkey in self.trust.logs.values():
            self.region(vkey)
        self.strangers()
        for origin, (size, _) in self.trust.revoked.items():
            speak = [one for one in self.registries if vouches(one.origin, origin)]
            if size and speak and not any(origin in one.streams for one in speak):
                self.broken(f"{origin}: the stream is gone; it had at least {size} records")
        if self.source.is_bucket:
            for registry in self.registries:
                found, least = registry.walker.size, self.source.carried.get(registry.origin, 0)
                if found < least:
                    self.broken(f"{registry.origin}: {found} records, and {least} were here before")
        for what in self.source.found:
            self.broken(what)
        return self

    def top(self):
        """What stands beside the logs of a directory."""
        for name in self.list("") or ():
            if name == "registry" or re.fullmatch(r"registry\..+", name):
                for life in self.list(name) or ():
                    if not (re.fullmatch("0|[1-9][0-9]*", life) and int(life) <= MAX_WIDE):
                        self.suspect(f"{name}/{life}: stands beside the log, which did not write it")
            elif name not in ("lock", "ship", "streams", "lost+found"):
                self.suspect(f"{name}: stands beside the log, which did not write it")

    def list(self, folder):
        try:
            return self.source.list(folder)
        except Unreadable as error:
            self.gaps.append(str(error))
            return None

    def read(self, path):
        """A file that must be there; nothing where that is judged already."""
        try:
            data = self.source.read(path)
        except Unreadable as error:
            self.gaps.append(str(error))
            return None
        except Bad as error:
            return self.broken(error)
        if data is None:
            self.broken(f"{path}: a file that was written is missing")
        return data

    def numbers(self, folder, ending, registry):
        """The numbers in a folder's file names; other names are findings."""
        names, numbers = self.list(folder), []
        for name in names or ():
            if (found := twenty(name, ending)) is not None:
                numbers.append(found)
            elif not (name.endswith(".tmp") or registry and name.endswith(".torn")):
                self.broken(f"{folder}/{name}: a file stands here that the log did not write")
        return None if names is None else numbers

    def beside(self, origin):
        folder, registry = folder_of(origin), speaks_for(origin) is not None
        for name in self.list(folder) or ():
            own = ("genesis.note", "wal", "heads", "witnessed" if registry else "pruned.note")
            if name not in own and not name.endswith(".tmp"):
                self.broken(f"{folder}/{name}: a file stands here that the log did not write")

    def note(self, path, judge):
        """What `judge` makes of a note that must be there and hold."""
        data = self.read(path)
        try:
            return None if data is None else judge(data.decode())
        except (Bad, ValueError, IndexError) as error:
            return self.broken(f"{path}: {error}")

    def head_note(self, path, size, vkey):
        def judge(note):
            found, root = open_head(vkey, note)
            need(found == size, "a head of another size")
            return root

        return self.note(path, judge)

    def birth_note(self, origin, key, region):
        text = f"aegis.dev/audit/genesis@v1\n{origin}\n{key}\n"
        self.note(f"{folder_of(origin)}/genesis.note", lambda note: need(open_note(region, note) == text, "another birth"))

    def region(self, vkey):
        origin = name_of(vkey)
        self.beside(origin)
        registry = self.registry(vkey)
        if registry is None:
            return
        self.birth_note(origin, vkey, vkey)
        for size in self.numbers(f"{folder_of(origin)}/heads", ".note", True) or ():
            root = self.head_note(f"{folder_of(origin)}/heads/{'%020d' % size}.note", size, vkey)
            self.reached(registry, size, root)
        self.witnessed(registry)
        for stream in registry.streams.values():
            self.known.add(folder_of(stream.origin))
            StreamCheck(self, registry, stream).run()
        found, due = registry.walker.size, 0
        for place, size, root in self.references:
            if self.source.is_bucket and size not in registry.heads and size > found:
                due = max(due, size)
            elif registry.heads.get(size) != root:
                self.broken(f"{place}: speaks of a head that {origin} does not have")
        if due:
            self.gaps.append(f"{origin}: streams speak of its records {found} to {due}, which are still to come")
        self.references = []
        self.registries.append(registry)
        self.lines.append(f"{origin}: signed up to {max(registry.heads)}")

    def registry(self, vkey):
        """What can be believed of a registry; nothing where nothing can."""
        origin = name_of(vkey)
        firsts = self.numbers(f"{folder_of(origin)}/wal", ".wal", True)
        if not firsts:
            return None if firsts is None else self.broken(f"{origin}: there is no log here, and nothing is never valid")
        registry = Registry(vkey)
        try:
            for first in firsts:
                data = self.read(f"{folder_of(origin)}/wal/{'%020d' % first}.wal")
                if data is None:
                    return None
                registry.file(first, data)
            registry.finish()
        except (Bad, ValueError, IndexError) as error:
            return self.broken(f"{origin}: {error}")
        self.gaps += [f"{origin}: bytes after record {registry.walker.size} are not signed" for _ in registry.unsigned]
        return registry

    def reached(self, registry, size, root):
        if root is not None and registry.heads.get(size) != root:
            self.broken(f"{registry.origin}: does not have the signed head of {size} records")

    def witnessed(self, registry):
        folder, newest = f"{folder_of(registry.origin)}/witnessed", None
        for size in self.numbers(folder, ".note", True) or ():
            path = f"{folder}/{'%020d' % size}.note"
            root = self.head_note(path, size, registry.vkey)
            if root is None:
                continue
            self.reached(registry, size, root)
            at = self.note(path, self.trust.cosigned)
            if at is None:
                continue
            newest = (size, at)
            # What witnesses saw was signed before, and what the registry signed next after that.
            behind = min((one for one in registry.times if one > size), default=None)
            late = size in registry.times and registry.times[size] > at * 10**9 + CLOCKS_APART
            if late or behind is not None and registry.times[behind] + CLOCKS_APART < at * 10**9:
                self.suspect(f"{path}: witnesses saw it at {at} s, and the registry's own times cannot be")
        if self.trust.quorum and newest is None:
            self.gaps.append(f"{registry.origin}: no quorum of the trust file's witnesses saw it")
        elif newest:
            self.lines.append(f"{registry.origin}: witnesses saw {newest[0]} records at {newest[1]}")

    def strangers(self):
        """Streams that no registry names."""
        for writer in self.list("streams") or ():
            for life in self.list(f"streams/{writer}") or ():
                path = f"streams/{writer}/{life}"
                if path in self.known:
                    continue
                try:
                    newborn = self.newborn(writer, life) if self.source.is_bucket else None
                except Unreadable as error:
                    self.gaps.append(str(error))
                    continue
                if newborn is not None:
                    self.gaps.append(f"{writer}/{life}: its registry is still to name it ({newborn} records)")
                else:
                    self.broken(f"{writer}/{life}: no trusted registry names this stream")

    def newborn(self, writer, life):
        """How many records there are of a stream that was shipped ahead of the segment of its registry that names it."""
        for registry in self.registries:
            domain, region, *_ = registry.origin.split("/")
            origin = f"{domain}/{region}/{writer}/{int(life)}"
            last = max((int(name.split("/")[3]) for name in registry.streams), default=0)
            if not vouches(registry.origin, origin) or int(life) <= last:
                continue
            key = self.born(origin)
            records = self.walk_newborn(origin, key, registry) if key else None
            if records is not None:
                return records
        return None

    def born(self, origin):
        for vkey in self.trust.keys_for(origin):
            try:
                note = (self.source.read(f"{folder_of(origin)}/genesis.note") or b"").decode()
                key = open_note(vkey, note).split("\n")[2]
                need(open_note(vkey, note) == f"aegis.dev/audit/genesis@v1\n{origin}\n{key}\n", "another birth")
                need(name_of(key) == origin, "another's key")
                return key
            except (Bad, ValueError, IndexError):
                continue
        return None

    def walk_newborn(self, origin, key, registry):
        walker, signed = Walker(origin), registry.walker.size

        def each(_, step):
            if step.seq > 1 and step.kind != "anchor_ref":
                return
            fields = parse_record(step.record)
            if step.seq == 0:
                need((fields["k"], fields.get("vkey")) == ("genesis", key), "another birth")
            else:
                need(fields["k"] == "anchor_ref" and fields["registry"] == registry.origin, "names no registry")
                need(int(fields["size"]) > signed, f"{registry.origin} goes past its birth and does not name it")

        folder = f"{folder_of(origin)}/wal"
        try:
            for name in self.source.list(folder):
                end = walk_file(walker, twenty(name, ".wal"), self.source.read(f"{folder}/{name}"), each)
                need(end == ("clean",), "does not hang together")
        except (Bad, ValueError):
            return None
        return walker.size


class StreamCheck:
    """One stream against what its registry says of it."""

    def __init__(self, run, registry, stream):
        self.is_run, self.registry, self.stream, self.origin = run, registry, stream, stream.origin
        self.expected, self.rosters = stream.roots(), stream.rosters()
        self.walker, self.agreed, self.begins, self.last = Walker(stream.origin), 0, 0, None
        self.waiting, self.seal_first, self.tally = {}, 0, [0] * 7 + [None, 0]
        self.newest = max((int(one["size"]) for one in stream.anchors), default=0)

    def run(self):
        run, stream, folder = self.is_run, self.stream, folder_of(self.origin)
        run.beside(self.origin)
        if stream.anchors:
            self.signed(stream.anchors[-1])
        if stream.closed and stream.closed["how"] in ("rolled_back", "forked"):
            run.broken(f"{self.origin}: was found {stream.closed['how']}")
        heads = stream.stands(run.trust)
        for size, root in heads:
            if size and self.expected.setdefault(size, root) != root:
                run.broken(f"{self.origin}: the head of {size} records that stands is another")
        stands = heads[0] if heads else None
        self.pruned(f"{folder}/pruned.note")
        firsts = run.numbers(f"{folder}/wal", ".wal", False)
        if firsts is None:
            return
        firsts = [first for first in firsts if first >= self.begins]
        if not firsts and not self.begins:
            if max(self.expected, default=0) > 0:
                run.broken(f"{self.origin}: the stream is gone; it had at least {max(self.expected)} records")
            elif not stream.closed:
                run.gaps.append(f"{self.origin}: was born, and nothing of it is here")
            return
        self.heads(folder)
        self.expected = {size: root for size, root in self.expected.items() if size >= self.begins}
        self.seal_first = self.begins
        if self.begins:
            run.begins[self.origin] = self.begins
        whole = all(self.file(first, first == firsts[-1]) for first in firsts)
        if self.waiting:
            run.open[self.origin] = self.waiting
        if self.walker.size:
            run.birth_note(self.origin, stream.key, self.registry.vkey)
        if whole:
            self.ends()
        if stands and self.newest > stands[0]:
            run.broken(f"{self.origin}: its key was revoked behind {stands[0]} records, and signed a head of {self.newest}")
        if stands and self.walker.size > stands[0]:
            run.suspect(f"{self.origin}: its key was revoked: records {stands[0]} to {self.walker.size} may be somebody else's")
        run.streams += 1
        run.lines.append(f"{self.origin}: {self.walker.size} records")

    def signed(self, anchor):
        try:
            check_blob(self.stream.key, checkpoint(self.origin, int(anchor["size"]), of_url64(anchor["root"])), anchor["sig"])
        except (Bad, ValueError) as error:
            self.is_run.broken(f"{self.origin}: the newest anchor: {error}")

    def pruned(self, path):
        """Begins behind records that were deleted here, where the region's key says so."""
        try:
            if self.is_run.source.read(path) is None:
                return
        except (Bad, Unreadable):
            pass
        walker = self.is_run.note(path, lambda note: read_pruned(open_note(self.registry.vkey, note), self.origin))
        if walker:
            self.walker, self.begins = walker, walker.size
            self.agreed = walker.size if any(size >= walker.size for size in self.expected) else 0
            self.is_run.gaps.append(f"{self.origin}: records before {walker.size} were shipped and deleted here")

    def heads(self, folder):
        run, closed = self.is_run, self.stream.closed
        for size in run.numbers(f"{folder}/heads", ".note", False) or ():
            root = run.head_note(f"{folder}/heads/{'%020d' % size}.note", size, self.stream.key)
            if root is not None:
                self.newest = max(self.newest, size)
                if self.expected.get(size, root) != root:
                    run.broken(f"{self.origin}: a signed head of {size} records is another")
                self.expected[size] = root
        if closed and closed["how"] == "closed":
            run.read(f"{folder}/heads/{closed['size']}.note")

    def file(self, first, is_last):
        """False where the walk had to stop."""
        run, path = self.is_run, f"{folder_of(self.origin)}/wal/{'%020d' % first}.wal"
        data = run.read(path)
        if data is None:
            return False
        end = walk_file(self.walker, first, data, self.record)
        size, closed = self.walker.size, self.stream.closed
        at = f"{path}: record {size}"
        if end[0] == "torn":
            if closed:
                explained = int(closed["size"]) == size and closed.get("torn") == end[1]
            else:
                explained = max(self.expected, default=0) <= size
            if not explained or not is_last:
                run.broken(f"{at}: {end[2]}")
                return False
            if not closed:
                run.gaps.append(f"{self.origin}: bytes after record {size} are no whole record")
        elif end[0] == "broken":
            blamed = size - 1 if end[2].changed and size else size
            run.broken(f"{path}: record {blamed}: {end[2]}")
        elif end[0] == "misplaced":
            run.broken(f"{at}: the file belongs elsewhere, or one before it is missing")
        return end[0] in ("clean", "torn")

    def record(self, walker, step):
        run, at = self.is_run, f"{self.origin}: record {step.seq}"
        self.root_at(walker)
        self.last = step.kind
        if step.step_ns is not None:
            run.suspect(f"{at}: the clock steps by {step.step_ns} ns and no record says so")
        try:
            fields = parse_record(step.record)
        except Bad as error:
            run.suspect(f"{at}: {error}")
            fields = None
        if step.seq == 0:
            birth = fields and (fields["k"], fields.get("origin"), fields.get("vkey"))
            if birth != ("genesis", self.origin, self.stream.key):
                run.broken(f"{at}: another stream's birth")
        if fields and fields["k"] == "anchor_ref":
            root, size = of_url64(fields["root"]), int(fields["size"])
            if size not in self.registry.heads:
                run.references.append((at, size, root))
            elif self.registry.heads[size] != root:
                run.broken(f"{at}: speaks of a head that the registry does not have")
        if fields:
            self.schema(at, step, fields)

    def root_at(self, walker):
        """Compares the root and the roster with those signed at this size, if any were."""
        size = walker.size
        if min(self.expected, default=None) != size:
            return
        if self.expected.pop(size) != walker.tree.root():
            self.is_run.broken(f"{self.origin}: records {self.agreed} to {size} are not those that were signed")
            self.expected.clear()  # every later root differs for the same reason
            return
        self.agreed = size
        if size in self.rosters and self.rosters.pop(size) != walker.roster():
            self.is_run.broken(f"{self.origin}: the head of {size} records names other tenants")

    def schema(self, at, step, fields):
        """What records say of each other."""
        run, kind, cost, effect = self.is_run, fields["k"], 0, None
        if kind in OF_REGISTRY:
            return run.suspect(f"{at}: a record of the registry's kinds")
        if kind == "seal":
            return self.seal(at, step, fields)
        if kind == "decision":
            effect = fields["decision"]
            if effect in ("allow", "sanitize") and fields["outcome"] == "follows":
                self.waiting[step.seq] = fields["id"]
        elif kind == "outcome":
            cost = fields["cost_microusd"]
        self.count(step.ts, kind, effect, cost)
        if kind == "outcome":
            self.settle(at, fields.get("of_origin"), int(fields["of"]), fields["id"])
        if kind == "tenant_seal" and (int(fields["last_tseq"]) + 1, fields["last_leaf"]) != (step.tseq, step.tprev):
            run.broken(f"{at}: the tenant's seal names another record")

    def count(self, ts, kind, effect, cost):
        tally = self.tally
        for place, is_so in enumerate((True, *(effect == one for one in EFFECTS), kind == "outcome")):
            tally[place] += is_so
        tally[6] += cost
        tally[7], tally[8] = ts if tally[7] is None else tally[7], ts

    def settle(self, at, origin, seq, id_):
        run = self.is_run
        known = (self.waiting if origin is None else run.open.get(origin, {})).pop(seq, None)
        if known is None and seq < run.begins.get(origin or self.origin, 0):
            return  # of a decision that was deleted here nothing can be told
        if known != id_:
            run.suspect(f"{at}: an outcome without its decision")

    def seal(self, at, step, fields):
        names = ("records", "allow", "sanitize", "approval_needed", "deny", "outcomes", "cost_microusd", "first_ts", "last_ts")
        said, tally = [int(fields[name]) for name in names], [one or 0 for one in self.tally]
        is_cut = self.begins > 0 and self.seal_first == self.begins
        if not is_cut and (int(fields["first"]), said) != (self.seal_first, tally):
            self.is_run.suspect(f"{at}: a seal's sums are not those of its records")
        self.seal_first, self.tally = step.seq + 1, [0] * 7 + [None, 0]

    def ends(self):
        """Is the end of what is here the end that was signed?"""
        run, found, closed = self.is_run, self.walker.size, self.stream.closed
        self.root_at(self.walker)
        if self.expected:
            run.broken(f"{self.origin}: ends after {found} records, and {max(self.expected)} are signed for")
        elif closed and found > int(closed["size"]):
            run.broken(f"{self.origin}: records stand after the {int(closed['size'])} that it was closed with")
        elif closed:
            if closed["how"] == "closed" and self.last != "close" and found > self.begins:
                run.suspect(f"{self.origin}: ended in order, and its last record is not `close`")
        elif self.agreed < found:
            run.gaps.append(f"{self.origin}: no signed head covers records {self.agreed} to {found} yet")


CLOCKS_APART = 600 * 10**9
EFFECTS = ("allow", "sanitize", "approval_needed", "deny")


def read_pruned(text, origin):
    """A walker that stands behind what was deleted."""
    title, named, size, prev, peaks, clocks, ts, *tenants, end = text.split("\n")
    need(title == "aegis.dev/audit/pruned@v1" and named == origin and end == "", "another stream's")
    walker = Walker(origin)
    walker.prev, walker.tree = hash_of(prev), Tree(number(size), [hash_of(peak) for peak in peaks.split(" ")])
    need(walker.size > 0 and len(walker.tree.peaks) == bin(walker.size).count("1"), "no tree has these peaks")
    mono, clock = clocks.split(" ")
    need(re.fullmatch("0|-?[1-9][0-9]*", clock), "no clock")
    walker.mono, walker.clock = number(mono), int(clock)
    number(ts)
    for line in tenants:
        name, tseq, last = line.split(" ")
        need(name not in walker.tenants and (not walker.tenants or list(walker.tenants)[-1] < name), "tenants out of order")
        walker.tenants[name] = (number(tseq), hash_of(last))
    return walker


def verify_log(trust, sources):
    runs = [Run(source, trust_of).verify() for source, trust_of in sources]
    whole = Run(None, trust)
    for run in runs:
        whole.findings += run.findings
        whole.gaps += run.gaps
        whole.lines += run.lines
        whole.registries += run.registries
        whole.streams += run.streams
    return whole.verdict(), [f"{severity}: {what}" for severity, what in whole.findings] + [
        f"gap: {what}" for what in whole.gaps] + whole.lines


def verify_bucket(trust, folder):
    sources = []
    for place in trust.regions():
        part = Trust.__new__(Trust)
        part.__dict__.update(trust.__dict__)
        part.logs = {name: vkey for name, vkey in trust.logs.items() if tuple(name.split("/")[:2]) == place}
        sources.append((Bucket(folder, part, place), part))
    return verify_log(trust, sources)


def verify_directory(trust, folder):
    return verify_log(trust, [(Directory(folder), trust)])


# -- one record ------------------------------------------------------------------------------------------------------------
TITLE, END = "c2sp.org/tlog-proof@v1", b"aegis.dev/audit/stream-end@v1\n"


def verify_proof(trust, text):
    """The record, and what was said of it. Raises where it is not proven."""
    head, note = text.split("\n\n", 1)
    title, extra, index, *path = head.split("\n")
    need(title == TITLE and extra.startswith("extra ") and index.startswith("index "), "no proof")
    extra, index, path = b64(extra[6:]), number(index[6:]), [hash_of(one) for one in path]
    need(len(path) <= 64, "the path is too long")
    if extra.startswith(END):
        return verify_end(trust, extra, index, path, note)
    birth, record = extra.rsplit(b"\n", 1)
    birth = birth.decode() + "\n"
    vkey, (born, key) = next((vkey, it) for vkey in trust.logs.values() if (it := read_birth(vkey, birth)))
    # The end of a stream whose process died is signed by its region: the stream's own key is gone.
    try:
        size, root = open_head(key, note)
    except Bad:
        size, root = open_head(vkey, note, born)
    need(trust.believes(born, size, root), f"{born}: its key was revoked before that head")
    need(root_by_path(index, size, leaf(record), path) == root, "the path does not lead to the signed root")
    return proven(born, index, size, record)


def read_birth(vkey, note):
    try:
        title, origin, key, end = open_note(vkey, note).split("\n")
        need((title, end) == ("aegis.dev/audit/genesis@v1", "") and name_of(key) == origin, "no birth")
        return (origin, key) if vouches(name_of(vkey), origin) else None
    except (Bad, ValueError):
        return None


def verify_end(trust, extra, index, path, note):
    """A record of a stream that ended with its process: the registry tells how far it was, and its tree has that record."""
    said, inner = extra[len(END) :].split(b"\n", 1)
    lines, record = inner.split(b"\n\n", 1)
    place, *inner = lines.decode().split("\n")
    need(place.startswith("index "), "no proof")
    registry = note.split("\n")[0]
    size, root = open_head(trust.logs[registry], note)
    need(root_by_path(index, size, leaf(said), path) == root, "the path does not lead to the registry's root")
    fields = parse_record(said)
    need(fields["k"] in ("stream_closed", "stream_failed") and int(fields["seq"]) == index, "the registry tells of no end")
    need(fields.get("how") not in ("rolled_back", "forked"), f"it was found {fields.get('how')}")
    origin, size, place = fields["origin"], int(fields["size"]), number(place[6:])
    need(vouches(registry, origin), f"{registry} does not speak for {origin}")
    need(trust.believes(origin, size, of_url64(fields["root"])), f"{origin}: its key was revoked before that head")
    found = root_by_path(place, size, leaf(record), [hash_of(one) for one in inner])
    need(url64(found) == fields["root"], "the path does not lead to the root of the stream's end")
    return proven(origin, place, size, record)


def proven(origin, index, size, record):
    fields = parse_record(record)
    need(int(fields["seq"]) == index and FIXED.match(record), "the record stands elsewhere")
    return fields, f"{origin}: record {index} of {size}"


def verify_disclosures(trust, text):
    file, lines = json.loads(text), []
    need(file["format"] == "aegis.dev/audit/disclosure@v1" and file["records"], "no disclosures")
    for one in file["records"]:
        fields, line = verify_proof(trust, one["proof"])
        for disclosure in one["disclosures"]:
            need(url64(sha(disclosure.encode())) in fields.get("_sd", ()), "a value whose digest is not in the record")
            data = base64.b64decode(disclosure + "=" * (-len(disclosure) % 4), altchars=b"-_", validate=True)
            need(url64(data) == disclosure, "base64 is not canonical")
            salt, name, _ = json.loads(data)
            need(type(salt) is type(name) is str, "no disclosure")
            line += f", {name}"
        lines.append(line)
    return lines


def verify_file(trust, path):
    try:
        text = pathlib.Path(path).read_bytes().decode()
        lines = verify_disclosures(trust, text) if text.startswith("{") else [verify_proof(trust, text)[1]]
    except WRONG as error:
        return "FAIL", [f"broken: {error!r}"]
    return "PASS", lines


# -- one tenant ------------------------------------------------------------------------------------------------------------
class Lines:
    def __init__(self, text):
        need(text.endswith("\n"), "the text does not end in a newline")
        self.rest = text[:-1].split("\n")

    def word(self, word):
        """The rest of the next line, if that is its first word."""
        if self.rest and self.rest[0].split(" ")[0] == word and " " in self.rest[0]:
            return self.rest.pop(0).split(" ")[1:]
        return None

    def words(self, word):
        found = []
        while (rest := self.word(word)) is not None:
            found.append(rest)
        return found

    def take(self, count):
        taken, self.rest = self.rest[:count], self.rest[count:]
        need(len(taken) == count, "the text ends early")
        return [line.encode() for line in taken]


def verify_package(trust, path):
    try:
        return package_verdict(trust, pathlib.Path(path).read_bytes().decode())
    except WRONG as error:
        return "FAIL", [f"broken: {error!r}"]


def package_verdict(trust, text):
    lines, said, gaps, left = Lines(text), [], [], dict(trust.logs)
    need(lines.take(1) == [b"aegis.dev/audit/tenant-package@v1"], "no tenant's package")
    (tenant,) = lines.word("tenant")
    need(LABEL[1].fullmatch(tenant), "no tenant")
    for origin, count in iter(lambda: lines.word("registry"), None):
        need(origin in left, f"{origin} is not trusted, or here twice")
        registry = Registry(left.pop(origin))
        registry.file(0, lines.take(number(count)))
        registry.finish()
        need(not registry.unsigned, f"{origin}: records that nothing signs for")
        streams = dict(registry.streams)
        for origin, (size, _) in trust.revoked.items():
            need(not size or not vouches(registry.origin, origin) or origin in streams, f"{origin}: left out")
        for origin, size, count in iter(lambda: lines.word("stream"), None):
            need(origin in streams, f"{origin}: unknown to the registry, or twice")
            said += verify_part(trust, tenant, streams.pop(origin), number(size), lines, number(count), gaps)
        need(not streams, f"{', '.join(streams)}: left out")
    need(not lines.rest, "lines are left over")
    gaps += [f"{origin}: is not in the package" for origin in left]
    return "INCOMPLETE" if gaps else "PASS", [f"gap: {one}" for one in gaps] + said


def verify_part(trust, tenant, stream, size, lines, count, gaps):
    origin, records = stream.origin, lines.take(count)
    path = [hash_of(hash_) for (hash_,) in lines.words("path")]
    reach = lines.word("reach")
    beside = [] if reach else lines.words("beside")
    proof = [hash_of(hash_) for (hash_,) in lines.words("roster")]
    shown = [(number(index), hash_of(key), hash_of(value)) for index, key, value in beside]
    if reach:
        index, many, last = number(reach[0]), number(reach[1]), hash_of(reach[2])
        shown = [(index, before_tenant(origin, tenant), sha(struct.pack(">Q", many) + last))]
    head = stream.closed or (stream.anchors[-1] if stream.anchors else None)
    signed = int(head["size"]) if head else 0
    stands = stream.stands(trust)
    for least, stood in stands:
        need(signed >= least, f"{origin}: the package goes up to {signed}, and {least} stand")
        known = {0: sha(b""), **stream.roots()}
        need(known.get(least, stood) == stood, f"{origin}: the head that stands is another")
    if stands:
        anchored, believed = int(stream.anchors[-1]["size"]) if stream.anchors else 0, stands[0][0]
        need(anchored <= believed, f"{origin}: its key was revoked behind {believed} records, and signed a head of {anchored}")
        gaps += [f"{origin}: its key was revoked; what is behind record {believed} may be somebody else's"] if signed > believed else []
    if signed == 0:
        need(not records, f"{origin}: records that nothing signs for")
        gaps += [] if stream.closed else [f"{origin}: was born, and nothing of it is signed"]
        return []
    need(size == signed, f"{origin}: the package goes up to {size}, and {signed} are signed for")
    need(head.get("how") not in ("rolled_back", "forked"), f"{origin}: was found {head.get('how')}")
    if stream.anchors:
        last_anchor = stream.anchors[-1]
        text = checkpoint(origin, int(last_anchor["size"]), of_url64(last_anchor["root"]))
        check_blob(stream.key, text, last_anchor["sig"])
    tprev, leaves = before_tenant(origin, tenant), []
    for tseq, record in enumerate(records):
        fields = parse_record(record)
        need(fields.get("tenant") == tenant, f"{origin}: a record of another tenant")
        need(int(fields["tseq"]) == tseq, f"{origin}: record {tseq} of the tenant is missing or out of order")
        need(fields["tprev"] == url64(tprev), f"{origin}: the tenant's record {tseq} does not link to the one before")
        if fields["k"] == "tenant_seal":
            need((int(fields["last_tseq"]), fields["last_leaf"]) == (tseq - 1, fields["tprev"]), f"{origin}: a tenant's seal")
        tprev = leaf(record)
        leaves.append((int(fields["seq"]), tprev))
    said, own = head.get("tenants"), before_tenant(origin, tenant)
    if said is None:
        need(not records and not shown and not proof, f"{origin}: the head names no tenant")
    else:
        found = root_of_some(int(said["count"]), [(at, leaf(key + value)) for at, key, value in shown], proof)
        need(url64(found) == said["root"], f"{origin}: the roster is another")
        if reach:
            need((many, last) == (count, tprev) and count, f"{origin}: {count} of the tenant's {many} records are here")
        else:
            need(shown and not records, f"{origin}: the tenant is not shown to be absent")
            first, last = shown[0], shown[-1]
            is_first = len(shown) == 1 and first[0] == 0 and own < first[1]
            is_last = len(shown) == 1 and first[0] == int(said["count"]) - 1 and first[1] < own
            is_between = len(shown) == 2 and first[0] + 1 == last[0] and first[1] < own < last[1]
            need(is_first or is_last or is_between, f"{origin}: the tenant is not shown to be absent")
    if leaves or path:
        need(url64(root_of_some(size, leaves, path)) == head["root"], f"{origin}: the records do not lead to the head")
    return [f"{origin}: {count} of {size} records"]


# -- the vectors -----------------------------------------------------------------------------------------------------------
WAYS = {"directory": verify_directory, "bucket": verify_bucket, "proof": verify_file, "package": verify_package}


def change(root, operation):
    """Does what a line of `verdicts.tsv` says to a copy of a vector."""
    word, *rest = operation.split(" ")
    path = root / rest[0] if rest and rest[0] != "." else root
    if word == "flip":
        data = bytearray(path.read_bytes())
        data[int(rest[1])] ^= 1 << int(rest[2])
        path.write_bytes(data)
    elif word == "cut":
        data = path.read_bytes()
        path.write_bytes(data[: max(0, len(data) - int(rest[1]))])
    elif word == "append":
        path.write_bytes(path.read_bytes() + bytes.fromhex(rest[1]))
    elif word == "remove":
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif word == "add":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("stray\n")
    elif word == "rename":
        (root / rest[1]).parent.mkdir(parents=True, exist_ok=True)
        path.rename(root / rest[1])
    elif word == "copy":
        (root / rest[1]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, root / rest[1])
    elif word == "link":
        aside = root.with_name("aside")
        path.rename(aside)
        path.symlink_to(aside)
    else:
        need(word == "none", f"{word}: unknown")


def judge_vectors(folder):
    """Judges each vector under each trust file, as it is and as it is changed; says where the verdict is not the published one."""
    folder, wrong, count = pathlib.Path(folder), 0, 0
    for line in (folder / "verdicts.tsv").read_text().splitlines()[1:]:
        name, way, policy, operation, verdict = line.split("\t")
        with tempfile.TemporaryDirectory() as place:
            copy = pathlib.Path(place) / "it"
            vector = folder / name
            shutil.copytree(vector, copy) if vector.is_dir() else shutil.copyfile(vector, copy)
            change(copy, operation)
            trust = Trust((folder / policy).read_bytes().decode())
            found, said = judged(WAYS[way], trust, copy)
        count += 1
        if found != verdict:
            wrong += 1
            print(f"{name} ({policy}): {operation}: {found}, and {verdict} is published", *said, sep="\n  ")
    return "FAIL" if wrong or not count else "PASS", [f"{count} verdicts, {wrong} of them others than published"]


WRONG = (Bad, Unreadable, ValueError, KeyError, TypeError, IndexError, StopIteration, OSError, EOFError, struct.error, zlib.error)


def judged(way, trust, path):
    try:
        return way(trust, path)
    except WRONG as error:
        return "FAIL", [f"broken: {error!r}"]


def main(first, *rest):
    if first == "--vectors":
        return judge_vectors(rest[0])
    ways = {"--bucket": verify_bucket, "--proof": verify_file, "--tenant-package": verify_package}
    trust = Trust(pathlib.Path(first).read_bytes().decode())
    if rest[0] in ways:
        return judged(ways[rest[0]], trust, rest[1])
    return judged(verify_directory, trust, rest[0])


if __name__ == "__main__":
    try:
        verdict, said = main(*sys.argv[1:])
    except WRONG as error:
        verdict, said = "FAIL", [f"broken: {error}"]
    print(*said, verdict, sep="\n")
    sys.exit({"PASS": 0, "INCOMPLETE": 3}.get(verdict, 1))
