// A verifier of what Aegis writes that has nothing of Aegis: signed notes and trees are the Go team's
// golang.org/x/mod/sumdb/{note,tlog}, unmodified; the rest is docs/spec/audit.md.
//
//	tlog-go bucket <trust> <folder>                      a shipped folder, whole
//	tlog-go tiles <vkey> <folder> <note seen before>     a log in C2SP tiles, no older than that note
//	tlog-go proof <trust> <file>                         a tlog-proof
//	tlog-go consistency <vkey> <older> <newer> <hashes>  two checkpoints and the proof between them, a hash a line
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// must ends the program with FAIL and the reason.
func must(err error, format string, args ...any) {
	if err != nil {
		fmt.Printf("FAIL %s: %v\n", fmt.Sprintf(format, args...), err)
		os.Exit(1)
	}
}

func demand(holds bool, format string, args ...any) {
	if !holds {
		must(fmt.Errorf("it does not hold"), format, args...)
	}
}

func read(path string) []byte {
	data, err := os.ReadFile(path)
	must(err, "reading")
	return data
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	must(err, "reading a number")
	return n
}

func hash(text string) tlog.Hash {
	h, err := tlog.ParseHash(text)
	must(err, "reading a hash")
	return h
}

// open reads a note that the key signed.
func open(data []byte, vkey string) string {
	key, err := note.NewVerifier(vkey)
	must(err, "reading the key %s", vkey)
	opened, err := note.Open(data, note.VerifierList(key))
	must(err, "opening a note of %s", key.Name())
	return opened.Text
}

// checkpoint reads a signed tree head; its origin is the name of its key.
func checkpoint(data []byte, vkey string) tlog.Tree {
	lines := strings.Split(open(data, vkey), "\n")
	origin, _, _ := strings.Cut(vkey, "+")
	demand(len(lines) == 4 && lines[0] == origin, "the form of a checkpoint of %s", origin)
	return tlog.Tree{N: number(lines[1]), Hash: hash(lines[2])}
}

// region is the key in a trust file.
func region(trust string) string {
	for _, line := range strings.Split(string(read(trust)), "\n") {
		if vkey, ok := strings.CutPrefix(line, "log "); ok {
			return vkey
		}
	}
	must(io.EOF, "looking for a key in %s", trust)
	return ""
}

// stream is a log whose records were read, hashed by x/mod.
type stream struct {
	records [][]byte
	hashes  []tlog.Hash
}

func (s *stream) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		if at >= int64(len(s.hashes)) {
			return nil, fmt.Errorf("there are %d records only", len(s.records))
		}
		out[i] = s.hashes[at]
	}
	return out, nil
}

// add takes the next record, whose prev must be the leaf hash of the one before.
func (s *stream) add(record []byte) {
	n := int64(len(s.records))
	if n > 0 {
		before := tlog.RecordHash(s.records[n-1])
		prev := base64.RawURLEncoding.EncodeToString(before[:])
		demand(len(record) > 87 && string(record[44:87]) == prev, "the link of record %d", n)
	}
	hashes, err := tlog.StoredHashes(n, record, s)
	must(err, "hashing record %d", n)
	s.records, s.hashes = append(s.records, record), append(s.hashes, hashes...)
}

func (s *stream) check(origin string, tree tlog.Tree) {
	root, err := tlog.TreeHash(tree.N, s)
	must(err, "the tree of %s at %d", origin, tree.N)
	demand(root == tree.Hash, "the root of %s at %d", origin, tree.N)
}

// entries splits entry bundles into records; nothing may be left over.
func entries(data []byte) (records [][]byte) {
	for len(data) > 0 {
		demand(len(data) >= 2, "the framing of an entry")
		length := int(binary.BigEndian.Uint16(data))
		demand(length > 0 && len(data) >= 2+length, "the framing of an entry")
		records, data = append(records, data[2:2+length]), data[2+length:]
	}
	return records
}

func digest(line string, data []byte) {
	sum := sha256.Sum256(data)
	want := fmt.Sprintf("%d %s", len(data), base64.StdEncoding.EncodeToString(sum[:]))
	demand(line == want, "the digest of a segment")
}

