package kafka

import (
	"fmt"
	"strconv"
	"strings"
)

// The general codec (kmsg) trusts the counts that a request declares: it makes
// room for as many elements as there are bytes, however large an element is,
// and loops over as many tags as a 32-bit number can say. So every request is
// walked along its shape first: cheap, and without an allocation.

const (
	maxElements = 1_000_000 // of all arrays of a request together
	maxTags     = 10_000    // of one structure
)

// shapes says for each API key which fields its requests have:
//
//	1 2 4 8 16  a field of so many bytes
//	s b         a string, bytes; nullable ones too
//	[ … ]       an array of structures; in a flexible version each ends with tags
//	( x )       an array of plain values
//	{n … }      a tagged field with number n that holds a structure
//	@a-b        after a field: only in versions a to b; either may be left out
var shapes = map[int16]*shape{
	1:  parseShape("4@-14 4 4 4@3- 1@4- 4@7- 4@7- [ s@-12 16@13- [ 4 4@9- 8 4@12- 8@5- 4 ] ] [ s@-12 16@13- (4) ]@7- s@11- {1 4 8 }"),
	2:  parseShape("4 1@2- [ s [ 4 4@4- 8 4@-0 ] ] 4@10-"),
	3:  parseShape("[ 16@10- s ] 1@4- 1@8-10 1@8-"),
	8:  parseShape("s 4@1- s@1- s@7- 8@2-4 [ s@-9 16@10- [ 4 8 8@1-1 4@6- s ] ]"),
	9:  parseShape("s@-7 [ s (4) ]@-7 [ s s@9- 4@9- [ s@-9 16@10- (4) ] ]@8- 1@7-"),
	10: parseShape("s@-3 1@1- (s)@4-"),
	11: parseShape("s 4 4@1- s s@5- s [ s b ] s@8-"),
	12: parseShape("s 4 s s@3-"),
	13: parseShape("s s@-2 [ s s s@5- ]@3-"),
	14: parseShape("s 4 s s@3- s@5- s@5- [ s b ]"),
	15: parseShape("(s) 1@3-"),
	16: parseShape("(s)@4- (s)@5-"),
	18: parseShape("s@3- s@3- s@5- 4@5-"),
	19: parseShape("[ s 4 2 [ 4 (4) ] [ s s ] ] 4 1@1-"),
	20: parseShape("(s)@-5 [ s 16 ]@6- 4"),
	21: parseShape("[ s [ 4 8 ] ] 4"),
	22: parseShape("s 4 8@3- 2@3-"),
	23: parseShape("4@3- [ s [ 4 4@2- 4 ] ]"),
	32: parseShape("[ 1 s (s) ] 1@1- 1@3-"),
	33: parseShape("[ 1 s [ s s ] ] 1"),
	35: parseShape("[ s (4) ]"),
	37: parseShape("[ s 4 [ (4) ] ] 4 1"),
	42: parseShape("(s)"),
	44: parseShape("[ 1 s [ s 1 s ] ] 1"),
	47: parseShape("s [ s [ 4 ] ]"),
	60: parseShape("1 1@1- 1@2-"),
}

// shape is the fields of a structure.
type shape struct {
	fields []field
	tagged map[uint32]*shape
}

type field struct {
	kind   byte // '#' bytes, 's', 'b', '[' structures, '(' plain values
	size   int  // of '#'
	lo, hi int16
	inner  *shape // of '[' and '('
}

// walk checks one request.
type walk struct {
	decoder
	version  int16
	flexible bool
	elements int
}

// checkShape walks the body b of a request and refuses what the general codec
// must not see.
func checkShape(key, version int16, flexible bool, b []byte) error {
	sh := shapes[key]
	if sh == nil {
		return fmt.Errorf("no shape is known for API key %d", key)
	}
	w := walk{decoder: decoder{b: b}, version: version, flexible: flexible}
	w.structure(sh)
	if w.bad {
		return fmt.Errorf("a field is cut off, or a count is impossible or too large")
	}
	return nil
}

func (w *walk) structure(sh *shape) {
	w.fields(sh)
	if !w.flexible || w.bad {
		return
	}
	if sh.tagged == nil {
		w.skipTags()
		return
	}
	n := w.uvarint()
	if n > maxTags {
		w.fail()
	}
	for ; n > 0 && !w.bad; n-- {
		number := w.uvarint()
		value := w.take(int(w.uvarint()))
		if inner := sh.tagged[number]; inner != nil {
			sub := walk{decoder: decoder{b: value}, version: w.version, flexible: true}
			sub.structure(inner)
			w.bad = w.bad || sub.bad
		}
	}
}

func (w *walk) fields(sh *shape) {
	for i := range sh.fields {
		f := &sh.fields[i]
		if w.version < f.lo || w.version > f.hi || w.bad {
			continue
		}
		switch f.kind {
		case '#':
			w.take(f.size)
		case 's', 'b':
			w.span(w.length(w.flexible, f.kind == 's'))
		case '[', '(':
			n := w.array(w.flexible)
			if w.elements += n; w.elements > maxElements {
				w.fail()
			}
			for ; n > 0 && !w.bad; n-- {
				if f.kind == '[' {
					w.structure(f.inner)
				} else {
					w.fields(f.inner)
				}
			}
		}
	}
}

func parseShape(text string) *shape {
	words := strings.Fields(strings.NewReplacer("(", "( ", ")", " )").Replace(text))
	sh, rest := parseFields(words, "")
	if len(rest) > 0 {
		panic("kafka: shape ends early: " + text)
	}
	return sh
}

func parseFields(words []string, end string) (*shape, []string) {
	sh := &shape{}
	for len(words) > 0 {
		word, versions, _ := strings.Cut(words[0], "@")
		words = words[1:]
		if end != "" && word == end {
			return sh, append([]string{versions}, words...)
		}
		f := field{kind: word[0], hi: 1<<15 - 1}
		switch word[0] {
		case 's', 'b':
		case '[', '(':
			f.inner, words = parseFields(words, map[byte]string{'[': "]", '(': ")"}[word[0]])
			versions, words = words[0], words[1:]
		case '{':
			number, err := strconv.Atoi(word[1:])
			if err != nil {
				panic("kafka: shape: " + err.Error())
			}
			if sh.tagged == nil {
				sh.tagged = make(map[uint32]*shape)
			}
			sh.tagged[uint32(number)], words = parseFields(words, "}")
			words = words[1:]
			continue
		default:
			size, err := strconv.Atoi(word)
			if err != nil {
				panic("kafka: shape: " + err.Error())
			}
			f.kind, f.size = '#', size
		}
		f.limit(versions)
		sh.fields = append(sh.fields, f)
	}
	return sh, nil
}

// limit reads the versions in which a field is there: "a-b", "a-", "-b", "".
func (f *field) limit(versions string) {
	lo, hi, _ := strings.Cut(versions, "-")
	for _, end := range []struct {
		text string
		to   *int16
	}{{lo, &f.lo}, {hi, &f.hi}} {
		if end.text == "" {
			continue
		}
		n, err := strconv.ParseInt(end.text, 10, 16)
		if err != nil {
			panic("kafka: shape: " + err.Error())
		}
		*end.to = int16(n)
	}
}
