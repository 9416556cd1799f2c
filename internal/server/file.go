package server

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// ErrConfig is returned for a configuration that cannot be used; the text
// says what is wrong, and where.
var ErrConfig = errors.New("configuration")

// maxConfig is the size of the largest configuration file in bytes.
const maxConfig = 1 << 20

// setting is one key of a configuration file.
type setting struct {
	path  []string
	value any
	line  int // where the key stands; 0 when that is not known
}

func (s *setting) key() string { return strings.Join(s.path, ".") }

func readFile(name string) ([]setting, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	settings, err := parseFile(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s:%w", ErrConfig, name, err)
	}
	return settings, nil
}

// parseFile returns the keys of a TOML document in the order of their lines. A
// dotted key and a quoted key with dots in it are the same key, since Kafka's
// names have dots. The error begins with the line.
func parseFile(data []byte) ([]setting, error) {
	if len(data) > maxConfig {
		return nil, fmt.Errorf("1: the file is larger than %d bytes", maxConfig)
	}
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, column := at.Position()
			return nil, fmt.Errorf("%d:%d: %w", line, column, err)
		}
		return nil, fmt.Errorf("1: %w", err)
	}
	settings := flatten(nil, nil, tree)
	lines := keyLines(data)
	for i := range settings {
		s := &settings[i]
		// Of a key inside an inline table only the line of the table is known.
		for n := len(s.path); n > 0 && s.line == 0; n-- {
			s.line = lines[strings.Join(s.path[:n], ".")]
		}
	}
	slices.SortStableFunc(settings, func(a, b setting) int {
		if a.line != b.line {
			return a.line - b.line
		}
		return strings.Compare(a.key(), b.key())
	})
	return settings, nil
}

// flatten appends the leaves of a tree of tables. An empty table is a leaf,
// so that a mistyped one does not go unseen.
func flatten(to []setting, path []string, tree map[string]any) []setting {
	for key, v := range tree {
		path := append(path[:len(path):len(path)], key)
		if table, ok := v.(map[string]any); ok && len(table) > 0 {
			to = flatten(to, path, table)
			continue
		}
		to = append(to, setting{path: path, value: v})
	}
	return to
}

// keyLines tells on which line each key of a valid document stands.
func keyLines(data []byte) map[string]int {
	lines := map[string]int{}
	var p unstable.Parser
	p.Reset(data)
	var table []string
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.KeyValue && e.Kind != unstable.Table && e.Kind != unstable.ArrayTable {
			continue
		}
		var path []string
		if e.Kind == unstable.KeyValue {
			path = slices.Clone(table)
		}
		line := 0
		for it := e.Key(); it.Next(); {
			if line == 0 {
				line = p.Shape(it.Node().Raw).Start.Line
			}
			path = append(path, string(it.Node().Data))
		}
		if e.Kind != unstable.KeyValue {
			table = path
		}
		if name := strings.Join(path, "."); lines[name] == 0 {
			lines[name] = line
		}
	}
	return lines
}
