package house

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pages returns the Markdown pages of the project.
func pages(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	if len(all) < 4 {
		t.Fatalf("only %d pages found", len(all))
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var (
	packageRow = regexp.MustCompile("(?m)^\\| `([a-z/]+)` \\|")
	sourceName = regexp.MustCompile("`([A-Za-z0-9_/]+\\.go)`")
	localLink  = regexp.MustCompile(`\]\(([^):#]+)\)`)
)

// TestArchitectureNamesEveryPackage compares the table of ARCHITECTURE.md with the
// tree: a package is below one of the rows, and every row is there.
func TestArchitectureNamesEveryPackage(t *testing.T) {
	var rows []string
	for _, m := range packageRow.FindAllStringSubmatch(read(t, filepath.Join(root, "ARCHITECTURE.md")), -1) {
		rows = append(rows, m[1])
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			t.Errorf("ARCHITECTURE.md has a row for %s, which is not there", m[1])
		}
	}
	for pkg := range mayImport {
		inRow := slices.ContainsFunc(rows, func(row string) bool { return pkg == row || strings.HasPrefix(pkg, row+"/") })
		if !inRow && pkg != "internal/house" && !strings.HasPrefix(pkg, "test/") {
			t.Errorf("ARCHITECTURE.md has no row for %s", pkg)
		}
	}
}

// TestPagesNameWhatIsThere looks for the source files and pages that the
// project's pages name.
func TestPagesNameWhatIsThere(t *testing.T) {
	var names []string
	for _, s := range tree(t) {
		names = append(names, s.name)
	}
	for _, page := range pages(t) {
		text := read(t, page)
		for _, m := range sourceName.FindAllStringSubmatch(text, -1) {
			if !slices.ContainsFunc(names, func(n string) bool { return n == m[1] || strings.HasSuffix(n, "/"+m[1]) }) {
				t.Errorf("%s names %s, which is not there", path.Base(page), m[1])
			}
		}
		for _, m := range localLink.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", path.Base(page), m[1])
			}
		}
	}
}
