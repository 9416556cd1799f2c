package server

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of settings into docs/configuration.md")

// TestDocs keeps the table of settings in docs/configuration.md what the code
// says.
func TestDocs(t *testing.T) {
	const name = "../../docs/configuration.md"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text, table, ok := strings.Cut(string(data), "-update -->\n")
	if !ok {
		t.Fatalf("%s has lost the mark of its table", name)
	}
	want := settingsTable()
	if *update {
		if err := os.WriteFile(name, []byte(text+"-update -->\n\n"+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if strings.TrimPrefix(table, "\n") != want {
		t.Errorf("%s is out of date: go test ./internal/server -run TestDocs -update", name)
	}
}

func settingsTable() string {
	var b strings.Builder
	b.WriteString("| key | flag, environment | type | default | what it is |\n|---|---|---|---|---|\n")
	c := DefaultConfig()
	for _, o := range c.Options() {
		set := "`" + o.Env() + "`"
		if o.Flag != "" {
			set = "`--" + o.Flag + "` " + set
		}
		def := o.Show()
		if def != "" {
			def = "`" + def + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", o.Key, set, o.Kind(), def, o.Usage)
	}
	return b.String()
}
