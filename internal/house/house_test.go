package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is the module's root, seen from this package.
const root = "../.."

const module = "waybill"

// mayImport is the table of ARCHITECTURE.md: which packages of the module a
// package may import. A name stands for the package and what is below it.
// Packages that are not named here do not exist yet: whoever adds one adds it here.
var mayImport = map[string][]string{
	"cmd/waybill": {"internal/cli"},

	"internal/cli":    {"internal/server", "internal/transport", "internal/bench", "internal/admin", "internal/auth", "internal/storage", "internal/vfs"},
	"internal/server": {"internal/admin", "internal/amqp", "internal/auth", "internal/broker", "internal/kafka", "internal/record", "internal/replica", "internal/storage", "internal/transport", "internal/vfs"},
	"internal/admin":  {"internal/auth", "internal/broker"},
	"internal/amqp":   {"internal/amqp/spec", "internal/auth", "internal/broker", "internal/record"},
	"internal/kafka":  {"internal/auth", "internal/broker", "internal/record"},
	"internal/auth":   {},
	"internal/bench":  {"internal/amqp/spec", "internal/record"},

	"internal/broker":  {"internal/catalog", "internal/group", "internal/queue", "internal/topic", "internal/replica", "internal/storage", "internal/record"},
	"internal/queue":   {"internal/record"},
	"internal/topic":   {"internal/record"},
	"internal/group":   {"internal/record"},
	"internal/catalog": {"internal/record"},

	"internal/replica":   {"internal/storage", "internal/record"},
	"internal/transport": {},
	"internal/storage":   {"internal/vfs", "internal/record"},
	"internal/vfs":       {},
	"internal/record":    {},

	"internal/record/recordtest": {"internal/record"},
	"internal/broker/brokertest": {"internal/broker", "internal/replica", "internal/storage", "internal/vfs", "internal/record"},

	"internal/house": {},
	"internal/sim":   {"internal/broker", "internal/queue", "internal/record", "internal/record/recordtest", "internal/replica", "internal/storage", "internal/topic", "internal/vfs", "test/check"},

	"internal/amqp/spec": {"internal/record"},

	"test/bench":    {"internal/bench", "internal/vfs"},
	"test/broker":   {},
	"test/check":    {},
	"test/clients":  {"test/broker", "test/check", "test/cluster"},
	"test/cluster":  {"test/broker", "test/powercut"},
	"test/powercut": {"test/broker", "test/check", "internal/vfs"},
	"test/prove":    {"test/broker", "test/check", "test/cluster", "test/powercut", "test/stock"},
	"test/scenario": {"test/broker", "test/check", "test/cluster", "test/powercut", "test/stock"},
	"test/stock":    {},
}

// testsMayImport is what the tests of a package may import beyond that: real
// storage below what they test, in memory.
var testsMayImport = map[string][]string{
	"internal/admin":   {"internal/replica", "internal/storage", "internal/vfs", "internal/record"},
	"internal/amqp":    {"internal/replica", "internal/storage", "internal/vfs"},
	"internal/kafka":   {"internal/replica", "internal/storage", "internal/vfs"},
	"internal/broker":  {"internal/vfs", "test/check"},
	"internal/replica": {"internal/vfs"},
	"internal/server":  {"test/broker"},
	"internal/cli":     {"test/broker"},
	"test/bench":       {"internal/server"},
}

// pure are the machines: they take input and return effects. What they must
// not know of is listed with the reason in notPure.
var pure = []string{"internal/queue", "internal/topic", "internal/group", "internal/catalog"}

var notPure = map[string]string{
	"sync":                 "a machine is called from one goroutine and has no lock",
	"sync/atomic":          "a machine is called from one goroutine",
	"context":              "a machine does not wait",
	"net":                  "a machine knows no network",
	"os":                   "a machine knows no file system",
	"crypto/rand":          "a replica must come to the same result",
	"math/rand":            "a replica must come to the same result",
	"math/rand/v2":         "a replica must come to the same result",
	"go.etcd.io/raft/v3":   "a machine knows no raft",
	"log/slog":             "a machine returns what is to be told",
	"time.Now":             "the time is an input",
	"time.After":           "timers are effects",
	"time.NewTimer":        "timers are effects",
	"time.Sleep":           "a machine does not wait",
	"time.Since":           "the time is an input",
	"the go statement":     "a machine has no goroutine",
	"the select statement": "a machine does not wait",
}

// source is one parsed Go file.
type source struct {
	name string // below root, with slashes
	pkg  string // its directory
	test bool
	file *ast.File
	set  *token.FileSet
}

// tree parses every Go file of the module.
func tree(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if name != root && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		all = append(all, source{rel, path.Dir(rel), strings.HasSuffix(rel, "_test.go"), file, set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d files found below %s", len(all), root)
	}
	return all
}

func imports(t *testing.T, s source) []string {
	t.Helper()
	var names []string
	for _, spec := range s.file.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

func TestImports(t *testing.T) {
	for _, s := range tree(t) {
		allowed, known := mayImport[s.pkg]
		if generator := s.file.Name.Name == "main" && strings.HasPrefix(s.pkg, "internal/"); !known && generator {
			continue // a generator stands beside what it generates and imports nothing of ours
		}
		if !known {
			t.Errorf("%s: package %s does not stand in the table of %s", s.name, s.pkg, "internal/house")
			continue
		}
		if s.test {
			allowed = append(slices.Clone(allowed), testsMayImport[s.pkg]...)
			allowed = append(allowed, s.pkg)
		}
		for _, name := range imports(t, s) {
			own, ok := strings.CutPrefix(name, module+"/")
			if s.test && strings.HasSuffix(own, "test") {
				continue // helpers for tests, as recordtest
			}
			if ok && !slices.Contains(allowed, own) {
				t.Errorf("%s: %s must not import %s (the table stands in internal/house)", s.name, s.pkg, own)
			}
		}
	}
}

func TestMachinesArePure(t *testing.T) {
	for _, s := range tree(t) {
		if s.test || !slices.Contains(pure, s.pkg) {
			continue
		}
		for _, name := range imports(t, s) {
			if why, bad := notPure[name]; bad {
				t.Errorf("%s: imports %s, but %s", s.name, name, why)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			word := ""
			switch n := n.(type) {
			case *ast.GoStmt:
				word = "the go statement"
			case *ast.SelectStmt:
				word = "the select statement"
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok {
					word = x.Name + "." + n.Sel.Name
				}
			}
			if why, bad := notPure[word]; bad {
				t.Errorf("%s: uses %s, but %s", s.set.Position(n.Pos()), word, why)
			}
			return true
		})
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	says, packages := map[string]bool{}, map[string]string{}
	for _, s := range tree(t) {
		name := s.file.Name.Name
		if strings.HasSuffix(name, "_test") {
			continue
		}
		if !s.test {
			packages[s.pkg] = name
		} else if _, ok := packages[s.pkg]; !ok {
			packages[s.pkg] = name // of tests only
		}
		doc := s.file.Doc.Text()
		prefix := "Package " + name + " "
		if name == "main" {
			prefix = "Command "
		}
		if strings.HasPrefix(doc, prefix) {
			says[s.pkg] = true
		}
	}
	for pkg, name := range packages {
		if !says[pkg] {
			t.Errorf("package %s in %s has no comment that begins with its name", name, pkg)
		}
	}
}