// ship reads one stream's segments, each under a manifest of the region key.
func ship(dir, origin, vkey string) *stream {
	notes, _ := filepath.Glob(filepath.Join(dir, "seg", "*.man"))
	sort.Strings(notes)
	s, previous := &stream{}, tlog.Hash{}
	for _, path := range notes {
		data := read(path)
		lines := strings.Split(open(data, vkey), "\n")
		demand(len(lines) == 12 && lines[0] == "aegis.dev/audit/segment@v2" && lines[1] == origin, "the manifest %s", path)
		name := fmt.Sprintf("%020d-%020d.man", number(lines[2]), number(lines[3])-1)
		demand(filepath.Base(path) == name && int(number(lines[2])) == len(s.records), "the place of %s", path)
		demand(hash(lines[5]) == previous, "what stands before %s", path)
		previous = sha256.Sum256(data)
		packed := read(strings.TrimSuffix(path, ".man") + ".rec.gz")
		digest(lines[6], packed)
		unpacked, err := gzip.NewReader(bytes.NewReader(packed))
		must(err, "unpacking %s", path)
		bundles, err := io.ReadAll(unpacked)
		must(err, "unpacking %s", path)
		digest(lines[7], bundles)
		for _, record := range entries(bundles) {
			s.add(record)
		}
		demand(int(number(lines[3])) == len(s.records), "the number of records up to %s", path)
		s.check(origin, tlog.Tree{N: number(lines[3]), Hash: hash(lines[4])})
	}
	return s
}

// entry is what the verifier needs of a registry's record.
type entry struct {
	K, Origin, Vkey, Size, Root, Sig, How string
}

func (e entry) tree() tlog.Tree {
	raw, err := base64.RawURLEncoding.DecodeString(e.Root)
	demand(err == nil && len(raw) == 32, "a root of %s", e.Origin)
	return tlog.Tree{N: number(e.Size), Hash: tlog.Hash(raw)}
}

// signed puts the head together that a record holds, as the note it was signed as.
func (e entry) signed(origin string) []byte {
	return fmt.Appendf(nil, "%s\n%d\n%s\n\n— %s %s\n", origin, e.tree().N, e.tree().Hash, origin, e.Sig)
}

func folder(root, origin string) string {
	parts := strings.Split(origin, "/")
	return filepath.Join(root, "v1", parts[1], parts[2], fmt.Sprintf("%020d", number(parts[3])))
}

func bucket(trust, root string) {
	vkey := region(trust)
	name, _, _ := strings.Cut(vkey, "+")
	registry := ship(folder(root, name), name, vkey)
	demand(len(registry.records) > 0, "a registry with records")
	keys, streams := map[string]string{}, map[string]*stream{}
	for _, record := range registry.records {
		var e entry
		must(json.Unmarshal(record, &e), "reading a registry's record")
		switch e.K {
		case "head":
			registry.check(name, checkpoint(e.signed(name), vkey))
		case "stream_born":
			birth := open(read(filepath.Join(folder(root, e.Origin), "genesis.note")), vkey)
			want := fmt.Sprintf("aegis.dev/audit/genesis@v1\n%s\n%s\n", e.Origin, e.Vkey)
			demand(birth == want, "the birth note of %s", e.Origin)
			keys[e.Origin], streams[e.Origin] = e.Vkey, ship(folder(root, e.Origin), e.Origin, vkey)
		case "anchor":
			streams[e.Origin].anchored(e.Origin, checkpoint(e.signed(e.Origin), keys[e.Origin]))
		case "stream_closed":
			streams[e.Origin].check(e.Origin, e.tree())
			if e.How == "closed" {
				path := filepath.Join(folder(root, e.Origin), "cp", fmt.Sprintf("%020d.note", e.tree().N))
				demand(checkpoint(read(path), keys[e.Origin]) == e.tree(), "the final head of %s", e.Origin)
			}
		}
	}
	for origin, s := range streams {
		fmt.Printf("%s: %d records\n", origin, len(s.records))
	}
}

