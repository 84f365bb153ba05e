#!/usr/bin/env python3
"""A second verifier for the audit log, written from docs/spec/audit.md alone, with nothing but Python's standard library.

usage: verify.py <trust.policy> <directory>                 verify a log in the journal's own directory
       verify.py <trust.policy> --bucket <folder>           verify a log that was shipped to a folder
       verify.py <trust.policy> --proof <file.tlog-proof>   verify one record
       verify.py <trust.policy> --tenant-package <file>     verify that these are all records of one tenant
Says what it checked and ends with 0, or says what is wrong and where and ends with 1. It is slow, and meant to be read.
"""

import base64
import gzip
import hashlib
import json
import pathlib
import struct
import sys


class Bad(Exception):
    pass


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


def url64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


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


def check_signature(key, message, signature):
    r, s = point(signature[:32]), int.from_bytes(signature[32:], "little")
    a = point(key)
    need(len(signature) == 64 and s < Q, "a signature has a second encoding")
    need(not same(times(8, a), NEUTRAL) and not same(times(8, r), NEUTRAL), "a point is of small order")
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % Q
    need(same(times(s, BASE), add(r, times(h, a))), "a signature does not verify")


# -- C2SP signed-note, tlog-checkpoint ------------------------------------------------------------------------------
def key_of(vkey):
    name, hash_, key = vkey.split("+", 2)
    key = b64(key)
    need(key[0] == 1 and len(key) == 33, "a key is not Ed25519")
    need(sha(name.encode() + b"\n" + key)[:4].hex() == hash_, "a key's hash is not its own")
    return name, key[1:], sha(name.encode() + b"\n" + key)[:4]


def check_blob(vkey, text, blob):
    _, key, id_ = key_of(vkey)
    blob = b64(blob)
    need(blob[:4] == id_, "a signature is of another key")
    check_signature(key, text.encode(), blob[4:])


def open_note(vkey, note):
    text, signatures = note[: note.rindex("\n\n") + 1], note[note.rindex("\n\n") + 2 :]
    name = key_of(vkey)[0]
    ours = [line.split(" ")[2] for line in signatures.splitlines() if line.startswith(f"\u2014 {name} ")]
    need(len(ours) == 1, f"{name} did not sign a note")
    check_blob(vkey, text, ours[0])
    return text


def checkpoint(origin, size, root):
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


# -- the tree (RFC 6962 section 2.1) ----------------------------------------------------------------------------------
class Tree:
    def __init__(self):
        self.size, self.peaks = 0, []

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


# -- records and files --------------------------------------------------------------------------------------------------
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


def wal_records(path, origin, first):
    data = path.read_bytes()
    length = struct.unpack(">H", data[20:22])[0]
    end = 22 + length
    need(data[:12] == b"AEGISWAL\0\0\0\1" and data[22:end].decode() == origin, f"{path}: not a log file of {origin}")
    need(struct.unpack(">Q", data[12:20])[0] == first, f"{path}: begins with another record")
    need(struct.unpack(">I", data[end : end + 4])[0] == crc32c(data[:end]), f"{path}: header checksum")
    at = end + 4
    # The rest of a file is room that was never written, and a record ends in a brace.
    data = data.rstrip(b"\0")
    while at < len(data):
        size, crc = struct.unpack(">II", data[at : at + 8])
        record = data[at + 8 : at + 8 + size]
        need(size and crc32c(record) == crc, f"{path}: byte {at}: not a whole record")
        yield record
        at += 8 + size


CARRIED = {}  # how far each registry was in the bucket, as segments that were sent later say


def segment_records(folder, origin, region):
    """The records of a stream as it was shipped."""
    size, before, tree = 0, bytes(32), Tree()
    for path in sorted(folder.glob("seg/*.man")):
        note = path.read_text()
        lines = open_note(region, note).split("\n")
        title, named, first, end, root, previous, stored, bundles, index, registry, _, _ = lines
        need(title == "aegis.dev/audit/segment@v2" and named == origin, f"{path}: another stream's")
        need(int(first) == size and b64(previous) == before, f"{path}: does not follow the segment before")
        CARRIED[region] = max(CARRIED.get(region, 0), int(registry))
        digest = lambda data: f"{len(data)} {base64.b64encode(sha(data)).decode()}"
        packed, idx = path.with_suffix(".rec.gz").read_bytes(), path.with_suffix(".idx").read_bytes()
        need(stored == digest(packed), f"{path}: its object is another")
        need(index == digest(idx), f"{path}: its index is another")
        data = gzip.decompress(packed)
        need(bundles == digest(data), f"{path}: its records are others")
        check_index(path, idx, packed, data, tree)
        need(tree.root() == b64(root), f"{path}: its root is another")
        while data:
            length = struct.unpack(">H", data[:2])[0]
            need(2 + length <= len(data), f"{path}: bytes are left over")
            yield data[2 : 2 + length]
            data, size = data[2 + length :], size + 1
        need(size == int(end), f"{path}: holds another number of records")
        before = sha(note.encode())


