package bench

import "time"

// usage is what processes have used so far.
type usage struct {
	cpu    time.Duration // user and system
	memory int64         // bytes resident now
	peak   int64         // most bytes resident ever
}

// usageOf adds up the processes. A process that is not there is an error: it
// would make the broker look cheap.
func usageOf(pids []int) (usage, error) {
	var sum usage
	for _, pid := range pids {
		u, err := readUsage(pid)
		if err != nil {
			return usage{}, err
		}
		sum.cpu += u.cpu
		sum.memory += u.memory
		sum.peak += u.peak
	}
	return sum, nil
}
