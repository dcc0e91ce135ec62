// Verifies a ledger, or a proof, with Go's own libraries for transparency logs: the code of this project is not involved.
//
//	verify log DIR VKEY          a copy of a ledger in a folder
//	verify proof FILE VKEY       a tlog-proof with the entry as its extra data
//	verify consistency OLD DIR VKEY   a checkpoint that was seen before, and a copy of the ledger
//
// It prints what it verified and ends with 0; what does not hold ends with 1, and names the first entry where it knows it.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "log":
		return verifyLog(args[1], args[2])
	case len(args) == 3 && args[0] == "proof":
		return verifyProof(args[1], args[2])
	case len(args) == 4 && args[0] == "consistency":
		return verifyConsistency(args[1], args[2], args[3])
	}
	return fmt.Errorf("usage: verify log DIR VKEY | proof FILE VKEY | consistency OLD DIR VKEY")
}

// open checks a checkpoint's signature and reads what it says.
func open(text []byte, vkey string) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("the checkpoint is not one of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// folder reads tiles under the names of c2sp.org/tlog-tiles, which leave out the height.
type folder string

func (dir folder) path(tile tlog.Tile) string {
	path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
	return filepath.Join(string(dir), strings.Replace(path, "tile/data/", "tile/entries/", 1))
}

func (dir folder) Height() int { return height }

func (dir folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(dir.path(tile))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (dir folder) SaveTiles([]tlog.Tile, [][]byte) {}

// bundle reads the entries of one bundle, and refuses anything after them.
func bundle(path string, width int) ([][]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(entries) < width && len(data) >= 2 {
		length := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+length {
			break
		}
		entries = append(entries, data[2:2+length])
		data = data[2+length:]
	}
	if len(entries) == width && len(data) > 0 {
		return entries, fmt.Errorf("%s holds more than %d entries", path, width)
	}
	return entries, nil
}

func verifyLog(dir, vkey string) error {
	text, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := open(text, vkey)
	if err != nil {
		return err
	}
	// The reader checks every tile against the signed root before it gives a hash of it.
	hashes := tlog.TileHashReader(tree, folder(dir))
	for start := int64(0); start < tree.N; start += 1 << height {
		width := int64(1 << height)
		if tree.N-start < width {
			width = tree.N - start
		}
		indexes := make([]int64, width)
		for i := range indexes {
			indexes[i] = tlog.StoredHashIndex(0, start+int64(i))
		}
		signed, err := hashes.ReadHashes(indexes)
		if err != nil {
			return fmt.Errorf("entries from %d: %v", start, err)
		}
		tile := tlog.Tile{H: height, L: -1, N: start >> height, W: int(width)}
		entries, err := bundle(folder(dir).path(tile), int(width))
		for i, entry := range entries {
			if tlog.RecordHash(entry) != signed[i] {
				return fmt.Errorf("entry %d: it is not what was signed", start+int64(i))
			}
		}
		if err != nil {
			return fmt.Errorf("entry %d: %v", start+int64(len(entries)), err)
		}
		if len(entries) < int(width) {
			return fmt.Errorf("entry %d: it is missing", start+int64(len(entries)))
		}
	}
	fmt.Printf("ok: %d entries, root %s\n", tree.N, tree.Hash)
	return nil
}

func verifyProof(file, vkey string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, checkpoint, found := strings.Cut(string(text), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return fmt.Errorf("this is no tlog-proof with extra data")
	}
	entry, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	tree, err := open([]byte(checkpoint), vkey)
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
		return fmt.Errorf("entry %d: %v", index, err)
	}
	fmt.Printf("ok: entry %d\n", index)
	return nil
}

func verifyConsistency(old, dir, vkey string) error {
	var trees [2]tlog.Tree
	for i, path := range []string{old, filepath.Join(dir, "checkpoint")} {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if trees[i], err = open(text, vkey); err != nil {
			return err
		}
	}
	before, now := trees[0], trees[1]
	proof, err := tlog.ProveTree(now.N, before.N, tlog.TileHashReader(now, folder(dir)))
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(proof, now.N, now.Hash, before.N, before.Hash); err != nil {
		return err
	}
	fmt.Printf("ok: %d entries grew into %d\n", before.N, now.N)
	return nil
}
