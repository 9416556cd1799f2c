package prove

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Result is what a number of runs of a cell found out.
type Result struct {
	Runs       int      `json:"runs"`
	Failed     int      `json:"failed"`
	Acked      int      `json:"acked"`
	Lost       int      `json:"lost"`
	Duplicated int      `json:"duplicated"`
	Held       int      `json:"held"`            // runs in which the log is held offline, and the cluster says so
	Refused    int      `json:"refused"`         // nacked, or given up by the client
	Named      []string `json:"named,omitempty"` // what clients were refused with while the fault lasted, where that is promised
	RecoverMS  int64    `json:"recover_ms"`      // the longest of all runs
	Why        []string `json:"why,omitempty"`
	Date       string   `json:"date"`
}

// add adds another run's result.
func (r Result) add(o Result) Result {
	r.Runs += o.Runs
	r.Failed += o.Failed
	r.Acked += o.Acked
	r.Lost += o.Lost
	r.Duplicated += o.Duplicated
	r.Refused += o.Refused
	r.Held += o.Held
	r.RecoverMS = max(r.RecoverMS, o.RecoverMS)
	r.Named = slices.Compact(slices.Sorted(slices.Values(append(r.Named, o.Named...))))
	for _, why := range o.Why {
		if len(r.Why) < 3 {
			r.Why = append(r.Why, why)
		}
	}
	r.Date = o.Date
	return r
}

// judge compares an outcome with the promise.
func (r *rig) judge(name string, f Fault, t times, m mode, broken error, held bool) Result {
	o := m.outcome()
	res := Result{Runs: 1, Acked: o.Acked, Lost: o.Lost, Duplicated: o.Duplicated, Refused: o.Nacked, Date: time.Now().UTC().Format("2006-01-02")}
	code := r.promise.Modes.Of[name].Expect[f.Class]
	if held && broken != nil && code != Kept {
		// It is not served, and the cluster says so. What could not be read is not lost.
		res.Lost, res.Held = 0, 1
		return res
	}
	var why []string
	if broken != nil {
		why = append(why, broken.Error())
	}
	if line := m.acks(); line != nil {
		since := t.fault
		if f.Stops {
			since = t.healed
		}
		took, ok := line.recovery(t.fault, since, t.end)
		res.RecoverMS = took.Milliseconds()
		if code != Lossy && (!ok || took > f.Recover) {
			why = append(why, fmt.Sprintf("recovered after %v (%v), the bound is %v", took.Round(time.Millisecond), ok, f.Recover))
		}
	}
	if code == Refused {
		res.Named = slices.Sorted(maps.Keys(m.refusals().Between(t.fault, t.healed)))
		if len(res.Named) == 0 {
			why = append(why, "while the fault lasted nothing was refused by name")
		}
	}
	if o.Lost > 0 && code != Lossy {
		why = append(why, fmt.Sprintf("%d are lost", o.Lost))
	}
	why = append(why, o.Wrong...)
	if r.promise.Modes.Of[name].Duplicates == "none" && o.Duplicated > 0 {
		why = append(why, fmt.Sprintf("%d are there twice", o.Duplicated))
	}
	if len(why) > 0 {
		res.Failed, res.Why = 1, why
	}
	return res
}