def check_index(path, index, packed, data, tree):
    """Holds the index against the members of the object, the records in them, and the tree before, which goes on over them."""
    need(index[:12] == b"AEGISIDX\0\0\0\1", f"{path}: no index")
    first, count = struct.unpack(">QQ", index[12:28])
    groups = (first + count - 1) // 256 - first // 256 + 1
    words = index[28:]
    peaks, words = words[: 32 * len(tree.peaks)], words[32 * len(tree.peaks) :]
    need(first == tree.size and peaks == b"".join(tree.peaks), f"{path}: the index has another tree before it")
    begins, leaves = struct.unpack(f">{groups}Q", words[: 8 * groups]), words[8 * groups :]
    need(len(leaves) == 32 * count, f"{path}: the index has another length")
    for begin, end in zip(begins, begins[1:] + (len(packed),)):
        try:
            member = gzip.decompress(packed[begin:end])
        except (OSError, EOFError):
            raise Bad(f"{path}: the index has no member at {begin}")
        need(member and data.startswith(member), f"{path}: the index has another member at {begin}")
        data, left = data[len(member) :], 256 - tree.size % 256
        while member:
            length = struct.unpack(">H", member[:2])[0]
            hash_, leaves = leaves[:32], leaves[32:]
            need(leaf(member[2 : 2 + length]) == hash_, f"{path}: the index has another hash for record {tree.size}")
            tree.push(hash_)
            member, left = member[2 + length :], left - 1
        need(left == 0 or not data, f"{path}: the member at {begin} is no whole group")
    need(not data and not leaves, f"{path}: the index has other records")


def stream_records(root, origin, shipped, region, begins=0):
    _, place, writer, number = origin.split("/")
    if shipped:
        yield from segment_records(shipped / "v1" / place / writer / number.zfill(20), origin, region)
        return
    folder = stream_folder(root, origin)
    for path in sorted(folder.glob("wal/*.wal")):
        if int(path.stem) >= begins:
            yield from wal_records(path, origin, int(path.stem))


def stream_folder(root, origin):
    _, _, writer, number = origin.split("/")
    is_registry = writer.split(".")[0] == "registry"
    return root / (f"{writer}/{number}" if is_registry else f"streams/{writer}/{number.zfill(20)}")


def start_of(root, origin, region):
    """Where the links, the tenants and the tree stand before the first record that is there, and the clock."""
    start = (sha(b"aegis.dev/audit/genesis/v1\n" + origin.encode()), {}, Tree(), 0)
    note = stream_folder(root, origin) / "pruned.note" if root else None
    if note is None or not note.exists():
        return start
    title, named, size, prev, peaks, clocks, _, *tenants, _ = open_note(region, note.read_text()).split("\n")
    need(title == "aegis.dev/audit/pruned@v1" and named == origin, f"{note}: another stream's")
    tree = start[2]
    tree.size, tree.peaks = int(size), [b64(peak) for peak in peaks.split(" ")]
    need(len(tree.peaks) == bin(tree.size).count("1"), f"{note}: no tree has these peaks")
    chains = {name: (int(tseq), b64(tprev)) for name, tseq, tprev in (line.split(" ") for line in tenants)}
    return b64(prev), chains, tree, int(clocks.split(" ")[0])


def before_tenant(origin, tenant):
    return sha(f"aegis.dev/audit/tenant/v1\n{origin}\n{tenant}".encode())


def roster_line(origin, tenant, records, last):
    return before_tenant(origin, tenant) + sha(struct.pack(">Q", records) + last)


def roster(origin, tenants):
    """What a head says of the tenants in its stream."""
    tree = Tree()
    for line in sorted(roster_line(origin, tenant, *reach) for tenant, reach in tenants.items()):
        tree.push(leaf(line))
    return {"count": "%020d" % tree.size, "root": url64(tree.root())} if tenants else None


