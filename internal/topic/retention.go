package topic

import "waybill/internal/record"

// Retention says what the configs let go.
type Retention struct {
	Start  record.Offset // where the log may start
	ByTime bool          // else by size
	Next   int64         // when to look again, ms; 0 when time alone changes nothing
}

// Retain returns what may be dropped at the time now, in ms. Time is that of
// the append, on the leader's clock, which never goes back along a log: a
// producer's timestamp, however wrong, drops nothing.
func (t *Topic) Retain(now int64, cfg *Config) Retention {
	r := Retention{Start: t.start}
	if t.start == t.end {
		return r
	}
	s := t.index.stretches
	if cfg.RetentionMs >= 0 {
		for len(s) > 0 && now-s[0].ended > cfg.RetentionMs {
			s = s[1:]
			r.ByTime = true
		}
		if len(s) > 0 {
			r.Next = s[0].ended + min(cfg.RetentionMs, 1<<60) + 1
		}
	}
	if cfg.RetentionBytes >= 0 {
		for len(s) > 1 && t.index.position-s[1].position >= cfg.RetentionBytes {
			s = s[1:]
			r.ByTime = false
		}
	}
	if len(s) == 0 {
		r.Start = t.end
	} else {
		r.Start = max(t.start, s[0].base)
	}
	return r
}
