package server

import (
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value is one setting inside a Config: how it is read from text, and shown.
type value struct {
	kind  kind
	parse func(text string) error
	show  func() string
}

// kind says which TOML types a setting takes.
type kind string

const (
	kindString  kind = "string"
	kindInteger kind = "integer"
	kindBoolean kind = "boolean"
	kindSize    kind = "size" // an integer of bytes, or a string with a unit
	kindList    kind = "list" // an array of strings, or a string with commas
)

// text returns how a decoded TOML value reads; ok is false when its type is
// not one that the setting takes.
func (k kind) text(v any) (text string, ok bool) {
	switch v := v.(type) {
	case string:
		return v, k == kindString || k == kindSize || k == kindList
	case int64:
		return strconv.FormatInt(v, 10), k == kindInteger || k == kindSize
	case bool:
		return strconv.FormatBool(v), k == kindBoolean
	case []any:
		var words []string
		for _, word := range v {
			s, ok := word.(string)
			if !ok {
				return "", false
			}
			words = append(words, s)
		}
		return strings.Join(words, ","), k == kindList
	default:
		return "", false
	}
}

// needs says what a setting of that kind wants to see.
func (k kind) needs() string {
	switch k {
	case kindSize:
		return `needs a number of bytes, or a string with a unit like "64MiB"`
	case kindInteger:
		return "needs an integer"
	case kindBoolean:
		return "needs true or false"
	case kindList:
		return `needs an array of strings, or a string with commas`
	default:
		return "needs a string"
	}
}

func textValue(p *string) value {
	return value{
		kind: kindString,
		parse: func(text string) error {
			if text == "" {
				return errors.New("must not be empty")
			}
			*p = text
			return nil
		},
		show: func() string { return *p },
	}
}

func oneOf(p *string, words ...string) value {
	v := textValue(p)
	v.parse = func(text string) error {
		if !slices.Contains(words, text) {
			return fmt.Errorf("%q is none of %s", text, strings.Join(words, ", "))
		}
		*p = text
		return nil
	}
	return v
}

// address is a host:port; the host may be empty (all interfaces) when it is
// listened on, and must be there when others are told it.
func address(p *string, needHost bool) value {
	v := textValue(p)
	v.parse = func(text string) error {
		if err := checkAddress(text, needHost); err != nil {
			return err
		}
		*p = text
		return nil
	}
	return v
}

func checkAddress(text string, needHost bool) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("%q is not an address like 127.0.0.1:5672", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || needHost && n == 0 {
		return fmt.Errorf("%q has no valid port", text)
	}
	if needHost && host == "" {
		return fmt.Errorf("%q has no host", text)
	}
	return nil
}

// addresses is a list of host:port of other nodes; an empty one is none.
func addresses(p *[]string) value {
	return value{
		kind: kindList,
		parse: func(text string) error {
			var list []string
			for word := range strings.SplitSeq(text, ",") {
				word = strings.TrimSpace(word)
				if word == "" {
					continue
				}
				if err := checkAddress(word, true); err != nil {
					return err
				}
				if !slices.Contains(list, word) {
					list = append(list, word)
				}
			}
			*p = list
			return nil
		},
		show: func() string { return strings.Join(*p, ",") },
	}
}

func boolean(p *bool) value {
	return value{
		kind: kindBoolean,
		parse: func(text string) error {
			switch strings.ToLower(text) {
			case "true", "1":
				*p = true
			case "false", "0":
				*p = false
			default:
				return fmt.Errorf("%q is neither true nor false", text)
			}
			return nil
		},
		show: func() string { return strconv.FormatBool(*p) },
	}
}

func integer[T ~int | ~int16 | ~int32 | ~uint64](p *T, lo, hi int64) value {
	return value{
		kind: kindInteger,
		parse: func(text string) error {
			n, err := parseInteger(text, lo, hi)
			if err != nil {
				return err
			}
			*p = T(n)
			return nil
		},
		show: func() string { return fmt.Sprint(*p) },
	}
}

func parseInteger(text string, lo, hi int64) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrSyntax):
		return 0, fmt.Errorf("%q is not an integer", text)
	case err != nil || n < lo || n > hi:
		return 0, fmt.Errorf("%s is out of range, from %d to %d", text, lo, hi)
	}
	return n, nil
}

// units is a duration that is written as an integer of that unit, as Kafka's
// settings are.
func units(p *time.Duration, unit time.Duration, lo, hi int64) value {
	return value{
		kind: kindInteger,
		parse: func(text string) error {
			n, err := parseInteger(text, lo, min(hi, math.MaxInt64/int64(unit)))
			if err != nil {
				return err
			}
			*p = time.Duration(n) * unit
			return nil
		},
		show: func() string { return strconv.FormatInt(int64(*p/unit), 10) },
	}
}

// duration is a duration that is written like "10s".
func duration(p *time.Duration, lo, hi time.Duration) value {
	return value{
		kind: kindString,
		parse: func(text string) error {
			d, err := time.ParseDuration(text)
			if err != nil {
				return fmt.Errorf("%q is not a duration like 10s or 5m", text)
			}
			if d < lo || d > hi {
				return fmt.Errorf("%v is out of range, from %v to %v", d, lo, hi)
			}
			*p = d
			return nil
		},
		show: func() string { return p.String() },
	}
}

func size[T ~int | ~int64](p *T, lo, hi int64) value {
	return value{
		kind: kindSize,
		parse: func(text string) error {
			n, err := parseSize(text)
			if err != nil {
				return err
			}
			if n < lo || n > hi {
				return fmt.Errorf("%s is out of range, from %s to %s", text, formatSize(lo), formatSize(hi))
			}
			*p = T(n)
			return nil
		},
		show: func() string {
			if *p == 0 {
				return ""
			}
			return formatSize(int64(*p))
		},
	}
}

func reserve(p *Reserve) value {
	return value{
		kind: kindSize,
		parse: func(text string) error {
			r, err := parseReserve(text)
			if err != nil {
				return err
			}
			*p = r
			return nil
		},
		show: func() string { return p.String() },
	}
}

// topicDefault is a topic config that holds where a topic does not set its
// own.
func topicDefault(defaults map[string]string, name, builtin string, lo, hi int64) value {
	return value{
		kind: kindInteger,
		parse: func(text string) error {
			n, err := parseInteger(text, lo, hi)
			if err != nil {
				return err
			}
			defaults[name] = strconv.FormatInt(n, 10)
			return nil
		},
		show: func() string {
			if text, ok := defaults[name]; ok {
				return text
			}
			return builtin
		},
	}
}

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// parseSize reads a number of bytes with or without a unit.
func parseSize(text string) (int64, error) {
	digits, unit := strings.TrimSpace(text), int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(digits, u.suffix); ok {
			digits, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is not a size like 512MiB", text)
	}
	return n * unit, nil
}

// formatSize writes n with the largest binary unit that divides it.
func formatSize(n int64) string {
	for i := 3; i >= 0; i-- {
		if u := sizeUnits[i]; n != 0 && n%u.bytes == 0 {
			return fmt.Sprintf("%d%s", n/u.bytes, u.suffix)
		}
	}
	return strconv.FormatInt(n, 10)
}
