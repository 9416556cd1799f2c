package prove

import (
	_ "embed" // promise.yaml
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

//go:embed promise.yaml
var promiseYAML []byte

// Code says what must happen; promise.yaml explains them.
type Code string

// The codes.
const (
	Kept       Code = "K"
	KeptMaybe2 Code = "K*"
	Unknown    Code = "U"
	Refused    Code = "R"
	Lossy      Code = "L!"
	Held       Code = "H"
)

var codes = []Code{Kept, KeptMaybe2, Unknown, Refused, Lossy, Held}

// Promise is promise.yaml.
type Promise struct {
	Faults ordered[Fault] `yaml:"faults"`
	Modes  ordered[Mode]  `yaml:"modes"`
}

// Fault is something that happens to a cluster.
type Fault struct {
	Class     string        `yaml:"class"`
	What      string        `yaml:"what"`
	Needs     string        `yaml:"needs"` // root, or nothing
	Stops     bool          `yaml:"stops"`
	Recover   time.Duration `yaml:"recover"`
	Elsewhere string        `yaml:"elsewhere"` // where it is tested instead, or why it is not
}

// Mode is a way of using the broker.
type Mode struct {
	What       string          `yaml:"what"`
	Duplicates string          `yaml:"duplicates"`
	Elsewhere  string          `yaml:"elsewhere"`
	Expect     map[string]Code `yaml:"expect"` // by the fault's class
}

// ordered is a mapping that keeps the order of the file.
type ordered[T any] struct {
	Names []string
	Of    map[string]T
}

// UnmarshalYAML reads the mapping.
func (o *ordered[T]) UnmarshalYAML(node *yaml.Node) error {
	if err := node.Decode(&o.Of); err != nil {
		return err
	}
	for i := 0; i < len(node.Content); i += 2 {
		o.Names = append(o.Names, node.Content[i].Value)
	}
	return nil
}

// ReadPromise reads promise.yaml and checks that it is whole.
func ReadPromise() (*Promise, error) {
	d := yaml.NewDecoder(strings.NewReader(string(promiseYAML)))
	d.KnownFields(true)
	p := &Promise{}
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("promise.yaml: %w", err)
	}
	for name, f := range p.Faults.Of {
		if f.What == "" || f.Recover <= 0 {
			return nil, fmt.Errorf("promise.yaml: fault %s: what and recover are needed", name)
		}
	}
	for name, m := range p.Modes.Of {
		if !slices.Contains([]string{"none", "flagged", "any"}, m.Duplicates) {
			return nil, fmt.Errorf("promise.yaml: mode %s: duplicates: %q", name, m.Duplicates)
		}
		for fault, f := range p.Faults.Of {
			if !slices.Contains(codes, m.Expect[f.Class]) {
				return nil, fmt.Errorf("promise.yaml: mode %s, fault %s of class %s: %q is no code", name, fault, f.Class, m.Expect[f.Class])
			}
		}
	}
	return p, nil
}

// selects reports whether a cell is chosen by CELLS: patterns with commas, each of a
// fault or of "mode/fault". None chooses all.
func selects(cells, mode, fault string) bool {
	patterns := strings.FieldsFunc(cells, func(r rune) bool { return r == ',' || r == ' ' })
	for _, p := range patterns {
		m, f, both := strings.Cut(p, "/")
		if !both {
			m, f = "*", p
		}
		okMode, _ := path.Match(m, mode) // a bad pattern chooses nothing
		okFault, _ := path.Match(f, fault)
		if okMode && okFault {
			return true
		}
	}
	return len(patterns) == 0
}