def walk(records, origin, start=None):
    """Checks each record's place, and hands it out with the tree and the tenants as they stand before it."""
    prev, tenants, tree, mono = start or start_of(None, origin, None)
    for record in records:
        at = f"{origin}: record {tree.size}"
        fields = json.loads(record, object_pairs_hook=unique)
        need(record[:14] == b'{"v":1,"seq":"' and record[14:34] == b"%020d" % tree.size, f"{at}: number")
        need(fields["prev"] == url64(prev), f"{at}: does not link to the record before")
        tenant = fields.get("tenant")
        tseq, tprev = 0, bytes(32)
        if tenant is not None:
            tseq, tprev = tenants.get(tenant, (0, before_tenant(origin, tenant)))
        need((fields["tseq"], fields["tprev"]) == ("%020d" % tseq, url64(tprev)), f"{at}: tenant's link")
        need(int(fields["mono"]) >= mono, f"{at}: the clock goes backwards")
        if fields["k"] == "tenant_seal":
            sealed = (fields["last_tseq"], fields["last_leaf"])
            need(sealed == ("%020d" % (tseq - 1), url64(tprev)), f"{at}: the tenant's seal names another record")
        yield fields, tree, tenants
        prev, mono = leaf(record), int(fields["mono"])
        tree.push(prev)
        if tenant is not None:
            tenants[tenant] = (tseq + 1, prev)
    yield None, tree, tenants


def unique(pairs):
    need(len(dict(pairs)) == len(pairs), "a record has a key twice")
    return dict(pairs)


REGISTRIES = {}  # how many records each has, and the highest number of a stream that it names


def vouches(registry, stream):
    """A registry speaks for its own writer; one that is called `registry` alone, for all of its region."""
    (domain, region, name, _), (*place, writer, _) = registry.split("/"), stream.split("/")
    return place == [domain, region] and name in ("registry", f"registry.{writer}")


def read_registry(vkey, records):
    """Every stream's key and signed heads, and up to where the registry is signed."""
    registry, streams, waiting, signed = key_of(vkey)[0], {}, [], None
    for fields, tree, _ in walk(records, registry):
        if fields is None:
            break
        if fields["k"] != "head":
            waiting.append(fields)
            continue
        need(fields["root"] == url64(tree.root()) and int(fields["size"]) == tree.size, f"{registry}: a head's root")
        check_blob(vkey, checkpoint(registry, tree.size, tree.root()), fields["sig"])
        signed = tree.size
        for one in waiting:
            if one["k"] == "stream_born":
                need(vouches(registry, one["origin"]), f"{registry}: names {one['origin']}, another writer's stream")
                streams[one["origin"]] = (one["vkey"], {}, [])
            elif one["k"] in ("anchor", "stream_failed", "stream_closed"):
                note_head(streams[one["origin"]][1], one)
        waiting = []
    need(signed is not None and streams, f"{registry}: nothing is signed, and nothing is never valid")
    # The newest head is a record as well.
    REGISTRIES[vkey] = (signed + 1, max(int(origin.split("/")[3]) for origin in streams))
    return streams, signed


def note_head(heads, one):
    """Of one size there is one root; the region key alone says how a stream ended, the stream's own key signed an anchor."""
    need(one.get("how") not in ("rolled_back", "forked"), f"{one['origin']}: was found {one.get('how')}")
    before = heads.get(int(one["size"]), {})
    for said in ("root", "tenants") if "stream_failed" not in (before.get("k"), one["k"]) else ("root",):
        need(not before or before.get(said) == one.get(said), f"{one['origin']}: two heads of {one['size']} differ")
    heads[int(one["size"])] = {**before, **one}


def verify_log(vkeys, root, shipped):
    named, verdicts = set(), set()
    for vkey in vkeys:
        streams, verdict = verify_registry(vkey, root, shipped)
        named |= {stream_path(origin, shipped) for origin in streams}
        verdicts.add(verdict)
    regions = {key_of(vkey)[0].split("/")[1] for vkey in vkeys}
    here = [path for region in regions for path in shipped.glob(f"v1/{region}/*/*")] if shipped else root.glob("streams/*/*")
    here = {"/".join(path.parts[-3:]) for path in here if path.is_dir() and path.parts[-2].split(".")[0] != "registry"}
    for path in sorted(here - named):
        newborn = shipped and any(is_newborn(vkey, shipped, path) for vkey in vkeys)
        need(newborn, f"{path}: no trusted registry names this stream")
        print(f"{path}: its registry is still to name it")
        verdicts.add("INCOMPLETE")
    for vkey, least in CARRIED.items():
        need(REGISTRIES[vkey][0] >= least, f"{key_of(vkey)[0]}: {REGISTRIES[vkey][0]} records, and {least} were here before")
    return "INCOMPLETE" if "INCOMPLETE" in verdicts else "PASS"


