// Command stranger checks what a receipts log published, with the code of others alone.
//
// It reads one JSON document from standard input and prints one line for each check; a check that
// fails ends it with status 1.
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"

	formats "github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type shown struct {
	Origin       string     `json:"origin"`
	LogKey       string     `json:"log_key"`
	WitnessKeys  []string   `json:"witness_keys"`
	Checkpoints  []string   `json:"checkpoints"`
	Inclusions   []included `json:"inclusions"`
	Consistences []extended `json:"consistencies"`
}

type included struct {
	Entry string   `json:"entry"` // base64
	Index int64    `json:"index"`
	Size  int64    `json:"size"`
	Root  string   `json:"root"`
	Proof []string `json:"proof"`
}

type extended struct {
	OldSize int64    `json:"old_size"`
	Size    int64    `json:"size"`
	OldRoot string   `json:"old_root"`
	Root    string   `json:"root"`
	Proof   []string `json:"proof"`
}

func main() {
	var all shown
	must(json.NewDecoder(os.Stdin).Decode(&all))
	verifier, err := note.NewVerifier(all.LogKey)
	must(err)
	var witnesses []note.Verifier
	for _, key := range all.WitnessKeys {
		witness, err := fnote.NewVerifierForCosignatureV1(key)
		must(err)
		witnesses = append(witnesses, witness)
	}
	for _, text := range all.Checkpoints {
		opened, err := note.Open([]byte(text), note.VerifierList(append(witnesses, verifier)...))
		must(err)
		checkpoint, _, n, err := formats.ParseCheckpoint([]byte(text), all.Origin, verifier, witnesses...)
		must(err)
		fmt.Printf("checkpoint %d: %d signatures\n", checkpoint.Size, len(opened.Sigs))
		if len(n.Sigs) != len(opened.Sigs) {
			must(fmt.Errorf("two readers count %d and %d signatures", len(n.Sigs), len(opened.Sigs)))
		}
	}
	for _, each := range all.Inclusions {
		entry := decode(each.Entry)
		hashes := make(tlog.RecordProof, 0)
		raw := make([][]byte, 0)
		for _, text := range each.Proof {
			hashes = append(hashes, hash(text))
			raw = append(raw, decode(text))
		}
		must(tlog.CheckRecord(hashes, each.Size, hash(each.Root), each.Index, tlog.RecordHash(entry)))
		must(proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(each.Index), uint64(each.Size),
			rfc6962.DefaultHasher.HashLeaf(entry), raw, decode(each.Root)))
		fmt.Printf("included %d of %d\n", each.Index, each.Size)
	}
	for _, each := range all.Consistences {
		hashes := make(tlog.TreeProof, 0)
		raw := make([][]byte, 0)
		for _, text := range each.Proof {
			hashes = append(hashes, hash(text))
			raw = append(raw, decode(text))
		}
		must(tlog.CheckTree(hashes, each.Size, hash(each.Root), each.OldSize, hash(each.OldRoot)))
		must(proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(each.OldSize), uint64(each.Size),
			raw, decode(each.OldRoot), decode(each.Root)))
		fmt.Printf("consistent %d to %d\n", each.OldSize, each.Size)
	}
}

func hash(text string) tlog.Hash {
	parsed, err := tlog.ParseHash(text)
	must(err)
	return parsed
}

func decode(text string) []byte {
	raw, err := base64.StdEncoding.DecodeString(text)
	must(err)
	return raw
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
