package prove

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Results are the last results of every cell, by "mode/fault".
type Results map[string]Result

// resultsName is where the results of a page are kept.
func resultsName(page string) string { return strings.TrimSuffix(page, ".md") + ".json" }

// ReadResults reads what is kept beside the page.
func ReadResults(page string) (Results, error) {
	data, err := os.ReadFile(resultsName(page))
	if errors.Is(err, fs.ErrNotExist) {
		return Results{}, nil
	}
	if err != nil {
		return nil, err
	}
	r := Results{}
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", resultsName(page), err)
	}
	return r, nil
}

// The page keeps what people wrote around these marks.
const (
	beginMark = "<!-- cells: written by make prove -->"
	endMark   = "<!-- end of cells -->"
)

// Write keeps the results, and writes the part of the page that is made of them.
func (r Results) Write(p *Promise, page string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(resultsName(page), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return r.writePage(p, page)
}

func (r Results) writePage(p *Promise, page string) error {
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	text, err := r.insert(p, string(old))
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(page), err)
	}
	return os.WriteFile(page, []byte(text), 0o644)
}

// insert puts the cells between the marks.
func (r Results) insert(p *Promise, page string) (string, error) {
	before, rest, ok := strings.Cut(page, beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return "", fmt.Errorf("the marks %q and %q are not there", beginMark, endMark)
	}
	return before + beginMark + "\n\n" + r.Markdown(p) + endMark + after, nil
}

// Markdown renders every cell: an overview, and the figures by fault.
func (r Results) Markdown(p *Promise) string {
	var b strings.Builder
	proven, all := 0, 0
	for _, mode := range p.Modes.Names {
		for _, fault := range p.Faults.Names {
			all++
			if res := r[mode+"/"+fault]; res.Runs > 0 && res.Failed == 0 {
				proven++
			}
		}
	}
	fmt.Fprintf(&b, "%d of %d cells have runs, and none that failed.\n", proven, all)
	for _, name := range p.Faults.Names {
		f := p.Faults.Of[name]
		fmt.Fprintf(&b, "\n### %s (`%s`, %s)\n\n", upper(f.What), name, f.Class)
		if f.Elsewhere != "" {
			fmt.Fprintf(&b, "*unproven* here; %s.\n", f.Elsewhere)
			continue
		}
		b.WriteString("| mode | must | runs | acked | lost | twice | refused | recovered within | |\n|---|---|---:|---:|---:|---:|---:|---:|---|\n")
		for _, mode := range p.Modes.Names {
			r.row(&b, p, mode, name)
		}
	}
	b.WriteString("\n")
	return b.String()
}

// row is one cell.
func (r Results) row(b *strings.Builder, p *Promise, mode, fault string) {
	m := p.Modes.Of[mode]
	code := m.Expect[p.Faults.Of[fault].Class]
	res := r[mode+"/"+fault]
	if res.Runs == 0 {
		why := "*unproven*"
		if m.Elsewhere != "" {
			why += "; " + m.Elsewhere
		}
		fmt.Fprintf(b, "| %s | %s | | | | | | | %s |\n", m.What, escape(code), why)
		return
	}
	verdict := "kept"
	switch {
	case res.Failed > 0:
		verdict = fmt.Sprintf("**broken in %d of %d runs**: %s", res.Failed, res.Runs, short(res.Why))
	case res.Held > 0:
		verdict = fmt.Sprintf("held offline and reported in %d of %d runs", res.Held, res.Runs)
	case code == Lossy:
		verdict = "as promised: nothing"
	}
	took := "–"
	if res.RecoverMS > 0 {
		took = (time.Duration(res.RecoverMS) * time.Millisecond).String()
	}
	fmt.Fprintf(b, "| %s | %s | %d | %d | %d | %d | %s | %s | %s |\n",
		m.What, escape(code), res.Runs, res.Acked, res.Lost, res.Duplicated, refused(res), took, verdict)
}

// refused is how much was refused, and with what.
func refused(res Result) string {
	names := strings.Join(res.Named, ", ")
	switch {
	case names == "":
		return fmt.Sprint(res.Refused)
	case res.Refused == 0: // the client tried again by itself
		return names
	}
	return fmt.Sprintf("%d: %s", res.Refused, names)
}

// short is the beginning of the first reason, fit for a cell of a table.
func short(why []string) string {
	const most = 160
	if len(why) == 0 {
		return ""
	}
	text := strings.NewReplacer("\n", " ", "|", "/").Replace(why[0])
	if len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

// escape keeps the star of K* from being Markdown.
func escape(c Code) string { return strings.ReplaceAll(string(c), "*", `\*`) }

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