// anchored checks a signed head: its root, that some records are under it, and that the whole log extends it.
func (s *stream) anchored(origin string, tree tlog.Tree) {
	s.check(origin, tree)
	for n := int64(0); n < tree.N; n += 1 + tree.N/16 {
		proof, err := tlog.ProveRecord(tree.N, n, s)
		must(err, "proving record %d", n)
		must(tlog.CheckRecord(proof, tree.N, tree.Hash, n, tlog.RecordHash(s.records[n])), "record %d", n)
	}
	whole := int64(len(s.records))
	root, err := tlog.TreeHash(whole, s)
	must(err, "the whole tree")
	proof, err := tlog.ProveTree(whole, tree.N, s)
	must(err, "proving %d under %d", tree.N, whole)
	must(tlog.CheckTree(proof, whole, root, tree.N, tree.Hash), "%d under %d", tree.N, whole)
}

// files reads C2SP tiles, whose height is 8 and not in their path.
type files string

func (f files) Height() int                       { return 8 }
func (f files) SaveTiles([]tlog.Tile, [][]byte) {}
func (f files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, tile := range tiles {
		path := "tile/" + strings.TrimPrefix(tile.Path(), "tile/8/")
		data, err := os.ReadFile(filepath.Join(string(f), path))
		if err != nil {
			return nil, err
		}
		out[i] = data
	}
	return out, nil
}

func tiles(vkey, dir, seen string) {
	tree, before := checkpoint(read(filepath.Join(dir, "checkpoint")), vkey), checkpoint(read(seen), vkey)
	demand(tree.N >= before.N, "a checkpoint that is no older than the one seen before")
	reader := tlog.TileHashReader(tree, files(dir))
	proof, err := tlog.ProveTree(tree.N, before.N, reader)
	must(err, "proving the older checkpoint")
	must(tlog.CheckTree(proof, tree.N, tree.Hash, before.N, before.Hash), "the older checkpoint")
	indexes := make([]int64, tree.N)
	for n := range indexes {
		indexes[n] = tlog.StoredHashIndex(0, int64(n))
	}
	leaves, err := reader.ReadHashes(indexes)
	must(err, "reading the leaves")
	for first := int64(0); first < tree.N; first += 256 {
		width := min(256, tree.N-first)
		tile := tlog.Tile{H: 8, L: -1, N: first / 256, W: int(width)}
		path := strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1)
		records := entries(read(filepath.Join(dir, path)))
		demand(len(records) == int(width), "the number of entries in %s", path)
		for n, record := range records {
			demand(tlog.RecordHash(record) == leaves[first+int64(n)], "entry %d", first+int64(n))
		}
	}
	fmt.Printf("%d records\n", tree.N)
}

func proof(trust, path string) {
	head, signed, _ := strings.Cut(string(read(path)), "\n\n")
	lines := strings.Split(head, "\n")
	demand(len(lines) >= 3 && lines[0] == "c2sp.org/tlog-proof@v1", "the form of the proof")
	extra, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	must(err, "reading extra")
	// The birth note has three lines, a blank one and its signature; the record is the rest.
	parts := strings.SplitAfterN(string(extra), "\n", 6)
	demand(len(parts) == 6, "the form of extra")
	birth := strings.Split(open([]byte(strings.Join(parts[:5], "")), region(trust)), "\n")
	tree := checkpoint([]byte(signed), birth[2])
	var hashes tlog.RecordProof
	for _, line := range lines[3:] {
		hashes = append(hashes, hash(line))
	}
	index := number(strings.TrimPrefix(lines[2], "index "))
	must(tlog.CheckRecord(hashes, tree.N, tree.Hash, index, tlog.RecordHash([]byte(parts[5]))), "record %d", index)
}

func consistency(vkey, older, newer, hashes string) {
	before, after := checkpoint(read(older), vkey), checkpoint(read(newer), vkey)
	var proof tlog.TreeProof
	for _, line := range strings.Fields(string(read(hashes))) {
		proof = append(proof, hash(line))
	}
	must(tlog.CheckTree(proof, after.N, after.Hash, before.N, before.Hash), "%d under %d", before.N, after.N)
}

func main() {
	args := append(os.Args[1:], "", "", "", "", "")
	switch args[0] {
	case "bucket":
		bucket(args[1], args[2])
	case "tiles":
		tiles(args[1], args[2], args[3])
	case "proof":
		proof(args[1], args[2])
	case "consistency":
		consistency(args[1], args[2], args[3], args[4])
	default:
		must(io.EOF, "the first word is bucket, tiles, proof or consistency; reading it")
	}
	fmt.Println("PASS")
}
