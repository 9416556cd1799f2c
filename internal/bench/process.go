package bench

import (
	"errors"
	"io/fs"
	"syscall"
	"time"
)

// usage is what processes have used so far.
type usage struct {
	cpu    time.Duration // user and system
	memory int64         // bytes resident now
	peak   int64         // most bytes resident ever
}

// usages are what each of some processes has used so far.
type usages map[int]usage

// usagesOf reads what processes have used. A process that is not there is an error: it
// would make the broker look cheap. But a broker starts helpers that end, so one that was there before, and
// is not the last one, counts with what it had used then.
func usagesOf(pids []int, before usages) (usages, error) {
	now := make(usages)
	gone := 0
	for _, pid := range pids {
		u, err := readUsage(pid)
		if was, ok := before[pid]; ok && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)) {
			u, err = usage{cpu: was.cpu, peak: was.peak}, nil
			gone++
		}
		if err == nil && gone > 0 && gone == len(pids) {
			err = fs.ErrNotExist
		}
		if err != nil {
			return nil, err
		}
		now[pid] = u
	}
	return now, nil
}

func (all usages) sum() (sum usage) {
	for _, u := range all {
		sum.cpu += u.cpu
		sum.memory += u.memory
		sum.peak += u.peak
	}
	return sum
}
