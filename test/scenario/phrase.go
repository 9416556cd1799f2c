package scenario

import (
	"fmt"
	"strconv"
	"time"
)

// phrase is the rest of a line, read from its beginning. What was wrong first stays in err.
type phrase struct {
	words []string
	err   error
}

// miss notes that a word is missing, or is not what it should be.
func (p *phrase) miss(what string) error {
	if p.err == nil {
		p.err = fmt.Errorf("%s is missing", what)
		if len(p.words) > 0 {
			p.err = fmt.Errorf("%q stands where %s should", p.words[0], what)
		}
	}
	return p.err
}

// word takes the next word.
func (p *phrase) word(what string) string {
	if len(p.words) == 0 {
		_ = p.miss(what) // p keeps it
		return ""
	}
	first := p.words[0]
	p.words = p.words[1:]
	return first
}

// number takes the next word, a number.
func (p *phrase) number() int {
	if len(p.words) > 0 {
		if n, err := strconv.Atoi(p.words[0]); err == nil && n >= 0 {
			p.words = p.words[1:]
			return n
		}
	}
	_ = p.miss("a number") // p keeps it
	return 0
}

// duration takes the next word, a duration such as 3s.
func (p *phrase) duration() time.Duration {
	if len(p.words) > 0 {
		if d, err := time.ParseDuration(p.words[0]); err == nil {
			p.words = p.words[1:]
			return d
		}
	}
	_ = p.miss("a duration") // p keeps it
	return 0
}

// takes takes the next word if it is this one.
func (p *phrase) takes(word string) bool {
	if len(p.words) > 0 && p.words[0] == word {
		p.words = p.words[1:]
		return true
	}
	return false
}

// rest takes all words that are left.
func (p *phrase) rest() []string {
	all := p.words
	p.words = nil
	return all
}

// end returns what was wrong with the line; nothing may be left of it.
func (p *phrase) end() error {
	if p.err == nil && len(p.words) > 0 {
		_ = p.miss("the end of the line") // p keeps it
	}
	return p.err
}
