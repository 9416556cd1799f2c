package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// results are the last results of every row, kept beside the page so that a row
// can be measured again alone.
type results struct {
	Rows map[string]*rowResult `json:"rows"`
}

// resultsName is where the results of a page are.
func resultsName(page string) string { return filepath.Join(filepath.Dir(page), "bench", "peers.json") }

func readResults(page string) (*results, error) {
	r := &results{Rows: map[string]*rowResult{}}
	data, err := os.ReadFile(resultsName(page))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", resultsName(page), err)
	}
	return r, nil
}

func (r *results) put(row *rowResult) { r.Rows[row.Row] = row }

// The page keeps what people wrote around these marks.
const (
	beginMark = "<!-- results: written by make bench-peers -->"
	endMark   = "<!-- end of results -->"
)

// write writes the results and the page that is made of them.
func (r *results) write(page string, rows []row) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(resultsName(page)), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(resultsName(page), append(data, '\n'), 0o644); err != nil {
		return err
	}
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(old), beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("%s: the marks %q and %q are not there", page, beginMark, endMark)
	}
	text := before + beginMark + "\n\n" + r.markdown(rows) + endMark + after
	return os.WriteFile(page, []byte(text), 0o644)
}

// spread are the figures of one metric over the rounds.
type spread struct{ median, least, most float64 }

func (m metric) spread(rounds []float64) spread {
	if len(rounds) == 0 {
		return spread{}
	}
	v := slices.Clone(rounds)
	slices.Sort(v)
	middle := (v[(len(v)-1)/2] + v[len(v)/2]) / 2
	return spread{middle, v[0], v[len(v)-1]}
}