def is_newborn(vkey, shipped, path):
    """Whether a stream was shipped ahead of the segment of its registry that names it."""
    registry, (region, writer, number) = key_of(vkey)[0], path.split("/")
    origin = f"{registry.split('/')[0]}/{region}/{writer}/{int(number)}"
    size, last = REGISTRIES[vkey]
    note = shipped / "v1" / path / "genesis.note"
    if not vouches(registry, origin) or int(number) <= last or not note.exists():
        return False
    title, named, key, _ = open_note(vkey, note.read_text()).split("\n")
    need(title == "aegis.dev/audit/genesis@v1" and named == origin == key_of(key)[0], f"{note}: another stream's")
    for fields, tree, _ in walk(segment_records(shipped / "v1" / path, origin, vkey), origin):
        if fields and tree.size == 0:
            need((fields["k"], fields["vkey"]) == ("genesis", key), f"{origin}: another stream's birth")
        elif fields and (tree.size == 1 or fields["k"] == "anchor_ref"):
            need(fields["k"] == "anchor_ref" and fields["registry"] == registry, f"{origin}: names no registry")
            need(int(fields["size"]) > size, f"{origin}: {registry} goes past its birth and does not name it")
    return True


def stream_path(origin, shipped):
    _, region, writer, number = origin.split("/")
    return f"{region if shipped else 'streams'}/{writer}/{number.zfill(20)}"


def verify_registry(vkey, root, shipped):
    registry = key_of(vkey)[0]
    streams, signed = read_registry(vkey, stream_records(root, registry, shipped, vkey))
    pruned = False
    for origin, (key, heads, _) in streams.items():
        count, start = 0, start_of(root, origin, vkey)
        begins = start[2].size
        pruned |= begins > 0
        heads = {size: head for size, head in heads.items() if size >= begins}
        for fields, tree, tenants in walk(stream_records(root, origin, shipped, vkey, begins), origin, start):
            head = heads.pop(tree.size, None)
            if head:
                said = head["k"] == "stream_failed" or head.get("tenants") == roster(origin, tenants)
                need(said, f"{origin}: the head of {tree.size} names other tenants")
                need(head["root"] == url64(tree.root()), f"{origin}: the root at {tree.size} is not the signed one")
                if "sig" in head:
                    check_blob(key, checkpoint(origin, tree.size, tree.root()), head["sig"])
            if fields and fields["k"] == "genesis":
                need((fields["origin"], fields["vkey"]) == (origin, key), f"{origin}: another stream's birth")
            count = tree.size
        need(not heads, f"{origin}: ends after {count} records, and {max(heads, default=0)} are signed for")
        print(f"{origin}: {count} records")
    print(f"{registry}: signed up to {signed}")
    return streams, "INCOMPLETE" if pruned else "PASS"


def verify_proof(vkeys, text):
    head, note = text.split("\n\n", 1)
    title, extra, index, *path = head.split("\n")
    need(title == "c2sp.org/tlog-proof@v1" and extra.startswith("extra ") and index.startswith("index "), "no proof")
    birth, record = b64(extra[6:]).rsplit(b"\n", 1)
    born = birth.decode().split("\n")[1]
    vkey = next((vkey for vkey in vkeys if vouches(key_of(vkey)[0], born)), None)
    need(vkey, f"no trusted registry speaks for {born}")
    title, origin, key, _ = open_note(vkey, birth.decode() + "\n").split("\n")
    need(title == "aegis.dev/audit/genesis@v1" and key_of(key)[0] == origin, "the birth note is none")
    # The end of a stream whose process died is signed by its region: the stream's own key is gone.
    region = f"\n\u2014 {key_of(vkey)[0]} " in note
    named, size, root, _ = open_note(vkey if region else key, note).split("\n")
    found = root_by_path(int(index[6:]), int(size), leaf(record), [b64(one) for one in path])
    need(named == origin and found == b64(root), "the path does not lead to the signed root")
    need(int(json.loads(record)["seq"]) == int(index[6:]), "the record stands elsewhere")
    print(f"{origin}: record {index[6:]} of {size}")


class Lines:
    def __init__(self, text):
        need(text.endswith("\n"), "the text does not end in a newline")
        self.rest = text[:-1].split("\n")

    def word(self, word):
        """The rest of the next line, if that is its first word."""
        if self.rest and self.rest[0].split(" ")[0] == word:
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


def verify_package(keys, text):
    lines = Lines(text)
    need(lines.take(1) == [b"aegis.dev/audit/tenant-package@v1"], "no tenant's package")
    (tenant,) = lines.word("tenant")
    for origin, count in iter(lambda: lines.word("registry"), None):
        vkey = next((key for key in keys if key_of(key)[0] == origin), None)
        need(vkey, f"{origin} is not trusted")
        keys = [key for key in keys if key != vkey]
        streams, _ = read_registry(vkey, lines.take(int(count)))
        for origin, size, count in iter(lambda: lines.word("stream"), None):
            need(origin in streams, f"{origin}: unknown to the registry, or twice")
            verify_part(tenant, (origin, int(size), streams.pop(origin)), lines, int(count))
        need(not streams, f"{', '.join(streams)}: left out")
    need(not keys and not lines.rest, "a registry is left out, or lines are left over")


def verify_part(tenant, stream, lines, count):
    origin, size, (key, heads, _) = stream
    records = lines.take(count)
    path = [b64(hash_) for (hash_,) in lines.words("path")]
    reach, beside = lines.word("reach"), lines.words("beside")
    proof = [b64(hash_) for (hash_,) in lines.words("roster")]
    ends = [head for head in heads.values() if head["k"] == "stream_closed"]
    anchors = [head for head in heads.values() if head["k"] == "anchor"]
    head = max(ends or anchors, key=lambda head: int(head["size"]), default={"size": "0"})
    need(int(head["size"]) == size, f"{origin}: the package goes up to {size}, and {int(head['size'])} are signed for")
    tprev, leaves = before_tenant(origin, tenant), []
    for tseq, record in enumerate(records):
        fields = json.loads(record, object_pairs_hook=unique)
        need(fields.get("tenant") == tenant, f"{origin}: a record of another tenant")
        need(int(fields["tseq"]) == tseq, f"{origin}: record {tseq} of the tenant is missing or out of order")
        need(fields["tprev"] == url64(tprev), f"{origin}: the tenant's record {tseq} does not link to the one before")
        tprev = leaf(record)
        leaves.append((int(fields["seq"]), tprev))
    if size == 0:
        need(not records, f"{origin}: records that nothing signs for")
        return
    if "sig" in head:
        check_blob(key, checkpoint(origin, size, hash_of(head["root"])), head["sig"])
    said, own = head.get("tenants"), before_tenant(origin, tenant)
    if said is None:
        need(not records and not reach and not beside, f"{origin}: the head names no tenant")
    else:
        shown = [(int(index), b64(key), b64(value)) for index, key, value in beside]
        if reach:
            index, many, last = int(reach[0]), int(reach[1]), b64(reach[2])
            need((many, last) == (count, tprev), f"{origin}: {count} of the tenant's {many} records are here")
            shown = [(index, own, sha(struct.pack(">Q", many) + last))]
        found = root_of_some(int(said["count"]), [(at, leaf(key + value)) for at, key, value in shown], proof)
        need(url64(found) == said["root"], f"{origin}: the roster is another")
        if not reach:
            first, last = shown[0], shown[-1]
            is_first = len(shown) == 1 and first[0] == 0 and own < first[1]
            is_last = len(shown) == 1 and first[0] == int(said["count"]) - 1 and first[1] < own
            is_between = len(shown) == 2 and first[0] + 1 == last[0] and first[1] < own < last[1]
            need(not records and (is_first or is_last or is_between), f"{origin}: the tenant is not shown to be absent")
    if leaves or path:
        need(url64(root_of_some(size, leaves, path)) == head["root"], f"{origin}: the records do not lead to the head")
    print(f"{origin}: {count} of {size} records")


def hash_of(text):
    return base64.urlsafe_b64decode(text + "=")


def main(trust, *rest):
    lines = [line.split() for line in pathlib.Path(trust).read_text().splitlines()]
    keys = [line[1] for line in lines if line[:1] == ["log"]]
    need(keys and all(line[:1] in (["log"], ["quorum"], []) for line in lines), "the trust file is not understood")
    if rest[0] == "--proof":
        verify_proof(keys, pathlib.Path(rest[1]).read_text())
    elif rest[0] == "--tenant-package":
        verify_package(keys, pathlib.Path(rest[1]).read_text())
    elif rest[0] == "--bucket":
        return verify_log(keys, None, pathlib.Path(rest[1]))
    else:
        return verify_log(keys, pathlib.Path(rest[0]), None)
    return "PASS"


if __name__ == "__main__":
    try:
        verdict = main(*sys.argv[1:])
    except (Bad, ValueError, KeyError, TypeError, IndexError, OSError, struct.error) as error:
        print(f"FAIL: {error}")
        sys.exit(1)
    print(verdict)
    sys.exit(0 if verdict == "PASS" else 2)
